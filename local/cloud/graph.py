"""Microsoft Graph: `GET /v1.0/auditLogs/directoryAudits`, with the filters, pages, limits and errors of the service.

Sources: "List directoryAudits", "Paging Microsoft Graph data in your app", "Microsoft Graph error responses",
"Microsoft Graph service-specific throttling limits" and public reports of what the service does beside them.
"""

import math
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.graph_filter import TIME, InvalidFilter, Record, parse_filter
from local.cloud.options import Limits
from local.cloud.server import Answer, Request, json_answer
from local.cloud.throttle import Rate
from local.cloud.ticks import DAY, SECOND, UNIX_EPOCH, from_unix, parse_instant
from local.cloud.tokens import Tokens, Verdict

_PATH = re.compile(r"/(?P<version>v1\.0|beta)/auditLogs/directoryAudits/?", re.IGNORECASE)
_TOKEN = re.compile(r"([0-9a-f]{32})_(\d+)_(\d+)")
_OPTIONS = frozenset({"$filter", "$top", "$orderby", "$skiptoken"})


class _Refusal(Exception):
    """An error of the service on its way out."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass
class _Walk:
    """The records that one first page found, and how many go on a page."""

    records: list[Record]
    top: int


class Graph:
    """The audit logs of one tenant. `clock` gives Unix seconds."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._rate = Rate(time.monotonic)
        self._lock = threading.Lock()
        self._records: list[tuple[int, Record]] = []
        self._walks: dict[str, _Walk] = {}

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is Graph's."""
        return path.lower().startswith(("/v1.0/", "/beta/"))

    def add(self, records: list[Record]) -> int:
        """Add directory audits and return how many; they can be read at once.

        Raises ValueError for a record without an `id` or with a wrong `activityDateTime`.
        """
        dated = []
        for record in records:
            if not record.get("id") or not isinstance(record.get(TIME), str):
                raise ValueError(f"a directory audit needs an id and an {TIME}")
            dated.append((parse_instant(record[TIME]), record))
        with self._lock:
            self._records.extend(dated)
            # Newest first, as the service returns them.
            self._records.sort(key=lambda each: each[0], reverse=True)
        return len(dated)

    def records(self) -> list[Record]:
        """Every record, newest first."""
        with self._lock:
            return [record for _, record in self._records]

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on one of Graph's paths."""
        try:
            document = self._page(request, fault, limits)
            status, headers = 200, {}
        except _Refusal as refusal:
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
        self._throttle(limits)
        found = _PATH.fullmatch(request.path)
        if found is None:
            raise _Refusal(
                404,
                "ResourceNotFound",
                f"Resource not found for the segment '{request.path.split('/')[-1]}'.",
            )
        if request.method != "GET":
            raise _Refusal(
                405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."
            )
        options = request.query
        for name in options:
            if name.startswith("$") and name not in _OPTIONS:
                option = name.removeprefix("$").title()
                raise _Refusal(
                    400,
                    "BadRequest",
                    f"Query option '{option}' is not allowed. To allow it, set the 'AllowedQueryOptions' property on "
                    "EnableQueryAttribute or QueryValidationSettings.",
                )
        if "$skiptoken" in options:
            found_token = _TOKEN.fullmatch(options["$skiptoken"])
            known = self._walks.get(found_token[1]) if found_token else None
            if found_token is None or known is None or (fault and fault.kind == "invalid_skip_token"):
                raise _Refusal(400, "UnknownError", "Invalid Skip Token")
            name, page, place, walk = found_token[1], int(found_token[2]), int(found_token[3]), known
        else:
            name, page, place, walk = uuid.uuid4().hex, 0, 0, self._walk(options, limits)
            self._walks[name] = walk
        records, after = _cut(walk, page, place, uneven=limits.uneven_pages)
        version = found["version"].lower()
        context = f"{request.base}/{version}/$metadata#auditLogs/directoryAudits"
        document: dict[str, Any] = {"@odata.context": context}
        if after is not None:
            kept = "".join(
                f"{each}={quote(options[each], safe='')}&"
                for each in ("$filter", "$top", "$orderby")
                if each in options
            )
            link = f"/{version}/auditLogs/directoryAudits?{kept}$skiptoken={name}_{page + 1}_{after}"
            document["@odata.nextLink"] = request.base + link
            if fault is not None and fault.kind == "foreign_next_link":
                document["@odata.nextLink"] = fault.location.rstrip("/") + link
            if fault is not None and fault.kind == "repeated_next_link":
                document["@odata.nextLink"] = request.base + request.target
        document["value"] = records
        return document

    def _raise_fault(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.kind == "429":
            raise _throttled(retry_headers(fault, self._clock()))
        if fault.kind == "expired_token":
            raise _unauthorized("Lifetime validation failed, the token is expired.")
        if fault.kind.isdigit():
            status = int(fault.kind)
            raise _Refusal(
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

    def _throttle(self, limits: Limits) -> None:
        if wait := self._rate.wait(limits.reports, limits.report_seconds):
            raise _throttled({"Retry-After": str(math.ceil(wait))})

    def _walk(self, options: dict[str, str], limits: Limits) -> _Walk:
        """The records that a first request asks for, in its order."""
        floor = self._floor(limits)
        top = options.get("$top", str(limits.page))
        if not top.isdigit() or not 1 <= int(top) <= limits.page:
            raise _Refusal(
                400,
                "BadRequest",
                f"Invalid page size specified: '{top}'. Must be between 1 and {limits.page} inclusive.",
            )
        with self._lock:
            dated = list(self._records)
        records = [record for ticks, record in dated if ticks >= floor]
        if "$filter" in options:
            try:
                matches, dates = parse_filter(options["$filter"])
            except InvalidFilter as error:
                raise _Refusal(400, "BadRequest", "Invalid filter clause") from error
            if any(date < floor for date in dates):
                raise _Refusal(400, "BadRequest", _below(floor))
            records = [record for record in records if matches(record)]
        order = options.get("$orderby", f"{TIME} desc").split()
        if order[:1] != [TIME] or order[1:] not in ([], ["asc"], ["desc"]):
            raise _Refusal(400, "BadRequest", "The $orderby expression is not supported.")
        if order[1:] != ["desc"]:
            records.reverse()
        return _Walk(records, int(top))

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
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Stand-in","Slice":"E","Ring":"5","ScaleUnit":"001"}}',
            "Content-Type": "application/json;odata.metadata=minimal;odata.streaming=true;charset=utf-8",
        }


def _cut(walk: _Walk, page: int, place: int, *, uneven: bool) -> tuple[list[Record], int | None]:
    """The records of a walk's page that begins at `place`, and where the next one begins (None after the last).

    Of four pages the second is short and the third empty. It follows from page and place alone, so asking again
    gives the same.
    """
    size = walk.top
    if uneven and page % 4 == 1:
        size = max(1, size - max(1, size * 6 // 100))
    if uneven and page % 4 == 2:
        size = 0
    after = place + size
    return walk.records[place:after], after if after < len(walk.records) else None


def _throttled(headers: dict[str, str]) -> _Refusal:
    again = "the value specified in the Retry-After header" if "Retry-After" in headers else "some time"
    return _Refusal(
        429,
        "UnknownError",
        f"This request is throttled. Please try again after {again}. CorrelationId: {uuid.uuid4()}",
        headers,
    )


def _unauthorized(message: str) -> _Refusal:
    return _Refusal(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": 'Bearer realm=""'})


def _below(floor: int) -> str:
    day = datetime.fromtimestamp((floor - UNIX_EPOCH) // SECOND, UTC)
    shown = f"{day.month}/{day.day}/{day.year} 12:00:00 AM"
    return (
        "Specified argument was out of the range of valid values. "
        f"(Parameter 'Minimum allowed time for activityDateTime is {shown}')"
    )
