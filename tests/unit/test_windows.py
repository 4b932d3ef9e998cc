"""Instants, durations, and interval arithmetic, held against sets of ticks."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import Window
from shared.windows import (
    DAY,
    END_OF_TIME,
    HOUR,
    SECOND,
    cells,
    cells_newest_first,
    clipped,
    format_duration,
    format_instant,
    format_second,
    from_datetime,
    grid_floor,
    hull,
    overlap,
    overlapping,
    parse_duration,
    parse_instant,
    subtract,
    union,
)
from tests.unit.strategies import spans, ticks, whole_seconds

many = st.lists(spans(), max_size=8)
lengths = st.integers(1, 25)
offsets = st.integers(-30, 30)


def ticks_of(*windows: Window) -> set[int]:
    """Return the ticks in windows, one by one."""
    return {tick for window in windows for tick in range(window.start, window.end)}


@given(ticks)
def test_an_instant_survives_writing_and_reading(tick: int) -> None:
    """Every tick of the years 0001 to 9999 has one text of seven digits, which reads back to it."""
    text = format_instant(tick)
    assert parse_instant(text) == tick
    assert len(text) == len("0001-01-01T00:00:00.0000000Z")


@given(ticks, ticks)
def test_text_order_is_time_order(one: int, other: int) -> None:
    """The texts of instants sort as the instants do."""
    assert (format_instant(one) < format_instant(other)) == (one < other)


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_agree_with_datetime(instant: datetime) -> None:
    """What Python's own calendar knows, to the microsecond, has the same text and tick here."""
    tick = from_datetime(instant)
    assert format_instant(tick) == instant.strftime("%m-%dT%H:%M:%S.%f").join([f"{instant.year:04}-", "0Z"])
    assert tick == (instant - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10


@given(whole_seconds, st.integers(0, SECOND - 1))
def test_zeros_at_the_end_of_a_fraction_may_be_missing(second: int, fraction: int) -> None:
    """A service cuts the zeros at a fraction's end off; the tick is the same."""
    digits = f".{fraction:07}".rstrip("0").rstrip(".")
    assert parse_instant(format_second(second)[:-1] + digits + "Z") == second + fraction


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001  zoned below
def test_a_zone_is_taken_off(naive: datetime, minutes: int) -> None:
    """An instant of any zone becomes the same instant of UTC."""
    instant = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_instant(instant.isoformat()) == from_datetime(instant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0001-01-01", "0001-01-01T00:00:00.0000000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.0000000Z"),
        ("2026-11-21 10:00:00", "2026-11-21T10:00:00.0000000Z"),
        ("2026-11-21t10:00:00.5z", "2026-11-21T10:00:00.5000000Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
        ("0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00.0000000Z"),
    ],
)
def test_forms_of_instants(text: str, expected: str) -> None:
    """A date alone is its midnight, a missing zone is UTC, and both ends of time can be said."""
    assert format_instant(parse_instant(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21T",
        "2026-11-21T10:00",
        "2026-02-29",
        "2026-13-01",
        "0000-01-01",
        "2026-11-21T24:00:00Z",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:00:60Z",
        "2026-11-21T10:00:00.12345678Z",
        "2026-11-21T10:00:00.Z",
        "2026-11-21T10:00:00Z\n",
        "٢٠٢٦-11-21",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-11-21T10:00:00+24:00",
        "2026-11-21T10:00:00+01:60",
    ],
)
def test_anything_else_is_no_instant(text: str) -> None:
    """A text that is no instant of the years 0001 to 9999 is refused."""
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


def test_a_second_must_be_whole() -> None:
    """A tick between seconds is not rounded into a name."""
    with pytest.raises(ValueError, match="whole second"):
        format_second(1)


@given(st.integers(0, 36_525), st.sampled_from("smhd"))
def test_a_duration_survives_writing_and_reading(count: int, unit: str) -> None:
    """A duration keeps its ticks, in whichever unit it is written."""
    span = parse_duration(f"{count}{unit}")
    assert span == count * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] * SECOND
    if span <= 999_999_999 * SECOND or span % DAY == 0:
        assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(("ticks_", "text"), [(7 * DAY, "7d"), (36 * HOUR, "36h"), (90 * SECOND, "90s")])
def test_the_largest_whole_unit_is_written(ticks_: int, text: str) -> None:
    """A duration is written as people write it."""
    assert format_duration(ticks_) == text


@pytest.mark.parametrize(
    "text", ["", "1", "h", "-1h", "1.5h", " 1h", "1h ", "1H", "1w", "PT1H", "٣h", "1h\n"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    """A text that is no duration is refused, and the message shows the forms that are."""
    with pytest.raises(ValueError, match="15m"):
        parse_duration(text)


def test_a_part_of_a_second_is_no_duration() -> None:
    """Durations are whole seconds; a rest is not dropped."""
    with pytest.raises(ValueError, match="whole number of seconds"):
        format_duration(SECOND + 1)


def test_a_day_of_the_grid_begins_at_midnight_and_a_week_on_monday() -> None:
    """The grid begins at 0001-01-01, a Monday, as Kusto's ``bin`` does."""
    saturday = parse_instant("2026-11-21T10:20:30")
    assert format_instant(grid_floor(saturday, DAY))[:19] == "2026-11-21T00:00:00"
    assert format_instant(grid_floor(saturday, 7 * DAY))[:19] == "2026-11-16T00:00:00"
    assert format_instant(grid_floor(saturday, 7 * DAY, 6 * DAY))[:19] == "2026-11-15T00:00:00"


@given(st.integers(0, 10**6), lengths, offsets)
def test_a_tick_lies_in_its_cell(tick: int, length: int, offset: int) -> None:
    """The cell found for a tick holds it and begins on the grid."""
    start = grid_floor(tick, length, offset)
    assert start <= tick < start + length
    assert (start - offset) % length == 0


@given(spans(), lengths, offsets)
def test_every_tick_of_a_span_is_in_just_one_cell(span: Window, length: int, offset: int) -> None:
    """Cells lie side by side from one end of the span to the other, and every inner edge is on the grid."""
    cut = list(cells(span, length, offset))
    assert [cut[0].start, cut[-1].end] == [span.start, span.end]
    assert all(
        left.end == right.start and (right.start - offset) % length == 0
        for left, right in itertools.pairwise(cut)
    )
    assert all(
        grid_floor(cell.start, length, offset) == grid_floor(cell.end - 1, length, offset) for cell in cut
    )


@given(spans(), lengths, offsets)
def test_newest_first_gives_the_same_cells(span: Window, length: int, offset: int) -> None:
    """Both orders cut alike."""
    assert list(cells_newest_first(span, length, offset)) == list(cells(span, length, offset))[::-1]


@pytest.mark.parametrize("cut", [cells, cells_newest_first])
def test_a_long_backlog_costs_what_is_taken(cut: object) -> None:
    """Ten thousand years of seconds are not listed for the sake of three of them."""
    assert callable(cut)
    assert len(list(itertools.islice(cut(Window(0, END_OF_TIME), SECOND), 3))) == 3


@given(many)
def test_union_holds_the_same_ticks_and_nothing_touches(windows: list[Window]) -> None:
    """A union has every tick of its parts and no other, in disjoint windows in order."""
    merged = union(windows)
    assert ticks_of(*merged) == ticks_of(*windows)
    assert all(left.end < right.start for left, right in itertools.pairwise(merged))


@given(spans(), many)
def test_subtract_holds_what_the_holes_do_not(span: Window, holes: list[Window]) -> None:
    """What remains is the span's ticks without the holes', in disjoint windows in order."""
    remains = subtract(span, holes)
    assert ticks_of(*remains) == ticks_of(span) - ticks_of(*holes)
    assert all(left.end < right.start for left, right in itertools.pairwise(remains))


@given(spans(), many)
def test_what_remains_and_the_holes_make_the_span(span: Window, holes: list[Window]) -> None:
    """Filling the gaps covers the span: nothing due is left over, nothing is asked twice."""
    remains = subtract(span, holes)
    assert subtract(span, [*remains, *holes]) == []
    assert not any(overlap(gap, hole) for gap in remains for hole in holes)


@given(spans(), spans())
def test_overlap_is_a_common_tick(one: Window, other: Window) -> None:
    """Two windows overlap when a tick is in both; touching is not overlapping."""
    assert overlap(one, other) == bool(ticks_of(one) & ticks_of(other))


@given(many, spans())
def test_overlapping_any_of_many_is_overlapping_one_of_them(windows: list[Window], other: Window) -> None:
    """Whether it is found by bisection or one by one."""
    disjoint = union(windows)
    assert overlapping(disjoint)(other) == any(overlap(each, other) for each in disjoint)


@given(many, spans())
def test_clipping_keeps_the_ticks_of_the_span(windows: list[Window], span: Window) -> None:
    """Each window keeps what it has in the span, and one that has nothing there is left out."""
    kept = clipped(windows, span)
    assert ticks_of(*kept) == ticks_of(*windows) & ticks_of(span)
    assert len(kept) == sum(overlap(each, span) for each in windows)


@given(st.lists(spans(), min_size=1))
def test_a_hull_is_the_shortest_span_that_holds_all(windows: list[Window]) -> None:
    """From the first tick of any to the last one."""
    found = ticks_of(*windows)
    assert hull(windows) == Window(min(found), max(found) + 1)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (5, 4), (-1, 5)])
def test_a_window_has_a_length_and_begins_in_time(start: int, end: int) -> None:
    """An empty, a reversed and a negative window cannot be made."""
    with pytest.raises(ValueError, match="window"):
        Window(start, end)
