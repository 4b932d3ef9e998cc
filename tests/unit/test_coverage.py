"""From stored names to gaps: what is covered, what is due, what would be planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agenda import new_windows
from shared.coverage import (
    all_windows,
    cell_of,
    covered,
    due_until,
    gaps,
    is_planned,
    stored_in,
    stored_near,
    wanted,
    windows_in,
)
from shared.journal import Backfill
from shared.layout import blob_name
from shared.listing import Lengths
from shared.model import Blob, Container, Export, Window
from shared.windows import DAY, HOUR, MINUTE, grid_floor, overlap, parse_instant, subtract, union

TEN = parse_instant("2026-11-21T10:00:00")
HOURLY = Export(
    name="events", source="s", kind="log_analytics", options=msgspec.defstruct("Options", [])(), window=HOUR,
    offset=0, lag=15 * MINUTE, start=-DAY,
    recheck=(), retention=None, keep=None, format="jsonl", identity={}, config=b"{}", digest="d",
)  # fmt: skip
hours = st.integers(-80, 80)
LENGTHS = Lengths(HOUR, 30 * HOUR)


class ListedBlobs:
    """A container that knows names and can list them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = sorted(set(names))

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:  # noqa: ARG002  part of the protocol
        """Yield the blobs under a prefix."""
        return (Blob(name, "e", 0) for name in self._names if name.startswith(prefix))

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names under a prefix."""
        return (blob.name for blob in self.list(prefix))


def container(*names: str) -> Container:
    """Return a container of these names."""
    return cast("Container", ListedBlobs(names))


@st.composite
def stored(draw: st.DrawFn) -> Window:
    """Windows of whole hours around ten o'clock."""
    start = TEN + draw(hours) * HOUR
    return Window(start, start + draw(st.integers(1, 30)) * HOUR)


@given(st.lists(stored(), max_size=10), stored())
def test_every_stored_window_that_reaches_into_a_span_is_found(windows: list[Window], span: Window) -> None:
    """A window lies under the time of its begin; the longest there ever was says how far to look back."""
    data = container(*(blob_name("events", window, "jsonl") for window in windows), "events/readme.txt")
    found = covered(stored_near(data, "events", span, LENGTHS), span)
    assert sorted(found) == sorted({each for each in windows if overlap(each, span)})


def test_other_exports_and_other_names_are_no_coverage() -> None:
    """Neither an export whose name begins alike nor a stranger's blob covers time."""
    window = Window(TEN, TEN + HOUR)
    name = blob_name("events", window, "jsonl")
    data = container(
        blob_name("events-2", window, "jsonl"), name.replace("T11", "T99"), name + "/../x", name[:-6]
    )
    assert stored_near(data, "events", window, LENGTHS) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [("10:14:59.9999999", "09:00"), ("10:15:00", "10:00"), ("11:14", "10:00"), ("11:15", "11:00")],
)
def test_a_window_is_due_when_it_has_settled(now: str, expected: str) -> None:
    """An hour is due ``lag`` after its end, and not a tick before."""
    clock = f"{now}:00" if len(now) == 5 else now
    assert due_until(HOURLY, parse_instant(f"2026-11-21T{clock}")) == parse_instant(
        f"2026-11-21T{expected}:00"
    )


@given(st.integers(0, 100 * DAY), st.sampled_from([HOUR, DAY, 7 * HOUR]), st.integers(0, 6))
def test_a_tick_lies_in_its_cell(tick: int, length: int, offset: int) -> None:
    """The cell of a tick holds it, on the export's own grid."""
    export = replace(HOURLY, window=length, offset=offset * HOUR)
    cell = cell_of(export, tick)
    assert cell.start <= tick < cell.end
    assert (cell.end - export.offset) % length == 0


def backfill(start: int, end: int, *, force: bool = False) -> Backfill:
    """Return a backfill of the time between two hours, counted from ten o'clock."""
    return Backfill("id", Window(TEN + start * HOUR, TEN + end * HOUR), force, False, TEN)


def planned(export: Export, missing: Sequence[Window], origin: int, now: int) -> list[Window]:
    """Return the windows that the planner would issue for gaps, oldest first."""
    tasks = new_windows(export, missing, origin, now, forgets=False)
    return sorted(task.flight.window for task in tasks)


def test_wanted_is_what_is_due_since_the_origin() -> None:
    """Without backfills it reaches from the origin to the last settled cell; before that there is nothing."""
    due = TEN + 2 * HOUR
    assert wanted(HOURLY, TEN, [], TEN + 3 * HOUR) == [Window(TEN, due)]
    assert wanted(HOURLY, due, [], TEN + 3 * HOUR) == []


def test_backfills_add_time_before_the_origin_and_never_what_is_not_due() -> None:
    """A backfill may lie before the origin, reach over it, overlap another one, or reach into the future."""
    asked = [backfill(-9, -7), backfill(-8, -5), backfill(-1, 1), backfill(1, 99)]
    assert wanted(HOURLY, TEN, asked, TEN + 3 * HOUR) == [
        Window(TEN - 9 * HOUR, TEN - 5 * HOUR),
        Window(TEN - HOUR, TEN + 2 * HOUR),
    ]


def test_time_older_than_what_is_kept_is_not_wanted() -> None:
    """Blobs that a lifecycle rule deleted on purpose are not gaps."""
    kept = replace(HOURLY, keep=5 * HOUR)
    for now in (TEN + 3 * HOUR + 1, TEN + 3 * HOUR + 20 * MINUTE):
        assert wanted(kept, TEN - DAY, [backfill(-30, -28)], now) == [
            Window(TEN - HOUR, due_until(kept, now))  # cut at the grid, so that it stays where it is
        ]


@given(
    st.lists(stored(), max_size=6),
    st.integers(-40, 0),
    st.integers(0, 40),
    st.lists(stored().map(lambda span: Backfill("id", span, False, False, TEN)), max_size=2),
)
def test_planned_windows_fill_the_gaps_and_nothing_else(
    windows: list[Window], origin: int, until: int, backfills: list[Backfill]
) -> None:
    """What would be planned covers just what is wanted and not stored, each window within one cell."""
    export = replace(HOURLY, window=3 * HOUR, offset=HOUR)
    begin, now = TEN + origin * HOUR - 20 * MINUTE, TEN + until * HOUR + 1
    spans = wanted(export, begin, backfills, now)
    plan = planned(export, gaps(spans, windows), begin, now)
    assert all(subtract(span, [*windows, *plan]) == [] for span in spans)
    assert not any(overlap(one, other) for one in plan for other in windows)
    assert all(subtract(each, spans) == [] for each in plan)
    assert all(cell_of(export, each.start).end >= each.end for each in plan)
    assert len(set(plan)) == len(plan)


@given(
    st.lists(stored(), max_size=4),
    st.integers(-40, 0),
    st.integers(0, 40),
    st.lists(stored().map(lambda span: Backfill("id", span, False, False, TEN)), max_size=2),
)
def test_a_worker_agrees_with_the_planner(
    windows: list[Window], origin: int, until: int, backfills: list[Backfill]
) -> None:
    """A worker that looks only at a message's own cell accepts what the planner issues, and only that."""
    export = replace(HOURLY, window=4 * HOUR)
    now = TEN + until * HOUR
    begin = TEN + origin * HOUR
    due = due_until(export, now)
    spans = wanted(export, begin, backfills, now)
    for window in planned(export, gaps(spans, windows), begin, now):
        near = [each for each in windows if overlap(each, cell_of(export, window.start))]
        assert is_planned(export, window, spans, near)
        assert not is_planned(export, window, spans, [*near, window])
        assert not is_planned(export, Window(window.start, window.end + HOUR), spans, near)
        if window.end - window.start > HOUR:
            assert not is_planned(export, Window(window.start, window.end - HOUR), spans, near)
    fresh = Window(due, due + export.window)
    assert not is_planned(export, fresh, spans, [])
    floor = grid_floor(min([begin, *(each.window.start for each in backfills)]), export.window)
    assert not is_planned(export, Window(floor - export.window, floor), spans, [])


@given(st.lists(stored(), max_size=8), st.lists(stored(), max_size=4), stored())
def test_what_is_stored_in_spans_is_found_once(
    windows: list[Window], spans: list[Window], life: Window
) -> None:
    """A window that two spans reach into is one, and they come oldest first, wherever the rest is thought."""
    data = container(*(blob_name("events", window, "jsonl") for window in windows))
    found = [each.window for each in stored_in(data, "events", spans, LENGTHS, life)]
    assert found == sorted({each for each in windows if any(overlap(each, span) for span in spans)})
    assert windows_in(data, "events", spans, LENGTHS, life) == found
    assert all_windows(data, "events") == sorted(set(windows))


def test_a_window_with_two_blobs_is_found_twice() -> None:
    """Names alone tell that a redo was interrupted."""
    window = Window(TEN, TEN + HOUR)
    data = container(*(blob_name("events", window, extension) for extension in ("csv", "jsonl")))
    assert all_windows(data, "events") == [window, window]
    assert windows_in(data, "events", [window], LENGTHS, window) == [window, window]


@given(st.lists(stored(), max_size=6), st.lists(stored(), max_size=6))
def test_gaps_are_what_subtracting_each_hole_leaves(spans: list[Window], holes: list[Window]) -> None:
    """However many spans and holes there are: the fast way gives what the plain one does."""
    assert gaps(union(spans), holes) == [gap for span in union(spans) for gap in subtract(span, holes)]
