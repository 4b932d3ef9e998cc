"""Microsoft Graph: searches of the unified audit log, `/security/auditLog/queries`.

Sources: "Create auditLogQuery", "List auditLogQueries", "Get auditLogQuery", "List auditLogRecords" and
"Security audit log query service limits". Where they are silent, the stand-in does what is hardest on a
client: searches are listed oldest first and records come in no order; neither end of a search's time belongs
to it, and before it has succeeded some of its records can be read as if they were all. The last two are
limits that can be changed. A search cannot be deleted or changed, because no page says that it can.
"""

import math
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from local.cloud import audit_errors as errors
from local.cloud.audit_queries import Dated, Outcome, Search
from local.cloud.audit_records import EMPTY, Record
from local.cloud.faults import Fault
from local.cloud.graph_errors import GraphError, bad_request, throttled, unknown_error
from local.cloud.graph_pages import UnknownTokenError, Walks
from local.cloud.options import Limits
from local.cloud.server import Answer, Request
from local.cloud.ticks import SECOND, format_instant, from_unix, parse_instant
from local.cloud.tokens import Tokens

_PATH = re.compile(
    r"/(?P<version>v1\.0|beta)/security/auditLog/queries(?:/(?P<id>[^/]+)(?P<records>/records)?)?/?",
    re.IGNORECASE,
)
_SERVED = re.compile(r"/(v1\.0|beta)/security/auditLog(/|$)", re.IGNORECASE)
_DAY = 86_400.0
_LARGEST_PAGE = 1_000
_MARK = "1!4!MA--/1!48!"
"""What a skip token begins with, in the field too; the slash is percent-encoded in links."""
_OUTCOMES: dict[str, Outcome] = {"search_failed": "failed", "search_cancelled": "cancelled"}


class AuditSearch:
    """The unified audit log of one tenant, and the searches in it. `clock` gives Unix seconds."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._records: list[Dated] = []
        self._searches: dict[str, Search] = {}
        self._submitted: deque[float] = deque()
        self._walks = Walks()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is the audit search's."""
        return _SERVED.match(path) is not None

    def add(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add records and return how many; a search that is over does not see them.

        What a record lacks is as in `EMPTY`, but a new id, and now for its time. Raises ValueError for a
        wrong time.
        """
        now = from_unix(self._clock())
        stamp = format_instant(now - now % SECOND)
        completed = [
            {**EMPTY, "id": str(uuid.uuid4()), "createdDateTime": stamp, **record} for record in records
        ]
        dated = [(parse_instant(record["createdDateTime"]), record) for record in completed]
        with self._lock:
            self._settle(self._clock())
            self._records.extend(dated)
        return len(dated)

    def records(self) -> list[Record]:
        """Every record, newest first."""
        with self._lock:
            return [record for _, record in sorted(self._records, key=lambda each: -each[0])]

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on one of these paths."""
        now = self._clock()
        try:
            errors.check_fault(fault, now)
            errors.check_token(self._tokens, request)
            found = _PATH.fullmatch(request.path)
            if found is None:
                segment = request.path.rpartition("/")[2]
                raise errors.not_found(f"Resource not found for the segment '{segment}'.")
            with self._lock:
                self._settle(now)
                status, document = self._document(request, found, fault, limits, now)
        except GraphError as error:
            return errors.refusal(error, request, now)
        return errors.answer(request, status, document)

    def _settle(self, now: float) -> None:
        """End the searches whose time has come, with the records that there are now."""
        for search in self._searches.values():
            search.settle(self._records, now)

    def _document(
        self, request: Request, found: re.Match[str], fault: Fault | None, limits: Limits, now: float
    ) -> tuple[int, dict[str, Any]]:
        """The status and the body of an answer."""
        context = f"{request.base}/{found['version'].lower()}/$metadata#security/auditLog/queries"
        if found["id"] is None and request.method == "POST":
            search = self._submit(request, limits, now)
            _end_otherwise(search, fault)
            return 201, {"@odata.context": f"{context}/$entity", **search.document(now)}
        if request.method != "GET":
            raise errors.method_not_allowed()
        oldest = now - limits.audit_search_days * _DAY
        self._searches = {id_: each for id_, each in self._searches.items() if each.created > oldest}
        if found["id"] is None:
            listed = [each.document(now) for each in self._searches.values()]
            return 200, self._page(request, fault, context, listed, limits.audit_searches_page, limits)
        if found["id"] not in self._searches:
            raise errors.not_found(f"There is no audit log query with the id '{found['id']}'.")
        search = self._searches[found["id"]]
        _end_otherwise(search, fault)
        if found["records"] is None:
            return 200, {"@odata.context": f"{context}/$entity", **search.document(now)}
        records = self._found(search, limits, now)
        if fault is not None and fault.kind == "unsteady_records":
            records = records[::-1][math.ceil(len(records) / 10) :]
        context = f"{context}('{search.id}')/records"
        return 200, self._page(request, fault, context, records, limits.audit_search_page, limits)

    def _submit(self, request: Request, limits: Limits, now: float) -> Search:
        """A new search; those that are refused do not count."""
        if request.headers.get_content_type() != "application/json":
            raise bad_request("Write requests must contain the Content-Type header with application/json.")
        try:
            asked = msgspec.json.decode(request.body, type=dict[str, Any])
            search = Search.make(str(uuid.uuid4()), asked, now, limits)
        except (msgspec.MsgspecError, ValueError) as error:
            raise bad_request(str(error)) from error
        while self._submitted and self._submitted[0] <= now - _DAY:
            self._submitted.popleft()
        running = sum(now < each.over_from for each in self._searches.values())
        if len(self._submitted) >= limits.audit_searches or running >= limits.audit_searches_running:
            raise throttled({})  # documented: there may be no Retry-After
        self._submitted.append(now)
        self._searches[search.id] = search
        return search

    def _found(self, search: Search, limits: Limits, now: float) -> list[Record]:
        """What a search found; what there is of one that did not succeed is not documented."""
        if search.status(now) == "succeeded":
            return search.found or []
        if limits.audit_search_early == "400":
            raise bad_request(f"The records of a query that is {search.status(now)} cannot be read.")
        records = search.find(self._records) if limits.audit_search_early == "some" else []
        return records[: len(records) // 2]

    def _page(
        self,
        request: Request,
        fault: Fault | None,
        context: str,
        values: list[dict[str, Any]],
        size: int,
        limits: Limits,
    ) -> dict[str, Any]:
        """A page of a walk over `values`, or over what they were when the walk began."""
        options = request.query
        for name in options:
            if name.startswith("$") and name not in ("$top", "$skiptoken"):
                raise errors.option_not_allowed(name)
        top = options.get("$top", str(size))
        if not top.isdigit() or not 1 <= int(top) <= _LARGEST_PAGE:
            text = f"Invalid page size specified: '{top}'. Must be between 1 and {_LARGEST_PAGE} inclusive."
            raise bad_request(text)
        token = options.get("$skiptoken")
        if token is None:
            token = _MARK + self._walks.start(values, int(top))
        try:
            if fault is not None and fault.kind == "invalid_skip_token":
                raise UnknownTokenError(token)
            page = self._walks.page(token.removeprefix(_MARK), uneven=limits.uneven_pages)
        except UnknownTokenError as error:
            raise unknown_error("Invalid Skip Token") from error
        # The count was seen to be that of the page (microsoftgraph/msgraph-sdk-powershell issue 2677).
        document: dict[str, Any] = {"@odata.context": context, "@odata.count": len(page.records)}
        if page.next_token is not None:
            kept = f"$top={top}&" if "$top" in options else ""
            target = f"{request.path}?{kept}$skiptoken={quote(_MARK + page.next_token, safe='!')}"
            document["@odata.nextLink"] = _next_link(request, target, fault)
        return document | {"value": page.records}


def _end_otherwise(search: Search, fault: Fault | None) -> None:
    """Let a search fail, or be cancelled, where a fault wants that."""
    if fault is not None and fault.kind in _OUTCOMES:
        search.outcome = _OUTCOMES[fault.kind]


def _next_link(request: Request, target: str, fault: Fault | None) -> str:
    """The link to `target`, unless a fault wants another."""
    if fault is not None and fault.kind == "foreign_next_link":
        return fault.location.rstrip("/") + target
    if fault is not None and fault.kind == "repeated_next_link":
        return request.base + request.target
    if fault is not None and fault.kind == "empty_skip_token":
        target = target.partition("$skiptoken=")[0] + "$skiptoken="
    return request.base + target
