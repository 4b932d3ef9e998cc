"""Counting many windows by one question gives every window the count of a question of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local.cloud.kql import translate
from local.cloud.store import Store
from local.cloud.tables import INGESTION_TIME
from shared.la_options import Options
from shared.model import Request, Response, Window
from shared.sources.log_analytics import TYPE
from shared.windows import DAY, HOUR, MINUTE, parse_instant
from tests.unit.fakes import tools

WORKSPACE = "12345678-1234-1234-1234-123456789abc"
TEN = parse_instant("2026-11-21T10:00:00")
PIPELINES = [
    None,
    "where EventLevelName == 'Error'",
    "where EventLevelName == 'Error' | project EventID",
    "project EventLevelName, EventData | where EventLevelName has 'Err' | project-away EventData",
    "project-away EventData | project-rename Level = EventLevelName | where Level != 'Error'",
    "parse RenderedDescription with * ' ' Word | where Word == 'c' | extend a = 1",
    "extend Items = split(RenderedDescription, ' ') | mv-expand Items to typeof(string) | project Items",
    "extend Row = pack_all() | where tostring(Row) has 'Error'",
    "where TimeGenerated < window_start",
    "where EventID in ((Event | where EventLevelName == 'Error' | project EventID))",
]
LENGTHS = [1, 3, MINUTE + 7, HOUR, DAY]
OFFSETS = [-61 * DAY, -60 * DAY, -DAY - 1, -1, 0, 0, 0, 0, 1, HOUR, 10 * DAY - 1, 10 * DAY, 11 * DAY]
"""How far a row's TimeGenerated may lie from its ingestion: within and beyond what a count looks at."""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """Rows whose ingestion times lie on and beside the edges of windows, some without one."""
    store = Store(WORKSPACE)
    rows: list[dict[str, object]] = []
    for length in LENGTHS:
        for number in range(120):
            tick = TEN + number // 3 % 13 * length + (number % 3 - 1)
            rows.append(
                {
                    "TimeGenerated": tick + OFFSETS[number % len(OFFSETS)],
                    INGESTION_TIME: None if number % 11 == 0 else tick,
                    "EventLevelName": ("Error", "Warning")[number % 2],
                    "EventID": number % 5,
                    "EventData": "x",
                    "RenderedDescription": ("b c", "d", "b")[number // 2 % 3],
                }
            )
    store.add("Event", rows, None, TEN + 100 * DAY)
    yield store
    store.close()


class Engine:
    """A ``send`` that the stand-in's engine answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.queries: list[str] = []

    def __call__(self, request: Request, /) -> Response:
        """Answer as the query API does."""
        body = json.loads(request.body or b"")
        self.queries.append(body["query"])
        start, end = map(parse_instant, body["timespan"].split("/"))
        sql = translate(body["query"], self._store.schema, TEN + 100 * DAY, (start, end))
        with self._store.answer(sql) as table:
            columns = [{"name": name, "type": type_} for name, type_ in table.columns]
            rows = [json.loads(row) for row in table.rows]
        answer = {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]}
        return Response(200, {}, json.dumps(answer).encode())


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(PIPELINES),
    st.sampled_from(["ingestion_time", "TimeGenerated"]),
    st.sampled_from(LENGTHS),
    st.sampled_from([-1, 0, 1]),
    st.lists(st.integers(-2, 14), min_size=1, max_size=20),
    st.integers(2, 20),
)
@example(None, "ingestion_time", HOUR, 0, list(range(14)), 20)
def test_a_run_counts_what_each_of_its_windows_counts_alone(
    store: Store, pipeline: str | None, column: str, length: int, shift: int, cells: list[int], at_once: int
) -> None:
    """Whatever the pipeline, the length to the tick and the holes, and however few one question covers."""
    options = Options(workspace=WORKSPACE, table="Event", pipeline=pipeline, window_column=column)  # type: ignore[arg-type]
    assert list(TYPE.check(options)) == []
    first = TEN + shift
    windows = [Window(first + cell * length, first + (cell + 1) * length) for cell in cells]
    together, alone = Engine(store), Engine(store)
    with patch("shared.log_reader.RUN_AT_ONCE", at_once), patch("shared.log_reader.COUNTED_AT_ONCE", 2):
        counts = TYPE.open(options, tools(together)).count(windows, 99.0)
    with patch("shared.log_reader.row_steps", return_value=None):
        assert counts == TYPE.open(options, tools(alone)).count(windows, 99.0)
    assert not any("bin_at" in query for query in alone.queries)


def test_a_run_is_one_question_for_the_engine(store: Store) -> None:
    """Windows with rows and windows without."""
    options = Options(workspace=WORKSPACE, table="Event", pipeline=PIPELINES[2])
    engine = Engine(store)
    windows = [Window(TEN + hour * HOUR, TEN + (hour + 1) * HOUR) for hour in range(20)]
    counts = TYPE.open(options, tools(engine)).count(windows, 99.0)
    assert (len(engine.queries), 0 in counts, sum(counts) > 20) == (1, True, True)
