"""Microsoft Graph: `GET /v1.0/auditLogs/directoryAudits`.

Sources: "List directoryAudits", "Paging Microsoft Graph data in your app", "Microsoft Graph error responses",
"Microsoft Graph service-specific throttling limits" and public reports of what the service does beside them.
"""

import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.graph_filter import TIME, InvalidFilterError, parse_filter
from local.cloud.graph_pages import Record, UnknownTokenError, Walks
from local.cloud.options import Limits
from local.cloud.server import Answer, Request, json_answer
from local.cloud.throttle import Rate
from local.cloud.ticks import DAY, SECOND, UNIX_EPOCH, from_unix, parse_instant
from local.cloud.tokens import Tokens, Verdict

_PATH = re.compile(r"/(?P<version>v1\.0|beta)/auditLogs/directoryAudits/?", re.IGNORECASE)
_KEPT_OPTIONS = ("$filter", "$top", "$orderby")


class _GraphError(Exception):
    """An error of the service on its way out."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


class Graph:
    """The audit logs of one tenant. `clock` gives Unix seconds."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._rate = Rate(time.monotonic)
        self._lock = threading.Lock()
        self._records: list[tuple[int, Record]] = []
        self._walks = Walks()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is Graph's."""
        return path.lower().startswith(("/v1.0/", "/beta/"))

    def add(self, records: list[Record]) -> int:
        """Add directory audits and return how many; they can be read at once.

        Raises ValueError for a record without an `id` or with a wrong `activityDateTime`.
        """
        dated = [_dated(record) for record in records]
        with self._lock:
            self._records.extend(dated)
            self._sort()
        return len(dated)

    def remove(self, ids: Collection[str]) -> int:
        """Take the records with these ids away and return how many; a walk under way still has them."""
        with self._lock:
            before = len(self._records)
            self._records = [each for each in self._records if each[1]["id"] not in ids]
            return before - len(self._records)

    def replace(self, id_: str, record: Record) -> None:
        """Give the record with this id other members; those that `record` lacks stay as they are.

        Raises ValueError where there is none, or as `add` does.
        """
        with self._lock:
            old = next((each for _, each in self._records if each["id"] == id_), None)
        if old is None:
            raise ValueError(f"no directory audit with the id {id_!r}")
        new = _dated({**old, **record})
        with self._lock:
            self._records = [new if each is old else (ticks, each) for ticks, each in self._records]
            self._sort()

    def _sort(self) -> None:
        """Newest first, as the service returns them."""
        self._records.sort(key=lambda each: each[0], reverse=True)

    def records(self) -> list[Record]:
        """Every record, newest first."""
        with self._lock:
            return [record for _, record in self._records]

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on one of Graph's paths."""
        try:
            document = self._page(request, fault, limits)
            status, headers = 200, {}
        except _GraphError as refusal:
            status, headers = refusal.status, refusal.headers
            document = {
                "error": {
                    "code": refusal.code,
                    "message": refusal.message,
                    "innerError": self._inner(request),
                }
            }
        answer = json_answer(status, document)
        return Answer(status, answer.body, answer.headers | self._diagnostics(request) | headers)

    def _page(self, request: Request, fault: Fault | None, limits: Limits) -> dict[str, Any]:
        self._raise_fault(fault)
        self._authorize(request)
        if wait := self._rate.wait(limits.reports, limits.report_seconds):
            raise _throttled({"Retry-After": str(math.ceil(wait))})
        version = _checked(request)
        options = request.query
        token = options.get("$skiptoken")
        if token is None:
            token = self._walks.start(*self._found(options, limits))
        try:
            if fault is not None and fault.kind == "invalid_skip_token":
                raise UnknownTokenError(token)
            page = self._walks.page(token, uneven=limits.uneven_pages)
        except UnknownTokenError as error:
            raise _GraphError(400, "UnknownError", "Invalid Skip Token") from error
        context = f"{request.base}/{version}/$metadata#auditLogs/directoryAudits"
        document: dict[str, Any] = {"@odata.context": context}
        if page.next_token is not None:
            kept = [f"{each}={quote(options[each], safe='')}" for each in _KEPT_OPTIONS if each in options]
            target = (
                f"/{version}/auditLogs/directoryAudits?{'&'.join([*kept, f'$skiptoken={page.next_token}'])}"
            )
            document["@odata.nextLink"] = _next_link(request, target, fault)
        return document | {"value": page.records}

    def _raise_fault(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.kind == "429":
            raise _throttled(retry_headers(fault, self._clock()))
        if fault.kind == "expired_token":
            raise _unauthorized("Lifetime validation failed, the token is expired.")
        if fault.kind.isdigit():
            status = int(fault.kind)
            raise _GraphError(
                status,
                phrase(status),
                "The service is temporarily unavailable.",
                retry_headers(fault, self._clock()),
            )

    def _authorize(self, request: Request) -> None:
        match self._tokens.check(request.headers.get("Authorization"), "graph"):
            case Verdict.MISSING:
                raise _unauthorized("Access token is empty.")
            case Verdict.INVALID:
                raise _unauthorized("CompactToken validation failed: the signature is invalid.")
            case Verdict.EXPIRED:
                raise _unauthorized("Lifetime validation failed, the token is expired.")
            case Verdict.WRONG_AUDIENCE:
                raise _unauthorized("Access token validation failure. Invalid audience.")

    def _found(self, options: dict[str, str], limits: Limits) -> tuple[list[Record], int]:
        """The records that a first request asks for, in its order, and how many go on a page."""
        floor = self._floor(limits)
        top = options.get("$top", str(limits.page))
        if not top.isdigit() or not 1 <= int(top) <= limits.page:
            text = f"Invalid page size specified: '{top}'. Must be between 1 and {limits.page} inclusive."
            raise _GraphError(400, "BadRequest", text)
        with self._lock:
            records = [record for ticks, record in self._records if ticks >= floor]
        if "$filter" in options:
            try:
                matches, dates = parse_filter(options["$filter"])
            except InvalidFilterError as error:
                raise _GraphError(400, "BadRequest", "Invalid filter clause") from error
            if any(date < floor for date in dates):
                raise _GraphError(400, "BadRequest", _below(floor))
            records = [record for record in records if matches(record)]
        order = options.get("$orderby", f"{TIME} desc").split()
        if order[:1] != [TIME] or order[1:] not in ([], ["asc"], ["desc"]):
            raise _GraphError(400, "BadRequest", "The $orderby expression is not supported.")
        return (records if order[1:] == ["desc"] else records[::-1]), int(top)

    def _floor(self, limits: Limits) -> int:
        """The oldest instant that the service still has: a midnight."""
        if limits.retention_days is None:
            return 0
        since = from_unix(self._clock()) - limits.retention_days * DAY
        return since - since % DAY

    def _inner(self, request: Request) -> dict[str, str]:
        return {"date": f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%dT%H:%M:%S}"} | {
            name: value for name, value in self._diagnostics(request).items() if name.endswith("-id")
        }

    def _diagnostics(self, request: Request) -> dict[str, str]:
        client = request.headers.get("client-request-id") or str(uuid.uuid4())
        return {
            "request-id": str(uuid.uuid4()),
            "client-request-id": client,
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Stand-in","Slice":"E","Ring":"5"}}',
            "Content-Type": "application/json;odata.metadata=minimal;odata.streaming=true;charset=utf-8",
        }


def _dated(record: Record) -> tuple[int, Record]:
    if not record.get("id") or not isinstance(record.get(TIME), str):
        raise ValueError(f"a directory audit needs an id and an {TIME}")
    return parse_instant(record[TIME]), record


def _checked(request: Request) -> str:
    """The version that a request's path names, after a look at its path, method and options."""
    found = _PATH.fullmatch(request.path)
    if found is None:
        segment = request.path.rpartition("/")[2]
        raise _GraphError(404, "ResourceNotFound", f"Resource not found for the segment '{segment}'.")
    if request.method != "GET":
        text = "Specified HTTP method is not allowed for the request target."
        raise _GraphError(405, "Request_BadRequest", text)
    for name in request.query:
        if name.startswith("$") and name not in (*_KEPT_OPTIONS, "$skiptoken"):
            text = (
                f"Query option '{name[1:].title()}' is not allowed. To allow it, set the "
                "'AllowedQueryOptions' property on EnableQueryAttribute or QueryValidationSettings."
            )
            raise _GraphError(400, "BadRequest", text)
    return found["version"].lower()


def _next_link(request: Request, target: str, fault: Fault | None) -> str:
    """The link to `target`, unless a fault wants another."""
    if fault is not None and fault.kind == "foreign_next_link":
        return fault.location.rstrip("/") + target
    if fault is not None and fault.kind == "repeated_next_link":
        return request.base + request.target
    return request.base + target


def _throttled(headers: dict[str, str]) -> _GraphError:
    again = "the value specified in the Retry-After header" if "Retry-After" in headers else "some time"
    return _GraphError(
        429,
        "UnknownError",
        f"This request is throttled. Please try again after {again}. CorrelationId: {uuid.uuid4()}",
        headers,
    )


def _unauthorized(message: str) -> _GraphError:
    return _GraphError(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": 'Bearer realm=""'})


def _below(floor: int) -> str:
    day = datetime.fromtimestamp((floor - UNIX_EPOCH) // SECOND, UTC)
    shown = f"{day.month}/{day.day}/{day.year} 12:00:00 AM"
    return (
        "Specified argument was out of the range of valid values. "
        f"(Parameter 'Minimum allowed time for activityDateTime is {shown}')"
    )
