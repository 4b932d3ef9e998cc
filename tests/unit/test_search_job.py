"""What a search job is asked and called, and how the source's rows are made of its own."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ExportError
from shared.model import Column, Window
from shared.search_job import Search, check_words, halves, job_body, job_query, restoring, table_name
from shared.windows import HOUR, SECOND, parse_instant
from tests.unit.strategies import windows
from tests.unit.test_arm_ids import WORKSPACE

TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
SEARCH = Search(WORKSPACE, "Event", "where a has 'b'", 1000)


def test_the_query_begins_with_the_table_and_cuts_exactly() -> None:
    """No statement comes before the table's name; the window is half-open, to the tick."""
    assert job_query(SEARCH, WINDOW) == (
        "Event\n"
        "| where TimeGenerated >= datetime(2026-11-21T10:00:00.0000000Z)"
        " and TimeGenerated < datetime(2026-11-21T11:00:00.0000000Z)\n"
        "| where a has 'b'"
    )


def test_the_body() -> None:
    """Whole seconds, one more on each side than the window needs, whatever its own ticks."""
    body = json.loads(job_body(SEARCH, Window(TEN + 1, TEN + SECOND + 1)))
    results = body["properties"].pop("searchResults")
    assert body == {"properties": {}}
    assert (results["startSearchTime"], results["endSearchTime"], results["limit"]) == (
        "2026-11-21T09:59:59Z",
        "2026-11-21T10:00:03Z",
        1000,
    )
    assert results["query"] == job_query(SEARCH, Window(TEN + 1, TEN + SECOND + 1))


@given(windows(), st.integers(0, 10**18), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True))
def test_names_are_the_same_for_the_same_rows(window: Window, since: int, table: str) -> None:
    """A name is a table's name and the same at each call."""
    search = replace(SEARCH, table=table)
    name = table_name(search, window, since)
    assert name == table_name(replace(search, workspace=WORKSPACE.upper()), window, since)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,21}_[0-9a-f]{16}_SRCH", name)


def test_names_tell_apart_what_differs() -> None:
    """Another workspace, table, pipeline, limit, window or reading is another job."""
    names = {
        table_name(search, window, since)
        for search in (
            SEARCH,
            replace(SEARCH, workspace=f"{WORKSPACE}2"),
            replace(SEARCH, table="Event2"),
            replace(SEARCH, pipeline=None),
            replace(SEARCH, limit=1001),
        )
        for window in (WINDOW, Window(TEN, TEN + HOUR - 1), Window(TEN + 1, TEN + HOUR))
        for since in (0, 1)
    }
    assert len(names) == 30


@given(windows())
def test_halves_lie_side_by_side(window: Window) -> None:
    """The halves are the whole; a tick has none, and says what to do."""
    if window.end - window.start == 1:
        with pytest.raises(ExportError, match="higher limit"):
            halves(window)
        return
    first, second = halves(window)
    assert (first.start, first.end, second.end) == (window.start, second.start, window.end)


RECORDED = [
    "_OriginalTenantId", "SourceSystem", "_OriginalTimeGenerated", "Computer", "SubscriptionId", "ResourceId",
    "my column", "_OriginalType", "_OriginalItemId", "_OriginalResourceId", "_OriginalSubscriptionId",
    "TimeGenerated", "TenantId", "Type", "_ItemId", "_ResourceId",
]  # fmt: skip
EARLIER = ["TenantId", "SourceSystem", "TimeGenerated", "Computer", "_OriginalType", "_OriginalItemId",
           "_OriginalTimeGenerated", "Type", "_ResourceId"]  # fmt: skip
PROJECTED = ["Computer", "_OriginalType", "_OriginalItemId", "_OriginalTimeGenerated",
             "TimeGenerated", "TenantId", "Type", "_ItemId", "_ResourceId"]  # fmt: skip


def restored(names: list[str], pipeline: str | None = None) -> str:
    """Return the step that restores such columns."""
    return restoring([Column(name, "string") for name in names], pipeline)


def test_the_source_columns_take_their_names_back() -> None:
    """In the source's order; the standard columns of the job's own table are gone, others are kept."""
    assert restored(RECORDED) == (
        "project TenantId = ['_OriginalTenantId'], SourceSystem, TimeGenerated = ['_OriginalTimeGenerated'], "
        "Computer, SubscriptionId, ResourceId, ['my column'], Type = ['_OriginalType'], "
        "['_ItemId'] = ['_OriginalItemId'], ['_ResourceId'] = ['_OriginalResourceId'], "
        "['_SubscriptionId'] = ['_OriginalSubscriptionId']"
    )


def test_columns_that_are_tracked_alone_are_restored_in_their_place() -> None:
    """Where the job's table has the source's names in their places, these keep them."""
    assert restored(EARLIER, "where Computer has 'a' | extend x = 1") == (
        "project TenantId, SourceSystem, TimeGenerated = ['_OriginalTimeGenerated'], Computer, "
        "Type = ['_OriginalType'], ['_ItemId'] = ['_OriginalItemId'], ['_ResourceId']"
    )


@pytest.mark.parametrize("pipeline", ["project Computer", "where a has 'b' | project-keep Computer"])
def test_what_a_pipeline_left_out_stays_out(pipeline: str) -> None:
    """Standard columns that only the job's own table has are not taken for the source's."""
    assert restored(PROJECTED, pipeline) == (
        "project Computer, Type = ['_OriginalType'], ['_ItemId'] = ['_OriginalItemId'], "
        "TimeGenerated = ['_OriginalTimeGenerated']"
    )


def test_a_table_of_no_job_is_refused() -> None:
    """Without the source's own time there is nothing to restore."""
    with pytest.raises(ExportError, match="_OriginalTimeGenerated"):
        restored(["TimeGenerated", "Computer"])


@pytest.mark.parametrize(
    ("pipeline", "found"),
    [
        ("where a contains 'b'", ["contains"]),
        ("where a !contains_cs 'b'", ["contains_cs"]),
        ("where a has 'contains' // contains", []),
        ("where b > window_start", ["window_start"]),
        ("extend contains_it = 1", []),
    ],
)
def test_words_that_jobs_do_not_take(pipeline: str, found: list[str]) -> None:
    """Words in texts, comments and longer names are not meant."""
    assert list(check_words(pipeline)) == found
