"""Searches of the unified audit log: slow, lost, failed, cut off or unsteady, each record lands once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.cloud.audit_queries import Search
from local.compare import SECOND, ticks
from shared.model import Request, Response
from tests.completeness.truth import Timed
from tests.completeness.world import MINUTE, World, at, intercept

QUERIES = "security/auditLog/queries"
DOCUMENT = Search.document


class Crashed(BaseException):
    """The process ended here."""


@pytest.fixture(autouse=True)
def _swift(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches be over at once, pages be small, and time pass where the app waits."""
    world.cloud.set_limits(audit_search_start=0.0, audit_search_seconds=0.0)
    monkeypatch.setattr("shared.sources.audit_search._PAGE_SIZE", 5)
    count_with(monkeypatch, 0)

    def sleep(seconds: float) -> None:
        world.clock.tick += round(seconds * SECOND)
        world.clock.spent += seconds

    monkeypatch.setattr(world.clock, "sleep", sleep)


def count_with(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Let each search count so many records more than it found; by chance they would be up to three."""

    def counted(search: Search, now: float) -> dict[str, Any]:
        shown = DOCUMENT(search, now)
        if shown["approximateReturnedRecordCount"] is not None:
            shown["approximateReturnedRecordCount"] = len(search.found or ()) + error
        return shown

    monkeypatch.setattr(Search, "document", counted)


def fill(world: World, count: int = 40) -> None:
    """Put records on the edges of windows, several into one second, and others between them."""
    edges = ["09:59:59", "10:00:00", "10:00:00", "10:59:59", "11:00:00", "11:00:01", "11:59:59", "12:00:00"]
    between = [f"{10 + number % 2}:{number % 58 + 1:02}:07" for number in range(count)]
    world.cloud.add_search_records(
        [
            {"id": f"record-{number}", "createdDateTime": at(time)}
            for number, time in enumerate(edges + between)
        ]
    )


def truth(world: World) -> list[Timed]:
    """What the service holds, as it should be stored."""
    return [(ticks(str(each["createdDateTime"])), each) for each in world.cloud.search_records()]


def check(world: World, end: str = "12:00") -> None:
    """Assert that every record landed once."""
    world.check(truth(world), export="searched", end=end)


def begun(world: World) -> list[dict[str, Any]]:
    """What the searches so far were begun with; those that were refused as well."""
    return [
        json.loads(seen.body)
        for seen in world.cloud.requests
        if seen.method == "POST" and seen.api == "graph"
    ]


def spans(world: World) -> list[str]:
    """The times that searches were begun for, in order, as short text."""
    return sorted(
        f"{each['filterStartDateTime'][11:19]}-{each['filterEndDateTime'][11:19]}" for each in begun(world)
    )


def settle(world: World, minutes: int = 3, times: int = 20) -> None:
    """Let the timers fire every few minutes until the windows until 12:00 are stored."""
    for _ in range(times):
        world.drain()
        if len(world.landed("searched")) >= 2:
            return
        world.clock.tick += minutes * MINUTE
    raise AssertionError("the windows were not stored")


@pytest.mark.parametrize("ends", ["none", "start", "end", "both"])
def test_every_record_lands_once_whichever_ends_belong_to_a_search(world: World, ends: str) -> None:
    """Each search asks for a second more on both sides, and what is in it is cut exactly."""
    world.cloud.set_limits(audit_search_ends=ends)
    fill(world)
    world.start(world.searched())
    world.drain()
    check(world)
    assert spans(world) == ["09:59:59-11:00:01", "10:59:59-12:00:01"]


def test_filters_are_the_services(world: World) -> None:
    """Only the records that are asked for land."""
    fill(world)
    more = [{"createdDateTime": at("10:30"), "operation": operation} for operation in ("A b.", "C d.")]
    world.cloud.add_search_records(more)
    world.start(world.searched(operations=["C d."], record_types=["azureActiveDirectory"]))
    world.drain()
    world.check([each for each in truth(world) if each[1]["operation"] == "C d."], export="searched")


def test_a_search_that_takes_long_is_begun_once(world: World) -> None:
    """Attempts come and go while it runs, and one of them finds it finished."""
    world.cloud.set_limits(audit_search_start=60.0, audit_search_seconds=1_500.0)
    fill(world)
    world.start(world.searched())
    settle(world)
    check(world)
    assert spans(world) == ["09:59:59-11:00:01", "10:59:59-12:00:01"]


def test_a_process_that_dies_between_the_beginning_and_the_end_costs_no_search(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one finds what the dead one had begun."""
    deaths = [QUERIES]

    def die(request: Request, response: Response) -> Response:
        if request.method == "POST" and deaths and deaths[0] in request.target:
            raise Crashed(deaths.pop())
        return response

    intercept(monkeypatch, after=die)
    world.cloud.set_limits(audit_search_seconds=100.0)
    fill(world)
    world.start(world.searched())
    with pytest.raises(Crashed):
        world.drain()
    world.start(world.searched())
    world.clock.tick += 30 * MINUTE  # until what the dead process had in flight counts as lost
    settle(world)
    check(world)
    assert spans(world)[:2] == ["09:59:59-11:00:01", "10:59:59-12:00:01"]
    assert len(set(spans(world))) == len(spans(world))


def test_a_beginning_that_was_not_answered_is_found(world: World) -> None:
    """The answer broke off: whether the search had begun is looked up, not guessed."""
    fill(world)
    world.cloud.fail("graph", "truncate", path=QUERIES, nth=2, count=1)
    world.start(world.searched())
    world.drain()
    check(world)
    assert spans(world) == ["09:59:59-11:00:01", "10:59:59-12:00:01"]


def test_a_search_that_finds_too_much_is_halved(world: World) -> None:
    """A search that is cut off succeeds all the same: it is never taken for the whole."""
    world.cloud.set_limits(audit_search_records=9)
    fill(world, 60)
    world.start(world.searched())
    world.drain()
    check(world)
    assert len(set(spans(world))) == len(spans(world)) > 10


def test_a_second_that_holds_too_much_is_not_stored(world: World) -> None:
    """It fails with what to do, and the other windows are stored."""
    world.cloud.set_limits(audit_search_records=9)
    world.cloud.add_search_records([{"createdDateTime": at("10:30:00")} for _ in range(10)])
    world.start(world.searched())
    world.drain()
    assert world.windows("searched") == [(at("11:00:00"), at("12:00:00"))]
    (failure,) = world.documents("searched/failures/")
    assert "record_types" in failure["error"]


def test_walks_that_differ_lose_nothing(world: World) -> None:
    """A walk that leaves out a tenth and another that does not are put together."""
    fill(world)
    world.cloud.fail("graph", "unsteady_records", path="/records?$top", nth=1, count=3)
    world.start(world.searched())
    world.drain()
    check(world)


def test_a_window_that_shows_fewer_than_were_counted_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put off and does not fail; the same search is read when it shows as many."""
    count_with(monkeypatch, 2)
    fill(world)
    world.start(world.searched())
    world.drain()
    assert world.landed("searched") == []
    assert {each["times"] for each in world.documents("searched/failures/")} == {0}
    count_with(monkeypatch, 0)
    settle(world)
    assert spans(world) == ["09:59:59-11:00:01", "10:59:59-12:00:01"]
    check(world)


@pytest.mark.parametrize("outcome", ["search_failed", "search_cancelled"])
def test_a_search_that_ends_badly_is_made_again_later(world: World, outcome: str) -> None:
    """The failed one is not picked up, and another is begun when the window's turn comes again."""
    fill(world)
    world.cloud.fail("graph", outcome, path=QUERIES, nth=2, count=1)
    world.start(world.searched())
    world.drain()
    assert len(world.landed("searched")) == 1
    assert "ended as" in world.documents("searched/failures/")[0]["error"]
    settle(world)
    check(world)
    assert len(begun(world)) == 3


def test_a_tenant_without_room_is_asked_again_later(world: World) -> None:
    """Other apps use up what the tenant may have; the export rests, and nothing fails."""
    fill(world)
    world.cloud.set_limits(audit_searches_running=0)
    world.start(world.searched())
    world.drain()
    assert world.landed("searched") == []
    assert world.documents("searched/failures/") == []
    assert "no room" in str(world.documents("searched/denied"))
    world.cloud.set_limits(audit_searches_running=50)
    settle(world, minutes=5)
    check(world)


@pytest.mark.parametrize(
    "fault", ["429", "503", "drop", "truncate", "invalid_skip_token", "repeated_next_link"]
)
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_whatever_breaks_each_record_lands_once(world: World, fault: str, nth: int) -> None:
    """The list, the beginning, a look, a page and a link, each goes wrong twice."""
    fill(world)
    world.cloud.fail("graph", fault, path=QUERIES, nth=nth, count=2)
    world.start(world.searched())
    settle(world, minutes=20)
    check(world)


def test_a_missing_permission_stops_this_export_only(world: World) -> None:
    """It is told once what to grant, and the other exports go on."""
    fill(world)
    world.cloud.add_audits([{"activityDateTime": at("10:30")}])
    world.cloud.fail("graph", "missing_consent", path=QUERIES, count=None)
    world.start(world.searched(), world.audits())
    world.drain()
    world.check_audits()
    assert world.landed("searched") == []
    assert "AuditLogsQuery.Read.All" in str(world.documents("searched/denied"))


def test_a_late_record_is_found_by_a_search_of_its_own(world: World) -> None:
    """A recheck does not take the first reading's search for its answer."""
    fill(world)
    world.start(world.searched())
    world.drain()
    world.cloud.add_search_records([{"createdDateTime": at("11:59:59"), "id": "late"}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    check(world, end="13:00")
    assert [each[3] for each in world.rechecked("searched") if each[0] == at("11:00:00")] == ["added"]


def test_an_auditor_counts_by_one_search(world: World) -> None:
    """What is stored is compared with what the service holds now."""
    fill(world)
    world.start(world.searched())
    world.drain()
    before = len(begun(world))
    assert world.verify(at("10:00"), at("12:00"), "searched")["differing"] == []
    world.cloud.add_search_records([{"createdDateTime": at("11:30"), "id": "late"}])
    world.clock.tick += 60 * MINUTE
    found = world.verify(at("10:00"), at("12:00"), "searched")
    assert [each["start"] for each in found["differing"]] == [at("11:00:00")]
    assert len(begun(world)) == before + 3
