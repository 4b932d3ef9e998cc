"""Wrappers that stand between the exporter and its storage and source, and fail or wait at each step."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from shared.model import Batch, Container, Reading, Source, Window

Act = Callable[[], Any]
Interfere = Callable[[str, Act], Any]
"""Called with a step's name and the step itself; performs it, or does worse."""


class FailsAt:
    """Lets every step pass but the ``number``-th (from 0), which raises ``error``.

    With ``after``, the step takes effect first: the service did its work and its answer was lost.
    """

    def __init__(self, number: int, error: BaseException, *, after: bool) -> None:
        self.number = number
        self.error = error
        self.after = after
        self.happened: str | None = None
        self._seen = -1

    def __call__(self, name: str, act: Act) -> Any:
        """Perform a step, or fail."""
        self._seen += 1
        if self._seen != self.number:
            return act()
        self.happened = name
        if self.after:
            act()
        raise self.error


class Steps:
    """Wraps containers and sources so that each of their calls goes through one ``interfere``."""

    def __init__(self, interfere: Interfere) -> None:
        self._interfere = interfere

    def container(self, inner: Container) -> Container:
        """Wrap a container."""
        wrapped: Any = _Container(inner, self._interfere)
        return cast("Container", wrapped)  # its methods are made on demand

    def source(self, inner: Source) -> Source:
        """Wrap a source; a reading is one step, and nothing of one that fails is given on."""
        return _Source(inner, self._interfere)


class _Container:
    def __init__(self, inner: Container, interfere: Interfere) -> None:
        self._inner = inner
        self._interfere = interfere

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._inner, method)

        def step(*positional: Any, **named: Any) -> Any:
            def act() -> Any:
                result = call(*positional, **named)
                return iter(list(result)) if method in {"list", "names"} else result

            return self._interfere(f"{method} {positional[0]}", act)

        return step


class _Source:
    def __init__(self, inner: Source, interfere: Interfere) -> None:
        self._inner = inner
        self._interfere = interfere

    def read(self, reading: Reading) -> Iterator[Batch]:
        yield from self._interfere("source", lambda: list(self._inner.read(reading)))

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        counts: list[int] = self._interfere("count", lambda: self._inner.count(windows, deadline))
        return counts

    def release(self, reading: Reading) -> None:
        self._interfere("release", lambda: self._inner.release(reading))
