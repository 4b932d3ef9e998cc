"""A promised query has an end, whatever happens: to the host, to the service, to the time that it has."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import requests

from local.cloud import Cloud
from local.compare import instant
from tests.e2e.asking import answer_of, kept, put_off, record_of, result_of, status_of, wait_for
from tests.e2e.harness import HOUR, MINUTE, Running, World, now

DAYS = 24 * HOUR
_QUESTION = {"query": "Event | summarize n = count() by EventLevelName | order by n asc", "timespan": "P1D"}
_WRITES = r"(PUT|POST|DELETE) \S+/(jobs/|results/|audit/|queries/messages)"


def test_a_kill_before_any_write(worlds: Iterator[World], dying_app: Path) -> None:
    """Whichever write of a promised query the host dies before, a restart brings its result, and one only.

    Where it dies before the message is sent, the caller has no promise; the query is still taken up, once it
    is clear that its message was lost.
    """
    for step in itertools.count(3):  # the first two are the record that somebody asks, and its container
        world = next(worlds)
        world.write_exports()
        steps = _ask_until_dead(world, step, dying_app)
        if len(steps) < step:
            assert step > 6, "the sweep ended before a query can have been answered"
            return
        promised = any("/messages" in each for each in steps[:-1])
        jobs = kept(world, "jobs/")
        if not jobs:
            assert not promised, f"the query was forgotten after a death before {steps[-1]}"
            continue
        (name,) = jobs
        location = "/api/query/" + name.removeprefix("jobs/").removesuffix(".json")
        with world.started(invisibility=1) as process:
            app = Running(world, process.started())
            if not promised:
                assert status_of(app, location)["status"] == "queued"
                _touch(world, name, touched_at=now() - HOUR)
                _tend(app)
            result = result_of(app, location)
            assert result["rows"] == answer_of(app.post("/api/query", _QUESTION))["rows"]
            # Where only the last step is missing it is made up for when the message comes again, in minutes.
            lacks_end = "/audit/" in steps[-1]
            query_id = location.rpartition("/")[2]
            outcome = record_of(world, query_id, seconds=0 if lacks_end else 15)["outcome"]
        left = [each for each in kept(world, "results/") if query_id in each]
        assert len(left) == 1, f"after a death before {steps[-1]}: {left}"
        outcomes = {"complete", "asked"} if lacks_end else {"complete"}
        assert outcome in outcomes, f"after a death before {steps[-1]}"


def test_a_kill_while_a_query_runs(worlds: Iterator[World], cloud: Cloud) -> None:
    """The query is asked again after a restart, and ends as if nothing had happened."""
    world = next(worlds)
    world.write_exports()
    cloud.clear_requests()
    cloud.fail("log_analytics", "slow", nth=2, count=None, seconds=2)
    with world.started(invisibility=1) as process:
        app = Running(world, process.started())
        location = put_off(app, {"query": "Event | project _ItemId", "timespan": "P1D"})
        process.wait_until(lambda: any(seen.api == "log_analytics" for seen in cloud.requests))
        began = wait_for(app, location, "running")["started_at"]
        process.kill()
    cloud.clear_faults()
    with world.started(invisibility=1) as process:
        app = Running(world, process.started())
        ids = Counter(row[0] for row in result_of(app, location)["rows"])
        assert ids == Counter(row["_ItemId"] for row in cloud.rows("Event"))
        assert status_of(app, location)["started_at"] == began
        assert record_of(world, location.rpartition("/")[2])["outcome"] == "complete"


def test_what_is_old_is_forgotten(worlds: Iterator[World]) -> None:
    """The timer deletes expired queries and results, also those that nobody knows of; audit records stay."""
    world = next(worlds)
    world.write_exports()
    with world.running({"QUERY_RESULT_DAYS": "2"}) as app:
        old, young = (put_off(app, _QUESTION) for _ in range(2))
        for location in (old, young):
            result_of(app, location)
        ids = [location.rpartition("/")[2] for location in (old, young)]
        _touch(world, f"jobs/{ids[0]}.json", asked_at=now() - 2 * DAYS - MINUTE)
        _touch(world, f"jobs/{ids[1]}.json", asked_at=now() - 2 * DAYS + MINUTE)
        stray = f"results/20260101T000000Z_{'0' * 32}_{'0' * 32}.json.gz"
        world.queries.upload_blob(stray, b"of a query whose worker died")
        _tend(app)
        assert app.get(old).status_code == 404
        assert len(result_of(app, young)["rows"]) > 0
        assert kept(world, "jobs/") == [f"jobs/{ids[1]}.json"]
        assert stray not in kept(world, "results/")
        assert len(kept(world, "audit/")) == 2


def test_a_query_that_takes_too_long_or_always_fails_is_given_up(
    worlds: Iterator[World], cloud: Cloud
) -> None:
    """The status says why, the record that it failed, and the queue is free for the next."""
    world = next(worlds)
    world.write_exports()
    with world.running({"QUERY_MAX_SECONDS": "2"}) as app:
        for fault, status in (("overdue", 504), ("wrong_content", 502)):
            cloud.fail("log_analytics", fault, count=None)
            location = put_off(app, _QUESTION)
            ended = wait_for(app, location)
            assert (ended["status"], ended["error"]["status"]) == ("failed", status)
            assert ended["error"]["detail"]
            assert record_of(world, location.rpartition("/")[2])["outcome"] == "failed"
            cloud.clear_faults()
        result_of(app, put_off(app, _QUESTION))


def _ask_until_dead(world: World, step: int, app_dir: Path) -> list[str]:
    """Ask for a promise in a host that dies before a step, or outlives the work; return its steps."""
    settings = {"DIES_BEFORE_STEP": str(step), "STEPS": _WRITES}
    with world.started(settings, app_dir=app_dir, invisibility=1) as process:
        app = Running(world, process.started())
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):  # dead before it could answer
            put_off(app, _QUESTION)
        deadline = time.monotonic() + 30
        while process.process.poll() is None:
            sent = world.query_queue.get_queue_properties().approximate_message_count
            if "Executed 'Functions.run_query" in process.text and not sent:
                break
            assert time.monotonic() < deadline, process.text
            time.sleep(0.05)
    return [line for line in process.lines if line.startswith("step ")]


def _touch(world: World, name: str, **times: int) -> None:
    """Change the times in a query's metadata (ticks)."""
    blob = world.queries.get_blob_client(name)
    metadata = blob.get_blob_properties().metadata
    blob.set_blob_metadata({**metadata, **{key: instant(ticks) for key, ticks in times.items()}})


def _tend(app: Running) -> None:
    """Run the timer that tends queries by hand, and wait until it is done."""
    pattern = "Executed 'Functions.tend_queries'"
    before = len(app.lines(pattern))  # it may just have run by itself
    assert app.process.run_by_hand("tend_queries").status_code == 202
    assert "(Succeeded" in app.process.wait_for(pattern, count=before + 1)[-1]
