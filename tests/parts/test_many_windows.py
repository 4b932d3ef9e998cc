"""With 60,000 stored windows of one export, storage is asked little more than with a hundred."""

from collections.abc import Callable
from functools import cache

import pytest

from shared.auditor import BackfillBody, VerifyBody
from shared.layout import blob_name
from shared.model import Kind, Window
from shared.settled import MAX_SPANS
from shared.windows import DAY, HOUR, SECOND, parse_instant
from tests.parts.fakes import order
from tests.parts.many_windows import PAGE, asked, copied, store, world_of_windows
from tests.parts.world import World

COUNT = 60_000
"""Windows, of which five minutes each make 208 days. The benchmark scale_windows has 100,000."""
A_HANDFUL = 12
"""Calls of a plan: what is in flight, one listing a folder of documents, and of the data's open days."""
SHAPES: dict[Kind, tuple[int, str]] = {"log_analytics": (COUNT, "5m"), "entra": (COUNT // 5, "1h")}

_stored = cache(world_of_windows)


@cache
def _running(kind: Kind) -> World:
    """Return the world of an app that has planned once, and whose rechecks are done."""
    world = copied(_stored(*SHAPES[kind], kind))
    world.work(kind)
    asked(world)
    return world


@pytest.fixture(params=SHAPES)
def world(request: pytest.FixtureRequest) -> World:
    """Return an app's world in which nothing is left to do."""
    return copied(_running(request.param))


@pytest.fixture
def five_minutes() -> World:
    """Return a world of Log Analytics windows of five minutes in which nothing is left to do."""
    return copied(_running("log_analytics"))


def ticked(world: World, after: str = "5m") -> None:
    """Let a timer run after a while, and what it queues be done; the counting begins with the next run."""
    world.clock.advance(after)
    world.work(world.exports[0].kind)
    world.clock.advance("1s")
    asked(world)


def plan(world: World) -> None:
    """Let the timer of the one export run."""
    world.plan(world.exports[0].kind)


def month(world: World) -> Window:
    """Return a month in the middle of what is stored."""
    start, end = (parse_instant(text) for text in ("2026-06-01", "2026-07-01"))
    assert world.exports[0].start < start
    return Window(start, end)


def everything(world: World) -> Window:
    """Return all time from the first stored window on."""
    return Window(world.exports[0].start, world.clock.now() // SECOND * SECOND)


def test_a_plan_lists_only_open_days(world: World) -> None:
    """What is covered and rechecked is not looked at again: neither its blobs nor its records."""
    ticked(world)
    plan(world)
    found = asked(world)
    days = 4 * DAY // world.exports[0].window
    assert found.calls <= A_HANDFUL, found
    assert found.listed <= max(4 * days, PAGE // 5), found


def test_every_sixth_hour_all_names_are_listed_once(world: World) -> None:
    """What was settled is checked against what is stored, page by page, without receipts or records."""
    ticked(world)
    world.clock.advance("6h")
    plan(world)
    found = asked(world)
    assert found.data <= len(world.stored()) / PAGE + 4, found
    assert found.documents + found.others <= A_HANDFUL, found


def test_planning_from_nothing_lists_everything_once() -> None:
    """An app that lost what it remembered reads every receipt and every record of a recheck, once."""
    world = copied(_stored(COUNT, "5m", "log_analytics"))
    plan(world)
    found = asked(world)
    records = len(list(world.documents.names("events/rechecks/")))
    assert found.data <= COUNT / PAGE
    assert found.documents <= records / PAGE + 6


@pytest.mark.parametrize("month_", [True, False], ids=["month", "everything"])
@pytest.mark.parametrize("deed", ["coverage", "verify"])
def test_auditing_takes_a_call_for_each_full_page(world: World, deed: str, *, month_: bool) -> None:
    """A month is a handful of calls, and everything one for each 5,000 windows."""
    span = month(world) if month_ else everything(world)
    auditor = world.auditor()
    if deed == "coverage":
        found = auditor.coverage("events", span if month_ else None)
        assert [len(found["covered"]), found["gaps"]] == [1, []]
    else:
        found = auditor.verify("events", span, VerifyBody("", ""))
        assert found["windows"] == found["complete"] > 700
    counted = asked(world)
    windows = min((span.end - span.start) // world.exports[0].window, len(world.stored()))
    assert counted.data <= windows // PAGE + (2 if month_ else 1), counted
    assert counted.documents + counted.others <= 8, counted


def _fail_for_long(world: World) -> None:
    """Let a window of half a year ago be gone for good: each try fails, and the next lies far ahead."""
    lost = Window(month(world).start, month(world).start + world.exports[0].window)
    world.data.delete(blob_name("events", lost, "jsonl.gz"))
    world.journal().record_failure(order(world.exports[0], lost), "no", 365 * DAY)


def _backfill_done(world: World) -> None:
    """Let a year before the origin be backfilled, and all of it be stored."""
    ask(world, 365, stored=1.0)


def _backfill_half_done(world: World) -> None:
    """Let a backfill of a year be in the middle of its work."""
    ask(world, 365, stored=0.5)


def _repaired_often(world: World) -> None:
    """Let hundreds of windows have been repaired, each by a backfill of its own."""
    for number in range(300):
        start = month(world).start + number * HOUR
        span = Window(start, start + HOUR)
        backfill = world.journal().add_backfill("events", span, force=False, allow_shrink=False)
        world.journal().change_backfill("events", backfill, "done")


def ask(world: World, days: int, *, stored: float) -> None:
    """Ask for some days before the origin, of which a share is stored, newest first."""
    end = world.exports[0].start
    start = end - days * DAY
    world.auditor().backfill("events", Window(start, end), BackfillBody("", ""))
    store(world, Window(end - round(days * stored) * DAY, end), at=world.clock.now())


@pytest.mark.parametrize(
    "happen",
    [_fail_for_long, _backfill_done, _backfill_half_done, _repaired_often],
    ids=lambda each: each.__name__,
)
def test_what_is_open_for_long_makes_no_plan_list_what_is_not(
    five_minutes: World, happen: Callable[[World], None]
) -> None:
    """A window that fails for months, and backfills that are done, or half done, keep nothing else open."""
    world = five_minutes
    ticked(world)
    happen(world)
    world.clock.advance("6h")  # long enough for a deleted blob to be missed
    plan(world)
    asked(world)
    world.clock.advance("5m")
    plan(world)
    found = asked(world)
    assert found.calls <= A_HANDFUL + 10, found
    assert found.listed <= 2 * PAGE, found


def test_what_is_settled_is_remembered_in_few_spans(five_minutes: World) -> None:
    """However many windows wait here and there, the document that every window rewrites stays small."""
    world = five_minutes
    for number in range(200):
        start = month(world).start + number * 3 * HOUR
        lost = Window(start, start + world.exports[0].window)
        world.data.delete(blob_name("events", lost, "jsonl.gz"))
        world.journal().record_failure(order(world.exports[0], lost), "no", 365 * DAY)
    world.clock.advance("7h")  # long enough for a deleted blob to be missed
    plan(world)
    (settled,) = world.flights().load("log_analytics").settled.values()
    assert len(settled.spans) == MAX_SPANS
    asked(world)
    plan(world)
    assert asked(world).calls <= A_HANDFUL + 10
    assert len(world.journal().failures("events")) == 200, "they are still missed, and rest"


def test_the_counting_can_fail() -> None:
    """A second page counts as a second call, and so does each question for properties."""
    world = copied(_stored(COUNT, "5m", "log_analytics"))
    assert len(list(world.data.names("events/"))) == COUNT
    assert world.data.head("nothing") is None
    counted = asked(world)
    assert (counted.data, counted.others, counted.listed) == (COUNT // PAGE, 1, COUNT)
