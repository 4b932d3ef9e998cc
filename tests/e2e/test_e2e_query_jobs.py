"""Queries that outlive their request: promised, run from a queue of their own, stored, and fetched."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from local.azurite import Azurite
from local.compare import ticks
from tests.e2e.asking import (
    answer_of,
    deployed,
    kept,
    problem_of,
    promise_of,
    put_off,
    record_of,
    result_of,
    status_of,
    wait_for,
)
from tests.e2e.conftest import SMALL
from tests.e2e.harness import MINUTE, Running, now

_OPTIONS = replace(SMALL, workspaces=2, limits=replace(SMALL.limits, queries=None))
_INLINE_ROWS = 50
_MB = 1 << 20
_CELL = 32_000  # characters, about the most that a column of Log Analytics holds


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host with one export of an hour; an answer holds fifty rows or a megabyte."""
    with deployed(tmp_path_factory.mktemp("jobs"), azurite, _OPTIONS) as world:
        world.write_exports(world.table(start=world.at(-1)))
        world.settings |= {
            "QUERY_WORKSPACES": f"second={world.cloud.workspace_ids[1]}",
            "QUERY_INLINE_ROWS": str(_INLINE_ROWS),
            "QUERY_INLINE_MB": "1",
        }
        random = Random(6)  # noqa: S311 (test data)
        noise = [base64.b64encode(random.randbytes(_CELL * 3 // 4)).decode() for _ in range(400)]
        for source, texts in (("noise", noise), ("zeros", ["0" * _CELL] * len(noise))):
            rows = [{"Source": source, "RenderedDescription": text} for text in texts]
            world.cloud.add_rows("Event", [{"TimeGenerated": world.at(1), **row} for row in rows])
        with world.running() as running:
            yield running


@pytest.fixture(autouse=True)
def _as_before(app: Running) -> Iterator[None]:
    """Leave neither faults nor limits to the next test."""
    limits = app.world.cloud.limits
    yield
    app.world.cloud.clear_faults()
    app.world.cloud.set_limits(rows=limits.rows, too_large=limits.too_large)


@pytest.mark.parametrize("how", ["respond-async", "wait: 0", "wait is over"])
def test_a_promise_is_kept(app: Running, how: str) -> None:
    """However it came to it: 202 says where to ask, the status how far it is, the result is the answer."""
    question = {
        "query": "Event | summarize n = count() by EventLevelName | order by n asc",
        "timespan": "P1D",
    }
    at_once = answer_of(app.post("/api/query", question))
    if how == "respond-async":
        location = promise_of(app.post("/api/query", question, Prefer="respond-async"))
    elif how == "wait: 0":
        location = promise_of(app.post("/api/query", {**question, "wait": 0}))
    else:
        app.world.cloud.fail("log_analytics", "overdue")
        location = promise_of(app.post("/api/query", question, Prefer="wait=1"))
    result = result_of(app, location)
    assert (result["columns"], result["rows"]) == (at_once["columns"], at_once["rows"])
    status = status_of(app, location)
    assert status["query_id"] == _id(location)
    times = [ticks(status[f"{each}_at"]) for each in ("asked", "started", "finished", "expires")]
    assert times == sorted(times)
    assert times[3] - times[0] == 7 * 24 * 60 * MINUTE
    assert status["result"]["rows"] == status["result"]["total"] == status["statistics"]["rows"]
    assert status["result"]["columns"] == result["columns"]
    (stored,) = _results(app, location)
    content = app.world.queries.download_blob(stored).readall()
    assert len(content) == status["result"]["bytes"]
    assert hashlib.sha256(content).hexdigest() == status["result"]["sha256"]
    record = record_of(app.world, _id(location))
    assert (record["outcome"], record["rows"]) == ("complete", len(result["rows"]))
    assert record["bytes"] == status["result"]["bytes"]


def test_a_promised_answer_has_the_rows_that_are_wanted_and_their_total(app: Running) -> None:
    """`top` counts in the queue as it does at once."""
    for top, rows in ((3, 3), (5, 5), (6, 5)):
        location = put_off(app, {"query": "Event | take 5", "timespan": "P1D", "top": top})
        assert len(result_of(app, location)["rows"]) == rows
        assert status_of(app, location)["result"]["total"] == 5


@pytest.mark.parametrize(
    ("form", "media_type"),
    [("json", "application/json"), ("ndjson", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")],
)
def test_a_result_comes_plain_or_packed(app: Running, form: str, media_type: str) -> None:
    """As `Accept-Encoding` says, the same bytes in either case, and the same as at once."""
    question = {**_events(app), "query": "Event | order by _ItemId asc | take 40", "format": form}
    location = put_off(app, question)
    assert wait_for(app, location)["status"] == "succeeded"
    plain = app.get(f"{location}/result", Accept_Encoding="identity")
    packed = app.get(f"{location}/result", Accept_Encoding="gzip")
    assert (plain.headers.get("Content-Encoding"), packed.headers.get("Content-Encoding")) == (None, "gzip")
    assert plain.content == packed.content
    for response in (plain, packed):
        assert (response.status_code, response.headers["Content-Type"]) == (200, media_type)
        assert response.headers["Vary"] == "Accept-Encoding"
    if form != "json":
        assert plain.content == app.post("/api/query", question).content


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_a_file_beyond_an_answer_is_seen_elsewhere(app: Running, form: str) -> None:
    """303 to the whole result; who follows it has the file."""
    response = app.post("/api/query", {**_events(app), "format": form})
    assert response.status_code == 303
    location = response.headers["Location"]
    assert location.endswith("/result")
    status = status_of(app, location.removesuffix("/result"))
    assert (status["status"], status["result"]["rows"]) == ("succeeded", len(_ids_at_source(app)))
    found = app.get(location)
    assert found.status_code == 200
    if form == "ndjson":
        assert Counter(json.loads(line)["_ItemId"] for line in found.text.splitlines()) == _ids_at_source(app)


def test_an_answer_beyond_the_cap_has_the_first_rows_and_the_way_to_all(app: Running) -> None:
    """By rows and by bytes; the result is whole, and so is what the audit record counts."""
    for question, most in (
        (_events(app), _INLINE_ROWS),
        ({"query": "Event | where Source == 'zeros' | take 45", "timespan": "P1D"}, _MB // _CELL),
    ):
        answer = answer_of(app.post("/api/query", question))
        assert (answer["status"], answer["truncated"]) == ("complete", True)
        assert most - 2 <= answer["returned"] == len(answer["rows"]) <= most
        location = answer["result_url"].removesuffix("/result")
        assert location == f"/api/query/{answer['query_id']}"
        result = result_of(app, location)
        assert result["rows"][: answer["returned"]] == answer["rows"]
        assert answer["total"] == len(result["rows"]) > answer["returned"]
        assert record_of(app.world, answer["query_id"])["rows"] == len(result["rows"])


def test_a_blob_can_be_asked_for(app: Running) -> None:
    """`destination: blob` keeps also what is small, and answers where it is."""
    question = {"query": "print x = 1", "destination": "blob"}
    answer = answer_of(app.post("/api/query", question))
    assert (answer["rows"], answer["returned"], answer["total"], answer["truncated"]) == ([], 0, 1, True)
    assert answer_of(app.get(answer["result_url"]))["rows"] == [[1]]
    response = app.post("/api/query", {**question, "format": "csv"})
    assert response.status_code == 303
    assert app.get(response.headers["Location"]).text == '"x"\r\n1\r\n'


def test_a_large_result_is_a_link_that_opens_it_and_nothing_else(app: Running) -> None:
    """Above 8 MB: 302, readable without any header, for a quarter of an hour; not without its signature."""
    question = {"query": "Event | where Source == 'noise' | project RenderedDescription", "timespan": "P1D"}
    location = put_off(app, question)
    assert wait_for(app, location)["result"]["bytes"] > 8 * _MB
    links = {}
    for coding in ("gzip", "identity"):
        response = app.get(f"{location}/result", Accept_Encoding=coding)
        assert (response.status_code, response.content) == (302, b"")
        assert response.headers["Cache-Control"] == "no-store"
        links[coding] = response.headers["Location"]
    unpacked, packed = (requests.get(links[each], timeout=30) for each in ("gzip", "identity"))
    assert (unpacked.status_code, packed.status_code) == (200, 200)
    assert unpacked.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in packed.headers
    assert unpacked.content == gzip.decompress(packed.content)
    assert [unpacked.headers["Content-Type"], packed.headers["Content-Type"]] == [
        "application/json", "application/gzip",
    ]  # fmt: skip
    assert packed.headers["Content-Disposition"] == 'attachment; filename="result.json.gz"'
    rows = unpacked.json()["rows"]
    assert len(rows) == len({row[0] for row in rows}) == 400
    link = links["gzip"]
    words = parse_qs(urlsplit(link).query)
    assert (words["sp"], words["sr"]) == (["r"], ["b"])
    assert 10 * MINUTE < ticks(words["se"][0]) - now() <= 15 * MINUTE
    bare, _, signature = link.partition("?")
    (other,) = (name for name in kept(app.world, "jobs/") if _id(location) in name)
    elsewhere = f"{bare.partition('/results/')[0]}/{other}?{signature}"
    for refused in (bare, link.replace("sig=", "sig=x"), elsewhere):
        assert requests.get(refused, timeout=30).status_code in {401, 403, 404, 409}, refused
    assert (
        requests.put(link, data=b"", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).status_code == 403
    )
    assert requests.delete(link, timeout=30).status_code == 403


def test_a_result_that_is_small_packed_and_large_plain(app: Running) -> None:
    """It is sent to whom accepts gzip; to others it is a link."""
    question = {"query": "Event | where Source == 'zeros' | project RenderedDescription", "timespan": "P1D"}
    location = put_off(app, question)
    assert wait_for(app, location)["result"]["bytes"] < _MB
    assert len(app.get(f"{location}/result", Accept_Encoding="gzip").content) > 8 * _MB
    response = app.get(f"{location}/result", Accept_Encoding="identity")
    assert response.status_code == 302
    assert (
        requests.get(response.headers["Location"], timeout=30).headers["Content-Type"] == "application/gzip"
    )


def test_a_query_can_be_ended_while_it_waits_while_it_runs_and_after(app: Running) -> None:
    """204 each time; then it is cancelled, has no result and leaves none; another DELETE forgets it."""
    app.world.cloud.fail("log_analytics", "slow", seconds=6)
    running, waiting = (put_off(app, {"query": "print 1"}) for _ in range(2))
    assert wait_for(app, running, "running").keys() >= {"started_at"}
    assert status_of(app, waiting)["status"] == "queued"
    for location in (running, waiting):
        assert "Retry-After" in app.get(f"{location}/result").headers
        problem_of(app.get(f"{location}/result"), 409)
        assert app.send("DELETE", location).status_code == 204
        assert status_of(app, location)["status"] == "cancelled"
        assert "cancelled" in problem_of(app.get(f"{location}/result"), 410)["detail"]
        assert record_of(app.world, _id(location))["outcome"] == "cancelled"
    finished = put_off(app, {"query": "print 1"})  # behind the others
    assert wait_for(app, finished)["status"] == "succeeded"
    assert _results(app, finished)
    for location in (running, waiting):
        assert status_of(app, location)["status"] == "cancelled"
        assert _results(app, location) == []
    for location in (running, waiting, finished):
        assert app.send("DELETE", location).status_code == 204
        assert _results(app, location) == []
        for path in (location, f"{location}/result"):
            problem_of(app.get(path), 404)
        problem_of(app.send("DELETE", location), 404)


@pytest.mark.parametrize("too_large", ["partial", "silent", "400", "413", "504"])
def test_rows_beyond_one_answer_arrive_whole(app: Running, too_large: str) -> None:
    """However the service refuses them: row by row they are read in slices, and each is there once."""
    app.world.cloud.set_limits(rows=60, too_large=too_large)
    question = {
        **_events(app),
        "query": "Event | where EventLevel <= most | extend n = 1 + EventLevel | project _ItemId, n",
        "parameters": {"most": 4},
    }
    location = promise_of(app.post("/api/query", question))  # it did not fit into an answer
    result = result_of(app, location)
    assert Counter(row[0] for row in result["rows"]) == _ids_at_source(app)
    assert [column["name"] for column in result["columns"]] == ["_ItemId", "n"]
    assert status_of(app, location)["statistics"]["requests"] > 2


@pytest.mark.parametrize(
    ("too_large", "status"), [("partial", 422), ("silent", 422), ("400", 422), ("413", 422), ("504", 504)]
)
def test_an_aggregate_beyond_one_answer_is_not_taken_for_whole(
    app: Running, too_large: str, status: int
) -> None:
    """At once it is called partial where there is a part; from the queue it fails, and says what helps."""
    app.world.cloud.set_limits(rows=60, too_large=too_large)
    question = {**_events(app), "query": "Event | order by TimeGenerated asc"}
    response = app.post("/api/query", question)
    if too_large in {"partial", "silent"}:
        answer = answer_of(response)
        assert (answer["status"], answer["truncated"], answer["total"]) == ("partial", True, None)
        assert answer["returned"] == _INLINE_ROWS
        assert answer["error"]["message"]
    elif too_large == "504":  # perhaps it only takes longer
        promise_of(response)
    else:
        problem_of(response, 422)
    location = put_off(app, question)
    ended = wait_for(app, location)
    assert (ended["status"], ended["error"]["status"]) == ("failed", status)
    assert "ask for less" in ended["error"]["detail"]
    assert "failed" in problem_of(app.get(f"{location}/result"), 410)["detail"]
    assert _results(app, location) == []
    assert record_of(app.world, _id(location))["outcome"] == "failed"


def test_exports_go_on_while_queries_wait(app: Running) -> None:
    """They have a queue of their own: an hour is exported while one query runs and another waits."""
    slow = app.world.cloud.workspace_ids[1]
    app.world.cloud.fail("log_analytics", "slow", path=slow, seconds=10, count=None)
    first, second = (put_off(app, {"query": "print 1", "workspace": "second"}) for _ in range(2))
    wait_for(app, first, "running")
    app.export()
    assert app.world.hours() == [(-1, 0)]
    assert app.world.ids() == app.world.events_at_source(-1)
    assert [status_of(app, each)["status"] for each in (first, second)] == ["running", "queued"]
    app.world.cloud.clear_faults()
    for location in (second, first):
        assert app.send("DELETE", location).status_code == 204


def test_a_service_that_keeps_a_query_waiting_is_waited_for_in_the_queue(app: Running) -> None:
    """Its own queue may take longer than the caller waits, and does not count as the query's time: 202."""
    cloud = app.world.cloud
    running = cloud.limits.running
    cloud.set_limits(running=1)
    cloud.fail("log_analytics", "slow", path=cloud.workspace_ids[1], seconds=7)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(app.post, "/api/query", {"query": "print 1", "workspace": "second"})
        second = app.post("/api/query", {"query": "print 2", "wait": 1})
        while second.status_code == 200 and not first.done():  # the first one is not there yet
            second = app.post("/api/query", {"query": "print 2", "wait": 1})
        location = promise_of(second)
        assert answer_of(first.result())["rows"] == [[1]]
    assert result_of(app, location)["rows"] == [[2]]
    cloud.set_limits(running=running)


def _events(app: Running) -> dict[str, str]:
    """A question for rows that are more than an answer holds."""
    return {"query": "Event", "start": app.world.at(-3), "end": app.world.at(0)}


def _ids_at_source(app: Running) -> Counter[str]:
    """The rows that `_events` asks for."""
    start, end = (ticks(app.world.at(hours)) for hours in (-3, 0))
    rows = app.world.cloud.rows("Event")
    return Counter(str(row["_ItemId"]) for row in rows if start <= ticks(str(row["TimeGenerated"])) < end)


def _id(location: str) -> str:
    return location.rpartition("/")[2]


def _results(app: Running, location: str) -> list[str]:
    """The names of the stored results of a query."""
    return [name for name in kept(app.world, "results/") if _id(location) in name]
