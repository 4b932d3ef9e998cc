"""Blob names: they carry the window there and back, and prefixes find them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.layout import blob_name, parse_blob_name, parse_window_id, prefixes, window_id
from shared.model import Window
from shared.windows import DAY, HOUR, MINUTE, SECOND, parse_instant
from tests.unit.strategies import export_names, windows

TEN = parse_instant("2026-11-21T10:00:00")
NAME = "events/window_date=2026-11-21/window_hour=10/20261121T100000Z_20261121T110000Z.jsonl.gz"


def test_a_name_is_as_the_documentation_shows_it() -> None:
    """Hive-style partitions after the window's begin, then the window, then the format."""
    assert blob_name("events", Window(TEN, TEN + HOUR), "jsonl.gz") == NAME


@given(export_names, windows(), st.sampled_from(["jsonl", "jsonl.gz", "csv", "parquet"]))
def test_a_name_gives_its_window_back(export: str, window: Window, extension: str) -> None:
    """What is stored is the truth, so a name says all that coverage needs."""
    assert parse_blob_name(blob_name(export, window, extension)) == (window, extension)


@given(windows())
def test_a_window_id_gives_its_window_back(window: Window) -> None:
    """State documents that are named after a window name just that window."""
    assert parse_window_id(window_id(window)) == window


@given(windows(), windows())
def test_names_sort_as_windows_do(one: Window, other: Window) -> None:
    """A listing in name order is a listing in time order."""
    assert (blob_name("a", one, "x") < blob_name("a", other, "x")) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "events",
        "events/readme.txt",
        NAME.removesuffix(".jsonl.gz"),
        NAME.replace("_2026", "-2026"),
        NAME.replace("window_hour=10/", ""),
        f"more/{NAME}",
        NAME.replace("20261121T", "20261321T"),
        NAME.replace("T110000Z", "T250000Z"),
        NAME.replace("T110000Z", "T100000Z"),
        NAME.replace("T110000Z", "T090000Z"),
        NAME.replace("window_date=2026-11-21", "window_date=2026-11-20"),
        NAME.replace("window_hour=10", "window_hour=11"),
        NAME.replace(".jsonl.gz", ".pages/page-1.json"),
    ],
)
def test_a_name_of_no_window_is_passed_over(name: str) -> None:
    """Somebody else's blob in the container is neither coverage nor a reason to stop."""
    assert parse_blob_name(name) is None


@given(windows(longest=800 * DAY), st.floats(0, 1, exclude_max=True), st.sampled_from([MINUTE, HOUR, DAY]))
def test_prefixes_find_every_window_that_begins_in_a_span(span: Window, share: float, length: int) -> None:
    """Whatever begins in the span has a name under one prefix, and under one only."""
    seconds = (span.end - span.start) // SECOND
    begin = span.start + int(share * seconds) * SECOND
    name = blob_name("events", Window(begin, begin + SECOND), "jsonl")
    assert sum(name.startswith(prefix) for prefix in prefixes("events", [span], length)) == 1


def test_prefixes_belong_to_one_export() -> None:
    """An export whose name begins like another's does not find the other's blobs."""
    (prefix,) = prefixes("event", [Window(TEN, TEN + HOUR)], HOUR)
    assert not NAME.startswith(prefix)
    (everything,) = prefixes("event", [Window(TEN, TEN + HOUR)], HOUR, Window(TEN, TEN + HOUR))
    assert everything == "event/window_date="
