"""Time as whole ticks of 100 ns, and arithmetic on half-open intervals of it. Pure.

A tick count starts at 0001-01-01T00:00:00Z, as in .NET and Kusto, so every value that Azure stores is
exact here. Neither floats nor ``datetime`` (which ends at microseconds) decide where a row belongs.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime

from shared.model import Window

SECOND = 10_000_000
"""Ticks in a second."""
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
END_OF_TIME = date.max.toordinal() * DAY
"""One tick past 9999-12-31T23:59:59.9999999Z, the last instant that Kusto knows."""

LONGEST_DURATION = 36_525 * DAY
"""A century: any longer duration is a mistake."""

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,7}))?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)


def parse_duration(text: str) -> int:
    """Return the ticks of whole seconds, minutes, hours or days: ``90s``, ``15m``, ``1h``, ``7d``.

    Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text)
    ticks = int(match[1]) * _UNITS[match[2]] if match else END_OF_TIME
    if ticks > LONGEST_DURATION:
        raise ValueError(f"{text!r} is not a duration such as '90s', '15m', '1h' or '7d'")
    return ticks


def format_duration(ticks: int) -> str:
    """Return a duration of whole seconds in its largest whole unit: ``7d``, ``90m``, ``1s``."""
    for unit, size in reversed(_UNITS.items()):
        if ticks % size == 0:
            return f"{ticks // size}{unit}"
    raise ValueError(f"{ticks} ticks are not a whole number of seconds")


def parse_instant(text: str) -> int:
    """Return the tick of an ISO 8601 instant with up to seven fraction digits.

    A date alone is its midnight; without a zone the time is UTC. Raises ValueError for anything else.
    """
    match = _INSTANT.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an instant such as '2026-11-21' or '2026-11-21T10:00:00.1234567Z'")
    ticks = midnight(match[1])
    if match[2] is None:
        return ticks
    hours, minutes, seconds = int(match[2]), int(match[3]), int(match[4])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{text!r} is not a time of day")
    ticks += hours * HOUR + minutes * MINUTE + seconds * SECOND + int((match[5] or "").ljust(7, "0"))
    if (zone := match[6]) and zone not in "Zz":
        if int(zone[1:3]) > 23 or int(zone[4:6]) > 59:
            raise ValueError(f"{text!r} has no zone that there is")
        shift = int(zone[1:3]) * HOUR + int(zone[4:6]) * MINUTE
        ticks += shift if zone[0] == "-" else -shift
    if not 0 <= ticks < END_OF_TIME:
        raise ValueError(f"{text!r} lies outside the years 0001 to 9999")
    return ticks


def midnight(day: str) -> int:
    """Return the tick at which a day begins: ``2026-11-21`` or ``20261121``. Raises ValueError."""
    return (date.fromisoformat(day).toordinal() - 1) * DAY


def format_instant(ticks: int) -> str:
    """Return ``2026-11-21T10:00:00.0000000Z``: always seven digits, always UTC."""
    days, rest = divmod(ticks, DAY)
    seconds, fraction = divmod(rest, SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{date.fromordinal(days + 1).isoformat()}T{clock}.{fraction:07}Z"


def format_second(ticks: int) -> str:
    """Return ``2026-11-21T10:00:00Z``, for instants that lie on a whole second."""
    if ticks % SECOND:
        raise ValueError(f"{format_instant(ticks)} does not lie on a whole second")
    return format_instant(ticks)[:19] + "Z"


def from_datetime(instant: datetime) -> int:
    """Return the tick of an aware ``datetime``."""
    since = instant.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return since.days * DAY + since.seconds * SECOND + since.microseconds * 10


def grid_floor(ticks: int, length: int, offset: int = 0) -> int:
    """Return the start of the grid cell that holds a tick.

    The grid of cells of ``length`` ticks begins at 0001-01-01 (a Monday, as in Kusto's ``bin``), shifted
    by ``offset`` ticks.
    """
    return (ticks - offset) // length * length + offset


def cells(span: Window, length: int, offset: int = 0) -> Iterator[Window]:
    """Cut a span at the grid: each grid cell's share of it, oldest first."""
    start = span.start
    while start < span.end:
        end = min(grid_floor(start, length, offset) + length, span.end)
        yield Window(start, end)
        start = end


def cells_newest_first(span: Window, length: int, offset: int = 0) -> Iterator[Window]:
    """Cut a span at the grid as ``cells`` does, newest first. Lazy: a long backlog costs what is taken."""
    end = span.end
    while end > span.start:
        start = max(grid_floor(end - 1, length, offset), span.start)
        yield Window(start, end)
        end = start


def union(windows: Iterable[Window]) -> list[Window]:
    """Return the same time as disjoint windows that do not touch, oldest first."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def clipped(windows: Iterable[Window], span: Window) -> list[Window]:
    """Return what of some windows lies in a span."""
    cut = ((max(each.start, span.start), min(each.end, span.end)) for each in windows)
    return [Window(start, end) for start, end in cut if start < end]


def hull(windows: Sequence[Window]) -> Window:
    """Return the span from the first begin to the last end of one or more windows."""
    return Window(min(each.start for each in windows), max(each.end for each in windows))


def subtract(span: Window, holes: Iterable[Window]) -> list[Window]:
    """Return what remains of a span without the holes, oldest first."""
    remains: list[Window] = []
    start = span.start
    for hole in union(holes):
        if hole.start >= span.end:
            break
        if hole.start > start:
            remains.append(Window(start, hole.start))
        start = max(start, hole.end)
    if start < span.end:
        remains.append(Window(start, span.end))
    return remains


def overlapping(spans: Sequence[Window]) -> Callable[[Window], bool]:
    """Return what tells whether a window overlaps any of some disjoint spans, oldest first; fast for many."""
    ends = [span.end for span in spans]

    def overlaps(window: Window) -> bool:
        at = bisect_right(ends, window.start)
        return at < len(spans) and spans[at].start < window.end

    return overlaps


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows have a tick in common."""
    return one.start < other.end and other.start < one.end
