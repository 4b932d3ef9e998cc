"""The Log Search API of Resource Manager, `POST …/workspaces/{name}/search`, which Microsoft has retired.

Sources: "Log Analytics log search REST API" and the recorded sessions of Microsoft's PowerShell tests. What
these leave open, the stand-in does in the way that is hardest on a client: both ends of a search's time
belong to it, a search that is pending shows some rows and counts only those, and it can be named by an id
that is no GUID. What an answer with the status "Error" looks like was never published.
"""

import math
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from local.cloud import arm
from local.cloud.arm import ArmError
from local.cloud.faults import Fault
from local.cloud.identity import Identity
from local.cloud.kql import translate
from local.cloud.legacy_query import Row, meets, parse_conditions, sparse
from local.cloud.options import Limits
from local.cloud.server import Answer, Request, json_answer
from local.cloud.store import Store
from local.cloud.tables import TABLES, TIME
from local.cloud.ticks import DAY, format_instant, from_unix, parse_instant
from local.cloud.tokens import Tokens
from local.cloud.workspaces import Workspace, Workspaces

_PATH = re.compile(
    r"(?P<workspace>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.OperationalInsights"
    r"/workspaces/[^/]+)/search(?:/(?P<id>[^/]+))?/?",
    re.IGNORECASE,
)
_VERSIONS = ("2015-11-01-preview", "2015-03-20")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,7})?Z?")
_ALL_TIME = (0, 9_999 * 365 * DAY)


class _Body(msgspec.Struct):
    query: str
    top: int = 10
    start: str | None = None
    end: str | None = None


@dataclass
class _Search:
    """One search: all its rows as they were when it began, and how many polls it is away from its end.

    `key` is the last step of its path, `id` what it is called in answers; at most `most` rows are shown.
    """

    id: str
    key: str
    top: int
    most: int
    rows: list[Row]
    began: float
    polls: int


class LegacySearch:
    """The search service in front of the workspaces. `clock` gives Unix seconds."""

    def __init__(
        self,
        identity: Identity,
        tokens: Tokens,
        workspaces: Workspaces,
        headers: arm.Headers,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._tokens = tokens
        self._workspaces = workspaces
        self._headers = headers
        self._clock = clock
        self._lock = threading.Lock()
        self._searches: dict[tuple[str, str], _Search] = {}
        self._begun: deque[float] = deque()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is a workspace's search, whatever the workspace."""
        return _PATH.fullmatch(unquote(path)) is not None

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        try:
            arm.raise_fault(fault, self._clock(), self._identity.client_id, request)
            if fault is not None and fault.kind == "gone":
                raise _gone()
            arm.check_token(self._tokens, request)
            arm.check_version(request, _VERSIONS)
            is_error = fault is not None and fault.kind == "search_error"
            with self._lock:
                answer = self._routed(request, limits, is_error=is_error)
        except ArmError as error:
            answer = error.answer()
        return self._headers.added_to(answer, request)

    def _routed(self, request: Request, limits: Limits, *, is_error: bool) -> Answer:
        found = _PATH.fullmatch(unquote(request.path))
        if found is None:
            raise ArmError(404, "NotFound", f"nothing is served at {request.path}")
        workspace = arm.workspace_at(self._workspaces, found["workspace"])
        if found["id"] is None:
            search, headers = self._begin(workspace, request, limits)
        else:
            search, headers = self._poll(workspace, found["id"], request, limits), dict[str, str]()
        answer = json_answer(200, self._document(search, is_error=is_error))
        return Answer(200, answer.body, answer.headers | headers | self._pace(limits))

    def _begin(
        self, workspace: Workspace, request: Request, limits: Limits
    ) -> tuple[_Search, dict[str, str]]:
        """A new search, and the header that should say where it is."""
        if request.method != "POST":
            raise _not_allowed(request)
        pace = self._pace(limits)
        if pace.get("X-RateLimit-Remaining") == "0":
            headers = pace | {"Retry-After": str(math.ceil(limits.legacy_rate_seconds))}
            raise ArmError(429, "TooManyRequests", "Too many searches of the workspace.", headers)
        try:
            body = msgspec.json.decode(request.body, type=_Body)
            rows = self._found(workspace.store, body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ArmError(400, "BadRequest", str(error)) from error
        self._begun.append(time.monotonic())
        now = self._clock()
        key = _new_key(now, limits)
        path = workspace.resource_id.removeprefix("/")
        id_ = key if limits.legacy_ids == "bare" else f"{path}/search/{key}"
        most = min(body.top, limits.legacy_rows)
        search = _Search(id_, key, body.top, most, rows, now, limits.legacy_polls)
        if not limits.legacy_polls:
            return search, {}  # documented: such a search is never kept
        kept = {
            old: each for old, each in self._searches.items() if now - each.began <= limits.legacy_seconds
        }
        self._searches = {**kept, (workspace.id, key): search}
        # Recorded so: the scheme twice, and without its colon.
        host = request.headers.get("Host", "")
        return search, {"Location": f"https://https//{host}{request.path}/{key}"}

    def _poll(self, workspace: Workspace, key: str, request: Request, limits: Limits) -> _Search:
        verbs = ("GET", "POST") if limits.legacy_verbs == "both" else (limits.legacy_verbs.upper(),)
        if request.method not in verbs:
            raise _not_allowed(request)
        search = self._searches.get((workspace.id, key))
        if search is None or self._clock() - search.began > limits.legacy_seconds:
            raise _gone()
        search.polls = max(0, search.polls - 1)
        return search

    def _found(self, store: Store, body: _Body) -> list[Row]:
        """The rows that a search finds, newest first."""
        if body.top < 1:
            raise ValueError("The number of results must be positive.")
        start, end = (
            _instant(text, other) for text, other in zip((body.start, body.end), _ALL_TIME, strict=True)
        )
        if start > end:
            raise ValueError("The start of the time range is after its end.")
        conditions = parse_conditions(body.query)
        kinds = [value for field, value in conditions if field == "Type"]
        now = from_unix(self._clock())
        store.reveal(now)
        found: list[Row] = []
        for table in TABLES:
            if all(table == kind for kind in kinds):
                sql = translate(table, store.schema, now, (start, end))
                with store.answer(sql) as answer:
                    names = [name for name, _ in answer.columns]
                    rows = [dict(zip(names, msgspec.json.decode(row), strict=True)) for row in answer.rows]
                found += [row for row in rows if meets(row, conditions)]
        return sorted(found, key=lambda row: -parse_instant(row[TIME]))

    def _document(self, search: _Search, *, is_error: bool) -> dict[str, Any]:
        rows, status = search.rows, "Successful"
        if search.polls:
            rows, status = rows[::2], "Pending"
        now = from_unix(self._clock())
        shown = [] if is_error else [sparse(row) for row in rows[: search.most]]
        metadata = {
            "resultType": "raw",
            "total": len(rows),
            "top": search.top,
            "RequestId": search.key[:36],
            "Status": "Error" if is_error else status,
            "NumberOfDocuments": 0,
            "StartTime": format_instant(from_unix(search.began)),
            "LastUpdated": format_instant(now),
            "ETag": str(now),
            "sort": [{"name": TIME, "order": "desc"}],
            "requestTime": round((self._clock() - search.began) * 1_000),
        }
        document: dict[str, Any] = {"id": search.id, "__metadata": metadata, "value": shown}
        if is_error:
            text = "The search could not be run to its end."
            document["error"] = {"type": "SearchServiceError", "message": text}
        return document

    def _pace(self, limits: Limits) -> dict[str, str]:
        """The headers about the rate, after a look at how many searches have begun of late."""
        if limits.legacy_rate is None:
            return {}
        while self._begun and self._begun[0] <= time.monotonic() - limits.legacy_rate_seconds:
            self._begun.popleft()
        left = max(0, limits.legacy_rate - len(self._begun))
        return {"X-RateLimit-Limit": str(limits.legacy_rate), "X-RateLimit-Remaining": str(left)}


def _new_key(now: float, limits: Limits) -> str:
    """The last step of a new search's path."""
    guid = str(uuid.uuid4())
    if limits.legacy_ids != "pipes":
        return guid
    return f"{guid}|10.1.0.7|{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H-%M-%SZ}"


def _instant(text: str | None, other: int) -> int:
    """The ticks of a bound, or `other` without one. Raises ValueError."""
    if text is None:
        return other
    if not _TIME.fullmatch(text):
        raise ValueError(f"The time {text!r} cannot be read.")
    return parse_instant(text)


def _gone() -> ArmError:
    return ArmError(410, "Gone", "The search is not in the cache. Start it again.")


def _not_allowed(request: Request) -> ArmError:
    text = f"The method {request.method} is not allowed here."
    return ArmError(405, "MethodNotAllowed", text)
