"""On-demand queries that outlive their request: one document each, changed step by step by whoever works.

A document's metadata repeat what a listing has to know. Two writers never both believe they won: each change
is made to the document as it was read, or read and made again.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from shared import rawjson
from shared.callers import Caller
from shared.errors import ConflictError, NotFoundError, ProtocolError
from shared.model import Clock, Container, Document
from shared.query_results import StoredResult
from shared.query_statistics import Statistics
from shared.question import Question
from shared.windows import MINUTE, format_instant, parse_instant

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]

STALLED = 20 * MINUTE
"""How long nothing was heard of a query that is neither finished nor being redelivered (ticks): longer than a
function may run, and than the queue hides a message whose worker died."""

_PREFIX = "jobs/"
_ID = re.compile(r"[0-9a-f]{32}")
_ATTEMPTS = 10  # to change a document that others change too


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One query.

    Times are instants as text; ``error`` is a problem document, ``total`` how many rows there are without
    ``top``.
    """

    id: str
    status: Status
    question: Question
    caller: Caller
    asked_at: str
    started_at: str | None = None
    finished_at: str | None = None
    statistics: Statistics = Statistics()
    request_id: str | None = None
    error: dict[str, Any] | None = None
    result: StoredResult | None = None
    total: int | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing knows of a query: its id, when it was asked and last heard of (ticks), its status."""

    id: str
    status: str
    asked_at: int
    touched_at: int

    def stalled(self, now: int) -> bool:
        """Whether its message must have been lost."""
        return self.status in {"queued", "running"} and now - self.touched_at > STALLED


class Jobs:
    """The documents. Thread-safe."""

    def __init__(self, container: Container, clock: Clock) -> None:
        self._container = container
        self._clock = clock

    def add(self, job: Job) -> None:
        """Keep a new query."""
        with contextlib.suppress(ConflictError):  # an answer was lost on its way: the document is ours
            self._write(job, None)

    def get(self, query_id: str) -> Job:
        """Return a query. Raises NotFoundError."""
        return self._read(query_id)[0]

    def change(self, query_id: str, change: Callable[[Job], Job]) -> Job:
        """Change a query and return it as it then is; one that is finished stays as it is.

        Raises NotFoundError for one that is gone.
        """
        for _ in range(_ATTEMPTS):
            job, etag = self._read(query_id)
            changed = job if job.finished else change(job)
            try:
                if not job.finished:
                    self._write(changed, etag)
            except ConflictError:
                continue
            return changed
        raise ConflictError(f"others kept changing the query {query_id}")

    def delete(self, query_id: str) -> None:
        """Forget a query; one that is gone is no error."""
        self._container.delete(_name(query_id))

    def all(self) -> list[Listed]:
        """Return all queries, as a listing knows them."""
        found = []
        for blob in self._container.list(_PREFIX, metadata=True):
            query_id = blob.name.removeprefix(_PREFIX).removesuffix(".json")
            try:
                asked, touched = (parse_instant(blob.metadata[key]) for key in ("asked_at", "touched_at"))
                found.append(Listed(query_id, blob.metadata["status"], asked, touched))
            except (KeyError, ValueError):
                found.append(Listed(query_id, "unknown", 0, 0))  # nobody's: the next sweep takes it away
        return found

    def _read(self, query_id: str) -> tuple[Job, str]:
        document: Document | None = None
        if _ID.fullmatch(query_id):
            document = self._container.read(_name(query_id))
        if document is None:
            raise NotFoundError(f"there is no query {query_id!r}; it may have expired")
        try:
            return rawjson.decode(document.data, Job), document.etag
        except rawjson.UNREADABLE as error:
            raise ProtocolError(f"the stored query {query_id} cannot be read: {error}") from error

    def _write(self, job: Job, etag: str | None) -> None:
        metadata = {
            "status": job.status,
            "asked_at": job.asked_at,
            "touched_at": format_instant(self._clock.now()),
        }
        self._container.write(_name(job.id), msgspec.json.encode(job), etag=etag, metadata=metadata)


def _name(query_id: str) -> str:
    return f"{_PREFIX}{query_id}.json"
