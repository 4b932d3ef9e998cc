"""What Graph's audit log does and a table does not: it changes records, repeats them, and moves its pages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from local.compare import ticks
from shared.model import Request, Response
from tests.completeness.world import World, at, intercept, small_pages_of


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for pages of five records."""
    small_pages_of(monkeypatch)


def audits(count: int, hour: str = "11") -> list[dict[str, Any]]:
    """So many records of an hour, a second apart."""
    return [
        {"id": f"audit-{hour}-{number:03}", "activityDateTime": at(f"{hour}:30:{number % 60:02}.5")}
        for number in range(count)
    ]


def ids(world: World) -> list[str]:
    """The ids of all records that landed."""
    return sorted(str(row["id"]) for blob in world.landed("audits") for row in blob.rows)


def test_a_late_record_is_added_and_the_others_stay(world: World) -> None:
    """Graph has no ingestion time: the window is read again, and what is new is added."""
    world.cloud.add_audits(audits(8))
    world.start(world.audits())
    world.drain()
    world.cloud.add_audits([{"id": "late", "activityDateTime": at("11:59:59.9999999")}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    world.check_audits(end="13:00")
    assert world.one("audits", "11:00").revision == 2
    assert (at("11:00:00"), 8, 9, "added") in world.rechecked("audits")


def test_a_recheck_of_the_same_records_changes_nothing_but_leaves_a_record(world: World) -> None:
    """Reading again gives the same bytes, so the blob stays as it is."""
    world.cloud.add_audits(audits(8))
    world.start(world.audits())
    world.drain()
    before = world.one("audits", "11:00").etag
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    assert world.one("audits", "11:00").etag == before
    assert (at("11:00:00"), 8, 8, "unchanged") in world.rechecked("audits")


def test_a_record_that_changed_is_kept_in_both_forms(world: World) -> None:
    """What was stored stays, and what the service says by now is added."""
    world.cloud.add_audits(audits(3))
    world.start(world.audits())
    world.drain()
    old = world.cloud.audits()
    world.cloud.replace_audit("audit-11-001", {"result": "failure", "resultReason": "changed\u2028later"})
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    changed = [each for each in world.cloud.audits() if each["result"] == "failure"]
    truth = [(ticks(str(each["activityDateTime"])), each) for each in [*old, *changed]]
    world.check_audits(truth, end="13:00")
    assert ids(world).count("audit-11-001") == 2


def test_records_that_are_gone_at_the_source_are_kept_and_reported(world: World) -> None:
    """A record that Graph no longer shows stays, beside one that came late."""
    world.cloud.add_audits(audits(6))
    world.start(world.audits())
    world.drain()
    old = world.cloud.audits()
    world.cloud.remove_audits(["audit-11-000", "audit-11-001"])
    late = {"id": "late", "activityDateTime": at("11:45")}
    world.cloud.add_audits([late])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    new = [each for each in world.cloud.audits() if each["id"] == "late"]
    world.check_audits([(ticks(str(each["activityDateTime"])), each) for each in [*old, *new]], end="13:00")
    assert world.one("audits", "11:00").revision == 2


def test_a_source_that_only_lost_records_shows_in_the_record(world: World) -> None:
    """The union holds all that was stored; that the source has fewer by now stands beside it."""
    world.cloud.add_audits(audits(6))
    world.start(world.audits())
    world.drain()
    world.cloud.remove_audits(["audit-11-000", "audit-11-001"])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    assert [each[:3] for each in world.rechecked("audits") if each[0] == at("11:00:00")] == [
        (at("11:00:00"), 6, 4)
    ]
    assert len(world.one("audits", "11:00").rows) == 6


@pytest.mark.usefixtures("small_pages")
def test_the_same_id_twice_in_one_walk(world: World) -> None:
    """Identical records are one; records that share an id and nothing else are both kept."""
    twins = audits(7)
    world.cloud.add_audits([*twins, *twins[2:4]])
    world.cloud.add_audits([twins[5] | {"result": "failure"}])
    world.start(world.audits())
    world.drain()
    world.check_audits()
    assert len(ids(world)) == 8


@pytest.mark.usefixtures("small_pages")
def test_an_id_with_two_bodies_is_noted_in_the_receipt(world: World) -> None:
    """Who counts ids can see why there are more records than ids."""
    (record,) = audits(1)
    world.cloud.add_audits([record, record | {"result": "failure"}])
    world.start(world.audits())
    world.drain()
    blob = world.one("audits", "11:00")
    assert len(blob.rows) == 2
    known = {
        *("window_start", "window_end", "rows", "sha256", "revision", "attempt", "config", "source"),
        *("first_time", "last_time", "slices", "requests", "answer_bytes", "exported_at", "app_version"),
    }
    assert set(blob.metadata) - known, "a note of the two records of one id"


@pytest.mark.usefixtures("small_pages")
def test_pages_that_move_while_they_are_walked_repeat_no_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that arrives meanwhile pushes the last of one page onto the next: it is stored once."""
    last: list[Any] = []

    def moved(request: Request, response: Response) -> Response:
        if "auditLogs" not in request.target:
            return response
        page = json.loads(response.body)
        page["value"][:0] = last if "skiptoken" in request.target else []
        last[:] = page["value"][-1:] or last
        return replace(response, body=json.dumps(page).encode())

    intercept(monkeypatch, after=moved)
    world.cloud.add_audits(audits(23))
    world.start(world.audits())
    world.drain()
    world.check_audits()


@pytest.mark.usefixtures("small_pages")
def test_a_skip_token_that_dies_midway_restarts_the_window(world: World) -> None:
    """The window begins again from its first page, and nothing of the broken walk stays."""
    world.cloud.add_audits(audits(23))
    world.cloud.fail("graph", "invalid_skip_token", path="skiptoken", nth=3, count=1)
    world.start(world.audits())
    world.drain()
    world.check_audits()
    first_pages = [
        seen for seen in world.cloud.requests if seen.api == "graph" and "skiptoken" not in seen.path
    ]
    assert len(first_pages) == 3


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("fault", ["repeated_next_link", "truncate", "504", "429"])
def test_a_walk_that_breaks_stores_nothing_in_part(world: World, fault: str) -> None:
    """Whatever breaks a walk, the window is stored when a walk went through."""
    world.cloud.add_audits(audits(23))
    world.cloud.fail("graph", fault, path="skiptoken", nth=2, count=2)
    world.start(world.audits())
    world.drain()
    world.check_audits()


MARK = "here stands what no text of Python holds"


def test_records_land_as_the_service_wrote_them_and_are_known_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a surrogate pair, line separators and white space: the recheck sees no new record in them."""

    def written(request: Request, response: Response) -> Response:
        del request
        wire = rb"\ud83d \u0000 " + "\u2028\u0085 💶".encode() + rb"\ud83d\udcb6"
        return replace(response, body=response.body.replace(MARK.encode(), wire).replace(b'","', b'",\r\n "'))

    intercept(monkeypatch, after=written)
    world.cloud.add_audits([{"id": "odd", "activityDateTime": at("11:30"), "resultReason": MARK}])
    world.start(world.audits(format="jsonl"))
    world.drain()
    (line,) = world.one("audits", "11:00").lines
    assert json.loads(line)["resultReason"] == "\ud83d \0 \u2028\u0085 💶💶"
    assert not {"\u2028", "\u0085", "\r"} & set(line.decode("utf-8"))
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    assert (at("11:00:00"), 1, 1, "unchanged") in world.rechecked("audits")


@pytest.mark.usefixtures("small_pages")
def test_requests_in_the_receipts_are_true(world: World) -> None:
    """Each page is a request; together the windows took what the service saw."""
    world.cloud.add_audits([*audits(23, "10"), *audits(4, "11")])
    world.start(world.audits())
    world.drain()
    seen = [each for each in world.cloud.requests if each.api == "graph"]
    assert sum(int(blob.metadata["requests"]) for blob in world.landed("audits")) == len(seen)
    assert {blob.metadata["slices"] for blob in world.landed("audits")} == {"1"}
