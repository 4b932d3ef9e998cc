"""`dev.py run` of what a service prepares at length, and has paid for: found again, and its own alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from local.cloud import Cloud, Limits, Options
from local.cloud.tables import TABLES
from local.compare import ticks
from shared.clock import SystemClock
from shared.model import Window
from shared.search_job import Search, job_body, table_name
from shared.windows import HOUR, format_second
from tests.cloud.caller import Caller
from tests.cloud.tables_api import call
from tests.completeness.truth import Timed, decode, multiset, rows_at_source
from tests.test_run import begin, end, run

NOON = SystemClock().now() // HOUR * HOUR
"""A whole hour that is past: nothing is prepared of a window before it ends."""

WINDOW = Window(NOON - 24 * HOUR, NOON)
START, END = format_second(WINDOW.start), format_second(WINDOW.end)
SPAN = ("--start", START, "--end", END)
JOB = ("archive", *SPAN)


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A stand-in with two days of data that is quick, and whose counts are right."""
    limits = Limits(
        job_polls=0,
        delete_polls=0,
        audit_search_start=0.0,
        audit_search_seconds=0.0,
        audit_search_miscount=0,
    )
    options = Options(events=200, days=2.0, search_records=80, audit_days=2.0, end=END, limits=limits)
    with Cloud(options, tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The stand-in with nothing of an earlier test."""
    shared_cloud.clear_requests()
    yield shared_cloud
    shared_cloud.clear_faults()
    shared_cloud.set_limits(job_seconds=0.0)


def has_its_rows(lines: str, source: Sequence[Timed]) -> bool:
    """Whether lines are the source's rows of the window, which are some."""
    wanted = multiset(row for time, row in source if ticks(START) <= time < ticks(END))
    return len(wanted) > 10 and multiset(map(decode, lines.splitlines())) == wanted


def events_of(cloud: Cloud) -> list[Timed]:
    """The table's rows by their TimeGenerated, which a search job goes by."""
    return rows_at_source(cloud, TABLES["Event"], window_column="TimeGenerated")


def begun(cloud: Cloud, method: str, path: str) -> list[str]:
    """The paths of the requests of a method that began something at a service."""
    return [seen.path for seen in cloud.requests if seen.method == method and path in seen.path]


def tables(cloud: Cloud) -> set[str]:
    """The tables of search jobs, but those that are being deleted."""
    return {each["name"] for each in cloud.search_tables() if each["state"] != "Deleting"}


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one process")
def test_an_interrupted_run_leaves_its_job_to_the_next(cloud: Cloud, tmp_path: Path) -> None:
    """It says how to find the job again; the same command then starts no other, and takes the table back."""
    cloud.set_limits(job_seconds=3_600.0)
    process = begin(cloud, tmp_path, *JOB)
    until = time.monotonic() + 60
    while not tables(cloud):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stopped = end(process)
    assert stopped.returncode == 130, stopped.stderr
    assert f"--start {START} --end {END}" in stopped.stderr
    assert len(tables(cloud)) == 1
    cloud.set_limits(job_seconds=0.0)
    done = run(cloud, tmp_path, *JOB)
    assert done.returncode == 0, done.stderr
    assert has_its_rows(done.stdout, events_of(cloud))
    assert len(begun(cloud, "PUT", "_SRCH")) == 1
    assert not tables(cloud)


def test_a_run_that_fails_leaves_its_job_to_the_next(cloud: Cloud, tmp_path: Path) -> None:
    """Rows that could not be read are read from the table of the job that found them."""
    cloud.fail("log_analytics", "403", count=None)
    failed = run(cloud, tmp_path, *JOB)
    assert failed.returncode == 1
    assert f"--start {START} --end {END}" in failed.stderr
    cloud.clear_faults()
    done = run(cloud, tmp_path, *JOB)
    assert has_its_rows(done.stdout, events_of(cloud)), done.stderr
    assert len(begun(cloud, "PUT", "_SRCH")) == 1
    assert not tables(cloud)


def test_a_run_leaves_the_deployed_apps_job_alone(cloud: Cloud, tmp_path: Path) -> None:
    """Also where the export has no lag, so that the app's reading is due when its window ends."""
    search = Search(cloud.workspace_resource_ids[0], "Event", None, 1_000_000)
    apps = table_name(search, WINDOW, WINDOW.end)
    started = call(Caller(cloud), "PUT", apps, data=job_body(search, WINDOW),
                   headers={"Content-Type": "application/json"})  # fmt: skip
    assert started.status_code < 300, started.text
    done = run(cloud, tmp_path, *JOB)
    assert has_its_rows(done.stdout, events_of(cloud)), done.stderr
    assert tables(cloud) == {apps}


def test_a_search_of_the_unified_audit_log_is_begun_once(cloud: Cloud, tmp_path: Path) -> None:
    """A second run finds it, and both have every record of the window."""
    source = [(ticks(str(each["createdDateTime"])), each) for each in cloud.search_records()]
    for _ in range(2):
        done = run(cloud, tmp_path, "unified", *SPAN)
        assert has_its_rows(done.stdout, source), done.stderr
        assert "Total records: " in done.stderr
    assert len(begun(cloud, "POST", "/auditLog/queries")) == 1
