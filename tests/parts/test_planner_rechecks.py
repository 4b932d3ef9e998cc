"""Rechecks are planned at each age of a window, and what is remembered waits for them."""

from typing import Any

import pytest

from shared.errors import ExportError
from shared.in_flight import Settled
from shared.model import Kind, Message, Window
from shared.windows import HOUR, MINUTE, format_instant, overlap, parse_instant
from tests.parts.fakes import FakeClock, between, make_export, order, row_at, rows_of, texts, tiles
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World

TEN = "2026-11-21T10:00:00Z"


def world_at(now: str, *, kind: Kind = "log_analytics", start: str = TEN, **options: Any) -> World:
    """Return a world at a time of day with rechecks after an hour and a day."""
    options = {"recheck": ("1h", "24h"), "lag": "0s"} | options
    return World(
        [make_export(kind=kind, start=start, **options)], clock=FakeClock(between(now, "23:59").start)
    )


def rechecks(messages: list[Message]) -> list[str]:
    """Return the windows of the rechecks among messages."""
    return texts(message.window for message in messages if message.reason == "recheck")


def go_to(world: World, instant: str) -> None:
    """Move the clock on to an instant."""
    world.clock.sleep((parse_instant(instant) - world.clock.now()) / 10_000_000)


def test_a_window_is_rechecked_at_each_of_its_ages() -> None:
    """An hour and a day after it was due; not before, not again between, and not after."""
    world = world_at("11:00")
    world.work()
    seen = []
    for _ in range(4 * 40):
        world.clock.advance("15m")
        done = [message for message in world.work() if message.reason == "recheck"]
        if any(overlap(message.window, between("10:00", "11:00")) for message in done):
            seen.append(format_instant(world.clock.now())[8:16])
    assert seen == ["21T12:00", "22T11:00"]


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_a_late_row_is_found_without_anyone_asking(kind: Kind) -> None:
    """The plans of a day find it, and add it once."""
    world = world_at("11:00", kind=kind)
    world.work(kind)
    late = row_at("10:05:00", late=True)
    world.fake.late = [late]
    world.clock.advance("59m")
    world.work(kind)
    assert late not in world.stored_rows()
    world.clock.advance("1m")
    world.work(kind)
    assert world.stored_rows() == sorted([*rows_of(between("10:00", "12:00")), late])


def test_a_window_that_was_exported_late_is_not_rechecked_at_once() -> None:
    """A backlog's windows are older than the first age when they are read: only the second one is left."""
    world = world_at("20:00")
    done = world.work()
    assert rechecks(done) == []
    go_to(world, "2026-11-22T11:30:00Z")
    assert "10:00-11:00" in rechecks(world.work())


def test_neighbours_are_rechecked_in_one_message() -> None:
    """After a downtime over a night, a count for all the windows that waited, not one for each."""
    world = world_at("16:00")
    world.work()
    go_to(world, "2026-11-23T10:00:00Z")
    messages = world.work()
    spans = [message.window for message in messages if message.reason == "recheck"]
    assert tiles(spans, between("10:00", "16:00"))
    assert len(spans) == 1


def test_a_source_that_is_read_again_has_one_message_a_window() -> None:
    """Reading many windows in one message would take longer than a function may."""
    world = world_at("13:00", kind="entra")
    world.work("entra")
    go_to(world, "2026-11-22T13:00:00Z")
    assert rechecks(world.work("entra"))[:3] == ["10:00-11:00", "11:00-12:00", "12:00-13:00"]


def test_rechecks_go_behind_new_windows() -> None:
    """What is missing is more urgent than what may be incomplete."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("2h")
    reasons = [message.reason for message in world.work()]
    assert reasons == ["schedule", "schedule", "recheck"]


def test_a_recheck_under_way_is_not_planned_twice() -> None:
    """Neither by the next plan nor as a part of another span, until it is taken for lost."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    (fresh, recheck) = world.plan()
    assert (fresh.reason, recheck.reason) == ("schedule", "recheck")
    assert world.plan() == []
    world.queue.clear()
    world.exporter().run(fresh)
    world.planner().top_up(fresh)
    assert rechecks(world.plan()) == []
    world.clock.advance("1h")
    assert rechecks(world.work()) == ["11:00-13:00"]


def test_a_recheck_that_was_done_leaves_the_list() -> None:
    """A worker that died after its record left an entry; the next plan sees the record and drops it."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    (_, recheck) = world.plan()
    world.exporter().run(recheck)
    world.plan()
    assert all(each.reason != "recheck" for each in world.flights().load("log_analytics").flights)


def test_a_recheck_that_fails_backs_off() -> None:
    """Beside it the exports go on; it is tried again after 5 minutes, then after 10."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    world.plan()
    (fresh, recheck) = world.queue
    world.queue.clear()
    world.deliver(fresh)
    tries = []
    for minute in range(20):
        world.queue += [recheck] if minute == 0 else world.planner().plan("log_analytics")
        for message in list(world.queue):
            assert message.reason == "recheck"
            tries.append(minute)
            world.fake.errors = [ExportError("no such column")]
            world.deliver(message)
        world.queue.clear()
        world.clock.advance("1m")
    assert tries == [0, 5, 15]
    (failure,) = world.journal().failures("events")
    assert (failure.reason, failure.times) == ("recheck", 3)


def test_a_recheck_that_succeeds_at_last_is_forgotten_as_a_failure() -> None:
    """Its record clears the failure."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    world.fake.errors = []
    world.plan()
    (fresh, recheck) = world.queue
    world.queue.clear()
    world.deliver(fresh)
    world.fake.errors = [ExportError("no such column")]
    world.deliver(recheck)
    assert len(world.journal().failures("events")) == 1
    world.clock.advance("5m")
    world.work()
    assert world.journal().failures("events") == []


def test_a_failing_recheck_waits_also_after_a_change_of_the_configuration() -> None:
    """It asks with the old one, so a change of the export mends nothing."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    world.plan()
    (fresh, recheck) = world.queue
    world.queue.clear()
    world.deliver(fresh)
    world.fake.errors = [ExportError("no such column")]
    world.deliver(recheck)
    world.exports = [make_export(start=TEN, recheck=("1h", "24h"), lag="0s", pipeline="mended")]
    assert rechecks(world.plan()) == []


def settled(world: World) -> Settled:
    """Return what is remembered of the one export."""
    (found,) = world.flights().load("log_analytics").settled.values()
    return found


def test_what_is_settled_waits_for_rechecks() -> None:
    """Windows that are to be rechecked are listed by every plan; afterwards none is."""
    world = world_at("12:00")
    world.work()
    world.plan()
    assert settled(world).spans == ()
    go_to(world, "2026-11-22T11:00:00Z")
    world.work()
    world.plan()
    assert settled(world).spans == (between("10:00", "11:00"),), "the first one is done"


def test_without_rechecks_all_that_is_stored_is_settled() -> None:
    """Then all that is due and stored is never listed again."""
    world = world_at("12:00", recheck=())
    world.work()
    world.plan()
    assert settled(world).spans == (between("10:00", "12:00"),)


class Noting(MemoryContainer):
    """Notes what is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def list(self, prefix: str, *, metadata: bool = False) -> Any:
        """List, and take it down."""
        self.listed.append(prefix)
        return super().list(prefix, metadata=metadata)


def test_what_is_settled_is_not_listed() -> None:
    """A plan costs the same after a year as after a day."""
    world = world_at("12:00", recheck=(), start="2026-11-10T00:00:00Z")
    world.data = noting = Noting()
    world.work()
    world.plan()
    noting.listed.clear()
    world.clock.advance("2h")
    world.plan()
    assert noting.listed
    assert not any(prefix < "events/window_date=2026-11-21" for prefix in noting.listed), noting.listed


@pytest.mark.parametrize(("after", "found"), [("5h", False), ("7h", True)])
def test_what_is_settled_expires(after: str, *, found: bool) -> None:
    """What is remembered is believed for six hours; then a blob that somebody deleted is missed."""
    world = world_at("12:00", recheck=())
    world.work()
    world.plan()
    (first, *_) = [blob.name for blob in world.data.list("events/")]
    world.data.delete(first)
    world.clock.advance(after)
    world.work()
    assert (world.stored()[0] == between("10:00", "11:00")) == found
    assert settled(world).since > world.clock.now() - 6 * HOUR


def test_what_is_settled_in_the_middle_of_a_cell_hides_nothing_of_it() -> None:
    """After a change of the grid a worker looks at a whole cell, so the planner must not look at less."""
    world = world_at("12:00", recheck=())
    world.work()
    world.plan()
    assert settled(world).spans == (between("10:00", "12:00"),)
    world.exports = [make_export(start=TEN, lag="0s", recheck=(), window="1d")]
    (*_, last) = world.data.list("events/")
    world.data.delete(last.name)
    go_to(world, "2026-11-22T00:20:00Z")
    world.plan()
    world.drain()
    assert texts(world.stored()) == ["10:00-11:00", "11:00-00:00"]


def test_what_is_settled_keeps_its_age_while_it_grows() -> None:
    """Or it would never expire where something is stored every hour."""
    world = world_at("12:00", recheck=())
    world.work()
    world.plan()
    born, before = settled(world).since, settled(world).spans
    for _ in range(5):
        world.clock.advance("1h")
        world.work()
        world.plan()
        assert settled(world).since == born
    assert settled(world).spans > before


@pytest.mark.parametrize("keep", [None, "3h"])
def test_what_may_be_deleted_on_purpose_is_not_missed(keep: str | None) -> None:
    """With ``keep`` a lifecycle rule may delete old blobs; without it they are gaps again."""
    world = world_at("16:00", recheck=(), keep=keep)
    world.work()
    for blob in list(world.data.list("events/"))[:2]:
        world.data.delete(blob.name)
    world.clock.advance("7h")
    world.work()
    assert (world.stored()[0] == between("10:00", "11:00")) == (keep is None)
    assert world.stored()[-1].end == between("22:00", "23:00").end


def test_keep_also_bounds_what_is_begun() -> None:
    """Of an export that begins earlier, only what is kept is exported."""
    world = world_at("16:00", recheck=(), keep="90m")
    world.work()
    assert texts(world.stored()) == ["15:00-16:00"]


def test_a_blob_without_a_receipt_does_not_keep_the_planner_busy() -> None:
    """Somebody copied it without its metadata: no recheck can meet its ages, and none is queued for ever."""
    world = world_at("12:00")
    world.work()
    (first, *_) = world.data.list("events/")
    world.data.write(first.name, b"", etag=first.etag)
    world.clock.advance("90m")
    for _ in range(5):
        world.plan()
        world.drain()
        world.clock.advance("1s")
    assert world.plan() == []


def test_a_window_of_a_finished_backfill_is_rechecked_too() -> None:
    """One from before the origin may be just as young as others, and its rows as late."""
    world = world_at("12:00", start="2026-11-21T11:00:00Z")
    world.work()
    world.journal().add_backfill("events", between("10:00", "11:00"), force=False, allow_shrink=False)
    world.work()
    late = row_at("10:05:00", late=True)
    world.fake.late = [late]
    go_to(world, "2026-11-22T12:00:00Z")
    world.work()
    assert late in world.stored_rows()


def test_a_top_up_drops_what_a_recheck_did() -> None:
    """Its place is free for what follows."""
    world = world_at("12:00")
    world.work()
    world.clock.advance("1h")
    world.plan()
    for message in list(world.queue):
        world.deliver(message)
    assert world.flights().load("log_analytics").flights == ()
    assert order(world.exports[0], Window(0, MINUTE)).reason == "schedule"
