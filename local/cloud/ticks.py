"""Instants and durations as whole ticks of 100 ns, as the services count them. Pure."""

import re
from datetime import UTC, datetime, timedelta

SECOND = 10_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

UNIX_EPOCH = 621_355_968_000_000_000
"""1970-01-01 in ticks since 0001-01-01T00:00:00Z, the zero of every instant here."""

_INSTANT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?\s*(?:Z|([+-])(\d{2}):?(\d{2}))?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(-)?(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?")


def parse_instant(text: str) -> int:
    """The ticks of an ISO 8601 instant; without a zone it is UTC. Digits beyond the seventh are cut.

    Raises ValueError for anything else.
    """
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not an ISO 8601 instant: {text!r}")
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = found.groups()
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
    )
    since = moment - datetime(1, 1, 1, tzinfo=UTC)
    ticks = since.days * DAY + since.seconds * SECOND + int((fraction or "")[:7].ljust(7, "0"))
    if sign:
        zone = int(zone_hours) * HOUR + int(zone_minutes) * MINUTE
        ticks += zone if sign == "-" else -zone
    return ticks


def format_instant(ticks: int) -> str:
    """An instant as the services write it, without zeros at the end of its fraction."""
    fraction = f"{ticks % SECOND:07d}".rstrip("0")
    moment = datetime(1, 1, 1) + timedelta(seconds=ticks // SECOND)  # noqa: DTZ001 (only to be written down)
    return f"{moment.isoformat()}{'.' if fraction else ''}{fraction}Z"


def parse_duration(text: str) -> int:
    """The ticks of a duration in .NET's constant format, ``[-][d.]hh:mm[:ss[.fffffff]]``.

    Raises ValueError for anything else.
    """
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a duration like [d.]hh:mm:ss: {text!r}")
    sign, days, hours, minutes, seconds, fraction = found.groups()
    ticks = int(days or 0) * DAY + int(hours) * HOUR + int(minutes) * MINUTE + int(seconds or 0) * SECOND
    ticks += int((fraction or "").ljust(7, "0"))
    return -ticks if sign else ticks


def format_duration(ticks: int) -> str:
    """A duration in .NET's constant format, ``[-][d.]hh:mm:ss[.fffffff]``."""
    sign, ticks = ("-", -ticks) if ticks < 0 else ("", ticks)
    days, rest = divmod(ticks, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds, fraction = divmod(rest, SECOND)
    return (
        f"{sign}{f'{days}.' if days else ''}{hours:02d}:{minutes:02d}:{seconds:02d}"
        f"{f'.{fraction:07d}' if fraction else ''}"
    )


def from_unix(seconds: float) -> int:
    """The ticks of a Unix time, to the microsecond that a float of today's size still tells apart."""
    return UNIX_EPOCH + round(seconds * 1_000_000) * 10
