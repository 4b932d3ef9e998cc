"""Timer triggers: when to run next, what was missed, and the status blob that remembers it.

As the real host does: the status is written after each run, failed or not; a run that was missed is made up
for once, however many were missed; a schedule with runs less than a minute apart has no status; and one host
at a time runs a function's timer, which a lease on a blob decides.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from local.functions_host.activity import Activity
from local.functions_host.catalogue import Function, TimerTrigger
from local.functions_host.invoker import Invoker
from local.functions_host.locks import Locks
from local.functions_host.schedule import Schedule
from local.functions_host.storage import explain
from local.functions_host.worker import Datum

logger = logging.getLogger("local.functions_host")

NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""`Last` of a timer that has not run yet, as .NET writes it."""

LONGEST_WAIT = 30.0
"""Seconds after which the clock is looked at again: it may have been set, or the machine have slept."""

LOCK_RETRY = 1.0


@dataclass(frozen=True)
class Status:
    """A timer's status: its last run, the next one as planned then, and when this was written; all UTC."""

    last: datetime
    next: datetime
    updated: datetime

    def to_json(self) -> str:
        """Return the status blob's text."""
        names = {"Last": self.last, "Next": self.next, "LastUpdated": self.updated}
        return json.dumps({name: moment.isoformat() for name, moment in names.items()})

    @classmethod
    def from_json(cls, text: str) -> Status:
        """Read a status blob; raises `ValueError`, `KeyError` or `TypeError` for one that is not."""
        document = json.loads(text)
        return cls(*(_utc(document[name]) for name in ("Last", "Next", "LastUpdated")))


def status_at_start(schedule: Schedule, stored: Status | None, now: datetime) -> tuple[Status, bool]:
    """Return the status to go on from, and whether a run is past due.

    A run is past due when the stored next one lies before `now` and the schedule still gives that time; a
    changed schedule starts anew.
    """
    if stored is None:
        return Status(NEVER, schedule.next_after(now), now), False
    expected = schedule.next_after(stored.updated if stored.last == NEVER else stored.last)
    if stored.next != expected:
        following = expected if expected > now else schedule.next_after(now)
        return Status(NEVER, following, now), False
    return stored, stored.next < now


def status_after_run(schedule: Schedule, fired: datetime) -> Status:
    """Return the status once a run that began at `fired` is over, failed or not."""
    return Status(fired, schedule.next_after(fired), fired)


class StatusBlob:
    """Where a timer's status is kept."""

    def __init__(self, container: ContainerClient, host_id: str, function: str) -> None:
        self._blob = container.get_blob_client(f"timers/{host_id}/Host.Functions.{function}/status")

    def read(self) -> Status | None:
        """Return the stored status; None where there is none, or none that can be read."""
        try:
            return Status.from_json(self._blob.download_blob().readall().decode())
        except ResourceNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            logger.warning("The status blob '%s' is not readable and is replaced", self._blob.blob_name)
            return None

    def write(self, status: Status) -> None:
        """Replace the stored status; a failure is reported and costs a catch-up run at most."""
        try:
            self._blob.upload_blob(status.to_json(), overwrite=True)
        except AzureError as error:
            logger.warning("The status blob '%s' was not written: %s", self._blob.blob_name, explain(error))


class TimerListener:
    """Runs one function on its schedule, one run at a time."""

    def __init__(
        self,
        function: Function,
        trigger: TimerTrigger,
        blob: StatusBlob,
        locks: Locks,
        invoker: Invoker,
        activity: Activity,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._function = function
        self._trigger = trigger
        self._schedule = trigger.schedule
        self._blob = blob
        self._locks = locks
        self._invoker = invoker
        self._activity = activity
        self._clock = clock
        self._monitored = trigger.use_monitor and not trigger.schedule.is_frequent(clock())
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to keep time."""
        threading.Thread(target=self._loop, name=f"timer {self._function.name}", daemon=True).start()

    def stop(self) -> None:
        """Start no further run."""
        self._stopping.set()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._locks.acquire(self._function.name):
                    self._keep_time()
                    continue
            except AzureError as error:
                logger.warning("The timer '%s' has no storage: %s", self._function.name, explain(error))
            self._stopping.wait(LOCK_RETRY)

    def _keep_time(self) -> None:
        """Run on schedule until the host stops or another host has the lock."""
        now = self._clock()
        stored = self._blob.read() if self._monitored else None
        status, past_due = status_at_start(self._schedule, stored, now)
        if self._monitored and status != stored:
            self._blob.write(status)
        if past_due or self._trigger.run_on_startup:
            status = self._run(status, past_due=past_due)
        while self._wait_until(status.next):
            status = self._run(status, past_due=False)

    def _wait_until(self, moment: datetime) -> bool:
        while (left := (moment - self._clock()).total_seconds()) > 0:
            if self._stopping.wait(min(left, LONGEST_WAIT)):
                break
        return not self._stopping.is_set() and self._locks.holds(self._function.name)

    def _run(self, status: Status, *, past_due: bool) -> Status:
        fired = self._clock()
        with self._activity():
            self._invoker.run(
                self._function,
                timer_data(status if self._monitored else None, past_due=past_due),
                reason=f"Timer fired at {fired.isoformat()}",
                details=f"UnscheduledInvocationReason: IsPastDue, OriginalSchedule: {status.next.isoformat()}"
                if past_due
                else "",
            )
            after = status_after_run(self._schedule, fired)
            if self._monitored:
                self._blob.write(after)
        # Runs that fell into this one are skipped, as the real host's timer does.
        now = self._clock()
        return after if after.next > now else replace(after, next=self._schedule.next_after(now))


def timer_data(status: Status | None, *, past_due: bool) -> Datum:
    """Return what `func.TimerRequest` is made from."""
    known = json.loads(status.to_json()) if status else None
    document = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": known, "IsPastDue": past_due}
    return Datum(json.dumps(document), "json")


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    # .NET's zero has no zone and cannot be moved to another one.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None or moment.year == 1 else moment.astimezone(UTC)
