"""What the two retired APIs hold lands once, whatever they do: pending, lost, failed and cut-off answers."""

from __future__ import annotations

from typing import Any

import pytest

from local.cloud.activities import TIMES
from local.cloud.dataset import DOMAIN
from local.compare import ticks
from tests.completeness.truth import Timed, searched_at_source
from tests.completeness.world import World, at

EDGES = ["10:00:00", "10:59:59.9999999", "11:00:00", "11:00:00.0000001", "11:30:00.5", "11:59:59.9999999"]
OUTSIDE = ["09:59:59.9999999", "12:00:00"]
BETWEEN = [f"{hour}:{minute:02}:07.25" for hour in (10, 11) for minute in range(1, 13)]
INSTANTS = [*EDGES, *OUTSIDE, *BETWEEN]


@pytest.fixture(autouse=True)
def _no_rate(world: World) -> None:
    """Let searches begin as fast as they can; the rate needs real time to pass."""
    world.cloud.set_limits(legacy_rate=None)


# The search API of Log Analytics.


def fill_tables(world: World) -> None:
    """Put rows on the edges of windows, and others between them, into two tables."""
    for table in ("Event", "Heartbeat"):
        rows = [
            {"TimeGenerated": at(time), "Computer": f"pc-{number % 3}"}
            for number, time in enumerate(INSTANTS)
        ]
        world.cloud.add_rows(table, rows)


def searches(world: World) -> list[Any]:
    """The requests to the search API so far."""
    return [seen for seen in world.cloud.requests if seen.api == "resource_manager"]


def test_every_row_of_a_workspace_lands_once(world: World) -> None:
    """Rows of all kinds, at the edges of windows, after a search that was pending for a while."""
    fill_tables(world)
    world.start(world.search())
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search")
    assert {seen.method for seen in searches(world)} == {"POST"}
    assert {blob.metadata["slices"] for blob in world.landed("search")} == {"1"}
    assert sum(int(blob.metadata["requests"]) for blob in world.landed("search")) == len(searches(world))


@pytest.mark.parametrize("limit", ["top", "legacy_rows"])
def test_searches_that_are_cut_off_are_made_in_halves(world: World, limit: str) -> None:
    """Whether we asked for fewer rows or the service gives fewer: what it counts has to be there."""
    fill_tables(world)
    if limit == "legacy_rows":
        world.cloud.set_limits(legacy_rows=9)
    world.start(world.search(top=9 if limit == "top" else None))
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search")
    assert {int(blob.metadata["slices"]) > 3 for blob in world.landed("search")} == {True}


def test_a_query_selects(world: World) -> None:
    """The query of the original script, and a field beside it."""
    fill_tables(world)
    world.start(world.search(query="Type=Event Computer=pc-1"))
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", Computer="pc-1"), export="search")
    assert sum(len(blob.rows) for blob in world.landed("search")) > 5


@pytest.mark.parametrize("verbs", ["both", "post", "get"])
@pytest.mark.parametrize("ids", ["pipes", "path", "bare"])
def test_searches_are_found_again_by_any_name_and_method(world: World, verbs: str, ids: str) -> None:
    """As documented, as recorded, as the script did: each kind of service is read to the end."""
    world.cloud.set_limits(legacy_verbs=verbs, legacy_ids=ids, legacy_polls=3)
    fill_tables(world)
    world.start(world.search())
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search")


def test_an_answer_at_once_is_not_asked_for_again(world: World) -> None:
    """Such a search is never kept: a poll would be answered with 410."""
    world.cloud.set_limits(legacy_polls=0)
    fill_tables(world)
    world.start(world.search())
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search")
    assert len(searches(world)) == 2


@pytest.mark.parametrize("where", ["search?", "search/"])
@pytest.mark.parametrize(
    "fault", ["search_error", "gone", "expired_token", "429", "503", "truncate", "drop", "wrong_content"]
)
def test_what_goes_wrong_with_a_search_costs_no_row(world: World, where: str, fault: str) -> None:
    """At its beginning and while it is pending; nothing of a search that failed is stored."""
    fill_tables(world)
    world.start(world.search())
    world.cloud.fail("resource_manager", fault, path=where, count=2)
    world.drain()
    world.pass_time(1)  # what was given up is tried again later
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search", end="13:00")


def test_a_second_that_is_too_full_stores_nothing_and_says_so(world: World) -> None:
    """A window that cannot be had whole is a failure that names its second; its neighbour lands."""
    fill_tables(world)
    world.cloud.add_rows("Event", [{"TimeGenerated": at("11:20:00")} for _ in range(8)])
    world.start(world.search(top=8))
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search", end="11:00")
    assert [start for start, _ in world.windows("search")] == [at("10:00:00")]
    (failure,) = world.documents("search/failures/")
    assert "narrow the query" in failure["error"]


def test_a_row_that_came_late_is_found_by_a_recheck(world: World) -> None:
    """These windows lie on TimeGenerated, so late rows belong to windows that are stored already."""
    fill_tables(world)
    world.start(world.search())
    world.drain()
    world.cloud.add_rows("Event", [{"TimeGenerated": at("11:45:00")}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(searched_at_source(world.cloud, "Event", "Heartbeat"), export="search", end="13:00")
    assert world.one("search", "11:00").revision == 2


# Azure AD Graph's reports.


def fill_report(world: World, report: str, **values: object) -> None:
    """Put records on the edges of windows, and others between them, into a report."""
    world.cloud.add_activities(
        report,
        [
            {
                "id": f"{report}-{number}-{'-'.join(map(str, values.values()))}",
                TIMES[report]: at(time),
                **values,
            }
            for number, time in enumerate(INSTANTS)
        ],
    )


def records(world: World, report: str, **having: object) -> list[Timed]:
    """The records of a report with their window time."""
    return [
        (ticks(str(each[TIMES[report]])), each)
        for each in world.cloud.activities(report)
        if all(each.get(name) == value for name, value in having.items())
    ]


@pytest.mark.parametrize("report", list(TIMES))
@pytest.mark.parametrize("tenant", ["%AZURE_TENANT_ID%", DOMAIN])
def test_every_record_of_a_report_lands_once(world: World, report: str, tenant: str) -> None:
    """In pages, at the edges of windows, of a tenant by its id or by a domain name."""
    world.cloud.set_limits(activity_page=5)
    fill_report(world, report)
    world.start(world.report(report, tenant=tenant))
    world.drain()
    world.check(records(world, report), export=report.lower())
    asked = [seen for seen in world.cloud.requests if seen.api == "aad_graph"]
    assert sum(int(blob.metadata["requests"]) for blob in world.landed(report.lower())) == len(asked) > 6


@pytest.mark.parametrize("report", list(TIMES))
@pytest.mark.parametrize(
    "fault",
    ["invalid_skip_token", "repeated_next_link", "expired_token", "429", "503", "truncate", "drop",
     "wrong_content"],
)  # fmt: skip
def test_what_breaks_a_walk_costs_no_record(world: World, report: str, fault: str) -> None:
    """At its beginning and in its middle; a token is refused only where there is one."""
    world.cloud.set_limits(activity_page=5)
    fill_report(world, report)
    world.start(world.report(report))
    for nth in (1, 4):
        world.cloud.fail("aad_graph", fault, path="skip" if fault == "invalid_skip_token" else "", nth=nth)
    world.drain()
    world.check(records(world, report), export=report.lower())


def test_a_users_filter_is_joined_to_the_windows(world: World) -> None:
    """Only what it selects lands; the windows stay whole."""
    for category in ("Directory", "SSPR", "B2C"):
        fill_report(world, "audit", category=category)
    world.start(world.report("audit", filter="category eq 'SSPR'"))
    world.drain()
    world.check(records(world, "audit", category="SSPR"), export="audit")


def test_a_tenant_that_refuses_apps_is_told_how_to_go_on(world: World) -> None:
    """The known issue disables only that export, names the way out, and is over when the tenant allows it."""
    fill_report(world, "audit")
    world.cloud.add_audits([{"activityDateTime": at("11:30")}])
    world.cloud.set_limits(aad_graph_app_tokens=False)
    world.start(world.report("audit"), world.audits())
    world.drain(timers=1)
    assert "EXPORT_CREDENTIAL = azure_cli or device_code" in world.coverage("audit")["denied"]
    assert world.landed("audit") == []
    world.check_audits()
    world.cloud.set_limits(aad_graph_app_tokens=True)
    world.pass_time(0.1)
    world.drain()
    world.check(records(world, "audit"), export="audit")
    assert world.coverage("audit")["denied"] is None


def test_sign_ins_beyond_the_cap_are_never_missed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that ends at the cap stores nothing and asks for a shorter window, with which all lands."""
    world.cloud.set_limits(signin_events=10)
    monkeypatch.setattr("shared.sources.aad_graph.MOST_SIGN_INS", 10)
    fill_report(world, "signinEvents")
    world.start(world.report("signinEvents"))
    world.drain()
    assert world.landed("signinevents") == []
    errors = [each["error"] for each in world.documents("signinevents/failures/")]
    assert ["shorter window" in error for error in errors] == [True, True]
    world.start(world.report("signinEvents", window="5m"))
    world.pass_time(1)
    world.drain()
    world.check(records(world, "signinEvents"), export="signinevents")


def test_a_late_record_is_added_and_a_changed_one_kept_in_both_forms(world: World) -> None:
    """The union of what was stored and what is there now, as for the API that came after."""
    fill_report(world, "audit")
    world.start(world.report("audit"))
    world.drain()
    world.cloud.add_activities("audit", [{"id": "late", "activityDate": at("11:59:59.5")}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check(records(world, "audit"), export="audit", end="13:00")
    assert world.one("audit", "11:00").revision == 2
