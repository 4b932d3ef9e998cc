"""Calls and replies: who asks, what is refused and recorded, and how an answer goes out."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.errors import BadRequestError, ExportError, NotFoundError, RefusedError
from shared.query_desk import Call, Desk
from shared.replies import Reply, packed
from tests.parts.query_world import QueryWorld, Script, table
from tests.unit.fakes import service_error

JSON = {"content-type": "application/json"}
ANN, BOB = ({"x-ms-client-principal-id": f"oid-{name}", **JSON} for name in ("ann", "bob"))


def desk(*answers: Any, **settings: Any) -> tuple[Desk, QueryWorld]:
    """Return a desk over a service that gives these answers."""
    world = QueryWorld(Script(*answers), **settings)
    return Desk(world.settings, world.query, world.statuses, world.results, world.clock), world


def call(headers: Mapping[str, str] = JSON, **fields: Any) -> Call:
    """Return a call with a body."""
    return Call(json.dumps({"query": "Event | count", **fields}).encode(), headers, {})


def test_an_answer_is_packed_for_those_who_take_it() -> None:
    """Gzip where it is accepted and worth it; the reply says on what it depends."""
    for accepts, size in [("gzip", 400), ("", 400), ("gzip", 2)]:
        reply, queued = desk(table(size))[0].ask(call({**JSON, "accept-encoding": accepts}))
        assert (reply.status, reply.media_type, queued) == (200, "application/json", None)
        coded = reply.headers.get("Content-Encoding") == "gzip"
        assert coded is (accepts == "gzip" and size > 2)
        assert (reply.headers.get("Vary") == "Accept, Accept-Encoding") is (size > 2)
        body = gzip.decompress(reply.body) if coded else reply.body
        assert len(json.loads(body)["rows"]) == size


def test_a_compact_file_is_not_packed_again() -> None:
    """Parquet compresses its own columns."""
    headers = {**JSON, "accept-encoding": "gzip", "accept": "application/vnd.apache.parquet"}
    reply, _ = desk(table(400))[0].ask(call(headers))
    assert (reply.media_type, reply.body[:4]) == ("application/vnd.apache.parquet", b"PAR1")
    assert "Content-Encoding" not in reply.headers
    assert reply.headers["Content-Disposition"].endswith('.parquet"')
    assert reply.headers["X-Query-Id"] in reply.headers["Content-Disposition"]


def test_a_promise_names_its_place() -> None:
    """Its id goes into the queue, and the reply says where and when to ask after it."""
    desk_, world = desk()
    reply, queued = desk_.ask(call(wait=0))
    assert queued is not None
    assert (reply.status, reply.headers) == (202, {"Location": f"/api/query/{queued}", "Retry-After": "5"})
    assert world.job(queued).status == "queued"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (call(top=0), BadRequestError),
        (call(query="set a = 1; Event"), BadRequestError),
        (call({**JSON, "accept": "image/png"}), RefusedError),
        (Call(b"x" * 9, {}, {}), RefusedError),
        (Call(b"{", JSON, {}), BadRequestError),
    ],
)
def test_what_is_refused_is_recorded(request_: Call, kind: type[ExportError]) -> None:
    """Whoever tries to get around a guard rail leaves a record."""
    desk_, world = desk()
    with pytest.raises(kind):
        desk_.ask(request_)
    assert [record["outcome"] for record in world.records()] == ["refused"]


def test_a_saved_query_that_is_not_there(tmp_path: Path) -> None:
    """It is a 404 that says where they are listed."""
    with pytest.raises(NotFoundError, match="GET /api/queries"):
        desk(folder=tmp_path)[0].ask(call(), "other")


def test_without_free_text_only_saved_queries_are_asked(tmp_path: Path) -> None:
    """A mistake in one file disables that one, and is listed and logged."""
    (tmp_path / "all.kql").write_text("Event")
    (tmp_path / "Wrong.kql").write_text("Event")
    desk_, world = desk(table(1), free_text=False, folder=tmp_path)
    with pytest.raises(RefusedError) as caught:
        desk_.ask(call())
    assert caught.value.status == 403
    reply, _ = desk_.ask(Call(b"", {}, {}), "all")
    assert reply.status == 200
    listed = json.loads(desk_.saved().body)
    assert [each["name"] for each in listed["queries"]] == ["all"]
    assert "Wrong.kql" in listed["problems"][0]
    assert sorted(record["outcome"] for record in world.records()) == ["complete", "refused"]
    assert [record.get("saved") for record in world.records() if record["outcome"] == "complete"] == ["all"]


def test_a_principals_queries_are_their_own() -> None:
    """Signed in, nobody else sees a status, a result or a way to end it; unsigned, nobody is told apart."""
    for signed_in in (True, False):
        desk_, world = desk(table(1), signed_in=signed_in)
        _, query_id = desk_.ask(call(ANN, wait=0))
        assert query_id is not None
        world.runner.run(query_id)
        acts = (desk_.status, desk_.result, desk_.cancel)
        for act in acts:
            if signed_in:
                with pytest.raises(NotFoundError):
                    act(query_id, Call(b"", BOB, {}))
        assert [act(query_id, Call(b"", ANN, {})).status for act in acts] == [200, 200, 204]


def test_a_stored_result_is_sent_as_it_is_accepted() -> None:
    """The stored file with its coding, or plain; each says which."""
    desk_, world = desk(table(3))
    _, query_id = desk_.ask(call(wait=0))
    assert query_id is not None
    world.runner.run(query_id)
    plain = desk_.result(query_id, Call(b"", {}, {}))
    coded = desk_.result(query_id, Call(b"", {"accept-encoding": "gzip"}, {}))
    assert gzip.decompress(coded.body) == plain.body
    assert (coded.headers, plain.headers) == (
        {"Vary": "Accept-Encoding", "Content-Encoding": "gzip"}, {"Vary": "Accept-Encoding"},
    )  # fmt: skip
    assert packed(coded, {"accept-encoding": "gzip"}) is coded


def test_a_large_result_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect leads to the blob."""
    monkeypatch.setattr("shared.query_results.SENT_BYTES", 10)
    desk_, world = desk(table(3))
    _, query_id = desk_.ask(call(wait=0))
    assert query_id is not None
    world.runner.run(query_id)
    reply = desk_.result(query_id, Call(b"", {}, {}))
    assert (reply.status, reply.body) == (302, b"")
    assert reply.headers["Location"].startswith("https://memory.example/results/")


def test_half_a_character_goes_through() -> None:
    r"""A row, and a column's name, may hold what JSON allows and UTF-8 not: ``\ud83d`` leaves as it came."""
    body = b'{"tables":[{"columns":[{"name":"a\\ud83d","type":"string"}],"rows":[["x\\ud83dy"]]}]}'
    reply, _ = desk(body)[0].ask(call())
    assert b'"columns":[{"name":"a\\ud83d","type":"string"}],"rows":[["x\\ud83dy"]]' in reply.body


def test_a_failure_is_not_answered() -> None:
    """The service's error leaves the desk as it came, to become a problem document."""
    with pytest.raises(ExportError, match="Odd"):
        desk(service_error(400))[0].ask(call())
    assert packed(Reply(303), {}) == Reply(303)
