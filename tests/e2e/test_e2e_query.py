"""What is answered at once: each form, saved queries, how many rows are wanted, which workspace is meant."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow.parquet
import pytest
import requests

from local.azurite import Azurite
from local.cloud.tables import TABLES
from local.compare import ticks
from shared.saved_queries import load
from tests.e2e.asking import answer_of, deployed, problem_of, record_of
from tests.e2e.conftest import SMALL
from tests.e2e.harness import Running
from tests.host.harness import ROOT
from tests.kusto_parser import diagnostics

PARQUET = "application/vnd.apache.parquet"
_DYNAMIC = {"Status", "ConditionalAccessPolicies"}
_QUERY = (
    "SigninLogs | project TimeGenerated, DurationMs, RiskScore, IsInteractive, SessionId, Status,"
    " ConditionalAccessPolicies, Identity | order by TimeGenerated asc, Identity asc"
)


_FORMULA = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host for the questions of this module, which may ask two workspaces."""
    with deployed(tmp_path_factory.mktemp("query"), azurite, replace(SMALL, workspaces=2)) as world:
        world.settings["QUERY_WORKSPACES"] = f"second={world.cloud.workspace_ids[1]}"
        odd = [
            {"Identity": name, "TimeGenerated": world.at(-1)}
            for name in (_FORMULA, "-1", 'a "b", c\r\nd', "")
        ]
        world.cloud.add_rows("SigninLogs", odd)
        with world.running() as running:
            yield running


@pytest.fixture(autouse=True)
def _no_faults(app: Running) -> Iterator[None]:
    """Leave no fault to the next test."""
    yield
    app.world.cloud.clear_faults()


@pytest.fixture(scope="module")
def plain(app: Running) -> dict[str, Any]:
    """The answer in JSON, numbers as their own text, that the other forms are compared with."""
    response = app.post("/api/query", _question(app))
    answer: dict[str, Any] = json.loads(response.content, parse_float=str, parse_int=str)
    assert {row[2] for row in answer["rows"]} >= {"NaN", "Infinity", "-Infinity", None}
    return answer


def test_json_is_the_usual_answer(app: Running) -> None:
    """Rows, their columns, how many there are, what it cost; the service knows the question by our id."""
    answer = answer_of(app.post("/api/query", {"query": "Event | take 3", "timespan": "P1D"}))
    # The service names no request id beside an answer, only in its errors.
    assert answer.keys() == {
        "query_id", "status", "returned", "total", "truncated", "columns", "rows", "statistics",
    }  # fmt: skip
    assert answer["columns"] == [{"name": name, "type": type_} for name, type_ in TABLES["Event"].items()]
    assert (answer["status"], answer["returned"], answer["total"]) == ("complete", 3, 3)
    assert answer["statistics"]["rows"] == answer["statistics"]["scanned_rows"] == 3
    assert answer["statistics"]["requests"] == 1
    assert answer["statistics"]["execution_seconds"] > 0
    asked = app.world.cloud.requests[-1]
    assert asked.headers["x-ms-client-request-id"] == answer["query_id"]
    assert "wait=30" in asked.headers["prefer"]


def test_ndjson_has_a_line_for_each_row(app: Running, plain: dict[str, Any]) -> None:
    """Each an object with the row's cells; a dynamic value that is no text is nested JSON."""
    text = _file_of(app.post("/api/query", _question(app), Accept="application/x-ndjson"), "jsonl").decode()
    rows = [json.loads(line, parse_float=str, parse_int=str) for line in text.split("\n")[:-1]]
    names = [column["name"] for column in plain["columns"]]
    assert rows == [
        {
            name: json.loads(cell, parse_float=str, parse_int=str) if name in _DYNAMIC and cell else cell
            for name, cell in zip(names, row, strict=True)
        }
        for row in plain["rows"]
    ]


@pytest.mark.parametrize("form", ["csv", "csv-guarded"])
def test_csv_has_the_same_cells(app: Running, plain: dict[str, Any], form: str) -> None:
    """A header and the rows; null is nothing, and only `csv-guarded` changes what looks like a formula."""
    text = _file_of(app.post("/api/query", _question(app, format=form)), "csv").decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == [column["name"] for column in plain["columns"]]
    guard = "'" if form == "csv-guarded" else ""
    in_csv = {None: "", True: "true", False: "false", _FORMULA: guard + _FORMULA, "-1": guard + "-1"}
    assert rows == [[in_csv.get(cell, cell) for cell in row] for row in plain["rows"]]
    assert f'"{guard}{_FORMULA}"' in text


def test_parquet_has_typed_columns(app: Running, plain: dict[str, Any]) -> None:
    """As a reader of Parquet sees them: instants in nanoseconds, numbers, truth values; text for the rest."""
    data = _file_of(app.post("/api/query", _question(app), Accept=PARQUET), "parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("TimeGenerated", "timestamp[ns, tz=UTC]"), ("DurationMs", "int64"), ("RiskScore", "double"),
        ("IsInteractive", "bool"), ("SessionId", "string"), ("Status", "string"),
        ("ConditionalAccessPolicies", "string"), ("Identity", "string"),
    ]  # fmt: skip
    times, durations, scores, *others = zip(*plain["rows"], strict=True)
    epoch = ticks("1970-01-01T00:00:00Z")
    assert table["TimeGenerated"].cast("int64").to_pylist() == [(ticks(time) - epoch) * 100 for time in times]
    assert table["DurationMs"].to_pylist() == [None if each is None else int(each) for each in durations]
    # As text, for NaN does not equal itself.
    assert list(map(str, table["RiskScore"].to_pylist())) == [str(each and float(each)) for each in scores]
    assert [table.column(place).to_pylist() for place in range(3, 8)] == list(map(list, others))


def test_an_answer_without_rows_has_its_columns(app: Running) -> None:
    """In each form that has columns; ndjson is empty."""
    query = {"query": "Heartbeat | where false | project TimeGenerated, Uptime"}
    assert answer_of(app.post("/api/query", query))["columns"] == [
        {"name": "TimeGenerated", "type": "datetime"},
        {"name": "Uptime", "type": "timespan"},
    ]
    assert _file_of(app.post("/api/query", {**query, "format": "ndjson"}), "jsonl") == b""
    assert (
        _file_of(app.post("/api/query", {**query, "format": "csv"}), "csv") == b'"TimeGenerated","Uptime"\r\n'
    )
    data = _file_of(app.post("/api/query", {**query, "format": "parquet"}), "parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    assert (table.num_rows, table.column_names) == (0, ["TimeGenerated", "Uptime"])


@pytest.mark.parametrize(
    ("accept", "form", "got"),
    [
        ("", None, "application/json"),
        ("*/*", None, "application/json"),
        ("text/*", None, "text/csv; charset=utf-8"),
        ("text/html, application/xhtml+xml, */*;q=0.8", None, "application/json"),
        ("application/json;q=0.5, application/x-ndjson", None, "application/x-ndjson"),
        (f"{PARQUET};q=0.9, text/csv;q=0.8", None, PARQUET),
        ("application/json;q=0, */*", None, "application/x-ndjson"),
        ("Text/CSV; charset=utf-8", None, "text/csv; charset=utf-8"),
        ("application/json", "ndjson", "application/x-ndjson"),
        ("text/html", "json", "application/json"),
        ("", "text/csv", "text/csv; charset=utf-8"),
    ],
)
def test_the_form_is_what_format_or_accept_says(
    app: Running, accept: str, form: str | None, got: str
) -> None:
    """`format` before `Accept`, and of what is accepted what is liked best."""
    response = app.post("/api/query", {"query": "print x = 1", "format": form}, Accept=accept)
    assert (response.status_code, response.headers["Content-Type"]) == (200, got)


def test_an_unknown_form_is_refused(app: Running) -> None:
    """By `Accept` with 406, by `format` with 400."""
    assert (
        "text/html"
        in problem_of(app.post("/api/query", {"query": "print 1"}, Accept="text/html"), 406)["detail"]
    )
    refused = problem_of(app.post("/api/query", {"query": "print 1", "format": "xml"}), 400)
    assert refused["field"] == "format"


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "parquet"])
def test_gzip_is_sent_to_whom_accepts_it(app: Running, form: str) -> None:
    """Not of Parquet, which is packed itself, nor of what is small; without it the same bytes come plain."""
    asked = {"query": "Event | order by _ItemId asc", "timespan": "P1D", "format": form}
    got = {
        coding: app.post("/api/query", asked, Accept_Encoding=coding)
        for coding in ("identity", "gzip", "br, gzip;q=0.1", "gzip;q=0", "*")
    }
    packed = {"gzip", "br, gzip;q=0.1", "*"} if form != "parquet" else set()
    for coding, response in got.items():
        assert response.headers.get("Content-Encoding") == ("gzip" if coding in packed else None)
        assert "Accept-Encoding" in response.headers["Vary"]
        assert (int(response.headers["Content-Length"]) < len(response.content)) == (coding in packed)
    if form != "json":  # whose statistics differ from one answer to the next
        assert len({response.content for response in got.values()}) == 1
    small = app.post("/api/query", {"query": "print 1", "format": form}, Accept_Encoding="gzip")
    assert "Content-Encoding" not in small.headers


def test_top_cuts_and_tells_the_total(app: Running) -> None:
    """Only where rows are missing they are counted, by a question of their own."""
    question = {"query": "Event | take 5 // five", "timespan": "P1D"}
    for top, returned, asked in ((3, 3, 2), (5, 5, 1), (6, 5, 1)):
        app.world.cloud.clear_requests()
        answer = answer_of(app.post("/api/query", {**question, "top": top}))
        assert (answer["returned"], len(answer["rows"]), answer["total"]) == (returned, returned, 5)
        assert answer["truncated"] == (returned < 5)
        assert len(app.world.cloud.requests) == asked
    lines = _file_of(app.post("/api/query", {**question, "top": 3, "format": "ndjson"}), "jsonl")
    assert lines.count(b"\n") == 3


def test_a_total_that_cannot_be_had_is_not_made_up(app: Running) -> None:
    """The rows are there, `total` is null, and the answer says that rows are missing."""
    app.world.cloud.fail("log_analytics", "400", nth=2)
    answer = answer_of(app.post("/api/query", {"query": "Event", "timespan": "P1D", "top": 2}))
    assert (answer["returned"], answer["total"], answer["truncated"]) == (2, None, True)


def test_a_part_is_called_partial(app: Running) -> None:
    """In JSON; another form cannot say so, nor can a stored result, and these are refused."""
    question = {"query": "Event | order by TimeGenerated asc", "timespan": "P1D"}
    for fields, status in (
        ({}, 200),
        ({"top": 500}, 200),
        ({"format": "csv"}, 422),
        ({"destination": "blob"}, 422),
    ):
        app.world.cloud.fail("log_analytics", "partial")
        response = app.post("/api/query", {**question, **fields})
        if status == 200:
            answer = answer_of(response)
            assert (answer["status"], answer["truncated"], answer["total"]) == ("partial", True, None)
            assert answer["returned"] == len(answer["rows"]) > 0
            assert answer["error"]["code"].startswith("PartialError")
        else:
            assert "part" in problem_of(response, status)["detail"]


def test_parameters_are_values_whatever_is_in_them(app: Running) -> None:
    """Each type comes back as it was given, also text that looks like KQL."""
    text = "x' | union (workspace('y').Event) //\n\"\\ 💶"
    values: dict[str, Any] = {
        "text": text, "whole": 2**53 + 1, "part": 1.5, "truth": False, "list": [1, {"a": None}],
        "at": {"type": "datetime", "value": "2026-11-21T10:00:00.1234567Z"},
        "span": {"type": "timespan", "value": "1.02:03:04"},
        "id": {"type": "guid", "value": "74be27de-1e4e-49d9-b579-fe0b331d3642"},
        "nothing": {"type": "int", "value": None},
        "infinite": {"type": "real", "value": "-inf"},
    }  # fmt: skip
    question = {"query": "print " + ", ".join(f"c_{name} = {name}" for name in values), "parameters": values}
    answer = answer_of(app.post("/api/query", question))
    assert answer["rows"] == [
        [
            text, 2**53 + 1, 1.5, False, '[1,{"a":null}]', "2026-11-21T10:00:00.1234567Z", "1.02:03:04",
            "74be27de-1e4e-49d9-b579-fe0b331d3642", None, "-Infinity",
        ]
    ]  # fmt: skip
    types = ["string", "long", "real", "bool", "dynamic", "datetime", "timespan", "guid", "int", "real"]
    assert [column["type"] for column in answer["columns"]] == types


def test_saved_queries_are_listed_and_asked_by_name(app: Running) -> None:
    """With their parameters, or the defaults of these, and all that a question may have but its text."""
    listed = {each["name"]: each for each in answer_of(app.get("/api/queries"))["queries"]}
    assert listed["events-by-computer"]["parameters"] == [
        {"name": "level", "type": "string", "default": "'Error'"}
    ]
    assert listed["failed-sign-ins"]["parameters"] == [{"name": "user", "type": "string", "default": None}]
    for level, body in (("Error", {}), ("Warning", {"parameters": {"level": "Warning"}})):
        answer = answer_of(app.post("/api/query/events-by-computer", {"timespan": "P1D", **body}))
        rows = [row for row in app.world.cloud.rows("Event") if row["EventLevelName"] == level]
        assert sum(row[1] for row in answer["rows"]) == len(rows) > 0
    assert app.send("POST", "/api/query/events-by-computer").status_code == 200  # a body is not needed
    one = {"parameters": {"level": {"type": "string", "value": "Error"}}, "top": 1, "format": "csv"}
    text = _file_of(app.post("/api/query/events-by-computer", {"timespan": "P1D", **one}), "csv").decode()
    assert text.startswith('"Computer","events","newest"\r\n')
    assert text.count("\r\n") == 2
    query_id = answer["query_id"]
    assert record_of(app.world, query_id)["saved"] == "events-by-computer"


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("failed-sign-ins", {}, "parameters.user"),
        ("failed-sign-ins", {"parameters": {"user": 5}}, "parameters.user"),
        ("failed-sign-ins", {"parameters": {"user": {"type": "long", "value": 5}}}, "parameters.user"),
        ("failed-sign-ins", {"parameters": {"user": "x", "other": "y"}}, "parameters.other"),
        ("failed-sign-ins", {"parameters": {"user": "x"}, "query": "Event"}, "query"),
    ],
)
def test_a_saved_query_takes_its_own_parameters_only(
    app: Running, name: str, body: dict[str, object], field: str
) -> None:
    """400 names what is missing, of another type, or not declared; the service is not asked."""
    app.world.cloud.clear_requests()
    assert problem_of(app.post(f"/api/query/{name}", body), 400)["field"] == field
    assert app.world.cloud.requests == []


def test_the_saved_queries_of_this_app_are_right() -> None:
    """Microsoft's own parser finds nothing wrong with them, in the tables that they read."""
    found = load(ROOT / "queries")
    assert found.problems == ()
    for query in found.queries.values():
        given = {each.name: "x" for each in query.parameters if each.literal is None}
        assert diagnostics(query.constants(given) + query.text, TABLES) == []


def test_a_workspace_is_meant_by_name_or_id(app: Running) -> None:
    """Whatever the case; each answers with its own rows, and only those that are configured."""
    first, second = app.world.cloud.workspace_ids
    query = "Event | summarize by TenantId"
    for named, workspace in (
        (None, first), ("default", first), (first, first), ("second", second), ("SECOND", second),
        (second.upper(), second),
    ):  # fmt: skip
        answer = answer_of(app.post("/api/query", {"query": query, "timespan": "P1D", "workspace": named}))
        assert answer["rows"] == [[workspace]]
        assert record_of(app.world, answer["query_id"])["workspace"] == workspace
    app.world.cloud.clear_requests()
    for unknown in (app.world.cloud.foreign_workspace_id, "third", "", f"{first}/../{second}"):
        refused = problem_of(app.post("/api/query", {"query": query, "workspace": unknown}), 400)
        assert refused["field"] == "workspace"
    assert app.world.cloud.requests == []


def _question(app: Running, **fields: object) -> dict[str, object]:
    return {"query": _QUERY, "start": app.world.at(-6), "end": app.world.at(2), **fields}


def _file_of(response: requests.Response, extension: str) -> bytes:
    """The file that an answer is: it has its query's id in a header, and a name."""
    assert response.status_code == 200, response.text[:2000]
    query_id = response.headers["X-Query-Id"]
    assert re.fullmatch("[0-9a-f]{32}", query_id)
    assert response.headers["Content-Disposition"] == f'attachment; filename="{query_id}.{extension}"'
    return response.content
