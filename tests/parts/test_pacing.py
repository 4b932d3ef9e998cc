"""A documented request rate is kept by the client: evenly, over all hosts, and by whatever is sent."""

import pytest
from hypothesis import example, given
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


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.floats(0, 12), st.floats(0, 12)),
        min_size=2,
        max_size=30,
    )
)
@example([(number % 2, 1, 0.15, 0.2) for number in range(30)])
@example([(number % 2, 3, 0.15, 1.5) for number in range(30)])
@example([(number % 3, 2, 1.0, 0.05) for number in range(30)])
@example([(number % 2, 1, 0.0, 0.0) for number in range(8)])
def test_hosts_that_stay_warm_and_take_turns_stay_within_the_limit(
    windows: list[tuple[int, int, float, float]],
) -> None:
    """Whoever has which window, with however many requests, however slow answers and whatever rest after."""
    clock = FakeClock()
    hosts = [Pacer(intervals(5), clock) for _ in range(3)]
    times = []
    for host, requests, latency, rest in windows:
        for _ in range(requests):
            hosts[host].wait(REPORTS, None)
            times.append(clock.monotonic())
            clock.sleep(latency)
            hosts[host].answered(REPORTS)
        clock.sleep(rest)
    assert most_in_ten_seconds(times) <= 5


@pytest.mark.parametrize(("latency", "seconds"), [(0.0, 2.05), (2.0, 2.05), (3.0, 3.0), (60.0, 60.0)])
def test_a_walk_costs_what_its_answers_take_or_the_rate(latency: float, seconds: float) -> None:
    """In the middle of its window a host knows that nobody else sends: a slow answer costs no wait."""
    clock = FakeClock()
    pacer = Pacer(intervals(5), clock)
    times = []
    for _ in range(40):
        pacer.wait(REPORTS, None)
        times.append(clock.monotonic())
        clock.sleep(latency)
        pacer.answered(REPORTS)
        clock.sleep(min(0.5, latency / 10))  # the page is written
    assert (times[-1] - times[0]) / 39 <= seconds + min(0.5, latency / 10) + 0.001


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


def test_an_answer_that_took_long_is_followed_at_once() -> None:
    """The pacer hears of each answer, so the next page of a slow walk waits for nothing."""
    clock = FakeClock()

    class Slow(Pacer):
        def answered(self, pace: Pace) -> None:
            clock.sleep(60)
            super().answered(pace)

    with Web([answer(200, b"{}"), answer(200, b"{}")]) as web:
        send = Transport(Tokens(), clock, Slow(intervals(5), clock)).sender(Api("Test", web.origin, "scope"))
        send(Request("GET", "/x", pace=REPORTS))
        send(Request("GET", "/x", pace=REPORTS))
    assert clock.sleeps == [pytest.approx(2.05), 60, 60]


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
