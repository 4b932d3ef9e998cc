"""Has search jobs find a window's rows: started once, looked at until they are over, halved, and swept.

Each attempt finds what earlier ones began, by the names of the tables and by the ledger.
"""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NoReturn

from shared.errors import (
    ExportError,
    NoRoomError,
    NotReadyError,
    NotSettledError,
    ServiceError,
)
from shared.job_ledger import Entry, JobLedger, State, started_today, swept
from shared.job_tables import JobTable, JobTables, Operation
from shared.model import Reading, Tools, Window
from shared.polling import Patience, Waiting, poll
from shared.search_job import Search, halves, job_body, table_name
from shared.windows import DAY, HOUR, MINUTE, SECOND, format_instant

_log = logging.getLogger(__name__)

PATIENCE = Patience(first=2.0, most=20.0, total=90.0, again=120.0)
"""Jobs take minutes to hours; while one goes on, other exports may have their turn."""

RUNNING, TABLES, A_DAY = 5, 180, 180
"""Jobs at one time, tables of jobs, and jobs in 24 hours, beyond which none is started. A workspace may have
10, 200 and 200, and not only from us."""

PARTS = 16
"""Parts of a window, of a job each, beyond which it is refused: the tables of all are held until the last job
is over, and then read at once."""

VISIBLE = HOUR
"""How long after a job its rows may take to show; those that do not by then will not come."""

_FAILURES_A_DAY = 3  # of jobs by one name: each is counted and billed
_NOT_THERE = 15 * MINUTE  # after that, a table that is still not there will not come
_LONGEST = 26 * HOUR  # a job that has run for 24 is ended by the service
_ALL = 100.0  # percent of a job
_TOLERANCE = 5 * SECOND  # clocks that are kept in step still differ by some

Count = Callable[[str, Window, float], int]
"""Counts the rows of a window in a job's table: the table's name, the window, the deadline."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a job found: so many rows of a window, in a table. ``since`` is when it was seen to be over."""

    table: str
    window: Window
    rows: int
    since: int


class JobRunner:
    """The jobs of one export; ``count`` is for those that do not say how much they found."""

    def __init__(self, search: Search, tools: Tools, count: Count) -> None:
        self._search = search
        self._count = count
        self._tables = JobTables(tools.connect("arm"), search.workspace)
        self._ledger = JobLedger(tools.documents, search.workspace, tools.clock)
        self._clock = tools.clock

    def found(self, reading: Reading) -> list[Found]:
        """Return what the window's job found, or those of its parts, in order of time.

        Raises NotReadyError while a job goes on, NoRoomError where there is no room for it, and ExportError
        for a window of too many parts.
        """
        self._check_parts(reading)
        until = min(reading.deadline, self._clock.monotonic() + PATIENCE.total)
        return list(self._jobs(reading.window, reading, until))

    def release(self, reading: Reading) -> None:
        """Delete the tables of the window's jobs. What fails here, the sweep does later."""
        deadline = self._clock.monotonic() + 60.0
        with _left_to_the_sweep():
            for name in self._names(reading.window, reading.since):
                with _left_to_the_sweep():
                    self._drop(name, deadline)

    def _names(self, window: Window, since: int) -> Iterator[str]:
        """Yield the tables of the jobs that are known for a window, and for its halves."""
        name = table_name(self._search, window, since)
        entry = self._ledger.get(name)
        if entry is None:
            return
        if entry.state in {"split", "refused"}:
            for half in halves(window):
                yield from self._names(half, since)
        elif entry.state != "dropped":
            yield name

    def _jobs(self, window: Window, reading: Reading, until: float) -> Iterator[Found]:
        """Yield the finished jobs with a window's rows; where one found too many, those of its halves."""
        name = table_name(self._search, window, reading.since)
        if not self._is(name, "split"):
            self._start(name, window, reading)
            rows = self._finished(name, window, until, reading.deadline)
            if rows < self._search.limit:
                entry = self._ledger.get(name)
                yield Found(name, window, rows, entry.since if entry else self._clock.now())
                return
            halves(window)  # a tick has none
            self._ledger.mark(name, "split")
            self._tables.delete(name, reading.deadline)
            self._check_parts(reading)
        for half in halves(window):  # so that both run at one time, if there is room for both
            with contextlib.suppress(NotReadyError):
                self._start(table_name(self._search, half, reading.since), half, reading)
        for half in halves(window):
            yield from self._jobs(half, reading, until)

    def _splits(self, window: Window, since: int) -> int:
        """Return how many jobs are known to have found too much, of a window and its parts."""
        if not self._is(table_name(self._search, window, since), "split"):
            return 0
        return 1 + sum(self._splits(half, since) for half in halves(window))

    def _check_parts(self, reading: Reading) -> None:
        """Raise ExportError for a window of too many parts, once its tables are taken back.

        It is remembered by its name, so that no job is started for it before the export is told otherwise.
        """
        name = self._whole(reading)
        if not self._is(name, "refused"):
            if self._splits(reading.window, reading.since) < PARTS:
                return
            self._ledger.mark(name, "refused")
        self.release(reading)
        start, end = format_instant(reading.window.start), format_instant(reading.window.end)
        raise ExportError(
            f"more than {PARTS} search jobs would have to find the rows from {start} to {end}, each fewer "
            f"than {self._search.limit} of them: give the export a higher limit, or a shorter window"
        )

    def _whole(self, reading: Reading) -> str:
        return table_name(self._search, reading.window, reading.since)

    def _is(self, name: str, state: State) -> bool:
        entry = self._ledger.get(name)
        return entry is not None and entry.state == state

    def _start(self, name: str, window: Window, reading: Reading) -> None:
        """Start a job, unless another attempt has."""
        entry = self._ledger.get(name)
        if entry is not None and entry.state in {"running", "done", "split"}:
            return
        if entry is not None:
            self._check_failures(entry)
        table = self._tables.get(name, reading.deadline)
        operation = None
        if table is None:
            self._check_room(reading.deadline)
            self._check_settled(reading)
            self._ledger.begin(name, window, self._whole(reading))
            try:
                operation = self._tables.create(name, job_body(self._search, window), reading.deadline)
            except NoRoomError:
                self._ledger.undo(name, entry)
                raise
        elif table.state == "Deleting":
            raise NotReadyError(MINUTE, f"the table {name} is still being deleted")
        elif entry is None:
            self._ledger.begin(name, window, self._whole(reading))
        self._ledger.mark(name, "running", operation)

    def _check_failures(self, entry: Entry) -> None:
        """Raise ServiceError where so many jobs of this name failed within a day that another would, too."""
        now = self._clock.now()
        failures = entry.failures(now)
        if len(failures) < _FAILURES_A_DAY:
            return
        raise ServiceError(
            "Log Analytics",
            status=200,
            code="Failed",
            message=(
                f"{len(failures)} search jobs of the table {entry.table} failed within a day, so none is "
                "started until the first of them is a day ago; the log has their errors"
            ),
            request_id=None,
            retryable=False,
            retry_after=(failures[-_FAILURES_A_DAY] + DAY - now) / SECOND,
        )

    def _check_settled(self, reading: Reading) -> None:
        """Refuse to start a job that, by the service's own clock, would run before the window is due."""
        now = self._tables.served_at
        if now is not None and now < reading.since - _TOLERANCE:
            raise NotSettledError(reading.since - now)

    def _check_room(self, deadline: float) -> None:
        """Sweep what crashes have left, and raise NoRoomError where no further job may be started.

        Raises DeniedError, and sweeps nothing, where the app may not ask how jobs end.
        """
        self._tables.check_access(deadline)
        now = self._clock.now()
        tables = self._tables.all(deadline)
        over = {name for name, table in tables.items() if not table.runs}
        entries = self._ledger.all()
        for entry in swept(entries, over, now):
            try:
                if entry.table.lower() in over:
                    self._tables.delete(entry.table, deadline)
                    del tables[entry.table.lower()]
            except ServiceError as error:
                _log.warning("a table that is to be swept stays for now: %s", error)
            else:
                self._ledger.forget(entry.table)
        running = sum(table.runs for table in tables.values())
        today = started_today(entries, now)
        for count, most, wait, what in (
            (running, RUNNING, 5 * MINUTE, "search jobs run in the workspace"),
            (len(tables), TABLES, HOUR, "tables of search jobs are in the workspace"),
            (today, A_DAY, HOUR, "search jobs were started within a day"),
        ):
            if count >= most:
                raise NoRoomError(wait, f"{count} {what}, so no further one is started now")

    def _finished(self, name: str, window: Window, until: float, deadline: float) -> int:
        """Return how many rows a job found, once it is over; its limit where it was ended there.

        One that was ended otherwise before it was done, as by somebody who cancelled it, has failed, though
        its table and its operation may both say that it succeeded: only its progress tells. Where neither its
        progress is known nor its operation, as some days later, it may have failed unseen, and counts as one
        that did; unless it was found whole before.
        """
        table, operation = poll(lambda: self._look(name, deadline), self._clock, until, PATIENCE)
        if operation is not None and operation.is_cut_off:
            return self._search.limit
        told: list[JobTable | Operation] = [table] if operation is None else [table, operation]
        rows = next((each.ingested for each in told if each.ingested is not None), None)
        if rows is None or rows < self._search.limit:
            progress = min((each.progress for each in told if each.progress is not None), default=None)
            if progress is not None and progress < _ALL:
                self._fail(name, "Incomplete", f"it ended when {progress:g} % of it were done", deadline)
            told_whole = progress is not None or (operation is not None and operation.has_succeeded)
            if not told_whole and not self._is(name, "done"):
                self._fail(name, "Unknown", "nothing says any more whether it came to its end", deadline)
        self._ledger.mark(name, "done")
        return self._counted(name, window, deadline) if rows is None else rows

    def _counted(self, name: str, window: Window, deadline: float) -> int:
        """Return how many rows a job's table has, where the service does not say: the job is paid for.

        They are counted when all of them show, because nothing else would tell that some do not yet.
        """
        entry = self._ledger.get(name)
        wait = entry.since + VISIBLE - self._clock.now() if entry else 0
        if wait > 0:
            raise NotReadyError(wait, f"the search job {name} does not say how many rows it found")
        return self._count(name, window, deadline)

    def _look(self, name: str, deadline: float) -> tuple[JobTable, Operation | None] | Waiting:
        table = self._tables.get(name, deadline)
        entry = self._ledger.get(name)
        if table is None:
            if entry is None or self._clock.now() - entry.since > _NOT_THERE:
                self._ledger.mark(name, "dropped")
                raise NotReadyError(MINUTE, f"the table {name} is gone, and its job is started again")
            return Waiting(f"the table {name} is not there yet")
        if table.state == "Deleting":
            self._ledger.mark(name, "dropped")
            raise NotReadyError(MINUTE, f"the table {name} is being deleted")
        operation = self._tables.operation(table, entry.operation if entry else None, deadline)
        if operation is not None and operation.has_failed:
            self._fail(name, operation.status, operation.error, deadline)
        goes_on = operation is not None and operation.goes_on
        if table.state == "Succeeded" and not goes_on:
            return table, operation
        if entry is not None and self._clock.now() - entry.started > _LONGEST:
            self._drop(name, deadline)
            raise NotReadyError(MINUTE, f"the search job {name} did not end, and is started again")
        state = operation.status if goes_on and operation else table.state
        return Waiting(f"the search job {name} goes on ({state})")

    def _fail(self, name: str, code: str, why: str, deadline: float) -> NoReturn:
        """Delete a failed job's table, write the failure down, and raise ServiceError.

        It is not met by another job at once, because each is counted and billed.
        """
        self._tables.delete(name, deadline)
        self._ledger.fail(name)
        raise ServiceError(
            "Log Analytics",
            status=200,
            code=code,
            message=f"the search job {name} failed: {why}",
            request_id=None,
            retryable=False,
        )

    def _drop(self, name: str, deadline: float) -> None:
        self._tables.delete(name, deadline)
        self._ledger.mark(name, "dropped")


@contextlib.contextmanager
def _left_to_the_sweep() -> Generator[None]:
    try:
        yield
    except ExportError as error:
        _log.warning("the table of a search job is left to be swept: %s", error)
