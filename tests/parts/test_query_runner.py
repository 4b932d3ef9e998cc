"""A query from the queue ends as one result with every row once, or says why not."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from shared import kql
from shared.errors import ExportError
from shared.model import Request
from shared.query_jobs import Job
from shared.query_reader import cut
from shared.windows import SECOND, format_instant
from tests.parts.fakes import NOW, FakeClock
from tests.parts.query_world import ANN, BROKEN, COLUMNS, KEY, TOO_LARGE, QueryWorld, Script, Table, table
from tests.unit.fakes import service_error

PLAIN = "Event | summarize count() by Computer"


def test_a_query_succeeds() -> None:
    """Its document tells when it began and ended, what it cost, and where the result is."""
    world: QueryWorld

    def answer(request: Request) -> object:
        job = world.job(json.loads(request.headers["x-ms-client-request-id"].join('""')))
        assert (job.status, job.started_at) == ("running", "2026-11-21T12:21:00.0000000Z")
        world.clock.advance("2s")
        return table(3)

    world = QueryWorld(Script(answer))
    query_id = world.queue(query=PLAIN, format="ndjson")
    world.clock.advance("1m")
    world.runner.run(query_id)
    job = world.job(query_id)
    assert (job.status, job.finished_at, job.error) == ("succeeded", "2026-11-21T12:21:02.0000000Z", None)
    assert (job.total, job.statistics.rows, job.statistics.requests) == (3, 3, 1)
    assert job.result is not None
    assert job.result.columns == [{"name": "n", "type": "long"}]
    assert world.names("results") == [job.result.name]
    assert world.rows(query_id) == [{"n": 0}, {"n": 1}, {"n": 2}]
    (record,) = world.records()
    assert (record["outcome"], record["rows"], record["bytes"]) == ("complete", 3, job.result.bytes)


def test_it_asks_for_the_time_that_was_meant() -> None:
    """However long a query waits in the queue, its last 24 hours are those before it was put."""
    send = Script(table(1))
    world = QueryWorld(send)
    query_id = world.queue(query=PLAIN, timespan="PT24H")
    world.clock.advance("3h")
    world.runner.run(query_id)
    asked = json.loads(send.requests[0].body or b"")
    assert asked["timespan"] == "2026-11-20T12:20:00.0000000Z/2026-11-21T12:20:00.0000000Z"
    assert "wait=475" in send.requests[0].headers["Prefer"]


def test_top_rows_are_stored_with_their_total() -> None:
    """No more is asked for than wanted; how many there would be is counted when all of those came."""
    for rows, expected in [(3, 90), (2, 2)]:
        count = {"tables": [{"columns": [{"name": "Count", "type": "long"}], "rows": [[90]]}]}
        send = Script(table(rows), count)
        world = QueryWorld(send)
        query_id = world.queue(top=3)
        world.runner.run(query_id)
        assert (world.job(query_id).total, len(world.rows(query_id))) == (expected, rows)
        assert send.queries[:1] == ["Event\n| take 3"]


@pytest.mark.parametrize("error", [service_error(504), service_error(503, retryable=True)])
def test_rows_are_kept_where_nobody_can_count(error: ExportError) -> None:
    """A total that cannot be had costs nobody the result."""
    world = QueryWorld(Script(table(3), error))
    query_id = world.queue(top=3)
    world.runner.run(query_id)
    job = world.job(query_id)
    assert (job.status, job.total, len(world.rows(query_id))) == ("succeeded", None, 3)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (service_error(400), 400, "Odd"),
        (service_error(403), 502, "Odd"),
        (service_error(504), 504, "To mend it: ask for less"),
        (table(2, error=TOO_LARGE), 422, "To mend it: ask for less"),
        ({"tables": []}, None, ""),
    ],
)
def test_a_query_fails(answer: Any, status: int | None, words: str) -> None:
    """What no retry can mend is the end, with a problem document; else another delivery tries."""
    world = QueryWorld(Script(answer))
    query_id = world.queue(KEY, query=PLAIN)
    if status is None:
        with pytest.raises(ExportError):
            world.runner.run(query_id)
        assert world.job(query_id).status == "running"
        return
    world.runner.run(query_id)
    job = world.job(query_id)
    assert job.error is not None
    assert (job.status, job.error["status"], job.result) == ("failed", status, None)
    assert words in job.error["detail"]
    (record,) = world.records()
    assert record["outcome"] == "failed"
    assert record["error"].startswith(f"{status} ")
    assert world.names("results") == []


def test_a_part_is_never_stored() -> None:
    """An answer that lacks rows through no fault of the query is asked for again by the next delivery."""
    world = QueryWorld(Script(table(2, error=BROKEN), table(9)))
    query_id = world.queue(query=PLAIN)
    with pytest.raises(ExportError, match="a shard did not answer"):
        world.runner.run(query_id)
    assert world.names("results") == []
    world.runner.run(query_id)
    assert len(world.rows(query_id)) == 9


def test_a_finished_query_is_not_asked_again() -> None:
    """A message that is delivered twice finds its work done: the service hears nothing."""
    send = Script(table(1))
    world = QueryWorld(send)
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    before = [*world.container.list("jobs"), *world.container.list("results")], world.records()
    world.runner.run(query_id)
    after = [*world.container.list("jobs"), *world.container.list("results")], world.records()
    assert (after, len(send.requests)) == (before, 1)


def test_a_record_that_a_crash_left_open_is_closed_by_the_next_delivery() -> None:
    """Whoever finished the query died before the audit record said so."""
    world = QueryWorld(Script(table(1)))
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    (name,) = world.names("audit")
    record = world.container.read(name)
    assert record is not None
    world.container.write(name, record.data.replace(b'"complete"', b'"asked"'), etag=record.etag)
    world.runner.run(query_id)
    assert [each["outcome"] for each in world.records()] == ["complete"]


@pytest.mark.parametrize("query_id", ["0" * 32, "nonsense", "../jobs/x", ""])
def test_a_query_that_is_not_there_is_dropped(query_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """It has expired, or was never one: its message goes, and the log says so."""
    world = QueryWorld(Script())
    world.runner.run(query_id)
    world.runner.give_up(query_id)
    assert "query dropped" in caplog.text
    assert world.records() == []


def test_a_poisoned_query_has_failed() -> None:
    """What no delivery could carry out ends too, for its caller as for its record."""
    world = QueryWorld(Script(service_error(503, retryable=True)))
    query_id = world.queue(query=PLAIN)
    with pytest.raises(ExportError):
        world.runner.run(query_id)
    world.runner.give_up(query_id)
    job = world.job(query_id)
    assert job.error is not None
    assert (job.status, job.finished_at is not None, job.error["service_status"]) == ("failed", True, 503)
    assert world.records()[0]["outcome"] == "failed"
    world.runner.give_up(query_id)
    assert world.job(query_id) == job


def test_giving_up_leaves_a_result_alone() -> None:
    """A late poison message does not undo what another delivery has done."""
    world = QueryWorld(Script(table(1)))
    query_id = world.queue(query=PLAIN)
    world.runner.run(query_id)
    world.runner.give_up(query_id)
    assert (world.job(query_id).status, world.records()[0]["outcome"]) == ("succeeded", "complete")


@pytest.mark.parametrize("name", ["json", "ndjson", "csv", "parquet"])
def test_rows_beyond_one_answer_are_read_in_slices(name: str) -> None:
    """A query that works row by row has each row once, though no answer of the service could hold all."""
    clock = FakeClock()
    send = Table(clock, 95, most=10)
    world = QueryWorld(send, clock=clock)
    query_id = world.queue(query="let n0 = 0;\nEvent | where n >= n0", timespan="PT2H", format=name)
    world.runner.run(query_id)
    job = world.job(query_id)
    assert job.status == "succeeded", job.error
    assert (job.total, job.statistics.rows) == (95, 95)
    assert job.statistics.requests > 9
    assert send.timespans == {"2026-11-21T10:20:00.0000000Z/2026-11-21T12:20:00.0000000Z"}
    sliced = [query for query in send.queries if "let window_start" in query]
    assert all(query.startswith("let n0 = 0;\nlet window_start") for query in sliced)
    if name in {"json", "ndjson"}:
        found = [row["n"] if name == "ndjson" else row[1] for row in world.rows(query_id)]
        assert found == list(range(95))


def test_rows_without_a_time_are_asked_for_whole() -> None:
    """Slices of time would lose them; so the query is put as it is, or says what to do."""
    for most, status in [(200, "succeeded"), (10, "failed")]:
        clock = FakeClock()
        send = Table(clock, 95, most=most, timeless=1)
        world = QueryWorld(send, clock=clock)
        query_id = world.queue(query="Event | where n >= 0", timespan="PT2H")
        world.runner.run(query_id)
        job = world.job(query_id)
        assert job.status == status
        assert not any("window_start" in query for query in send.queries)
        first, second = send.queries
        assert (first.startswith("Event\n| where isnull(TimeGenerated) or "), second) == (
            True, "Event | where n >= 0",
        )  # fmt: skip
        assert status == "succeeded" or "To mend it" in (job.error or {})["detail"]


def test_what_a_stored_function_makes_of_its_rows_is_asked_for_whole() -> None:
    """A function that gives one row an hour has one of an hour that began before the time asked for."""
    hours = {"tables": [{"name": "PrimaryResult", "columns": COLUMNS, "rows": [[10], [11]]}]}
    send = Script(table(1), hours)
    world = QueryWorld(send)
    query_id = world.queue(query="HourlyErrors", start="2026-11-20T10:37:00Z", end="2026-11-20T12:00:00Z")
    world.runner.run(query_id)
    outside = (
        "TimeGenerated < datetime(2026-11-20T10:37:00.0000000Z) or "
        "TimeGenerated > datetime(2026-11-20T12:00:00.0000000Z)"
    )
    assert send.queries == [
        f"HourlyErrors\n| where isnull(TimeGenerated) or {outside}\n| take 1", "HourlyErrors",
    ]  # fmt: skip
    assert world.rows(query_id) == [[10], [11]]


@pytest.mark.parametrize(
    "query",
    [
        PLAIN,
        "Event | sort by n",
        "Event | take 5",
        "Event | where TimeGenerated > ago(1h)",
        "let since = ago(1h); Event | where TimeGenerated > since",
        "let n0 = toscalar(Event | count); Event | where n > n0",
        "let Event = Other | where n > 1; Event | where n > 2",
        "let // named\nEvent = Other | top 5 by n; Event",
        "Event | where n in ((Other | project n))",
        "union Event, Other",
        "Event | where TimeGenerated > window_start",
        "let window_end = 5; Event | where n < window_end",
        "print n = 1",
        "let some = Event | take 5 | project n; Other | where n in (some)",
        "let some = Event; Other | where n !in (some)",
        "let some = materialize(Event); Event | where n > 0",
        "let f = (a:int) { a }; Event | where n > f(1)",
        "Event | where n in (Other)",
        "Event | where n in~ (Other)",
        "Event | where n !in ((((Other))))",
        "Event | where Computer has_any (Other)",
    ],
)
def test_what_cannot_be_cut_is_asked_whole(query: str) -> None:
    """Where rows depend on one another, or on when they are asked for, one answer must hold all of them."""
    send = Script(table(2))
    world = QueryWorld(send)
    query_id = world.queue(query=query)
    world.runner.run(query_id)
    assert send.queries == [query]
    assert world.job(query_id).status == "succeeded"


@pytest.mark.parametrize(
    "query",
    [
        "let most = 5; Event | where n < most",
        "let names = dynamic(['a', 'b']); Event | where Computer in (names)",
        "let since = datetime(2026-11-21); let back = -timespan(1d); Event | extend at = since + back",
        "Event | where n in (1, 2) or Computer !in ('a', 'b')",
        "Event",
    ],
)
def test_constants_do_not_keep_a_query_from_being_cut(query: str) -> None:
    """They are the same in every slice; they are what parameters become."""
    clock = FakeClock()
    send = Table(clock, 25, most=10)
    world = QueryWorld(send, clock=clock)
    query_id = world.queue(query=query, timespan="PT2H")
    world.runner.run(query_id)
    assert any("window_start" in each for each in send.queries)
    assert world.job(query_id).total == 25


@pytest.mark.parametrize(("name", "sliced"), [("most", True), ("window_end", False), ("Event", False)])
def test_parameters_do_not_keep_a_query_from_being_cut(name: str, sliced: bool) -> None:
    """They are constants, unless they are called as what a slice's query needs itself."""
    clock = FakeClock()
    send = Table(clock, 25, most=10 if sliced else 100)
    world = QueryWorld(send, clock=clock)
    query_id = world.queue(query="Event | where n < 50", timespan="PT2H", parameters={name: "a;\n|"})
    world.runner.run(query_id)
    assert any("window_start" in each for each in send.queries) == sliced
    assert all(each.startswith(f"let {name} = 'a;\\n|';\n") for each in send.queries)
    assert world.job(query_id).total == 25


def test_the_values_of_parameters_are_not_read_as_kql(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be a megabyte of them: to look for a way to cut the query costs no more for it."""
    lengths = []

    def watched(text: str) -> Iterator[kql.Token]:
        lengths.append(len(text))
        return tokens(text)

    tokens = kql.tokens
    monkeypatch.setattr(kql, "tokens", watched)
    world = QueryWorld(Script())
    question = world.question(query="Event | where n in (some)", parameters={"some": [1] * 100_000})
    selection = cut(question)
    assert selection is not None
    assert len(selection.prelude) > 200_000
    assert 0 < max(lengths) < 100


def test_comments_do_not_keep_a_query_from_being_cut() -> None:
    """What stands before a statement and within its steps is no part of the question."""
    clock = FakeClock()
    world = QueryWorld(Table(clock, 25, most=10), clock=clock)
    query_id = world.queue(query="// all of it; really\nEvent\n// | take 1\n| where n >= 0", timespan="PT2H")
    world.runner.run(query_id)
    assert (world.job(query_id).status, world.job(query_id).total) == ("succeeded", 25)


def test_progress_is_told() -> None:
    """Who asks while it runs sees the rows grow, every few seconds and not with every answer."""
    clock = FakeClock()
    seen: list[tuple[int, int]] = []
    world: QueryWorld

    class Watched(Table):
        def __call__(self, request: Request, /) -> Any:
            if world.names("jobs"):
                (listed,) = world.jobs.all()
                seen.append((world.job(listed.id).statistics.rows, (listed.touched_at - started) // SECOND))
            return super().__call__(request)

    world = QueryWorld(Watched(clock, 60, most=10, seconds=2), clock=clock)
    started = clock.now()
    query_id = world.queue(query="Event", timespan="PT1H")
    world.runner.run(query_id)
    rows = [row for row, _ in seen]
    assert rows == sorted(rows)
    assert (rows[0], rows[-1] >= 30) == (0, True)
    touched = sorted({at for _, at in seen})
    assert all(later - earlier >= 5 for earlier, later in pairwise(touched))
    assert 2 <= len(touched) < len(seen)


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"rows": 50}, 422, "QUERY_MAX_ROWS"),
        ({"bytes": 100}, 422, "QUERY_MAX_MB"),
        ({"seconds": 12}, 504, "more than 12 s"),
    ],
)
def test_what_a_query_may_take_is_bounded(settings: dict[str, Any], status: int, words: str) -> None:
    """Beyond the rows, the bytes or the seconds of the settings it fails, and nothing of it is left."""
    clock = FakeClock()
    send = Table(clock, 400, most=10, seconds=2)
    world = QueryWorld(send, clock=clock, **settings)
    query_id = world.queue(query="Event", timespan="PT7H")
    world.runner.run(query_id)
    job = world.job(query_id)
    assert job.error is not None
    assert (job.status, job.error["status"]) == ("failed", status)
    assert "bytes" in settings or len(send.queries) < 30, "nobody reads on in vain"
    assert words in job.error["detail"]
    assert world.names("results") == []
    assert world.records()[0]["outcome"] == "failed"


def test_columns_that_change_on_the_way_begin_the_file_again() -> None:
    """Slices whose columns differ end in one file of all columns, and in a document that names them."""
    clock = FakeClock()

    class Growing(Table):
        def __call__(self, request: Request, /) -> Any:
            response = super().__call__(request)
            body = json.loads(response.body)
            answered = body["tables"][0]
            if answered["columns"][-1]["name"] == "n" and any(30 <= row[1] < 40 for row in answered["rows"]):
                answered["columns"].append({"name": "late", "type": "string"})
                answered["rows"] = [[*row, "x"] for row in answered["rows"]]
            return type(response)(200, {}, json.dumps(body).encode())

    for name in ("json", "ndjson"):
        world = QueryWorld(Growing(clock, 60, most=10), clock=clock)
        query_id = world.queue(query="Event", timespan="PT2H", format=name)
        world.runner.run(query_id)
        stored = world.job(query_id).result
        assert stored is not None
        assert [each["name"] for each in stored.columns] == ["TimeGenerated", "n", "late"]
        rows = world.rows(query_id)
        assert len(rows) == 60
        late = [row[2] if name == "json" else row.get("late") for row in rows]
        assert (late[0], late[35], late[-1]) == (None, "x", None)


def test_a_cancelled_query_is_not_begun() -> None:
    """Its message is still in the queue, and finds that nobody waits for it."""
    send = Script()
    world = QueryWorld(send)
    query_id = world.queue(query=PLAIN)
    world.statuses.cancel(query_id, ANN)
    world.runner.run(query_id)
    assert (world.job(query_id).status, send.requests) == ("cancelled", [])
    assert world.records()[0]["outcome"] == "cancelled"


def test_a_cancelled_query_is_not_read_on() -> None:
    """A running one stops at the next step that tells how far it is; the service is spared the rest."""
    clock = FakeClock()
    world: QueryWorld

    class Cancelling(Table):
        def __call__(self, request: Request, /) -> Any:
            if len(self.queries) == 4:
                world.statuses.cancel(query_id, ANN)
            return super().__call__(request)

    send = Cancelling(clock, 200, most=10, seconds=3)
    world = QueryWorld(send, clock=clock)
    query_id = world.queue(query="Event", timespan="PT4H")
    world.runner.run(query_id)
    assert (world.job(query_id).status, world.names("results")) == ("cancelled", [])
    assert len(send.queries) < 10


@pytest.mark.parametrize(("calls", "rows"), [(4, 200), (12, 100)], ids=["under way", "at the last moment"])
def test_who_sees_that_a_query_was_cancelled_closes_its_record(calls: int, rows: int) -> None:
    """Whoever cancelled it died before the audit record said so."""
    clock = FakeClock()
    world: QueryWorld

    def cancelled(job: Job) -> Job:
        return msgspec.structs.replace(job, status="cancelled", finished_at=format_instant(NOW))

    class Cancelling(Table):
        def __call__(self, request: Request, /) -> Any:
            if len(self.queries) == calls:
                world.jobs.change(query_id, cancelled)
            return super().__call__(request)

    send = Cancelling(clock, rows, most=10, seconds=0 if calls > 4 else 3)
    world = QueryWorld(send, clock=clock)
    query_id = world.queue(query="Event", timespan="PT4H")
    world.runner.run(query_id)
    assert (world.job(query_id).status, world.names("results")) == ("cancelled", [])
    assert [(each["outcome"], each["finished_at"]) for each in world.records()] == [
        ("cancelled", format_instant(NOW))
    ]
