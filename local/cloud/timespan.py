"""The query API's `timespan`: ISO 8601 durations and intervals, as ticks. Pure."""

import re

from local.cloud.ticks import DAY, HOUR, MINUTE, SECOND, parse_instant

_DURATION = re.compile(
    r"P(?=[\dT])(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?(?:\d+H)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_UNITS = {"weeks": 7 * DAY, "days": DAY, "hours": HOUR, "minutes": MINUTE, "seconds": SECOND}


def parse_timespan(text: str, now: int) -> tuple[int, int]:
    """The bounds of a timespan, both inclusive, in ticks: ``duration``, ``start/end``, ``start/duration``.

    An hour without its ``T`` counts nothing, as with the service (Azure/azure-cli issue 13698).
    Raises ValueError for anything else.
    """
    first, slash, second = text.strip().partition("/")
    if not slash:
        return now - _duration(first), now
    if first.startswith("P"):
        end = parse_instant(second)
        return end - _duration(first), end
    start = parse_instant(first)
    return start, start + _duration(second) if second.startswith("P") else parse_instant(second)


def intersection(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """What two timespans have in common; None is all time."""
    if one is None or other is None:
        return one or other
    return max(one[0], other[0]), min(one[1], other[1])


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not an ISO 8601 duration: {text!r}")
    return sum(_ticks(found[unit], size) for unit, size in _UNITS.items())


def _ticks(number: str | None, size: int) -> int:
    """`number` times `size`, exact for up to seven decimals."""
    whole, _, fraction = (number or "0").partition(".")
    return int(whole) * size + int(fraction[:7].ljust(7, "0") or 0) * size // 10_000_000
