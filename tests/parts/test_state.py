"""What the state container remembers, and what it makes of what it cannot read."""

from dataclasses import replace

import pytest

from shared.errors import OriginError
from shared.state import Flight, InFlight
from shared.windows import MINUTE, parse_instant
from tests.parts.fakes import NOW, World, between, make_export

WINDOW = between("10:00", "11:00")
UNREADABLE = '{"export":"events","start":"soon","end":"later","config":"c","queued_at":"now"}'


@pytest.fixture
def world() -> World:
    """Return an empty storage account."""
    return World()


def test_relative_start_is_resolved_once(world: World) -> None:
    """A start of six hours ago stays where the first run put it, for later runs and later starts."""
    assert world.state().origin(make_export(start="-6h")) == NOW - 360 * MINUTE
    world.clock.advance("5h")
    assert world.state().origin(make_export(start="-1h")) == NOW - 360 * MINUTE
    assert world.state().origin(make_export(start="2020-01-01")) == NOW - 360 * MINUTE


def test_relative_start_lies_on_a_whole_second(world: World) -> None:
    """Windows are named to the second, so the first one begins on a second."""
    world.clock.advance("1s")
    world.clock.sleep(0.1234567)
    assert world.state().origin(make_export()) % 10_000_000 == 0


def test_origin_is_create_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two workers that begin at the same time, both end up with the origin of the first."""
    first, second = world.state(), world.state()
    read = world.documents.read
    raced: list[str] = []

    def read_then_lose(name: str) -> object:
        document = read(name)
        if not raced:
            raced.append(name)
            first.origin(make_export(start="-6h"))
        return document

    monkeypatch.setattr(world.documents, "read", read_then_lose)
    assert second.origin(make_export(start="-1h")) == NOW - 360 * MINUTE


def test_foreign_origin_names_both(world: World) -> None:
    """An export whose name belongs to other data is refused with both identities, also by another process."""
    world.state().origin(make_export(identity={"table": "Event", "workspace": "one"}))
    other = make_export(identity={"table": "Event", "workspace": "two"})
    with pytest.raises(OriginError, match=r"(?s)'events'.*workspace two.*workspace one") as caught:
        world.state().origin(other)
    assert not caught.value.retryable
    assert world.state().origin(make_export(identity={"workspace": "one", "table": "Event"}))


def test_query_window_and_format_may_change(world: World) -> None:
    """Only the source's identity ties an export to its name."""
    origin = world.state().origin(make_export())
    assert world.state().origin(make_export(window="2h", pipeline="where 1 == 1", format_="jsonl")) == origin


def test_configurations_are_kept_under_their_digest(world: World) -> None:
    """Each configuration is written once, as it was, and tells how long its windows are."""
    state, short, long = world.state(), make_export(window="1h"), make_export(window="1d")
    assert state.longest_window("events") == 0
    for export in (short, long, short):
        state.register(export)
        world.state().register(export)
    assert state.longest_window("events") == long.window
    kept = world.documents.read(f"events/configs/{short.digest}.json")
    assert kept is not None
    assert kept.data == short.config


def test_failures_back_off(world: World) -> None:
    """The next try comes after 5 minutes, then twice as long each time, but never after more than 6 hours."""
    pauses = []
    for _ in range(10):
        failure = world.state().record_failure("events", WINDOW, "digest", "why")
        assert world.state().failures("events") == [failure]
        pauses.append((failure.next_try - world.clock.now()) // MINUTE)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]


def test_a_failure_under_another_configuration_starts_over(world: World) -> None:
    """Whoever changes the configuration may have mended the cause."""
    for digest, times in (("old", 1), ("old", 2), ("new", 1), ("new", 2)):
        assert world.state().record_failure("events", WINDOW, digest, "why").times == times


def test_a_failure_keeps_its_reason_and_can_be_forgotten(world: World) -> None:
    """The document says why, for the person who looks; forgetting twice is no error."""
    world.state().record_failure("events", WINDOW, "digest", "SEM0100: no such column")
    (blob,) = world.documents.list("events/failures/")
    document = world.documents.read(blob.name)
    assert document is not None
    assert b"SEM0100: no such column" in document.data
    for _ in range(2):
        world.state().clear_failure("events", WINDOW)
    assert world.state().failures("events") == []


def test_in_flight_round_trip(world: World) -> None:
    """What is saved is read back, with the ETag that the next save needs."""
    start, end, queued_at = (f"2026-11-21T{hour}:00:00Z" for hour in (10, 11, 12))
    flight = Flight("events", start, end, "digest", "id", queued_at)
    saved = InFlight((flight,), (flight, flight), more=False, positions={"events": NOW})
    world.state().save_in_flight("entra", saved)
    read = world.state().in_flight("entra")
    assert read.etag is not None
    assert replace(read, etag=None) == saved
    assert flight.window == WINDOW
    assert world.state().in_flight("log_analytics") == InFlight()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"in_flight":[],"pending":[],"more":true}',
        '{"in_flight":[],"pending":[],"more":true,"positions":{"events":"soon"}}',
        f'{{"in_flight":[{UNREADABLE}],"pending":[],"more":true,"positions":{{}}}}',
        f'{{"in_flight":[],"pending":[{UNREADABLE}],"more":true,"positions":{{}}}}',
    ],
)
def test_a_cache_that_cannot_be_read_is_begun_anew(world: World, text: str) -> None:
    """A damaged in-flight document stops nobody: the plan is made from what is stored, and replaces it."""
    world.documents.write("in_flight/log_analytics.json", text.encode(), etag=None)
    assert len(world.plan()) == 2
    assert world.plan() == []


def test_an_origin_can_be_read_by_a_person(world: World) -> None:
    """The stored origin is text that a person can read: an instant and an identity."""
    world.state().origin(make_export(start="2026-11-20T00:00:00Z"))
    document = world.documents.read("events/origin.json")
    assert document is not None
    assert b'"start":"2026-11-20T00:00:00Z"' in document.data
    assert world.state().origin(make_export()) == parse_instant("2026-11-20")
