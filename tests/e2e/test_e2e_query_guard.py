"""What a caller may not ask, tried from outside, and how it is refused and recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.azurite import Azurite
from tests.e2e.asking import AUDIT, answer_of, audit_of, deployed, kept, problem_of, put_off
from tests.e2e.harness import Running


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host with low caps, which does not work on what it puts into the queue."""
    with deployed(tmp_path_factory.mktemp("guard"), azurite) as world:
        world.settings |= {
            "QUERY_MAX_CONCURRENT": "1",
            "QUERY_MAX_PENDING": "2",
            "QUERY_MAX_DAYS": "2",
            "QUERY_MAX_ROWS": "100",
        }
        with world.running({"AzureWebJobs.run_query.Disabled": "true"}) as running:
            yield running


@pytest.fixture(autouse=True)
def _no_faults(app: Running) -> Iterator[None]:
    """Leave no fault to the next test."""
    app.world.cloud.clear_requests()
    yield
    app.world.cloud.clear_faults()


@pytest.mark.parametrize(
    "query",
    [
        "workspace('other').Event",
        "Event | union WorkSpace ( 'other' ).Event",
        "union Event, (workspace // ('here')\n ('other').Event)",
        "['workspace']('other').Event",
        "let f = () { app('a').requests }; f()",
        "let f = (x: string) { cluster(x).database('d').T }; f('c')",
        "Event | join kind=inner (resource(@'/subscriptions/x').Event) on Computer",
        "adx('c/d').T",
        'arg("").Resources',
        "database('d').T",
        "external_table('t')",
        "stored_query_result('r')",
        "externaldata (x: string) [h@'https://example.org/a.csv']",
        "Event | where Source in ((externaldata(x:string)['https://example.org']))",
        "Event | evaluate http_request('https://example.org')",
        "Event | evaluate hint.distribution = single sql_request('Server=x', 'select 1')",
        "Event | evaluate\n// bag_unpack(x)\npython(typeof(*), 'import os')",
        "set notruncation; Event",
        "print 1;\nSET query_take_max_records=1000000; Event",
        "declare query_parameters(x: long = 1); print x",
        "alias database d = cluster('c').database('e'); database('d').T",
        ".show tables",
        " // a comment\n.drop table Event",
        "Event | take 1; Event",
        "workspace\u00a0('other').Event",
        "work\u200bspace('other').Event",
        "Event // \u2028| union workspace('other').Event\n| take 1",
        "print x = 'a\\\\' | union workspace('other').Event //'",
        "print x = @'a\\' | union workspace('other').Event //'",
        "print x = ```'``` | union workspace('other').Event //'",
        "print datetime(2026-01-01) | union (workspace\t\r\n('other').Event)",
    ],
)
def test_a_query_may_not_look_beyond_its_workspace(app: Running, query: str) -> None:
    """400 names the field `query`; the service is not asked; the record has an outcome and no text."""
    before = kept(app.world, AUDIT)
    problem = problem_of(app.post("/api/query", {"query": query}), 400)
    assert [each["field"] for each in problem["errors"]] == ["query"]
    assert app.world.cloud.requests == []
    (record,) = audit_of(app.world, before).values()
    assert record["outcome"] == "refused"
    assert record["error"].startswith("400 ")


@pytest.mark.parametrize(
    "query",
    [
        "print x = \"workspace('other')\", y = @'cluster(''c'')' // database('d')",
        "// workspace('other').Event\nEvent | extend app = 1, ['workspace'] = 2 | summarize count() by app",
        "Event | extend d = bag_pack('a', 1) | evaluate bag_unpack(d) | take 1",
        "let set_ = 1; let f = (x: long) { x + set_ }; print f(1);",
    ],
)
def test_names_alone_are_no_reason_to_refuse(app: Running, query: str) -> None:
    """Strings, comments, columns and harmless plugins pass to the service."""
    app.post("/api/query", {"query": query})
    assert [seen.path for seen in app.world.cloud.requests if seen.api == "log_analytics"] != []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"workspaces": ["other"]}, "workspaces"),
        ({"parameters": {"x = 1; set notruncation; let y": 1}}, "parameters.x = 1; set notruncation; let y"),
        ({"parameters": {"x": {"type": "long", "value": "1); set notruncation; print (1"}}}, "parameters.x"),
        ({"parameters": {"x": {"type": "dynamic", "value": 1, "more": 2}}}, "parameters.x"),
        ({"timespan": "P3D"}, "timespan"),
        ({"start": "2026-01-01", "end": "2026-01-03T00:00:00.0000001Z"}, "start"),
        ({"top": 101}, "top"),
        ({"wait": 201}, "wait"),
        ({"wait": -1}, "wait"),
        ({"destination": "https://example.org"}, "destination"),
    ],
)
def test_what_is_beyond_the_caps_is_refused_by_its_field(
    app: Running, fields: dict[str, Any], field: str
) -> None:
    """Also what tries to slip KQL or workspaces in beside the query."""
    problem = problem_of(app.post("/api/query", {"query": "Event", **fields}), 400)
    assert [each["field"] for each in problem["errors"]] == [field]
    assert app.world.cloud.requests == []


def test_every_wrong_field_is_named_at_once(app: Running) -> None:
    """With what is wrong with each."""
    body = {"query": ".drop x", "timespan": "P9D", "top": 0, "wait": 999, "workspace": "w", "format": "xml"}
    problem = problem_of(app.post("/api/query", body), 400)
    assert {each["field"] for each in problem["errors"]} == body.keys()
    assert all(each["message"] for each in problem["errors"])


def test_a_result_has_no_more_rows_than_one_may_have(app: Running) -> None:
    """422 names the setting, and nothing is left of it."""
    question = {"query": "Event", "timespan": "P1D", "destination": "blob"}
    assert "QUERY_MAX_ROWS" in problem_of(app.post("/api/query", question), 422)["detail"]
    assert kept(app.world, "results/") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/api/query", 405, "POST"),
        ("HEAD", "/api/query", 405, "POST"),
        ("PUT", "/api/query", 405, "POST"),
        ("POST", "/api/queries", 405, "GET"),
        ("PATCH", f"/api/query/{'0' * 32}", 405, "DELETE, GET, POST"),
        ("DELETE", f"/api/query/{'0' * 32}/result", 405, "GET"),
        ("POST", f"/api/query/{'0' * 32}/result", 405, "GET"),
        ("GET", f"/api/query/{'0' * 32}/results", 404, None),
        ("GET", "/api/queries/events-by-computer", 404, None),
    ],
)
def test_other_methods_and_paths_are_not_served(
    app: Running, method: str, path: str, status: int, allowed: str | None
) -> None:
    """405 says which methods are; the host says 404 without a word."""
    response = app.send(method, path)
    assert (response.status_code, response.headers.get("Allow")) == (status, allowed)


@pytest.mark.parametrize(
    "query_id", ["0" * 32, "F" * 32, "events-by-computer", "..%2F..%2Faudit", "%00", "x" * 999]
)
def test_what_is_not_there_is_not_found(app: Running, query_id: str) -> None:
    """404 as a problem, whatever stands for the id; no name of a blob can be made of it."""
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result")):
        problem_of(app.send(method, f"/api/query/{query_id}{path}"), 404)


def test_a_saved_query_that_is_not_there_is_recorded(app: Running) -> None:
    """404, and who asked for it."""
    before = kept(app.world, AUDIT)
    for name in ("no-such-query", "Events-By-Computer", "..%2Fqueries%2Fevents-by-computer"):
        problem_of(app.post(f"/api/query/{name}", {}), 404)
    errors = [record["error"][:3] for record in audit_of(app.world, before).values()]
    assert errors == ["404"] * 3


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"query": "print 1"}', {"Content_Type": "text/plain"}, 415),
        (b'{"query": "print 1"}', {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"query": "print 1"}', {"Content_Type": ""}, 415),
        (b'{"query": "print 1"}', {"Content_Type": "Application/JSON; charset=utf-8"}, 200),
        (b'{"query": "print 1"}', {"Accept": "image/png"}, 406),
        (b'{"query": "print 1"}' + b" " * (1 << 20), {}, 413),
        (b"", {}, 400),
        (b"{", {}, 400),
        (b'{"query": "print 1", "query": 2}', {}, 400),
        (b'{"query": "\\ud800"}', {}, 400),
        (b"[" * 100_000, {}, 400),
    ],
)
def test_what_http_has_a_status_for_is_answered_with_it(
    app: Running, body: bytes, headers: dict[str, str], status: int
) -> None:
    """And recorded, with the hash of what came."""
    before = kept(app.world, AUDIT)
    response = app.post("/api/query", body, **headers)
    if status == 200:
        answer_of(response)
        return
    problem_of(response, status)
    (record,) = audit_of(app.world, before).values()
    assert record["outcome"] == "refused"
    assert record["error"].startswith(f"{status} ")
    assert record["query_sha256"] == hashlib.sha256(body).hexdigest()


def test_an_instance_answers_so_many_at_a_time(app: Running) -> None:
    """Of two questions one is answered, the other refused with 429 and when to come again."""
    before = kept(app.world, AUDIT)
    app.world.cloud.fail("log_analytics", "slow", seconds=1.5, count=None)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: app.post("/api/query", {"query": "print 1"}), range(2)))
    answered, refused = sorted(both, key=lambda response: response.status_code)
    assert answer_of(answered)["rows"] == [[1]]
    problem = problem_of(refused, 429)
    assert "QUERY_MAX_CONCURRENT" in problem["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    app.world.cloud.clear_faults()
    assert answer_of(app.post("/api/query", {"query": "print 2"}))["rows"] == [[2]]
    records = audit_of(app.world, before).values()
    assert sorted(record["outcome"] for record in records) == ["complete", "complete", "failed"]


def test_so_many_queries_wait(app: Running) -> None:
    """One more is 429 with Retry-After, however it came to the queue, until one is ended."""
    first, second = (put_off(app, {"query": f"print {number}"}) for number in range(2))
    for fields in ({"wait": 0}, {"query": "Event", "wait": 1}):
        app.world.cloud.fail("log_analytics", "504")
        refused = app.post("/api/query", {"query": "print 3", **fields})
        assert "QUERY_MAX_PENDING" in problem_of(refused, 429)["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        app.world.cloud.clear_faults()
    assert app.send("DELETE", first).status_code == 204
    third = put_off(app, {"query": "print 3"})
    for location in (second, third):
        assert app.send("DELETE", location).status_code == 204
