"""Below a source's retention floor nothing proves anything: such time is recorded, and never claimed."""

from __future__ import annotations

from typing import Any

from local.cloud import INGESTION_TIME
from local.compare import ticks
from tests.completeness.truth import audits_at_source
from tests.completeness.world import MINUTE, World, at

DAYS = [f"2026-03-{day:02}" for day in range(5, 11)]


def add_rows(world: World) -> None:
    """A row and an audit in each half of each day."""
    times = [at(time, day) for day in DAYS for time in ("03:00", "12:10", "15:00")]
    world.cloud.add_rows("Event", [{"TimeGenerated": time, INGESTION_TIME: time} for time in times])
    world.cloud.add_audits([{"activityDateTime": time} for time in times])


def table(world: World, **keys: Any) -> str:
    """An export of table Event from five days back."""
    return world.table(start="2026-03-05T00:00:00Z", window="12h", **keys)


def audits(world: World) -> str:
    """An export of the audits from five days back."""
    return world.audits(start="2026-03-05T00:00:00Z", window="12h")


def test_time_below_a_tables_retention_is_unavailable_and_the_rest_is_exported(world: World) -> None:
    """The service would answer with fewer rows, not with an error; so what is older is not asked for."""
    add_rows(world)
    world.start(table(world, retention="2d"))
    world.drain()
    coverage = world.coverage()
    (first, *_), last = coverage["unavailable"], coverage["unavailable"][-1]
    assert first["start"] == "2026-03-05T00:00:00Z"
    assert "2026-03-08T12:30:00Z" <= last["end"] <= "2026-03-08T12:31:00Z"
    assert "retention" in last["reason"]
    world.check(start=last["end"], end="2026-03-10T12:00:00Z")
    assert coverage["covered"] == [{"start": last["end"], "end": "2026-03-10T12:00:00Z"}]
    assert coverage["gaps"] == []
    assert not any("2026-03-05" in each for each in world.queries())


def test_a_window_that_the_floor_cuts_keeps_what_is_still_there(world: World) -> None:
    """The floor moves on while the timer waits; what it has not reached by then is exported, not chased."""
    add_rows(world)
    world.start(table(world, retention="2d"))
    for _ in range(3):
        world.drain(timers=1)
        world.clock.tick += 5 * MINUTE
    covered = world.coverage()["covered"]
    assert "2026-03-08T12:30:00Z" <= covered[0]["start"] <= "2026-03-08T12:41:00Z"


def test_unavailable_time_is_not_tried_again_and_not_hidden(world: World) -> None:
    """It costs nothing more, and stays in what coverage and verify say."""
    add_rows(world)
    world.start(table(world, retention="2d", recheck=[]))
    world.drain()
    answer = world.verify("2026-03-05T00:00:00Z", "2026-03-10T12:00:00Z")
    assert answer["missing"] == answer["differing"] == []
    assert {each["start"][:10] for each in answer["unavailable"]} >= {
        "2026-03-05", "2026-03-06", "2026-03-07", "2026-03-08"
    }  # fmt: skip
    assert answer["windows"] == len(world.landed())
    world.cloud.clear_requests()
    world.pass_time(7)
    assert world.drain() == []
    assert world.queries() == []


def test_a_longer_retention_tries_the_time_again(world: World) -> None:
    """What was concluded from the old key does not hold under the new one."""
    add_rows(world)
    world.start(table(world, retention="2d"))
    world.drain()
    world.start(table(world, retention="90d"))
    world.drain()
    world.check(start="2026-03-05T00:00:00Z", end="2026-03-10T12:00:00Z")
    assert world.coverage()["unavailable"] == []


def test_a_longer_retention_that_is_not_long_enough_is_no_endless_work(world: World) -> None:
    """What lies below the new floor as well is recorded anew, and then left alone."""
    add_rows(world)
    world.start(table(world, retention="2d", recheck=[]))
    world.drain()
    world.start(table(world, retention="3d", recheck=[]))
    assert len(world.drain()) < 15
    world.check(start=world.windows()[0][0], end="2026-03-10T12:00:00Z")
    coverage = world.coverage()
    assert coverage["gaps"] == []
    assert coverage["unavailable"][0]["start"] == "2026-03-05T00:00:00Z"
    assert coverage["covered"][0]["start"].startswith("2026-03-07T12:3")


def test_a_tables_default_retention_is_thirty_days(world: World) -> None:
    """Without a key the default of a workspace's tables counts."""
    add_rows(world)
    world.start(world.table(start="2026-02-05T00:00:00Z", window="2d", recheck=[]))
    world.drain()
    coverage = world.coverage()
    (day, part) = coverage["unavailable"][-1], coverage["covered"][0]
    assert day["end"] == part["start"]
    assert part["start"].startswith("2026-02-08T12:3")


def test_time_below_graphs_floor_is_unavailable_and_the_rest_is_exported(world: World) -> None:
    """Graph says with a 400 how far back it goes: to a midnight."""
    add_rows(world)
    world.cloud.set_limits(retention_days=2)
    world.start(audits(world))
    world.drain()
    coverage = world.coverage("audits")
    assert coverage["unavailable"][0]["start"] == "2026-03-05T00:00:00Z"
    assert coverage["unavailable"][-1]["end"] == "2026-03-08T00:00:00Z"
    assert "Minimum allowed time" in coverage["unavailable"][-1]["reason"]
    assert coverage["covered"] == [{"start": "2026-03-08T00:00:00Z", "end": "2026-03-10T12:00:00Z"}]
    assert coverage["gaps"] == []
    world.check_audits(start="2026-03-08T00:00:00Z", end="2026-03-10T12:00:00Z")


def test_a_window_that_graphs_floor_cuts_is_exported_from_the_floor_on(world: World) -> None:
    """The part that is still there is not given up with the rest."""
    times = [at(time, "2026-03-08") for time in ("00:00", "00:00:00.0000001", "03:00")]
    times.append(at("23:59:59.9999999", "2026-03-07"))
    world.cloud.add_audits([{"activityDateTime": time} for time in times])
    world.cloud.set_limits(retention_days=2)
    world.start(world.audits(start="2026-03-07T18:00:00Z", window="12h", offset="6h"))
    world.drain()
    world.check_audits(
        [(ticks(str(each["activityDateTime"])), each) for each in world.cloud.audits()],
        start="2026-03-08T00:00:00Z",
        end="2026-03-10T06:00:00Z",
    )
    assert world.coverage("audits")["unavailable"][0]["end"] == "2026-03-08T00:00:00Z"


def test_a_forced_backfill_tries_lost_time_again(world: World) -> None:
    """Where the source keeps more than it said, the time that was given up is exported after all."""
    add_rows(world)
    world.cloud.set_limits(retention_days=2)
    world.start(audits(world))
    world.drain()
    world.cloud.set_limits(retention_days=30)
    world.backfill("2026-03-05T00:00:00Z", "2026-03-08T00:00:00Z", "audits", force=True)
    world.drain()
    world.check_audits(start="2026-03-05T00:00:00Z", end="2026-03-10T12:00:00Z")
    assert world.coverage("audits")["unavailable"] == []


def test_what_was_stored_stays_when_the_source_forgets_it(world: World) -> None:
    """A recheck below the floor keeps the blob and is recorded."""
    add_rows(world)
    truth = audits_at_source(world.cloud)
    world.start(audits(world))
    world.drain()
    world.cloud.set_limits(retention_days=0)
    world.clock.tick = ticks(at("12:20", "2026-03-11"))
    world.drain()
    world.check_audits(truth, start="2026-03-05T00:00:00Z", end="2026-03-10T12:00:00Z")
    assert {outcome for start, _, _, outcome in world.rechecked("audits") if start < "2026-03-10T12"} == {
        "source_shrank"
    }


def test_kept_time_that_was_deleted_on_purpose_is_not_missed(world: World) -> None:
    """`keep` says from when on blobs may be gone, as a lifecycle rule of the account deletes them."""
    add_rows(world)
    world.start(table(world, keep="3d"))
    world.drain()
    assert world.windows()[0][0] >= "2026-03-07"
    for blob in world.landed():
        if blob.metadata["window_start"] < "2026-03-09":
            world.data.delete_blob(blob.name)
    world.pass_time(48)
    world.drain()
    assert world.coverage()["gaps"] == []
    assert world.windows()[0][0] == "2026-03-09T00:00:00Z"
