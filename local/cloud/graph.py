"""Microsoft Graph: `auditLogs/directoryAudits`, `…/signIns`, `…/provisioning`, and risk detections.

Sources: "List directoryAudits", "List signIns", "List provisioningObjectSummary", "List riskDetections",
"Paging Microsoft Graph data in your app", "Microsoft Graph error responses", "Microsoft Graph
service-specific throttling limits" and public reports of what the service does beside them.
"""

import math
import re
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from local.cloud.faults import Fault
from local.cloud.graph_errors import (
    GraphError,
    bad_request,
    below_floor,
    fault_error,
    invalid_filter,
    throttled,
    unauthorized,
    unknown_error,
    unlicensed,
)
from local.cloud.graph_filter import InvalidFilterError, parse_filter
from local.cloud.graph_logs import LOGS, Family, Log
from local.cloud.graph_pages import Record, UnknownTokenError, Walks
from local.cloud.graph_records import Records
from local.cloud.options import Limits
from local.cloud.server import Answer, Request, json_answer
from local.cloud.throttle import Rate
from local.cloud.ticks import DAY, format_instant, from_unix
from local.cloud.tokens import Tokens, Verdict

_PATH = re.compile(r"/(?P<version>v1\.0|beta)/(?P<path>.*?)/?", re.IGNORECASE)
_BY_PATH = {log.path.lower(): log for log in LOGS.values()}
_FREE_DAYS = 7
"""How far back a tenant without a premium licence reaches ("Microsoft Entra data retention")."""

_EVENT_TYPES = "signInEventTypes/any"


class Graph:
    """The logs of one tenant. `clock` gives Unix seconds."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._rates: dict[Family, Rate] = {log.family: Rate(time.monotonic) for log in LOGS.values()}
        self._records = {log: Records(LOGS[log]) for log in LOGS}
        self._walks = Walks()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is Graph's."""
        return path.lower().startswith(("/v1.0/", "/beta/"))

    def add(self, log: str, records: Iterable[Mapping[str, Any]]) -> int:
        """Add records to a log and return how many; see `Records.add`. Raises ValueError for no log."""
        return self._of(log).add(records, format_instant(from_unix(self._clock())))

    def remove(self, log: str, ids: Collection[str]) -> int:
        """Take records out of a log and return how many; see `Records.remove`."""
        return self._of(log).remove(ids)

    def replace(self, log: str, id_: str, record: Mapping[str, Any]) -> None:
        """Change a record of a log; see `Records.replace`."""
        self._of(log).replace(id_, record)

    def records(self, log: str) -> list[Record]:
        """Every record of a log, newest first."""
        return self._of(log).since(0)

    def _of(self, log: str) -> Records:
        if log not in self._records:
            raise ValueError(f"no log {log!r} in the stand-in; it has {', '.join(self._records)}")
        return self._records[log]

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on one of Graph's paths."""
        try:
            document = self._page(request, fault, limits)
            status, headers = 200, {}
        except GraphError as refusal:
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
        version, log = _place(request)
        self._authorize(request)
        # A request counts when it arrives, whatever becomes of it ("Microsoft Graph throttling guidance").
        refusal = self._throttle(log.family, limits)
        if fault is not None:
            refusal = fault_error(fault, log, self._clock()) or refusal
            time.sleep(fault.seconds)
        if refusal is not None:
            raise refusal
        _check_options(request, log)
        if not limits.premium and not log.free:
            raise unlicensed(log)
        token = request.query.get("$skiptoken")
        if token is None:
            token = self._walks.start(*self._found(log, version, request.query, limits))
        if not token:
            raise unknown_error("Invalid Skip Token, skip token is null")
        try:
            page = self._walks.page(token, uneven=limits.uneven_pages)
        except UnknownTokenError as error:
            raise unknown_error("Invalid Skip Token") from error
        document: dict[str, Any] = {"@odata.context": f"{request.base}/{version}/$metadata#{log.path}"}
        if page.next_token is not None:
            document["@odata.nextLink"] = _next_link(
                request, f"/{version}/{log.path}", page.next_token, fault
            )
        return document | {"value": [log.shown(record, version) for record in page.records]}

    def _authorize(self, request: Request) -> None:
        match self._tokens.check(request.headers.get("Authorization"), "graph"):
            case Verdict.MISSING:
                raise unauthorized("Access token is empty.")
            case Verdict.INVALID:
                raise unauthorized("CompactToken validation failed: the signature is invalid.")
            case Verdict.EXPIRED:
                raise unauthorized("Lifetime validation failed, the token is expired.")
            case Verdict.WRONG_AUDIENCE:
                raise unauthorized("Access token validation failure. Invalid audience.")

    def _throttle(self, family: Family, limits: Limits) -> GraphError | None:
        """The refusal of a request beyond its family's rate; it counts all the same."""
        rate = self._rates[family]
        if family == "identity_protection":
            wait = rate.wait(limits.identity_protection, limits.identity_protection_seconds)
            return throttled({}) if wait else None  # documented not to send Retry-After
        wait = rate.wait(limits.reports, limits.report_seconds)
        return throttled({"Retry-After": str(math.ceil(wait))}) if wait else None

    def _found(
        self, log: Log, version: str, options: dict[str, str], limits: Limits
    ) -> tuple[list[Record], int]:
        """The records that a first request asks for, in its order, and how many go on a page."""
        size = _size(log, options.get("$top"), limits)
        floor = self._floor(log, limits)
        records = self._records[log.name].since(floor)
        asked: Collection[str] = ()
        if "$filter" in options:
            try:
                found = parse_filter(options["$filter"], log.grammar(version), log.members(version))
            except InvalidFilterError as error:
                raise invalid_filter(log, error.missing) from error
            if log.floor != "none" and any(date < floor for date in found.dates):
                is_named = log.floor == "named" or limits.floor_error == "named"
                raise below_floor(log, floor) if is_named else invalid_filter(log)
            records = [record for record in records if found.matches(record)]
            asked = found.properties
        if _EVENT_TYPES in log.beta_filters and _EVENT_TYPES not in asked:
            records = [record for record in records if "interactiveUser" in record["signInEventTypes"]]
        return _ordered(log, records, options.get("$orderby")), size

    def _floor(self, log: Log, limits: Limits) -> int:
        """The oldest instant that the service still has: a midnight."""
        days = limits.risk_retention_days if log.family == "identity_protection" else limits.retention_days
        if days is None:
            return 0
        since = from_unix(self._clock()) - (days if limits.premium else min(days, _FREE_DAYS)) * DAY
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


def _place(request: Request) -> tuple[str, Log]:
    """The version and the log that a request's path names."""
    found = _PATH.fullmatch(request.path)
    version = found["version"].lower() if found else ""
    log = _BY_PATH.get(found["path"].lower()) if found else None
    if log is None or version not in log.versions:
        segment = request.path.rpartition("/")[2]
        raise GraphError(404, "ResourceNotFound", f"Resource not found for the segment '{segment}'.")
    if request.method != "GET":
        text = "Specified HTTP method is not allowed for the request target."
        raise GraphError(405, "Request_BadRequest", text)
    return version, log


def _check_options(request: Request, log: Log) -> None:
    for name in request.query:
        if name.startswith("$") and name not in (*log.options, "$skiptoken"):
            raise bad_request(
                f"Query option '{name[1:].title()}' is not allowed. To allow it, set the "
                "'AllowedQueryOptions' property on EnableQueryAttribute or QueryValidationSettings."
            )


def _size(log: Log, top: str | None, limits: Limits) -> int:
    largest = min(log.largest_page, limits.page)
    if top is None:
        return min(log.page, largest)
    if not top.isdigit() or not 1 <= int(top) <= largest:
        raise bad_request(f"Invalid page size specified: '{top}'. Must be between 1 and {largest} inclusive.")
    return int(top)


def _ordered(log: Log, records: list[Record], order: str | None) -> list[Record]:
    """Records that are newest first, in the order that a request gets them in."""
    if order is None:
        if log.newest_first:
            return records
        # An order that means nothing, and is the same each time so that a failing test can be run again.
        return sorted(records, key=lambda record: zlib.crc32(str(record["id"]).encode()))
    words = order.split()
    if words[:1] != [log.time] or words[1:] not in ([], ["asc"], ["desc"]):
        raise bad_request("The $orderby expression is not supported.")
    return records if words[1:] == ["desc"] else records[::-1]


def _next_link(request: Request, path: str, token: str, fault: Fault | None) -> str:
    """The link to the next page, unless a fault wants another."""
    kind = fault.kind if fault is not None else ""
    if kind == "repeated_next_link":
        return request.base + request.target
    kept = [
        f"{name}={quote(value, safe='')}"
        for name, value in request.query.items()
        if name.startswith("$") and name != "$skiptoken"
    ]
    kept.append("$skiptoken=" if kind == "empty_skip_token" else f"$skiptoken={token}")
    target = f"{path}?{'&'.join(kept)}"
    if fault is not None and kind == "foreign_next_link":
        return fault.location.rstrip("/") + target
    return request.base + target
