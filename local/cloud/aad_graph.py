"""Azure AD Graph's two activity reports, `/{tenant}/activities/audit` and `…/signinEvents`.

Microsoft has retired this API. Sources: "Azure Active Directory audit API reference", "… sign-in activity
report API reference", "… audit API samples" and "Error codes and error handling" (Azure AD Graph). The
audit report documents no limit to a walk, the sign-ins' report one. Other than in today's Graph, `$top`
is documented as "to limit the number of returned records" and not as the size of a page.
"""

import base64
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from local.cloud import aad_graph_errors as errors
from local.cloud.aad_graph_filter import parse
from local.cloud.activities import TIMES, Activity, completed
from local.cloud.dataset import DOMAIN
from local.cloud.faults import Fault
from local.cloud.graph_filter import InvalidFilterError
from local.cloud.identity import Identity
from local.cloud.options import Limits
from local.cloud.server import Answer, Request, json_answer
from local.cloud.ticks import format_instant, from_unix, parse_instant
from local.cloud.tokens import Tokens

_PATH = re.compile(r"/(?P<tenant>[^/]+)/activities/(?P<report>audit|signinEvents)/?")
_VERSION = "beta"
_OPTIONS = ("api-version", "$filter", "$top", "$skiptoken")
_KEPT = 1_000


class AadGraph:
    """The activity reports of one tenant. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._reports: dict[str, list[Activity]] = {report: [] for report in TIMES}
        self._rests: dict[str, list[Activity]] = {}

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is a report's, whatever the tenant."""
        return _PATH.fullmatch(path) is not None

    def add(self, report: str, records: Iterable[Mapping[str, Any]]) -> int:
        """Add records to a report and return how many; they can be read at once.

        What a record lacks is filled in. Raises ValueError for another report, or for a time that is none.
        """
        stamp = format_instant(from_unix(self._clock()))
        whole = [completed(report, record, self._identity, stamp) for record in records]
        with self._lock:
            self._reports[report] += whole
            self._reports[report].sort(key=lambda each: parse_instant(each[TIMES[report]]), reverse=True)
        return len(whole)

    def records(self, report: str) -> list[Activity]:
        """Every record of a report, newest first. Raises ValueError for another report."""
        if report not in TIMES:
            raise ValueError(f"no report {report!r} in Azure AD Graph; there are {', '.join(TIMES)}")
        with self._lock:
            return list(self._reports[report])

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        now = self._clock()
        try:
            errors.check_fault(fault, now)
            errors.check_token(self._tokens, request)
            if not limits.aad_graph_app_tokens and not is_of_a_user(request.headers["Authorization"]):
                raise errors.denied()
            document = self._page(request, fault, limits)
        except errors.AadGraphError as error:
            return error.answer(request, now)
        return json_answer(200, document)

    def _page(self, request: Request, fault: Fault | None, limits: Limits) -> dict[str, Any]:
        found = _PATH.fullmatch(request.path)
        if found is None or unquote(found["tenant"]).lower() not in (self._identity.tenant_id, DOMAIN):
            raise errors.not_found()
        options = request.query
        _check_options(request)
        report = found["report"]
        with self._lock:
            if "$skiptoken" in options:
                rest = self._rests.get(options["$skiptoken"])
            else:
                rest = self._found(report, options, limits)
            if rest is None or (fault is not None and fault.kind == "invalid_skip_token"):
                raise errors.expired_page()
            page, rest = rest[: limits.activity_page], rest[limits.activity_page :]
            token = self._keep(rest) if rest else None
        document: dict[str, Any] = {
            "@odata.context": f"{request.base}/{found['tenant']}/$metadata#activities/{report}"
        }
        if token is not None:
            target = f"{request.path}?api-version={_VERSION}&%24skiptoken={token}"
            document["@odata.nextLink"] = _next_link(request, target, fault)
        return document | {"value": page}

    def _found(self, report: str, options: Mapping[str, str], limits: Limits) -> list[Activity]:
        """The records that a first request asks for, newest first."""
        records = self._reports[report]
        if "$filter" in options:
            try:
                matches = parse(report, options["$filter"])
            except InvalidFilterError as error:
                raise errors.bad_request(f"Invalid filter clause: {error}") from error
            records = [record for record in records if matches(record)]
        most = limits.signin_events if report == "signinEvents" else len(records)
        if "$top" in options:
            if not options["$top"].isdigit() or int(options["$top"]) == 0:
                raise errors.bad_request(f"Invalid value '{options['$top']}' of $top.")
            most = min(most, int(options["$top"]))
        return records[:most]

    def _keep(self, rest: list[Activity]) -> str:
        """A token for what is left of a walk: for the same rest the same, whatever is added meanwhile."""
        ids = "\n".join(str(each["id"]) for each in rest)
        token = str(-zlib.crc32(ids.encode()) - 1)
        self._rests[token] = rest
        while len(self._rests) > _KEPT:
            del self._rests[next(iter(self._rests))]
        return token


def _check_options(request: Request) -> None:
    """Refuse a method, a version or an option that the reports do not have."""
    options = request.query
    if request.method != "GET":
        raise errors.not_allowed()
    if "api-version" not in options:
        raise errors.version_missing()
    if options["api-version"] != _VERSION:
        raise errors.version_wrong()
    for name in options:
        if name.startswith("$") and name not in _OPTIONS:
            raise errors.bad_request(f"The query option '{name}' is not supported.")


def is_of_a_user(authorization: str) -> bool:
    """Whether a token that was checked is of a user who signed in: only then it has scopes."""
    claims = authorization.split(".")[1]
    return "scp" in msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))


def _next_link(request: Request, target: str, fault: Fault | None) -> str:
    """The link to `target`, unless a fault wants another."""
    if fault is not None and fault.kind == "foreign_next_link":
        return fault.location.rstrip("/") + target
    if fault is not None and fault.kind == "repeated_next_link":
        return request.base + request.target
    return request.base + target
