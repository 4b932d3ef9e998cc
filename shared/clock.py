"""The machine's clock."""

import time

from shared.windows import parse_instant

_EPOCH = parse_instant("1970-01-01")


class SystemClock:
    """Time as this machine tells it."""

    def now(self) -> int:
        """Return the present in ticks, UTC."""
        return _EPOCH + time.time_ns() // 100

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
