"""Waiting for an operation: patiently, but not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotReadyError
from shared.polling import Patience, Waiting, poll
from shared.windows import SECOND
from tests.parts.fakes import FakeClock

PATIENCE = Patience(first=1.0, most=5.0, total=60.0, again=30.0)
FAR = 10_000.0


def script(*answers: str | Waiting) -> Callable[[], str | Waiting]:
    """Give prepared answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_what_is_done_is_returned_at_once() -> None:
    """No wait comes before the first look, nor after the last."""
    clock = FakeClock()
    assert poll(script("done"), clock, FAR, PATIENCE) == "done"
    assert clock.sleeps == []


def test_pauses_grow_to_their_most() -> None:
    """Half as long again each time, so that a long operation is not looked at for ever so often."""
    clock = FakeClock()
    assert poll(script(*[Waiting("runs")] * 6, "done"), clock, FAR, PATIENCE) == "done"
    assert clock.sleeps == [1.0, 1.5, 2.25, 3.375, 5.0, 5.0]


def test_the_services_own_wish_is_honoured() -> None:
    """Retry-After makes a pause longer, never shorter."""
    clock = FakeClock()
    poll(script(Waiting("runs", 7.0), Waiting("runs", 0.1), "done"), clock, FAR, PATIENCE)
    assert clock.sleeps == [7.0, 1.5]


@pytest.mark.parametrize(("wish", "wait"), [(None, 30), (10.0, 30), (300.0, 300)])
def test_an_attempt_ends_and_says_when_to_look_again(wish: float | None, wait: int) -> None:
    """The operation goes on; the error says what it is at, and honours the service's wish once more."""
    clock = FakeClock()
    with pytest.raises(NotReadyError, match="runs still") as caught:
        poll(script(Waiting("runs still", wish)), clock, FAR, PATIENCE)
    assert caught.value.wait == wait * SECOND


@given(
    st.lists(st.none() | st.floats(0, 50), max_size=40),
    st.floats(0.1, 10),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_no_attempt_waits_beyond_its_time(
    wishes: Sequence[float | None], first: float, total: float, deadline: float
) -> None:
    """Whatever the service wishes, waiting ends before the deadline and before the patience does."""
    clock = FakeClock()
    look = script(*[Waiting("runs", wish) for wish in wishes], Waiting("runs"))
    with pytest.raises(NotReadyError):
        poll(look, clock, deadline, Patience(first, 10.0, total, 30.0))
    assert clock.monotonic() <= min(total, deadline) + 1e-6


def test_there_is_one_look_even_without_time() -> None:
    """What is done already is taken also by an attempt that has no time to wait."""
    assert poll(script("done"), FakeClock(), -1.0, PATIENCE) == "done"
