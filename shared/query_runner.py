"""One message of the queries' queue: a query is carried out, and its result stored.

A message may be delivered twice, and a worker may die: whatever was done is done again, and the last step,
which says that the query has succeeded, is taken once.
"""

import logging
from typing import Any

import msgspec

from shared.errors import DeadlineError, ExportError, NotFoundError
from shared.model import Clock
from shared.problems import problem
from shared.query_audit import Audit
from shared.query_jobs import Job, Jobs
from shared.query_reader import QueryReader
from shared.query_results import Results, StoredResult
from shared.query_statistics import Statistics
from shared.windows import format_instant, parse_instant

_log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 5.0
_COUNT_SECONDS = 60


class _EndedError(ExportError):
    """Somebody ended the query while it ran; ``job`` is what it then was."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"the query has {job.status}")
        self.job = job


class QueryRunner:
    """Carries out queries from the queue."""

    def __init__(
        self, reader: QueryReader, jobs: Jobs, results: Results, audit: Audit, clock: Clock, seconds: int
    ) -> None:
        self._reader = reader
        self._jobs = jobs
        self._results = results
        self._audit = audit
        self._clock = clock
        self._seconds = seconds

    def run(self, query_id: str) -> None:
        """Carry out a query, unless it is finished or gone. Raises what another delivery may mend."""
        try:
            job = self._jobs.change(query_id, self._started)
        except NotFoundError as error:
            _log.warning("query dropped query_id=%s: %s", query_id, error)
            return
        if job.finished:
            self._record(job)  # whoever finished it may have died before this
            return
        try:
            stored, statistics, total = self._read(job)
        except _EndedError as ended:
            _log.info("query ended under way query_id=%s: %s", query_id, ended)
            self._record(ended.job)  # as above
            return
        except NotFoundError:  # ended, and forgotten since
            _log.info("query forgotten under way query_id=%s", query_id)
            return
        except DeadlineError as error:
            self._fail(query_id, DeadlineError(f"the query took more than {self._seconds} s ({error})"))
            return
        except ExportError as error:
            if error.retryable:
                self._tell(query_id, error=problem(error)[0])
                raise
            self._fail(query_id, error)
            return
        self._succeed(job, stored, statistics, total)

    def give_up(self, query_id: str) -> None:
        """Record that no delivery could carry out a query."""
        self._fail(
            query_id, ExportError("the query failed again and again; the log says why each time"), known=True
        )

    def _started(self, job: Job) -> Job:
        started = job.started_at or format_instant(self._clock.now())
        return msgspec.structs.replace(job, status="running", started_at=started)

    def _read(self, job: Job) -> tuple[StoredResult, Statistics, int | None]:
        """Store the rows; return where they are, what they cost, and how many there are without ``top``.

        That is None where the rows are there and counting them fails.
        """
        deadline = self._clock.monotonic() + self._seconds
        told = self._clock.monotonic()

        def watch(statistics: Statistics) -> None:
            nonlocal told
            now = self._clock.monotonic()
            if now > deadline:
                raise DeadlineError("not all of its rows were there in time")
            if now - told >= _PROGRESS_SECONDS:
                told = now
                if (known := self._tell(job.id, statistics=statistics)).finished:
                    raise _EndedError(known)

        stored, statistics = self._results.store(
            job.id,
            parse_instant(job.asked_at),
            job.question.format,
            lambda: self._reader.read(job.question, job.id, deadline),
            watch,
        )
        total: int | None = stored.rows
        if total == job.question.top:
            try:
                total = self._reader.total(job.question, job.id, wait=_COUNT_SECONDS, deadline=deadline)
            except ExportError as error:
                _log.warning("the total is not known query_id=%s: %s", job.id, error)
                total = None
        return stored, statistics, total

    def _tell(self, query_id: str, **found: Any) -> Job:
        """Record how far the query is, or why its attempt failed; return it, which may be finished."""
        return self._jobs.change(query_id, lambda each: msgspec.structs.replace(each, **found))

    def _succeed(self, job: Job, stored: StoredResult, statistics: Statistics, total: int | None) -> None:
        def succeeded(each: Job) -> Job:
            return msgspec.structs.replace(
                each,
                status="succeeded",
                finished_at=format_instant(self._clock.now()),
                statistics=statistics,
                error=None,
                request_id=stored.request_id,
                result=stored,
                total=total,
            )

        try:
            job = self._jobs.change(job.id, succeeded)
        except NotFoundError:
            self._results.delete(stored)
            return
        if job.result != stored:  # cancelled at the last moment, or another worker was quicker
            self._results.delete(stored)
            self._record(job)
            return
        self._results.delete_others(stored)
        self._record(job)
        _log.info("query stored query_id=%s rows=%d bytes=%d", job.id, stored.rows, stored.bytes)

    def _fail(self, query_id: str, error: ExportError, *, known: bool = False) -> None:
        """Record that a query failed for good: with its last attempt's error, if that is ``known``."""
        document = problem(error)[0]

        def failed(each: Job) -> Job:
            why = each.error if known and each.error is not None else document
            return msgspec.structs.replace(
                each, status="failed", finished_at=format_instant(self._clock.now()), error=why
            )

        try:
            job = self._jobs.change(query_id, failed)
        except NotFoundError:
            return
        self._record(job)
        if job.status == "failed":
            _log.error("query failed query_id=%s: %s", query_id, error)

    def _record(self, job: Job) -> None:
        outcome = "complete" if job.status == "succeeded" else job.status
        kept = job.result
        sizes = {} if kept is None else {"rows": kept.rows, "bytes": kept.bytes}
        self._audit.end(
            job.id,
            job.asked_at,
            job.caller,
            job.question,
            outcome,
            at=job.finished_at,
            error=job.error,
            **sizes,
        )
