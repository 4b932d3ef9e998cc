"""What callers are told of queries that outlived their request, what they may do, and what time does."""

import gzip
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from shared.callers import Caller
from shared.errors import ConflictError, NotFoundError, RefusedError
from shared.model import Request
from shared.query_jobs import Listed
from shared.query_results import SENT_BYTES
from shared.query_statistics import Statistics
from shared.query_status import status_of
from shared.windows import DAY, MINUTE, format_instant
from tests.parts.fakes import NOW
from tests.parts.query_world import ANN, BOB, KEY, QueryWorld, Script, table
from tests.unit.fakes import service_error

PLAIN = "Event | summarize count() by Computer"
NOBODY = Caller("anonymous")


def said(world: QueryWorld, query_id: str, caller: Caller = ANN) -> dict[str, Any]:
    """Return what a caller is told, as JSON has it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(world.statuses.status(query_id, caller)))
    return found


def test_a_queued_query_tells_little() -> None:
    """It has been asked; nothing has begun, and nothing will expire yet."""
    world = QueryWorld(Script())
    query_id = world.queue(query=PLAIN)
    assert said(world, query_id) == {
        "query_id": query_id, "status": "queued", "asked_at": format_instant(NOW),
        "statistics": msgspec.to_builtins(Statistics()),
    }  # fmt: skip


def test_a_finished_query_tells_all() -> None:
    """Times, cost, and of the result where it is, what it holds, and until when."""
    world = QueryWorld(Script(table(3)), result_days=2)
    query_id = world.queue(query=PLAIN, format="csv")
    world.clock.advance("1m")
    world.runner.run(query_id)
    result = world.job(query_id).result
    assert result is not None
    at = format_instant(NOW + MINUTE)
    assert said(world, query_id) == {
        "query_id": query_id, "status": "succeeded", "asked_at": format_instant(NOW), "started_at": at,
        "finished_at": at, "expires_at": format_instant(NOW + 2 * DAY),
        "statistics": msgspec.to_builtins(world.job(query_id).statistics), "request_id": "r-7",
        "result": {
            "url": f"/api/query/{query_id}/result", "format": "csv", "rows": 3, "bytes": result.bytes,
            "total": 3, "sha256": result.sha256, "columns": [{"name": "n", "type": "long"}],
        },
    }  # fmt: skip


def test_a_failed_query_tells_why() -> None:
    """The problem document is that which a caller who waited would have had."""
    world = QueryWorld(Script(service_error(400)))
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    status = said(world, query_id)
    assert (status["status"], status["error"]["status"], status["error"]["code"]) == ("failed", 400, "Odd")
    with pytest.raises(RefusedError, match="Odd") as caught:
        world.statuses.result(query_id, ANN)
    assert caught.value.status == 410


@pytest.mark.parametrize("act", ["status", "cancel", "result"])
@pytest.mark.parametrize("caller", [BOB, KEY, NOBODY, Caller("key", ANN.id + "x")])
def test_somebody_elses_query_is_not_there(act: str, caller: Caller) -> None:
    """A principal's query is that principal's; others learn no more of it than of one that never was."""
    world = QueryWorld(Script(table(1)))
    query_id = world.queue(ANN, query=PLAIN)
    world.runner.run(query_id)
    with pytest.raises(NotFoundError) as theirs:
        getattr(world.statuses, act)(query_id, caller)
    with pytest.raises(NotFoundError) as missing:
        getattr(world.statuses, act)("0" * 32, caller)
    assert str(theirs.value).replace(query_id, "") == str(missing.value).replace("0" * 32, "")
    getattr(world.statuses, act)(query_id, ANN)


@pytest.mark.parametrize("owner", [KEY, NOBODY])
def test_a_query_asked_with_a_key_belongs_to_who_knows_its_id(owner: Caller) -> None:
    """Keys are shared, so that nobody is told apart by them."""
    world = QueryWorld(Script())
    query_id = world.queue(owner, query=PLAIN)
    for caller in (KEY, NOBODY, ANN, Caller("key", "ba9876543210")):
        assert world.statuses.status(query_id, caller).status == "queued"


@pytest.mark.parametrize("query_id", ["", "x", "0" * 31, "0" * 33, "A" * 32, "../audit/x", "0" * 31 + "\n"])
def test_an_odd_id_is_not_there(query_id: str) -> None:
    """No text that a caller sends as an id becomes another blob's name."""
    world = QueryWorld(Script())
    for act in (world.statuses.status, world.statuses.cancel, world.statuses.result):
        with pytest.raises(NotFoundError):
            act(query_id, ANN)


def test_a_result_is_not_there_before_its_time() -> None:
    """Who comes too early is told when to come again: 409 while it waits, and while it runs."""
    world: QueryWorld
    query_id = ""

    def early(_: Request) -> object:
        with pytest.raises(RefusedError, match="running") as caught:
            world.statuses.result(query_id, ANN)
        assert (caught.value.status, caught.value.retry_after) == (409, 5)
        return table(1)

    world = QueryWorld(Script(early))
    query_id = world.queue(query=PLAIN)
    with pytest.raises(RefusedError, match="queued") as caught:
        world.statuses.result(query_id, ANN)
    assert (caught.value.status, caught.value.retry_after) == (409, 5)
    world.runner.run(query_id)
    assert world.statuses.result(query_id, ANN).rows == 1


def test_a_cancelled_query_has_no_result_ever() -> None:
    """It is told as cancelled until it is forgotten, which a second cancellation does at once."""
    world = QueryWorld(Script())
    query_id = world.queue(query=PLAIN)
    world.statuses.cancel(query_id, ANN)
    status = said(world, query_id)
    assert (status["status"], status["finished_at"]) == ("cancelled", format_instant(NOW))
    with pytest.raises(RefusedError, match="was cancelled") as caught:
        world.statuses.result(query_id, ANN)
    assert caught.value.status == 410
    world.statuses.cancel(query_id, ANN)
    with pytest.raises(NotFoundError):
        world.statuses.status(query_id, ANN)
    assert [record["outcome"] for record in world.records()] == ["cancelled"]


@pytest.mark.parametrize(("name", "packed"), [("json", True), ("csv", True), ("parquet", False)])
def test_a_small_result_is_sent(name: str, packed: bool) -> None:
    """As it is stored, to whoever undoes its coding; else plain."""
    world = QueryWorld(Script(table(3)))
    query_id = world.queue(query=PLAIN, format=name)
    world.runner.run(query_id)
    stored = world.statuses.result(query_id, ANN)
    plain, coded = world.results.fetch(stored, coded=False), world.results.fetch(stored, coded=True)
    assert isinstance(plain, bytes)
    assert isinstance(coded, bytes)
    assert coded == world.data(stored.name)
    assert (gzip.decompress(coded) if packed else coded) == plain
    assert plain[:4] == {"json": b'{"co', "csv": b'"n"\r', "parquet": b"PAR1"}[name]


def test_a_large_result_is_linked_to() -> None:
    """Beyond what a body may hold, packed or not, a link leads to the blob, which says what it is."""
    world = QueryWorld(Script(table(1)))
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    stored = world.statuses.result(query_id, ANN)

    large = msgspec.structs.replace(stored, bytes=SENT_BYTES + 1)
    promised = {"se": ["900"], "rsct": ["application/json"], "rsce": ["gzip"], "rscd": ["result.json"]}
    link = world.results.fetch(large, coded=True)
    assert isinstance(link, str)
    assert (urlsplit(link).path, parse_qs(urlsplit(link).query)) == (f"/{stored.name}", promised)
    link = world.results.fetch(large, coded=False)
    assert isinstance(link, str)
    file = {"se": ["900"], "rsct": ["application/gzip"], "rscd": ["result.json.gz"]}
    assert parse_qs(urlsplit(link).query) == file

    etag = world.container.head(stored.name)
    assert etag is not None
    world.container.write(stored.name, gzip.compress(b" " * (SENT_BYTES + 1)), etag=etag.etag)
    assert isinstance(world.results.fetch(stored, coded=False), str), (
        "it is small only as long as it is packed"
    )
    assert isinstance(world.results.fetch(stored, coded=True), bytes)


def test_a_result_that_is_gone_is_gone() -> None:
    """Whoever deleted it, the caller is told so."""
    world = QueryWorld(Script(table(1)))
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    stored = world.statuses.result(query_id, ANN)
    world.container.delete(stored.name)
    with pytest.raises(NotFoundError, match="expired"):
        world.results.fetch(stored, coded=True)


def test_results_expire() -> None:
    """After their days queries and results are forgotten, and not before; records of who asked stay."""
    world = QueryWorld(Script(table(1), table(20)), result_days=2, inline_rows=5)
    first = world.queue(query=PLAIN)
    world.runner.run(first)
    world.clock.advance("1d")
    world.ask(query=PLAIN)
    waiting = world.queue(query=PLAIN)
    world.statuses.cancel(waiting, ANN)
    assert (world.statuses.tend(), len(world.names("jobs")), len(world.names("results"))) == ([], 3, 2)
    world.clock.advance("1d")
    assert (world.statuses.tend(), len(world.names("jobs"))) == ([], 3), "it is told until when"
    world.clock.advance("1s")
    assert (world.statuses.tend(), len(world.names("jobs")), len(world.names("results"))) == ([], 2, 2)
    with pytest.raises(NotFoundError):
        world.statuses.status(first, ANN)
    world.clock.advance("1h")
    assert (world.statuses.tend(), len(world.names("results"))) == ([], 1)
    world.clock.advance("1d")
    assert (world.statuses.tend(), world.names("jobs"), world.names("results")) == ([], [], [])
    assert len(world.names("audit")) == 3


def test_what_has_expired_is_not_there() -> None:
    """Also as long as no timer has come round to take it away."""
    world = QueryWorld(Script(table(1)), result_days=2)
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    world.clock.advance("47h")
    assert world.statuses.status(query_id, ANN).status == "succeeded"
    world.clock.advance("1h")
    for act in (world.statuses.status, world.statuses.result, world.statuses.cancel):
        with pytest.raises(NotFoundError, match="expired"):
            act(query_id, ANN)


def test_a_document_that_cannot_be_read_keeps_no_other_from_being_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after a step back to an older version of the app: the log names it."""
    world = QueryWorld(Script())
    odd, lost = (world.queue(query=PLAIN) for _ in range(2))
    (blob,) = (each for each in world.container.list("jobs", metadata=True) if odd in each.name)
    written = world.container.head(blob.name)
    assert written is not None
    world.container.write(blob.name, b"{}", etag=written.etag, metadata=blob.metadata)
    world.clock.advance("21m")
    assert world.statuses.tend() == [lost]
    assert f"query_id={odd}" in caplog.text


def test_a_query_whose_message_was_lost_is_found() -> None:
    """Nothing was heard of it for longer than any worker or message keeps silent: it is queued again."""
    world = QueryWorld(Script(service_error(503, retryable=True), table(1), table(1)))
    lost, stuck, done, cancelled = (world.queue(query=PLAIN) for _ in range(4))
    with pytest.raises(Exception, match="Odd"):
        world.runner.run(stuck)
    world.runner.run(done)
    world.statuses.cancel(cancelled, ANN)
    world.clock.advance("20m")
    assert world.statuses.tend() == []
    world.clock.advance("1s")
    assert sorted(world.statuses.tend()) == sorted([lost, stuck])
    assert world.statuses.tend() == [], "once is enough"
    world.runner.run(stuck)
    assert world.job(stuck).status == "succeeded"


def test_a_query_that_waits_its_turn_is_not_queued_again() -> None:
    """As long as others are being carried out its message is somewhere behind theirs."""
    world = QueryWorld(Script(*[table(1)] * 3))
    *others, last = (world.queue(query=PLAIN) for _ in range(4))
    for other in others:
        world.clock.advance("15m")
        world.runner.run(other)
        assert world.statuses.tend() == []
    world.clock.advance("21m")
    assert world.statuses.tend() == [last]


def test_a_lost_message_is_found_although_others_keep_coming() -> None:
    """What was asked later, and what was never in the queue, says nothing of a message's turn."""
    world = QueryWorld(Script(*[table(20)] * 20), inline_rows=5)
    lost = world.queue(query=PLAIN)
    world.clock.advance("1s")
    for _ in range(2):
        world.runner.run(world.queue(query=PLAIN))
        world.ask(query=PLAIN)
        assert world.statuses.tend() == []
        world.clock.advance("10m")
    world.clock.advance("1s")
    assert world.statuses.tend() == [lost]


def test_a_document_that_nobody_wrote_is_taken_away() -> None:
    """A blob among the documents that is none is no reason for the timer to fail."""
    world = QueryWorld(Script())
    world.container.write("jobs/odd.json", b"{}", etag=None)
    world.container.write(
        "jobs/wrong.json", b"{}", etag=None, metadata={"status": "queued", "asked_at": "soon"}
    )
    assert (world.statuses.tend(), world.names("jobs")) == ([], [])


def test_changes_of_two_writers_are_both_made() -> None:
    """A document that somebody else changed in between is read and changed again; but not for ever."""
    world = QueryWorld(Script())
    query_id = world.queue(query=PLAIN)
    left = 3

    def change(job: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            world.jobs.change(
                query_id, lambda each: msgspec.structs.replace(each, total=(each.total or 0) + 1)
            )
        return msgspec.structs.replace(job, request_id="mine")

    changed = world.jobs.change(query_id, change)
    assert (changed.total, changed.request_id, world.job(query_id)) == (3, "mine", changed)
    left = 100
    with pytest.raises(ConflictError, match="kept changing"):
        world.jobs.change(query_id, change)


def test_a_document_written_twice_by_one_call_is_ours() -> None:
    """An answer of storage that was lost on its way, and asked for again, is no conflict with anybody."""
    world = QueryWorld(Script())
    query_id = world.queue(query=PLAIN)
    job = world.job(query_id)
    world.jobs.add(job)
    world.audit.begin(query_id, job.asked_at, job.caller, job.question)
    assert (world.job(query_id), len(world.records())) == (job, 1)


def test_a_damaged_document_is_said_to_be() -> None:
    """It is neither taken for another query nor silently dropped."""
    world = QueryWorld(Script())
    world.container.write(f"jobs/{'0' * 32}.json", b"{}", etag=None)
    with pytest.raises(Exception, match="cannot be read"):
        world.statuses.status("0" * 32, ANN)


def test_what_is_listed_says_enough() -> None:
    """The timer reads one listing and no document."""
    world = QueryWorld(Script())
    query_id = world.queue(query=PLAIN)
    assert world.jobs.all() == [Listed(query_id, "queued", NOW, NOW)]
    assert status_of(world.job(query_id), 7).status == "queued"
