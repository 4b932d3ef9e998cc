"""Log Analytics query API v1: `POST|GET /v1/workspaces/{id}/query`.

Sources: "Azure Monitor Log Analytics API" (request format, response format, Prefer options, timeouts, errors)
and the recorded sessions of Microsoft's .NET client tests.
"""

import math
import re
import time
from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from local.cloud import query_errors as errors
from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.identity import Identity
from local.cloud.options import Limits
from local.cloud.query_cache import Cache
from local.cloud.query_run import Question, run
from local.cloud.server import Answer, Request
from local.cloud.store import Store
from local.cloud.throttle import Rate, TooManyWaitingError, Turnstile
from local.cloud.ticks import from_unix
from local.cloud.timespan import intersection, parse_timespan
from local.cloud.tokens import Tokens, Verdict

_PATH = re.compile(r"/v1/workspaces/(?P<workspace>[^/]+)/query")
_NAME = "stand-in"
_DEFAULT_WAIT, _LONGEST_WAIT = 180.0, 600.0
"""How long a query may run, in seconds ("Timeouts")."""


class _Body(msgspec.Struct):
    query: str
    timespan: str | None = None
    workspaces: list[str] | None = None


class LogAnalytics:
    """The query service in front of one workspace. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, store: Store, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._store = store
        self._clock = clock
        self._rate = Rate(time.monotonic)
        self._turnstile = Turnstile()
        self._cache = Cache(clock)

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is this API's, whatever the workspace."""
        return path.startswith("/v1/")

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        try:
            self._raise_fault(fault)
            self._authorize(request)
            if wait := self._rate.wait(limits.queries, limits.query_seconds):
                raise errors.throttled({"Retry-After": str(math.ceil(wait))})
            if request.method == "POST" and not _has_json(request):
                return Answer(200)  # documented: without a body or its type the answer is empty
            question, key = self._question(request)
            if fault is not None:
                return self._run(question, fault, limits)
            if cached := self._cache.get(key, request.headers.get("Cache-Control", "")):
                return cached
            answer = self._run(question, None, limits)
        except errors.QueryApiError as error:
            return error.answer()
        if answer.status == 200:
            self._cache.put(key, answer)
        return answer

    def _raise_fault(self, fault: Fault | None) -> None:
        if fault is None:
            return
        headers = retry_headers(fault, self._clock())
        if fault.kind == "expired_token":
            raise errors.expired_token()
        if fault.kind == "429":
            raise errors.throttled(headers)
        if fault.kind == "504":
            raise errors.gateway_timeout(headers)
        if fault.kind.isdigit():
            text = "The service is temporarily unable to answer."
            raise errors.QueryApiError(int(fault.kind), phrase(int(fault.kind)), text, headers=headers)

    def _authorize(self, request: Request) -> None:
        """Check the path, then the token, then the app's role."""
        path = unquote(request.path)
        found = _PATH.fullmatch(path)
        workspace = found["workspace"].lower() if found else ""
        if path.lower() == f"/v1{self._identity.workspace_resource_id}/query".lower():
            workspace = self._identity.workspace_id
        if workspace not in (self._identity.workspace_id, self._identity.foreign_workspace_id):
            raise errors.not_found()
        match self._tokens.check(request.headers.get("Authorization"), "log_analytics"):
            case Verdict.MISSING:
                raise errors.no_token()
            case Verdict.EXPIRED:
                raise errors.expired_token()
            case Verdict.INVALID:
                raise errors.invalid_token()
            case Verdict.WRONG_AUDIENCE:
                raise errors.wrong_audience()
        if workspace == self._identity.foreign_workspace_id:
            raise errors.insufficient_access()

    def _question(self, request: Request) -> tuple[Question, str]:
        """What is asked, and a key under which its answer may be cached."""
        options, body = request.query, _body(request)
        own = (self._identity.workspace_id, self._identity.workspace_resource_id.lower(), _NAME)
        if unknown := [each for each in body.workspaces or [] if each.lower() not in own]:
            raise errors.bad_argument(f"Failed to resolve workspaces: {', '.join(unknown)}")
        timespan: tuple[int, int] | None = None
        try:
            for text in (options.get("timespan"), body.timespan):
                bounds = parse_timespan(text, from_unix(self._clock())) if text else None
                timespan = intersection(timespan, bounds)
        except ValueError as error:
            raise errors.bad_argument(f"The timespan is invalid: {error}") from error
        preferences = request.headers.get("Prefer", "").replace(" ", "").split(",")
        prefer = dict(each.partition("=")[::2] for each in preferences)
        wait = float(prefer["wait"]) if prefer.get("wait", "").isdigit() else _DEFAULT_WAIT
        statistics = prefer.get("include-statistics", "").lower() == "true"
        question = Question(body.query, timespan, min(wait, _LONGEST_WAIT), statistics)
        return question, repr((body.query, options.get("timespan"), body.timespan, statistics))

    def _run(self, question: Question, fault: Fault | None, limits: Limits) -> Answer:
        if self._store.is_empty():
            return Answer(204)  # documented for a workspace without data
        applied = {"Preference-Applied": f"wait={question.wait:g}"}
        partial = fault is not None and fault.kind == "partial"
        try:
            with self._turnstile.turn(limits.running, limits.queued, limits.queue_seconds):
                if fault is not None and fault.kind == "slow":
                    if fault.seconds > question.wait:
                        raise errors.gateway_timeout(applied)
                    time.sleep(fault.seconds)
                body = run(self._store, question, limits, from_unix(self._clock()), partial=partial)
        except TooManyWaitingError as error:
            raise errors.throttled({}) from error
        return Answer(200, body, {"Content-Type": "application/json; charset=utf-8"} | applied)


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
