"""A host that is killed at any moment loses nothing and doubles nothing."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local.cloud import Cloud
from local.compare import SECOND, instant
from tests.e2e.harness import HOUR, Running, World

SHARDS = 2
"""How many tests share the steps of a window, so that they can run side by side."""

CHANGES = "(PUT|POST|DELETE) /devstoreaccount1/"
"""Requests that change what is stored. A death before one that reads leaves what a death before the next
change leaves."""

WINDOWS = [(-2, -1), (-1, 0)]
"""What is due, in hours after the world's end: two windows, so that the second needs the top-up."""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_kill_at_any_step(shard: int, worlds: Iterator[World], dying_app: Path) -> None:
    """Whichever change of plan, export and top-up the host dies before, a restart has every row there once.

    Only where it dies between noting a window as in flight and sending its message does the restart not
    suffice: the note must first grow old.
    """
    for step in itertools.count(1 + shard, SHARDS):
        world = next(worlds)
        world.write_exports(world.table(start=world.at(-2)))
        steps = _run_until_dead(world, "log_analytics", step, CHANGES, dying_app)
        if any(" DELETE " in each for each in steps[:-1]):
            assert step > 12, "the sweep ended before a window can have been exported"
            return  # the first window was done before the death, and the second takes the same steps
        stored = [(blob.name, blob.etag) for blob in world.landed()]
        with world.started(invisibility=1) as process:
            app = Running(world, process.started())
            app.wait_until_idle()
            app.export()
            if world.hours() != WINDOWS:
                assert steps[-1].endswith("POST /devstoreaccount1/export-windows/messages"), (
                    f"windows are missing after a death before {steps[-1]}: {world.hours()}"
                )
                world.age_in_flight()
                app.export()
        assert world.hours() == WINDOWS, f"after a death before {steps[-1]}"
        assert world.ids() == world.events_at_source(-2), f"after a death before {steps[-1]}"
        assert set(stored) <= {(blob.name, blob.etag) for blob in world.landed()}, "what is stored stays"
        assert world.failures() == {}


def test_a_kill_while_pages_are_stored(worlds: Iterator[World], cloud: Cloud, dying_app: Path) -> None:
    """Whichever block or commit of all pages the host dies before, a restart has each record there once."""
    for step in itertools.count(1):
        world = next(worlds)
        if step == 1:  # three pages with records, and an empty one
            cloud.add_audits([{"activityDateTime": world.at(-0.5)} for _ in range(2100)])
        world.write_exports(world.audits(start=world.at(-1)))
        steps = _run_until_dead(world, "entra", step, r"PUT .*\.jsonl", dying_app)
        if len(steps) < step:
            assert step > 2, "the sweep ended before a window can have been exported"
            return
        with world.started(invisibility=1) as process:
            Running(world, process.started()).wait_until_idle()
        assert world.hours("audits") == [(-1, 0)], f"after a death before {steps[-1]}"
        assert world.ids("audits") == world.audits_at_source(-1), f"after a death before {steps[-1]}"


def test_a_kill_while_a_window_is_given_up(worlds: Iterator[World], cloud: Cloud, dying_app: Path) -> None:
    """Wherever the host dies on the way through the poison queue, the failure is recorded; the rest lands."""
    for step in itertools.count(1):
        world = next(worlds)
        world.write_exports(world.audits(start=world.at(-2)))
        fresh = instant(world.end - HOUR - SECOND)  # Graph is asked from a second before the window
        cloud.fail("graph", "wrong_content", path=f"ge%20{fresh}", count=None)
        steps = _run_until_dead(world, "entra", step, "failures/|-poison/messages|DELETE", dying_app)
        if len(steps) < step:
            assert step > 5, "the sweep ended before a window can have been given up"
            return
        with world.started(invisibility=1) as process:
            app = Running(world, process.started())
            app.wait_until_idle()
            assert len(world.failures("audits")) == 1, f"after a death before {steps[-1]}"
            assert world.hours("audits") == [(-2, -1)], f"after a death before {steps[-1]}"
            cloud.clear_faults()
            world.let_failures_rest_no_longer("audits")
            app.export("entra")
        assert world.hours("audits") == WINDOWS, f"after a death before {steps[-1]}"
        assert world.ids("audits") == world.audits_at_source(-2), f"after a death before {steps[-1]}"


def _run_until_dead(world: World, source: str, step: int, counted: str, app_dir: Path) -> list[str]:
    """Run the timer in a host that dies before a step, or outlives the work; return the steps up to there."""
    settings = {
        f"EXPORT_{source.upper()}_MAX_IN_FLIGHT": "1",
        "DIES_BEFORE_STEP": str(step),
        "STEPS": counted,
    }
    with world.started(settings, app_dir=app_dir, invisibility=1) as process:
        app = Running(world, process.started())
        with contextlib.suppress(requests.ConnectionError):  # dead before it could answer
            app.start_timer(source)
        deadline = time.monotonic() + 60
        while process.process.poll() is None:
            if "Executed 'Functions.export_" in process.text and world.queued() == 0:
                break
            assert time.monotonic() < deadline, process.text
            time.sleep(0.05)
    return [line for line in process.lines if line.startswith("step ")]
