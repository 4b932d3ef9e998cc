"""The earliest and the latest of the row times that a file holds, as the service wrote them. Pure."""

from collections.abc import Sequence


class TimeRange:
    """A range that widens with what it sees."""

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._last: bytes | None = None

    @property
    def first(self) -> str | None:
        """The earliest time; None where none was seen."""
        return None if self._first is None else f"{self._first.decode()}Z"

    @property
    def last(self) -> str | None:
        """The latest time; None where none was seen."""
        return None if self._last is None else f"{self._last.decode()}Z"

    def see(self, stamps: Sequence[bytes]) -> None:
        """Widen the range by stamps that lack their final ``Z``: so, text order is time order.

        Fractions come with the zeros at their end cut off: ``.5`` sorts before ``.51``, ``.5Z`` after it.
        """
        if stamps:
            first, last = min(stamps), max(stamps)
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)
