"""The stand-in's pure parts: ticks, durations, rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.throttle import Rate
from local.cloud.ticks import DAY, format_duration, format_instant, from_unix, parse_duration, parse_instant

YEAR_9999 = 3_155_378_975_999_999_999


@given(st.integers(0, YEAR_9999))
def test_instants_survive_writing_and_reading(ticks: int) -> None:
    """No tick is lost, and no zero is left at the end of a fraction."""
    text = format_instant(ticks)
    assert parse_instant(text) == ticks
    assert not text.endswith("0Z") or "." not in text


@given(st.integers(-(10**17), 10**17))
def test_durations_survive_writing_and_reading(ticks: int) -> None:
    """Days, sign and ticks included."""
    assert parse_duration(format_duration(ticks)) == ticks


def test_known_instants_have_nets_tick_counts() -> None:
    """.NET's DateTime.Ticks for the Unix epoch and a time of today."""
    assert parse_instant("1970-01-01T00:00:00Z") == 621_355_968_000_000_000 == from_unix(0)
    assert parse_instant("2026-11-21T10:00:00.1234567+02:00") == parse_instant("2026-11-21T08:00:00.1234567Z")
    assert parse_instant("0001-01-02") == DAY


@pytest.mark.parametrize("text", ["", "2026-11-21T", "x2026-11-21", "2026-02-30"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r".+"):
        parse_instant(text)


def test_a_rate_says_how_long_to_wait() -> None:
    """Whoever waits so long gets through."""
    now = 100.0
    rate = Rate(lambda: now)
    assert [rate.wait(2, 10) for _ in range(2)] == [0, 0]
    now = 104.0
    assert rate.wait(2, 10) == 6
    now = 110.0
    assert rate.wait(2, 10) == 0
    assert rate.wait(None, 10) == 0
