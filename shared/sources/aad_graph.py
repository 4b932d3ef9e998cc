"""Entra ID's activity reports through Azure AD Graph, which Microsoft has retired.

For recorded or private endpoints; its successor is the source ``entra``. Sources: "Azure Active Directory
audit API reference", "Azure Active Directory sign-in activity report API reference", and "Azure Active
Directory reporting audit API samples", whose requests these are. The records' members are known from what
clients of that time read: both kinds have an ``id``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from shared import odata
from shared.counting import count_by_reading
from shared.errors import DeniedError, ServiceError
from shared.model import Batch, Column, Reading, Request, Send, Source, SourceType, Tools, Window
from shared.record_log import Cut, read_records
from shared.tables import record_columns
from shared.windows import SECOND, format_second

WAIT_SECONDS = 300.0
"""Reports are slow to begin; its successor is seen to take minutes."""

MOST_SIGN_INS = 1_000_000
"""Sign-ins that one walk shows at most."""

_TENANT = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE
)

ReportName = Literal["audit", "signinEvents"]


@dataclass(frozen=True, slots=True)
class _Report:
    """One report: the member that is a record's time, what reading it needs, and whether walks are capped.

    ``columns`` are what a file with columns has of its records.
    """

    time_field: str
    needs: str
    columns: tuple[Column, ...]
    capped: bool = False


_READ = "the app needs the permission Read directory data on Azure AD Graph, with an administrator's consent"
_REPORTS: Mapping[ReportName, _Report] = {
    "audit": _Report(
        "activityDate",
        _READ,
        record_columns(
            *("id", "activityDate:datetime", "activity", "activityType", "activityOperationType"),
            *("activityResultStatus", "category", "correlationId", "tenantId"),
        ),
    ),
    "signinEvents": _Report(
        "signinDateTime",
        f"{_READ}, and the role Security Reader, and the tenant a licence for Microsoft Entra ID P1 or P2",
        record_columns(
            *("id", "signinDateTime:datetime", "userId", "userPrincipalName", "userDisplayName", "appId"),
            *("appDisplayName", "ipAddress", "loginStatus", "tenantId"),
        ),
        capped=True,
    ),
}
_USER = (
    "where that is given and an app is refused all the same, a known issue of this API in some tenants, "
    "run with a user's identity: EXPORT_CREDENTIAL = azure_cli or device_code"
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: whose (``tenant``) and which ``report``, and a ``filter``.

    ``tenant`` is its id, or one of its domain names such as contoso.onmicrosoft.com.
    """

    tenant: str
    report: ReportName = "audit"
    filter: str | None = None


class AadGraph:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send) -> None:
        self._options = options
        self._send = send

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's records, a batch for each page that the service answered."""
        report, window = _REPORTS[self._options.report], reading.window
        request = Request(
            "GET",
            first_page(self._options, window),
            wait=WAIT_SECONDS,
            deadline=reading.deadline,
        )
        cut = Cut(report.time_field, window, MOST_SIGN_INS if report.capped else None)
        try:
            yield from read_records(self._send, request, cut)
        except ServiceError as error:
            if error.status not in {401, 403}:
                raise
            raise DeniedError.of(error, f"{report.needs}; {_USER}") from error

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many records each window holds; the service cannot count them, so they are read."""
        return count_by_reading(self.read, windows, deadline)

    def release(self, reading: Reading) -> None:
        """The service keeps nothing for a walk."""


def first_page(options: Options, window: Window) -> str:
    """Return the path and query of the first page of a window, and of a second on both sides of it."""
    time = _REPORTS[options.report].time_field
    first, last = format_second(max(0, window.start - SECOND)), format_second(window.end + SECOND)
    terms = [f"{time} ge {first}", f"{time} le {last}"]
    if options.filter is not None:
        terms.append(f"({options.filter})")
    query = {"api-version": "beta", "$filter": " and ".join(terms)}
    return f"/{options.tenant}/activities/{options.report}?{urlencode(query, quote_via=quote, safe='$:')}"


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if not _TENANT.fullmatch(options.tenant):
        yield "tenant", repr(options.tenant), "the tenant's id, or one of its domain names"
    if options.filter is None:
        return
    wrong = odata.problem(options.filter)
    if wrong:
        yield "filter", wrong, "one OData filter, as in \"category eq 'Directory'\""
        return
    time = _REPORTS[options.report].time_field
    if time in odata.names(options.filter):
        yield "filter", time, "a filter without it: the window decides that"


def _identity(options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return {"tenant": options.tenant.lower(), "report": options.report}


def _columns(options: msgspec.Struct) -> tuple[Column, ...]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return _REPORTS[options.report].columns


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return AadGraph(options, tools.connect("aad_graph"))


TYPE = SourceType(
    kind="entra",
    forgets=True,
    union=True,
    retention="30d",
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
    paged=True,
    columns=_columns,
)
