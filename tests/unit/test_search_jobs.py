"""The source of search jobs: each is started once, picked up, halved, believed when whole, and taken back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from shared import job_runner
from shared.errors import (
    DeniedError,
    ExportError,
    IncompleteAnswerError,
    NoRoomError,
    NotReadyError,
    NotSettledError,
    ServiceError,
    TransportError,
)
from shared.model import Batch, Reading, Request, Response, Window
from shared.sources.search_jobs import TYPE, Options
from shared.windows import HOUR, SECOND, parse_instant
from tests.parts.fakes import FakeClock
from tests.parts.memory_container import MemoryContainer
from tests.unit.fakes import service_error, tools
from tests.unit.test_arm_ids import SUBSCRIPTION, WORKSPACE

TEN = parse_instant("2022-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
OPERATIONS = f"{SUBSCRIPTION}/providers/Microsoft.OperationalInsights/locations/westeurope/operationstatuses"
NO_OPERATION = "00000000-0000-0000-0000-000000000000"
COLUMNS = ["_OriginalTimeGenerated", "n", "TimeGenerated", "_OriginalType", "Type", "_OriginalItemId"]


class Service:
    """Resource Manager and the query API for one workspace, on a clock of ours.

    ``rows`` are the ticks at which the source has rows. A job takes ``looks`` looks, and so many ticks as it
    ``lasts``; ``shown`` is how many of its rows the query API shows (None: all). A job that is started now
    ends at ``progress`` (percent), and its operation with ``status``; ``counts`` is where its numbers are.
    ``lost`` are methods whose next answer is lost on its way. While it ``keeps`` tables none is deleted;
    while it is ``closed`` nobody may ask for operations, and while it ``forgets`` it knows none.
    """

    def __init__(self, clock: FakeClock, rows: list[int]) -> None:
        self.clock = clock
        self.rows = rows
        self.looks = 1
        self.lasts = 0
        self.shown: int | None = None
        self.counts = "table"
        self.status = "Succeeded"
        self.progress = 100.0
        self.closed = False
        self.forgets = False
        self.lost: list[str] = []
        self.keeps = False
        self.tables: dict[str, dict[str, Any]] = {}
        self.others: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.found: list[Window] = []
        self.date: int | None = None

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path = request.target.partition("?")[0]
        name = path.rpartition("/")[2]
        self.asked.append(f"{request.method} {name}")
        if request.method == "POST":
            return self._query(json.loads(request.body or b""))
        answer = {"PUT": self._put, "DELETE": self._delete, "GET": self._get}[request.method](
            path, name, request
        )
        if request.method in self.lost:
            self.lost.remove(request.method)
            raise TransportError("the answer was lost")
        return answer

    def _put(self, _path: str, name: str, request: Request) -> Response:
        if name in self.tables:
            raise service_error(409)
        search = json.loads(request.body or b"")["properties"]["searchResults"]
        first, last = (part.partition(")")[0] for part in search["query"].split("datetime(")[1:])
        window = Window(parse_instant(first), parse_instant(last))
        self.found.append(window)
        count = min(search["limit"], sum(window.start <= row < window.end for row in self.rows))
        until = self.clock.now() + self.lasts
        self.tables[name] = {"looks": 0, "until": until, "count": count, "progress": self.progress}
        return Response(202, {"azure-asyncoperation": f"https://arm{OPERATIONS}/of-{name}?v"}, b"")

    def _delete(self, _path: str, name: str, _request: Request) -> Response:
        if self.keeps:
            raise service_error(409)
        if self.tables.pop(name, None) is None:
            raise service_error(404)
        return Response(202, {}, b"")

    def _get(self, path: str, name: str, _request: Request) -> Response:
        if name == "tables":
            mine = [{"name": each, "properties": self._properties(each)} for each in self.tables]
            return self._answer({"value": [*mine, *self.others]})
        if path == WORKSPACE:
            return self._answer({"location": "westeurope"})
        if path.startswith(OPERATIONS):
            return self._operation(name.removeprefix("of-"))
        if name not in self.tables:
            raise service_error(404)
        self.tables[name]["looks"] += 1
        return self._answer({"name": name, "properties": self._properties(name)})

    def _operation(self, name: str) -> Response:
        if self.closed:
            raise service_error(403)
        if self.forgets or name not in self.tables:
            raise service_error(404)
        told = self._statistics(name) if self.counts == "operation" else {}
        return self._answer({"status": self.status, "error": {"code": "Odd"}, "properties": told})

    def _properties(self, name: str) -> dict[str, Any]:
        table = self.tables[name]
        is_over = table["looks"] > self.looks and self.clock.now() >= table["until"]
        state = "Succeeded" if is_over else "InProgress"
        told = self._statistics(name) if self.counts == "table" else {}
        return {"provisioningState": state, "searchResults": {"azureAsyncOperationId": f"of-{name}"}, **told}

    def _statistics(self, name: str) -> dict[str, Any]:
        table = self.tables[name]
        return {"resultStatistics": {"ingestedRecords": table["count"], "progress": table["progress"]}}

    def _answer(self, document: object) -> Response:
        headers = {}
        if self.date is not None:
            date = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=self.date // SECOND)
            headers["date"] = format_datetime(date, usegmt=True)
        return Response(200, headers, json.dumps(document).encode())

    def _query(self, body: dict[str, str]) -> Response:
        assert list(body) == ["query"], "a timespan would be of the job's time, not of the rows'"
        query = body["query"]
        name = next((line for line in query.splitlines() if line.endswith("_SRCH")), "")
        if name not in self.tables:
            message = f"Failed to resolve table or column expression named '{name}'"
            raise ServiceError(
                "LA", status=400, code="SEM0100", message=message, request_id=None, retryable=False
            )
        table = self.tables[name]
        count = table["count"] if self.shown is None else min(self.shown, table["count"])
        if "getschema" in query:
            return self._rows([[column, "string"] for column in COLUMNS])
        if "rows_of" in query:  # several windows may be counted at once
            return self._rows([[0, count]])
        if "summarize" in query:
            return self._rows([[count, count * 10]])
        return self._rows([[number] for number in range(count)])

    def _rows(self, rows: list[list[Any]]) -> Response:
        columns = [{"name": "a", "type": "long"}]
        return self._answer({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})


class World:
    """One export and the service behind it."""

    def __init__(self, rows: int = 10, **changes: Any) -> None:
        self.clock = FakeClock()
        self.documents = MemoryContainer()
        self.service = Service(self.clock, [TEN + number * HOUR // max(1, rows) for number in range(rows)])
        self.options = Options(**({"resource": WORKSPACE, "table": "Event"} | changes))

    def open(self) -> Any:
        """Open the source, as each attempt does."""
        return TYPE.open(self.options, tools(self.service, clock=self.clock, documents=self.documents))

    def read(self, since: int = 0) -> list[Batch]:
        """Read the window in one attempt."""
        reading = Reading(WINDOW, self.clock.monotonic() + 540, since=since)
        return list(self.open().read(reading))

    def read_at_last(self, attempts: int = 50) -> int:
        """Read the window in as many attempts as it takes, each put off; return its rows."""
        for _ in range(attempts):
            try:
                return sum(len(batch.rows) for batch in self.read())
            except NotReadyError as error:
                self.clock.sleep(error.wait / SECOND)
        raise AssertionError("never ready")

    def ledger(self) -> dict[str, str]:
        """Return what is known of each job."""
        documents = [self.documents.read(blob.name) for blob in self.documents.list("search_jobs/")]
        entries = [json.loads(each.data) for each in documents if each]
        return {each["table"]: each["state"] for each in entries}


def test_a_job_finds_the_window() -> None:
    """Looked up before it is created, looked at until it is over, and read in the source's columns."""
    world = World()
    (batch,) = world.read()
    (name,) = world.service.tables
    assert len(batch.rows) == batch.total == 10
    workspace = WORKSPACE.rpartition("/")[2]
    assert world.service.asked[:5] == [
        f"GET {name}", f"GET {workspace}", f"GET {NO_OPERATION}", "GET tables", f"PUT {name}",
    ]  # fmt: skip
    assert world.service.found == [WINDOW]
    assert world.ledger() == {name: "done"}


def test_an_empty_window_takes_no_query() -> None:
    """A job that found nothing has nothing to be read."""
    world = World(rows=0)
    assert world.read() == []
    assert not [each for each in world.service.asked if each.startswith("POST")]


def test_a_job_that_goes_on_is_picked_up() -> None:
    """An attempt waits a while and gives way; the next one finds the same job."""
    world = World()
    world.service.looks = 40
    with pytest.raises(NotReadyError, match="InProgress"):
        world.read()
    assert world.clock.monotonic() <= job_runner.PATIENCE.total
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


def test_a_lost_answer_does_not_start_a_job_twice() -> None:
    """The job is there, and its number of rows is known, though nobody saw that it was accepted."""
    world = World()
    world.service.lost = ["PUT"]
    with pytest.raises(TransportError):
        world.read()
    assert list(world.ledger().values()) == ["starting"]
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


@pytest.mark.parametrize("lost", ["answer", "ledger"])
@pytest.mark.parametrize("status", ["Failed", "Canceled"])
def test_what_was_lost_does_not_hide_a_failure(status: str, lost: str) -> None:
    """A table that succeeded and says how much it holds does not say that its job died halfway."""
    world = World()
    world.service.looks = 40
    world.service.lost = ["PUT"] if lost == "answer" else []
    with pytest.raises((TransportError, NotReadyError)):
        world.read()
    if lost == "ledger":
        world.documents = MemoryContainer()
    (table,) = world.service.tables.values()
    table["count"] = 5
    world.service.looks, world.service.status = 1, status
    with pytest.raises(ServiceError, match="Odd"):
        world.read_at_last()
    world.service.status = "Succeeded"
    assert world.read_at_last() == 10


@pytest.mark.parametrize("counts", ["table", "operation"])
def test_a_job_that_ended_before_it_was_done_is_thrown_away(counts: str) -> None:
    """Somebody cancelled it: table and operation say that it succeeded, its progress that it did not."""
    world = World()
    world.service.counts = counts
    world.service.progress = 50.0
    with pytest.raises(ServiceError, match="50 %") as caught:
        world.read_at_last()
    assert not caught.value.retryable
    assert world.service.tables == {}
    assert list(world.ledger().values()) == ["dropped"]
    world.service.progress = 100.0
    assert world.read_at_last() == 10


def test_a_job_ended_at_its_limit_is_halved_however_far_it_came() -> None:
    """There it is over before it is done, and that is no failure."""
    world = World(rows=10, limit=6)
    world.service.looks, world.service.progress = 40, 60.0
    with pytest.raises(NotReadyError):
        world.read()
    world.service.looks, world.service.progress = 1, 100.0  # as its halves are to end
    assert world.read_at_last() == 10
    assert len(world.service.found) == 3


@pytest.mark.parametrize("silent", ["forgotten", "without a status"])
@pytest.mark.parametrize("counts", ["operation", "nowhere"])
def test_a_job_of_whose_end_nothing_tells_is_thrown_away(counts: str, silent: str) -> None:
    """The app stopped while it ran, and it failed: its table succeeded, and its operation is gone since."""
    world = World()
    world.service.counts, world.service.looks = counts, 40
    with pytest.raises(NotReadyError):
        world.read()
    (table,) = world.service.tables.values()
    table["count"] = table["progress"] = 4
    world.clock.advance("49h")
    world.service.looks = 1
    if silent == "forgotten":
        world.service.forgets = True
    else:
        world.service.counts, world.service.status = "nowhere", ""
    with pytest.raises(ServiceError, match="nothing says") as caught:
        world.read_at_last()
    assert not caught.value.retryable
    assert world.service.tables == {}
    world.service.forgets, world.service.counts, world.service.status = False, counts, "Succeeded"
    assert world.read_at_last() == 10
    assert len(world.service.found) == 2


def test_a_table_that_was_done_needs_no_operation() -> None:
    """Its progress says so, however long ago that was."""
    world = World()
    world.service.looks = 40
    with pytest.raises(NotReadyError):
        world.read()
    world.service.looks, world.service.forgets = 1, True
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


def test_a_job_that_was_found_whole_stays_so_when_its_operation_is_forgotten() -> None:
    """It is paid for; its rows are counted, as nothing says their number any more."""
    world = World()
    world.service.counts, world.service.shown = "operation", 9
    with pytest.raises(NotReadyError, match="9 of the 10"):
        world.read()
    world.service.shown, world.service.forgets = None, True
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


def test_no_job_is_paid_for_whose_end_may_not_be_asked() -> None:
    """It is found out before the first one, and says what to grant; nothing is swept meanwhile."""
    world = World()
    world.read()
    world.clock.advance("49h")
    world.service.closed = True
    action = "Microsoft.OperationalInsights/locations/operationstatuses/read on the subscription"
    with pytest.raises(DeniedError, match=f"{action} {SUBSCRIPTION}"):
        world.read(since=1)
    assert len(world.service.found) == len(world.service.tables) == len(world.ledger()) == 1
    world.service.closed = False
    assert len(world.read(since=1)) == 1


def test_a_job_is_not_thrown_away_because_its_end_may_not_be_asked() -> None:
    """It is paid for: once the permission is back its rows are read."""
    world = World()
    world.service.looks = 40
    with pytest.raises(NotReadyError):
        world.read()
    world.service.looks, world.service.closed = 1, True
    with pytest.raises(DeniedError, match="operationstatuses/read"):
        world.read()
    world.service.closed = False
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


def test_the_operation_tells_how_many_rows_there_are() -> None:
    """Where the table does not say it."""
    world = World()
    world.service.counts = "operation"
    assert world.read_at_last() == 10


def test_a_job_that_says_no_number_is_counted() -> None:
    """It is paid for, so its table stays; it is counted once all of its rows show."""
    world = World()
    world.service.counts = "nowhere"
    world.service.shown = 4
    with pytest.raises(NotReadyError, match="does not say") as caught:
        world.read()
    assert list(world.ledger().values()) == ["done"]
    assert caught.value.wait == job_runner.VISIBLE
    world.clock.sleep(caught.value.wait / SECOND)
    world.service.shown = None
    assert sum(len(batch.rows) for batch in world.read()) == 10
    assert len(world.service.found) == 1


def test_a_job_that_says_no_number_is_halved_where_it_is_counted_at_its_limit() -> None:
    """What it holds is then not known to be all."""
    world = World(rows=10, limit=6)
    world.service.counts = "nowhere"
    assert world.read_at_last() == 10
    assert len(world.service.found) == 3


def test_a_table_is_not_believed_before_its_operation() -> None:
    """The table has succeeded, but the operation has the last word."""
    world = World()
    world.service.status = "InProgress"
    with pytest.raises(NotReadyError, match=r"goes on \(InProgress\)"):
        world.read()
    assert list(world.ledger().values()) == ["running"]
    assert not [each for each in world.service.asked if each.startswith("POST")]
    world.service.status = "Succeeded"
    assert world.read_at_last() == 10
    assert len(world.service.found) == 1


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
def test_a_job_that_failed_is_thrown_away(status: str) -> None:
    """Whatever its table's state is; the window fails with the reason, and a later attempt begins anew."""
    world = World()
    world.service.status = status
    with pytest.raises(ServiceError, match="Odd") as caught:
        world.read_at_last()
    assert not caught.value.retryable
    assert world.service.tables == {}
    world.service.status = "Succeeded"
    assert world.read_at_last() == 10


def test_a_job_that_keeps_failing_is_paid_for_three_times_a_day() -> None:
    """Then the window waits until the first failure is a day ago; other readings are not held up."""
    world = World()
    world.service.status = "Failed"
    for _ in range(3):
        with pytest.raises(ServiceError, match="Odd"):
            world.read()
        world.clock.advance("1h")
    for _ in range(2):
        with pytest.raises(ServiceError, match="3 search jobs") as caught:
            world.read()
    assert len(world.service.found) == 3
    assert not caught.value.retryable
    world.service.status = "Succeeded"
    assert len(world.read(since=1)) == 1
    world.clock.sleep(caught.value.retry_after or 0)
    assert world.read_at_last() == 10


def test_jobs_that_failed_count_among_those_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service counts each that was started, whatever became of it and whichever name it had."""
    monkeypatch.setattr(job_runner, "A_DAY", 3)
    world = World()
    world.service.status = "Failed"
    for _ in range(3):
        with pytest.raises(ServiceError, match="Odd"):
            world.read()
    world.service.status = "Succeeded"
    with pytest.raises(NoRoomError, match="3 search jobs were started"):
        world.read(since=1)
    assert len(world.service.found) == 3


def test_room_that_is_not_there_does_not_wipe_out_failures() -> None:
    """A job that could not be started leaves what is known as it was."""
    world = World()
    world.service.status = "Failed"
    with pytest.raises(ServiceError, match="Odd"):
        world.read()
    put = world.service._put

    def full(_path: str, name: str, request: Request) -> Response:  # noqa: ARG001  as the one it replaces
        raise service_error(429)

    world.service._put = full  # type: ignore[method-assign]
    with pytest.raises(NoRoomError):
        world.read()
    world.service._put = put  # type: ignore[method-assign]
    assert list(world.ledger().values()) == ["dropped"]
    for _ in range(2):
        with pytest.raises(ServiceError, match="Odd"):
            world.read()
    with pytest.raises(ServiceError, match="3 search jobs"):
        world.read()


def test_a_job_ended_at_its_limit_is_halved() -> None:
    """Also a job that says so itself; the halves' jobs have names of their own, and it is thrown away."""
    world = World(rows=10, limit=6)
    batches = world.read()
    middle = TEN + HOUR // 2
    assert [(len(batch.rows), batch.total) for batch in batches] == [(5, 10), (5, 10)]
    assert world.service.found == [WINDOW, Window(TEN, middle), Window(middle, TEN + HOUR)]
    assert sorted(world.ledger().values()) == ["done", "done", "split"]
    assert len(world.service.tables) == 2


def test_partial_success_is_halved() -> None:
    """The operation may say that the job was cut off though it found less than its limit."""
    world = World(rows=4)
    world.service.status = "PartialSuccess"
    with pytest.raises(ExportError, match="16 search jobs"):
        world.read_at_last(attempts=500)
    assert world.service.found[:2] == [WINDOW, Window(TEN, TEN + HOUR // 2)]


def test_a_window_may_take_sixteen_parts() -> None:
    """All of them are read at once, in order."""
    world = World(rows=32, limit=3)
    assert world.read_at_last() == 32
    assert (len(world.service.found), len(world.service.tables)) == (31, 16)


def test_no_part_is_swept_while_others_of_its_window_are_worked_on() -> None:
    """Its jobs may take days one after the other; each is paid for once."""
    world = World(rows=32, limit=3)
    world.service.looks, world.service.lasts = 0, 8 * HOUR
    began = world.clock.now()
    assert world.read_at_last(attempts=5000) == 32
    assert world.clock.now() - began > 100 * HOUR
    assert len(world.service.found) == len(set(world.service.found)) == 31


def test_a_window_of_too_many_parts_is_refused_and_costs_nothing_more() -> None:
    """It says what to do, gives its tables back, and however often it is tried again, no job is started."""
    world = World(rows=200, limit=3)
    with pytest.raises(ExportError, match="a higher limit, or a shorter window") as caught:
        world.read_at_last()
    assert not caught.value.retryable
    assert world.service.tables == {}
    assert len(world.service.found) <= 31
    world.service.found = []
    for day in range(80):
        world.clock.advance("24h")
        with pytest.raises(ExportError, match="a higher limit"):
            world.read()
        other = Reading(Window(TEN - HOUR, TEN), world.clock.monotonic() + 540, since=day)
        assert list(world.open().read(other)) == []
    assert world.service.found == [Window(TEN - HOUR, TEN)] * 80
    world.options = Options(resource=WORKSPACE, table="Event", limit=100)
    assert world.read_at_last() == 200


def test_what_a_refused_window_could_not_give_back_is_taken_back_later() -> None:
    """Each further attempt at it deletes what is left; one table that stays does not keep the others."""
    world = World(rows=200, limit=3)
    delete = world.service._delete

    def refuse(_path: str, name: str, request: Request) -> Response:
        if len(world.service.found) == 31 and name == min(world.service.tables):
            raise service_error(409)
        return delete(_path, name, request)

    world.service._delete = refuse  # type: ignore[method-assign,assignment]
    with pytest.raises(ExportError, match="a higher limit"):
        world.read_at_last()
    assert len(world.service.tables) == 1
    world.service._delete = delete  # type: ignore[method-assign]
    with pytest.raises(ExportError, match="a higher limit"):
        world.read()
    assert world.service.tables == {}


def test_a_halving_is_remembered() -> None:
    """A later attempt does not run the job again that found too much."""
    world = World(rows=16, limit=3)
    world.service.looks = 12
    assert world.read_at_last(attempts=400) == 16
    assert len(world.service.found) == len(set(world.service.found))


def test_rows_that_cannot_be_seen_yet_are_waited_for() -> None:
    """Freshly ingested rows show a while later; after an hour that is an error."""
    world = World()
    world.service.shown = 9
    with pytest.raises(NotReadyError, match="9 of the 10"):
        world.read()
    world.service.shown = None
    assert world.read_at_last() == 10
    other = World()
    other.service.shown = 9
    with pytest.raises(IncompleteAnswerError, match="found 10 records") as caught:
        other.read_at_last(attempts=100)
    assert caught.value.retryable


def test_a_table_that_the_query_api_does_not_know_yet_is_waited_for() -> None:
    """Its name is known to Resource Manager first."""
    world = World()
    world.read()
    query = world.service._query

    def unknown(body: dict[str, str]) -> Response:
        tables, world.service.tables = world.service.tables, {}
        try:
            return query(body)
        finally:
            world.service.tables = tables

    world.service._query = unknown  # type: ignore[method-assign]
    with pytest.raises(NotReadyError, match="cannot be asked yet"):
        world.read()


def test_release_takes_back_what_the_service_keeps() -> None:
    """All tables of the window go; what is known of its jobs stays, for the day's count."""
    world = World(rows=10, limit=6)
    source = world.open()
    reading = Reading(WINDOW, 540.0)
    assert len(list(source.read(reading))) == 2
    source.release(reading)
    assert world.service.tables == {}
    assert sorted(world.ledger().values()) == ["dropped", "dropped", "split"]
    source.release(reading)


def test_a_release_that_fails_is_left_to_the_sweep() -> None:
    """The rows are stored by then, so it is no failure of the window."""
    world = World()
    source = world.open()
    reading = Reading(WINDOW, 540.0)
    list(source.read(reading))
    world.service.lost = ["DELETE"]
    source.release(reading)
    assert list(world.ledger().values()) == ["done"]


def test_a_released_window_can_be_read_again() -> None:
    """Another job is started for it, by the same name."""
    world = World()
    world.read()
    world.open().release(Reading(WINDOW, 540.0))
    assert world.read_at_last() == 10
    assert len(world.service.found) == 2


def test_a_later_reading_has_a_job_of_its_own() -> None:
    """What was prepared for an earlier reading is no answer to a later one."""
    world = World()
    world.read(since=1)
    world.read(since=2)
    assert len(world.service.tables) == 2


def test_what_crashes_left_is_swept() -> None:
    """Before another job is started; tables of others, and those whose jobs go on, stay."""
    world = World()
    world.read()
    world.service.others = [{"name": "Theirs_SRCH", "properties": {"provisioningState": "Succeeded"}}]
    world.clock.advance("49h")
    world.read(since=1)
    assert len(world.service.tables) == 1
    assert list(world.ledger()) == list(world.service.tables)


def test_a_table_that_cannot_be_swept_holds_up_nothing() -> None:
    """Another job is started all the same, and the sweep tries again later."""
    world = World()
    world.read()
    world.clock.advance("49h")
    world.service.keeps = True
    world.read(since=1)
    assert len(world.service.tables) == len(world.ledger()) == 2
    world.service.keeps = False
    world.read(since=2)
    assert len(world.service.tables) == len(world.ledger()) == 2


@pytest.mark.parametrize(
    ("others", "states", "patched", "found"),
    [
        (5, "InProgress", {}, "5 search jobs run"),
        (180, "Succeeded", {}, "181 tables"),
        (0, "", {"A_DAY": 1}, "1 search jobs were started"),
    ],
)
def test_limits_are_kept(
    monkeypatch: pytest.MonkeyPatch, others: int, states: str, patched: dict[str, int], found: str
) -> None:
    """Where there is no room no job is started, whoever has taken it; a job that runs is still looked at."""
    for name, value in patched.items():
        monkeypatch.setattr(job_runner, name, value)
    world = World()
    world.service.looks = 3
    reading = Reading(WINDOW, 540.0, since=1)
    assert len(list(world.open().read(reading))) == 1
    world.service.others = [
        {"name": f"T{number}_SRCH", "properties": {"provisioningState": states}} for number in range(others)
    ]
    with pytest.raises(NoRoomError, match=found):
        world.read(since=2)
    assert len(world.service.found) == 1
    assert len(list(world.open().read(reading))) == 1


def test_the_second_half_waits_for_room_without_holding_up_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one job the halves' jobs run one after the other."""
    monkeypatch.setattr(job_runner, "RUNNING", 1)
    world = World(rows=10, limit=6)
    assert world.read_at_last() == 10
    assert len(world.service.found) == 3


def test_no_job_is_started_before_its_time() -> None:
    """By the service's own clock the window is not due: ours is ahead."""
    world = World()
    world.service.date = world.clock.now() - HOUR
    with pytest.raises(NotSettledError) as caught:
        world.read(since=world.clock.now())
    assert (caught.value.wait, world.service.found) == (HOUR, [])
    world.service.date = world.clock.now()
    assert len(world.read(since=world.clock.now())) == 1


def test_a_table_that_vanishes_is_made_again() -> None:
    """Somebody deleted it: the job is started again, not waited for until the end of time."""
    world = World()
    world.service.looks = 40
    with pytest.raises(NotReadyError):
        world.read()
    world.service.tables = {}
    world.service.looks = 1
    assert world.read_at_last() == 10
    assert len(world.service.found) == 2


def test_a_job_that_does_not_end_is_made_again() -> None:
    """The service ends jobs after 24 hours; one that goes on for longer is given up."""
    world = World()
    world.service.looks = 10**6
    with pytest.raises(NotReadyError):
        world.read()
    world.clock.advance("27h")
    with pytest.raises(NotReadyError, match="did not end"):
        world.read()
    world.service.looks = 1
    assert world.read_at_last() == 10


def test_jobs_do_not_count() -> None:
    """So windows of this source are neither rechecked nor compared."""
    with pytest.raises(ExportError):
        World().open().count([WINDOW], 9.0)
    assert (TYPE.countable, TYPE.recheck, TYPE.union) == (False, (), False)


RIGHT = {"resource": WORKSPACE, "table": "Event"}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, []),
        ({"resource": WORKSPACE.upper(), "pipeline": "where a has 'contains' | project-away b"}, []),
        ({"resource": "12345678-1234-1234-1234-123456789abc"}, ["resource"]),
        ({"resource": f"{WORKSPACE}/tables/Event"}, ["resource"]),
        ({"table": "Event | take 5"}, ["table"]),
        ({"limit": 0}, ["limit"]),
        ({"limit": 100_000_001}, ["limit"]),
        ({"pipeline": "mv-expand a"}, ["pipeline"]),
        ({"pipeline": "where a contains 'b'"}, ["pipeline"]),
        ({"pipeline": "where a > window_start"}, ["pipeline"]),
        ({"pipeline": "where a in ((Other | project b))"}, ["pipeline"]),
        ({"pipeline": "where t > ago(1h)"}, ["pipeline"]),
    ],
)
def test_options(changes: dict[str, Any], keys: list[str]) -> None:
    """Every mistake is reported with its key."""
    assert [key for key, _, _ in TYPE.check(Options(**(RIGHT | changes)))] == keys


def test_identity_is_workspace_and_table() -> None:
    """Letter case, pipeline and limit do not make other data of it."""
    options = Options(resource=WORKSPACE.upper(), table="Event", pipeline="where a", limit=5)
    assert TYPE.identity(options, "t") == {"resource": WORKSPACE.lower(), "table": "Event"}
