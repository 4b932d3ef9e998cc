"""Gaps become a few queue messages: which ones, how many, in what order, and what may not disturb that."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from shared.coverage import due_until
from shared.errors import ConflictError, ServiceError
from shared.model import Message, Window
from shared.planner import PENDING
from shared.windows import HOUR, format_instant
from tests.parts.fakes import FakeSource, between, make_export, order, texts, tiles
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World


def windows(messages: list[Message]) -> list[str]:
    """Return the windows of messages as text."""
    return texts(message.window for message in messages)


def permanent(text: str = "no such table") -> ServiceError:
    """Return an error that a retry cannot mend."""
    return ServiceError(
        "Log Analytics", status=400, code="Bad", message=text, request_id=None, retryable=False
    )


def test_few_in_flight_newest_first() -> None:
    """However long the backlog is, no more than the limit is queued, the newest first."""
    world = World([make_export(start="-30d")])
    assert windows(world.plan()) == ["11:00-12:00", "10:00-11:00"]
    assert world.plan() == []


def test_a_window_waits_for_its_lag() -> None:
    """A window is due when its end lies the lag behind: not a tick earlier."""
    world = World([make_export(lag="20m", start="2026-11-21T11:00:00Z")])
    world.clock.sleep(3600 - 1e-7)
    assert windows(world.plan()) == ["11:00-12:00"]
    world.drain()
    assert world.plan() == []
    world.clock.sleep(1e-7)
    assert windows(world.plan()) == ["12:00-13:00"]


def test_a_finished_window_is_followed_by_the_next() -> None:
    """Topping up keeps as many in flight as there were, until the backlog is done."""
    world = World()
    world.plan()
    while world.queue:
        assert len(world.queue) <= 2
        world.deliver(world.queue.pop(0))
    assert tiles(world.stored(), between("06:20", "12:00"))


def test_topping_up_lists_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a finished window was decided when the plan was made."""
    world = World()
    (first, *_) = world.plan()
    monkeypatch.setattr(world.data, "list", None)
    assert windows(world.planner().top_up(first)) == ["09:00-10:00"]


def test_a_backlog_longer_than_what_is_kept_ready() -> None:
    """After the windows that were kept ready, topping up plans again by itself."""
    world = World([make_export(window="5m", start="-24h", lag="0s")], source=FakeSource(size=99))
    world.plan()
    world.drain()
    assert len(world.stored()) > PENDING
    assert tiles(
        world.stored(), Window(world.stored()[0].start, due_until(world.exports[0], world.clock.now()))
    )


def test_fresh_windows_go_before_the_backlog() -> None:
    """What became due during a backlog is the next to be queued."""
    world = World([make_export(start="-20h")])
    world.plan()
    world.deliver(world.queue.pop(0))
    world.clock.advance("1h")
    world.deliver(world.queue.pop(0))
    world.plan()
    assert windows(world.queue)[:1] == ["09:00-10:00"]
    world.deliver(world.queue.pop(0))
    assert "12:00-13:00" in windows(world.queue)


def test_after_a_downtime_nothing_is_missing() -> None:
    """One plan after three days catches up with all of them, the newest first."""
    world = World()
    world.plan()
    world.drain()
    world.clock.advance("3d")
    world.plan()
    done = world.drain()
    assert tiles(world.stored(), Window(world.stored()[0].start, done[0].end))
    assert format_instant(done[0].end).startswith("2026-11-24T12:00")
    assert done == sorted(done, reverse=True)


def test_sources_that_forget_are_read_from_their_oldest_end() -> None:
    """The newest window first, and behind it the oldest, which is the next to be lost."""
    world = World([make_export(kind="entra")])
    world.plan("entra")
    assert texts(world.drain()) == [
        "11:00-12:00", "06:20-07:00", "07:00-08:00", "08:00-09:00", "09:00-10:00", "10:00-11:00"
    ]  # fmt: skip


def test_several_exports_take_turns() -> None:
    """An export with a long backlog does not starve another one of its kind."""
    world = World([make_export("long", start="-20h"), make_export("short", start="-3h")])
    world.plan()
    taken = [world.queue.pop(0)]
    while len(taken) < 6:
        world.deliver(taken[-1])
        taken.append(world.queue.pop(0))
    assert [message.export for message in taken] == ["long", "short"] * 3


def test_exports_of_a_source_that_forgets_take_turns_by_age() -> None:
    """Each one's newest window first, then the oldest of all, whichever export it belongs to."""
    world = World(
        [make_export(name, kind="entra", start=start) for name, start in (("long", "-5h"), ("short", "-3h"))]
    )
    world.plan("entra")
    taken = []
    while world.queue:
        taken.append(world.queue.pop(0))
        world.deliver(taken[-1])
    assert [message.export for message in taken[:2]] == ["long", "short"]
    backlog = [message.window.start for message in taken[2:]]
    assert backlog == sorted(backlog)
    assert len(backlog) == 6


def test_kinds_do_not_share_their_places() -> None:
    """A full house of one kind leaves the other one alone."""
    world = World([make_export("logs"), make_export("audits", kind="entra")])
    assert {message.export for message in world.plan("log_analytics")} == {"logs"}
    assert {message.export for message in world.plan("entra")} == {"audits"}


def test_messages_carry_the_digest() -> None:
    """The order says with which configuration its window is to be exported."""
    world = World()
    assert {message.config for message in world.plan()} == {world.exports[0].digest}
    assert {message.reason for message in world.queue} == {"schedule"}
    assert len({message.id for message in world.queue}) == 2


def test_a_wrong_origin_disables_only_that_export(caplog: pytest.LogCaptureFixture) -> None:
    """An export whose name belongs to other data is refused loudly; its neighbours are planned."""
    world = World([make_export("mine"), make_export("taken", identity={"table": "Other"})])
    world.state().origin(make_export("taken"))
    assert {message.export for message in world.plan()} == {"mine"}
    (refusal,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "'taken'" in refusal.getMessage()


def test_a_damaged_origin_disables_only_that_export() -> None:
    """An origin that cannot be read is the trouble of its own export, not of the neighbours."""
    world = World([make_export("mine"), make_export("damaged")])
    world.documents.write("damaged/origin.json", b"{", etag=None)
    assert {message.export for message in world.plan()} == {"mine"}


def test_a_lost_list_repeats_work_only() -> None:
    """Without the in-flight document the windows are queued again, and still land once."""
    world = World()
    world.plan()
    world.documents.delete("in_flight/log_analytics.json")
    again = world.plan()
    assert windows(again) == ["11:00-12:00", "10:00-11:00"]
    world.drain()
    assert tiles(world.stored(), between("06:20", "12:00"))


def test_a_queued_window_is_taken_for_lost_after_half_an_hour() -> None:
    """A message that never arrives keeps its place for 30 minutes and not for longer."""
    world = World([make_export(start="-140m")])
    world.plan()
    world.queue.clear()
    world.clock.advance("29m")
    assert world.plan() == []
    world.clock.advance("1m")
    assert windows(world.plan()) == ["11:00-12:00", "10:00-11:00"]


def test_stored_windows_leave_the_list() -> None:
    """A worker that died after its commit left an entry; the next plan sees the blob and drops it."""
    world = World()
    (first, _) = world.plan()
    world.exporter().run(first)
    assert windows(world.plan()) == ["09:00-10:00"]


def test_an_unknown_export_gives_its_place_back() -> None:
    """When an export is removed while its windows are queued, their places become free."""
    world = World([make_export("gone"), make_export("stays")])
    world.plan()
    world.exports = [make_export("stays")]
    world.drain()
    assert world.flights().load("log_analytics").flights == ()
    world.plan()
    world.drain()
    assert tiles(world.stored("stays"), between("06:20", "12:00"))
    assert world.stored("gone") == []


def test_a_plan_overtaken_by_another_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two planners at the same time, one saves first, and the other one sees its entries."""
    world, racing = World(), True
    write: Callable[..., None] = world.documents.write

    def overtaken(name: str, data: bytes, **options: str | None) -> None:
        nonlocal racing
        if name.startswith("in_flight/") and racing:
            racing = False
            world.plan()
        write(name, data, **options)

    monkeypatch.setattr(world.documents, "write", overtaken)
    world.plan()
    assert windows(world.queue) == ["11:00-12:00", "10:00-11:00"]


def test_a_plan_that_never_gets_through_queues_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Where others keep saving first, they plan; this run says so and issues nothing."""

    class Contested(MemoryContainer):
        def write(self, name: str, *positional: Any, **named: Any) -> None:
            if name.startswith("in_flight/"):
                raise ConflictError("somebody else wrote first")
            super().write(name, *positional, **named)

    world = World(documents=Contested())
    assert world.plan() == []
    assert "others keep changing" in caplog.text


def test_a_failing_window_rests_while_others_run() -> None:
    """Given up, it is not planned again before its next try, and then it is."""
    world = World([make_export(start="-140m")])
    assert isinstance(world.source, FakeSource)
    world.source.errors = [permanent()]
    world.plan()
    world.drain()
    assert texts(world.stored()) == ["10:00-11:00"]
    world.clock.advance("4m")
    assert world.plan() == []
    world.clock.advance("1m")
    assert windows(world.plan()) == ["11:00-12:00"]
    world.drain()
    assert texts(world.stored()) == ["10:00-11:00", "11:00-12:00"]
    world.plan()
    assert world.journal().failures("events") == [], "a failure is forgotten once its window is stored"


def test_another_configuration_does_not_wait() -> None:
    """Whoever mends the query sees the window tried at once."""
    world = World([make_export(start="-80m")])
    assert isinstance(world.source, FakeSource)
    world.source.errors = [permanent()]
    world.plan()
    world.drain()
    assert world.plan() == []
    world.exports = [make_export(start="-80m", pipeline="mended")]
    assert windows(world.plan()) == ["11:00-12:00"]


def test_a_changed_configuration_drops_what_is_queued() -> None:
    """Messages of the old configuration store nothing, and the plan is made anew at once."""
    world = World()
    world.plan()
    world.exports = [make_export(window="2h")]
    world.plan()
    world.drain()
    world.plan()
    world.drain()
    assert texts(world.stored()) == ["06:20-08:00", "08:00-10:00", "10:00-12:00"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("window=3h", ["11:00-12:00", "12:00-15:00", "15:00-18:00"]),
        ("window=30m", ["11:00-12:00", "12:00-12:30", "12:30-13:00"]),
        ("offset=30m", ["11:00-12:00", "12:00-12:30", "12:30-13:30"]),
        ("window=1d", ["11:00-12:00", "12:00-00:00"]),
    ],
)
def test_a_change_of_the_grid_cuts_at_what_is_stored(changed: str, expected: list[str]) -> None:
    """The first window on the new grid is the new cell's share of what is not stored yet."""
    world = World()
    world.plan()
    world.drain()
    key, _, value = changed.partition("=")
    world.exports = [make_export(window=value) if key == "window" else make_export(offset=value)]
    world.clock.advance("2d")
    world.plan()
    world.drain()
    stored = world.stored()
    at = texts(stored).index("11:00-12:00")
    assert texts(stored[at : at + len(expected)]) == expected
    assert tiles(stored, Window(stored[0].start, due_until(world.exports[0], world.clock.now())))


def test_a_longer_window_of_the_past_still_covers() -> None:
    """A blob that began the day before is seen, although the listing begins at the present grid."""
    world = World([make_export(window="7d", start="-20d", lag="0s")])
    world.plan()
    world.drain()
    before = world.stored()
    world.exports = [make_export(window="1h", lag="0s")]
    world.documents.delete("in_flight/log_analytics.json")
    world.plan()
    world.drain()
    assert world.stored()[: len(before)] == before
    assert tiles(world.stored(), Window(before[0].start, between("12:00", "13:00").start))


def test_a_deleted_blob_is_a_gap_again() -> None:
    """What is stored is the truth, not what the planner remembers of it."""
    world = World()
    world.plan()
    world.drain()
    world.plan()
    (first, *_) = [blob.name for blob in world.data.list("events/")]
    world.data.delete(first)
    world.documents.delete("in_flight/log_analytics.json")
    assert windows(world.plan()) == ["06:20-07:00"]


def test_an_export_can_be_begun_anew() -> None:
    """Whoever deletes all that is stored under a name gets all of it again, from the new origin on."""
    world = World()
    world.plan()
    world.drain()
    world.plan()
    for container in (world.data, world.documents):
        for blob in container.list("events/"):
            container.delete(blob.name)
    world.exports = [make_export(start="-8h")]
    world.plan()
    world.drain()
    assert tiles(world.stored(), between("04:20", "12:00"))


def test_a_foreign_blob_is_not_a_window() -> None:
    """Names that are not of the layout, or only look like it, cover nothing and stop nobody."""
    world = World()
    folder = "events/window_date=2026-11-21/window_hour=10/"
    for name in (
        "notes.txt",
        "20261121T100000Z_20261121T100000Z.jsonl",
        "20261321T100000Z_20261321T110000Z.jsonl",
    ):
        world.data.write(folder + name, b"", etag=None)
    assert windows(world.plan()) == ["11:00-12:00", "10:00-11:00"]


def test_an_order_that_nobody_issued_is_refused() -> None:
    """A message with bounds off the grid, or not due, stores nothing."""
    world = World()
    world.plan()
    for window in (between("10:00", "10:30"), between("09:00", "11:00"), between("12:00", "13:00")):
        assert world.exporter().run(order(world.exports[0], window)) is None
    assert world.exporter().run(order(world.exports[0], between("05:00", "06:00"))) is None, (
        "before the origin"
    )
    assert world.stored() == []


def test_a_start_in_the_future_is_not_due() -> None:
    """Nothing is planned before an export begins."""
    world = World([make_export(start="2026-11-22T00:00:00Z")])
    assert world.plan() == []
    world.clock.advance("1d")
    assert texts(message.window for message in world.plan()) == ["11:00-12:00", "10:00-11:00"]
    assert min(message.window.start for message in world.queue) - between("10:00", "11:00").start == 24 * HOUR
