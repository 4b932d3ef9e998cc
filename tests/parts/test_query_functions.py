"""The functions of on-demand queries, called as the host calls them, on real storage and a stand-in cloud."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func
import pytest

from local.azurite import Azurite
from local.cloud import Cloud, Options
from shared.blob_store import BlobStore
from shared.errors import ServiceError
from shared.query import Query
from shared.query_runner import QueryRunner
from shared.query_status import QueryStatuses
from shared.settings import Storage
from tests.parts.test_blob_store import identity
from tests.parts.test_function_app import App, app, make, module

__all__ = ["app", "module"]  # fixtures

LATER = {"Prefer": "respond-async"}
SAVED = "// How many of it\ndeclare query_parameters(id:int);\nEvent | where EventID == id | count\n"


@pytest.fixture
def real(
    module: ModuleType, tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    """Give the app on real storage and a stand-in cloud, with one saved query."""
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "how-many.kql").write_text(SAVED)
    with Cloud(Options(events=40, audits=10), tmp_path / "cloud") as cloud:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.ca_file))
        environ = {
            "AzureWebJobsStorage": azurite.connection_string,
            "EXPORT_CONTAINER": f"test-{uuid.uuid4().hex[:20]}",
            "QUERY_INLINE_ROWS": "10",
        }
        yield make(module, tmp_path, **{**cloud.environment(), **environ})


def ask(app: App, **fields: Any) -> tuple[func.HttpResponse, Any]:
    """Ask a question of the last month."""
    headers = fields.pop("headers", {})
    return app.call("query", {"timespan": "P30D", **fields}, headers=headers)


def of(app: App, name: str, query_id: str, method: str = "GET") -> tuple[func.HttpResponse, Any]:
    """Ask after a query."""
    return app.call(name, method=method, route={"id": query_id})


def test_an_answer_at_once(real: App) -> None:
    """What is small and quick is in the body."""
    response, body = ask(real, query="Event | project EventID", top=5)
    assert (response.status_code, response.mimetype, real.queued) == (200, "application/json", [])
    assert (body["status"], body["returned"], body["total"], body["truncated"]) == ("complete", 5, 40, True)


def test_a_promise_is_kept(real: App) -> None:
    """202, its status from queued to succeeded, its result, and its end."""
    response, promised = ask(real, query="Event | project EventID", headers=LATER)
    query_id = promised["query_id"]
    assert (response.status_code, promised["status"], real.queued) == (202, "queued", [query_id])
    assert response.headers["Location"] == f"/api/query/{query_id}"
    assert response.headers["Retry-After"] == "5"
    response, status = of(real, "saved_query", query_id)
    assert (response.status_code, status["status"], response.headers["Retry-After"]) == (200, "queued", "5")
    response, early = of(real, "query_result", query_id)
    assert (response.status_code, response.mimetype, early["status"]) == (
        409,
        "application/problem+json",
        409,
    )

    assert real.receive("run_query", query_id) == []
    response, status = of(real, "saved_query", query_id)
    assert (status["status"], status["result"]["rows"]) == ("succeeded", 40)
    assert "Retry-After" not in response.headers
    response, result = of(real, "query_result", query_id)
    assert (response.status_code, len(result["rows"])) == (200, 40)

    assert of(real, "saved_query", query_id, "DELETE")[0].status_code == 204
    for name in ("saved_query", "query_result"):
        response, gone = of(real, name, query_id)
        assert (response.status_code, gone["title"]) == (404, "There is no such thing")


def test_a_large_file_is_seen_elsewhere(real: App) -> None:
    """A file beyond the cap is a 303 to the whole result."""
    request = {"query": "Event | project EventID", "format": "csv"}
    response, _ = ask(real, **request)
    assert response.status_code == 303
    query_id = response.headers["Location"].split("/")[-2]
    coded = real.functions["query_result"].get_user_function()(
        func.HttpRequest("GET", "/", body=b"", route_params={"id": query_id})
    )
    assert (coded.mimetype, coded.get_body().count(b"\r\n")) == ("text/csv", 41)


def test_a_saved_query_is_listed_and_asked(real: App) -> None:
    """Its parameters are declared; its name is in the path; an unknown name is a 404."""
    _, listed = real.call("saved_queries", method="GET")
    assert [each["name"] for each in listed["queries"]] == ["how-many"]
    assert listed["queries"][0]["parameters"] == [{"name": "id", "type": "int", "default": None}]
    body = {"parameters": {"id": 1}, "timespan": "P30D"}
    response, answer = real.call("saved_query", body, route={"id": "how-many"})
    assert (response.status_code, answer["columns"]) == (200, [{"name": "Count", "type": "long"}])
    assert real.call("saved_query", body, route={"id": "other"})[0].status_code == 404


def test_a_refusal_leaves_a_record(module: ModuleType, tmp_path: Path, azurite: Azurite) -> None:
    """403 for KQL of the caller's own where only saved queries may be asked; the record quotes none of it."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    connection = azurite.connection_string
    closed = make(
        module, tmp_path, AzureWebJobsStorage=connection, EXPORT_CONTAINER=name, QUERY_FREE_TEXT="false"
    )
    response, problem = closed.call("query", {"query": "Event | where x == 'hunter2'"})
    assert (response.status_code, "saved queries" in problem["detail"]) == (403, True)
    kept = BlobStore(Storage("EXPORT_STORAGE", connection_string=connection), identity()).container(
        f"{name}-queries"
    )
    documents = [kept.read(each) for each in kept.names("audit/")]
    records = [document.data for document in documents if document is not None]
    assert [json.loads(record)["outcome"] for record in records] == ["refused"]
    assert b"hunter2" not in b"".join(records)


def test_the_queue_and_the_timer(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is carried out, a poisoned one given up, and lost ones are queued again."""
    done: list[tuple[str, str]] = []
    monkeypatch.setattr(QueryRunner, "run", lambda _self, query_id: done.append(("run", query_id)))
    monkeypatch.setattr(QueryRunner, "give_up", lambda _self, query_id: done.append(("give up", query_id)))
    app.receive("run_query", "q-1")
    app.receive("run_query_poison", "q-2")
    assert done == [("run", "q-1"), ("give up", "q-2")]
    for lost in (["q-3", "q-4"], []):
        monkeypatch.setattr(QueryStatuses, "tend", lambda _self, lost=lost: lost)
        assert app.tick("tend_queries") == lost


@pytest.mark.parametrize(
    ("name", "queue"), [("run_query", "queries"), ("run_query_poison", "queries-poison")]
)
def test_queries_have_a_queue_of_their_own(app: App, name: str, queue: str) -> None:
    """Windows of exports never stand before a query."""
    (trigger,) = app.bindings(name)
    assert (trigger["queueName"], trigger["connection"]) == (queue, "AzureWebJobsStorage")
    for asking in ("query", "saved_query", "tend_queries"):
        (output,) = [each for each in app.bindings(asking) if each["type"] == "queue"]
        assert (output["queueName"], output["connection"]) == ("queries", "AzureWebJobsStorage")


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("query", "query"),
        ("saved_query", "query/{id}"),
        ("saved_queries", "queries"),
        ("query_result", "query/{id}/result"),
    ],
)
def test_routes_of_queries(app: App, name: str, route: str) -> None:
    """Whatever asks, or tells of queries, needs a key."""
    binding = app.bindings(name)[0]
    assert (binding["route"], binding["authLevel"]) == (route, "FUNCTION")


def test_an_archive_answers_no_queries(module: ModuleType, tmp_path: Path) -> None:
    """With ``QUERY_ENABLED`` false nothing can be asked, nor goes on; but what was answered still expires."""
    app = make(module, tmp_path, QUERY_ENABLED="false")
    assert {name for name in app.functions if "quer" in name} == {"tend_queries"}
    assert app.call("openapi", method="GET")[0].status_code == 200
    assert app.functions.keys() >= {"export_window", "coverage", "verify", "backfill", "health"}


def test_a_wrong_query_is_a_problem_document(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller learns which field is wrong, as RFC 9457 has it."""
    monkeypatch.setattr(Query, "refuse", lambda *_: None)
    response, body = app.call("query", {"query": 7})
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert body["status"] == 400
    assert body["field"] == "query"


@pytest.mark.parametrize(("retry_after", "header"), [(7.4, "8"), (None, "30"), (7200.0, "3600")])
def test_a_throttled_query_says_when_to_come_back(
    app: App, monkeypatch: pytest.MonkeyPatch, retry_after: float | None, header: str
) -> None:
    """A 429 of the service is the caller's 429, with a Retry-After."""

    def refuse(*_: object) -> None:
        raise ServiceError(
            "Log Analytics", status=429, code="Throttled", message="slow down", request_id="r-1",
            retryable=True, retry_after=retry_after,
        )  # fmt: skip

    monkeypatch.setattr(Query, "ask", refuse)
    response, body = app.call("query", {"query": "Event"})
    assert response.status_code == 429
    assert response.headers["Retry-After"] == header
    assert (body["code"], body["request_id"]) == ("Throttled", "r-1")
