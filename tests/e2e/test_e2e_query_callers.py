"""Who asks, what is recorded of it, and what a deployment may switch off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.azurite import Azurite
from local.compare import ticks
from tests.e2e.asking import (
    AUDIT,
    answer_of,
    audit_of,
    deployed,
    kept,
    problem_of,
    promise_of,
    record_of,
    result_of,
    wait_for,
)
from tests.e2e.harness import HOUR, Running, World

_MARK = "e8f1-mark-of-a-query"
_CELL = "77d2-value-of-a-row"
_KEY = "a-function-key-of-somebody"
_CALLER = {"kind": "key", "id": hashlib.sha256(_KEY.encode()).hexdigest()[:12]}
_RECORDED = {
    *("query_id", "asked_at", "caller", "query_sha256", "outcome", "saved", "workspace", "timespan"),
    *("finished_at", "rows", "bytes", "error"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[World]:
    """A deployment for the hosts of this module, with a row that is known again."""
    with deployed(tmp_path_factory.mktemp("callers"), azurite) as made:
        made.cloud.add_rows("Event", [{"Source": _CELL}])
        yield made


@pytest.fixture(autouse=True)
def _no_faults(world: World) -> Iterator[None]:
    """Leave no fault to the next test."""
    world.cloud.clear_requests()
    yield
    world.cloud.clear_faults()


def test_a_record_says_who_and_what_came_and_holds_neither_query_nor_rows(world: World) -> None:
    """Of what was answered, at once and later, partly answered, refused by the service and refused here."""
    query = f"Event | where Source == v or Source == '{_MARK}' | project Source"
    body = {"query": query, "parameters": {"v": _CELL}, "timespan": "PT1H"}
    told: dict[str, Any] = {}
    with world.running() as host:
        for what, fault, change in (
            ("complete", None, {}),
            ("partial", "partial", {"query": f"{query} | order by Source asc"}),
            ("failed", "403", {}),
            ("refused", None, {"query": f"workspace('{_MARK}').Event | where Source == '{_CELL}'"}),
            ("later", None, {"wait": 0}),
        ):
            before = kept(world, AUDIT)
            if fault:
                world.cloud.fail("log_analytics", fault)
            # Nobody has signed the caller in, so that the principal is made up.
            named = {"x_functions_key": _KEY, "X_MS_CLIENT_PRINCIPAL_ID": "an-impostor"}
            response = host.post("/api/query", {**body, **change}, **named)
            if what == "later":
                location = promise_of(response)
                assert wait_for(host, location)["status"] == "succeeded"
                assert answer_of(host.get(f"{location}/result"))["rows"] == [[_CELL]]
                record_of(world, location.rpartition("/")[2])  # waits until it is complete
            (told[what],) = audit_of(world, before).values()
        unknown = answer_of(host.post("/api/query", {"query": "print 1"}))["query_id"]
        known = answer_of(host.post(f"/api/query?code={_KEY}", {"query": "print 1"}))["query_id"]
    assert record_of(world, unknown)["caller"] == {"kind": "anonymous"}
    assert record_of(world, known)["caller"] == _CALLER
    for what, record in told.items():
        assert record.keys() <= _RECORDED
        assert record["outcome"] == ("complete" if what == "later" else what)
        assert record["caller"] == _CALLER
        assert record["asked_at"] <= record["finished_at"]
    sent = next(seen for seen in world.cloud.requests if seen.api == "log_analytics").body
    for what in ("complete", "later"):
        record = told[what]
        assert record["query_sha256"] == hashlib.sha256(json.loads(sent)["query"].encode()).hexdigest()
        assert record["workspace"] == world.cloud.workspace_id
        start, end = map(ticks, record["timespan"].split("/"))
        assert (end - start, end <= ticks(record["asked_at"])) == (HOUR, True)
        assert record["rows"] == 1
        assert record["bytes"] > 0
    names = kept(world, AUDIT)
    for query_id, record in audit_of(world).items():
        year, month, day = record["asked_at"][:10].split("-")
        assert f"{AUDIT}{year}/{month}/{day}/{query_id}.json" in names
    everything = b"".join(world.queries.download_blob(name).readall() for name in names).decode()
    for secret in (_MARK, _CELL, _KEY, "an-impostor", "project", "workspace('"):
        assert secret not in everything


def test_where_callers_are_signed_in_results_are_their_own(world: World) -> None:
    """Whoever else asks for them, with a key or without, is told that there are none."""
    names = ({"X_MS_CLIENT_PRINCIPAL_ID": each, "X_MS_CLIENT_PRINCIPAL_NAME": f"{each}@x"} for each in "ab")
    one, other = names
    with world.running({"WEBSITE_AUTH_ENABLED": "True", "QUERY_ALLOW": "Workspace, set"}) as host:
        location = promise_of(host.post("/api/query", {"query": "print 1", "wait": 0}, **one))
        kept_ = host.post("/api/query", {"query": "print 2", "destination": "blob"}, **one)
        stored = answer_of(kept_)["result_url"]
        for stranger in (other, {"x_functions_key": _KEY}, {}):
            for path in (location, f"{location}/result", stored, stored.removesuffix("/result")):
                problem_of(host.get(path, **stranger), 404)
            problem_of(host.send("DELETE", location, **stranger), 404)
        host.process.wait_for(r"Executed 'Functions.run_query' \(Succeeded")
        assert answer_of(host.get(location, **one))["status"] == "succeeded"
        assert answer_of(host.get(f"{location}/result", **one))["rows"] == [[1]]
        assert answer_of(host.get(stored, **one))["rows"] == [[2]]
        caller = {"kind": "principal", "id": "a", "name": "a@x"}
        for path in (location, stored.removesuffix("/result")):
            assert record_of(world, path.rpartition("/")[2])["caller"] == caller
        assert host.send("DELETE", location, **one).status_code == 204
        _check_what_is_allowed(host)


def _check_what_is_allowed(host: Running) -> None:
    """QUERY_ALLOW lets two names pass, and no others."""
    cloud = host.world.cloud
    question = {"query": "set truncationmaxrecords = 3;\nEvent", "timespan": "P1D"}
    part = answer_of(host.post("/api/query", question))
    assert (part["status"], part["returned"]) == ("partial", 3)
    cloud.clear_requests()
    host.post("/api/query", {"query": "workspace('x').Event"})
    assert len(cloud.requests) == 1
    for query in ("app('x').requests", "workspace('x').Event | union cluster('c').database('d').T"):
        assert problem_of(host.post("/api/query", {"query": query}), 400)["field"] == "query"
    assert len(cloud.requests) == 1


def test_only_saved_queries_where_free_text_is_off(world: World) -> None:
    """403 and a record for a text of one's own; a saved query is answered, with no other text."""
    with world.running({"QUERY_FREE_TEXT": "false"}) as host:
        before = kept(world, AUDIT)
        for headers in ({}, {"Prefer": "respond-async"}):
            problem_of(host.post("/api/query", {"query": "print 1"}, **headers), 403)
        refused = [(each["outcome"], each["error"][:3]) for each in audit_of(world, before).values()]
        assert refused == [("refused", "403")] * 2
        assert world.cloud.requests == []
        saved = "/api/query/events-by-computer"
        answer_of(host.post(saved, {}))
        later = result_of(host, promise_of(host.post(saved, {"wait": 0})))
        assert later["columns"][0]["name"] == "Computer"
        assert problem_of(host.post(saved, {"query": "print 1"}), 400)["field"] == "query"


def test_where_queries_are_off_nothing_of_them_is_there(world: World) -> None:
    """No endpoint, no listener: a message in their queue stays where it is, while the rest works.

    Only the timer that lets old results expire remains.
    """
    with world.running({"QUERY_ENABLED": "false"}) as host:
        world.query_queue.send_message("left over")
        for method, path in (
            ("POST", "/api/query"), ("POST", "/api/query/events-by-computer"), ("GET", "/api/queries"),
            ("GET", f"/api/query/{'0' * 32}"), ("DELETE", f"/api/query/{'0' * 32}"),
            ("GET", f"/api/query/{'0' * 32}/result"),
        ):  # fmt: skip
            assert host.send(method, path).status_code == 404
        assert host.lines(r"^\t\w*quer\w*: ") == ["\ttend_queries: timerTrigger"]
        assert host.lines(r"^\texport_window: queueTrigger")
        host.run_timer()
        assert host.get("/api/health").status_code == 200
        (message,) = world.query_queue.peek_messages()
        assert (message.content, message.dequeue_count) == ("left over", 0)
        world.query_queue.clear_messages()
