"""The app's clock minutes off: nothing is read before it settled by the service's clock, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from local.compare import ticks
from shared.model import Request, Response
from tests.completeness.conftest import MakeWorld
from tests.completeness.world import MINUTE, World, at, intercept, spread

Fixture = Callable[[], World]


@pytest.fixture
def on_time(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world whose services' Date headers follow its own clock, however far it is moved."""

    def dated(request: Request, response: Response) -> Response:
        del request
        date = formatdate(world.clock.unix(), usegmt=True)
        return replace(response, headers={**response.headers, "date": date})

    intercept(monkeypatch, after=dated)
    return world


def fill(world: World) -> None:
    """Rows and audits from 10:00 to 13:00, and one of each that shows just when its window has settled."""
    world.cloud.add_rows("Event", spread(30, "10:00", "13:00"))
    world.cloud.add_rows("Event", spread(1, "11:59", "12:00", Computer="late"), visible_at=at("12:14"))
    world.cloud.add_audits([{"activityDateTime": each["TimeGenerated"]} for each in _texts()])


def _texts() -> list[dict[str, Any]]:
    return [{"TimeGenerated": at(f"{hour}:{minute:02}")} for hour in (10, 11, 12) for minute in (0, 30, 59)]


def check(world: World, end: str) -> None:
    """Assert that both exports hold the source's rows until a time of the day."""
    world.check(end=end)
    world.check_audits(end=end)


def test_a_clock_that_is_ahead_does_not_read_too_early(on_time: World) -> None:
    """By the service's Date the window is not settled: it is put off until it is, and then complete."""
    world = on_time
    fill(world)
    world.start(world.table(recheck=[]), world.audits(recheck=[]))
    world.clock.tick = ticks(at("12:10"))
    world.clock.ahead = 10 * MINUTE
    world.drain()
    check(world, "11:00")
    for name in ("events", "audits"):
        (failure,) = world.coverage(name)["failures"]
        assert failure["start"] == at("11:00:00")
        assert at("12:24") < failure["next_try"] < at("12:26")  # on the app's own clock
    world.clock.tick = ticks(at("12:15:30"))
    world.drain()
    check(world, "12:00")


def test_the_date_header_of_the_services_is_what_counts(make_world: MakeWorld) -> None:
    """The same with the headers as the services send them: ten minutes behind the app's clock."""
    world = make_world(date_offset=date_offset(-10))
    fill(world)
    world.start(world.table(), world.audits())
    world.drain()
    check(world, "11:00")
    assert [each[1] for name in ("events", "audits") for each in world.windows(name)] == [at("11:00:00")] * 2


def date_offset(minutes: int) -> float:
    """How far the Date headers must be ahead of this machine to be so far ahead of a new world."""
    from tests.completeness.world import options

    return options(minutes * MINUTE).date_offset


def test_a_clock_that_is_behind_only_comes_later(on_time: World) -> None:
    """Windows wait for the app's own clock as well, and the rechecks with them."""
    world = on_time
    fill(world)
    world.start(world.table(), world.audits())
    world.clock.ahead = -10 * MINUTE
    world.drain()
    check(world, "11:00")
    assert len(world.landed()) == 1
    world.pass_time(0.2)
    world.drain()
    check(world, "12:00")


def test_a_clock_that_is_set_back_repeats_nothing(on_time: World) -> None:
    """A correction by hours leaves no double and no gap behind."""
    world = on_time
    fill(world)
    world.start(world.table(), world.audits())
    world.drain()
    before = world.landed()
    world.clock.ahead = -3 * 60 * MINUTE
    world.drain()
    assert world.landed() == before
    world.clock.ahead = 0
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    check(world, "13:00")
