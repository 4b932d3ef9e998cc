"""NCRONTAB schedules, against a reading of the fields that shares nothing with the host's."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.schedule import Schedule, ScheduleError

RANGES = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

Field = tuple[str, frozenset[int]]
"""A field as written, and what it means."""


@st.composite
def values(draw: st.DrawFn, index: int) -> tuple[str, int]:
    """A number or a name of one field, as written and as meant."""
    low, high = RANGES[index]
    number = draw(st.integers(low, high))
    names = {4: MONTHS, 5: DAYS}.get(index)
    if names and draw(st.booleans()):
        name = names[number - low][: draw(st.integers(3, 9))]
        return draw(st.sampled_from([name, name.upper(), name.lower()])), number
    return draw(st.sampled_from([str(number), f"{number:02d}"])), number


@st.composite
def items(draw: st.DrawFn, index: int) -> Field:
    """One item of a field's list."""
    low, high = RANGES[index]
    step = draw(st.integers(1, 70))
    text, first = draw(values(index))
    other, last = draw(values(index))
    between = [n for n in range(low, high + 1) if min(first, last) <= n <= max(first, last)]
    above = [n for n in range(low, high + 1) if n >= first]
    return draw(st.sampled_from([
        ("*", frozenset(range(low, high + 1))),
        (f"*/{step}", frozenset(n for n in range(low, high + 1) if (n - low) % step == 0)),
        (text, frozenset([first])),
        (f"{text}/{step}", frozenset(n for n in above if (n - first) % step == 0)),
        (f"{text}-{other}", frozenset(between)),
        (f"{text}-{other}/{step}", frozenset(n for n in between if (n - between[0]) % step == 0)),
    ]))  # fmt: skip


@st.composite
def fields(draw: st.DrawFn, index: int) -> Field:
    """A list of items."""
    parts = draw(st.lists(items(index), min_size=1, max_size=3))
    return ",".join(text for text, _ in parts), frozenset[int]().union(*(meant for _, meant in parts))


MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made UTC
SCHEDULES = st.tuples(*(fields(index) for index in range(6)))


def day_matches(day: date, meant: list[frozenset[int]]) -> bool:
    """Whether day, month and day of week all match; Sunday is 0."""
    return day.day in meant[3] and day.month in meant[4] and (day.weekday() + 1) % 7 in meant[5]


def first_after(moment: datetime, meant: list[frozenset[int]]) -> datetime | None:
    """Walk day by day to the first matching time after `moment`; None after 41 years."""
    times = sorted(time(h, m, s) for h in meant[2] for m in meant[1] for s in meant[0])
    for offset in range(41 * 366):
        day = moment.date() + timedelta(days=offset)
        start = bisect_right(times, moment.time()) if offset == 0 else 0
        if start < len(times) and day_matches(day, meant):
            return datetime.combine(day, times[start], UTC)
    return None


@given(SCHEDULES, MOMENTS)
def test_next_run_is_the_first_match_after_now(schedule: tuple[Field, ...], moment: datetime) -> None:
    """It lies after now, matches all six fields, and no match is left out in between."""
    text = " ".join(part for part, _ in schedule)
    expected = first_after(moment, [meant for _, meant in schedule])
    if expected is None:
        with pytest.raises(ScheduleError, match="never occurs"):
            Schedule.parse(text)
    else:
        assert Schedule.parse(text).next_after(moment) == expected


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("0 */5 * * * *", "2026-11-21T10:00:00", "2026-11-21T10:05:00"),
        ("0 */5 * * * *", "2026-11-21T10:04:59.999999", "2026-11-21T10:05:00"),
        ("*/5 * * * *", "2026-11-21T10:00:00", "2026-11-21T10:05:00"),
        ("0 0 9-17 * * MON-FRI", "2026-11-21T10:00:00", "2026-11-23T09:00:00"),
        ("0 30 9 * Jan Mon", "2026-11-21T10:00:00", "2027-01-04T09:30:00"),
        ("0 0 0 13 * 5", "2026-11-21T10:00:00", "2027-08-13T00:00:00"),
        ("0 0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("5/15 * * * * *", "2026-11-21T10:00:06", "2026-11-21T10:00:20"),
        ("0 0 0 1 j *", "2026-11-21T10:00:00", "2027-01-01T00:00:00"),
        ("0 0 5-3 * * *", "2026-11-21T00:00:00", "2026-11-21T03:00:00"),
        ("  0  0   0 1 1 * ", "2026-11-21T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_examples_of_the_documentation_and_edges(text: str, now: str, expected: str) -> None:
    """Six fields or five, names by prefix, day and day of week both, `a/n` to the end, ranges either way."""
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert Schedule.parse(text).next_after(moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_moment_in_another_zone_is_the_same_moment() -> None:
    """Schedules are in UTC whatever the caller's clock shows."""
    moment = datetime.fromisoformat("2026-11-21T23:59:00-05:00")
    expected = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    assert Schedule.parse("0 0 * * * *").next_after(moment) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "* * * *", "* * * * * * *", "60 * * * * *", "* 60 * * * *", "* * 24 * * *", "* * * 0 * *",
        "* * * 32 * *", "* * * * 0 *", "* * * * 13 *", "* * * * * 7", "* * * * * SUN-7", "0 0 0 L * *",
        "0 0 0 15W * *", "0 0 0 * * 5#2", "0 0 0 ? * *", "@hourly", "@every 5m", "0 0 0 1 1 * 2027",
        "*/0 * * * * *",
        "*/x * * * * *", "1,,2 * * * * *", ",1 * * * * *", "1- * * * * *", "-1 * * * * *", "1/ * * * * *",
        "/5 * * * * *", "* * * * Foo *", "0 0 0 30 2 *", "0 0 0 31 4,6,9,11 *", "00:05:00", "* * * Mon * *",
        "+5 * * * * *", "٣ * * * * *", "R * * * * *", "H * * * * *", "0\t0 0 * * *",
        "1-2-3 * * * * *", "*/5/5 * * * * *",
    ],
)  # fmt: skip
def test_text_that_azure_would_not_run_is_refused(text: str) -> None:
    """What other crons know and NCRONTAB does not, values out of range, and dates that never come."""
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "frequent"),
    [("*/30 * * * * *", True), ("0 * * * * *", False), ("0,1 0 * * * *", True), ("0 */5 * * * *", False)],
)
def test_schedule_with_less_than_a_minute_between_runs_is_frequent(text: str, *, frequent: bool) -> None:
    """The real host keeps no status for such a schedule."""
    assert Schedule.parse(text).is_frequent(datetime(2026, 11, 21, tzinfo=UTC)) is frequent
