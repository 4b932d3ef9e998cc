"""What answers queries behind every route: limits, the queue, the cache, and the run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec

from local.cloud import query_errors as errors
from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.kql import translate
from local.cloud.options import Limits
from local.cloud.query_cache import Cache
from local.cloud.query_plans import only_cheap_table, refuse_cheap_tables
from local.cloud.query_run import Question, Result, run
from local.cloud.server import Answer, Request
from local.cloud.throttle import Rate, TooManyWaitingError, Turnstile
from local.cloud.ticks import DAY, format_instant, from_unix
from local.cloud.timespan import intersection, parse_timespan
from local.cloud.workspaces import Scope, Workspaces

_DEFAULT_WAIT, _LONGEST_WAIT = 180.0, 600.0
"""How long a query may run, in seconds ("Timeouts")."""

_MOST_WORKSPACES = 100
"""How many a query may read ("Cross-workspace queries")."""


class Shape(Protocol):
    """How a result becomes the body of an answer."""

    def __call__(self, result: Result, *, statistics: bool) -> bytes:
        """The body; `statistics` says whether to tell of the run."""


@dataclass(frozen=True)
class Target:
    """What a route leads to: the rows, the kind of query (``/search`` is for Basic tables), and the shape."""

    scope: Scope
    kind: Literal["query", "search"]
    shape: Shape
    shape_name: str = "v1"


@dataclass(frozen=True)
class Scan:
    """A scan of a Basic or Auxiliary table, which is what its queries are billed by.

    `timespan` is the request's, `bytes` the size of the table's rows within it.
    """

    workspace: str
    table: str
    timespan: str
    bytes: int


class _Body(msgspec.Struct):
    query: str
    timespan: str | None = None
    workspaces: list[str] | None = None


class QueryService:
    """Answers queries of all workspaces. `clock` gives Unix seconds."""

    def __init__(self, workspaces: Workspaces, clock: Callable[[], float]) -> None:
        self._workspaces = workspaces
        self._clock = clock
        self._rate = Rate(time.monotonic)
        self._turnstiles = {"query": Turnstile(), "search": Turnstile()}
        self._cache = Cache(clock)
        self.scans: list[Scan] = []

    def answer(self, request: Request, fault: Fault | None, limits: Limits, target: Target) -> Answer:
        """The answer to a request that is allowed. Raises QueryApiError."""
        if wait := self._rate.wait(limits.queries, limits.query_seconds):
            raise errors.throttled({"Retry-After": str(math.ceil(wait))})
        if request.method == "POST" and not _has_json(request):
            return Answer(200)  # documented: without a body or its type the answer is empty
        body = _body(request)
        question = self._question(request, body)
        target = replace(target, scope=self._with_others(target, body.workspaces or []))
        table = self._refuse_plans(request, question, target, limits)
        if fault is not None:
            return self._run(question, fault, limits, target, table)
        key = repr((target.scope, target.kind, target.shape_name, request.query, body, question.statistics))
        if cached := self._cache.get(key, request.headers.get("Cache-Control", "")):
            return cached
        answer = self._run(question, None, limits, target, table)
        if answer.status == 200:
            self._cache.put(key, answer)
        return answer

    def _with_others(self, target: Target, named: list[str]) -> Scope:
        """The target's scope with the workspaces that the body names."""
        if not named:
            return target.scope
        if target.kind == "search":
            raise errors.bad_argument("Cross-resource queries aren't supported in a query of Basic Logs")
        found = {text: self._workspaces.called(text) for text in named}
        if unknown := [text for text, workspace in found.items() if workspace is None]:
            raise errors.bad_argument(f"Failed to resolve workspaces: {', '.join(unknown)}")
        both = dict.fromkeys([*target.scope.workspaces, *(each for each in found.values() if each)])
        if len(both) > _MOST_WORKSPACES:
            raise errors.bad_argument(f"A query reads at most {_MOST_WORKSPACES} workspaces")
        return replace(target.scope, workspaces=tuple(both))

    def _question(self, request: Request, body: _Body) -> Question:
        options = request.query
        timespan: tuple[int, int] | None = None
        try:
            for text in (options.get("timespan"), body.timespan):
                bounds = parse_timespan(text, from_unix(self._clock())) if text else None
                timespan = intersection(timespan, bounds)
        except ValueError as error:
            raise errors.bad_argument(f"The timespan is invalid: {error}") from error
        prefer = preferences(request)
        wait = float(prefer["wait"]) if prefer.get("wait", "").isdigit() else _DEFAULT_WAIT
        statistics = prefer.get("include-statistics", "").lower() == "true"
        return Question(body.query, timespan, min(wait, _LONGEST_WAIT), statistics)

    def _refuse_plans(
        self, request: Request, question: Question, target: Target, limits: Limits
    ) -> str | None:
        """Refuse tables that this kind of query does not read; the table that ``/search`` is to scan."""
        plans = self._workspaces.plans(limits.plans)
        if target.kind == "query":
            refuse_cheap_tables(question.query, plans)
            return None
        if not request.query.get("timespan"):
            raise errors.bad_argument("The timespan must be given in the URL of a query of Basic Logs")
        return only_cheap_table(question.query, plans, time_filters=limits.search_time_filters)

    def _run(
        self, question: Question, fault: Fault | None, limits: Limits, target: Target, table: str | None
    ) -> Answer:
        if target.scope.is_empty():
            return Answer(204)  # documented for a workspace without data
        applied = {"Preference-Applied": f"wait={question.wait:g}"}
        partial = fault is not None and fault.kind == "partial"
        running = limits.running if target.kind == "query" else limits.basic_running
        now = from_unix(self._clock())
        if table is not None:
            question = self._scanned(question, limits, target.scope, table, now)
        try:
            with self._turnstiles[target.kind].turn(running, limits.queued, limits.queue_seconds):
                if fault is not None and fault.kind == "slow":
                    if fault.seconds > question.wait:
                        raise errors.gateway_timeout(applied)
                    time.sleep(fault.seconds)
                if fault is not None and fault.kind == "overdue":
                    time.sleep(question.wait)
                    raise errors.gateway_timeout(applied)
                result = run(target.scope, question, limits, from_unix(self._clock()), partial=partial)
                if result.seconds > question.wait:  # the service would have ended it by then
                    raise errors.gateway_timeout(applied)
        except TooManyWaitingError as error:
            raise errors.throttled({}) from error
        body = target.shape(result, statistics=question.statistics)
        return Answer(200, body, {"Content-Type": "application/json; charset=utf-8"} | applied)

    def _scanned(self, question: Question, limits: Limits, scope: Scope, table: str, now: int) -> Question:
        """The question, cut to what a Basic table's rows can be asked for; a note of the scan is kept."""
        timespan = question.timespan
        if self._workspaces.plans(limits.plans)[table] == "Basic" and limits.basic_days is not None:
            timespan = intersection(timespan, (now - limits.basic_days * DAY, now + DAY))
        scope.reveal(now)
        with scope.answer(translate(f"['{table}']", scope.schema, now, timespan)) as rows:
            size = sum(map(len, rows.rows))
        low, high = question.timespan or (0, 0)
        asked = f"{format_instant(low)}/{format_instant(high)}"
        self.scans.append(Scan(scope.workspaces[0].id, table, asked, size))
        return replace(question, timespan=timespan)


def raise_fault(fault: Fault | None, now: float) -> None:
    """Raise the error that a fault asks for, if that is what it asks for; `now` is in Unix seconds."""
    if fault is None:
        return
    headers = retry_headers(fault, now)
    if fault.kind == "expired_token":
        raise errors.expired_token()
    if fault.kind == "429":
        raise errors.throttled(headers)
    if fault.kind == "504":
        raise errors.gateway_timeout(headers)
    if fault.kind.isdigit():
        text = "The service is temporarily unable to answer."
        raise errors.QueryApiError(int(fault.kind), phrase(int(fault.kind)), text, headers=headers)


def preferences(request: Request) -> dict[str, str]:
    """The options of the Prefer header ("Azure Monitor Log Analytics API request options")."""
    given = request.headers.get("Prefer", "").replace(" ", "").split(",")
    return dict(each.partition("=")[::2] for each in given)


def _has_json(request: Request) -> bool:
    """Whether a request has a body that says it is JSON; a header that is missing says text/plain."""
    return bool(request.body) and request.headers.get_content_type() == "application/json"


def _body(request: Request) -> _Body:
    options = request.query
    if request.method == "GET" and "query" in options:
        named = options.get("workspaces")
        return _Body(options["query"], workspaces=named.split(",") if named else None)
    if request.method != "POST":
        raise errors.bad_argument("Query parameter 'query' is required")
    try:
        return msgspec.json.decode(request.body, type=_Body)
    except msgspec.MsgspecError as error:
        raise errors.bad_argument(f"Failed to parse the request body: {error}") from error
