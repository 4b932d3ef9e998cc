"""The Log Analytics source: what it asks, and when it takes an answer for the whole one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    DeadlineError,
    DeniedError,
    ExportError,
    IncompleteAnswerError,
    ProtocolError,
    ServiceError,
    UnavailableError,
)
from shared.la_options import Options, selection
from shared.model import ApiName, Batch, Measured, Reading, Request, Response, Window
from shared.slices import Slice
from shared.sources.log_analytics import TYPE, LogAnalytics
from shared.window_kql import Selection, query_body, window_query
from shared.windows import DAY, END_OF_TIME, HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.parts.fakes import FakeClock
from tests.unit.fakes import ListSend, service_error, tools
from tests.unit.strategies import windows
from tests.unit.test_arm_ids import WORKSPACE as RESOURCE
from tests.unit.test_query_api import COLUMNS, partial, statistics, table

LITTLE = Measured(rows=0.0, answer_bytes=0.0)
WORKSPACE = "12345678-1234-1234-1234-123456789abc"
TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)


def options(**changes: Any) -> Options:
    """Return right options, with changes."""
    return Options(**({"workspace": WORKSPACE, "table": "Event"} | changes))


def selected(**changes: Any) -> Selection:
    """Return what such options select."""
    return selection(options(**changes))


def read(
    send: ListSend, opened: Options, measured: Measured | None = LITTLE, window: Window = WINDOW
) -> list[Batch]:
    """Read a window whole."""
    return list(LogAnalytics(opened, tools(send)).read(Reading(window, 99.0, measured)))


def queries(send: ListSend) -> list[str]:
    """Return the texts that were asked."""
    return [json.loads(request.body or b"")["query"] for request in send.requests]


def test_a_table_is_asked_by_ingestion_time() -> None:
    """The window lies on ingestion time; the wide bound on TimeGenerated beside it only spares work."""
    assert window_query(selected(pipeline="where n > 1 | project n"), Slice(WINDOW)) == (
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
    lines = window_query(selected(window_column="TimeGenerated"), Slice(WINDOW)).splitlines()
    assert lines[2:] == ["Event", "| where TimeGenerated >= window_start and TimeGenerated < window_end"]


def test_free_kql_gets_its_window_and_no_more() -> None:
    """Free KQL finds the window declared before it, is left as it is, and may look at any time."""
    kql = "let n = 5;\nEvent | where TimeGenerated between (window_start .. window_end - 1tick) | take n"
    body = query_body(selected(table=None, kql=f"{kql} ; // mine"), Slice(WINDOW))
    assert list(body) == ["query"]
    assert body["query"].split(";\n", 2)[2] == kql


@given(windows())
def test_the_timespan_holds_the_window_and_what_may_be_late(window: Window) -> None:
    """The coarse bound cuts nothing off that the query's own bound on TimeGenerated lets through."""
    start, _, end = query_body(selected(), Slice(window))["timespan"].partition("/")
    assert parse_instant(start) == max(0, window.start - 3 * DAY)
    assert parse_instant(end) == min(END_OF_TIME - 1, window.end + 2 * DAY)


@given(st.integers(0, END_OF_TIME - HOUR - 2), st.integers(1, HOUR))
def test_bounds_are_exact_to_the_tick(start: int, length: int) -> None:
    """A window of any ticks is asked for with all seven digits."""
    text = window_query(selected(), Slice(Window(start, start + length)))
    assert f"window_start = datetime({format_instant(start)});" in text
    assert f"window_end = datetime({format_instant(start + length)});" in text


TOO_MUCH = 450_000 * 1000 + 1
"""Rows of a window that 1,000 answers do not hold."""


def size(rows: int, answer_bytes: int = 0) -> dict[str, Any]:
    """Return the answer to the question how large a window is."""
    return {"tables": [{"columns": COLUMNS, "rows": [[rows, answer_bytes]]}]}


@pytest.mark.parametrize("measured", [None, Measured(TOO_MUCH / HOUR, 0.0)])
def test_a_window_of_too_many_slices_is_refused_before_its_rows_are_asked_for(
    measured: Measured | None,
) -> None:
    """By its own count, whether nothing was measured nearby or far too much."""
    send = ListSend([size(TOO_MUCH)])
    with pytest.raises(ExportError, match="more than 1000 slices; give the export a shorter window"):
        read(send, options(), measured)
    assert len(send.requests) == 1


@pytest.mark.parametrize(
    "size_",
    [
        size(1),  # its neighbours hold far more
        size(1, 32_000_000 * 4000),  # the engine's form of them is larger than an answer
        service_error(504),  # even counting takes too long
    ],
)
def test_a_window_is_not_refused_for_what_only_may_be_too_much(size_: object) -> None:
    """What its neighbours held, and the engine's estimate of bytes, decide how it is cut and no more."""
    send = ListSend([size_, *[table(1), table(1)] * 500])
    assert 1 <= len(read(send, options(), Measured(TOO_MUCH / HOUR, 0.0))) <= 1000


def test_a_scanned_window_is_not_refused_for_what_its_neighbours_held() -> None:
    """It is never counted, so that only its own answers tell."""
    send = ListSend([table(0)] * 1000)
    source = TYPE.open(options(**SCANNED), tools(send, clock=SOON))
    measured = Measured(TOO_MUCH / HOUR, 0.0)
    assert len(list(source.read(Reading(WINDOW, 99.0, measured)))) == 2


def test_a_part_of_a_tick_is_cut_before_the_pipeline() -> None:
    """The hash is of the stored row, so that a pipeline that makes rows alike does not keep them together."""
    part = Slice(Window(TEN, TEN + 1), 3, 8)
    lines = window_query(selected(pipeline="project n"), part, row_key="key").splitlines()
    assert lines[-2:] == ["| where hash_xxhash64(key, 8) == 3", "| project n"]


def test_a_tick_of_free_kql_is_not_parted() -> None:
    """Where a hash belongs in free KQL is not known, and each part would be the whole tick again."""
    free = selected(table=None, kql="Event | where t >= window_start and t < window_end", splittable=True)
    tick = Window(TEN, TEN + 1)
    with pytest.raises(ExportError, match="cannot be parted"):
        window_query(free, Slice(tick, 0, 2))


def test_a_slice_asks_for_its_own_time() -> None:
    """Every slice is bounded by its own span, in the query and in the timespan around it."""
    first, second = (Slice(Window(TEN + i * SECOND, TEN + (i + 1) * SECOND)) for i in range(2))
    assert query_body(selected(), first) != query_body(selected(), second)
    assert "window_end = datetime(2026-11-21T10:00:01.0000000Z)" in window_query(selected(), first)
    assert "window_start = datetime(2026-11-21T10:00:01.0000000Z)" in window_query(selected(), second)


def test_a_small_window_is_one_request() -> None:
    """A window that fits, by what its neighbours held, is one question and one batch."""
    send = ListSend([table(2, statistics=statistics(2))])
    (batch,) = read(send, options())
    assert queries(send) == [window_query(selected(), Slice(WINDOW))]
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
        window_query(selected(), Slice(Window(TEN, middle))),
        window_query(selected(), Slice(Window(middle, TEN + HOUR))),
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
    assert [len(batch.rows) for batch in source.read(Reading(WINDOW, 1.0, LITTLE))] == [1]
    assert asked == ["log_analytics"]


OTHER = "87654321-1234-1234-1234-123456789abc"


def named(rows: int) -> dict[str, Any]:
    """Build a size's answer."""
    return {"tables": [{"columns": COLUMNS, "rows": [[rows, rows]]}]}


def test_each_workspace_is_asked_by_itself() -> None:
    """What is known to fit is asked for at once, in one workspace after the other."""
    send = ListSend([table(2), table(1)])
    batches = read(send, options(workspace=None, workspaces=(WORKSPACE, OTHER.upper())))
    assert [len(batch.rows) for batch in batches] == [2, 1]
    assert [request.target for request in send.requests] == [
        f"/v1/workspaces/{each}/query" for each in (WORKSPACE, OTHER)
    ]
    assert [query.rpartition("| ")[2] for query in queries(send)] == [
        f"extend _WorkspaceId = '{each}'" for each in (WORKSPACE, OTHER)
    ]


def test_each_of_several_workspaces_is_sized_by_itself() -> None:
    """Where all together are too many for an answer, each is counted and cut as it needs."""
    together = Measured(rows=900_000 / HOUR, answer_bytes=0.0)
    send = ListSend([named(10), table(1), named(900_000), table(1), table(2)])
    batches = read(send, options(workspace=None, workspaces=(WORKSPACE, OTHER)), together)
    assert [len(batch.rows) for batch in batches] == [1, 1, 2]


COUNTED = [{"name": "counted_from", "type": "datetime"}, {"name": "Count", "type": "long"}]
HOURS = [Window(TEN + hour * HOUR, TEN + (hour + 1) * HOUR) for hour in range(2_100)]


def counted(*rows: tuple[int, int]) -> dict[str, Any]:
    """Return the answer to a question about a run: where windows begin, and their rows."""
    texts = [[format_instant(start), count] for start, count in rows]
    return {"tables": [{"columns": COUNTED, "rows": texts}]}


def test_counts_of_several_workspaces_are_added_up() -> None:
    """A window's rows are those of all its workspaces; one that an answer does not name has none there."""
    answers = [counted((TEN, 1)), counted((TEN + HOUR, 20), (TEN, 10))]
    source = TYPE.open(options(workspace=None, workspaces=(WORKSPACE, OTHER)), tools(ListSend(answers)))
    assert source.count(HOURS[:2], 99.0) == [11, 20]


def test_a_run_of_windows_is_counted_by_one_question() -> None:
    """Each row by its own window and that one's reach, without steps that do not decide how many rows."""
    send = ListSend([counted((TEN, 3))])
    counting = "where n in (1, dynamic(2)) | project n | parse n with * a | where a > 1"
    opened = options(pipeline=f"{counting} | extend b = pack_all()")
    assert TYPE.open(opened, tools(send)).count(HOURS[:3], 99.0) == [3, 0, 0]
    (query,) = queries(send)
    assert query == (
        "let window_start = datetime(2026-11-21T10:00:00.0000000Z);\n"
        "let window_end = datetime(2026-11-21T13:00:00.0000000Z);\n"
        "Event\n"
        "| where TimeGenerated >= window_start - 60d and TimeGenerated < window_end + 10d\n"
        "| where (ingestion_time() >= window_start and ingestion_time() < window_end)"
        " or (isnull(ingestion_time()) and TimeGenerated >= window_start and TimeGenerated < window_end)\n"
        "| extend counted_from = bin_at(coalesce(ingestion_time(), TimeGenerated),"
        " time(0.01:00:00.0000000), window_start)\n"
        "| where TimeGenerated >= counted_from - 60d"
        " and TimeGenerated < counted_from + time(0.01:00:00.0000000) + 10d\n"
        "| where n in (1, dynamic(2))\n| project n, counted_from\n| parse n with * a\n| where a > 1\n"
        "| summarize Count = count() by counted_from"
    )


@pytest.mark.parametrize(
    "pipeline",
    [
        "where t > window_start",
        "where * has 'x'",
        "extend a = pack_all() | where a has 'x'",
        "where n in ((Event | project n))",
        "where n in (Watched_CL)",
        "where ingestion_time() > TimeGenerated",
        "extend counted_from = n | where n > 1",
    ],
)
def test_a_pipeline_that_one_more_column_could_change_is_counted_window_by_window(pipeline: str) -> None:
    """And so is one that names the window, or whose other table would be seen at another time."""
    legs = {"tables": [{"columns": COLUMNS, "rows": [[0, 1], [1, 2]]}]}
    send = ListSend([legs])
    assert TYPE.open(options(pipeline=pipeline), tools(send)).count(HOURS[:2], 99.0) == [1, 2]
    (query,) = queries(send)
    assert pipeline in query
    assert query.count("| count | extend leg = ") == 2


def test_a_month_of_short_windows_is_counted_by_few_questions() -> None:
    """An answer has few rows, and no question scans more than a month."""
    day = [Window(TEN + number * DAY, TEN + (number + 1) * DAY) for number in range(60)]
    minutes = [Window(TEN + number * MINUTE, TEN + (number + 1) * MINUTE) for number in range(2_100)]
    for windows_, questions in ((day, 2), (HOURS, 3), (minutes, 3)):
        send = ListSend([counted()] * questions)
        assert TYPE.open(options(), tools(send)).count(windows_, 99.0) == [0] * len(windows_)
        assert len(send.requests) == questions


def test_windows_that_are_no_run_are_counted_as_they_are() -> None:
    """Gaps and other lengths end a run; the rest is one question too, and each answer finds its window."""
    half = Window(HOURS[9].start, HOURS[9].start + HOUR // 2)
    legs = {"tables": [{"columns": COLUMNS, "rows": [[0, 5], [1, 7]]}]}
    send = ListSend([counted((TEN + HOUR, 2), (TEN, 1)), legs])
    asked = [half, HOURS[1], HOURS[5], HOURS[0], HOURS[1]]
    assert TYPE.open(options(), tools(send)).count(asked, 99.0) == [7, 2, 5, 1, 2]
    assert len(send.requests) == 2


def test_a_run_that_takes_too_long_to_count_is_halved() -> None:
    """Down to one window, which is then counted less widely."""
    leg = {"tables": [{"columns": COLUMNS, "rows": [[0, 7]]}]}
    send = ListSend([service_error(504), service_error(504), leg, counted((TEN + 2 * HOUR, 1))])
    assert TYPE.open(options(), tools(send)).count(HOURS[:3], 99.0) == [7, 0, 1]
    assert [("- 60d" in query, "- 3d" in query) for query in queries(send)] == [
        (True, False), (True, False), (False, True), (True, False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        counted((TEN + 1, 1)),
        counted((TEN, 1), (TEN, 1)),
        {"tables": [{"columns": COUNTED, "rows": [["soon", 1]]}]},
        {"tables": [{"columns": COUNTED, "rows": [[1]]}]},
    ],
)
def test_counts_of_other_windows_are_no_counts(answer: dict[str, Any]) -> None:
    """An answer that does not fit the question is an error, and never a number."""
    with pytest.raises(ProtocolError):
        TYPE.open(options(), tools(ListSend([answer]))).count(HOURS[:2], 99.0)


@pytest.mark.parametrize(("workspaces", "in_time"), [((WORKSPACE,), 2), ((WORKSPACE, OTHER), 0)])
def test_a_count_that_takes_too_long_says_how_many_windows_were_counted(
    workspaces: tuple[str, ...], in_time: int
) -> None:
    """In all workspaces, and from the first window on."""
    legs = {"tables": [{"columns": COLUMNS, "rows": [[0, 5]]}]}
    send = ListSend([counted(), DeadlineError("no time was left"), legs])
    source = TYPE.open(options(workspace=None, workspaces=workspaces), tools(send))
    with pytest.raises(DeadlineError, match="no time was left") as caught:
        source.count([*HOURS[:2], *HOURS[5:7], HOURS[9]], 99.0)
    assert caught.value.counted == in_time


def test_free_kql_is_counted_as_it_is() -> None:
    """One question for each window, whether it may be cut or not."""
    free = "Event | where t >= window_start and t < window_end | summarize n = count() by Computer"
    count = {"tables": [{"columns": COLUMNS[:1], "rows": [[7]]}]}
    for splittable in (False, True):
        send = ListSend([count] * 3)
        source = TYPE.open(options(table=None, kql=free, splittable=splittable), tools(send))
        assert source.count(HOURS[:3], 99.0) == [7] * 3
        assert queries(send)[1].partition(";\n")[2].partition(";\n")[2] == f"{free}\n| count"


SCANNED = {"plan": "basic", "window_column": "TimeGenerated"}
SOON = FakeClock(TEN + 2 * HOUR)


def test_a_scanned_table_is_asked_for_its_window_and_never_sized() -> None:
    """The timespan is a second wider, in the URL and in the body, and no question comes before the first."""
    send = ListSend([table(2)])
    source = TYPE.open(options(**SCANNED), tools(send, clock=SOON))
    (batch,) = source.read(Reading(WINDOW, 99.0, wide=True))
    assert len(batch.rows) == 2
    (request,) = send.requests
    timespan = "2026-11-21T09:59:59.0000000Z/2026-11-21T11:00:01.0000000Z"
    assert request.target == f"/v1/workspaces/{WORKSPACE}/search?timespan={timespan}"
    body = json.loads(request.body or b"")
    assert body["timespan"] == timespan
    assert body["query"].splitlines()[3:] == [
        "| where TimeGenerated >= window_start and TimeGenerated < window_end"
    ]


def test_a_scanned_window_is_halved_where_it_must_be() -> None:
    """Each half is a scan of its own time and a second on both sides."""
    send = ListSend([service_error(504), table(1), table(2)])
    source = TYPE.open(options(**SCANNED), tools(send, clock=SOON))
    assert [len(batch.rows) for batch in source.read(Reading(WINDOW, 99.0))] == [1, 2]
    spans = [request.target.partition("=")[2] for request in send.requests]
    assert spans[1].partition("/")[2] == "2026-11-21T10:30:01.0000000Z"
    assert spans[2].partition("/")[0] == "2026-11-21T10:29:59.0000000Z"


@pytest.mark.parametrize(
    ("plan", "message", "helped"),
    [
        ({}, "The time range cannot be given in a where statement on TimeGenerated", False),
        (SCANNED, "The time range cannot be given in a where statement on TimeGenerated", True),
        (SCANNED, "The timespan must be specified in the header", True),
        (SCANNED, "Failed to resolve column 'Computer'", False),
    ],
)
def test_a_refusal_of_time_in_a_scan_says_what_to_do(
    plan: dict[str, Any], message: str, *, helped: bool
) -> None:
    """Such a table cannot be exported so; any other mistake has the service's own words alone."""
    error = ServiceError(
        "X", status=400, code="BadArgumentError", message=message, request_id=None, retryable=False
    )
    source = TYPE.open(options(**plan), tools(ListSend([error]), clock=SOON))
    with pytest.raises(ServiceError, match=message) as caught:
        list(source.read(Reading(WINDOW, 99.0, Measured(0, 0))))
    assert ("search_jobs" in str(caught.value)) == helped
    assert not isinstance(caught.value, DeniedError)


def test_scanned_windows_are_counted_one_by_one() -> None:
    """One question over several windows would need a function, which such tables do not take."""
    count = {"tables": [{"columns": COLUMNS[:1], "rows": [[7]]}]}
    send = ListSend([count, count])
    source = TYPE.open(options(**SCANNED), tools(send, clock=SOON))
    assert source.count([WINDOW, Window(TEN + HOUR, TEN + 2 * HOUR)], 99.0) == [7, 7]
    assert all(query.endswith("| count") and "rows_of" not in query for query in queries(send))


@pytest.mark.parametrize("plan", ["basic", "auxiliary"])
def test_a_basic_table_reaches_thirty_days_back(plan: str) -> None:
    """Older time is unavailable there, whatever retention is stated; an Auxiliary table keeps its own."""
    clock = FakeClock(WINDOW.start + 30 * DAY + 1)
    send = ListSend([table(1)])
    source = TYPE.open(options(**SCANNED | {"plan": plan}), tools(send, clock=clock))
    if plan == "auxiliary":
        assert len(list(source.read(Reading(WINDOW, 99.0)))) == 1
        return
    with pytest.raises(UnavailableError, match="search_jobs") as caught:
        list(source.read(Reading(WINDOW, 99.0)))
    assert caught.value.floor == WINDOW.start + 10 * MINUTE + SECOND
    with pytest.raises(UnavailableError):
        source.count([WINDOW], 99.0)
    assert send.requests == []


def test_the_rest_of_a_basic_tables_window_can_be_read_although_time_goes_on() -> None:
    """What begins at the floor that was named stays within reach for as long as an attempt takes."""
    clock = FakeClock(WINDOW.start + 30 * DAY + 1)
    source = TYPE.open(options(**SCANNED), tools(ListSend([table(1)]), clock=clock))
    with pytest.raises(UnavailableError) as caught:
        list(source.read(Reading(WINDOW, 99.0)))
    clock.advance("540s")
    rest = Window(caught.value.floor, WINDOW.end)
    assert [len(batch.rows) for batch in source.read(Reading(rest, 99.0))] == [1]


def test_a_basic_tables_answer_that_comes_too_late_is_no_answer() -> None:
    """The window left the reach while it was asked for, so that rows may be missing without a word."""

    class Slow(ListSend):
        """A service that takes a second."""

        def __call__(self, request: Request, /) -> Response:
            """Answer a second later."""
            clock.advance("1s")
            return super().__call__(request)

    count = {"tables": [{"columns": COLUMNS[:1], "rows": [[7]]}]}
    for answer, ask in (
        (table(1), lambda source: list(source.read(Reading(WINDOW, 99.0)))),
        (count, lambda source: source.count([WINDOW], 99.0)),
    ):
        clock = FakeClock(WINDOW.start + 30 * DAY)
        send = Slow([answer])
        with pytest.raises(UnavailableError):
            ask(TYPE.open(options(**SCANNED), tools(send, clock=clock)))
        assert len(send.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_to_grant(status: int) -> None:
    """Also where the token itself is not taken."""
    with pytest.raises(DeniedError, match="Log Analytics Data Reader"):
        read(ListSend([service_error(status)]), options())


def test_a_resource_may_be_asked_through_resource_manager() -> None:
    """The query goes to Resource Manager with its API's token, preferring the query API's shape."""
    asked: list[ApiName] = []
    send = ListSend([table(1)])
    opened = options(workspace=None, resource=RESOURCE, route="arm")
    (batch,) = TYPE.open(opened, tools(send, asked)).read(Reading(WINDOW, 99.0, LITTLE))
    assert (len(batch.rows), asked) == (1, ["arm"])
    assert send.requests[0].target.startswith(f"{RESOURCE}/providers/microsoft.insights/logs?api-version=")
    assert send.requests[0].headers["Prefer"] == "wait=300, include-statistics=true, response-v1=true"
