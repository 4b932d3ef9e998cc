"""From stored names to gaps: what is covered, what is due, what would be planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.coverage import cell_of, covered, due_until, is_planned, planned, stored_near
from shared.layout import blob_name
from shared.model import Blob, Container, Export, Window
from shared.windows import DAY, HOUR, MINUTE, grid_floor, overlap, parse_instant, subtract

TEN = parse_instant("2026-11-21T10:00:00")
HOURLY = Export(
    name="events", source="s", kind="log_analytics", options=msgspec.defstruct("Options", [])(), window=HOUR,
    offset=0, lag=15 * MINUTE, start=-DAY, format="jsonl", identity={}, config=b"{}", digest="d",
)  # fmt: skip
hours = st.integers(-80, 80)


class ListedBlobs:
    """A container that knows names and can list them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = sorted(set(names))

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:  # noqa: ARG002  part of the protocol
        """Yield the blobs under a prefix."""
        return (Blob(name, "e", 0) for name in self._names if name.startswith(prefix))


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
    found = covered(stored_near(data, "events", span, longest=30 * HOUR), span)
    assert sorted(found) == sorted({each for each in windows if overlap(each, span)})


def test_other_exports_and_other_names_are_no_coverage() -> None:
    """Neither an export whose name begins alike nor a stranger's blob covers time."""
    window = Window(TEN, TEN + HOUR)
    name = blob_name("events", window, "jsonl")
    data = container(
        blob_name("events-2", window, "jsonl"), name.replace("T11", "T99"), name + "/../x", name[:-6]
    )
    assert stored_near(data, "events", window, HOUR) == []


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


@given(st.lists(stored(), max_size=6), st.integers(-40, 0), st.integers(0, 40))
def test_planned_windows_fill_the_gaps_and_nothing_else(
    windows: list[Window], origin: int, until: int
) -> None:
    """What would be planned covers just what is due and not stored, each window within one cell."""
    span = Window(TEN + origin * HOUR - 20 * MINUTE, TEN + until * HOUR + 1)
    export = replace(HOURLY, window=3 * HOUR, offset=HOUR)
    plan = planned(export, subtract(span, windows))
    assert subtract(span, [*windows, *plan]) == []
    assert not any(overlap(one, other) for one in plan for other in windows)
    assert all(cell_of(export, each.start).end >= each.end for each in plan)


@given(st.lists(stored(), max_size=4), st.integers(-40, 0), st.integers(0, 40))
def test_a_worker_agrees_with_the_planner(windows: list[Window], origin: int, until: int) -> None:
    """A worker that looks only at a message's own cell accepts what the planner issues, and only that."""
    export = replace(HOURLY, window=4 * HOUR)
    now = TEN + until * HOUR
    begin = TEN + origin * HOUR
    due = due_until(export, now)
    plan = planned(export, subtract(Window(begin, due), windows)) if begin < due else []
    for window in plan:
        near = [each for each in windows if overlap(each, cell_of(export, window.start))]
        assert is_planned(export, window, near, begin, now)
        assert not is_planned(export, window, [*near, window], begin, now)
        assert not is_planned(export, Window(window.start, window.end + HOUR), near, begin, now)
    fresh = Window(due, due + export.window)
    assert not is_planned(export, fresh, [], begin, now)
    old = Window(grid_floor(begin, export.window) - export.window, grid_floor(begin, export.window))
    assert not is_planned(export, old, [], begin, now)
