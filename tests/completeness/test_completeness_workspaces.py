"""Several workspaces, a resource, Resource Manager, Basic and Auxiliary tables: every row lands once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from local.cloud import INGESTION_TIME, query_service
from local.cloud.tables import AUXILIARY, BASIC, CHEAP_TABLES, TABLES
from local.cloud.timespan import parse_timespan
from local.compare import ticks
from tests.completeness.conftest import MakeWorld
from tests.completeness.truth import Timed, nested
from tests.completeness.world import World, at, spread

COLUMNS = TABLES | {name: columns for name, (_, columns) in CHEAP_TABLES.items()}
RESOURCE = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/shop/providers/x.y/servers/db (1)"
)


def at_source(
    world: World, workspaces: Sequence[str], table: str = "Event", time: str = INGESTION_TIME, **last: Any
) -> list[Timed]:
    """The rows of workspaces as they should be stored; `named` says that each names its workspace."""
    found: list[Timed] = []
    for workspace in workspaces:
        for raw in world.cloud.rows(table, workspace):
            tick = ticks(str(raw[time] or raw["TimeGenerated"]))
            row = {name: nested(raw[name], kind) for name, kind in COLUMNS[table].items()}
            found.append((tick, row | ({"_WorkspaceId": workspace} if last.get("named") else {})))
    return found


@pytest.fixture
def three(make_world: MakeWorld) -> World:
    """A world of three workspaces, the second of them with many more rows than an answer holds."""
    world = make_world(workspaces=3)
    for workspace, rows in zip(world.cloud.workspace_ids, (7, 150, 0), strict=True):
        world.cloud.add_rows("Event", spread(rows, "10:00", "12:00") if rows else [], workspace=workspace)
    return world


def test_rows_of_several_workspaces_land_once_each_with_its_workspace(three: World) -> None:
    """Each workspace is asked by itself and cut by itself, and one that holds nothing at all adds nothing."""
    three.cloud.set_limits(rows=40)
    ids = three.cloud.workspace_ids
    three.start(three.table(workspace=None, workspaces=[each.upper() for each in ids]))
    three.drain()
    three.check(at_source(three, ids, named=True))
    assert {seen.path.split("/")[3] for seen in three.cloud.requests if seen.api == "log_analytics"} == set(
        ids
    )
    assert list(three.one().rows[0])[-1] == "_WorkspaceId"


@pytest.mark.parametrize("fault", ["500", "504", "drop", "truncate", "partial"])
def test_a_fault_in_one_workspace_loses_nothing(three: World, fault: str) -> None:
    """Until every workspace has answered whole, the window is not stored."""
    ids = three.cloud.workspace_ids
    three.start(three.table(workspace=None, workspaces=ids))
    three.cloud.fail("log_analytics", fault, path=ids[1], nth=2, count=3)
    three.drain()
    three.pass_time(1)
    three.drain()
    three.check(at_source(three, ids, named=True), end="13:00")


def test_every_workspace_of_an_export_may_be_asked_on_demand(three: World) -> None:
    """The workspaces of a list are as good as single ones; ids of resources are no workspaces."""
    ids = three.cloud.workspace_ids
    (first, *_) = three.cloud.workspace_resource_ids
    resource = three.table(name="resource", workspace=None, resource=first)
    jobs = three.table(name="jobs", source="search_jobs", workspace=None, resource=first)
    three.start(three.table(workspace=None, workspaces=ids), resource, jobs)
    known = list(three.app.settings.queries.workspaces.values())
    assert (known[0], sorted(set(known))) == (ids[0], sorted(ids))


def test_a_workspace_that_refuses_leaves_no_part_of_a_window(three: World) -> None:
    """Rows of the workspaces that answered are not stored without those of the one that did not."""
    ids = three.cloud.workspace_ids
    three.start(three.table(workspace=None, workspaces=[*ids, three.cloud.foreign_workspace_id]))
    three.drain()
    assert three.landed() == []


def test_a_late_row_of_any_workspace_is_found_by_the_recheck(three: World) -> None:
    """The counts of all workspaces are added up and compared with the receipt."""
    ids = three.cloud.workspace_ids
    late = [{INGESTION_TIME: at("11:30"), "TimeGenerated": at("11:30"), "Computer": "late"}]
    three.cloud.add_rows("Event", late, visible_at=at("12:40"), workspace=ids[2])
    three.start(three.table(workspace=None, workspaces=ids))
    three.drain()
    assert three.one(start="11:00").revision == 1
    three.clock.tick = ticks(at("13:20"))
    three.drain()
    three.check(at_source(three, ids, named=True), end="13:00")
    assert three.one(start="11:00").revision == 2


@pytest.mark.parametrize("route", ["direct", "arm"])
def test_the_rows_of_a_resource_land_from_wherever_they_are(three: World, route: str) -> None:
    """A resource's rows in every workspace, and no other's, come by either route."""
    for workspace in three.cloud.workspace_ids[:2]:
        three.cloud.add_rows(
            "Event", spread(9, "10:00", "12:00", _ResourceId=RESOURCE.lower()), workspace=workspace
        )
    three.start(three.table(workspace=None, resource=RESOURCE, route=route))
    three.drain()
    everywhere = at_source(three, three.cloud.workspace_ids)
    wanted = [(tick, row) for tick, row in everywhere if row["_ResourceId"] == RESOURCE.lower()]
    assert len(wanted) == 18
    three.check(wanted)
    assert three.documents("events/origin.json")[0]["identity"]["resource"] == RESOURCE.lower()


@pytest.mark.parametrize("nested_values", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("table", ["Heartbeat", "SigninLogs", "AzureActivity"])
def test_either_shape_of_resource_manager_gives_the_same_rows(
    make_world: MakeWorld, table: str, ignores: bool, nested_values: bool
) -> None:
    """Truth values, dynamic values and all other types are what the query API would have written."""
    world = make_world(end=at("12:00"), days=0.08, events=600)
    world.cloud.set_limits(arm_ignores_prefer=ignores, arm_nested=nested_values)
    (workspace,) = world.cloud.workspace_resource_ids
    world.start(world.table(workspace=None, resource=workspace, route="arm", table=table))
    world.drain()
    wanted = at_source(world, world.cloud.workspace_ids, table)
    assert len([tick for tick, _ in wanted if ticks(at("10:00")) <= tick < ticks(at("12:00"))]) > 5
    world.check(wanted)


@pytest.mark.parametrize("told", ["status", "exceptions", "rows"])
def test_a_cut_in_the_other_shape_is_never_accepted(world: World, told: str) -> None:
    """Wherever Kusto's first shape tells that rows are missing, the slice is halved."""
    world.cloud.set_limits(rows=40, arm_ignores_prefer=True, arm_partial=told)
    world.cloud.add_rows("Event", spread(150, "10:00", "11:00"))
    (workspace,) = world.cloud.workspace_resource_ids
    world.start(world.table(workspace=None, resource=workspace, route="arm"))
    world.drain()
    world.check()
    assert int(world.one().metadata["slices"]) >= 4


def test_rows_left_out_without_a_word_are_missed_in_the_other_shape(world: World) -> None:
    """Its statistics count the rows too, and an answer with fewer is not whole."""
    world.cloud.set_limits(rows=40, too_large="silent", arm_ignores_prefer=True)
    world.cloud.add_rows("Event", spread(150, "10:00", "11:00"))
    (workspace,) = world.cloud.workspace_resource_ids
    world.start(world.table(workspace=None, resource=workspace, route="arm"))
    world.drain()
    world.check()


def cheap(world: World, name: str, **keys: Any) -> str:
    """An entry that exports a table whose queries are billed by what they scan."""
    plan = CHEAP_TABLES[name][0].lower()
    return world.table(**{"table": name, "plan": plan, "window_column": "TimeGenerated", **keys})


@pytest.fixture
def cheap_world(make_world: MakeWorld) -> World:
    """A world with Basic and Auxiliary tables, which hold rows of two hours, on their edges too."""
    world = make_world(workspaces=2, basic=0, auxiliary=0)
    for workspace in world.cloud.workspace_ids:
        for table in (BASIC, AUXILIARY):
            times = [at("10:00"), at("10:59:59.9999999"), at("11:00"), at("11:30"), at("12:00")]
            rows = [{"TimeGenerated": time} for time in times for _ in range(3)]
            world.cloud.add_rows(table, rows, workspace=workspace)
    return world


@pytest.mark.parametrize("table", [BASIC, AUXILIARY])
def test_tables_of_other_plans_land_once_and_are_scanned_once(cheap_world: World, table: str) -> None:
    """A window is asked for without counting first; of the rest of the table a second is scanned."""
    world = cheap_world
    world.start(cheap(world, table))
    world.drain()
    world.check(at_source(world, world.cloud.workspace_ids[:1], table, "TimeGenerated"))
    asked = sorted(scan.timespan for scan in world.cloud.scans)
    assert asked == [
        f"{at('09:59:59')}/{at('11:00:01')}",
        f"{at('10:59:59')}/{at('12:00:01')}",
    ]


@pytest.mark.parametrize("table", [BASIC, AUXILIARY])
def test_rows_on_a_windows_edge_land_once_if_the_ends_of_a_timespan_are_not_in_it(
    cheap_world: World, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are is not documented; the query cuts exactly, so the timespan may be wider."""
    world = cheap_world

    def exclusive(text: str, now: int) -> tuple[int, int]:
        first, last = parse_timespan(text, now)
        return first + 1, last - 1

    monkeypatch.setattr(query_service, "parse_timespan", exclusive)
    world.start(cheap(world, table))
    world.drain()
    world.check(at_source(world, world.cloud.workspace_ids[:1], table, "TimeGenerated"))


def test_basic_tables_of_several_workspaces_land_once(cheap_world: World) -> None:
    """Each workspace's table is scanned once."""
    world = cheap_world
    ids = world.cloud.workspace_ids
    world.start(cheap(world, BASIC, workspace=None, workspaces=ids))
    world.drain()
    world.check(at_source(world, ids, BASIC, "TimeGenerated", named=True))
    assert len(world.cloud.scans) == 4


def test_a_basic_window_beyond_an_answer_is_halved(cheap_world: World) -> None:
    """What does not fit is asked for in halves, which are scans of their own time."""
    world = cheap_world
    rows = [{"TimeGenerated": row["TimeGenerated"]} for row in spread(200, "10:00", "11:00")]
    world.cloud.add_rows(BASIC, rows)
    world.cloud.set_limits(rows=60)
    world.start(cheap(world, BASIC))
    world.drain()
    world.check(at_source(world, world.cloud.workspace_ids[:1], BASIC, "TimeGenerated"))
    assert int(world.one().metadata["slices"]) >= 4


def test_a_late_row_of_a_basic_table_is_found_by_the_recheck(cheap_world: World) -> None:
    """The recheck counts, which is a scan of the window, and reads it again where there are more."""
    world = cheap_world
    world.cloud.add_rows(BASIC, [{"TimeGenerated": at("11:30"), "PodName": "late"}], visible_at=at("12:40"))
    world.start(cheap(world, BASIC))
    world.drain()
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(at_source(world, world.cloud.workspace_ids[:1], BASIC, "TimeGenerated"))
    assert (world.one(start="10:00").revision, world.one(start="11:00").revision) == (1, 2)
    counts = [json.loads(seen.body)["query"] for seen in world.cloud.requests if "/search?" in seen.path]
    assert sum(query.endswith("| count") for query in counts) == 1


def test_time_that_a_basic_table_is_not_asked_for_is_unavailable(cheap_world: World) -> None:
    """Whatever retention the export states, neither older time nor a margin is taken for empty."""
    world = cheap_world
    world.start(cheap(world, BASIC, start=at("00:00", "2026-02-07"), retention="100d", window="1d"))
    world.drain()
    lost = world.coverage()["unavailable"]
    assert [(each["start"], each["end"][:16]) for each in lost] == [
        ("2026-02-07T00:00:00Z", "2026-02-08T00:00"),
        ("2026-02-08T00:00:00Z", "2026-02-08T12:30"),
    ]


def test_a_service_that_refuses_time_in_the_query_fails_the_window(cheap_world: World) -> None:
    """Where the documentation is taken by its word no window is stored, and the error says what to do."""
    world = cheap_world
    world.cloud.set_limits(search_time_filters=False)
    world.start(cheap(world, BASIC))
    world.drain()
    assert world.landed() == []
    error = world.documents("events/failures/")[0]["error"]
    assert "TimeGenerated" in error
    assert "export it with the source search_jobs" in error
