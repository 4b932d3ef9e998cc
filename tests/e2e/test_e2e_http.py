"""The HTTP functions answer as the README says, with the values that Microsoft's own client gets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from azure.monitor.query import LogsQueryClient, LogsQueryResult

from local.azurite import Azurite
from local.cloud import Cloud
from local.compare import instant, ticks
from tests.e2e.conftest import SMALL
from tests.e2e.harness import HOUR, Running, World, now


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host for the questions of this module; it exports nothing."""
    folder = tmp_path_factory.mktemp("http")
    with Cloud(SMALL, folder=folder / "cloud") as cloud:
        world = World(folder, azurite, cloud)
        world.write_exports(world.table())
        with world.running() as running:
            yield running
        world.close()


@pytest.fixture(autouse=True)
def _no_faults(app: Running) -> Iterator[None]:
    """Leave no fault to the next test."""
    yield
    app.world.cloud.clear_faults()


@pytest.mark.parametrize("table", ["Event", "Heartbeat", "SigninLogs", "AzureActivity"])
def test_an_answer_has_the_values_of_microsofts_client(app: Running, table: str) -> None:
    """Columns, types, rows and order equal those that azure-monitor-query gets for the same question."""
    query = f"{table} | order by TimeGenerated asc, _ItemId asc"
    start, end = app.world.at(-3), app.world.at(0)
    answer = app.post("/api/query", {"query": query, "start": start, "end": end})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    ours = answer.json()
    theirs = _ask_with_microsofts_client(app.world.cloud, query, start, end).tables[0]
    assert [column["name"] for column in ours["columns"]] == list(theirs.columns)
    assert [column["type"] for column in ours["columns"]] == list(theirs.columns_types)
    kinds = theirs.columns_types
    rows = [list(map(_as_the_client, row, kinds)) for row in ours["rows"]]
    assert rows == [list(row) for row in theirs.rows]
    assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in theirs.rows]
    assert ours["returned"] == len(rows) > 0
    assert (ours["status"], ours["truncated"]) == ("complete", False)
    assert ours["statistics"]["query"]["datasetStatistics"][0]["tableRowCount"] == len(rows)
    assert ours["query_id"]


def test_top_cuts_and_says_so(app: Running) -> None:
    """`truncated` is true only where rows are missing."""
    question = {"query": "Event | take 5", "timespan": "P1D"}
    for top, returned, truncated in ((3, 3, True), (5, 5, False), (6, 5, False)):
        answer = app.post("/api/query", {**question, "top": top}).json()
        assert (answer["returned"], answer["truncated"]) == (returned, truncated)
        assert len(answer["rows"]) == returned


def test_a_query_may_end_in_a_comment_or_a_semicolon(app: Running) -> None:
    """What `top` adds still counts."""
    for end in (";", " // the end", "\n// the end\n"):
        answer = app.post("/api/query", {"query": f"Event | take 5{end}", "timespan": "P1D", "top": 2})
        assert answer.status_code == 200, answer.text
        assert answer.json()["returned"] == 2


def test_without_a_timespan_the_last_day_is_asked(app: Running) -> None:
    """A row of thirty hours ago is found only when the timespan reaches it."""
    marker = "thirty hours ago"
    app.world.cloud.add_rows("Event", [{"TimeGenerated": instant(now() - 30 * HOUR), "Source": marker}])
    query = f"Event | where Source == '{marker}' | count"
    assert app.post("/api/query", {"query": query}).json()["rows"] == [[0]]
    assert app.post("/api/query", {"query": query, "timespan": "PT31H"}).json()["rows"] == [[1]]


def test_a_partial_answer_is_called_partial(app: Running) -> None:
    """What the service cut off is passed on with its reason."""
    app.world.cloud.fail("log_analytics", "partial")
    answer = app.post("/api/query", {"query": "Event", "timespan": "P1D"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["truncated"]) == ("partial", True)
    assert body["returned"] == len(body["rows"]) > 0
    assert body["error"]["code"].startswith("PartialError")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"Event"', "body"),
        (b"\xff\xfe", "body"),
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": 1}, "query"),
        ({"query": None}, "query"),
        ({"query": "Event | where Source == 'x"}, "query"),
        ({"query": "Event", "colour": "blue"}, "colour"),
        ({"query": "Event", "timespan": 24}, "timespan"),
        ({"query": "Event", "timespan": "24h"}, "timespan"),
        ({"query": "Event", "timespan": "P1H"}, "timespan"),
        ({"query": "Event", "timespan": "P1D", "start": "2026-11-21"}, "timespan"),
        ({"query": "Event", "start": "2026-11-21"}, "end"),
        ({"query": "Event", "end": "2026-11-21"}, "start"),
        ({"query": "Event", "start": "yesterday", "end": "2026-11-21"}, "start"),
        ({"query": "Event", "start": "2026-11-21", "end": "2026-11-20"}, "end"),
        ({"query": "Event", "start": "2026-11-21", "end": 5}, "end"),
        ({"query": "Event", "top": 0}, "top"),
        ({"query": "Event", "top": -1}, "top"),
        ({"query": "Event", "top": 1_000_000}, "top"),
        ({"query": "Event", "top": "5"}, "top"),
        ({"query": "Event", "top": 1.5}, "top"),
        ({"query": "Event", "workspace": "00000000-0000-0000-0000-000000000000"}, "workspace"),
        ({"query": "Event", "workspace": 5}, "workspace"),
    ],
)
def test_a_wrong_request_is_told_its_field(app: Running, body: object, field: str) -> None:
    """400 as problem+json with the field; the service is not asked."""
    app.world.cloud.clear_requests()
    answer = app.post("/api/query", body)
    problem = _problem(answer, 400)
    assert problem["field"] == field
    assert problem["detail"].startswith(f"{field}: ")
    assert app.world.cloud.requests == []


def test_an_error_of_the_service_is_passed_on_whole(app: Running) -> None:
    """Its code path, its message and its request id; 400 stays 400, a refusal of the app itself is 502."""
    problem = _problem(app.post("/api/query", {"query": "Event | where Nope == 1"}), 400)
    assert problem["code"] == "BadArgumentError/SemanticError/SEM0100"
    assert "'Nope'" in problem["detail"]
    assert problem["request_id"]
    for kind, status in (("403", 502), ("504", 504)):
        app.world.cloud.fail("log_analytics", kind)
        problem = _problem(app.post("/api/query", {"query": "Event | count"}), status)
        assert problem["service_status"] == int(kind)
        assert problem["code"]


def test_a_secret_that_is_refused_is_no_500(app: Running) -> None:
    """The answer says that the app could not sign in, with Entra ID's code, and shows no secret."""
    with app.world.running({"AZURE_CLIENT_SECRET": "not the secret"}) as other:
        answer = other.post("/api/query", {"query": "Event | count"})
        problem = _problem(answer, 502)
        assert "AADSTS7000215" in problem["detail"]
        assert "not the secret" not in answer.text + other.console


def test_health_is_open_and_small(app: Running) -> None:
    """It says that all is well, which version and how many exports, and asks no service."""
    app.world.cloud.clear_requests()
    answer = app.get("/api/health")
    assert answer.status_code == 200
    assert answer.json().keys() == {"status", "version", "exports"}
    assert (answer.json()["status"], answer.json()["exports"]) == ("ok", 1)
    assert app.world.cloud.requests == []


def test_what_is_not_served_is_not_found(app: Running) -> None:
    """An unknown route is 404, and a query cannot be asked with GET."""
    assert app.get("/api/nothing").status_code == 404
    assert app.get("/api/query").status_code in {404, 405}
    assert app.post("/api/health", {}).status_code in {404, 405}


def test_a_question_is_one_line_of_the_log(app: Running) -> None:
    """With its id, status, rows, bytes and seconds."""
    answer = app.post("/api/query", {"query": "Event | take 3", "timespan": "P1D"}).json()
    (line,) = app.lines(f"query_id={answer['query_id']}")
    for part in ("INFO query answered", "status=complete", "rows=3", "bytes=", "seconds="):
        assert part in line


def _problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"]
    return problem


def _ask_with_microsofts_client(cloud: Cloud, query: str, start: str, end: str) -> LogsQueryResult:
    credential = ClientSecretCredential(
        cloud.tenant_id, cloud.client_id, cloud.client_secret,
        authority=cloud.url, disable_instance_discovery=True, connection_verify=str(cloud.ca_file),
    )  # fmt: skip
    with (
        credential,
        LogsQueryClient(
            credential,
            endpoint=cloud.url,
            audience="https://api.loganalytics.io",
            connection_verify=str(cloud.ca_file),
        ) as client,
    ):
        timespan = (datetime.fromisoformat(start), datetime.fromisoformat(end))
        answer = client.query_workspace(cloud.workspace_id, query, timespan=timespan)
        assert isinstance(answer, LogsQueryResult)
        return answer


def _as_the_client(cell: object, kind: str) -> object:
    """A cell as azure-monitor-query gives it: instants cut to microseconds, guid and timespan as text."""
    if kind == "datetime" and isinstance(cell, str):
        micros = (ticks(cell) - ticks("1970-01-01T00:00:00Z")) // 10
        return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return str(cell) if kind in {"guid", "timespan"} else cell
