"""Rows that come late, and rows that show late: each lands once, and each comparison leaves a record."""

from __future__ import annotations

from local.cloud import INGESTION_TIME
from local.compare import ticks
from tests.completeness.world import World, at, spread

TOMORROW = "2026-03-11"


def one_row(**values: object) -> list[dict[str, object]]:
    """A row of table Event, generated when it was ingested unless told otherwise."""
    row: dict[str, object] = {INGESTION_TIME: at("11:30"), **values}
    return [{"TimeGenerated": row[INGESTION_TIME], **row}]


def test_rows_that_are_days_late_land_in_the_window_of_their_ingestion(world: World) -> None:
    """A window is of ingestion times, so that what was generated long before is not missed."""
    for day in ("2026-03-08", "2026-03-09", "2026-03-10", "2026-03-11"):
        generated = at("11:29", day)
        world.cloud.add_rows("Event", one_row(TimeGenerated=generated))
    world.start(world.table())
    world.drain()
    world.check()
    assert len(world.one(start="11:00").rows) == 4


def test_a_row_that_shows_after_its_window_was_read_is_found_by_the_recheck(world: World) -> None:
    """One hour later the source counts more: the window is stored again, revision 2, and that is recorded."""
    world.cloud.add_rows("Event", spread(20, "10:00", "12:00"))
    world.cloud.add_rows("Event", one_row(Computer="late"), visible_at=at("12:40"))
    world.start(world.table())
    world.drain()
    assert len(world.one(start="11:00").rows) == 10
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(end="13:00")
    assert (world.one(start="11:00").revision, len(world.one(start="11:00").rows)) == (2, 11)
    assert world.rechecked() == [(at("11:00:00"), 10, 11, "added")]


def test_the_second_recheck_finds_what_the_first_could_not(world: World) -> None:
    """A day later each window is compared once more, many of them by one question."""
    world.cloud.add_rows("Event", spread(20, "10:00", "12:00"))
    world.cloud.add_rows("Event", one_row(Computer="late"), visible_at=at("14:00"))
    world.start(world.table())
    world.drain()
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.clock.tick = ticks(at("12:20", TOMORROW))
    world.cloud.clear_requests()
    world.drain()
    world.check(end=at("12:00", TOMORROW))
    assert world.one(start="11:00").revision == 2
    counting = [each for each in world.queries() if "counted_from" in each or "rows_of" in each]
    assert 1 <= len(counting) < 5


def test_a_row_outside_the_time_generated_bound_is_found_by_the_recheck(world: World) -> None:
    """The first reading spares the service a scan of the whole table; the recheck looks wider."""
    for generated in ("2026-03-04T00:00:00Z", "2026-01-20T00:00:00Z", "2026-03-16T00:00:00Z"):
        world.cloud.add_rows("Event", one_row(TimeGenerated=generated))
    world.cloud.add_rows("Event", one_row())
    world.start(world.table())
    world.drain()
    assert len(world.one(start="11:00").rows) == 1
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(end="13:00")
    assert len(world.one(start="11:00").rows) == 4


def test_a_recheck_that_changes_nothing_leaves_a_record_and_the_blob(world: World) -> None:
    """That somebody looked, when, and what the source counted, is kept also when all was well."""
    world.cloud.add_rows("Event", spread(7, "11:00", "12:00"))
    world.start(world.table())
    world.drain()
    before = world.one(start="11:00").etag
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    assert world.rechecked() == [(at("11:00:00"), 7, 7, "unchanged")]
    (record,) = world.documents("events/rechecks/")
    assert record["checked_at"].startswith(at("13:20")[:16])
    assert record["config"] == world.one(start="11:00").metadata["config"]
    assert world.one(start="11:00").etag == before
    world.drain()
    assert len(world.documents("events/rechecks/")) == 1


def test_rechecks_happen_at_each_age_and_then_no_more(world: World) -> None:
    """An hour and a day after a window settled, and never again."""
    yesterday = "2026-03-09"
    world.cloud.add_rows("Event", [{"TimeGenerated": at("11:00", yesterday)}], at("11:00", yesterday))
    world.start(world.table(start=at("00:00", yesterday), window="1d"))
    for time, day, rechecks in (
        ("00:20", "2026-03-10", 0),
        ("01:14", "2026-03-10", 0),
        ("01:16", "2026-03-10", 1),
        ("00:14", TOMORROW, 1),
        ("00:16", TOMORROW, 2),
        ("12:16", "2026-03-18", 2),
    ):
        world.clock.tick = ticks(at(time, day))
        world.drain()
        mine = [each for each in world.rechecked() if each[0] == at("00:00:00", yesterday)]
        assert len(mine) == rechecks, (time, day)


def test_rechecks_can_be_switched_off(world: World) -> None:
    """An empty list asks for none."""
    world.cloud.add_rows("Event", spread(4, "11:00", "12:00"))
    world.start(world.table(recheck=[]))
    world.drain()
    world.clock.tick = ticks(at("13:20", TOMORROW))
    world.drain()
    assert world.rechecked() == []


def test_a_source_that_shrank_is_reported_and_its_rows_are_kept(world: World) -> None:
    """What a purge took at the source stays in the export."""
    world.cloud.add_rows("Event", spread(10, "11:00", "12:00"))
    world.start(world.table())
    world.drain()
    before = world.events()
    world.cloud.remove_rows("Event", "EventRecordId < 4")
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    assert world.rechecked() == [(at("11:00:00"), 10, 6, "source_shrank")]
    world.check(before)
    assert world.one(start="11:00").revision == 1


def test_a_source_that_shrank_and_grew_loses_no_stored_row(world: World) -> None:
    """A purge may hide behind late rows: what was stored stays, and what is new is added."""
    world.cloud.add_rows("Event", spread(10, "11:00", "12:00"))
    world.start(world.table())
    world.drain()
    before = world.events()
    world.cloud.remove_rows("Event", "EventRecordId < 2")
    late = [each | {"EventRecordId": 100 + number} for number, each in enumerate(spread(5, "11:00", "12:00"))]
    world.cloud.add_rows("Event", late)
    new = [(time, row) for time, row in world.events() if int(row["EventRecordId"]) >= 100]
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check([*before, *new], end="13:00")


def test_a_backfill_stores_fewer_rows_only_where_it_says_so(world: World) -> None:
    """`force` alone keeps a window whose source shrank; `allow_shrink` gives it up."""
    world.cloud.add_rows("Event", spread(10, "11:00", "12:00"))
    world.start(world.table())
    world.drain()
    before = world.events()
    world.cloud.remove_rows("Event", "EventRecordId < 4")
    world.backfill(at("11:00"), at("12:00"), force=True)
    world.drain()
    world.check(before)
    assert world.rechecked() == [(at("11:00:00"), 10, 6, "source_shrank")]
    world.backfill(at("11:00"), at("12:00"), force=True, allow_shrink=True)
    world.drain()
    world.check()
    assert world.one(start="11:00").revision == 2


def test_a_recheck_uses_the_configuration_that_the_window_was_stored_with(world: World) -> None:
    """A late row joins its window in the shape of its neighbours, whatever the exports file says by now."""
    narrow = ("TimeGenerated", "EventRecordId")
    world.cloud.add_rows("Event", spread(6, "11:00", "12:00"))
    late = one_row(EventRecordId=99)
    world.cloud.add_rows("Event", late, visible_at=at("12:40"))
    world.start(world.table(pipeline=f"project {', '.join(narrow)}", format="jsonl"))
    world.drain()
    world.start(world.table(pipeline="project Computer", format="jsonl.gz"))
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(world.events(shaped=lambda row: {key: row[key] for key in narrow}))
    blob = world.one(start="11:00")
    assert (blob.revision, blob.name.rpartition(".")[2]) == (2, "jsonl")
    world.check(world.events(shaped=lambda row: {"Computer": row["Computer"]}), start="12:00", end="13:00")


def test_a_recheck_that_fails_is_tried_again(world: World) -> None:
    """A recheck rests like any failed window, is reported, and is made up for."""
    world.cloud.add_rows("Event", one_row(), visible_at=at("12:40"))
    world.cloud.add_rows("Event", spread(2, "10:00", "12:00"))
    world.start(world.table())
    world.drain()
    world.clock.tick = ticks(at("13:20"))
    world.cloud.fail("log_analytics", "404", count=None)
    world.drain()
    assert {each["reason"] for each in world.coverage()["failures"]} == {"schedule", "recheck"}
    world.cloud.clear_faults()
    world.pass_time(0.2)
    world.drain()
    world.check(end="13:00")
    world.drain()
    assert world.coverage()["failures"] == []


def test_a_recheck_of_more_rows_than_an_answer_holds_stores_them_all(world: World) -> None:
    """A window that is read again is cut like one that is read first."""
    world.cloud.set_limits(rows=30)
    world.cloud.add_rows("Event", spread(50, "11:00", "12:00"))
    world.cloud.add_rows("Event", spread(80, "11:00", "12:00", Computer="late"), visible_at=at("12:40"))
    world.start(world.table())
    world.drain()
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(end="13:00")
    assert world.rechecked() == [(at("11:00:00"), 50, 130, "added")]


def test_free_kql_is_rechecked_as_well(world: World) -> None:
    """Each of its windows is counted through the query itself."""
    world.cloud.add_rows("Event", one_row(Computer="late"), visible_at=at("12:40"))
    world.cloud.add_rows("Event", spread(6, "10:00", "12:00"))
    world.start(
        world.table(
            table=None,
            kql="Event\n| where ingestion_time() >= window_start and ingestion_time() < window_end // mine",
        )
    )
    world.drain()
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(end="13:00")
    assert world.rechecked() == [(at("11:00:00"), 3, 4, "added")]
