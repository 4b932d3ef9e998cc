"""A documented request rate is kept by the client: evenly, over all hosts, and by whatever is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clouds import Api
from shared.errors import DeadlineError
from shared.model import Pace, Request
from shared.pacing import Pacer, intervals
from shared.transport import Transport
from shared.windows import SECOND
from tests.parts.fakes import FakeClock
from tests.parts.test_transport import Tokens
from tests.parts.web import Web, answer

REPORTS: Pace = "graph_reports"


def most_in_ten_seconds(times: list[float]) -> int:
    """Return how many of some moments at most lie within ten seconds."""
    return max((sum(first <= each < first + 10 for each in times) for first in times), default=0)


@given(st.lists(st.floats(0, 15), min_size=1, max_size=40), st.integers(1, 50))
def test_no_ten_seconds_hold_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """However the work between them comes, requests never exceed the rate, and are at its edge in a rush."""
    clock = FakeClock()
    pacer = Pacer(intervals(limit), clock)
    times = []
    for pause in pauses:
        clock.sleep(pause)
        pacer.wait(REPORTS, None)
        times.append(clock.monotonic())
    assert most_in_ten_seconds(times) <= limit


def test_a_long_walk_runs_at_the_limit() -> None:
    """Five requests in ten seconds, but for the margin."""
    clock = FakeClock()
    pacer = Pacer(intervals(5), clock)
    for _ in range(100):
        pacer.wait(REPORTS, None)
    assert 200 < clock.monotonic() < 206


def test_two_hosts_that_take_turns_stay_within_the_limit() -> None:
    """A host that begins cannot know what another one sent just before, so it waits its turn first."""
    clock = FakeClock()
    times = []
    for _ in range(12):
        pacer = Pacer(intervals(5), clock)
        for _ in range(3):
            pacer.wait(REPORTS, None)
            times.append(clock.monotonic())
    assert most_in_ten_seconds(times) <= 5


def test_a_host_that_rested_waits_as_one_that_begins() -> None:
    """What others sent meanwhile is not known either."""
    clock = FakeClock()
    pacer = Pacer(intervals(5), clock)
    pacer.wait(REPORTS, None)
    clock.sleep(60)
    began = clock.monotonic()
    pacer.wait(REPORTS, None)
    assert clock.monotonic() - began == pytest.approx(2.05)


def test_each_rate_has_its_own_turn() -> None:
    """Risk detections do not wait for reports."""
    clock = FakeClock()
    pacer = Pacer(intervals(5), clock)
    for _ in range(3):
        pacer.wait(REPORTS, None)
    began = clock.monotonic()
    pacer.wait("graph_identity_protection", None)
    assert clock.monotonic() - began == pytest.approx(1.025)


def test_a_turn_after_the_deadline_is_not_waited_for() -> None:
    """The window ends in time instead, and the place in the row stays free."""
    clock = FakeClock()
    pacer = Pacer(intervals(5), clock)
    with pytest.raises(DeadlineError, match="rate limit"):
        pacer.wait(REPORTS, 2.0)
    assert clock.sleeps == []
    pacer.wait(REPORTS, 2.1)
    assert clock.sleeps == [pytest.approx(2.05)]


def test_every_attempt_of_a_paced_request_counts() -> None:
    """A repeated request counts against the quota like any other, so it waits its turn too."""
    clock = FakeClock()
    with Web([answer(503, b"{}"), answer(200, b"{}")]) as web:
        transport = Transport(Tokens(), clock, Pacer(intervals(5), clock), uniform=lambda low, _high: low)
        send = transport.sender(Api("Test", web.origin, "scope"))
        send(Request("GET", "/x", pace=REPORTS))
        assert clock.now() >= FakeClock().now() + 4 * SECOND
        began = clock.monotonic()
        web.scripts[:] = [answer(200, b"{}")]
        send(Request("GET", "/x"))
        assert clock.monotonic() == began
