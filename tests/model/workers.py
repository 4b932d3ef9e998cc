"""Workers: one invocation of a function each, which may fail, crash or stand still at any of its calls.

Only one worker runs at a time, so a case is the same each time it is run.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from shared.errors import ConflictError, StorageError
from shared.model import Blob, Document
from tests.parts.memory_container import MemoryContainer

PATIENCE = 60.0
"""Seconds after which a worker is taken to hang."""


class Crashed(BaseException):
    """The process ended here; nothing may catch it and go on."""


@dataclass(frozen=True)
class Weather:
    """The chances, at each call, that storage fails, the service fails, the worker dies or stands still."""

    storage: float = 0.0
    service: float = 0.0
    crash: float = 0.0
    pause: float = 0.0


CALM = Weather()


class Worker:
    """One invocation. ``result`` is what it gave, ``error`` what it ended with instead.

    ``weather`` may be changed from outside. A worker with a chance to pause runs on a thread of its own.
    """

    def __init__(self, name: str, seed: str, weather: Weather, work: Callable[[], Any]) -> None:
        self.name = name
        self.rng = random.Random(seed)  # noqa: S311 - chances, not secrets
        self.weather = weather
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.calls = 0
        self._work = work
        self._killed = False
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True) if weather.pause else None
        self._began = False

    def go(self) -> None:
        """Run until the next pause, or the end."""
        if self._thread is None:
            self._run()
            return
        if self._began:
            self._go.release()
        else:
            self._began = True
            self._thread.start()
        assert self._parked.acquire(timeout=PATIENCE), f"{self.name} hangs"

    def kill(self) -> None:
        """End the worker where it stands."""
        self._killed = True
        while not self.done:
            self.go()

    def call(self, act: Callable[[], Any], *, conditional: bool = False, storage: bool = True) -> Any:
        """Make one call to storage or to a service, or do worse.

        A ``conditional`` write whose answer is lost is repeated by storage's client, and then refused.
        """
        self.calls += 1
        if self.rng.random() < self.weather.pause:
            self._parked.release()
            assert self._go.acquire(timeout=PATIENCE), f"nobody lets {self.name} go on"
        self._live()
        luck = self.rng.random()
        if luck < self.weather.crash:
            self._killed = True
            if self.rng.random() < 0.5:
                act()
            raise Crashed
        if storage and luck < self.weather.crash + self.weather.storage:
            if self.rng.random() < 0.5:
                act()
                if conditional and self.rng.random() < 0.5:
                    raise ConflictError("somebody else wrote first (or we did, and the answer was lost)")
            raise StorageError("storage failed, also after retries", retryable=self.rng.random() < 0.9)
        return act()

    def _live(self) -> None:
        if self._killed:
            raise Crashed

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - how a worker ends is its result
            self.error = error
        finally:
            self.done = True
            self._parked.release()


class InlinePool:
    """An executor that does its work at once, in the caller's thread."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, work: Callable[..., Any], *given: Any) -> "Future[Any]":
        """Do the work; its result, or what it raised, is in the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given))
        except BaseException as error:  # noqa: BLE001 - as executors do
            future.set_exception(error)
        return future


class StormyContainer:
    """A container whose every call goes through the worker that makes it. Implements ``model.Container``."""

    def __init__(self, inner: MemoryContainer, worker: Callable[[], Worker], commits: "Commits") -> None:
        self._inner = inner
        self._worker = worker
        self._commits = commits

    def head(self, name: str) -> Blob | None:
        """Return the blob's properties."""
        blob: Blob | None = self._worker().call(lambda: self._inner.head(name))
        return blob

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the blobs under a prefix."""
        blobs = self._worker().call(lambda: list(self._inner.list(prefix, metadata=metadata)))
        return iter(blobs)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names under a prefix."""
        names = self._worker().call(lambda: list(self._inner.names(prefix)))
        return iter(names)

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Upload one block."""
        self._worker().call(lambda: self._inner.stage(name, block, data))

    def commit(
        self,
        name: str,
        blocks: Sequence[str],
        metadata: Mapping[str, str],
        *,
        etag: str | None,
        content_type: str,
    ) -> str:
        """Make blocks and metadata the blob."""

        def act() -> str:
            before = self._inner.head(name), self._inner.read(name)
            new = self._inner.commit(name, blocks, metadata, etag=etag, content_type=content_type)
            self._commits(name, before[0], before[1])
            return new

        committed: str = self._worker().call(act, conditional=True)
        return committed

    def read(self, name: str) -> Document | None:
        """Return a small blob."""
        document: Document | None = self._worker().call(lambda: self._inner.read(name))
        return document

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a small blob."""

        def act() -> None:
            self._inner.write(name, data, etag=etag, metadata=metadata)
            self._commits(name, None, None)

        self._worker().call(act, conditional=True)

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Delete a blob."""
        self._worker().call(lambda: self._inner.delete(name, etag=etag))


Commits = Callable[[str, Blob | None, Document | None], None]
"""Told of each write that succeeded: the blob's name, and what it was before."""
