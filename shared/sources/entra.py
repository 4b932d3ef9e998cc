"""Entra ID's logs through Microsoft Graph: directory audits, sign-ins, provisioning, risk detections.

Sources: "List directoryAudits", "List signIns", "List provisioningObjectSummary", "List riskDetections".
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from shared import odata
from shared.counting import count_by_reading
from shared.errors import DeniedError, ServiceError, UnavailableError
from shared.model import Batch, Clock, Column, Pace, Reading, Request, Send, Source, SourceType, Tools, Window
from shared.record_log import Cut, read_records
from shared.tables import record_columns
from shared.windows import DAY, HOUR, SECOND, format_second, from_datetime, grid_floor

WAIT_SECONDS = 300.0
"""Answers of several minutes are seen in the field, and end well."""

_MINIMUM = re.compile(r"Minimum allowed time for \w+ is ([0-9/]+ [0-9:]+ [AP]M)")
_UNNAMED = "Invalid filter clause"
"""All that Graph is seen to say of times before the floor of sign-ins, and of some filters that are wrong."""

_SURE = 6 * DAY
"""Time that no tenant has forgotten: the shortest retention is seven days ("Microsoft Entra data retention"),
and floors are seen to lie at midnight."""

_NOT_PREMIUM = "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
# Refusals that are seen to pass when the same request is sent again.
_DOUBTFUL = (_NOT_PREMIUM, "not licensed for this feature", "Unsupported Query", "Invalid Skip Token")

LogName = Literal["directoryAudits", "signIns", "provisioning", "riskDetections"]
Events = Literal["interactive", "nonInteractive", "servicePrincipal", "managedIdentity"]


@dataclass(frozen=True, slots=True)
class _Log:
    """One log: where it is, which member is a record's time, and how Graph compares, pages and limits it.

    ``columns`` are what a file with columns has of its records. ``retention`` is how long it keeps records
    where it does not reliably say so itself: older ones may be left out without a word ("Microsoft Entra data
    retention"). Only directory audits are seen to name their floor; sign-ins are seen to refuse older time.
    """

    path: str
    time_field: str
    page_size: int
    pace: Pace
    needs: str
    columns: tuple[Column, ...]
    after: str = "ge"
    before: str = "le"
    retention: str | None = None


_REPORTS = "the application permission AuditLog.Read.All, with an administrator's consent"
_PREMIUM = "a licence for Microsoft Entra ID P1 or P2 in the tenant"
_LOGS: Mapping[str, _Log] = {
    "directoryAudits": _Log(
        "/v1.0/auditLogs/directoryAudits",
        "activityDateTime",
        1000,
        "graph_reports",
        _REPORTS,
        record_columns(
            *("id", "activityDateTime:datetime", "activityDisplayName", "category", "correlationId"),
            *("loggedByService", "operationType", "result", "resultReason"),
        ),
    ),
    "signIns": _Log(
        "/v1.0/auditLogs/signIns",
        "createdDateTime",
        1000,
        "graph_reports",
        f"{_REPORTS}, and {_PREMIUM}",
        record_columns(
            *("id", "createdDateTime:datetime", "userDisplayName", "userPrincipalName", "userId", "appId"),
            *("appDisplayName", "ipAddress", "clientAppUsed", "correlationId", "conditionalAccessStatus"),
            *("isInteractive:bool", "riskDetail", "riskState", "riskLevelAggregated"),
            *("riskLevelDuringSignIn", "resourceDisplayName", "resourceId"),
        ),
        retention="30d",
    ),
    "provisioning": _Log(
        "/v1.0/auditLogs/provisioning",
        "activityDateTime",
        1000,
        "graph_reports",
        f"{_REPORTS}, and {_PREMIUM}",
        record_columns(
            *("id", "activityDateTime:datetime", "provisioningAction", "durationInMilliseconds:long"),
            *("jobId", "cycleId", "changeId", "tenantId"),
        ),
        after="gt",
        before="lt",
        retention="30d",
    ),
    "riskDetections": _Log(
        "/v1.0/identityProtection/riskDetections",
        "detectedDateTime",
        500,
        "graph_identity_protection",
        "the application permission IdentityRiskEvent.Read.All, with an administrator's consent, and "
        + _PREMIUM,
        record_columns(
            *("id", "detectedDateTime:datetime", "activityDateTime:datetime", "lastUpdatedDateTime:datetime"),
            *("riskEventType", "riskLevel", "riskState", "riskDetail", "source", "detectionTimingType"),
            *("activity", "userId", "userPrincipalName", "userDisplayName", "ipAddress", "correlationId"),
        ),
        retention="30d",  # P2 keeps 90 days, which an export then has to say
    ),
}
_EVENT_TYPES: Mapping[Events, str] = {
    "interactive": "interactiveUser",
    "nonInteractive": "nonInteractiveUser",
    "servicePrincipal": "servicePrincipal",
    "managedIdentity": "managedIdentity",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: which ``log``, of sign-ins which ``events``, and a ``filter``.

    Graph v1.0 has interactive sign-ins only; the others are in its beta version.
    """

    log: LogName
    events: Events | None = None
    filter: str | None = None


class Entra:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send, clock: Clock) -> None:
        self._options = options
        self._log = _LOGS[options.log]
        self._send = send
        self._clock = clock

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's records, a batch for each page that the service answered.

        A walk needs no sizing, and its bounds leave nothing out.
        """
        try:
            yield from self._read(reading)
        except ServiceError as error:
            if error.status in {401, 403}:
                raise DeniedError.of(error, f"the app needs {self._log.needs}") from error
            raise

    def _read(self, reading: Reading) -> Iterator[Batch]:
        start = reading.window.start
        begun = False
        try:
            for batch in self._walk(reading, max(0, start - SECOND)):
                begun = True
                yield batch
        except ServiceError as error:
            unnamed = _names_nothing(error)
            if begun:  # a walk from the floor on would yield again what this one has yielded
                error.retryable = error.retryable or unnamed or _floor(error) is not None
                raise
            floor = self._unnamed_floor(reading) if unnamed else _floor(error)
            if floor is None:
                raise
            if self._log.after == "gt":  # what lies on the floor itself cannot be asked for
                floor += SECOND
            if floor > start:
                why = f"Entra ID keeps nothing older: {error}"
                if unnamed:
                    why += "; of a recent hour the same filter is answered"
                raise UnavailableError(floor, why) from error
        else:
            return
        yield from self._walk(reading, start)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many records each window holds; Graph cannot count them, so they are read."""
        return count_by_reading(self.read, windows, deadline)

    def release(self, reading: Reading) -> None:
        """Graph keeps nothing for a walk."""

    def _walk(self, reading: Reading, start: int) -> Iterator[Batch]:
        request = self._request(reading, start, reading.window.end)
        return read_records(self._send, request, Cut(self._log.time_field, reading.window))

    def _request(self, reading: Reading, start: int, end: int) -> Request:
        return Request(
            "GET",
            first_page(self._options, start, end),
            wait=WAIT_SECONDS,
            deadline=reading.deadline,
            doubtful=_DOUBTFUL,
            pace=self._log.pace,
        )

    def _unnamed_floor(self, reading: Reading) -> int | None:
        """Return since when (ticks) Graph answers for a window that it refused without a reason.

        That is the window's start, the first midnight in it that is answered, or its end: a floor is a
        midnight, so before its first one a window lies on one side of it. None where the refusal cannot be
        of the time: where the window is too young for that, the same filter is refused of a recent hour, or
        the refusals pass.
        """
        window, now = reading.window, self._clock.now()
        if window.start > now - _SURE or not self._answers(reading, grid_floor(now - HOUR, SECOND)):
            return None
        midnights = range(grid_floor(window.start, DAY) + DAY, window.end, DAY)
        asked: list[int] = [window.start, *midnights]
        first: int = bisect_left(asked, True, key=lambda tick: self._answers(reading, tick))
        if first > 1 and self._answers(reading, asked[first - 1]):  # asked once so far: it was in passing
            return None
        return [*asked, window.end][first]

    def _answers(self, reading: Reading, tick: int) -> bool:
        """Whether Graph takes the export's filter together with a time."""
        try:
            self._send(self._request(reading, tick, tick))
        except ServiceError as error:
            if _names_nothing(error):
                return False
            raise
        return True


def first_page(options: Options, start: int, end: int) -> str:
    """Return the path and query of the first page from one whole second to a second after another."""
    log = _LOGS[options.log]
    first, last = format_second(start), format_second(end + SECOND)
    terms = [f"{log.time_field} {log.after} {first}", f"{log.time_field} {log.before} {last}"]
    path = log.path
    if options.events not in {None, "interactive"}:
        path = path.replace("/v1.0/", "/beta/")
        terms.append(f"signInEventTypes/any(t: t eq '{_EVENT_TYPES[options.events]}')")
    if options.filter is not None:
        terms.append(f"({options.filter})")
    query = {"$filter": " and ".join(terms), "$top": str(log.page_size)}
    return f"{path}?{urlencode(query, quote_via=quote, safe='$:')}"


def _names_nothing(error: ServiceError) -> bool:
    """Whether Graph refused a filter without saying what is wrong with it, so that it may be its time."""
    return error.status == 400 and error.message.rstrip(".") == _UNNAMED


def _floor(error: ServiceError) -> int | None:
    """Return the oldest time (ticks) that Graph still answers for, from its refusal; None from any other.

    "Specified argument was out of the range of valid values. (Parameter 'Minimum allowed time for
    activityDateTime is 2/5/2023 12:00:00 AM')": written as a US date, cut to midnight UTC.
    """
    match = _MINIMUM.search(error.message) if error.status == 400 else None
    if not match:
        return None
    return from_datetime(datetime.strptime(match[1], "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC))


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if options.events is not None and options.log != "signIns":
        yield "events", repr(options.events), "nothing: only signIns come in several kinds"
    if options.filter is None:
        return
    wrong = odata.problem(options.filter)
    if wrong:
        yield "filter", wrong, "one OData filter, as in \"loggedByService eq 'Core Directory'\""
        return
    taken = {_LOGS[options.log].time_field: "the window", "signInEventTypes": "the key events"}
    for name in odata.names(options.filter) & taken.keys():
        yield "filter", name, f"a filter without it: {taken[name]} decides that"


def _identity(options: msgspec.Struct, tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    if tenant_id is None:
        raise ValueError(
            "the app setting AZURE_TENANT_ID, so that one name never comes to hold two tenants' records"
        )
    identity = {"tenant": tenant_id.lower(), "log": options.log}
    return identity if options.log != "signIns" else {**identity, "events": options.events or "interactive"}


def _retention(options: msgspec.Struct) -> str | None:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return _LOGS[options.log].retention


def _columns(options: msgspec.Struct) -> tuple[Column, ...]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return _LOGS[options.log].columns


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return Entra(options, tools.connect("graph"), tools.clock)


TYPE = SourceType(
    kind="entra",
    forgets=True,
    union=True,
    retention=None,
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
    paged=True,
    retention_of=_retention,
    columns=_columns,
)
