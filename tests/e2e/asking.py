"""What the tests of on-demand queries have in common: a host, its answers, and what it keeps of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from azure.core.exceptions import ResourceNotFoundError

from local.azurite import Azurite
from local.cloud import Cloud, Options
from tests.e2e.conftest import SMALL
from tests.e2e.harness import Running, World

LATER = {"Prefer": "respond-async"}
"""The header that asks for a promise instead of an answer."""

AUDIT = "audit/"
"""What the names of audit records begin with."""

_ENDS = {"succeeded", "failed", "cancelled"}


@contextlib.contextmanager
def deployed(folder: Path, azurite: Azurite, options: Options = SMALL) -> Iterator[World]:
    """A world without exports that is checked for secrets in the end; its hosts are yet to be started."""
    with Cloud(options, folder=folder / "cloud") as cloud:
        world = World(folder, azurite, cloud)
        world.write_exports()
        yield world
        world.close()


def answer_of(response: requests.Response, status: int = 200) -> dict[str, Any]:
    """The JSON of an answer that has this status."""
    assert response.status_code == status, f"{response.status_code} {response.text[:2000]}"
    assert response.headers["Content-Type"] == "application/json"
    answer: dict[str, Any] = response.json()
    return answer


def problem_of(response: requests.Response, status: int) -> dict[str, Any]:
    """The problem document of a refusal that has this status."""
    assert response.status_code == status, f"{response.status_code} {response.text[:2000]}"
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    return problem


def promise_of(response: requests.Response) -> str:
    """Where a promised answer can be asked after, as 202 says: a path of the app."""
    promise = answer_of(response, 202)
    assert promise["status"] == "queued"
    assert int(response.headers["Retry-After"]) > 0
    location = response.headers["Location"]
    assert location == f"/api/query/{promise['query_id']}"
    return location


def put_off(app: Running, body: Mapping[str, object], **headers: str) -> str:
    """Ask for a promise; return where it can be asked after."""
    return promise_of(app.post("/api/query", body, **{**LATER, **headers}))


def status_of(app: Running, location: str) -> dict[str, Any]:
    """How far a query is."""
    response = app.get(location)
    status = answer_of(response)
    assert ("Retry-After" in response.headers) == (status["status"] not in _ENDS)
    return status


def wait_for(app: Running, location: str, *states: str, seconds: float = 30) -> dict[str, Any]:
    """Ask how far a query is until it has one of these states; without any, until it has ended."""
    deadline = time.monotonic() + seconds
    while (status := status_of(app, location))["status"] not in (states or _ENDS):
        assert status["status"] not in _ENDS, f"the query ended otherwise: {status}"
        assert time.monotonic() < deadline, f"{status} after {seconds} s:\n{app.console}"
        time.sleep(0.05)
    return status


def result_of(app: Running, location: str) -> dict[str, Any]:
    """The result, in JSON, of a query that is to succeed; it is small enough to be sent."""
    status = wait_for(app, location)
    assert status["status"] == "succeeded", status
    assert status["result"]["url"] == f"{location}/result"
    result = answer_of(app.get(f"{location}/result"))
    assert len(result["rows"]) == status["result"]["rows"]
    return result


def kept(world: World, prefix: str) -> list[str]:
    """The names of the blobs in the queries' container that begin so."""
    with contextlib.suppress(ResourceNotFoundError):
        return sorted(world.queries.list_blob_names(name_starts_with=prefix))
    return []


def audit_of(world: World, but: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """The audit records, except those in blobs of these names: a query's id -> its record."""
    names = [name for name in kept(world, AUDIT) if name not in but]
    records = [json.loads(world.queries.download_blob(name).readall()) for name in names]
    return {record["query_id"]: record for record in records}


def record_of(world: World, query_id: str, *, seconds: float = 15) -> dict[str, Any]:
    """The audit record of one query that has ended; what came of it is added after its status."""
    (name,) = (name for name in kept(world, AUDIT) if query_id in name)
    deadline = time.monotonic() + seconds
    while True:
        record: dict[str, Any] = json.loads(world.queries.download_blob(name).readall())
        if record["outcome"] != "asked" or time.monotonic() >= deadline:
            return record
        time.sleep(0.05)
