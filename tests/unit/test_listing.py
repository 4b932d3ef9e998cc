"""Which beginnings of names are listed: all that is wanted, in few calls, with little beside it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.listing import PAGE, stamps
from shared.model import Window
from shared.windows import DAY, HOUR, MINUTE, SECOND, format_instant, overlap, parse_instant, union
from tests.unit.strategies import windows


def span(start: str, end: str) -> Window:
    """Return the window of two instants."""
    return Window(parse_instant(start), parse_instant(end))


@given(
    st.lists(windows(longest=900 * DAY), max_size=5),
    st.sampled_from([SECOND, MINUTE, HOUR, 7 * DAY]),
    st.none() | windows(longest=4000 * DAY),
    st.floats(0, 1),
)
def test_every_wanted_instant_begins_with_one_stamp(
    spans: list[Window], shortest: int, life: Window | None, share: float
) -> None:
    """Whatever the estimate says: nothing is missed, and nothing is listed twice."""
    found = stamps(spans, shortest, life)
    assert all(not other.startswith(one) for one, other in pairwise(found))
    for each in spans:
        at = format_instant(each.start + int(share * (each.end - each.start - 1)))
        assert sum(at.startswith(stamp) for stamp in found) == 1
    assert found == sorted(found)


@given(st.lists(windows(longest=900 * DAY), min_size=1, max_size=5))
def test_nothing_far_from_what_is_wanted_is_listed(spans: list[Window]) -> None:
    """Each stamp holds something that is wanted."""
    for stamp in stamps(spans, MINUTE):
        assert any(format_instant(each.start)[: len(stamp)] <= stamp for each in spans)
        assert any(stamp <= format_instant(each.end - 1)[: len(stamp)] for each in spans)


@pytest.mark.parametrize(
    ("wanted", "shortest", "expected"),
    [
        (("2026-11-21T10:05", "2026-11-21T10:10"), MINUTE, ["2026-11-21T10"]),
        (("2026-11-21T09:00", "2026-11-21T11:00"), HOUR, ["2026-11-21"]),
        (("2026-11-20T00:00", "2026-11-21T12:00"), HOUR, ["2026-11-2"]),
        (("2026-10-01T00:00", "2026-11-01T00:00"), HOUR, ["2026-10"]),
        (("2026-09-30T23:00", "2026-11-01T00:00"), HOUR, ["2026-09-30T23", "2026-10"]),
        (("2026-10-05T00:00", "2026-10-29T00:00"), HOUR, ["2026-10"]),
        (
            ("2026-10-08T00:00", "2026-10-28T00:00"),
            5 * MINUTE,
            ["2026-10-08", "2026-10-09", "2026-10-1", "2026-10-2"],
        ),
        (("2024-02-20T00:00", "2024-03-01T00:00"), MINUTE, ["2024-02-2"]),
        (("2026-10-05T00:00", "2026-10-08T00:00"), MINUTE, ["2026-10-05", "2026-10-06", "2026-10-07"]),
        (("2026-01-01T00:00", "2027-01-01T00:00"), HOUR, ["2026"]),
        (("2015-06-24T00:00", "2026-11-21T12:00"), HOUR, [""]),
        (("2015-06-24T00:00", "2026-11-21T12:00"), 7 * DAY, [""]),
        (("2024-02-29T23:00", "2024-03-01T01:00"), MINUTE, ["2024-02-29T23", "2024-03-01T00"]),
    ],
)
def test_what_is_listed_is_as_coarse_as_it_pays(
    wanted: tuple[str, str], shortest: int, expected: list[str]
) -> None:
    """Hours, days, months, years or everything, by how many windows lie in them."""
    start, end = (f"{each}:00" for each in wanted)
    assert stamps([span(start, end)], shortest, span("2015-06-24", "2026-11-21T12:00:00")) == expected


@pytest.mark.parametrize("shortest", [MINUTE, 5 * MINUTE, HOUR, DAY])
def test_everything_takes_no_call_more_than_its_pages(shortest: int) -> None:
    """All of an export's time is one listing, page after page."""
    life = Window(parse_instant("2026-11-21") - 100_000 * shortest, parse_instant("2026-11-21"))
    assert stamps([life], shortest, life) == [""]
    assert 100_000 % PAGE == 0


def test_nothing_wanted_is_nothing_listed() -> None:
    """No spans, no calls."""
    assert stamps([], HOUR) == []


def test_scattered_holes_of_a_month_are_one_listing() -> None:
    """A window here and there that waits does not take a call each."""
    month = span("2026-10-01", "2026-11-01")
    holes = [Window(start, start + HOUR) for start in range(month.start, month.end, DAY)]
    assert stamps(holes, HOUR) == ["2026-10"]
    assert not any(overlap(one, other) for one, other in pairwise(union(holes)))
