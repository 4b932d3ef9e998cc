"""Counting a source that can only be read."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from shared.counting import count_by_reading
from shared.errors import DeadlineError
from shared.model import Batch, Reading, Window

WINDOWS = [Window(tick, tick + 1) for tick in range(3)]


def read(reading: Reading) -> Iterator[Batch]:
    """Yield as many rows as the window's number, in two batches; the deadline is a number of a window too."""
    if reading.window.start >= reading.deadline:
        raise DeadlineError("no time was left")
    yield Batch([msgspec.Raw(b"1")] * reading.window.start)
    yield Batch([])


def test_each_window_is_read() -> None:
    """All its batches count."""
    assert count_by_reading(read, WINDOWS, 9) == [0, 1, 2]


def test_an_error_says_how_many_were_counted_in_time() -> None:
    """So that whoever asked knows how many to ask for."""
    with pytest.raises(DeadlineError, match="no time was left") as caught:
        count_by_reading(read, WINDOWS, 2)
    assert caught.value.counted == 2
