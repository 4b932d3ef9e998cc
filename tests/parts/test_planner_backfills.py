"""A backfill is a stored range that the planner draws from, until nothing of it is left."""

from dataclasses import replace
from typing import Any

import pytest

from shared.errors import ExportError
from shared.model import Kind, Window
from shared.windows import DAY, HOUR, MINUTE, format_instant, subtract
from tests.parts.fakes import between, disjoint, make_export, order, rows_of, texts, tiles
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World


def ask(world: World, span: Window, *, force: bool = False) -> None:
    """Ask for a range, a second after what happened before."""
    world.clock.advance("1s")
    world.journal().add_backfill("events", span, force=force, allow_shrink=False)
    world.clock.advance("1s")


def settled_world(**options: Any) -> World:
    """Return a world in which all that is due since 10:00 is stored."""
    world = World([make_export(start="2026-11-21T10:00:00Z", **options)])
    world.work(world.exports[0].kind)
    assert texts(world.stored()) == ["10:00-11:00", "11:00-12:00"]
    return world


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_a_backfill_reaches_before_the_origin(kind: Kind) -> None:
    """Its range is exported once, beside what was there, and then it has ended."""
    world = settled_world(kind=kind)
    ask(world, between("06:00", "09:00"))
    messages = world.work(kind)
    assert {message.reason for message in messages} == {"backfill"}
    oldest_first = ["06:00-07:00", "07:00-08:00", "08:00-09:00"]
    done = texts(message.window for message in messages)
    assert done == (oldest_first if kind == "entra" else oldest_first[::-1])
    assert texts(world.stored()) == [*oldest_first, "10:00-11:00", "11:00-12:00"]
    assert world.backfills() == []
    assert world.plan(kind) == []


def test_a_backfill_leaves_out_what_is_stored() -> None:
    """Over the origin it meets stored windows, which stay as they are."""
    world = settled_world()
    before = {receipt.attempt for receipt in world.receipts()}
    ask(world, between("08:30", "11:30"))
    world.work()
    assert texts(world.stored()) == ["08:30-09:00", "09:00-10:00", "10:00-11:00", "11:00-12:00"]
    assert before <= {receipt.attempt for receipt in world.receipts()}
    assert {receipt.revision for receipt in world.receipts()} == {1}


def test_a_backfill_of_the_future_asks_for_nothing_that_is_not_due() -> None:
    """What of it is due is exported; the rest comes with time as always."""
    world = settled_world()
    ask(world, Window(between("09:00", "10:00").start, world.clock.now() // DAY * DAY + 9 * DAY))
    world.work()
    assert texts(world.stored()) == ["09:00-10:00", "10:00-11:00", "11:00-12:00"]


class Counting(MemoryContainer):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, name: str, *positional: Any, **named: Any) -> None:
        """Write, and take it down."""
        self.writes.append(name)
        super().write(name, *positional, **named)


def test_a_years_backfill_is_one_document_and_few_messages() -> None:
    """8,760 hours are asked for in one write; never are more than two windows queued."""
    world = World([make_export(start="2026-11-21T10:00:00Z")], documents=Counting())
    assert isinstance(world.documents, Counting)
    world.work()
    world.documents.writes.clear()
    start = between("10:00", "11:00").start
    ask(world, Window(start - 365 * DAY, start))
    (document,) = world.documents.writes
    content = world.documents.read(document)
    assert content is not None
    assert len(content.data) < 300
    world.plan()
    for _ in range(300):
        assert len(world.queue) == 2
        world.deliver(world.queue.pop(0))
        assert len(world.flights().load("log_analytics").pending) <= 100
        flights = world.documents.read("in_flight/log_analytics.json")
        assert flights is not None
        assert len(flights.data) < 40_000
    assert tiles(world.stored()[:-2], Window(start - 300 * HOUR, start))
    assert len(world.backfills()) == 1


def test_what_becomes_due_overtakes_a_backfill() -> None:
    """The present does not wait for the past, nor does a recheck."""
    world = settled_world(recheck=("1h",))
    ask(world, between("02:00", "09:00"))
    world.plan()
    world.deliver(world.queue.pop(0))
    world.clock.advance("1h")
    world.plan()
    done = []
    while world.queue:
        message = world.queue.pop(0)
        done.append(message)
        world.deliver(message)
    reasons = [message.reason for message in done]
    assert reasons[:3].count("backfill") <= 2, "what was queued before"
    assert "schedule" in reasons[:3]
    assert reasons.index("recheck") < 4
    assert texts(world.stored())[-1] == "12:00-13:00"


def test_the_entry_of_a_backfill_ends_only_when_nothing_is_left() -> None:
    """Not while a window of it is in flight, rests after a failure, or is still to come."""
    world = settled_world()
    ask(world, between("08:00", "10:00"))
    world.plan()
    world.fake.errors = [ExportError("no such table")]
    world.deliver(world.queue.pop(0))
    world.plan()
    world.drain()
    world.plan()
    assert texts(world.stored())[0] == "08:00-09:00"
    assert "09:00-10:00" not in texts(world.stored())
    assert len(world.backfills()) == 1
    world.clock.advance("5m")
    world.work()
    assert texts(world.stored())[:2] == ["08:00-09:00", "09:00-10:00"]
    assert world.backfills() == []
    assert world.journal().failures("events") == []


def test_lost_time_ends_a_backfill_too() -> None:
    """What the source no longer holds is not waited for."""
    world = settled_world(retention="4h")
    ask(world, between("06:00", "10:00"))
    world.work()
    assert world.stored()[0].start > between("08:00", "09:00").start
    assert world.backfills() == []
    lost = [each.window for each in world.journal().unavailable(world.exports[0])]
    assert subtract(between("06:00", "12:00"), [*lost, *world.stored()]) == []


def test_an_ended_backfill_stops_at_once() -> None:
    """What is queued already is dropped, nothing more is planned, and what is stored stays."""
    world = settled_world()
    ask(world, between("02:00", "10:00"))
    world.plan()
    world.deliver(world.queue.pop(0))
    (backfill,) = world.backfills()
    world.journal().change_backfill("events", backfill, "ended")
    world.plan()
    world.drain()
    world.work()
    assert texts(world.stored()) == ["09:00-10:00", "10:00-11:00", "11:00-12:00"]


def test_without_force_what_is_stored_stays() -> None:
    """A backfill that finds everything stored ends with the next plan."""
    world = settled_world()
    ask(world, between("10:00", "12:00"))
    assert world.work() == []
    assert {receipt.revision for receipt in world.receipts()} == {1}
    assert world.backfills() == []


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_force_redoes_each_stored_window_once(kind: Kind) -> None:
    """Newest first, with the present configuration, at the stored bounds; then it has ended."""
    world = settled_world(kind=kind)
    world.exports = [make_export(kind=kind, start="2026-11-21T10:00:00Z", window="2h", pipeline="new")]
    ask(world, between("10:30", "12:00"), force=True)
    messages = world.work(kind)
    assert texts(message.window for message in messages) == ["11:00-12:00", "10:00-11:00"]
    assert [(receipt.revision, receipt.config) for receipt in world.receipts()] == [
        (2, world.exports[0].digest)
    ] * 2
    assert texts(world.stored()) == ["10:00-11:00", "11:00-12:00"]
    assert world.backfills() == []


def test_force_in_another_format_leaves_one_blob_a_window() -> None:
    """A reader that takes the whole container sees each row once."""
    world = settled_world()
    world.exports = [make_export(start="2026-11-21T10:00:00Z", format_="jsonl")]
    ask(world, between("09:00", "12:00"), force=True)
    world.work()
    assert texts(world.stored()) == ["09:00-10:00", "10:00-11:00", "11:00-12:00"]
    assert {blob.name.partition(".")[2] for blob in world.data.list("")} == {"jsonl"}
    assert world.stored_rows() == rows_of(between("09:00", "12:00"))


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_a_recheck_in_between_is_no_redo(kind: Kind) -> None:
    """A recheck that comes after the request and finds nothing does not stand for what was asked by force."""
    world = settled_world(kind=kind, recheck=("1h",), lag="0s")
    world.clock.advance("2h")
    world.exports = [
        make_export(kind=kind, start="2026-11-21T10:00:00Z", recheck=("1h",), lag="0s", format_="jsonl")
    ]
    ask(world, between("10:00", "12:00"), force=True)
    reasons = [message.reason for message in world.work(kind)]
    assert "recheck" in reasons
    assert {receipt.config for receipt in world.receipts()} == {world.exports[0].digest}


def test_force_accepts_that_a_source_shrank() -> None:
    """The stored rows are kept, which is recorded, and the backfill ends all the same."""
    world = settled_world()
    world.fake.gone = {rows_of(between("10:00", "11:00"))[0]}
    ask(world, between("10:00", "12:00"), force=True)
    assert len(world.work()) == 2
    assert [receipt.revision for receipt in world.receipts()] == [1, 2]
    assert world.stored_rows() == rows_of(between("10:00", "12:00"))
    assert world.backfills() == []


def test_a_redo_that_fails_rests_and_is_tried_again() -> None:
    """Its backfill stays until it succeeded."""
    world = settled_world()
    ask(world, between("10:00", "12:00"), force=True)
    world.fake.errors = [ExportError("no such table")]
    world.work()
    assert [receipt.revision for receipt in world.receipts()] == [2, 1] or [
        receipt.revision for receipt in world.receipts()
    ] == [1, 2]
    assert len(world.backfills()) == 1
    world.clock.advance("5m")
    world.work()
    assert [receipt.revision for receipt in world.receipts()] == [2, 2]
    assert world.backfills() == []


def test_two_backfills_are_one_range() -> None:
    """Where they overlap, each window is exported once."""
    world = settled_world()
    ask(world, between("06:00", "08:00"))
    ask(world, between("07:00", "09:00"))
    assert len(world.work()) == 3
    assert world.backfills() == []


def test_a_backfill_of_a_deleted_blob_in_the_middle_of_a_cell() -> None:
    """The range begins inside the window that is missing: the whole of its cell is planned, and done."""
    world = settled_world()
    world.plan()
    (first, *_) = world.data.list("events/")
    world.data.delete(first.name)
    ask(world, between("10:30", "11:00"))
    for _ in range(3):
        world.plan()
        world.drain()
    assert texts(world.stored()) == ["10:00-11:00", "11:00-12:00"]
    assert world.plan() == []


@pytest.mark.parametrize("remembered", [False, True])
def test_two_blobs_of_a_window_become_one_also_when_nobody_asks(*, remembered: bool) -> None:
    """A redo died before it deleted the old blob, and its backfill was ended: a reader must not see both.

    Where the planner remembers that all is covered there, it looks again after some hours.
    """
    world = settled_world()
    (first, *_) = world.data.list("events/", metadata=True)
    newer = {**first.metadata, "revision": "2"}
    world.data.write(first.name.removesuffix(".gz"), b"", etag=None, metadata=newer)
    if remembered:
        world.exports = [replace(each, lag=7 * 60 * MINUTE) for each in world.exports]  # nothing new is due
        world.clock.advance("7h")
    else:
        world.documents.delete("in_flight/log_analytics.json")
    world.work()
    assert texts(world.stored()) == ["10:00-11:00", "11:00-12:00"]
    assert format_instant(world.stored()[0].start).startswith("2026-11-21T10")


def leave_overlapping(world: World, **options: Any) -> None:
    """Store a window of another grid over the stored ones, as a worker that dies right after it does."""
    other = make_export(start="2026-11-21T10:00:00Z", offset="30m", **options)
    elsewhere = replace(world, exports=[other], data=MemoryContainer())
    elsewhere.exporter().run(order(other, between("10:30", "11:30")))
    for blob in elsewhere.data.list("", metadata=True):
        document = elsewhere.data.read(blob.name)
        assert document is not None
        world.data.write(blob.name, document.data, etag=None, metadata=blob.metadata)


def test_force_redoes_what_is_stored_beyond_what_is_due() -> None:
    """A longer window is due later, but what was stored on the old grid can be stored again all the same."""
    world = settled_world()
    world.exports = [make_export(start="2026-11-21T10:00:00Z", window="1d", pipeline="new")]
    ask(world, between("10:30", "11:30"), force=True)
    world.work()
    assert {receipt.revision for receipt in world.receipts()} == {2}
    assert {receipt.config for receipt in world.receipts()} == {world.exports[0].digest}
    assert world.backfills() == []


@pytest.mark.parametrize("recheck", [(), ("1h", "24h")])
def test_of_two_windows_that_overlap_the_later_is_withdrawn(recheck: tuple[str, ...]) -> None:
    """A worker with another grid died after it stored one; by later plans each tick is stored once."""
    world = settled_world(recheck=recheck)
    leave_overlapping(world, recheck=recheck)
    assert not disjoint(world.stored())
    world.clock.advance("7h")
    for _ in range(3):
        world.work()
        world.clock.advance("5m")
    end = world.stored()[-1].end
    assert tiles(world.stored(), Window(between("10:00", "12:00").start, end)), texts(world.stored())
    assert world.stored_rows() == rows_of(Window(between("10:00", "12:00").start, end))


def test_windows_that_overlapped_long_ago_stay() -> None:
    """Their source may have forgotten what only one of them holds."""
    world = settled_world()
    leave_overlapping(world)
    before = world.stored()
    world.clock.advance("2d")
    for _ in range(3):
        world.work()
    assert set(before) <= set(world.stored())
