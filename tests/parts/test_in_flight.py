"""The list of what is in flight: a cache that is read back as it was, and done without where it cannot be."""

from dataclasses import replace

import pytest

from shared.in_flight import Flight, InFlight, Settled
from tests.parts.fakes import NOW, between
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
REST = '"in_flight":[],"pending":[],"more":true'
UNREADABLE = '{"export":"events","start":"soon","end":"later","config":"c","queued_at":"now"}'


@pytest.fixture
def world() -> World:
    """Return an empty storage account."""
    return World()


def test_in_flight_round_trip(world: World) -> None:
    """What is saved is read back, with the ETag that the next save needs."""
    start, end, queued_at = (f"2026-11-21T{hour}:00:00Z" for hour in (10, 11, 12))
    flight = Flight("events", start, end, "digest", "recheck", "id", queued_at)
    saved = InFlight(
        (flight,), (flight, flight), more=False, settled={"events": Settled(NOW - 1, (WINDOW,), ("id",))}
    )
    world.flights().save("entra", saved)
    read = world.flights().load("entra")
    assert read.etag is not None
    assert replace(read, etag=None) == saved
    assert flight.window == WINDOW
    assert world.flights().load("log_analytics") == InFlight()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"in_flight":[],"pending":[],"more":true}',
        f'{{{REST},"settled":{{"events":"soon"}}}}',
        f'{{{REST},"settled":{{"events":{{"since":"soon","spans":[],"backfills":[]}}}}}}',
        f'{{{REST},"settled":{{"events":{{"since":"2026-11-21","spans":[["soon","now"]],"backfills":[]}}}}}}',
        f'{{{REST},"settled":{{"events":{{"since":"2026-11-21","spans":[["2026-11-21","2026-11-20"]]}}}}}}',
        f'{{"in_flight":[{UNREADABLE}],"pending":[],"more":true,"settled":{{}}}}',
        f'{{"in_flight":[],"pending":[{UNREADABLE}],"more":true,"settled":{{}}}}',
    ],
)
def test_a_cache_that_cannot_be_read_is_begun_anew(world: World, text: str) -> None:
    """A damaged in-flight document stops nobody: the plan is made from what is stored, and replaces it."""
    world.documents.write("in_flight/log_analytics.json", text.encode(), etag=None)
    assert len(world.plan()) == 2
    assert world.plan() == []
