"""The HTTP functions tell what is wrong: with a request, with what the service says, with the app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from local.cloud import Cloud
from local.compare import instant
from tests.e2e.asking import problem_of
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
    problem = problem_of(answer, 400)
    assert problem["field"] == field
    assert problem["detail"].startswith(f"{field}: ")
    assert app.world.cloud.requests == []


def test_an_error_of_the_service_is_passed_on_whole(app: Running) -> None:
    """Its code path, its message and its request id; 400 stays 400, a refusal of the app itself is 502."""
    problem = problem_of(app.post("/api/query", {"query": "Event | where Nope == 1"}), 400)
    assert problem["code"] == "BadArgumentError/SemanticError/SEM0100"
    assert "'Nope'" in problem["detail"]
    assert problem["request_id"]
    app.world.cloud.fail("log_analytics", "403")
    problem = problem_of(app.post("/api/query", {"query": "Event | count"}), 502)
    assert problem["service_status"] == 403
    assert problem["code"]


def test_a_secret_that_is_refused_is_no_500(app: Running) -> None:
    """The answer says that the app could not sign in, with Entra ID's code, and shows no secret."""
    with app.world.running({"AZURE_CLIENT_SECRET": "not the secret"}) as other:
        answer = other.post("/api/query", {"query": "Event | count"})
        problem = problem_of(answer, 502)
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
    """An unknown route is 404, a method that a route has not 405."""
    assert app.get("/api/nothing").status_code == 404
    assert app.get("/api/query").status_code == 405
    assert app.post("/api/health", {}).status_code == 405


def test_a_question_is_one_line_of_the_log(app: Running) -> None:
    """With its id, rows, bytes and seconds."""
    answer = app.post("/api/query", {"query": "Event | take 3", "timespan": "P1D"}).json()
    (line,) = app.lines(f"query_id={answer['query_id']}")
    for part in ("INFO query answered", "rows=3", "bytes=", "seconds="):
        assert part in line
