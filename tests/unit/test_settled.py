"""What of an export's time need not be listed again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shared.coverage import cell_of, gaps
from shared.in_flight import Settled
from shared.journal import Backfill
from shared.model import Window
from shared.settled import MAX_SPANS, open_time, settled_time
from shared.windows import DAY, HOUR, MINUTE, clipped, union
from tests.unit.test_agenda import HOURLY, NOW, TEN, hours

quarters = st.tuples(st.integers(-200, 20), st.integers(1, 40)).map(
    lambda at: Window(TEN + at[0] * 15 * MINUTE, TEN + (at[0] + at[1]) * 15 * MINUTE)
)
many = st.lists(quarters, max_size=6)


def backfill(id_: str, span: Window) -> Backfill:
    """Return an active backfill."""
    return Backfill(id_, span, force=True, allow_shrink=False, requested_at=NOW)


@given(many, many, many, st.lists(quarters, max_size=2))
def test_all_that_is_not_settled_is_open(
    spans: list[Window], before: list[Window], left: list[Window], asked: list[Window]
) -> None:
    """Nothing falls between: what is wanted was settled, or is listed; and only what is wanted is."""
    wanted = union(spans)
    active = [backfill(f"{number}", span) for number, span in enumerate(asked)]
    known = Settled(NOW, tuple(union(before)), ("0",))
    looked = open_time(HOURLY, wanted, known, active)
    assert gaps(looked, wanted) == []
    unlooked = gaps(wanted, looked)
    assert gaps(unlooked, known.spans) == []
    assert not [part for span in asked[1:] for part in clipped(unlooked, span)], "a new backfill is looked at"
    after = settled_time(HOURLY, wanted, left, active, known.since, NOW)
    assert gaps(after.spans, wanted) == []
    assert not [part for span in left for part in clipped(after.spans, span)]
    assert (after.since, after.backfills) == (known.since, tuple(each.id for each in active))


@given(many, many)
def test_what_is_open_is_whole_cells_of_what_is_wanted(spans: list[Window], before: list[Window]) -> None:
    """A worker looks at its window's whole grid cell, so a plan must not look at less."""
    wanted = union(spans)
    export = replace(HOURLY, window=2 * HOUR, offset=30 * MINUTE)
    looked = open_time(export, wanted, Settled(NOW, tuple(union(before))), [])
    for each in looked:
        cells = Window(cell_of(export, each.start).start, cell_of(export, each.end - 1).end)
        assert gaps(clipped(wanted, cells), looked) == []


def test_what_is_recent_is_never_settled() -> None:
    """Blobs that somebody deletes within a day of their being due are missed at once."""
    week = Window(TEN - 7 * DAY, TEN + 6 * HOUR)
    (span,) = settled_time(HOURLY, [week], [], [], NOW, NOW).spans
    assert span == Window(week.start, NOW - HOURLY.lag - DAY)
    (span,) = settled_time(replace(HOURLY, recheck=()), [week], [], [], NOW, NOW).spans
    assert span == week


def test_only_the_longest_spans_are_remembered() -> None:
    """A document that every window rewrites must not grow with the number of windows that fail."""
    holes = [
        hours(-3 * number - number**2 / 60 - 100, -3 * number - number**2 / 60 - 99) for number in range(99)
    ]
    life = Window(TEN - 90 * DAY, TEN)
    everything = gaps([life], holes)
    kept = settled_time(HOURLY, [life], holes, [], NOW, NOW).spans
    assert len(everything) > MAX_SPANS == len(kept)
    assert list(kept) == sorted(kept)
    assert min(each.end - each.start for each in kept[:-1]) >= HOUR
