"""Who asked what, when, and what came of it: one record for each on-demand query. Never a row of a result.

The record is there before the service is asked, so that no query goes without one; what came of it is added.
"""

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.callers import Caller
from shared.errors import ConflictError, ExportError
from shared.model import Clock, Container
from shared.problems import problem
from shared.question import Question
from shared.windows import format_instant

_log = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record. ``query_sha256`` is of the KQL with its parameters, ``outcome`` ``asked`` until known."""

    query_id: str
    asked_at: str
    caller: Caller
    query_sha256: str
    outcome: str
    saved: str | None = None
    workspace: str | None = None
    timespan: str | None = None
    finished_at: str | None = None
    rows: int | None = None
    bytes: int | None = None
    error: str | None = None


class Audit:
    """Writes the records, a folder a day."""

    def __init__(self, container: Container, clock: Clock) -> None:
        self._container = container
        self._clock = clock

    def begin(self, query_id: str, asked_at: str, caller: Caller, question: Question) -> None:
        """Record that a question is about to be asked."""
        self._add(_record(query_id, asked_at, caller, question))

    def end(
        self,
        query_id: str,
        asked_at: str,
        caller: Caller,
        question: Question,
        outcome: str,
        *,
        at: str | None = None,
        error: Mapping[str, Any] | None = None,
        **sizes: int,
    ) -> None:
        """Record what came of it: ``rows`` and ``bytes`` of the answer, or the kind of a problem document.

        ``at`` is when it ended, where that is not just now.
        """
        record = _record(query_id, asked_at, caller, question)
        record = msgspec.structs.replace(
            record,
            outcome=outcome,
            finished_at=at or format_instant(self._clock.now()),
            error=None if error is None else _kind(error),
            **sizes,
        )
        try:
            before = self._container.head(_name(record))
            self._write(record, None if before is None else before.etag)
        except ExportError as failure:  # the answer is there, and so is the record that it was asked for
            _log.error("what came of a query could not be recorded query_id=%s: %s", query_id, failure)

    def refused(self, query_id: str, caller: Caller, body: bytes, error: ExportError) -> None:
        """Record that a request was refused before it became a question; its hash is that of its body."""
        now = format_instant(self._clock.now())
        digest = hashlib.sha256(body).hexdigest()
        self._add(
            Record(query_id, now, caller, digest, "refused", finished_at=now, error=_kind(problem(error)[0]))
        )

    def _add(self, record: Record) -> None:
        with contextlib.suppress(ConflictError):  # an answer was lost on its way: the record is ours
            self._write(record, None)

    def _write(self, record: Record, etag: str | None) -> None:
        self._container.write(_name(record), msgspec.json.encode(record), etag=etag)


def _name(record: Record) -> str:
    return f"audit/{record.asked_at[:10].replace('-', '/')}/{record.query_id}.json"


def _record(query_id: str, asked_at: str, caller: Caller, question: Question) -> Record:
    return Record(
        query_id=query_id,
        asked_at=asked_at,
        caller=caller,
        query_sha256=hashlib.sha256(question.text.encode()).hexdigest(),
        outcome="asked",
        saved=question.saved,
        workspace=question.workspace,
        timespan=question.timespan,
    )


def _kind(document: Mapping[str, Any]) -> str:
    """Return what went wrong without the texts of query or service, which may quote data."""
    fields = ",".join(mistake["field"] for mistake in document.get("errors", ()))
    detail = document.get("code") or fields
    return f"{document['status']} {document['title']}" + (f" ({detail})" if detail else "")
