"""One on-demand question -> its answer, where it is, or a promise. A part is never presented as the whole."""

import contextlib
import logging
import threading
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import msgspec

from shared.callers import Caller
from shared.errors import AnswerTooLargeError, DeadlineError, ExportError, RefusedError
from shared.log_reader import portions
from shared.model import Clock, Column
from shared.problems import problem
from shared.query_api import Answer
from shared.query_audit import Audit
from shared.query_formats import FORMATS
from shared.query_jobs import Job, Jobs
from shared.query_reader import QueryReader, batch_of, cut
from shared.query_results import Results
from shared.query_settings import QuerySettings
from shared.query_statistics import Statistics
from shared.question import Question
from shared.windows import format_instant

_log = logging.getLogger(__name__)

_GRACE = 5.0
"""Seconds beyond the wait for an answer that is already on its way; the load balancer cuts at 230."""
_BUSY_SECONDS = 5
_FULL_SECONDS = 60


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer's body. ``rows`` are arrays in ``columns``' order, each cell as the service sent it.

    ``total`` is how many rows the query has, where that is known; ``returned`` of them are here.
    """

    query_id: str
    status: str
    returned: int
    total: int | None
    truncated: bool
    columns: Sequence[dict[str, str]]
    rows: Sequence[msgspec.Raw]
    statistics: Statistics
    request_id: str | None = None
    result_url: str | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A whole answer in a form that is a file: its bytes, and its ``rows`` of ``total``, if that is known."""

    query_id: str
    question: Question
    body: bytes
    rows: int
    total: int | None
    statistics: Statistics
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A whole answer that is stored, because it is too large to be sent in its form."""

    query_id: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and how many rows and bytes of them were sent or stored."""

    answer: Result | File | Elsewhere
    rows: int
    bytes: int

    @property
    def status(self) -> str:
        """Whether it is ``complete`` or ``partial``."""
        return self.answer.status if isinstance(self.answer, Result) else "complete"


@dataclass(frozen=True, slots=True)
class Later:
    """A promise: the query waits in the queue."""

    job: Job


def result_url(query_id: str) -> str:
    """Return where a query's stored result is, on this app."""
    return f"/api/query/{query_id}/result"


class Query:
    """Answers questions. Thread-safe."""

    def __init__(
        self,
        settings: QuerySettings,
        reader: QueryReader,
        jobs: Jobs,
        results: Results,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._jobs = jobs
        self._results = results
        self._audit = audit
        self._clock = clock
        self._slots = threading.BoundedSemaphore(settings.concurrent)

    def ask(self, question: Question, caller: Caller) -> Answered | Later:
        """Answer a question within its wait, or put it into the queue.

        Raises RefusedError where too many are being answered, ServiceError and the transport's errors.
        """
        asked = _Asked(uuid.uuid4().hex, self._clock.now(), question, caller)
        self._audit.begin(asked.id, asked.at, caller, question)
        try:
            with self._slot() if question.wait else contextlib.nullcontext():
                outcome = self._answer(asked)
        except Exception as error:
            known = error if isinstance(error, ExportError) else ExportError("an error of this app's")
            self._audit.end(asked.id, asked.at, caller, question, "failed", error=problem(known)[0])
            raise
        if isinstance(outcome, Answered):
            self._audit.end(
                asked.id, asked.at, caller, question, outcome.status, rows=outcome.rows, bytes=outcome.bytes
            )
        return outcome

    def refuse(self, caller: Caller, body: bytes, error: ExportError) -> None:
        """Record a request that did not become a question."""
        self._audit.refused(uuid.uuid4().hex, caller, body, error)

    def _answer(self, asked: "_Asked") -> Answered | Later:
        question = asked.question
        if not question.wait:
            return self._later(asked)
        began = self._clock.monotonic()
        deadline = began + question.wait + _GRACE
        try:
            answer = self._reader.ask(
                question,
                asked.id,
                rows=None if question.top is None else question.top + 1,
                wait=min(question.wait, self._settings.seconds),
                deadline=deadline,
            )
        except DeadlineError:
            return self._later(asked)
        except AnswerTooLargeError as error:
            if error.status != 504 and cut(question) is None:  # no time would be enough
                raise
            return self._later(asked)
        if answer.partial is not None:
            if isinstance(answer.partial, AnswerTooLargeError) and cut(question) is not None:
                return self._later(asked)
            return _sent(self._part(asked, answer))
        _log.info(
            "query answered query_id=%s rows=%d bytes=%d seconds=%.1f",
            asked.id, len(answer.rows), answer.answer_bytes, self._clock.monotonic() - began,
        )  # fmt: skip
        return self._whole(asked, answer, deadline)

    def _whole(self, asked: "_Asked", answer: Answer, deadline: float) -> Answered:
        """Return an answer that is all there, or store it where it is too large to be sent."""
        question = asked.question
        rows = answer.rows
        total: int | None = len(rows)
        statistics = Statistics().plus(batch_of(answer))
        if question.top is not None and len(rows) > question.top:
            rows = rows[: question.top]
            total = self._total(asked, deadline)
        self._results.check(len(rows), 0)
        batch = batch_of(answer, len(rows))
        fits = self._fitting(rows)
        if question.destination == "inline" and fits == len(rows):
            if question.format == "json":
                return _sent(_result(asked.id, answer, rows, total, statistics))
            writer = FORMATS[question.format].plain.writer()
            body = writer.write(batch) + writer.finish()
            if len(body) <= self._settings.inline_bytes:  # names are in every line of some forms
                return Answered(
                    File(asked.id, question, body, len(rows), total, statistics, answer.request_id),
                    len(rows),
                    len(body),
                )
        stored, _ = self._results.store(asked.id, asked.ticks, question.format, lambda: portions(batch))
        job = asked.job("succeeded")
        self._jobs.add(
            msgspec.structs.replace(
                job,
                started_at=asked.at,
                finished_at=format_instant(self._clock.now()),
                statistics=statistics,
                request_id=answer.request_id,
                result=stored,
                total=total,
            )
        )
        if question.format != "json":
            return Answered(Elsewhere(asked.id), stored.rows, stored.bytes)
        shown = rows[:fits] if question.destination == "inline" else []
        result = _result(asked.id, answer, shown, total, statistics)
        result = msgspec.structs.replace(result, truncated=True, result_url=result_url(asked.id))
        return Answered(result, stored.rows, stored.bytes)

    def _part(self, asked: "_Asked", answer: Answer) -> Result:
        """Return the part that the service gave, which says so; a file cannot."""
        assert answer.partial is not None  # noqa: S101  the caller looked
        if asked.question.format != "json" or asked.question.destination == "blob":
            raise RefusedError(
                422,
                f"the service gave only a part of the answer, which {asked.question.format} "
                f"({asked.question.destination}) cannot say: {answer.partial}; ask for less, "
                "or for json inline",
            )
        rows = answer.rows[: asked.question.top]
        rows = rows[: self._fitting(rows)]
        result = _result(asked.id, answer, rows, None, Statistics().plus(batch_of(answer)))
        error = {"code": answer.partial.code, "message": answer.partial.message}
        return msgspec.structs.replace(result, status="partial", truncated=True, error=error)

    def _total(self, asked: "_Asked", deadline: float) -> int | None:
        """Return how many rows there are without ``top``; None where counting them takes too long."""
        left = int(deadline - self._clock.monotonic())
        if left < 1:
            return None
        try:
            return self._reader.total(asked.question, asked.id, wait=left, deadline=deadline)
        except ExportError as error:
            _log.warning("the total is not known query_id=%s: %s", asked.id, error)
            return None

    def _fitting(self, rows: Sequence[msgspec.Raw]) -> int:
        """Return how many rows, from the first on, an answer may have."""
        size = 0
        for number, row in enumerate(rows[: self._settings.inline_rows]):
            size += len(row) + 1
            if size > self._settings.inline_bytes:
                return number
        return min(len(rows), self._settings.inline_rows)

    def _later(self, asked: "_Asked") -> Later:
        """Put a query off, unless too many are; of those put off at the same time, the first stay."""
        most = self._settings.pending
        if len(self._pending()) < most:
            job = asked.job("queued")
            try:
                self._jobs.add(job)
                stays = asked.id in self._pending()[:most]
            except Exception:  # the caller is told that it failed: nobody is to carry it out later
                with contextlib.suppress(ExportError):
                    self._jobs.delete(asked.id)
                raise
            if stays:
                return Later(job)
            self._jobs.delete(asked.id)
        raise RefusedError(
            429,
            f"{most} queries wait or run, which are the most (QUERY_MAX_PENDING)",
            retry_after=_FULL_SECONDS,
        )

    def _pending(self) -> list[str]:
        """Return the ids of the queries that wait or run, in the order in which they were asked."""
        listed = (each for each in self._jobs.all() if each.status in {"queued", "running"})
        return [each.id for each in sorted(listed, key=lambda each: (each.asked_at, each.id))]

    @contextlib.contextmanager
    def _slot(self) -> Generator[None]:
        if not self._slots.acquire(blocking=False):
            raise RefusedError(
                429,
                f"{self._settings.concurrent} queries are being answered (QUERY_MAX_CONCURRENT); "
                "try again, or send Prefer: respond-async",
                retry_after=_BUSY_SECONDS,
            )
        try:
            yield
        finally:
            self._slots.release()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that somebody asks at some time (ticks)."""

    id: str
    ticks: int
    question: Question
    caller: Caller

    @property
    def at(self) -> str:
        return format_instant(self.ticks)

    def job(self, status: str) -> Job:
        return Job(self.id, status, self.question, self.caller, self.at)  # type: ignore[arg-type]  # literals


def _result(
    query_id: str,
    answer: Answer,
    rows: Sequence[msgspec.Raw],
    total: int | None,
    statistics: Statistics,
) -> Result:
    return Result(
        query_id=query_id,
        status="complete",
        returned=len(rows),
        total=total,
        truncated=total is None or len(rows) < total,
        columns=[_column(column) for column in answer.columns],
        rows=rows,
        statistics=statistics,
        request_id=answer.request_id,
    )


def _column(column: Column) -> dict[str, str]:
    return {"name": column.name, "type": column.type}


def _sent(result: Result) -> Answered:
    return Answered(result, result.returned, sum(map(len, result.rows)))
