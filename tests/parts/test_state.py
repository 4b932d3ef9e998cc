"""Where an export begins, whose data it is, and with which configurations its windows were stored."""

import pytest

from shared.errors import OriginError
from shared.listing import Lengths
from shared.windows import MINUTE, parse_instant
from tests.parts.fakes import NOW, make_export
from tests.parts.world import World


@pytest.fixture
def world() -> World:
    """Return an empty storage account."""
    return World()


def test_relative_start_is_resolved_once(world: World) -> None:
    """A start of six hours ago stays where the first run put it, for later runs and later starts."""
    assert world.state().origin(make_export(start="-6h")).tick == NOW - 360 * MINUTE
    world.clock.advance("5h")
    assert world.state().origin(make_export(start="-1h")).tick == NOW - 360 * MINUTE
    assert world.state().origin(make_export(start="2020-01-01")).tick == NOW - 360 * MINUTE


def test_relative_start_lies_on_a_whole_second(world: World) -> None:
    """Windows are named to the second, so the first one begins on a second."""
    world.clock.advance("1s")
    world.clock.sleep(0.1234567)
    assert world.state().origin(make_export()).tick % 10_000_000 == 0


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
    assert second.origin(make_export(start="-1h")).tick == NOW - 360 * MINUTE


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
    assert state.lengths("events") == Lengths(0, 0)
    for export in (short, long, short):
        state.register(export)
        world.state().register(export)
    assert state.lengths("events") == Lengths(short.window, long.window)
    kept = world.documents.read(f"events/configs/{short.digest}.json")
    assert kept is not None
    assert kept.data == short.config


def test_an_origin_can_be_read_by_a_person(world: World) -> None:
    """The stored origin is text that a person can read: an instant and an identity."""
    world.state().origin(make_export(start="2026-11-20T00:00:00Z"))
    document = world.documents.read("events/origin.json")
    assert document is not None
    assert b'"start":"2026-11-20T00:00:00Z"' in document.data
    assert world.state().origin(make_export()).tick == parse_instant("2026-11-20")
