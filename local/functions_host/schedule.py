"""NCRONTAB: Azure Functions' own dialect of cron, checked strictly; croniter does the arithmetic.

Grammar as in "Timer trigger for Azure Functions" (Microsoft Learn) and in NCrontab, the host's own library.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from croniter import CroniterError, croniter

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


class ScheduleError(ValueError):
    """The text is not a schedule that Azure Functions runs; the message says which part."""


@dataclass(frozen=True)
class Schedule:
    """A checked schedule in UTC.

    `values` holds what matches for each of second, minute, hour, day of month, month and day of week. A time
    matches when all six do: unlike in other crons, day of month AND day of week.
    """

    text: str
    values: tuple[frozenset[int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read six fields, or five (second 0). Raises `ScheduleError`, also for no such date."""
        parts = [part for part in text.split(" ") if part]
        if len(parts) == 5:
            parts.insert(0, "0")
        if len(parts) != 6:
            raise ScheduleError(
                f"{text!r} is not an NCRONTAB schedule: it needs six fields "
                "(second minute hour day month day-of-week), or five without the second"
                + ("; a time span runs on dedicated plans only" if ":" in text else "")
            )
        pairs = zip(_FIELDS, parts, strict=True)
        schedule = cls(text, tuple(frozenset(_values(field, part, text)) for field, part in pairs))
        schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
        return schedule

    def next_after(self, moment: datetime) -> datetime:
        """Return the first occurrence strictly after `moment` (aware), in UTC."""
        fields = " ".join(map(_listed, _FIELDS, self.values))
        # 29 February on one day of the week comes every 28 years, and after 40 across a year such as 2100.
        options = {"second_at_beginning": True, "day_or": False, "max_years_between_matches": 41}
        cron = croniter(fields, moment.astimezone(UTC), **options)
        try:
            found: datetime = cron.get_next(datetime)
        except CroniterError as error:
            raise ScheduleError(f"{self.text!r} never occurs: there is no such date") from error
        return found

    def is_frequent(self, moment: datetime) -> bool:
        """Whether two of the next occurrences are less than a minute apart: the host then keeps no status."""
        first = self.next_after(moment)
        for _ in range(5):
            second = self.next_after(first)
            if second - first < timedelta(minutes=1):
                return True
            first = second
        return False


def _listed(field: _Field, values: frozenset[int]) -> str:
    return "*" if len(values) == field.high - field.low + 1 else ",".join(map(str, sorted(values)))


def _values(field: _Field, part: str, text: str) -> set[int]:
    found: set[int] = set()
    for item in part.split(","):
        try:
            found.update(_item(field, item))
        except ValueError as error:
            raise ScheduleError(f"{text!r}: {item!r} is not valid for the {field.name}: {error}") from None
    return found


def _item(field: _Field, item: str) -> range:
    """`*`, `a`, `a-b`, and each of these with `/n`; `a/n` runs from a to the field's end."""
    span, slash, step_text = item.partition("/")
    step = _number(step_text) if slash else 1
    if step < 1:
        raise ValueError("a step must be at least 1")
    if span == "*":
        return range(field.low, field.high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _value(field, first_text)
    if dash:
        # NCrontab reads a range that runs backwards as the same range forwards.
        first, last = sorted((first, _value(field, last_text)))
    else:
        last = field.high if slash else first
    return range(first, last + 1, step)


def _value(field: _Field, text: str) -> int:
    if text[:1].isdecimal() or not field.names:
        number = _number(text)
        if not field.low <= number <= field.high:
            raise ValueError(f"it must be from {field.low} to {field.high}")
        return number
    for index, name in enumerate(field.names):
        if text and name.startswith(text.lower()):
            return field.low + index
    raise ValueError(f"it must be a number or one of {', '.join(name[:3] for name in field.names)}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("it must be a number")
    return int(text)
