"""Which beginnings of names to list, so that all of some spans of time is found with little asked. Pure.

What is named after a time can be listed by the hour, the day, ten days, the month, the year, or as a whole.
A listing comes in pages, and each page is a request; what a coarse listing finds beside what is wanted costs
too.
"""

import calendar
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared.model import Window
from shared.windows import DAY, END_OF_TIME, HOUR, clipped, format_instant, hull, parse_instant, union

PAGE = 5_000
"""Blobs in one answer at most ("List Blobs")."""
_CALL = 250
"""How many blobs too many are as good as one call more: some 60 ms, of the client's time or the network's."""
_WIDTHS = (0, 4, 7, 9, 10, 13)
"""How much of ``2026-11-21T10`` names everything, a year, a month, some ten days of it, a day, an hour."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """The shortest and the longest window, in ticks, that an export's configurations ever had."""

    shortest: int
    longest: int


def stamps(spans: Iterable[Window], shortest: int, life: Window | None = None) -> list[str]:
    """Return the beginnings of instants (``2026-11``, ``2026-11-21T10``) that are the cheapest to list.

    Every tick of the spans begins with one of them, and with one only. How much else they hold is an
    estimate: something each ``shortest`` ticks, all through ``life`` (None: at all times). Where that is
    wrong, more is listed than need be, and nothing is missed.
    """
    wanted = union(spans)
    if not wanted:
        return []
    alive = Window(0, END_OF_TIME) if life is None else hull([life, *wanted])
    # Where nothing is known of an export, there is probably nothing stored.
    return _cheapest("", wanted, shortest or DAY, alive)[1]


def _cheapest(stamp: str, spans: Sequence[Window], shortest: int, life: Window) -> tuple[int, list[str]]:
    """Return what listing some spans within a stamp costs, and how: at once, or its parts.

    What is wanted itself costs the same either way, and is left out.
    """
    time = _time_of(stamp)
    own = clipped(spans, time)
    beside = (_ticks(clipped([life], time)) - _ticks(own)) // shortest
    at_once = max(1, -(-beside // PAGE)) * _CALL + beside
    if len(stamp) == _WIDTHS[-1] or at_once == _CALL:
        return at_once, [stamp]
    cost, found = 0, []
    for part in _parts(stamp, own):
        more, inside = _cheapest(part, own, shortest, life)
        cost += more
        if cost >= at_once:
            return at_once, [stamp]
        found += inside
    return cost, found


def _parts(stamp: str, spans: Iterable[Window]) -> Iterator[str]:
    """Yield the next finer stamps that some spans touch: a year's months, a month's days."""
    width = _WIDTHS[_WIDTHS.index(len(stamp)) + 1]
    at = 0
    for span in spans:
        at = max(at, span.start)
        while at < span.end:
            part = format_instant(at)[:width]
            yield part
            at = _time_of(part).end


def _time_of(stamp: str) -> Window:
    """Return the time whose instants begin with a stamp."""
    if not stamp:
        return Window(0, END_OF_TIME)
    year, month = int(stamp[:4]), int(stamp[5:7] or 1)
    if len(stamp) == 9:  # the first ten days of a month are nine, and its last ones three at most
        start = parse_instant(f"{year:04}-{month:02}-{stamp[8]}{'1' if stamp[8] == '0' else '0'}")
        last = min(int(stamp[8]) * 10 + 9, calendar.monthrange(year, month)[1])
        return Window(start, parse_instant(f"{year:04}-{month:02}-{last:02}") + DAY)
    start = parse_instant(stamp + "0001-01-01T00:00:00"[len(stamp) :])
    if len(stamp) == 4:
        return Window(start, start + (366 if calendar.isleap(year) else 365) * DAY)
    if len(stamp) == 7:
        return Window(start, start + calendar.monthrange(year, month)[1] * DAY)
    return Window(start, start + (DAY if len(stamp) == 10 else HOUR))


def _ticks(spans: Iterable[Window]) -> int:
    return sum(span.end - span.start for span in spans)
