"""Time that a source no longer holds, or does not hold yet, is never claimed."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import ConflictError, UnavailableError
from shared.model import Batch, Reading, Window
from shared.windows import HOUR, MINUTE, SECOND, parse_instant
from tests.parts.fakes import (
    LENGTHS,
    FakeSource,
    between,
    make_export,
    order,
    rows_of,
    texts,
    tiles,
    time_of,
)
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
NO_OLDER = "Entra ID keeps nothing older"


def planned_world(**options: Any) -> World:
    """Return a world whose export has begun."""
    world = World([make_export(**options)])
    world.state().origin(world.exports[0])
    return world


def lost(world: World) -> list[str]:
    """Return the lost time as text."""
    return texts(each.window for each in world.journal().unavailable(world.exports[0]))


class Forgetful(FakeSource):
    """Holds nothing from before ``floor``, and refuses what begins before it."""

    def __init__(self, floor: int) -> None:
        super().__init__()
        self.floor = floor

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows, or refuse."""
        if reading.window.start < self.floor:
            raise UnavailableError(self.floor, NO_OLDER)
        yield from super().read(reading)


@pytest.mark.parametrize(
    ("floor", "expected", "rest"),
    [
        ("11:00", "10:00-11:00", []),
        ("12:00", "10:00-11:00", []),
        ("10:20", "10:00-10:20", ["10:20-11:00"]),
        ("09:59", None, ["10:00-11:00"]),
    ],
)
def test_what_a_source_no_longer_holds_is_recorded(
    floor: str, expected: str | None, rest: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The window's time before the floor, with the source's words; what is left is exported at once."""
    world = planned_world(kind="entra")
    world.source = Forgetful(between(floor, "13:00").start)
    world.exporter().run(order(world.exports[0], WINDOW))
    assert texts(world.stored()) == rest
    assert world.stored_rows() == [row for window in world.stored() for row in rows_of(window)]
    assert lost(world) == ([] if expected is None else [expected])
    assert {each.reason for each in world.journal().unavailable(world.exports[0])} <= {NO_OLDER}
    assert (NO_OLDER in caplog.text) == (expected is not None)
    assert world.journal().failures("events") == []


def test_the_remainder_of_a_window_becomes_a_window_of_its_own() -> None:
    """The plans that follow take both for done: what is lost stays lost, the rest is not asked for again."""
    world = World([make_export(kind="entra", start="2026-11-21T08:00:00Z")])
    world.source = Forgetful(between("09:30", "10:00").start)
    world.work("entra")
    assert texts(world.stored()) == ["09:30-10:00", "10:00-11:00", "11:00-12:00"]
    assert lost(world) == ["08:00-09:00", "09:00-09:30"]
    assert world.stored_rows() == rows_of(between("09:30", "12:00"))
    assert world.plan("entra") == []


def test_time_beyond_the_retention_is_not_even_asked_for() -> None:
    """A source that answers such time with nothing, not with an error, would let a hole pass for no rows."""
    world = World([make_export(start="2026-11-21T08:00:00Z", retention="90m")])
    world.work()
    assert lost(world)[0] == "08:00-09:00"
    assert tiles([each.window for each in world.journal().unavailable(world.exports[0])] + world.stored(),
                 between("08:00", "12:00"))  # fmt: skip
    floor = world.clock.now() - 90 * MINUTE + 10 * MINUTE
    assert min(window.start for window in world.fake.read_windows) >= floor
    assert world.stored()[0].start == floor
    (reason,) = {each.reason for each in world.journal().unavailable(world.exports[0])}
    assert "retention" in reason
    assert world.plan() == []


@pytest.mark.parametrize("seconds", [0, 90, 540])
def test_what_is_forgotten_while_it_is_read_is_not_claimed(seconds: int) -> None:
    """However long the answer takes, what is covered has all the rows that the source ever had of it."""
    world = planned_world(retention="6630s")  # since 10:29:30

    class Slow(FakeSource):
        def holds(self, window: Window, *, wide: bool = True) -> list[str]:
            world.clock.sleep(seconds)
            kept = world.clock.now() - 6630 * SECOND
            return [row for row in super().holds(window, wide=wide) if parse_instant(time_of(row)) >= kept]

    world.source = Slow()
    world.exporter().run(order(world.exports[0], WINDOW))
    assert world.stored_rows() == [row for window in world.stored() for row in rows_of(window)]
    assert lost(world) + texts(world.stored()) == ["10:00-10:39", "10:39-11:00"]


def test_a_window_that_its_source_is_about_to_forget_is_not_stored_again() -> None:
    """What is stored has the rows that the source would have lost by the end of its answer."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    world.exports[0] = make_export(retention="140m")  # since the window's start
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=True)
    world.fake.gone = {rows_of(WINDOW)[0]}
    world.exporter().run(order(world.exports[0], WINDOW, "backfill"))
    assert world.stored_rows() == rows_of(WINDOW)


def test_the_remainder_can_be_had_although_time_goes_on() -> None:
    """The floor moves while the remainder waits for its turn; it must not be lost second by second."""
    world = World([make_export(start="2026-11-21T08:00:00Z", retention="100m")])

    class Slow(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:
            world.clock.advance("10s")
            return super().read(reading)

    world.source = Slow()
    for _ in range(10):
        world.clock.advance("10s")
        world.plan()
        world.drain()
    records = world.journal().unavailable(world.exports[0])
    assert len(records) <= 3, texts(each.window for each in records)
    assert tiles([each.window for each in records] + world.stored(), between("08:00", "12:00"))


def test_a_longer_retention_brings_lost_time_back() -> None:
    """Whoever finds that the table keeps more corrects the key, and the time is exported after all."""
    world = World([make_export(start="2026-11-21T08:00:00Z", retention="90m")])
    world.work()
    world.exports = [make_export(start="2026-11-21T08:00:00Z", retention="30d")]
    assert lost(world) == []
    world.documents.delete("in_flight/log_analytics.json")
    world.work()
    assert tiles(world.stored(), between("08:00", "12:00"))
    assert world.stored_rows() == rows_of(between("08:00", "12:00"))


def test_a_shorter_retention_finds_what_is_stored_already() -> None:
    """What was exported in time stays and is covered; only what is missing can be lost."""
    world = World([make_export(start="2026-11-21T08:00:00Z", retention="30d")])
    world.work()
    world.exports = [make_export(start="2026-11-21T08:00:00Z", retention="1h")]
    world.documents.delete("in_flight/log_analytics.json")
    assert world.work() == []
    assert lost(world) == []


def test_two_workers_lose_the_same_time() -> None:
    """One records it, the other leaves it at that."""

    class Contested(MemoryContainer):
        def write(self, name: str, *positional: Any, **named: Any) -> None:
            if "/unavailable/" in name:
                raise ConflictError("somebody else wrote first")
            super().write(name, *positional, **named)

    world = World([make_export(kind="entra")], documents=Contested())
    world.state().origin(world.exports[0])
    world.source = Forgetful(WINDOW.end)
    assert world.exporter().run(order(world.exports[0], WINDOW)) is None


@pytest.mark.parametrize(("ahead", "put_off"), [(6, True), (5, False), (0, False)])
def test_a_window_that_is_not_due_by_the_services_clock_is_put_off(
    ahead: int, *, put_off: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Ours is ahead: the next try is when it is due by theirs. Seconds that clocks differ by do not count."""
    world = planned_world()
    world.fake.served_at = WINDOW.end + world.exports[0].lag - ahead * SECOND
    receipt = world.exporter().run(order(world.exports[0], WINDOW))
    assert (receipt is None) == put_off
    assert world.stored() == ([] if put_off else [WINDOW])
    failures = world.journal().failures("events")
    assert [each.next_try - world.clock.now() for each in failures] == ([6 * SECOND] if put_off else [])
    assert ("this machine's is ahead" in caplog.text) == put_off


def test_a_window_that_was_put_off_is_exported_when_it_is_due() -> None:
    """It rests for as long as the service's clock needs, and others go on."""
    world = World([make_export(start="2026-11-21T11:00:00Z")])
    behind = 10 * MINUTE

    def sync() -> None:
        world.fake.served_at = world.clock.now() - behind

    sync()
    world.plan()
    assert world.drain() == [between("11:00", "12:00")]
    assert world.stored() == []
    world.clock.advance("4m")
    sync()
    assert world.plan() == []
    world.clock.advance("1m")
    sync()
    assert texts(message.window for message in world.plan()) == ["11:00-12:00"]
    world.drain()
    assert texts(world.stored()) == ["11:00-12:00"]
    world.plan()
    assert world.journal().failures("events") == []


def test_a_redo_of_time_that_is_lost_keeps_what_is_stored() -> None:
    """Below the floor there is nothing to store again, and the stored rows are all that is left."""
    world = planned_world(kind="entra")
    world.exporter().run(order(world.exports[0], WINDOW))
    world.clock.advance("1m")
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=True)
    world.source = Forgetful(WINDOW.end)
    world.exporter().run(order(world.exports[0], WINDOW, "backfill"))
    assert world.stored_rows() == rows_of(WINDOW)
    assert lost(world) == []


@pytest.mark.parametrize("reason", ["schedule", "recheck"])
def test_only_a_backfill_stores_a_window_again(reason: Any) -> None:
    """A message that was delivered twice, or is only to compare, does not replace a blob."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    before = list(world.data.list("", metadata=True))
    world.clock.advance("1m")
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=False)
    world.exporter().run(order(world.exports[0], WINDOW, reason))
    assert list(world.data.list("", metadata=True)) == before


@pytest.mark.parametrize(
    ("asked", "force"), [(between("08:00", "10:00"), True), (WINDOW, False), (None, False)]
)
def test_a_redo_needs_a_backfill_that_asks_for_it(asked: Window | None, *, force: bool) -> None:
    """One that has ended, that lies elsewhere, or that only fills gaps redoes nothing."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    before = list(world.data.list("", metadata=True))
    world.clock.advance("1m")
    if asked is not None:
        world.journal().add_backfill("events", asked, force=force, allow_shrink=False)
    world.exporter().run(order(world.exports[0], WINDOW, "backfill"))
    assert list(world.data.list("", metadata=True)) == before


def test_a_redo_is_recorded_and_counts_its_revision() -> None:
    """The new blob says which one it is, and the record what came of it."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    world.clock.advance("1m")
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=False)
    world.exporter().run(order(world.exports[0], WINDOW, "backfill"))
    (receipt,) = world.receipts()
    assert (receipt.revision, receipt.exported_at) == (2, world.clock.now())
    assert [each.window for each in world.journal().rechecks("events", [WINDOW], LENGTHS)] == [WINDOW]


@pytest.mark.parametrize("allow", [False, True])
def test_only_a_backfill_that_allows_it_stores_fewer_rows(*, allow: bool) -> None:
    """It is the request that says so, not the message."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    world.clock.advance("1m")
    world.fake.gone = {rows_of(WINDOW)[0]}
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=allow)
    world.exporter().run(order(world.exports[0], WINDOW, "backfill"))
    assert len(world.stored_rows()) == (5 if allow else 6)


def test_a_window_before_the_origin_is_exported_only_while_a_backfill_wants_it() -> None:
    """The order of a backfill that has ended is dropped."""
    world = planned_world()
    early = between("02:00", "03:00")
    message = order(world.exports[0], early, "backfill")
    assert world.exporter().run(message) is None
    asked = world.journal().add_backfill("events", early, force=False, allow_shrink=False)
    assert world.exporter().run(message) is not None
    world.journal().change_backfill("events", asked, "ended")
    world.data.delete(next(iter(world.data.list("events/"))).name)
    assert world.exporter().run(message) is None
    assert world.stored() == []
    assert early.end - early.start == HOUR
