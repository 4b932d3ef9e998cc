"""The Log Analytics source: what it asks, and when it takes an answer for the whole one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ExportError, IncompleteAnswerError, ServiceError
from shared.model import ApiName, Batch, Measured, Window
from shared.slices import Slice
from shared.sources.log_analytics import TYPE, LogAnalytics
from shared.window_kql import Options, query_body, window_query
from shared.windows import DAY, END_OF_TIME, HOUR, SECOND, format_instant, parse_instant
from tests.unit.fakes import ListSend, service_error, tools
from tests.unit.strategies import windows
from tests.unit.test_query_api import COLUMNS, partial, statistics, table

LITTLE = Measured(rows=0.0, answer_bytes=0.0)
WORKSPACE = "12345678-1234-1234-1234-123456789abc"
TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)


def options(**changes: Any) -> Options:
    """Return right options, with changes."""
    return Options(**({"workspace": WORKSPACE, "table": "Event"} | changes))


def read(
    send: ListSend, opened: Options, measured: Measured | None = LITTLE, window: Window = WINDOW
) -> list[Batch]:
    """Read a window whole."""
    return list(LogAnalytics(opened, tools(send)).read(window, 99.0, measured))


def queries(send: ListSend) -> list[str]:
    """Return the texts that were asked."""
    return [json.loads(request.body or b"")["query"] for request in send.requests]


def test_a_table_is_asked_by_ingestion_time() -> None:
    """The window lies on ingestion time; the wide bound on TimeGenerated beside it only spares work."""
    assert window_query(options(pipeline="where n > 1 | project n"), Slice(WINDOW)) == (
        "let window_start = datetime(2026-11-21T10:00:00.0000000Z);\n"
        "let window_end = datetime(2026-11-21T11:00:00.0000000Z);\n"
        "Event\n"
        "| where TimeGenerated >= window_start - 3d and TimeGenerated < window_end + 2d\n"
        "| where (ingestion_time() >= window_start and ingestion_time() < window_end)"
        " or (isnull(ingestion_time()) and TimeGenerated >= window_start and TimeGenerated < window_end)\n"
        "| where n > 1 | project n"
    )


def test_a_table_may_be_asked_by_its_own_time() -> None:
    """With ``window_column = "TimeGenerated"`` that column alone decides, half-open."""
    lines = window_query(options(window_column="TimeGenerated"), Slice(WINDOW)).splitlines()
    assert lines[2:] == ["Event", "| where TimeGenerated >= window_start and TimeGenerated < window_end"]


def test_free_kql_gets_its_window_and_no_more() -> None:
    """Free KQL finds the window declared before it, is left as it is, and may look at any time."""
    kql = "let n = 5;\nEvent | where TimeGenerated between (window_start .. window_end - 1tick) | take n"
    body = query_body(options(table=None, kql=f"{kql} ; // mine"), Slice(WINDOW))
    assert list(body) == ["query"]
    assert body["query"].split(";\n", 2)[2] == kql


@given(windows())
def test_the_timespan_holds_the_window_and_what_may_be_late(window: Window) -> None:
    """The coarse bound cuts nothing off that the query's own bound on TimeGenerated lets through."""
    start, _, end = query_body(options(), Slice(window))["timespan"].partition("/")
    assert parse_instant(start) == max(0, window.start - 3 * DAY)
    assert parse_instant(end) == min(END_OF_TIME - 1, window.end + 2 * DAY)


@given(st.integers(0, END_OF_TIME - HOUR - 2), st.integers(1, HOUR))
def test_bounds_are_exact_to_the_tick(start: int, length: int) -> None:
    """A window of any ticks is asked for with all seven digits."""
    text = window_query(options(), Slice(Window(start, start + length)))
    assert f"window_start = datetime({format_instant(start)});" in text
    assert f"window_end = datetime({format_instant(start + length)});" in text


def test_a_part_of_a_tick_is_cut_before_the_pipeline() -> None:
    """The hash is of the stored row, so that a pipeline that makes rows alike does not keep them together."""
    part = Slice(Window(TEN, TEN + 1), 3, 8)
    lines = window_query(options(pipeline="project n"), part, row_key="key").splitlines()
    assert lines[-2:] == ["| where hash_xxhash64(key, 8) == 3", "| project n"]


def test_a_tick_of_free_kql_is_not_parted() -> None:
    """Where a hash belongs in free KQL is not known, and each part would be the whole tick again."""
    free = options(table=None, kql="Event | where t >= window_start and t < window_end", splittable=True)
    tick = Window(TEN, TEN + 1)
    with pytest.raises(ExportError, match="cannot be parted"):
        window_query(free, Slice(tick, 0, 2))


def test_a_slice_asks_for_its_own_time() -> None:
    """Every slice is bounded by its own span, in the query and in the timespan around it."""
    first, second = (Slice(Window(TEN + i * SECOND, TEN + (i + 1) * SECOND)) for i in range(2))
    assert query_body(options(), first) != query_body(options(), second)
    assert "window_end = datetime(2026-11-21T10:00:01.0000000Z)" in window_query(options(), first)
    assert "window_start = datetime(2026-11-21T10:00:01.0000000Z)" in window_query(options(), second)


def test_a_small_window_is_one_request() -> None:
    """A window that fits, by what its neighbours held, is one question and one batch."""
    send = ListSend([table(2, statistics=statistics(2))])
    (batch,) = read(send, options())
    assert queries(send) == [window_query(options(), Slice(WINDOW))]
    assert send.requests[0].deadline == 99.0
    assert (batch.slices, batch.requests, len(batch.rows), len(batch.columns or ())) == (1, 1, 2, 2)


def test_an_unknown_size_is_asked_for_first() -> None:
    """Where no neighbour tells the size, one count through the pipeline does, and the slices fit it."""
    send = ListSend([{"tables": [{"columns": COLUMNS, "rows": [[900_000, 1000]]}]}, table(1), table(0)])
    batches = read(send, options(pipeline="where n > 1"), measured=None)
    count, *rest = queries(send)
    assert count.endswith(
        "| where n > 1\n| summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"
    )
    assert ([len(batch.rows) for batch in batches], len(rest)) == ([1, 0], 2)


def test_an_empty_window_may_have_no_size() -> None:
    """A sum over no rows is null, which is nothing."""
    send = ListSend([{"tables": [{"columns": COLUMNS, "rows": [[0, None]]}]}, table(0)])
    assert [len(batch.rows) for batch in read(send, options(), measured=None)] == [0]


@pytest.mark.parametrize("rows", [[], [[1]], [[1, 2, 3]], [[1, 2], [3, 4]], [["x", 1]]])
def test_a_size_that_is_none_is_refused(rows: list[object]) -> None:
    """An answer to the count that is not one row of two numbers is an error of this app, not a crash."""
    with pytest.raises(ExportError):
        read(ListSend([{"tables": [{"columns": COLUMNS, "rows": rows}]}]), options(), measured=None)


def test_a_cut_answer_is_asked_again_in_halves() -> None:
    """The rows of a cut answer are thrown away; its halves bring them all."""
    cut = table(2, error=partial("-2133196797", "record count limit"))
    send = ListSend([cut, table(1), table(2)])
    assert [len(batch.rows) for batch in read(send, options())] == [1, 2]
    middle = TEN + HOUR // 2
    assert queries(send)[1:] == [
        window_query(options(), Slice(Window(TEN, middle))),
        window_query(options(), Slice(Window(middle, TEN + HOUR))),
    ]


@pytest.mark.parametrize(("stated", "right"), [(3, True), (4, False)])
def test_parts_are_counted_against_their_tick(stated: int, right: bool) -> None:
    """A tick read in parts by hash must hold as many rows as it counts; else the window fails."""
    tick = Window(TEN, TEN + 1)
    count = {"tables": [{"columns": COLUMNS[:1], "rows": [[stated]]}]}
    schema = {"tables": [{"columns": COLUMNS, "rows": [["Computer", "string"], ["EventID", "int"]]}]}
    send = ListSend([service_error(504), schema, table(1), table(2), count])
    if right:
        assert [len(batch.rows) for batch in read(send, options(), window=tick)] == [1, 2]
    else:
        with pytest.raises(IncompleteAnswerError, match="counts 4 rows, its parts hold 3"):
            read(send, options(), window=tick)
    assert queries(send)[-1].endswith("\n| count")


def test_free_kql_that_may_not_be_cut_says_so() -> None:
    """A cut answer to free KQL is an error that names the key to set and the window to shorten."""
    free = options(table=None, kql="Event | where t >= window_start and t < window_end")
    with pytest.raises(ExportError, match="splittable = true"):
        read(ListSend([service_error(504)]), free)


@pytest.mark.parametrize(
    "answer", [table(error={"code": "Odd", "message": "a leg failed"}), service_error(400)]
)
def test_any_other_error_fails_the_window(answer: object) -> None:
    """What less would not mend is raised: an error is never an empty window."""
    with pytest.raises(ServiceError, match="Odd"):
        read(ListSend([answer]), options())


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"workspace": WORKSPACE.upper()},
        {"pipeline": "where a == 'b | c' | extend d = 1 | project-away a"},
        {"window_column": "TimeGenerated"},
        {"table": None, "kql": "Event | where t >= window_start and t < window_end | summarize count()"},
        {"table": None, "kql": "Event | where t >= window_start and t < window_end", "splittable": True},
    ],
)
def test_right_options(right: dict[str, Any]) -> None:
    """Options that are right give no complaint."""
    assert list(TYPE.check(options(**right))) == []


@pytest.mark.parametrize(
    ("wrong", "keys"),
    [
        ({"workspace": "my-workspace"}, ["workspace"]),
        ({"workspace": f"{WORKSPACE}/../x"}, ["workspace"]),
        ({"table": None}, ["table"]),
        ({"kql": "Event"}, ["table"]),
        ({"table": "Event | take 5"}, ["table"]),
        ({"table": ""}, ["table"]),
        ({"splittable": True}, ["splittable"]),
        ({"pipeline": "summarize count()"}, ["pipeline"]),
        ({"pipeline": "where a | take 5 | join b on c"}, ["pipeline", "pipeline"]),
        ({"pipeline": "where a; Other"}, ["pipeline"]),
        ({"pipeline": "where a == 'b"}, ["pipeline"]),
        ({"pipeline": ""}, ["pipeline"]),
        ({"pipeline": "WHERE a == 1"}, ["pipeline"]),
        ({"table": None, "kql": "Event"}, ["kql", "kql"]),
        ({"table": None, "kql": "Event | where t > window_start // window_end"}, ["kql"]),
        ({"table": None, "kql": "Event | where t > 'window_start"}, ["kql"]),
        ({"table": None, "kql": "window_start window_end", "pipeline": "where a"}, ["pipeline"]),
        (
            {"table": None, "kql": "window_start window_end", "window_column": "TimeGenerated"},
            ["window_column"],
        ),
        ({"workspace": "x", "table": "1 2", "pipeline": "take 5"}, ["workspace", "table", "pipeline"]),
    ],
)
def test_wrong_options(wrong: dict[str, Any], keys: list[str]) -> None:
    """Every mistake in the options is reported with its key, all of them at once."""
    assert [key for key, _, _ in TYPE.check(options(**wrong))] == keys


@pytest.mark.parametrize("table_", ["Event", ""])
def test_both_forms_at_once_are_called_both(table_: str) -> None:
    """What was found is what is there: a table, even an empty one, beside free KQL is both."""
    found = list(TYPE.check(options(table=table_, kql="Event | where t > window_start and t < window_end")))
    assert found[0][:2] == ("table", "both")


def test_identity_is_whose_data_it_is() -> None:
    """Workspace and table, not a GUID's letter case and not the pipeline, say what a name belongs to."""
    assert TYPE.identity(options(workspace=WORKSPACE.upper(), pipeline="where a"), None) == {
        "workspace": WORKSPACE,
        "table": "Event",
    }
    assert TYPE.identity(options(table=None, kql="x"), None) == {"workspace": WORKSPACE}


def test_the_registry_opens_the_source() -> None:
    """What the registry opens reads through the Log Analytics API."""
    asked: list[ApiName] = []
    source = TYPE.open(options(), tools(ListSend([table(1)]), asked))
    assert [len(batch.rows) for batch in source.read(WINDOW, 1.0, LITTLE)] == [1]
    assert asked == ["log_analytics"]
