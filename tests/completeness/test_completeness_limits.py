"""Larger than one answer: whatever the service cuts, and however it says so, every row lands once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from local.cloud import INGESTION_TIME
from local.compare import ticks
from shared import log_reader, query_api, slices
from shared.errors import DeadlineError, IncompleteAnswerError
from shared.model import Request, Response
from tests.completeness.conftest import MakeWorld
from tests.completeness.world import NO_RATES, World, at, intercept, spread

SIGNALS = ["partial", "400", "413", "504", "silent"]
FREE_KQL = "Event | where ingestion_time() >= window_start and ingestion_time() < window_end"


def export(world: World, **keys: Any) -> list[str]:
    """Export 10:00 to 12:00 from table Event and return the KQL that it took."""
    world.start(world.table(**keys))
    world.cloud.clear_requests()
    world.drain()
    return world.queries()


@pytest.mark.parametrize("signal", SIGNALS)
def test_rows_beyond_the_row_limit_land_however_the_cut_is_signalled(world: World, signal: str) -> None:
    """A window of more rows than an answer holds is halved until its slices fit."""
    world.cloud.set_limits(rows=60, too_large=signal)
    world.cloud.add_rows("Event", spread(200, "10:00", "11:00"))
    world.cloud.add_rows("Event", spread(20, "11:00", "12:00"))
    export(world)
    world.check()
    assert int(world.one().metadata["slices"]) >= 4


@pytest.mark.parametrize("signal", SIGNALS)
def test_rows_beyond_the_byte_limit_land_however_the_cut_is_signalled(world: World, signal: str) -> None:
    """A window of few but large rows is halved as well."""
    world.cloud.set_limits(bytes=100_000, too_large=signal)
    world.cloud.add_rows("Event", spread(40, "10:00", "11:00", RenderedDescription="x" * 10_000))
    export(world)
    world.check()
    assert int(world.one().metadata["slices"]) >= 8


def test_an_answer_at_the_row_cap_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just as many rows as an answer holds at most may be all of them or not: the slice is halved."""
    for module in (query_api, log_reader):
        monkeypatch.setattr(module, "MAX_ROWS", 50)
    world.cloud.set_limits(rows=50)
    world.cloud.add_rows("Event", spread(50, "10:00", "11:00"))
    queries = export(world)
    world.check()
    assert int(world.one().metadata["slices"]) == 2
    assert len([each for each in queries if "10:00:00" in each]) >= 2


@pytest.mark.parametrize("fault", ["504", "slow"])
def test_a_query_that_takes_too_long_is_halved_and_not_repeated(world: World, fault: str) -> None:
    """A time-out says that too much was asked: the same is never asked again."""
    world.cloud.add_rows("Event", spread(30, "10:00", "11:00"))
    world.start(world.table(start=at("10:00"), pipeline="project TimeGenerated, EventRecordId"))
    world.clock.tick = ticks(at("11:20"))
    world.cloud.fail("log_analytics", fault, nth=2, count=1, seconds=400)  # the first one counts
    world.drain()
    world.check(
        world.events(shaped=lambda row: {key: row[key] for key in ("TimeGenerated", "EventRecordId")}),
        end="11:00",
    )
    asked = [each for each in world.queries() if "summarize" not in each]
    assert len(asked) == len(set(asked)) == 3
    assert world.one().metadata["slices"] == "2"


def test_a_count_that_takes_too_long_is_no_failure(world: World) -> None:
    """Where even counting is too much the window is asked for as a whole, and then halved."""
    world.cloud.set_limits(rows=60)
    world.cloud.add_rows("Event", spread(100, "10:00", "11:00"))
    world.start(world.table())
    world.cloud.fail("log_analytics", "504", nth=1, count=1)
    world.drain()
    world.check()


SECOND_START, SECOND_END = at("10:17:03"), at("10:17:04")


def export_second(world: World, **keys: Any) -> list[str]:
    """Export the one second from 10:17:03 on and return the KQL that it took."""
    world.start(world.table(window="1s", start=SECOND_START, lag="0s", **keys))
    world.clock.tick = ticks(SECOND_END)
    world.cloud.clear_requests()
    world.drain(timers=1)
    return world.queries()


def numbered(count: int, time: str) -> list[dict[str, object]]:
    """So many rows of one instant, told apart by a number."""
    return [{"TimeGenerated": time, INGESTION_TIME: time, "EventRecordId": number} for number in range(count)]


def test_halving_goes_down_to_one_tick(world: World) -> None:
    """Rows that lie on neighbouring ticks are parted between the two."""
    world.cloud.set_limits(rows=8)
    for tick in range(3):
        world.cloud.add_rows("Event", numbered(8, at(f"10:17:03.123456{tick}")))
    queries = export_second(world)
    world.check(start="10:17:03", end="10:17:04")
    spans = [re.findall(r"window_(?:start|end) = datetime\(([^)]+)\)", each) for each in queries]
    assert min(ticks(end) - ticks(start) for start, end in spans) == 1
    assert not any("hash" in each for each in queries)


def test_a_tick_of_more_rows_than_an_answer_holds_is_parted_by_hash(world: World) -> None:
    """Distinct rows on one tick land completely, and the parts were counted against the tick."""
    world.cloud.set_limits(rows=100)
    world.cloud.add_rows("Event", numbered(150, at("10:17:03.1234567")))
    queries = export_second(world)
    world.check(start="10:17:03", end="10:17:04")
    assert any(re.search(r"where hash\w*\(.*, 2\) == 1", each) for each in queries)
    assert any(each.endswith("| count") for each in queries)


def test_equal_rows_on_one_tick_land_as_often_as_they_are_there(world: World) -> None:
    """Rows that are the same in every value share a part: all land, as long as an answer holds them."""
    world.cloud.set_limits(rows=100)
    (same,) = numbered(1, at("10:17:03.5"))
    world.cloud.add_rows("Event", [same | {"_ItemId": "twin"}] * 60 + numbered(60, at("10:17:03.5")))
    export_second(world)
    world.check(start="10:17:03", end="10:17:04")


def test_equal_rows_on_one_tick_beyond_an_answer_fail_and_store_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be parted fails with the reason instead of being stored in part."""
    monkeypatch.setattr(slices, "MAX_PARTS", 2)
    world.cloud.set_limits(rows=100)
    (same,) = numbered(1, at("10:17:03.5"))
    world.cloud.add_rows("Event", [same | {"_ItemId": "twin"}] * 130)
    export_second(world)
    assert world.landed() == []
    (failure,) = world.documents("events/failures/")
    assert "one tick's rows do not fit" in failure["error"]


def test_parts_that_do_not_add_up_to_the_tick_fail_the_window(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row appears between the parts and the tick's own count: nothing is believed, the retry has all."""
    world.cloud.set_limits(rows=100)
    world.cloud.add_rows("Event", numbered(150, at("10:17:03.5")))
    added: list[int] = []

    def one_more(request: Request) -> None:
        if b'| count"' in (request.body or b"") and not added:
            added.append(world.cloud.add_rows("Event", numbered(1, at("10:17:03.5"))))

    intercept(monkeypatch, before=one_more)
    world.start(world.table(window="1s", start=SECOND_START, lag="0s"))
    world.clock.tick = ticks(SECOND_END)
    (message,) = world.plan()
    with pytest.raises(IncompleteAnswerError, match="counts 151 rows, its parts hold 150"):
        world.app.exporter.run(message)
    assert world.landed() == []
    world.app.exporter.run(message, 2)
    world.check(start="10:17:03", end="10:17:04")


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_slices_that_answer_in_any_order_are_staged_in_order(make_world: MakeWorld, parallel: str) -> None:
    """Slices are read in parallel, each answer as late as it likes; the file is in the order of time."""
    world = make_world(latency=0.05, limits=replace(NO_RATES, rows=40))
    early = spread(240, "10:00", "10:30")
    late = [row | {"EventRecordId": 1_000 + place} for place, row in enumerate(spread(20, "10:30", "11:00"))]
    world.cloud.add_rows("Event", early + late)  # the first half is halved again, the second is not
    world.start(world.table(), EXPORT_PARALLEL_SLICES=parallel)
    world.clock.tick = ticks(at("11:20"))
    world.cloud.fail("log_analytics", "slow", nth=3, count=1, seconds=0.4)
    world.drain()
    world.check(end="11:00")
    numbers = [int(row["EventRecordId"]) for row in world.one().rows]
    assert numbers == sorted(numbers)


def test_a_failing_slice_fails_the_window_as_a_whole(world: World) -> None:
    """Rows of the other slices are not visible until the window is complete."""
    world.cloud.set_limits(rows=40)
    world.cloud.add_rows("Event", spread(150, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.cloud.fail("log_analytics", "404", nth=6, count=1)
    world.drain()
    assert world.landed() == []
    assert len(world.documents("events/failures/")) == 1
    world.pass_time(0.1)
    world.drain()
    world.check(end="11:00")


def partial_error(code: str, text: str) -> bytes:
    """The error of an answer with status 200 that lacks rows."""
    engine = {
        "code": "EngineError",
        "message": "Something went wrong.",
        "innererror": {"code": code, "message": text},
    }
    return json.dumps(
        {"code": "PartialError", "message": "There were some errors.", "details": [engine]}
    ).encode()


def spoil_once(monkeypatch: pytest.MonkeyPatch, error: bytes) -> None:
    """Give the first answer with rows an error beside them, and none of the rows."""
    spoilt: list[Request] = []

    def spoil(request: Request, response: Response) -> Response:
        if spoilt or b"summarize" in (request.body or b"") or b'"rows":[[' not in response.body:
            return response
        spoilt.append(request)
        head = response.body.partition(b'"rows":[')[0]
        return replace(response, body=head + b'"rows":[]}],"error":' + error + b"}")

    intercept(monkeypatch, after=spoil)


def test_another_partial_error_fails_the_window_and_is_retried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a 200 that is about no limit is not a reason to halve; the same is asked again."""
    spoil_once(monkeypatch, partial_error("-2133196784", "A shard of the table could not be reached."))
    world.cloud.add_rows("Event", spread(40, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    (message,) = world.plan()
    with pytest.raises(IncompleteAnswerError, match="shard"):
        world.app.exporter.run(message)
    assert world.landed() == []
    world.app.exporter.run(message, 2)
    world.check(end="11:00")
    assert world.one().metadata["slices"] == "1"


def test_a_200_that_says_the_query_was_cancelled_is_halved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that the engine gave up took too long, whatever the status."""
    spoil_once(monkeypatch, partial_error("-2133196794", "Query cancelled. E_QUERY_CANCELLED (0x80DA0006)."))
    world.cloud.add_rows("Event", spread(40, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    world.check(end="11:00")
    assert world.one().metadata["slices"] == "2"


def test_a_window_that_takes_a_function_too_long_fails_with_advice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the host ends the function, the window ends itself and names what to change."""

    def slow(request: Request, response: Response) -> Response:
        world.clock.spent += 300 if b"window_start" in (request.body or b"") else 0
        return response

    intercept(monkeypatch, after=slow)
    world.cloud.set_limits(rows=30)
    world.cloud.add_rows("Event", spread(50, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    (message,) = world.plan()
    with pytest.raises(DeadlineError, match="shorter window"):
        world.app.exporter.run(message)
    assert world.landed() == []


def test_a_body_that_ends_early_is_never_stored(world: World) -> None:
    """Half an answer is no answer."""
    world.cloud.add_rows("Event", spread(40, "10:00", "12:00"))
    world.start(world.table())
    world.cloud.fail("log_analytics", "truncate", nth=2, count=3)
    world.drain()
    world.check()


def test_a_window_of_too_many_slices_fails_with_advice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a bound on the slices of a window; its failure names what to change, and nothing is stored."""
    assert slices.MAX_SLICES == 1_000
    monkeypatch.setattr(slices, "MAX_SLICES", 20)  # a thousand questions take the stand-in most of a minute
    world.cloud.set_limits(rows=1)
    world.cloud.add_rows("Event", spread(30, "10:00", "11:00"))
    world.start(world.table())
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    assert world.landed() == []
    (failure,) = world.documents("events/failures/")
    assert "20 slices" in failure["error"]
    assert "shorter window" in failure["error"]
    assert failure["times"] == 1
    world.start(world.table(window="10m"))
    world.drain()
    world.check(end="11:00")


def test_free_kql_beyond_an_answer_fails_with_advice(world: World) -> None:
    """Only who wrote a query knows whether it may be asked in parts."""
    world.cloud.set_limits(rows=50)
    world.cloud.add_rows("Event", spread(80, "10:00", "11:00"))
    export(world, table=None, kql=FREE_KQL)
    assert world.windows() == [(at("11:00:00"), at("12:00:00"))]
    (failure,) = world.documents("events/failures/")
    assert "splittable = true" in failure["error"]
    assert "shorten the window" in failure["error"]


def test_splittable_kql_beyond_an_answer_lands_completely(world: World) -> None:
    """A query that says it may be asked in parts is halved as a table is."""
    world.cloud.set_limits(rows=50)
    world.cloud.add_rows("Event", spread(180, "10:00", "11:00"))
    export(world, table=None, kql=FREE_KQL, splittable=True)
    world.check()


def test_splittable_kql_with_too_many_rows_on_one_tick_fails_with_advice(world: World) -> None:
    """Free KQL has no place for a hash before its pipeline."""
    world.cloud.set_limits(rows=50)
    rows = [{"TimeGenerated": at("10:30"), "EventRecordId": number} for number in range(80)]
    world.cloud.add_rows("Event", rows, ingested=at("10:30"))
    export(world, table=None, kql=FREE_KQL, splittable=True)
    assert world.windows() == [(at("11:00:00"), at("12:00:00"))]
    (failure,) = world.documents("events/failures/")
    assert "cannot be parted by hash" in failure["error"]
