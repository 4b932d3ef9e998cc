"""Whatever happens to the app and its settings: at the end every tick that is due is stored exactly once."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.coverage import due_until
from shared.errors import ServiceError, StorageError
from shared.model import Export, Message, Window
from tests.parts.fakes import Crashed, FakeSource, World, make_export, rows_of, tiles
from tests.parts.faulty import FailsAt, Steps

WINDOWS = ["10m", "30m", "1h", "2h", "3h", "1d"]
OFFSETS = ["0s", "10m", "1h"]


def configurations() -> st.SearchStrategy[Export]:
    """Give any configuration of one export."""
    return st.builds(
        make_export,
        window=st.sampled_from(WINDOWS),
        offset=st.sampled_from(OFFSETS),
        lag=st.sampled_from(["0s", "15m", "2h"]),
        format_=st.sampled_from(["jsonl.gz", "jsonl"]),
        pipeline=st.sampled_from(["", "where 1 == 1"]),
        start=st.sampled_from(["-6h", "-100m", "2026-11-20T23:10:00Z"]),
    )


@dataclass(frozen=True)
class Event:
    """Something that happens: ``what``, with a number that chooses among the possible."""

    what: str
    number: int = 0
    export: Export | None = None


EVENTS = st.one_of(
    st.builds(Event, st.sampled_from(["plan", "deliver", "plan", "deliver"]), st.integers(0, 5)),
    st.builds(Event, st.sampled_from(["crash", "fail", "refuse", "repeat", "lose"]), st.integers(0, 14)),
    st.builds(Event, st.just("reconfigure"), export=configurations()),
    st.builds(Event, st.sampled_from(["wait", "forget", "give up"]), st.integers(1, 200)),
)


def happen(world: World, event: Event) -> None:
    """Let one event happen to a world."""
    match event.what:
        case "plan":
            world.plan()
        case "reconfigure" if event.export is not None:
            world.exports = [event.export]
        case "wait":
            world.clock.advance(f"{event.number}m")
        case "forget":
            world.documents.delete("in_flight/log_analytics.json")
        case _ if world.queue:
            happen_to(world.queue[event.number % len(world.queue)], world, event)


def happen_to(message: Message, world: World, event: Event) -> None:
    """Let one event happen to a message that waits."""
    if event.what in {"crash", "fail"}:
        error = Crashed() if event.what == "crash" else StorageError("storage failed", retryable=True)
        steps = Steps(FailsAt(event.number, error, after=bool(event.number % 2)))
        exporter = world.exporter(
            data=steps.container(world.data), documents=steps.container(world.documents)
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
            assert isinstance(world.source, FakeSource)
            world.source.errors = [
                ServiceError("Graph", status=400, code="Bad", message="no", request_id=None, retryable=False)
            ]
            world.deliver(message)
            world.source.errors = []


def settle(world: World) -> None:
    """Wait until nothing rests or is taken for in flight any more, then let the app catch up."""
    world.clock.advance("49h")  # the longest window, the longest lag, and the longest rest
    while world.plan():
        world.drain()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=configurations(), events=st.lists(EVENTS, max_size=40))
def test_every_due_tick_is_stored_once(first: Export, events: list[Event]) -> None:
    """Random reconfigurations, crashes, losses and repetitions leave neither a gap nor a double."""
    world = World([first])
    origin = world.state().origin(first)
    for event in events:
        happen(world, event)
    settle(world)
    due = due_until(world.exports[0], world.clock.now())
    stored = world.stored()
    assert tiles(stored, Window(origin, max(due, stored[-1].end)))
    assert world.stored_rows() == rows_of(Window(origin, stored[-1].end))


def test_the_property_can_fail() -> None:
    """A hole, an overlap and a short end are each seen as such."""
    whole = [Window(0, 2), Window(2, 4)]
    assert tiles(whole, Window(0, 4))
    wrong: Mapping[str, Any] = {
        "hole": [Window(0, 2), Window(3, 4)],
        "overlap": [Window(0, 3), Window(2, 4)],
        "short": [Window(0, 2)],
        "none": [],
    }
    assert not any(tiles(windows, Window(0, 4)) for windows in wrong.values())
