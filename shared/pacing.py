"""Keeps a service's documented request rate by spacing requests evenly.

A window that another host exported ended a moment ago for all we know, so the first request after a rest
waits its turn as well: with one window in flight, all hosts together then stay within the limit.
"""

import threading
from collections.abc import Mapping

from shared.errors import DeadlineError
from shared.model import Clock, Pace

_RESTED_SECONDS = 10.0
"""The span that the services count requests in; after it nobody knows what other hosts have sent."""


_MARGIN = 1.025  # for what the way to the service adds to one request and not to the next


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

    def wait(self, pace: Pace, deadline: float | None) -> None:
        """Wait until a request of this rate may be sent. Raises DeadlineError when that is too late."""
        interval = self._intervals[pace]
        with self._lock:
            now = self._clock.monotonic()
            turn = self._next.get(pace)
            turn = now + interval if turn is None or turn < now - _RESTED_SECONDS else max(turn, now)
            if deadline is not None and turn >= deadline:
                raise DeadlineError("the service's rate limit left no time for all requests")
            self._next[pace] = turn + interval
        if turn > now:
            self._clock.sleep(turn - now)
