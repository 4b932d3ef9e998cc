"""An export that its service refuses rests for the run; its neighbours go on, and it comes back by itself."""

import logging
from collections.abc import Iterator

import pytest

from shared.errors import (
    DeadlineError,
    DeniedError,
    NoRoomError,
    NotGrantedError,
    NotReadyError,
    ServiceError,
)
from shared.model import Batch, Reading, Window
from shared.windows import MINUTE, SECOND
from tests.parts.fakes import FakeSource, between, make_export, order, texts
from tests.parts.world import World

WINDOW = between("11:00", "12:00")


def refusal() -> DeniedError:
    """Return a refusal as a source raises it."""
    error = ServiceError(
        "Microsoft Graph",
        status=403,
        code="Authentication_RequestFromNonPremiumTenantOrB2CTenant",
        message="Neither tenant is B2C or tenant doesn't have premium license.",
        request_id="r-1",
        retryable=True,
    )
    return DeniedError.of(error, "buy a licence")


def denied_world() -> World:
    """Return a world with two exports, one of which was denied its first window."""
    world = World([make_export(), make_export("others", start="-3h")])
    world.source = Choosy(world)
    world.limits["log_analytics"] = 1
    world.plan()
    world.drain()
    return world


class Choosy(FakeSource):
    """Refuses the export named ``events`` as long as ``denies`` says so."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.denies = True
        self.refused = 0

    def _check(self, window: Window) -> None:  # noqa: ARG002 - any window
        if self.denies and self.world.opened[-1].name == "events":
            self.refused += 1
            raise refusal()


def choosy(world: World) -> Choosy:
    """Return the world's source."""
    assert isinstance(world.source, Choosy)
    return world.source


def test_only_the_denied_export_rests() -> None:
    """One question showed it; its neighbour is exported whole in the same run."""
    world = denied_world()
    assert choosy(world).refused == 1
    assert world.stored() == []
    assert texts(world.stored("others")) == ["09:20-10:00", "10:00-11:00", "11:00-12:00"]


def test_what_is_in_flight_meanwhile_does_not_queue_more(caplog: pytest.LogCaptureFixture) -> None:
    """Plans within the run leave it out, and say why."""
    world = denied_world()
    caplog.set_level(logging.WARNING)
    world.clock.advance("3m")
    assert world.plan() == []
    assert "export rests export=events" in caplog.text
    assert "To mend it: buy a licence" in caplog.text


def test_the_next_run_asks_once_more() -> None:
    """A permission may have been granted by then; if not, one question is the whole price."""
    world = denied_world()
    world.clock.advance("5m")
    world.plan()
    world.drain()
    assert choosy(world).refused == 2
    choosy(world).denies = False
    world.clock.advance("5m")
    world.work()
    assert texts(world.stored())[-1] == "11:00-12:00"
    assert len(world.stored()) == 6
    assert world.journal().denial("events") is None


def test_another_configuration_is_asked_for_at_once() -> None:
    """The change may well have mended it."""
    world = denied_world()
    choosy(world).denies = False
    world.exports[0] = make_export(pipeline="other")
    assert [message.export for message in world.plan()] == ["events"]


def test_an_export_whose_api_gives_it_no_token_rests_too() -> None:
    """Its windows did not fail: the run asks once, and says what to grant; its neighbour goes on."""
    world = World([make_export(), make_export("others", start="-3h")])
    world.limits["log_analytics"] = 1

    class NoToken(Choosy):
        def _check(self, window: Window) -> None:  # noqa: ARG002 - any window
            if self.world.opened[-1].name == "events":
                self.refused += 1
                raise NotGrantedError("no token for scope: AADSTS65001. To mend it: consent to it")

    world.source = NoToken(world)
    world.plan()
    world.drain()
    assert choosy(world).refused == 1
    assert texts(world.stored("others")) == ["09:20-10:00", "10:00-11:00", "11:00-12:00"]
    answer = world.auditor().coverage("events")
    assert "consent to it" in answer["denied"]
    assert answer["failures"] == []


def test_coverage_says_why() -> None:
    """Whoever looks finds what to grant or to buy; a message is not lost, its window a gap."""
    answer = denied_world().auditor().coverage("events")
    assert "premium license. To mend it: buy a licence" in answer["denied"]
    assert answer["gaps"] == [{"start": "2026-11-21T06:20:00Z", "end": "2026-11-21T12:00:00Z"}]
    assert answer["failures"] == []


def test_two_workers_may_be_denied_at_once() -> None:
    """Whoever records it second finds it recorded."""
    world = denied_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    world.exporter().run(order(world.exports[0], WINDOW))
    denial = world.journal().denial("events")
    assert denial is not None
    assert denial.next_try == world.clock.now() + 4 * MINUTE


def test_a_window_that_is_not_ready_is_put_off_and_did_not_fail() -> None:
    """It is tried again when its source says so, however often, and a failure after that counts from one."""
    world = World()
    world.fake.errors = [NotReadyError(60 * SECOND, "the search is running")] * 3
    for _ in range(3):
        world.exporter().run(order(world.exports[0], WINDOW))
        (failure,) = world.journal().failures("events")
        assert (failure.times, failure.next_try) == (0, world.clock.now() + MINUTE)
        world.clock.advance("1m")
    world.fake.errors = [refused_for_good()]
    world.exporter().run(order(world.exports[0], WINDOW))
    (failure,) = world.journal().failures("events")
    assert (failure.times, failure.next_try) == (1, world.clock.now() + 5 * MINUTE)
    world.clock.advance("5m")
    assert WINDOW in [message.window for message in world.plan()]


def refused_for_good() -> ServiceError:
    """Return an error that a retry cannot mend."""
    return ServiceError("X", status=400, code="Bad", message="no", request_id=None, retryable=False)


def test_what_is_prepared_is_released_after_the_commit() -> None:
    """A source may let go of what it prepared once the window is stored, and not before."""
    world = World()
    world.state().origin(world.exports[0])
    world.exporter().run(order(world.exports[0], WINDOW))
    assert world.fake.released == world.fake.readings
    assert len(world.fake.released) == 1


def test_what_cannot_be_released_does_not_harm(caplog: pytest.LogCaptureFixture) -> None:
    """The window is stored; what stays at the service is swept later."""
    world = World()

    class Sticky(FakeSource):
        def release(self, reading: Reading) -> None:  # noqa: ARG002 - any reading
            raise refused_for_good()

    world.source = Sticky()
    world.state().origin(world.exports[0])
    receipt = world.exporter().run(order(world.exports[0], WINDOW))
    assert receipt is not None
    assert "could not be removed" in caplog.text


def test_no_room_at_the_service_lets_the_whole_export_rest() -> None:
    """The next window would find no room either: one question is enough, until the service has room again."""
    world = World([make_export(), make_export("others", start="-3h")])
    world.limits["log_analytics"] = 1

    class Full(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:
            if world.opened[-1].name == "events":
                self.readings.append(reading)
                raise NoRoomError(30 * MINUTE, "five jobs are running")
            yield from super().read(reading)

    world.source = Full()
    world.plan()
    world.drain()
    assert len(world.stored("others")) == 3
    assert len([each for each in world.fake.readings if each.window not in world.stored("others")]) <= 1
    assert world.journal().failures("events") == []
    world.clock.advance("29m")
    assert world.plan() == []
    world.clock.advance("2m")
    assert [message.export for message in world.plan()] == ["events"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_to_wait_is_asked_nothing_meanwhile(status: int) -> None:
    """Its Retry-After is of every window: the export rests as long, and its windows did not fail."""
    world = World([make_export(start="-48h"), make_export("others", start="-3h")])
    world.limits["log_analytics"] = 1
    asked: list[Window] = []

    class Throttled(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:
            if world.opened[-1].name == "events":
                asked.append(reading.window)
                raise throttled(status, 600.0)
            yield from super().read(reading)

    world.source = Throttled()
    world.plan()
    world.drain()
    assert len(asked) == 1
    assert len(world.stored("others")) == 3
    assert world.journal().failures("events") == []
    assert "slow down" in world.auditor().coverage("events")["denied"]
    world.clock.advance("9m")
    assert world.plan() == []
    world.clock.advance("2m")
    world.source = FakeSource()
    world.work()
    assert len(world.stored()) == 48


def test_a_short_wait_is_the_queues() -> None:
    """The message comes back by itself; nothing rests."""
    world = World()
    world.state().origin(world.exports[0])
    world.fake.errors = [throttled(429, 120.0)]
    with pytest.raises(ServiceError, match="slow down"):
        world.exporter().run(order(world.exports[0], WINDOW))
    assert world.journal().denial("events") is None


@pytest.mark.parametrize("status", [200, 500])
def test_a_wait_that_is_of_one_window_lets_the_others_go_on(status: int) -> None:
    """Jobs of one window that failed too often say nothing of its neighbours."""
    world = World()
    world.state().origin(world.exports[0])
    world.fake.errors = [throttled(status, 600.0)]
    world.exporter().run(order(world.exports[0], WINDOW))
    (failure,) = world.journal().failures("events")
    assert (failure.times, failure.next_try) == (1, world.clock.now() + 10 * MINUTE)
    assert world.journal().denial("events") is None


def throttled(status: int, seconds: float) -> ServiceError:
    """Return an answer that asks to wait."""
    return ServiceError(
        "Microsoft Graph",
        status=status,
        code="TooManyRequests",
        message="slow down",
        request_id=None,
        retryable=True,
        retry_after=seconds,
    )


def test_a_denial_is_of_the_export_as_it_is_now() -> None:
    """A recheck of windows that were stored with an older configuration is denied like everything else."""
    world = World()
    world.state().origin(world.exports[0])
    world.exporter().run(order(world.exports[0], WINDOW))
    before = world.exports[0]
    world.exports[0] = make_export(pipeline="other")
    world.fake.errors = [refusal()]
    world.exporter().run(order(before, WINDOW, "recheck"))
    denial = world.journal().denial("events")
    assert denial is not None
    assert denial.config == world.exports[0].digest
    assert world.plan() == []


def test_a_window_that_takes_too_long_twice_waits_for_another_day() -> None:
    """A third delivery would take as long: it is given up, to be tried again later."""
    world = World()
    world.state().origin(world.exports[0])
    message = order(world.exports[0], WINDOW)
    world.fake.errors = [DeadlineError("too long"), DeadlineError("too long")]
    with pytest.raises(DeadlineError):
        world.exporter().run(message, attempt=1)
    assert world.exporter().run(message, attempt=2) is None
    (failure,) = world.journal().failures("events")
    assert failure.times == 1
