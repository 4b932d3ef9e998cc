"""Every KQL text that the app writes is KQL: Microsoft's own parser has nothing to say against it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.la_options import Options, selection
from shared.model import Column, Response, Window
from shared.query_reader import QueryReader
from shared.search_job import ORIGINAL_TIME, Search, job_query, restoring
from shared.slices import Slice
from shared.sources import search_jobs
from shared.sources.log_analytics import TYPE
from shared.window_kql import (
    WIDE,
    Selection,
    count_query,
    key_of,
    row_steps,
    run_body,
    schema_body,
    window_query,
)
from shared.windows import HOUR, parse_instant
from tests.kusto_parser import diagnostics
from tests.unit.fakes import ListSend, tools
from tests.unit.strategies import windows
from tests.unit.test_question import read

WORKSPACE = "12345678-1234-1234-1234-123456789abc"
COLUMNS = {
    "TimeGenerated": "datetime", "Computer": "string", "EventID": "int", "Size": "long", "Payload": "dynamic",
}  # fmt: skip
ROW_KEY = key_of(Column(*column) for column in COLUMNS.items())
TABLES = ["Event", "Custom_CL", "_Odd", "T1"]
STEPS = [
    "where Computer == 'a | b; //'",
    'where Computer has "it\'s" and EventID in (1, 2)',
    "filter isnotempty(Computer) // why",
    "extend Copy = strcat(Computer, @'\\', h'x')",
    "extend Long = ```many\nlines | ; ```",
    "project TimeGenerated, Computer, EventID, Size, Payload",
    "project-away Size",
    "project-keep TimeGenerated, Computer, EventID, Payload",
    "project-rename Host = Computer | project-rename Computer = Host",
    "project-reorder EventID",
    "parse Computer with 'a' Number: long 'b'",
    "parse-where Computer with 'a' Letter: string 'b'",
    "parse-kv Computer as (Key: string) with (pair_delimiter=';', kv_delimiter='=')",
    "mv-expand Item = Payload.items to typeof(string)",
    "where EventID in ((Event | where EventID > 5 | project EventID))",
]
FREE = [
    "Event | where TimeGenerated >= window_start and TimeGenerated < window_end | summarize count()",
    "let n = 5;\nEvent | where TimeGenerated between (window_start .. window_end - 1tick) | top n by Size;",
    "set notruncation;\nunion Event, T1 | where ingestion_time() between (window_start .. window_end) // all",
    "// x\ndeclare query_parameters(x: long = 1);\nEvent | where TimeGenerated in (window_start, window_end)",
]

AGGREGATES = ["", "count", "summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"]

pipelines = st.none() | st.lists(st.sampled_from(STEPS), min_size=1, max_size=4).map("\n| ".join)


def complaints(query: str) -> list[str]:
    """Return what the parser says of a query over the tables used here."""
    return diagnostics(query, dict.fromkeys(TABLES, COLUMNS))


@settings(max_examples=50)
@given(
    windows(),
    st.sampled_from(TABLES),
    st.sampled_from(["ingestion_time", "TimeGenerated"]),
    pipelines,
    st.sampled_from([1, 2, 4096]),
)
def test_a_tables_query_is_kql(
    window: Window, table: str, column: str, pipeline: str | None, parts: int
) -> None:
    """Any table, window, part, window column and pipeline that the checks let through makes KQL."""
    options = Options(workspace=WORKSPACE, table=table, pipeline=pipeline, window_column=column)  # type: ignore[arg-type]
    assert list(TYPE.check(options)) == []
    if pipeline is None or not column_conflict(pipeline):
        for aggregate in AGGREGATES:
            query = window_query(selection(options), Slice(window, 1, parts), aggregate, row_key=ROW_KEY)
            assert complaints(query) == []


@settings(max_examples=50)
@given(windows(), st.sampled_from(TABLES), st.sampled_from(["ingestion_time", "TimeGenerated"]), pipelines)
def test_what_counts_a_run_of_windows_is_kql(
    window: Window, table: str, column: str, pipeline: str | None
) -> None:
    """The column that tells the windows apart is there until the end, whatever the pipeline drops."""
    steps = row_steps(pipeline)
    options = Options(workspace=WORKSPACE, table=table, pipeline=pipeline, window_column=column)  # type: ignore[arg-type]
    if steps is not None and (pipeline is None or not column_conflict(pipeline)):
        body = run_body(selection(options), [window, Window(window.end, window.end + 1)], steps, WIDE)
        assert complaints(body["query"]) == []


def column_conflict(pipeline: str) -> bool:
    """Whether steps that are right alone do not fit together: they drop a column that a later one uses."""
    return complaints(f"Event | {pipeline}") != []


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_right_alone(step: str) -> None:
    """The steps that pipelines are made of are KQL, so that no query above is passed over in vain."""
    assert complaints(f"Event\n| {step}") == []


@pytest.mark.parametrize("kql", FREE)
def test_a_free_window_query_is_kql(kql: str) -> None:
    """The window is declared before free KQL without disturbing its own statements."""
    options = Options(workspace=WORKSPACE, kql=kql)
    ten = parse_instant("2026-11-21T10:00:00")
    assert list(TYPE.check(options)) == []
    for aggregate in AGGREGATES:
        assert complaints(window_query(selection(options), Slice(Window(ten, ten + HOUR)), aggregate)) == []


@pytest.mark.parametrize(
    "query",
    ["Event", "Event;", "Event // all of it", "Event | take 5;\n// done\n", "let n = 5; Event | take n ; ;",
     "Event | where Computer == '; //'", "union Event, T1 | summarize count()", "print x = ```a\n;```;"],
)  # fmt: skip
@pytest.mark.parametrize("top", [None, 10])
def test_an_on_demand_query_is_kql(query: str, top: int | None) -> None:
    """A limit is added to whatever the question ends with, and the result is still a query."""
    question, send = read(query=query, top=top), ListSend([Response(204, {}, b"")] * 2)
    reader = QueryReader(tools(send))
    reader.ask(question, "id", rows=None if top is None else top + 1, wait=30, deadline=99.0)
    reader.total(question, "id", wait=30, deadline=99.0)
    asked, counted = (json.loads(request.body or b"")["query"] for request in send.requests)
    assert complaints(asked) == complaints(counted) == []
    assert (top is None) == ("| take 11" not in asked)
    assert counted.endswith("\n| count")


@pytest.mark.parametrize(
    "query",
    [
        "Event",
        "// all\nEvent // of it\n| where Computer == name",
        "let most = 5; Event | where EventID < most",
    ],
)
def test_an_on_demand_query_in_slices_is_kql(query: str) -> None:
    """Constants come before a slice's bounds; the question for rows without a time is KQL too."""
    question = read(
        query=query, parameters={"name": "it's", "at": {"type": "datetime", "value": "2026-11-21"}}
    )
    send = ListSend([Response(204, {}, b"")] * 3)
    assert [list(each.rows) for each in QueryReader(tools(send)).read(question, "id", 99.0)] == [[]]
    asked = [json.loads(request.body or b"")["query"] for request in send.requests]
    assert [complaints(each) for each in asked] == [[], [], []]
    assert "isnull(TimeGenerated)" in asked[0]
    assert all(each.startswith("let name = 'it\\'s';\nlet at = ") for each in asked)
    assert all("\nlet window_start = " in each for each in asked[1:])


@pytest.mark.parametrize("pipeline", [None, *STEPS[:2]])
@pytest.mark.parametrize("table", TABLES)
def test_rows_that_name_their_workspace_are_kql(table: str, pipeline: str | None) -> None:
    """The step after the pipeline is right whatever the pipeline ends with, and in a count too."""
    many = Options(workspaces=(WORKSPACE,), table=table, pipeline=pipeline)
    selected = selection(many, WORKSPACE)
    window = Window(parse_instant("2026-11-21"), parse_instant("2026-11-22"))
    assert list(TYPE.check(many)) == []
    for aggregate in AGGREGATES:
        assert complaints(window_query(selected, Slice(window), aggregate)) == []
    assert complaints(count_query(selected, [window, window])) == []
    assert complaints(schema_body(selected, window)["query"]) == []


JOB_STEPS = [
    step
    for step in STEPS
    if not step.startswith(("filter", "parse-kv", "mv-expand")) and not step.endswith("))")
]


@settings(max_examples=30)
@given(windows(), st.sampled_from(TABLES), st.none() | st.sampled_from(JOB_STEPS))
def test_a_search_jobs_query_is_kql(window: Window, table: str, pipeline: str | None) -> None:
    """What a job is asked begins with a table's name and is right."""
    resource = (
        f"/subscriptions/{WORKSPACE}/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
    )
    options = search_jobs.Options(resource=resource, table=table, pipeline=pipeline)
    assert list(search_jobs.TYPE.check(options)) == []
    assert complaints(job_query(Search(resource, table, pipeline, 1), window)) == []


@settings(max_examples=20)
@given(windows(), st.sampled_from([1, 4]), st.sampled_from(AGGREGATES))
def test_what_reads_a_search_jobs_table_is_kql(window: Window, parts: int, aggregate: str) -> None:
    """The table's rows are cut by the source's time, and take the source's columns back."""
    columns = {
        "_OriginalTimeGenerated": "datetime", "my column": "string", "_OriginalItemId": "string",
        "_OriginalType": "string", "TimeGenerated": "datetime", "Type": "string", "TenantId": "string",
    }  # fmt: skip
    described = [Column(*column) for column in columns.items()]
    selected = Selection("T_1_SRCH", restoring(described, None), window_column=ORIGINAL_TIME, bounded="none")
    query = window_query(selected, Slice(window, 0, parts), aggregate, row_key=key_of(described))
    assert diagnostics(query, {"T_1_SRCH": columns}) == []
