"""Window edges, exact at 100 ns: each row in one window or the other, never in both and never in none."""

from __future__ import annotations

import pytest

from local.cloud import INGESTION_TIME
from local.compare import ticks
from tests.completeness.world import World, at, small_pages_of

pytestmark = pytest.mark.usefixtures("azurite")

EDGE_TICKS = (-2, -1, 0, 1, 2)
EDGES = [ticks(at(hour)) + tick for hour in ("10:00", "11:00", "12:00") for tick in EDGE_TICKS]
"""Around the first and the last edge some rows are outside; around the middle one none is."""


@pytest.mark.parametrize("column", ["ingestion_time", "TimeGenerated"])
@pytest.mark.parametrize("rows_an_answer", [500_000, 3])
def test_rows_on_the_edge_ticks_are_in_just_one_window(
    world: World, column: str, rows_an_answer: int
) -> None:
    """The first tick is in the window and the tick after the last is not, also between slices."""
    world.cloud.set_limits(rows=rows_an_answer)
    elsewhere = ticks(at("10:31"))
    world.cloud.add_rows(
        "Event",
        [
            {
                "TimeGenerated": tick if column == "TimeGenerated" else elsewhere,
                INGESTION_TIME: tick if column == "ingestion_time" else elsewhere,
            }
            for tick in EDGES
        ],
    )
    world.start(world.table(window_column=None if column == "ingestion_time" else column))
    world.drain()
    world.check(world.events(window_column=column))
    assert [len(blob.rows) for blob in world.landed()] == [5, 5]


def test_a_row_without_ingestion_time_goes_by_time_generated(world: World) -> None:
    """A table without an ingestion time policy has nulls there."""
    rows = [{"TimeGenerated": tick} for tick in EDGES]
    world.cloud.add_rows("Event", rows, ingested=None)
    world.start(world.table())
    world.drain()
    world.check(world.events(window_column="TimeGenerated"))


def test_graph_records_on_the_edge_ticks_are_in_just_one_window(world: World) -> None:
    """Graph is asked a second wider on both sides and cut here, on text whose zeros are trimmed."""
    fractions = ("", ".0000001", ".0000002", ".1", ".10", ".100", ".5", ".9999998", ".9999999", ".9999990")
    seconds = ("09:59:58", "09:59:59", "10:00:00", "10:59:59", "11:00:00", "11:59:59", "12:00:00", "12:00:01")
    world.cloud.add_audits(
        [{"activityDateTime": f"2026-03-10T{second}{part}Z"} for second in seconds for part in fractions]
    )
    world.start(world.audits())
    world.drain()
    world.check_audits()
    assert sum(len(blob.rows) for blob in world.landed("audits")) == 40


def test_records_of_one_instant_across_a_page_edge_land_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same time on both sides of a page's edge, and of a window's, is no reason to skip or to repeat."""
    small_pages_of(monkeypatch)
    for time in ("10:59:59.9999999", "11:00:00", "11:30:00.5"):
        world.cloud.add_audits([{"activityDateTime": at(time)} for _ in range(12)])
    world.start(world.audits())
    world.drain()
    world.check_audits()
    assert int(world.one("audits", "11:00").metadata["requests"]) > 4


def test_an_origin_within_a_cell_begins_on_its_own_second(world: World) -> None:
    """The first window is a part of its grid cell, and has the rows from the first tick on."""
    start = ticks(at("10:20:30"))
    rows = [{"TimeGenerated": start + tick} for tick in EDGE_TICKS]
    world.cloud.add_rows("Event", [row | {INGESTION_TIME: row["TimeGenerated"]} for row in rows])
    world.start(world.table(start=at("10:20:30")))
    world.drain()
    world.check(start="10:20:30")
    assert world.windows()[0] == (at("10:20:30"), at("11:00:00"))
