"""How a window is cut before anything was too large: by what was measured, and by one count at first."""

from __future__ import annotations

import re

from local.compare import ticks
from tests.completeness.world import HOUR, World, at, spread

ANSWER_MB = "1"
"""The smallest bound of our own on an answer."""

KILOBYTES_10 = "x" * 10_000


def counts(queries: list[str]) -> int:
    """How many of some queries measure a window."""
    return sum("estimate_data_size" in each for each in queries)


def test_the_first_window_asks_one_count_and_later_ones_none(world: World) -> None:
    """What the last windows held tells how to cut the next."""
    world.cloud.add_rows("Event", spread(60, "10:00", "13:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    assert counts(world.queries()) == 1
    world.cloud.clear_requests()
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    new = [each for each in world.queries() if "rows_of" not in each and "counted_from" not in each]
    assert counts(new) == 0
    assert len(new) == 2
    world.check(end="13:00")


def test_a_first_window_is_cut_by_its_count(world: World) -> None:
    """Three megabytes are asked for in at least three slices where an answer may hold one."""
    world.cloud.add_rows("Event", spread(300, "10:00", "11:00", RenderedDescription=KILOBYTES_10))
    world.start(world.table(), EXPORT_ANSWER_MB=ANSWER_MB)
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.check(end="11:00")
    assert int(world.one().metadata["slices"]) >= 3
    assert largest_answer(world) < 1_300_000


def test_windows_are_cut_by_what_the_last_ones_held(world: World) -> None:
    """The second window is cut without a count, so that no answer is larger than was asked for."""
    world.cloud.add_rows("Event", spread(600, "10:00", "12:00", RenderedDescription=KILOBYTES_10))
    world.start(world.table(), EXPORT_ANSWER_MB=ANSWER_MB)
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.cloud.clear_requests()
    world.clock.tick = ticks(at("12:20"))
    world.drain()
    world.check()
    assert counts(world.queries()) == 0
    assert int(world.one(start="11:00").metadata["slices"]) >= 3
    assert largest_answer(world) < 1_300_000


def test_a_quiet_window_does_not_hide_the_large_ones_before_it(world: World) -> None:
    """Of the last windows the largest counts: asking too often costs less than asking too much."""
    world.cloud.add_rows("Event", spread(300, "10:00", "11:00", RenderedDescription=KILOBYTES_10))
    world.cloud.add_rows("Event", spread(3, "11:00", "12:00"))
    world.cloud.add_rows("Event", spread(300, "12:00", "13:00", RenderedDescription=KILOBYTES_10))
    world.start(world.table(recheck=[]), EXPORT_ANSWER_MB=ANSWER_MB)
    for hour in (11, 12, 13):
        world.clock.tick = ticks(at(f"{hour}:20"))
        world.drain()
    world.check(end="13:00")
    assert largest_answer(world) < 1_300_000


def largest_answer(world: World) -> int:
    """Bytes of the largest slice's rows, from what was asked: the rows of its span, as they landed."""
    rows = world.events()
    largest = 0
    for query in world.queries():
        bounds = re.findall(r"window_(?:start|end) = datetime\(([^)]+)\)", query)
        if len(bounds) == 2 and "estimate_data_size" not in query:
            start, end = map(ticks, bounds)
            largest = max(largest, sum(10_300 for time, _ in rows if start <= time < end))
    return largest


def test_a_volume_that_jumps_tenfold_lands_completely(world: World) -> None:
    """A window that was cut too coarsely is halved by the service's own limit."""
    world.cloud.set_limits(rows=50)
    world.cloud.add_rows("Event", spread(30, "10:00", "11:00"))
    world.cloud.add_rows("Event", spread(300, "11:00", "12:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.clock.tick = ticks(at("12:20"))
    world.drain()
    world.check()
    assert int(world.one(start="11:00").metadata["slices"]) >= 6


def test_other_configurations_windows_measure_nothing(world: World) -> None:
    """With another pipeline the sizes are other ones: one count is asked again."""
    world.cloud.add_rows("Event", spread(60, "10:00", "12:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.start(world.table(pipeline="project TimeGenerated, EventRecordId"))
    world.cloud.clear_requests()
    world.clock.tick = ticks(at("12:20"))
    world.drain()
    assert counts([each for each in world.queries() if "12:00:00" in each]) == 1


def test_a_window_that_is_stored_again_is_cut_by_what_it_holds(world: World) -> None:
    """Neither a recheck that found more rows nor a forced backfill counts first."""
    world.cloud.add_rows("Event", spread(300, "10:00", "11:00", RenderedDescription=KILOBYTES_10))
    world.cloud.add_rows("Event", spread(1, "10:30", "10:31"), visible_at=at("11:40"))
    world.start(world.table(recheck=["1h"]), EXPORT_ANSWER_MB=ANSWER_MB)
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    for forced in (False, True):
        world.cloud.clear_requests()
        world.clock.tick += 2 * HOUR
        if forced:
            world.backfill(at("10:00"), at("11:00"), force=True)
        world.drain()
        again_asked = [each for each in world.queries() if "window_start = datetime(2026-03-10T10" in each]
        assert len(again_asked) >= 3
        assert counts(again_asked) == 0
        assert largest_answer(world) < 1_300_000
    assert world.one().revision == 3
    assert len(world.one().rows) == 301
    assert int(world.one().metadata["slices"]) >= 3


def test_requests_and_slices_in_the_receipt_are_true(world: World) -> None:
    """Every question that a window took is counted, those that were halved too."""
    world.cloud.set_limits(rows=50)
    world.cloud.add_rows("Event", spread(170, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.cloud.clear_requests()
    world.drain()
    asked = world.queries()
    metadata = world.one().metadata
    answered = int(metadata["slices"])
    slices = [each for each in asked if "estimate_data_size" not in each]
    assert len(slices) == len(set(slices))
    assert answered == 4
    assert int(metadata["requests"]) == len(asked)
    assert int(metadata["answer_bytes"]) > 170 * 200
