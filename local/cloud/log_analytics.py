"""Log Analytics query API v1: `POST|GET /v1/workspaces/{id}/query`.

Sources: "Azure Monitor Log Analytics API" (request format, response format, Prefer options, caching, timeouts,
errors) and the recorded sessions of Microsoft's .NET client tests.
"""

import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import duckdb
import msgspec
from duckdb_kql.errors import KqlError

from local.cloud import query_errors as errors
from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.identity import Identity
from local.cloud.kql import split_options, translate
from local.cloud.options import Limits
from local.cloud.server import Answer, Request
from local.cloud.store import Store
from local.cloud.throttle import Rate, TooManyWaiting, Turnstile
from local.cloud.ticks import from_unix
from local.cloud.timespan import intersection, parse_timespan
from local.cloud.tokens import Tokens, Verdict

_PATH = re.compile(r"/v1/workspaces/(?P<workspace>[^/]+)/query")
_CACHE_SECONDS = 120
_CACHED_ANSWERS = 64
_CACHED_BYTES = 1_000_000


class _Body(msgspec.Struct):
    query: str
    timespan: str | None = None
    workspaces: list[str] | None = None


@dataclass(frozen=True)
class _Question:
    query: str
    timespan: tuple[int, int] | None
    wait: float
    statistics: bool


class LogAnalytics:
    """The query service in front of one workspace. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, store: Store, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._store = store
        self._clock = clock
        self._rate = Rate(time.monotonic)
        self._turnstile = Turnstile()
        self._cache = _Cache(clock)

    def serves(self, path: str) -> bool:
        """Whether a path is this API's, whatever the workspace."""
        return path.startswith("/v1/")

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        if refused := self._refused(request, fault):
            return refused
        if refused := self._unauthorized(request):
            return refused
        wait = self._rate.wait(limits.queries, limits.query_seconds)
        if wait:
            return errors.throttled({"Retry-After": str(math.ceil(wait))})
        if request.method == "POST" and not (
            request.body
            and request.headers.get_content_type() == "application/json"
            and request.headers["Content-Type"]
        ):
            return Answer(200)  # documented: without a body or content type the answer is empty
        try:
            question, key = self._question(request)
        except ValueError as error:
            return errors.bad_argument(str(error))
        if fault is None and (cached := self._cache.get(key, request.headers.get("Cache-Control", ""))):
            return cached
        if self._store.is_empty():
            return Answer(204)  # documented for a workspace without data
        try:
            with self._turnstile.turn(limits.running, limits.queued, limits.queue_seconds):
                answer = self._run(question, fault, limits)
        except TooManyWaiting:
            return errors.throttled({})
        if fault is None and answer.status == 200:
            self._cache.put(key, answer)
        return answer

    def _refused(self, request: Request, fault: Fault | None) -> Answer | None:
        """The answer where it does not depend on the query: an ordered fault, or a path that does not exist."""
        match fault:
            case Fault(kind="expired_token"):
                return errors.expired_token()
            case Fault(kind="429"):
                return errors.throttled(retry_headers(fault, self._clock()))
            case Fault(kind="504"):
                return errors.gateway_timeout("Kusto query timed out", retry_headers(fault, self._clock()))
            case Fault(kind=kind) if kind.isdigit():
                name, headers = phrase(int(kind)), retry_headers(fault, self._clock())
                return errors.error(
                    int(kind), name, "The service is temporarily unable to answer.", headers=headers
                )
        return None if self._workspace(request.path) is not None else errors.not_found()

    def _workspace(self, path: str) -> str | None:
        """The id of the workspace that a path names, None where it names none that exists."""
        path = unquote(path)
        known = {self._identity.workspace_id, self._identity.foreign_workspace_id}
        if (found := _PATH.fullmatch(path)) and found["workspace"].lower() in known:
            return found["workspace"].lower()
        by_resource = f"/v1{self._identity.workspace_resource_id}/query"
        return self._identity.workspace_id if path.lower() == by_resource.lower() else None

    def _unauthorized(self, request: Request) -> Answer | None:
        match self._tokens.check(request.headers.get("Authorization"), "log_analytics"):
            case Verdict.MISSING:
                return errors.no_token()
            case Verdict.EXPIRED:
                return errors.expired_token()
            case Verdict.INVALID:
                return errors.invalid_token()
            case Verdict.WRONG_AUDIENCE:
                return errors.wrong_audience()
        if self._workspace(request.path) == self._identity.foreign_workspace_id:
            return errors.insufficient_access()
        return None

    def _question(self, request: Request) -> tuple[_Question, str]:
        """What is asked, and a key under which its answer may be cached. Raises ValueError with the reason."""
        now, options = from_unix(self._clock()), request.query
        if request.method == "GET":
            if "query" not in options:
                raise ValueError("Query parameter 'query' is required")
            body = _Body(
                options["query"],
                workspaces=(options.get("workspaces") or "").split(",") if "workspaces" in options else None,
            )
        elif request.method == "POST":
            try:
                body = msgspec.json.decode(request.body, type=_Body)
            except msgspec.MsgspecError as error:
                raise ValueError(f"Failed to parse the request body: {error}") from error
        else:
            raise ValueError(f"The method {request.method} is not supported")
        own = {self._identity.workspace_id, self._identity.workspace_resource_id.lower(), "stand-in"}
        if unknown := [each for each in body.workspaces or [] if each.lower() not in own]:
            raise ValueError(f"Failed to resolve workspaces: {', '.join(unknown)}")
        timespan: tuple[int, int] | None = None
        for text in (options.get("timespan"), body.timespan):
            timespan = intersection(timespan, parse_timespan(text, now) if text else None)
        prefer = dict(
            part.strip().partition("=")[::2] for part in request.headers.get("Prefer", "").split(",")
        )
        wait = prefer.get("wait", "")
        question = _Question(
            query=body.query,
            timespan=timespan,
            wait=min(float(wait), 600.0) if wait.isdigit() else 180.0,
            statistics=prefer.get("include-statistics", "").lower() == "true",
        )
        return question, repr((body.query, options.get("timespan"), body.timespan, question.statistics))

    def _run(self, question: _Question, fault: Fault | None, limits: Limits) -> Answer:
        started = time.perf_counter()
        applied = {"Preference-Applied": f"wait={question.wait:g}"}
        if fault is not None and fault.kind == "slow":
            if fault.seconds > question.wait:
                return errors.gateway_timeout("Kusto query timed out", applied)
            time.sleep(fault.seconds)
        options, query = split_options(question.query)
        try:
            table = self._store.answer(
                translate(query, self._store.schema, from_unix(self._clock()), question.timespan)
            )
            most = min(limits.rows, int(options.get("truncationmaxrecords") or limits.rows))
            size = min(limits.bytes, int(options.get("truncationmaxsize") or limits.bytes))
            rows, partial = _cut(table.rows, most, size)
        except (KqlError, duckdb.Error, ValueError) as error:
            return errors.query_error(error)
        if fault is not None and fault.kind == "partial":
            rows, partial = rows[: len(rows) // 2], errors.too_many_rows(len(rows) // 2)
        columns = [{"name": name, "type": kind} for name, kind in table.columns]
        parts = [
            b'{"tables":[{"name":"PrimaryResult","columns":',
            msgspec.json.encode(columns),
            b',"rows":[',
            ",".join(rows).encode(),
            b"]}]",
        ]
        if question.statistics:
            seconds = time.perf_counter() - started
            parts += [
                b',"statistics":',
                msgspec.json.encode(_statistics(seconds, len(rows), sum(map(len, rows)))),
            ]
        if partial is not None:
            parts += [b',"error":', msgspec.json.encode(partial)]
        headers = {"Content-Type": "application/json; charset=utf-8"} | applied
        return Answer(200, b"".join([*parts, b"}"]), headers)


def _cut(rows: Iterable[str], most: int, size: int) -> tuple[list[str], dict[str, object] | None]:
    """The rows that the limits let through, and the partial error where that is not all of them."""
    kept: list[str] = []
    left = size
    for row in rows:
        if len(kept) == most:
            return kept, errors.too_many_rows(most)
        left -= len(row)
        if left < 0:
            return kept, errors.too_many_bytes(size)
        kept.append(row)
    return kept, None


def _statistics(seconds: float, rows: int, size: int) -> dict[str, object]:
    return {
        "query": {
            "executionTime": round(seconds, 7),
            "resourceUsage": {
                "cache": {"memory": {"hits": 0, "misses": 0, "total": 0}},
                "cpu": {"user": "00:00:00", "kernel": "00:00:00", "totalCpu": "00:00:00"},
                "memory": {"peakPerNode": 5_244_224},
            },
            "inputDatasetStatistics": {
                "extents": {"total": 1, "scanned": 1},
                "rows": {"total": rows, "scanned": rows},
            },
            "datasetStatistics": [{"tableRowCount": rows, "tableSize": size}],
        }
    }


class _Cache:
    """Answers of the last two minutes, which the service gives again unless it is told not to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, control: str) -> Answer | None:
        control = control.lower()
        if "no-cache" in control or "no-store" in control:
            return None
        most = int(found[1]) if (found := re.search(r"max-age=(\d+)", control)) else _CACHE_SECONDS
        with self._lock:
            stored, answer = self._answers.get(key, (0.0, None))
        age = self._clock() - stored
        if answer is None or age > min(most, _CACHE_SECONDS):
            return None
        return Answer(answer.status, answer.body, answer.headers | {"Age": str(int(age))})

    def put(self, key: str, answer: Answer) -> None:
        if len(answer.body) > _CACHED_BYTES:
            return
        with self._lock:
            self._answers[key] = (self._clock(), answer)
            while len(self._answers) > _CACHED_ANSWERS:
                self._answers.popitem(last=False)
