"""Keeps a service's documented request rate by spacing requests evenly, over all hosts together.

Hosts do not speak to each other, but with one window in flight they take turns, and a window takes at least
an interval: its first request waits one. So what a host knows of its own last use is enough. If that ended
less than an interval ago, no other host has had a window since, and only the own requests count; if it is
longer ago, another host may have sent a request just now, so an interval is waited from now.
"""

import threading
from collections.abc import Mapping

from shared.errors import DeadlineError
from shared.model import Clock, Pace

_MARGIN = 1.025  # for what the way to the service adds to one request and not to the next

_IN_DOUBT = 0.001  # seconds: less than a window takes, and more than floating point loses


def intervals(graph_requests: int) -> Mapping[Pace, float]:
    """Return the seconds between two requests of each rate, from how many Graph's reports get in 10 s.

    The services allow 5 in 10 s to the report endpoints for each app and tenant, and 1 a second to identity
    protection for each tenant ("Microsoft Graph service-specific throttling limits").
    """
    return {
        "graph_reports": 10 / graph_requests * _MARGIN,
        "graph_identity_protection": _MARGIN,
    }


class Pacer:
    """Makes requests wait. ``intervals`` are the seconds between two requests of each rate. Thread-safe."""

    def __init__(self, intervals: Mapping[Pace, float], clock: Clock) -> None:
        self._intervals = intervals
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[Pace, float] = {}
        self._used: dict[Pace, float] = {}

    def wait(self, pace: Pace, deadline: float | None) -> None:
        """Wait until a request of this rate may be sent. Raises DeadlineError when that is too late."""
        interval = self._intervals[pace]
        with self._lock:
            now = self._clock.monotonic()
            is_ours = pace in self._used and now - self._used[pace] < interval - _IN_DOUBT
            turn = max(self._next[pace], now) if is_ours else now + interval
            if deadline is not None and turn >= deadline:
                raise DeadlineError("the service's rate limit left no time for all requests")
            self._next[pace] = turn + interval
            self._used[pace] = turn
        if turn > now:
            self._clock.sleep(turn - now)

    def answered(self, pace: Pace) -> None:
        """Note that a request of this rate has its answer, or has failed: until now it was in flight."""
        with self._lock:
            self._used[pace] = self._clock.monotonic()
