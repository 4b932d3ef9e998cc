"""The Log Search API of Log Analytics, 2015-11-01-preview: a search is begun, waited for, and read whole.

Microsoft has retired it. Sources: "Log Analytics log search REST API", recordings of Microsoft's own client
("Operational Insights cmdlets"), and "Retrieve data from Log Analytics with a Python script", whose requests
these are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec

from shared import rawjson
from shared.errors import DeadlineError, DeniedError, NotReadyError, ProtocolError, ServiceError
from shared.model import Clock, Request, Response, Send, Window
from shared.polling import Patience, Waiting, poll
from shared.service_errors import served_at
from shared.windows import SECOND, format_second

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_TOP = 5_000
"""Rows of one plain search at most."""

_SERVICE = "Log Analytics' search API"
_VERSION = "api-version=2015-11-01-preview"
_SEARCHES = 4  # of the same time, where the service loses them before they are done
_PATIENCE = Patience(most=10.0, total=float("inf"))  # until the deadline: an unfinished search is soon gone


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: rows, each a JSON object, and how many match in all (None: it does not say).

    ``answer_bytes`` is the size of the body, ``served_at`` the service's own time (ticks) when it began.
    """

    rows: Sequence[msgspec.Raw]
    total: int | None
    answer_bytes: int
    served_at: int | None


@dataclass(frozen=True, slots=True)
class _Pending:
    """A search that is not done, by the name that it is asked for with."""

    name: str


class Searches:
    """The searches of one query in one workspace, all done by one deadline (on the clock's ``monotonic``).

    ``resource`` is the workspace's id on Resource Manager; ``top`` is how many rows a search asks for.
    """

    def __init__(
        self, resource: str, query: str, top: int, send: Send, clock: Clock, deadline: float
    ) -> None:
        self._path = f"{quote(resource, safe='/()')}/search"
        self._query = query
        self._top = top
        self._send = send
        self._clock = clock
        self._deadline = deadline
        # Documented and recorded is POST; Microsoft's script polled with GET.
        self._verb: Literal["POST", "GET"] = "POST"
        self._requests = 0

    def requests(self) -> int:
        """Return how many requests were sent since this was last asked."""
        requests, self._requests = self._requests, 0
        return requests

    def search(self, span: Window) -> Found:
        """Search a span, with a second around it, and return the finished answer.

        A search that the service lost (410) before it was done is begun again. Raises DeadlineError for one
        that is not done in time, and ServiceError for one that ended in an error.
        """
        begun = 0
        while True:
            begun += 1
            first, began = self._begin(span)
            try:
                found = self._finished(first.name) if isinstance(first, _Pending) else first
            except ServiceError as error:
                if error.status != 410:
                    raise
                error.retryable = True
                if begun == _SEARCHES:
                    raise
                _log.warning("a search was gone before it was done, and begins again: %s", error)
                continue
            _log.info(
                "searched %s to %s: total=%s returned=%d",
                *(format_second(span.start), format_second(span.end), found.total, len(found.rows)),
            )
            return replace(found, served_at=began)

    def _begin(self, span: Window) -> tuple[Found | _Pending, int | None]:
        """Begin a search; return what it came to at once, and when that was by the service's clock."""
        asked = {
            "query": self._query,
            "top": self._top,
            "start": _written(max(0, span.start - SECOND)),
            "end": _written(span.end + SECOND),
        }
        response = self._ask("POST", "", msgspec.json.encode(asked))
        return _read(response.body), served_at(response.headers)

    def _finished(self, name: str) -> Found:
        """Wait for a search."""
        step = f"/{quote(name, safe='')}"  # not the Location header: in recorded answers it is no address

        def look() -> Found | Waiting:
            seen = _read(self._look(step).body)
            return Waiting("the search is pending") if isinstance(seen, _Pending) else seen

        try:
            return poll(look, self._clock, self._deadline, _PATIENCE)
        except NotReadyError as error:  # no other attempt would find it
            raise DeadlineError("a search was still pending") from error

    def _look(self, step: str) -> Response:
        """Look at a search, with the method that the service takes for that."""
        try:
            return self._ask(self._verb, step)
        except ServiceError as error:
            if self._verb == "GET" or error.status not in {404, 405}:
                raise
        self._verb = "GET"
        return self._ask("GET", step)

    def _ask(self, method: Literal["POST", "GET"], step: str, body: bytes | None = None) -> Response:
        self._requests += 1
        headers = {"Content-Type": "application/json"} if body else {}
        target = f"{self._path}{step}?{_VERSION}"
        try:
            return self._send(Request(method, target, body, headers, deadline=self._deadline))
        except ServiceError as error:
            if error.status not in {401, 403}:
                raise
            needs = "the app needs the role Log Analytics Reader on the workspace"
            raise DeniedError.of(error, needs) from error


class _Metadata(msgspec.Struct, rename="lower"):
    status: str
    total: int | None = None
    error: dict[str, Any] | None = None
    requestid: str | None = None


def _read(body: bytes) -> Found | _Pending:
    """Read an answer; names are compared in lower case, because the API's clients differ in them.

    The rows that a pending search shows are not its answer. Raises ServiceError for a search that failed, and
    ProtocolError for what is no search.
    """
    try:
        members = _lowered(rawjson.decode(body, dict[str, msgspec.Raw]))
        metadata = members.get("__metadata") or members["metadata"]
        about = msgspec.convert(_lowered(msgspec.json.decode(metadata, type=dict[str, Any])), _Metadata)
        match about.status.lower():
            case "pending":
                return _Pending(_last_step(msgspec.json.decode(members["id"], type=str)))
            case "successful":
                rows = msgspec.json.decode(members["value"], type=list[msgspec.Raw])
            case "error" | "failed":
                said = about.error or msgspec.json.decode(members.get("error", b"{}"), type=dict[str, Any])
                raise _failure(said, about.requestid)
            case _:
                raise ProtocolError(f"a search has the unknown status {about.status!r}")
    except (*rawjson.UNREADABLE, KeyError) as error:
        raise ProtocolError(f"{_SERVICE} did not answer with a search: {error!r}") from error
    if about.total is not None and about.total < len(rows):
        raise ProtocolError(f"a search has {len(rows)} rows, but a total of {about.total}")
    return Found(rows, about.total, len(body), None)


def _last_step(id_: str) -> str:
    """Return the name of a search from its id, which is that name or a path to it."""
    name = id_.rpartition("/")[2]
    if not name:
        raise ProtocolError(f"a pending search has the id {id_!r}, which names none")
    return name


def _lowered(members: Mapping[str, _T]) -> dict[str, _T]:
    return {name.lower(): value for name, value in members.items()}


def _failure(said: Mapping[str, Any], request_id: str | None) -> ServiceError:
    error = _lowered(said)
    return ServiceError(
        _SERVICE,
        status=200,
        code=str(error.get("type") or error.get("code") or "SearchError"),
        message=str(error.get("message") or "the search failed, and the service gave no reason"),
        request_id=request_id,
        retryable=True,
    )


def _written(ticks: int) -> str:
    """Return an instant as the script wrote it: whole seconds of UTC, and no zone."""
    return format_second(ticks)[:-1]
