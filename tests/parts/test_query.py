"""An on-demand question is answered, or promised, or refused; and whatever comes of it is recorded."""

import gzip
import hashlib
import itertools
import json
import threading
from http import HTTPStatus
from typing import Any

import msgspec
import pytest

from shared.errors import (
    AnswerTooLargeError,
    BadRequestError,
    DeadlineError,
    ExportError,
    RefusedError,
    ServiceError,
    StorageError,
)
from shared.model import Request, Response
from shared.query import Answered, Elsewhere, File, Later, Result
from tests.parts.fakes import NOW
from tests.parts.faulty import FailsAt, Steps
from tests.parts.memory_container import MemoryContainer
from tests.parts.query_world import ANN, BROKEN, KEY, TOO_LARGE, WORKSPACE, QueryWorld, Script, table
from tests.unit.fakes import service_error

LATE = service_error(504)
HOUR_BEFORE = "2026-11-21T11:20:00.0000000Z/2026-11-21T12:20:00.0000000Z"
SECRET = "Event | where Secret == 'hunter2'"


def result(outcome: Answered | Later) -> Result:
    """Return an answer that is JSON."""
    assert isinstance(outcome, Answered)
    assert isinstance(outcome.answer, Result)
    return outcome.answer


def rows(outcome: Answered | Later) -> list[Any]:
    """Return the rows of an answer that is JSON."""
    return [json.loads(bytes(row)) for row in result(outcome).rows]


def test_what_is_asked_of_the_service() -> None:
    """The query and its time go to the workspace, named for both sides; with ``top`` for one row more."""
    send = Script(table(1))
    outcome = QueryWorld(send).ask(query="Event // all", timespan="PT1H", top=5, wait=20)
    (request,) = send.requests
    assert request.target == f"/v1/workspaces/{WORKSPACE}/query"
    assert json.loads(request.body or b"") == {"query": "Event\n| take 6", "timespan": HOUR_BEFORE}
    assert "wait=20" in request.headers["Prefer"]
    assert request.deadline == 25.0
    assert request.headers["x-ms-client-request-id"] == result(outcome).query_id


@pytest.mark.parametrize(("top", "found", "returned"), [(None, 3, 3), (5, 3, 3), (3, 3, 3), (None, 0, 0)])
def test_an_answer_that_is_all(top: int | None, found: int, returned: int) -> None:
    """What fits is answered whole, with its total, and is stored nowhere."""
    world = QueryWorld(Script(table(found)))
    answer = result(world.ask(top=top))
    assert (answer.status, answer.returned, answer.total, answer.truncated) == (
        "complete",
        returned,
        found,
        False,
    )
    assert (answer.result_url, answer.error, answer.request_id) == (None, None, "r-7")
    assert (world.names("results"), world.names("jobs")) == ([], [])


@pytest.mark.parametrize(("top", "found"), [(3, 4), (1, 2)])
def test_top_rows_of_more_come_with_their_total(top: int, found: int) -> None:
    """Only when there are more rows they are counted, by a question of their own."""
    send = Script(table(found), table_of_count(90))
    world = QueryWorld(send)
    answer = result(world.ask(top=top))
    assert (answer.returned, answer.total, answer.truncated) == (top, 90, True)
    assert send.queries == [f"Event\n| take {top + 1}", "Event\n| count"]


def table_of_count(count: object) -> dict[str, Any]:
    """Build the answer of a count."""
    return {"tables": [{"columns": [{"name": "Count", "type": "long"}], "rows": [[count]]}]}


@pytest.mark.parametrize(
    "counted", [LATE, DeadlineError("late"), service_error(400), table_of_count("many"),
                {**table_of_count(1), "error": BROKEN}],
    ids=["504", "deadline", "400", "no number", "partial"],
)  # fmt: skip
def test_a_total_that_cannot_be_had_is_null(counted: object) -> None:
    """The rows are there; that nobody knows how many there would be is no reason to keep them back."""
    answer = result(QueryWorld(Script(table(4), counted)).ask(top=3))
    assert (answer.returned, answer.total, answer.truncated) == (3, None, True)


def test_no_query_computes_longer_than_the_setting_allows() -> None:
    """A caller may wait for longer; the service is not asked to."""
    send = Script(table(1))
    result(QueryWorld(send, seconds=8).ask(wait=100))
    assert "wait=8," in send.requests[0].headers["Prefer"]


def test_nobody_counts_when_the_wait_is_over() -> None:
    """A count that could not be there in time is not asked for."""
    world: QueryWorld

    def slow(_: Request) -> object:
        world.clock.sleep(34.5)
        return table(4)

    world = QueryWorld(Script(slow))
    assert result(world.ask(top=3)).total is None


def test_the_answer_is_the_documented_json() -> None:
    """Cells go through as the service sent them; what it said of the work is told; nothing else is."""
    told = b'{"query":{"executionTime":0.5,"datasetStatistics":[{"tableRowCount":2}]}}'
    columns = json.dumps(table(0)["tables"][0]["columns"]).encode()
    body = (
        b'{"tables":[{"columns":'
        + columns
        + b',"rows":[[9007199254740993],[1.10]]}],"statistics":'
        + told
        + b"}"
    )
    text = msgspec.json.encode(result(QueryWorld(Script(body)).ask()))
    assert b'"rows":[[9007199254740993],[1.10]]' in text
    document = json.loads(text)
    assert list(document) == [
        "query_id", "status", "returned", "total", "truncated", "columns", "rows", "statistics", "request_id",
    ]  # fmt: skip
    assert document["columns"] == [{"name": "n", "type": "long"}]
    assert document["statistics"] == {
        "requests": 1, "rows": 2, "answer_bytes": len(body), "execution_seconds": 0.5, "cpu_seconds": 0.0,
        "scanned_rows": 0, "input_rows": 0,
    }  # fmt: skip


def test_a_workspace_without_data_has_no_rows() -> None:
    """204 is how the service answers for it."""
    assert result(QueryWorld(Script(Response(204, {}, b""))).ask()).rows == []


@pytest.mark.parametrize(("cap", "shown"), [({"inline_rows": 7}, 7), ({"inline_bytes": 30}, 7)])
def test_a_large_answer_is_stored_whole(cap: dict[str, Any], shown: int) -> None:
    """Beyond the cap of rows or bytes all of it is a blob; the answer has the first rows and the place."""
    world = QueryWorld(Script(table(9)), **cap)
    outcome = world.ask()
    answer = result(outcome)
    assert rows(outcome) == [[n] for n in range(shown)]
    assert (answer.returned, answer.total, answer.truncated, answer.status) == (shown, 9, True, "complete")
    assert answer.result_url == f"/api/query/{answer.query_id}/result"
    assert world.rows(answer.query_id) == [[n] for n in range(9)]
    job = world.job(answer.query_id)
    assert (job.status, job.total, job.request_id, job.statistics.rows) == ("succeeded", 9, "r-7", 9)
    assert job.result is not None
    assert hashlib.sha256(world.data(job.result.name)).hexdigest() == job.result.sha256
    assert (outcome.rows, outcome.bytes) == (9, job.result.bytes)  # type: ignore[union-attr]  # Answered


@pytest.mark.parametrize("cap", [{"inline_rows": 9}, {"inline_bytes": 36}])
def test_an_answer_at_the_cap_is_inline(cap: dict[str, Any]) -> None:
    """As many rows, or bytes with what parts them, as the setting says still fit."""
    world = QueryWorld(Script(table(9)), **cap)
    assert (result(world.ask()).returned, world.names("results")) == (9, [])


def test_what_is_to_be_stored_is_stored() -> None:
    """With the destination blob even a small answer is; it shows no row, and keeps ``top`` rows."""
    world = QueryWorld(Script(table(4), table_of_count(8)))
    answer = result(world.ask(destination="blob", top=3))
    assert (answer.returned, answer.total, answer.truncated) == (0, 8, True)
    assert answer.result_url is not None
    assert world.rows(answer.query_id) == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("name", "body"),
    [("csv", b'"n"\r\n0\r\n1\r\n'), ("ndjson", b'{"n":0}\n{"n":1}\n'), ("csv-guarded", b'"n"\r\n0\r\n1\r\n')],
)
def test_a_file_is_answered_plain(name: str, body: bytes) -> None:
    """A form that is a file is answered as the file, which is compressed on the way if at all."""
    outcome = QueryWorld(Script(table(2))).ask(format=name)
    assert isinstance(outcome, Answered)
    assert isinstance(outcome.answer, File)
    assert outcome.answer.body == body
    assert (outcome.status, outcome.rows, outcome.bytes) == ("complete", 2, len(body))


@pytest.mark.parametrize("cap", [{"inline_rows": 8}, {"inline_bytes": 35}, {"inline_bytes": 50}])
def test_a_large_file_is_elsewhere(cap: dict[str, Any]) -> None:
    """A file is whole or it is not sent; the names in its every line count as well."""
    world = QueryWorld(Script(table(9)), **cap)
    outcome = world.ask(format="ndjson")
    assert isinstance(outcome, Answered)
    assert isinstance(outcome.answer, Elsewhere)
    stored = world.job(outcome.answer.query_id).result
    assert stored is not None
    assert gzip.decompress(world.data(stored.name)).splitlines()[-1] == b'{"n":8}'
    assert (outcome.rows, outcome.bytes) == (9, stored.bytes)


@pytest.mark.parametrize("cap", [{"rows": 8}, {"rows": 8, "inline_rows": 100}, {"bytes": 20}])
def test_more_than_a_result_may_hold_is_refused(cap: dict[str, Any]) -> None:
    """Nothing of it is stored, nor sent, and the answer names the setting."""
    world = QueryWorld(Script(table(9)), **{"inline_rows": 5, **cap})
    with pytest.raises(RefusedError, match="QUERY_MAX_") as caught:
        world.ask()
    assert caught.value.status == 422
    assert (world.names("results"), world.names("jobs")) == ([], [])


@pytest.mark.parametrize(
    ("error", "fields"), [(BROKEN, {}), (TOO_LARGE, {"query": "Event | summarize count()"})]
)
def test_a_partial_answer_says_so(error: dict[str, str], fields: dict[str, Any]) -> None:
    """Rows that came in spite of an error are shown as partial, with the service's code and words."""
    world = QueryWorld(Script(table(9, error=error)), inline_rows=5)
    outcome = world.ask(**fields)
    answer = result(outcome)
    assert (answer.status, answer.truncated, answer.total, answer.returned) == ("partial", True, None, 5)
    assert answer.error == error
    assert (world.names("results"), answer.result_url) == ([], None), "a part is never stored"
    assert world.records()[0]["outcome"] == "partial"


@pytest.mark.parametrize("fields", [{"format": "csv"}, {"format": "ndjson"}, {"destination": "blob"}])
def test_a_part_is_never_passed_off_as_the_whole(fields: dict[str, Any]) -> None:
    """A form that cannot say that rows are missing is refused instead."""
    with pytest.raises(RefusedError, match="only a part") as caught:
        QueryWorld(Script(table(2, error=BROKEN))).ask(**fields)
    assert caught.value.status == 422


def test_rows_that_can_be_had_in_slices_are_promised() -> None:
    """What is too large for one answer of the service is put into the queue if it can be cut there."""
    for answer in (table(2, error=TOO_LARGE), service_error(413)):
        world = QueryWorld(Script(answer))
        assert isinstance(world.ask(query="Event | where n > 5", format="csv"), Later)


@pytest.mark.parametrize("error", [LATE, DeadlineError("too long")], ids=["504", "deadline"])
@pytest.mark.parametrize("query", ["Event", "Event | summarize count()"])
def test_what_takes_longer_than_the_wait_is_promised(error: ExportError, query: str) -> None:
    """The question goes into the queue as it was put, whatever it is."""
    world = QueryWorld(Script(error))
    later = world.ask(query=query, top=7)
    assert isinstance(later, Later)
    job = world.job(later.job.id)
    assert (job.status, job.question.query, job.question.top, job.caller) == ("queued", query, 7, ANN)
    assert job.question.end == NOW


def test_who_does_not_wait_is_promised_at_once() -> None:
    """The service is not asked, and no place among the running queries is taken."""
    world = QueryWorld(Script(), concurrent=1)
    assert [world.job(world.queue()).status for _ in range(3)] == ["queued"] * 3


def test_a_refusal_goes_through() -> None:
    """The service's error reaches the caller as it is; so does an answer that no waiting would mend."""
    for error, kind in [(service_error(400), ServiceError), (service_error(413), AnswerTooLargeError)]:
        world = QueryWorld(Script(error))
        with pytest.raises(kind, match="Odd"):
            world.ask(query="Event | summarize count()")
        assert world.names("jobs") == []


def test_only_so_many_are_answered_at_a_time() -> None:
    """One more than the setting allows is told when to come back; a place is free when its query ends."""
    asked, done = threading.Event(), threading.Event()

    def wait(_: Request) -> object:
        asked.set()
        assert done.wait(30)
        return table(1)

    world = QueryWorld(Script(wait, table(1), service_error(400), table(2)), concurrent=1)
    first = threading.Thread(target=world.ask)
    first.start()
    assert asked.wait(30)
    with pytest.raises(RefusedError, match="QUERY_MAX_CONCURRENT") as caught:
        world.ask(query=SECRET)
    assert (caught.value.status, caught.value.retry_after) == (429, 5)
    world.queue()
    done.set()
    first.join(30)
    assert result(world.ask()).returned == 1
    with pytest.raises(ServiceError):
        world.ask()
    assert result(world.ask()).returned == 2
    assert sorted(record["outcome"] for record in world.records()) == [
        "asked", "complete", "complete", "complete", "failed", "failed",
    ]  # fmt: skip


def test_only_so_many_may_be_pending() -> None:
    """Those that wait or run count, wherever they came from; one that ended makes room."""
    world = QueryWorld(Script(LATE), pending=2)
    first, _ = world.queue(), world.queue()
    limits: list[dict[str, Any]] = [{"wait": 0}, {}]
    for fields in limits:
        with pytest.raises(RefusedError, match="QUERY_MAX_PENDING") as caught:
            world.ask(**fields)
        assert (caught.value.status, caught.value.retry_after) == (429, 60)
    world.statuses.cancel(first, ANN)
    world.queue()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_failed_for_its_caller_is_not_carried_out_later(after: bool) -> None:
    """Whichever call of storage fails while a query is put off, before or after it was carried out."""
    for number in itertools.count():
        fails = FailsAt(number, StorageError("full", retryable=True), after=after)
        world = QueryWorld(Script(), container=Steps(fails).container(MemoryContainer()))  # type: ignore[arg-type]  # links as well
        try:
            promised = world.ask(wait=0)
        except StorageError:
            assert world.names("jobs") == []
            continue
        assert isinstance(promised, Later)
        if fails.happened is None:
            break
    assert number == 4


def test_the_record_is_there_before_the_service_is_asked() -> None:
    """Who looks while the service computes finds who asked what, and when."""
    world: QueryWorld
    seen = []

    def look(_: Request) -> object:
        seen.extend(world.records())
        world.clock.advance("2s")
        return table(3)

    world = QueryWorld(Script(look))
    answer = result(world.ask(query=SECRET, timespan="PT1H"))
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    asked = {
        "query_id": answer.query_id, "asked_at": "2026-11-21T12:20:00.0000000Z",
        "caller": msgspec.to_builtins(ANN), "query_sha256": digest, "outcome": "asked",
        "workspace": WORKSPACE, "timespan": HOUR_BEFORE,
    }  # fmt: skip
    assert seen == [asked]
    finished = {"outcome": "complete", "finished_at": "2026-11-21T12:20:02.0000000Z", "rows": 3, "bytes": 9}
    assert world.records() == [{**asked, **finished}]
    assert world.names("audit") == [f"audit/2026/11/21/{answer.query_id}.json"]


def test_no_query_goes_without_a_record() -> None:
    """Where the record cannot be written, the service is not asked."""
    send, inner = Script(table(1)), MemoryContainer()
    fails = FailsAt(0, StorageError("full", retryable=True), after=False)
    world = QueryWorld(send, container=Steps(fails).container(inner))  # type: ignore[arg-type]  # links as well
    with pytest.raises(StorageError):
        world.ask()
    assert (send.requests, fails.happened is not None) == ([], True)


def test_what_came_of_it_is_recorded_as_well_as_can_be() -> None:
    """An answer is not withheld because the end of its record cannot be written."""
    fails = FailsAt(2, StorageError("full", retryable=True), after=False)
    world = QueryWorld(Script(table(1)), container=Steps(fails).container(MemoryContainer()))  # type: ignore[arg-type]  # links as well
    assert result(world.ask()).returned == 1
    assert fails.happened is not None
    assert world.records()[0]["outcome"] == "asked"


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (service_error(400), "failed", "400 X refused the query (Odd)"),
        (service_error(403), "failed", "502 X refused the query (Odd)"),
        (table(2, error=BROKEN), "failed", f"422 {HTTPStatus(422).phrase}"),
        (b"nonsense", "failed", "502 The query could not be answered"),
    ],
)
def test_a_failure_is_recorded_without_words(answer: object, outcome: str, error: str) -> None:
    """The kind of the error and the service's code; its message, which may quote data, is left out."""
    world = QueryWorld(Script(answer))
    with pytest.raises(ExportError):
        world.ask(KEY, query=SECRET, format="csv")
    (record,) = world.records()
    assert (record["outcome"], record["error"], record["caller"]) == (
        outcome,
        error,
        msgspec.to_builtins(KEY),
    )
    assert "hunter2" not in json.dumps(record)


def test_a_refusal_is_recorded() -> None:
    """A request that never became a question leaves who sent it, the hash of its body, and what was wrong."""
    world = QueryWorld(Script())
    body = json.dumps({"query": SECRET, "top": 0}).encode()
    world.query.refuse(KEY, body, BadRequestError("top", "is 0; said hunter2"))
    (record,) = world.records()
    assert record["outcome"] == "refused"
    assert record["query_sha256"] == hashlib.sha256(body).hexdigest()
    assert record["error"] == "400 The request cannot be understood (top)"
    assert "hunter2" not in json.dumps(record)
