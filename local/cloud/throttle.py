"""Rates and concurrency, as the services bound them."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Rate:
    """Counts calls in a sliding time. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[float] = deque()
        self._lock = threading.Lock()

    def wait(self, limit: int | None, seconds: float) -> float:
        """How long to wait (seconds) before a call is within `limit` calls in `seconds`; 0 if this one is.

        A limit of None has room for every call. A call that is refused counts too ("Microsoft Graph
        throttling guidance").
        """
        with self._lock:
            now = self._clock()
            while self._calls and self._calls[0] <= now - seconds:
                self._calls.popleft()
            refused = limit is not None and len(self._calls) >= limit
            self._calls.append(now)
            if not refused or limit is None:
                return 0.0
            # Room is there again when so many calls are forgotten that fewer than the limit are left.
            return self._calls[len(self._calls) - limit] + seconds - now


class TooManyWaitingError(Exception):
    """There was no room in the queue, or the wait in it was too long."""


class Turnstile:
    """Lets a number of queries run at a time, and a number wait for their turn."""

    def __init__(self) -> None:
        self._running = 0
        self._waiting = 0
        self._change = threading.Condition()

    @contextmanager
    def turn(self, running: int, queued: int, seconds: float) -> Iterator[None]:
        """Wait for a turn, at most `seconds`, and hold it in the body.

        Raises TooManyWaitingError where `queued` wait already, or after `seconds`.
        """
        with self._change:
            if self._running >= running:
                if self._waiting >= queued:
                    raise TooManyWaitingError
                self._waiting += 1
                try:
                    if not self._change.wait_for(lambda: self._running < running, seconds):
                        raise TooManyWaitingError
                finally:
                    self._waiting -= 1
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()
