"""Whatever happens to the app and its settings: at the end every wanted tick is stored exactly once."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.coverage import due_until
from shared.errors import ExportError, ServiceError, StorageError
from shared.model import Export, Kind, Message, Window
from shared.windows import HOUR, MINUTE, format_instant, subtract, union
from tests.parts.fakes import NOW, Crashed, disjoint, make_export, rows_of, texts, tiles
from tests.parts.faulty import FailsAt, Steps
from tests.parts.world import World

WINDOWS = ["20m", "30m", "1h", "2h", "3h", "1d"]
OFFSETS = ["0s", "10m", "1h"]
FORMATS = ["jsonl.gz", "jsonl"]
RECHECKS = [(), ("1h",), ("1h", "24h")]


def configurations(kind: Kind) -> st.SearchStrategy[Export]:
    """Give any configuration of one export."""
    return st.builds(
        make_export,
        kind=st.just(kind),
        window=st.sampled_from(WINDOWS),
        offset=st.sampled_from(OFFSETS),
        lag=st.sampled_from(["0s", "15m", "2h"]),
        recheck=st.sampled_from(RECHECKS),
        format_=st.sampled_from(FORMATS),
        pipeline=st.sampled_from(["", "where 1 == 1"]),
        start=st.sampled_from(["-6h", "-100m", "2026-11-20T23:10:00Z"]),
    )


@dataclass(frozen=True)
class Event:
    """Something that happens: ``what``, with a number that chooses among the possible."""

    what: str
    number: int = 0
    export: Export | None = None
    span: Window | None = None


@st.composite
def ranges(draw: st.DrawFn) -> Window:
    """Give a range that a backfill may ask for: on no grid, before the origin or into the future."""
    start = NOW + draw(st.integers(-24 * 12, 12)) * 5 * MINUTE
    return Window(start, start + draw(st.integers(1, 12 * 8)) * 5 * MINUTE)


def events(kind: Kind) -> st.SearchStrategy[Event]:
    """Give any event; what carries work on is drawn most often."""
    return st.one_of(
        st.builds(Event, st.sampled_from(["plan", "deliver", "deliver"]), st.integers(0, 5)),
        st.builds(Event, st.sampled_from(["plan", "deliver", "catch up"]), st.integers(0, 5)),
        st.builds(Event, st.sampled_from(["crash", "fail", "refuse", "repeat", "lose"]), st.integers(0, 24)),
        st.builds(Event, st.sampled_from(["crash the plan", "late", "end"]), st.integers(0, 12)),
        st.builds(Event, st.just("reconfigure"), export=configurations(kind)),
        st.builds(Event, st.sampled_from(["backfill", "force"]), span=ranges()),
        st.builds(Event, st.sampled_from(["wait", "wait", "forget", "give up"]), st.integers(1, 200)),
    )


@dataclass(frozen=True)
class Case:
    """The kind of a source, its first configuration, and what happens."""

    kind: Kind
    first: Export
    events: list[Event]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Give any case."""
    kind: Kind = draw(st.sampled_from(["log_analytics", "entra"]))
    return Case(kind, draw(configurations(kind)), draw(st.lists(events(kind), max_size=40)))


@dataclass
class Story:
    """A world in which events happen; ``asked`` are the backfills so far, ``promised`` those not ended."""

    kind: Kind
    world: World
    asked: list[Window] = field(default_factory=list)
    promised: list[Window] = field(default_factory=list)

    def happen(self, event: Event) -> None:  # noqa: C901  one arm an event
        """Let one event happen."""
        world = self.world
        match event.what:
            case "plan":
                world.plan(self.kind)
            case "catch up":
                world.plan(self.kind)
                world.drain()
            case "crash the plan":
                steps = Steps(FailsAt(event.number, Crashed(), after=bool(event.number % 2)))
                planner = world.planner(
                    data=steps.container(world.data), documents=steps.container(world.documents)
                )
                with contextlib.suppress(Crashed):
                    world.queue += planner.plan(self.kind)
            case "reconfigure" if event.export is not None:
                world.exports = [event.export]
            case "wait":
                world.clock.advance(f"{event.number}m")
            case "forget":
                world.documents.delete(f"in_flight/{self.kind}.json")
            case "late":
                at = format_instant(NOW - event.number * HOUR // 2 + 7)
                world.fake.late.append(f'{{"at":"{at}","late":{len(world.fake.late)}}}')
            case "end":
                world.auditor().end_backfills("events")
                self.promised.clear()
            case "backfill" | "force" if event.span is not None:
                self.ask(event.span, force=event.what == "force")
            case _ if world.queue:
                self.happen_to(world.queue[event.number % len(world.queue)], event)

    def ask(self, span: Window, *, force: bool) -> None:
        """Ask for a range."""
        self.asked.append(span)
        self.promised.append(span)
        self.world.clock.advance("1s")
        self.world.journal().add_backfill("events", span, force=force, allow_shrink=False)
        self.world.clock.advance("1s")

    def happen_to(self, message: Message, event: Event) -> None:
        """Let one event happen to a message that waits."""
        world = self.world
        if event.what in {"crash", "fail"}:
            error = Crashed() if event.what == "crash" else StorageError("storage failed", retryable=True)
            steps = Steps(FailsAt(event.number, error, after=bool(event.number % 2)))
            exporter = world.exporter(
                data=steps.container(world.data),
                documents=steps.container(world.documents),
                source=steps.source(world.source),
            )
            with contextlib.suppress(Crashed, StorageError):
                exporter.run(message)
            return  # the message stays in the queue
        if event.what == "repeat":
            world.queue.append(message)
            return
        world.queue.remove(message)
        match event.what:
            case "deliver":
                world.deliver(message)
            case "give up":
                world.give_up(message)
            case "refuse":
                world.fake.errors = [
                    ServiceError(
                        "Graph", status=400, code="Bad", message="no", request_id=None, retryable=False
                    )
                ]
                with contextlib.suppress(ExportError):
                    world.deliver(message)
                world.fake.errors = []

    def settle(self) -> None:
        """Wait until nothing rests or is taken for in flight any more, then let the app catch up."""
        self.world.clock.advance("30h")  # the longest window, lag, age and rest
        for _ in range(200):
            if not self.world.plan(self.kind):
                return
            self.world.drain()
        raise AssertionError("the app does not come to rest")

    def check(self, origin: int) -> list[Window]:
        """Assert that what is wanted is stored, each tick once, and its rows with it; return the windows."""
        world = self.world
        stored = world.stored()
        due = max(due_until(world.exports[0], world.clock.now()), *(each.end for each in stored), origin)
        wanted = union([*_due([Window(origin, due)] if origin < due else [], due), *_due(self.promised, due)])
        assert disjoint(stored), texts(stored)
        assert [gap for span in wanted for gap in subtract(span, stored)] == []
        outside = subtract(Window(0, due), [Window(origin, due), *self.asked] if origin < due else self.asked)
        assert not any(subtract(each, outside) != [each] for each in stored), "nobody asked for that"
        own = sorted(row for window in stored for row in rows_of(window))
        rows = world.stored_rows()
        assert [row for row in rows if '"late"' not in row] == own
        late = [row for row in rows if '"late"' in row]
        assert set(late) <= set(world.fake.late)
        assert len(set(late)) == len(late), "a row is stored twice"
        assert all(receipt.rows == len(read) for receipt, read in _reads(world))
        return stored


def _due(spans: list[Window], due: int) -> list[Window]:
    return [Window(each.start, min(each.end, due)) for each in spans if each.start < due]


def _reads(world: World) -> list[tuple[Any, list[str]]]:
    rows = world.stored_rows()
    found = []
    for receipt in world.receipts():
        first, last = (f'{{"at":"{format_instant(at)}' for at in (receipt.window.start, receipt.window.end))
        found.append((receipt, [row for row in rows if first <= row < last]))
    return found


@pytest.mark.timeout(600)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_every_wanted_tick_is_stored_once(case: Case) -> None:
    """Random reconfigurations, backfills, crashes, losses and repetitions leave neither a gap nor a double.

    In the end everything is stored again by force: then every window also has the rows that came late, the
    present configuration, and one blob.
    """
    story = Story(case.kind, World([case.first]))
    world = story.world
    origin = world.state().origin(case.first).tick
    for event in case.events:
        story.happen(event)
    story.settle()
    stored = story.check(origin)
    if not stored:
        return
    story.ask(Window(stored[0].start, stored[-1].end), force=True)
    story.settle()
    again = story.check(origin)
    assert set(stored) <= set(again), "a redo keeps the stored bounds"
    assert {receipt.config for receipt in world.receipts()} == {world.exports[0].digest}
    span = [row for window in again for row in world.fake.holds(window)]
    assert world.stored_rows() == sorted(span)
    assert world.backfills() == []
    assert world.journal().failures("events") == []


def test_the_property_can_fail() -> None:
    """A hole, an overlap and a short end are each seen as such."""
    whole = [Window(0, 2), Window(2, 4)]
    assert tiles(whole, Window(0, 4))
    assert disjoint(whole)
    wrong: Mapping[str, Any] = {
        "hole": [Window(0, 2), Window(3, 4)],
        "overlap": [Window(0, 3), Window(2, 4)],
        "short": [Window(0, 2)],
        "none": [],
    }
    assert not any(tiles(windows, Window(0, 4)) for windows in wrong.values())
    assert not disjoint(wrong["overlap"])
    assert not disjoint([whole[0], whole[0]]), "two blobs of a window"
