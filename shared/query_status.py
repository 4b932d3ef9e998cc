"""What callers ask of queries that outlived their request: how far they are, their result, their end."""

import logging
from typing import Any

import msgspec

from shared.callers import Caller
from shared.errors import ExportError, NotFoundError, RefusedError
from shared.model import Clock
from shared.query import result_url
from shared.query_audit import Audit
from shared.query_jobs import STALLED, Job, Jobs
from shared.query_results import Results, StoredResult
from shared.query_statistics import Statistics
from shared.windows import DAY, MINUTE, format_instant, parse_instant

_log = logging.getLogger(__name__)

RETRY_SECONDS = 5
"""After how many seconds a caller may ask again how far a query is."""


class QueryStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a query is. Times are instants; the result's ``bytes`` and ``sha256`` are of its file."""

    query_id: str
    status: str
    asked_at: str
    started_at: str | None = None
    finished_at: str | None = None
    expires_at: str | None = None
    statistics: Statistics = Statistics()
    request_id: str | None = None
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


def status_of(job: Job, result_days: int) -> QueryStatus:
    """Return what a caller is told of a query."""
    expires = parse_instant(job.asked_at) + result_days * DAY
    result = None
    if job.result is not None:
        kept = job.result
        result = {"url": result_url(job.id), "format": kept.format, "rows": kept.rows, "bytes": kept.bytes}
        result |= {"total": job.total, "sha256": kept.sha256, "columns": kept.columns}
    return QueryStatus(
        query_id=job.id,
        status=job.status,
        asked_at=job.asked_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=format_instant(expires) if job.finished else None,
        statistics=job.statistics,
        request_id=job.request_id,
        error=job.error,
        result=result,
    )


class QueryStatuses:
    """Answers about queries that are, or were, in the queue; and forgets those that are old."""

    def __init__(self, jobs: Jobs, results: Results, audit: Audit, clock: Clock, result_days: int) -> None:
        self._jobs = jobs
        self._results = results
        self._audit = audit
        self._clock = clock
        self._result_days = result_days

    def status(self, query_id: str, caller: Caller) -> QueryStatus:
        """Return how far a query is. Raises NotFoundError, also for somebody else's."""
        return status_of(self._job(query_id, caller), self._result_days)

    def cancel(self, query_id: str, caller: Caller) -> None:
        """End a query that is not finished, and forget one that is, with its result."""
        job = self._job(query_id, caller)
        if not job.finished:
            job = self._jobs.change(query_id, self._cancelled)
            if job.status == "cancelled":
                self._audit.end(query_id, job.asked_at, job.caller, job.question, "cancelled")
                return
        if job.result is not None:
            self._results.delete(job.result)
        self._jobs.delete(query_id)

    def result(self, query_id: str, caller: Caller) -> StoredResult:
        """Return where a query's result is stored. Raises RefusedError while, or because, there is none."""
        job = self._job(query_id, caller)
        if not job.finished:
            raise RefusedError(409, f"the query is {job.status}; ask again later", retry_after=RETRY_SECONDS)
        if job.result is None:
            raise RefusedError(410, f"the query has no result: it {_end_of(job)}")
        return job.result

    def tend(self) -> list[str]:
        """Forget what is old, and return the ids of queries whose messages must have been lost.

        One that waits may just not have had its turn, as long as some that were asked before it have theirs.
        """
        now = self._clock.now()
        before = now - self._result_days * DAY
        self._results.sweep(before - _WORK)
        listed = self._jobs.all()
        for each in listed:
            if each.asked_at < before:
                self._jobs.delete(each.id)
        at_work = [each for each in listed if each.status != "queued" and now - each.touched_at <= STALLED]
        turn = min((each.asked_at for each in at_work), default=now)
        lost = [
            each.id
            for each in listed
            if each.asked_at >= before
            and each.stalled(now)
            and (each.status == "running" or each.asked_at < turn)
        ]
        return [query_id for query_id in lost if self._is_there(query_id)]

    def _is_there(self, query_id: str) -> bool:
        """Touch a query, so that it is not found again soon; return whether that could be done."""
        try:
            self._jobs.change(query_id, lambda job: job)
        except NotFoundError:
            return False
        except ExportError as error:
            _log.error("a query cannot be taken up again query_id=%s: %s", query_id, error)
            return False
        return True

    def _cancelled(self, job: Job) -> Job:
        return msgspec.structs.replace(job, status="cancelled", finished_at=format_instant(self._clock.now()))

    def _job(self, query_id: str, caller: Caller) -> Job:
        job = self._jobs.get(query_id)
        expired = parse_instant(job.asked_at) + self._result_days * DAY <= self._clock.now()
        if expired or (job.caller.kind == "principal" and job.caller.id != caller.id):
            raise NotFoundError(f"there is no query {query_id!r}; it may have expired")
        return job


_WORK = 60 * MINUTE  # a query that has waited in the queue has its result for a little longer


def _end_of(job: Job) -> str:
    return "was cancelled" if job.status == "cancelled" else f"failed ({(job.error or {}).get('detail')})"
