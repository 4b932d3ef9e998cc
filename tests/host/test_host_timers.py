"""When a timer runs: decisions on a clock that is passed in, and real hosts with a prepared status."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobLeaseClient, ContainerClient
from hypothesis import given
from hypothesis import strategies as st

from local.azurite import Azurite
from local.functions_host.schedule import Schedule
from local.functions_host.timers import NEVER, Status, status_after_run, status_at_start
from tests.host.harness import HostProcess, write_app

HOURLY = Schedule.parse("0 0 * * * *")
DAILY = f"0 0 {(datetime.now(UTC).hour + 12) % 24} * * *"
"""A schedule that does not come round while a test runs."""

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made UTC

APP = """
import json
import logging
import pathlib
import time

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="DAILY")
def daily(timer: func.TimerRequest) -> None:
    logging.info("daily %s", json.dumps({"past_due": timer.past_due, "status": timer.schedule_status}))
    if pathlib.Path("hang").exists():
        time.sleep(60)
    if pathlib.Path("fail").exists():
        raise RuntimeError("told to fail")


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def slow(timer: func.TimerRequest) -> None:
    logging.info("enter slow")
    time.sleep(1.5)
    logging.info("leave slow")
""".replace("DAILY", DAILY)


def at(text: str) -> datetime:
    """Return a time of one day in UTC."""
    return datetime.fromisoformat(f"2026-11-21T{text}+00:00")


def test_first_start_plans_and_does_not_run() -> None:
    """Without a status there is nothing that could have been missed."""
    status, past_due = status_at_start(HOURLY, None, at("10:20:00"))
    assert (status, past_due) == (Status(NEVER, at("11:00:00"), at("10:20:00")), False)


def test_planned_run_in_the_past_is_past_due() -> None:
    """Also for a timer that has never run."""
    ran = Status(at("07:00:00"), at("08:00:00"), at("07:00:00"))
    assert status_at_start(HOURLY, ran, at("10:20:00")) == (ran, True)
    never = Status(NEVER, at("08:00:00"), at("07:30:00"))
    assert status_at_start(HOURLY, never, at("10:20:00")) == (never, True)


def test_planned_run_in_the_future_is_waited_for() -> None:
    """A restart within the hour changes nothing."""
    status = Status(at("10:00:00"), at("11:00:00"), at("10:00:00"))
    assert status_at_start(HOURLY, status, at("10:59:59")) == (status, False)


def test_changed_schedule_is_not_past_due() -> None:
    """The stored next run belonged to another schedule."""
    status = Status(at("07:00:00"), at("07:05:00"), at("07:00:00"))
    assert status_at_start(HOURLY, status, at("10:20:00")) == (
        Status(NEVER, at("11:00:00"), at("10:20:00")),
        False,
    )


@given(
    st.one_of(st.none(), MOMENTS), MOMENTS, st.sampled_from(["0 0 * * * *", "0 */5 * * * *", "0 0 9 * * 1"])
)
def test_exactly_one_catch_up_however_much_was_missed(
    last: datetime | None, now: datetime, text: str
) -> None:
    """After the run that makes up for it, nothing is past due at the same moment."""
    schedule = Schedule.parse(text)
    stored = status_after_run(schedule, last) if last else None
    status, past_due = status_at_start(schedule, stored, now)
    assert past_due == (stored is not None and stored.next < now)
    after = status_after_run(schedule, now) if past_due else status
    assert status_at_start(schedule, after, now) == (after, False)
    assert after.next > now


@given(MOMENTS, MOMENTS)
def test_status_survives_storage(last: datetime, updated: datetime) -> None:
    """Every microsecond of it, and .NET's zero, too."""
    for status in (Status(last, HOURLY.next_after(last), updated), Status(NEVER, updated, updated)):
        assert Status.from_json(status.to_json()) == status


def test_status_written_by_the_real_host_is_read() -> None:
    """Seven digits, another zone, and a zero without zone."""
    text = json.dumps({
        "Last": "0001-01-01T00:00:00", "Next": "2026-11-21T12:00:00+01:00",
        "LastUpdated": "2026-11-21T11:20:00.1234567+01:00",
    })  # fmt: skip
    status = Status.from_json(text)
    assert status == Status(NEVER, at("11:00:00"), at("10:20:00.123456"))
    assert status_at_start(HOURLY, status, at("10:59:00")) == (status, False)


class Storage:
    """The blobs of one host id."""

    def __init__(self, container: ContainerClient) -> None:
        self.container = container
        self.host_id = f"host-{uuid4().hex[:10]}"

    def write(self, function: str, status: Status) -> None:
        """Prepare a status."""
        self.container.upload_blob(
            f"timers/{self.host_id}/Host.Functions.{function}/status", status.to_json()
        )

    def read(self, function: str) -> Status | None:
        """Return the status that a host wrote."""
        blob = self.container.get_blob_client(f"timers/{self.host_id}/Host.Functions.{function}/status")
        return Status.from_json(blob.download_blob().readall().decode()) if blob.exists() else None

    def break_lock(self, function: str) -> None:
        """Make the lock of a host that was killed run out now rather than in 15 seconds."""
        blob = self.container.get_blob_client(f"locks/{self.host_id}/Host.Functions.{function}.Listener")
        BlobLeaseClient(blob).break_lease(0)

    def overdue(self) -> Status:
        """Return a status whose next run has been missed three times."""
        last = datetime.now(UTC).replace(minute=0, second=0, microsecond=2000) - timedelta(days=4)
        return status_after_run(Schedule.parse(DAILY), last)


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[Storage]:
    """Blobs for one test."""
    name = "azure-webjobs-hosts"
    with ContainerClient.from_connection_string(azurite.connection_string, name) as container:
        with suppress(ResourceExistsError):
            container.create_container()
        yield Storage(container)


def host_for(folder: Path, azurite: Azurite, storage: Storage, **settings: str) -> HostProcess:
    """Return a host of the app."""
    fixed = {
        "AzureWebJobsStorage": azurite.connection_string,
        "AzureFunctionsWebHost__hostid": storage.host_id,
    }
    return HostProcess(write_app(folder, APP), settings=fixed | settings)


QUIET = {"AzureWebJobs.slow.Disabled": "true"}


def test_timer_runs_every_time_it_is_due(sample: HostProcess) -> None:
    """A run a second, at the second, none of them past due; no run of the yearly timer by itself."""

    def fired() -> list[datetime]:
        found = re.findall(r"Executing 'Functions.every_second' .*Timer fired at ([^']+)'", sample.text)
        return [datetime.fromisoformat(each) for each in found]

    def is_steady() -> bool:  # a busy machine may be late now and then
        times = fired()
        return any(
            all(each.microsecond < 500_000 for each in three)
            and three[2].replace(microsecond=0) - three[0].replace(microsecond=0) == timedelta(seconds=2)
            for three in zip(times, times[1:], times[2:], strict=False)
        )

    sample.wait_until(is_steady, "three runs in a row, each at its second")
    seconds = [each.replace(microsecond=0) for each in fired()]
    assert len(seconds) == len(set(seconds))
    assert {"past_due": True} not in sample.records("second")
    assert not any("yearly" in line and "Timer fired" in line for line in sample.lines)


def test_run_on_startup_runs_once_at_start(sample: HostProcess) -> None:
    """Although the schedule has it once a year."""
    assert sample.wait_for_records("startup") == [{"past_due": False}]


def test_missed_runs_are_made_up_for_once(tmp_path: Path, azurite: Azurite, storage: Storage) -> None:
    """One call that is past due and sees the old status; a restart after it makes none."""
    before = storage.overdue()
    storage.write("daily", before)
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        assert host.wait_for_records("daily") == [{"past_due": True, "status": json.loads(before.to_json())}]
        host.wait_for("IsPastDue, OriginalSchedule")
        host.wait_until(lambda: storage.read("daily") != before)
        assert host.stop() == 0
    after = storage.read("daily")
    assert after is not None
    assert after.last > before.next
    assert after.next == Schedule.parse(DAILY).next_after(after.last)
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        assert host.run_by_hand("daily").status_code == 202
        assert [one["past_due"] for one in host.wait_for_records("daily")] == [False]
        assert host.stop() == 0
    assert storage.read("daily") == after, "neither a restart nor a run by hand touches the status"


def test_failed_run_counts_as_run(tmp_path: Path, azurite: Azurite, storage: Storage) -> None:
    """The status moves on although the function failed."""
    before = storage.overdue()
    storage.write("daily", before)
    (tmp_path / "fail").touch()
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        host.wait_for("Executed 'Functions.daily' .Failed")
        host.wait_until(lambda: (storage.read("daily") or before).last > before.next)


def test_run_of_a_killed_host_is_made_up_for(tmp_path: Path, azurite: Azurite, storage: Storage) -> None:
    """The status is written after the run; another host waits for the lock of the one that died."""
    before = storage.overdue()
    storage.write("daily", before)
    (tmp_path / "hang").touch()
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        host.wait_for_records("daily")
        host.kill()
    assert storage.read("daily") == before
    (tmp_path / "hang").unlink()
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        host.wait_for("The timer 'daily' waits")
        assert host.records("daily") == []
        storage.break_lock("daily")
        assert [one["past_due"] for one in host.wait_for_records("daily")] == [True]


def test_timer_of_two_hosts_runs_in_one_and_never_twice_at_once(
    tmp_path: Path, azurite: Azurite, storage: Storage
) -> None:
    """A run longer than the step of the schedule skips what falls into it; the lock holds others off."""
    with (
        host_for(tmp_path / "one", azurite, storage).started() as one,
        host_for(tmp_path / "two", azurite, storage).started() as two,
    ):
        two.wait_for("The timer 'slow' waits")
        one.wait_for("leave slow", 2)
        events = [line.split()[-2] for line in one.lines if line.endswith(" slow")]
        assert events[:4] == ["enter", "leave", "enter", "leave"]
        assert "enter slow" not in two.text
        assert one.stop() == 0
        two.wait_for("enter slow", seconds=10)


def test_unreadable_status_is_replaced(tmp_path: Path, azurite: Azurite, storage: Storage) -> None:
    """A damaged blob is no reason never to run again."""
    blob = storage.container.upload_blob(f"timers/{storage.host_id}/Host.Functions.daily/status", b"{")
    with host_for(tmp_path, azurite, storage, **QUIET).started() as host:
        host.wait_for("is not readable and is replaced")
        host.wait_until(lambda: blob.download_blob().readall() != b"{")
    status = storage.read("daily")
    assert status is not None
    assert status.last == NEVER


def test_frequent_schedule_keeps_no_status(sample: HostProcess, azurite: Azurite) -> None:
    """As the real host does with runs less than a minute apart."""
    sample.wait_for_records("second")
    with ContainerClient.from_connection_string(
        azurite.connection_string, "azure-webjobs-hosts"
    ) as container:
        names = {blob.name for blob in container.list_blobs("timers/sample/")}
    assert names == {"timers/sample/Host.Functions.yearly/status"}
