"""What is under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts what is under way, so that a stopping host can wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count the block as under way."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Count what another thread will `end`."""
        with self._changed:
            self._running += 1

    def end(self) -> None:
        """Count one less."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def wait_until_idle(self, seconds: float) -> int:
        """Wait at most so long; return how many are still under way."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0, seconds)
            return self._running
