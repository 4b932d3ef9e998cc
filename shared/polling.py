"""Waits for a long-running operation. Does no I/O but through what it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import NotReadyError
from shared.model import Clock
from shared.windows import SECOND

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How to wait for an operation, in seconds: ``first``, then half as long again each time up to ``most``.

    ``total`` is how long one attempt waits in all, ``again`` after how long another one should look.
    """

    first: float = 1.0
    most: float = 30.0
    total: float = 240.0
    again: float = 60.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a look at an operation that is not done came to; ``retry_after`` is the service's own wish."""

    what: str
    retry_after: float | None = None


def poll(look: Callable[[], _T | Waiting], clock: Clock, deadline: float, patience: Patience) -> _T:
    """Look until the operation is done, and return its result.

    ``deadline`` is on the clock's ``monotonic``. Raises NotReadyError when one attempt has waited long
    enough: the operation goes on at the service, and another attempt finds it.
    """
    until = min(deadline, clock.monotonic() + patience.total)
    pause = patience.first
    while True:
        seen = look()
        if not isinstance(seen, Waiting):
            return seen
        wait = max(pause, seen.retry_after or 0.0)
        if clock.monotonic() + wait >= until:
            raise NotReadyError(round(max(patience.again, seen.retry_after or 0.0) * SECOND), seen.what)
        clock.sleep(wait)
        pause = min(patience.most, pause * 1.5)
