"""Prove it: what is covered, whether it is what the source holds, and how to have it mended."""

from __future__ import annotations

import pytest

from local.compare import ticks
from shared.errors import BadRequestError, NotFoundError
from tests.completeness.world import World, at, spread

pytestmark = pytest.mark.usefixtures("azurite")

RANGE = (at("10:00"), at("12:00"))
FLIPPED = 10


@pytest.fixture
def exported(world: World) -> World:
    """Return a world with twenty rows exported, in two windows."""
    world.cloud.add_rows("Event", spread(20, "10:00", "12:00"))
    world.start(world.table(recheck=[]))
    world.drain()
    return world


def overwrite(world: World, change: bytes | None = None, **metadata: str) -> None:
    """Change a stored blob behind the app's back: its bytes, or some of its receipt."""
    blob = world.one()
    content = blob.content if change is None else change
    world.data.upload_blob(blob.name, content, metadata={**blob.metadata, **metadata}, overwrite=True)


def flip(content: bytes) -> bytes:
    """The same with one bit of one byte the other way."""
    return content[:FLIPPED] + bytes([content[FLIPPED] ^ 1]) + content[FLIPPED + 1 :]


def test_verify_answers_every_field_when_all_is_well(exported: World) -> None:
    """What was counted, and that nothing is wrong."""
    assert exported.verify(*RANGE, deep=True) == {
        "export": "events", "start": at("10:00:00"), "end": at("12:00:00"), "windows": 2, "rows": 20,
        "complete": 2, "not_compared": 0, "missing": [], "differing": [], "damaged": [], "unavailable": [],
        "deep": True, "repair": False,
    }  # fmt: skip


def test_verify_counts_at_the_source(exported: World) -> None:
    """A row that is not stored, and one that is gone at the source, make their windows differ."""
    exported.cloud.add_rows("Event", spread(1, "10:30", "10:31"))
    exported.cloud.remove_rows("Event", "EventRecordId in (12, 13)")
    answer = exported.verify(*RANGE)
    assert answer["complete"] == 0
    assert answer["differing"] == [
        {"start": at("10:00:00"), "end": at("11:00:00"), "stored": 10, "source": 11},
        {"start": at("11:00:00"), "end": at("12:00:00"), "stored": 10, "source": 8},
    ]


def test_verify_repairs_what_differs(exported: World) -> None:
    """With `repair` the window is stored again by the next plan, and then all is well."""
    exported.cloud.add_rows("Event", spread(1, "10:30", "10:31"))
    assert exported.verify(*RANGE, repair=True)["repair"] is True
    exported.drain()
    exported.check()
    assert exported.verify(*RANGE, deep=True)["complete"] == 2
    assert [blob.revision for blob in exported.landed()] == [2, 1]


def test_verify_finds_a_deleted_window_and_has_it_exported_again(exported: World) -> None:
    """A blob that somebody deleted is missing, not forgotten."""
    exported.data.delete_blob(exported.one().name)
    answer = exported.verify(*RANGE, repair=True)
    assert answer["missing"] == [{"start": at("10:00:00"), "end": at("11:00:00")}]
    assert answer["windows"] == answer["complete"] == 1
    exported.drain()
    exported.check()


def test_a_flipped_byte_is_found_by_a_deep_verify_and_mended(exported: World) -> None:
    """Counting sees nothing of it; the hash does."""
    overwrite(exported, flip(exported.one().content))
    assert exported.verify(*RANGE)["complete"] == 2
    (damaged,) = exported.verify(*RANGE, deep=True, repair=True)["damaged"]
    assert (damaged["start"], damaged["end"]) == (at("10:00:00"), at("11:00:00"))
    assert exported.one().name in str(damaged)
    exported.drain()
    exported.check()
    assert exported.verify(*RANGE, deep=True)["damaged"] == []


def test_a_flipped_byte_in_a_log_that_changes_is_mended_too(world: World) -> None:
    """A union with damaged records would keep the damage: they are read anew."""
    world.cloud.add_audits([{"activityDateTime": at("10:30")}, {"activityDateTime": at("10:40")}])
    world.start(world.audits(recheck=[], format="jsonl"))
    world.drain()
    blob = world.one("audits")
    world.data.upload_blob(blob.name, flip(blob.content), metadata=dict(blob.metadata), overwrite=True)
    answer = world.verify(*RANGE, "audits", deep=True, repair=True)
    assert len(answer["damaged"]) == 1
    world.drain()
    world.check_audits()


def test_a_receipt_with_a_wrong_count_is_found(exported: World) -> None:
    """Rows that are there and rows that the receipt promises are compared."""
    overwrite(exported, rows="9")
    answer = exported.verify(*RANGE, deep=True, repair=True)
    assert "it holds 10 rows, its receipt says 9" in answer["damaged"][0]["why"]
    exported.drain()
    exported.check()


@pytest.mark.parametrize("left", [{}, {"note": "copied back by hand"}])
def test_a_blob_without_a_receipt_is_damaged_and_mended(exported: World, left: dict[str, str]) -> None:
    """A copy that lost its metadata proves nothing, and does not hinder the rest from being verified."""
    blob = exported.one()
    exported.data.upload_blob(blob.name, blob.content, metadata=left, overwrite=True)
    answer = exported.verify(*RANGE, repair=True)
    assert answer["windows"] == 2
    assert answer["complete"] == 1
    assert [each["start"] for each in answer["damaged"]] == [at("10:00:00")]
    exported.drain()
    exported.check()


def test_a_foreign_file_in_the_container_hinders_nothing(exported: World) -> None:
    """What is not of the layout is no window."""
    folder = exported.one().name.rpartition("/")[0]
    exported.data.upload_blob(f"{folder}/_SUCCESS", b"")
    exported.data.upload_blob(f"{folder}/20260310T103000Z_20260310T103000Z.jsonl.gz", b"")
    assert exported.verify(*RANGE, deep=True)["complete"] == 2
    assert exported.coverage()["gaps"] == []


def test_verify_takes_windows_as_they_were_configured(world: World) -> None:
    """A pipeline that filters otherwise by now does not make the stored windows differ."""
    world.cloud.add_rows("Event", spread(20, "10:00", "12:00"))
    world.start(world.table(recheck=[], pipeline="where EventRecordId < 5"))
    world.drain()
    world.start(world.table(recheck=[]))
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    answer = world.verify(at("10:00"), at("13:00"))
    assert (answer["complete"], answer["differing"]) == (3, [])


def test_verify_counts_audits_by_reading_them(world: World) -> None:
    """Graph counts nothing; the records are read, each once."""
    world.cloud.add_audits([{"activityDateTime": at(f"10:{minute}")} for minute in range(10, 40)])
    world.start(world.audits(recheck=[]))
    world.drain()
    assert world.verify(*RANGE, "audits")["complete"] == 2
    world.cloud.add_audits([{"activityDateTime": at("10:59:59.9999999")}])
    (differing,) = world.verify(*RANGE, "audits")["differing"]
    assert (differing["stored"], differing["source"]) == (30, 31)


def test_a_changed_record_is_no_lasting_difference(world: World) -> None:
    """Both forms of it are stored on purpose: after a repair nothing is left to repair."""
    world.cloud.add_audits([{"id": "one", "activityDateTime": at("10:30")}])
    world.start(world.audits(recheck=[]))
    world.drain()
    world.cloud.replace_audit("one", {"result": "failure"})
    world.backfill(*RANGE, "audits", force=True)
    world.drain()
    assert len(world.one("audits").rows) == 2
    answer = world.verify(*RANGE, "audits", deep=True)
    assert (answer["complete"], answer["differing"]) == (2, [])


def test_a_wrong_request_is_told_what_is_wrong(exported: World) -> None:
    """Time that is not due, an end before its start, and an export that is not there."""
    with pytest.raises(BadRequestError, match="due"):
        exported.verify(at("12:00"), at("13:00"))
    with pytest.raises(BadRequestError, match="after start"):
        exported.verify(at("12:00"), at("10:00"))
    with pytest.raises(BadRequestError, match="whole second"):
        exported.backfill(at("10:00:00.5"), at("12:00"))
    with pytest.raises(NotFoundError, match="nothing"):
        exported.verify(*RANGE, "nothing")


def test_coverage_answers_every_field(world: World) -> None:
    """Covered ranges, gaps, what is in flight, what failed, what was asked for."""
    world.cloud.add_rows("Event", spread(20, "10:00", "12:00"))
    world.start(world.table(recheck=[]))
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.clock.tick = ticks(at("14:20"))
    world.cloud.fail("log_analytics", "404", count=1)
    newest, second = world.plan()
    world.deliver(newest)
    id_ = world.backfill(at("06:00"), at("08:00"))["id"]
    (failure,) = world.coverage()["failures"]
    assert failure.pop("next_try") > at("14:24")
    assert {**world.coverage(), "failures": [failure]} == {
        "export": "events",
        "origin": at("10:00:00"),
        "due_until": at("14:00:00"),
        "covered": [{"start": at("10:00:00"), "end": at("11:00:00")}],
        "gaps": [
            {"start": at("06:00:00"), "end": at("08:00:00")},
            {"start": at("11:00:00"), "end": at("14:00:00")},
        ],
        "unavailable": [],
        "in_flight": [
            {"start": at("13:00:00"), "end": at("14:00:00"), "reason": "schedule"},
            {"start": at("12:00:00"), "end": at("13:00:00"), "reason": "schedule"},
        ],
        "failures": [{"start": at("13:00:00"), "end": at("14:00:00"), "reason": "schedule", "times": 1}],
        "denied": None,
        "backfills": [{"id": id_, "start": at("06:00:00"), "end": at("08:00:00"), "force": False}],
    }
    assert second.window.end == ticks(at("13:00"))


def test_a_backfill_before_the_origin_is_exported(exported: World) -> None:
    """Time from before the first run is added on demand, each row once, and the backfill ends by itself."""
    exported.cloud.add_rows("Event", spread(30, "06:10", "10:00"))
    exported.backfill(at("06:30"), at("09:15"))
    exported.drain()
    exported.check(start="06:30", end="09:15")
    exported.check()
    exported.drain()
    assert exported.coverage()["backfills"] == []


def test_a_backfill_of_what_is_stored_changes_nothing_unless_forced(exported: World) -> None:
    """Stored windows are left alone; with `force` each is redone, once."""
    before = exported.landed()
    exported.backfill(*RANGE)
    exported.drain()
    assert exported.landed() == before
    exported.backfill(*RANGE, force=True)
    exported.drain()
    exported.drain()
    assert [blob.revision for blob in exported.landed()] == [2, 2]
    assert exported.coverage()["backfills"] == []
    exported.check()


def test_a_year_of_hours_is_one_call_one_small_document_and_few_messages(exported: World) -> None:
    """The planner draws from the range; nothing is written for each of its windows."""
    year = ("2025-03-10T00:00:00Z", "2026-03-10T00:00:00Z")
    exported.start(exported.table(recheck=[], retention="500d"))
    exported.backfill(*year)
    (blob,) = exported.state.list_blobs("events/backfills/")
    assert blob.size < 300
    queued = exported.plan()
    assert len(queued) == 2
    for _ in range(5):
        message = queued.pop(0)
        exported.deliver(message)
        queued += exported.app.planner.top_up(message)
        assert len(queued) == 2
    assert exported.plan() == []
    assert len(list(exported.state.list_blobs())) < 12


def test_ending_a_backfill_ends_it(exported: World) -> None:
    """What is stored by then stays; what is queued by then stores nothing."""
    exported.start(exported.table(recheck=[], retention="500d"))
    exported.backfill("2025-03-10T00:00:00Z", "2026-03-10T00:00:00Z")
    first, second = exported.plan()
    exported.deliver(first)
    assert len(exported.app.auditor.end_backfills("events")["ended"]) == 1
    landed = len(exported.landed())
    exported.deliver(second)
    left = exported.app.planner.top_up(first) + exported.app.planner.top_up(second)
    for message in left:
        exported.deliver(message)
    exported.drain()
    assert len(exported.landed()) == landed == 3
    assert exported.coverage()["gaps"] == []


def test_fresh_windows_go_before_a_backfill(exported: World) -> None:
    """A backfill takes the places that are free, and gives way at the next plan."""
    exported.start(exported.table(recheck=[], retention="500d"))
    exported.backfill("2026-03-01T00:00:00Z", "2026-03-10T00:00:00Z")
    busy = exported.plan()
    exported.clock.tick = ticks(at("13:20"))
    for message in busy:
        exported.deliver(message)
    (first, *_) = exported.plan()
    assert (first.window.start, first.reason) == (ticks(at("12:00")), "schedule")
