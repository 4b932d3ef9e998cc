"""Search jobs: every row of long-term retention lands once, as it is in the source, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.cloud.tables import BASIC, CHEAP_TABLES
from local.compare import SECOND, ticks
from shared import job_runner
from shared.errors import DeniedError, ExportError
from shared.job_tables import JobTables
from shared.model import Export, Reading, Request, Response, Window
from tests.completeness.conftest import MakeWorld
from tests.completeness.truth import Timed, rows_at_source
from tests.completeness.world import World, WorldClock, at, intercept, spread
from tests.parts.fakes import Crashed


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass for real where the app waits for a job."""

    def sleep(clock: WorldClock, seconds: float) -> None:
        clock.tick += round(seconds * SECOND)
        clock.spent += seconds

    monkeypatch.setattr(WorldClock, "sleep", sleep)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world whose table Event holds rows of two hours, on their edges too."""
    world = make_world()
    world.cloud.add_rows("Event", spread(40, "10:00", "12:00"))
    edges = ["10:00", "10:59:59.9999999", "11:00", "11:59:59.9999999", "12:00"]
    world.cloud.add_rows("Event", [{"TimeGenerated": at(edge)} for edge in edges])
    return world


def job(world: World, **keys: Any) -> str:
    """An entry that exports table Event through search jobs."""
    (resource,) = world.cloud.workspace_resource_ids
    return world.table(**{"source": "search_jobs", "workspace": None, "resource": resource, **keys})


def run(
    world: World, *, until: Callable[[], bool] | None = None, hours: float = 0.06, times: int = 30
) -> None:
    """Let time pass and timers fire until there is nothing to do, or something is the case."""
    for _ in range(times):
        world.drain()
        if (until or (lambda: len(world.landed()) >= 2))():
            return
        world.pass_time(hours)
    raise AssertionError(f"not done: {world.documents('events/failures/')}")


def left(world: World) -> list[str]:
    """The tables of search jobs that are there, without those that are being deleted."""
    return [each["name"] for each in world.cloud.search_tables() if each["state"] != "Deleting"]


def source(world: World, **how: Any) -> list[Timed]:
    """Table Event by the time at which its rows were generated."""
    return world.events(window_column="TimeGenerated", **how)


def puts(world: World) -> list[dict[str, Any]]:
    """What jobs were asked to find."""
    return [
        json.loads(seen.body)["properties"]["searchResults"]
        for seen in world.cloud.requests
        if seen.method == "PUT" and seen.status == 202
    ]


@pytest.mark.parametrize("shape", ["specified", "recorded", "sample"])
def test_rows_land_once_as_they_are_in_the_source(world: World, shape: str) -> None:
    """However the service describes its jobs; one job for each window, and no table is left."""
    world.cloud.set_limits(job_shape=shape)
    world.start(job(world))
    run(world)
    world.check(source(world))
    assert len(puts(world)) == 2
    assert left(world) == []


def test_rows_from_years_ago_land(make_world: MakeWorld) -> None:
    """What the query API no longer shows a search job finds."""
    world = make_world()
    rows = [{"TimeGenerated": at(f"10:{minute:02}", "2022-05-01")} for minute in range(60)]
    world.cloud.add_rows("Event", rows)
    world.start(job(world, window="1d"))
    world.drain()
    world.backfill(at("00:00", "2022-05-01"), at("00:00", "2022-05-02"))
    run(world, until=lambda: len(world.landed()) >= 1)
    world.check(source(world), start=at("00:00", "2022-05-01"), end=at("00:00", "2022-05-02"))


def test_a_pipeline_runs_in_the_job(world: World) -> None:
    """What the job finds is what the pipeline makes of the rows; the time and item of the source come too."""
    world.cloud.add_rows("Event", spread(5, "10:00", "11:00", Computer="not this one"))
    pipeline = "where Computer != 'not this one' | project TimeGenerated, EventRecordId, Computer"
    world.start(job(world, pipeline=pipeline))
    run(world)
    kept = ("TimeGenerated", "EventRecordId", "Computer", "Type", "_ItemId")

    def shaped(row: dict[str, Any]) -> dict[str, Any] | None:
        return None if row["Computer"] == "not this one" else {name: row[name] for name in kept}

    world.check(source(world, shaped=shaped))


def test_every_type_comes_through(make_world: MakeWorld) -> None:
    """Dynamic values, decimals, times and odd texts of a Basic table are the source's own."""
    world = make_world(end=at("12:00"), days=0.08, basic=300)
    columns = CHEAP_TABLES[BASIC][1]
    world.start(job(world, table=BASIC))
    run(world)
    world.check(rows_at_source(world.cloud, columns, table=BASIC, window_column="TimeGenerated"))


def test_a_job_that_finds_too_much_is_halved(world: World) -> None:
    """A job that ends at its limit is thrown away; its halves, and theirs, find all rows."""
    world.start(job(world, limit=8))
    run(world, times=200)
    world.check(source(world))
    assert len(puts(world)) > 6
    assert left(world) == []


def test_a_halving_is_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often attempts are interrupted, no job is run twice."""
    monkeypatch.setattr(job_runner, "RUNNING", 2)
    world.cloud.set_limits(job_seconds=300.0)
    world.start(job(world, limit=8))
    run(world, times=400)
    world.check(source(world))
    queries = [each["query"] for each in puts(world)]
    assert len(queries) == len(set(queries))


def test_a_window_of_too_many_parts_fails_until_it_may_have_fewer(world: World) -> None:
    """It holds up no other window, keeps no table, costs no job more; a higher limit has its rows land."""
    world.cloud.add_rows("Event", spread(40, "10:00", "11:00"))
    world.start(job(world, limit=3))
    run(world, until=lambda: len(world.landed()) >= 1, times=200)
    assert world.windows() == [(at("11:00:00"), at("12:00:00"))]
    (failure,) = [each for each in world.documents("events/failures/") if each["times"]]
    assert "give the export a higher limit, or a shorter window" in failure["error"]
    started = len(puts(world))
    for _ in range(4):
        _look_at_all(world)  # so that those that still ran come to their end, and can be deleted
        world.pass_time(0.5)
        world.drain()
    later = [each["startSearchTime"] for each in puts(world)[started:]]
    assert min(later, default=at("12:00")) > at("11:00")
    assert left(world) == []
    world.start(job(world, limit=1000))
    run(world, hours=1)
    world.check(source(world), end="12:00")


def test_a_job_that_takes_long_is_picked_up_again(world: World) -> None:
    """An attempt does not wait for hours: the window is put off, and a later one finds the same job."""
    world.cloud.set_limits(job_seconds=1800.0)
    world.start(job(world))
    (first, _) = world.plan()
    world.app.exporter.run(first)
    assert world.landed() == []
    assert world.documents("events/failures/")[0]["times"] == 0
    run(world)
    world.check(source(world), end="12:00")
    assert len(puts(world)) == len({each["query"] for each in puts(world)})


def cancelled(world: World) -> list[str]:
    """Have the jobs of an export started, and cancel them; return their tables."""
    world.start(job(world))
    world.drain()
    names = left(world)
    assert names
    send = world.app._tools.connect("arm")
    (workspace,) = world.cloud.workspace_resource_ids
    for name in names:
        send(Request("POST", f"{workspace}/tables/{name}/cancelSearch?api-version=2022-10-01", b""))
    return names


@pytest.mark.parametrize("shape", ["specified", "recorded"])
@pytest.mark.parametrize("status", ["Succeeded", "Canceled"])
def test_a_cancelled_job_is_not_taken_for_a_whole_one(world: World, status: str, shape: str) -> None:
    """Its table keeps half of the rows and says that it succeeded; the window has another job later."""
    world.cloud.set_limits(job_seconds=1800.0, job_cancelled=status, job_shape=shape)
    names = cancelled(world)
    world.cloud.set_limits(job_seconds=0.0)
    run(world, hours=0.3)
    world.check(source(world), end="12:00")
    assert len(puts(world)) >= 2 * len(names)


def test_a_cancelled_job_whose_operation_is_forgotten_is_not_taken_for_a_whole_one(world: World) -> None:
    """Its table, which says no progress, succeeded, and nothing tells that half of the rows are missing."""
    world.cloud.set_limits(job_seconds=1800.0, job_shape="recorded")
    cancelled(world)
    world.cloud.fail("resource_manager", "404", path="operationstatuses", count=None)
    for _ in range(3):
        world.pass_time(2)
        world.drain()
    assert world.landed() == []
    world.cloud.clear_faults()
    world.cloud.set_limits(job_seconds=0.0)
    run(world, hours=6)
    world.check(source(world), end="12:00")


FAULTS = ["500", "429", "drop", "truncate"]


@pytest.mark.parametrize("nth", range(1, 11))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_loses_and_doubles_nothing(world: World, fault: str, nth: int) -> None:
    """Whichever of Resource Manager's answers fails, the rows land once, and no job is run in vain."""
    world.start(job(world))
    world.cloud.fail("resource_manager", fault, nth=nth, count=1)
    run(world, hours=0.3)
    world.check(source(world), end="12:00")
    queries = [each["query"] for each in puts(world)]
    assert len(queries) == len(set(queries))


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("fault", ["504", "drop", "truncate", "partial"])
def test_a_fault_while_rows_are_read_loses_nothing(world: World, fault: str, nth: int) -> None:
    """The table stays until its rows are stored."""
    world.start(job(world))
    world.cloud.fail("log_analytics", fault, nth=nth, count=2)
    run(world, hours=0.3)
    world.check(source(world), end="12:00")


def crash_at(monkeypatch: pytest.MonkeyPatch, nth: int, *, after: bool) -> list[str]:
    """End the process before or after its nth request; what it asked so far is returned, and grows."""
    asked: list[str] = []

    def look(request: Request) -> None:
        asked.append(f"{request.method} {request.target}")
        if len(asked) == nth:
            raise Crashed

    def seen(request: Request, response: Response) -> Response:
        asked.append(f"{request.method} {request.target}")
        if len(asked) == nth:
            raise Crashed
        return response

    intercept(monkeypatch, **({"after": seen} if after else {"before": look}))
    return asked


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", range(1, 19))
def test_a_crash_at_any_request_loses_and_doubles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, nth: int, after: bool
) -> None:
    """Whoever takes over goes on with the job that was started, also when nobody saw the service's answer."""
    with monkeypatch.context() as patch:
        crash_at(patch, nth, after=after)
        world.start(job(world))
        messages = world.plan()
        with pytest.raises(Crashed):
            [world.app.exporter.run(message) for message in messages]
    world.start(job(world))
    world.state.delete_blob("in_flight/log_analytics.json")  # what the dead process had in flight
    run(world, hours=0.3)
    world.check(source(world), end="12:00")
    queries = [each["query"] for each in puts(world)]
    assert len(queries) == len(set(queries))


def test_what_a_crash_leaves_is_swept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days later a table that nobody deleted goes, with what is known of it; others' tables stay."""
    with monkeypatch.context() as patch:
        patch.setattr(JobTables, "delete", _refuse)
        world.start(job(world, window="12h"))
        run(world, until=lambda: len(world.landed()) >= 1)
    assert len(left(world)) == 1
    someone = {"query": "Event", "startSearchTime": at("10:00"), "endSearchTime": at("11:00"), "limit": 5}
    _put(world, "Someone_SRCH", someone)
    world.pass_time(49)
    run(world, until=lambda: len(world.landed()) >= 5)
    assert left(world) == ["Someone_SRCH"]
    ledger = world.documents("search_jobs/")
    assert all(each["started_at"] > "2026-03-11T12" for each in ledger)


def _refuse(*_: object) -> None:
    raise ExportError("the delete was lost")


def _put(world: World, name: str, search: dict[str, Any]) -> None:
    tables = JobTables(world.app._tools.connect("arm"), world.cloud.workspace_resource_ids[0])
    tables.create(name, json.dumps({"properties": {"searchResults": search}}).encode(), 1e9)


def _look_at_all(world: World) -> None:
    tables = JobTables(world.app._tools.connect("arm"), world.cloud.workspace_resource_ids[0])
    for name in left(world):
        tables.get(name, 1e9)


def test_limits_of_the_workspace_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more jobs run at one time than may; the other windows wait, and all land."""
    monkeypatch.setattr(job_runner, "RUNNING", 1)
    world.cloud.set_limits(job_running=1, job_seconds=150.0)
    world.start(job(world, window="30m"))
    due = {at(start) for start in ("10:00:00", "10:30:00", "11:00:00", "11:30:00")}
    run(world, until=lambda: due <= {start for start, _ in world.windows()})
    world.check(source(world), end="12:00")
    refused = [seen for seen in world.cloud.requests if seen.method == "PUT" and seen.status != 202]
    assert refused == []


@pytest.mark.parametrize("limits", [{"job_running": 0}, {"jobs_a_day": 0}, {"job_tables": 0}])
def test_a_service_without_room_lets_the_export_rest(world: World, limits: dict[str, int]) -> None:
    """That others have used up the workspace's jobs is no failure of any window, and all land later."""
    world.cloud.set_limits(**limits)
    world.start(job(world))
    world.drain()
    assert world.landed() == []
    assert world.documents("events/failures/") == []
    (rest,) = world.documents("events/denied.json")
    assert rest["error"].startswith("no room")
    world.cloud.set_limits(job_running=10, jobs_a_day=200, job_tables=200)
    run(world, hours=1)
    world.check(source(world), end="12:00")


def test_a_redo_asks_anew(world: World) -> None:
    """What a job found for an earlier reading is no answer to a later one."""
    world.start(job(world))
    run(world)
    world.cloud.add_rows("Event", [{"TimeGenerated": at("10:30"), "Computer": "late"}])
    world.backfill(at("10:00"), at("11:00"), force=True)
    world.pass_time(0.1)
    run(world, until=lambda: world.one().revision == 2)
    world.check(source(world))


def test_a_missing_permission_says_what_to_grant(world: World) -> None:
    """The export is denied, and the role is named; nothing is tried again at once."""
    world.start(job(world))
    world.cloud.fail("resource_manager", "403", nth=1, count=None)
    world.drain()
    assert world.landed() == []
    with pytest.raises(DeniedError, match="Log Analytics Contributor"):
        list(world.app.open_source(_export(world)).read(_reading(world)))


def test_no_job_is_started_whose_end_may_not_be_asked(world: World) -> None:
    """A role on the workspace does not reach operations; once one on the subscription does, all rows land."""
    world.cloud.fail("resource_manager", "403", path="operationstatuses", count=None)
    world.start(job(world))
    for _ in range(3):
        world.drain()
        world.pass_time(2)
    assert puts(world) == []
    (rest,) = world.documents("events/denied.json")
    assert "Microsoft.OperationalInsights/locations/operationstatuses/read on the sub" in rest["error"]
    world.cloud.clear_faults()
    run(world, hours=1)
    world.check(source(world), end="12:00")


def test_a_job_survives_that_its_end_may_not_be_asked_any_more(world: World) -> None:
    """The permission goes while jobs run: they are paid for, and read once it is back."""
    world.cloud.set_limits(job_seconds=1800.0)
    world.start(job(world))
    world.drain()
    started = puts(world)
    assert started
    world.cloud.fail("resource_manager", "403", path="operationstatuses", count=None)
    for _ in range(4):
        world.pass_time(1)
        world.drain()
    assert (world.landed(), puts(world)) == ([], started)
    world.cloud.clear_faults()
    run(world, hours=1)
    world.check(source(world), end="12:00")
    queries = [each["query"] for each in puts(world)]
    assert len(queries) == len(set(queries))


def _export(world: World) -> Export:
    return world.app.settings.exports[0]


def _reading(world: World) -> Reading:
    return Reading(Window(ticks(at("10:00")), ticks(at("11:00"))), world.clock.monotonic() + 100)
