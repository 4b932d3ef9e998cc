"""A changed exports file: no gap and no double at the change, and what is stored stays what it is."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from local.compare import ticks
from shared.errors import OriginError
from tests.completeness.truth import Row
from tests.completeness.world import World, at, spread

pytestmark = pytest.mark.usefixtures("azurite")

NARROW = "project TimeGenerated, EventRecordId"


def narrow(row: dict[str, Any]) -> Row:
    """What NARROW leaves of a row."""
    return {key: row[key] for key in ("TimeGenerated", "EventRecordId")}


def seen_by_a_glob_reader(world: World) -> Counter[int]:
    """How often each row stands in the container for somebody who reads all its blobs."""
    assert all(blob.name.startswith("events/") for blob in world.data.list_blobs())
    return Counter(int(row["EventRecordId"]) for blob in world.landed() for row in blob.rows)


KQL = "Event | where ingestion_time() >= window_start and ingestion_time() < window_end"

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a shorter window": ({}, {"window": "20m"}),
    "a longer window": ({}, {"window": "3h"}),
    "a window that divides nothing": ({}, {"window": "13m"}),
    "an offset": ({}, {"offset": "25m"}),
    "window and offset": ({"window": "40m", "offset": "10m"}, {"window": "90m", "offset": "5m"}),
    "a pipeline": ({}, {"pipeline": NARROW}),
    "a format": ({}, {"format": "jsonl"}),
    "a format back": ({"format": "jsonl"}, {}),
    "kql": ({"table": None, "kql": KQL}, {"table": None, "kql": KQL + " and EventLevel != 7"}),
    "a lag": ({}, {"lag": "2h"}),
    "a window column": ({}, {"window_column": "TimeGenerated"}),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_two_runs_leaves_no_gap_and_no_double(world: World, change: str) -> None:
    """A planned window is its grid cell cut to the gap, so old and new windows meet and do not overlap."""
    before, after = CHANGES[change]
    world.cloud.add_rows("Event", spread(90, "09:00", "18:00"))
    world.start(world.table(recheck=[], **before))
    world.drain()
    old = world.landed()
    reached = old[-1].metadata["window_end"]
    world.start(world.table(recheck=[], **after))
    world.clock.tick = ticks(at("15:20"))
    world.drain()
    until = world.coverage()["due_until"]
    assert until > reached
    world.check(end=reached)
    shaped = narrow if "pipeline" in after else dict
    world.check(world.events(shaped=shaped), start=reached, end=until)
    assert [each for each in world.landed() if each.name in {blob.name for blob in old}] == old
    seen = seen_by_a_glob_reader(world)
    assert set(seen.values()) == {1}
    assert set(seen) == {
        int(row["EventRecordId"]) for time, row in world.events() if ticks(at("10:00")) <= time < ticks(until)
    }


def test_a_change_and_a_gap_in_the_middle_fit_together(world: World) -> None:
    """A window that was deleted under another grid is filled by parts of cells of the new one."""
    world.cloud.add_rows("Event", spread(90, "09:00", "18:00"))
    world.start(world.table(recheck=[]))
    world.clock.tick = ticks(at("14:20"))
    world.drain()
    world.data.delete_blob(world.one(start="11:00").name)
    world.start(world.table(recheck=[], window="45m", offset="10m"))
    world.clock.tick += 7 * 60 * 60 * 10_000_000
    world.drain()
    world.check(end=world.coverage()["due_until"])
    assert set(seen_by_a_glob_reader(world).values()) == {1}


def test_a_message_of_the_old_configuration_is_dropped(world: World) -> None:
    """What was queued before a change would not fit the new windows: it stores nothing."""
    world.cloud.add_rows("Event", spread(90, "09:00", "18:00"))
    world.start(world.table())
    stale = world.plan()
    world.start(world.table(window="30m"))
    for message in stale:
        world.deliver(message)
    assert world.landed() == []
    world.pass_time(1.1)
    world.drain()
    world.check(end=world.coverage()["due_until"])


FORCED: dict[str, dict[str, Any]] = {
    "a format": {"format": "jsonl"},
    "a pipeline": {"pipeline": NARROW},
    "a format and a pipeline": {"format": "jsonl", "pipeline": NARROW},
    "a format and a window": {"format": "jsonl", "window": "30m", "offset": "5m"},
}


@pytest.mark.parametrize("change", FORCED)
def test_a_forced_backfill_redoes_windows_at_their_stored_bounds(world: World, change: str) -> None:
    """It brings what is stored into the new form and leaves no superseded blob behind."""
    after = FORCED[change]
    world.cloud.add_rows("Event", spread(40, "10:00", "14:00"))
    world.start(world.table(recheck=[]))
    world.drain()
    bounds = world.windows()
    world.start(world.table(recheck=[], **after))
    world.backfill(at("10:00"), at("12:00"), force=True)
    world.drain()
    assert [each for each in world.windows() if each[1] <= at("12:00:00")] == bounds
    world.check(world.events(shaped=narrow if "pipeline" in after else dict))
    redone = [blob for blob in world.landed() if blob.metadata["window_end"] <= at("12:00:00")]
    assert [blob.revision for blob in redone] == [2, 2]
    extension = ".jsonl" if "format" in after else ".jsonl.gz"
    assert all(blob.name.endswith(f"Z{extension}") for blob in redone)
    assert set(seen_by_a_glob_reader(world).values()) == {1}
    assert world.coverage()["backfills"] == []


def test_a_redo_that_died_before_it_deleted_the_old_form_is_finished(world: World) -> None:
    """Two forms of one window may be seen for a moment; the next attempt keeps the newer."""
    world.cloud.add_rows("Event", spread(40, "10:00", "12:00"))
    world.start(world.table(recheck=[]))
    world.drain()
    old = world.one()
    world.start(world.table(recheck=[], format="jsonl"))
    world.backfill(at("10:00"), at("11:00"), force=True)
    (message,) = world.plan()
    world.deliver(message)
    world.data.upload_blob(old.name, old.content, metadata=dict(old.metadata))  # as if it had not come so far
    world.deliver(message)
    world.drain()
    world.check()
    assert set(seen_by_a_glob_reader(world).values()) == {1}
    assert world.one().name.endswith(".jsonl")


def test_two_forms_of_a_window_do_not_stay_when_the_message_is_lost(world: World) -> None:
    """Nobody delivers the message of a redo that died: the planner asks for it again, and that clears up."""
    world.cloud.add_rows("Event", spread(40, "10:00", "12:00"))
    world.start(world.table(recheck=[]))
    world.drain()
    old = world.one()
    world.start(world.table(recheck=[], format="jsonl"))
    world.backfill(at("10:00"), at("11:00"), force=True)
    (message,) = world.plan()
    world.deliver(message)
    world.data.upload_blob(old.name, old.content, metadata=dict(old.metadata))
    world.pass_time(1.5)
    world.drain()
    assert set(seen_by_a_glob_reader(world).values()) == {1}


def test_another_sources_data_is_refused_under_the_same_name(world: World) -> None:
    """A name belongs to one table of one workspace: nothing of another one is ever planned or stored."""
    world.cloud.add_rows("Event", spread(4, "10:00", "12:00"))
    world.cloud.add_rows("Heartbeat", [{"TimeGenerated": at("10:30")}], at("10:30"))
    world.start(world.table())
    (message, *_) = world.plan()
    world.drain()
    before = world.landed()
    for other in ({"table": "Heartbeat"}, {"workspace": world.cloud.foreign_workspace_id},
                  {"table": None, "kql": KQL}):  # fmt: skip
        world.start(world.table(**other))
        world.pass_time(7)
        assert world.drain() == []
        with pytest.raises(OriginError, match="belongs to"):
            world.coverage()
        with pytest.raises(OriginError, match="belongs to"):
            world.backfill(at("09:00"), at("10:00"))
        world.deliver(message)
        assert world.landed() == before


def test_another_tenant_and_another_log_are_refused_under_the_same_name(world: World) -> None:
    """So is another tenant's log, and another log of the same tenant."""
    world.cloud.add_audits([{"activityDateTime": at("10:30")}])
    world.start(world.audits())
    world.drain()
    before = world.landed("audits")
    world.start(world.audits(), AZURE_TENANT_ID="11111111-2222-3333-4444-555555555555")
    world.pass_time(2)
    assert world.drain() == []
    origin = world.state.get_blob_client("audits/origin.json")
    document = json.loads(origin.download_blob().readall())
    document["identity"]["log"] = "signIns"  # as an app would have left it that exported that log
    origin.upload_blob(json.dumps(document), overwrite=True)
    world.start(world.audits())
    assert world.drain() == []
    assert world.landed("audits") == before


def test_one_refused_export_does_not_stop_its_neighbours(world: World) -> None:
    """A wrong export disables itself only."""
    world.cloud.add_rows("Event", spread(4, "10:00", "12:00"))
    world.start(world.table("taken", table="Heartbeat"))
    world.drain()
    before = world.landed("taken")
    world.start(world.table("taken"), world.table())
    world.drain()
    world.check()
    assert world.landed("taken") == before
