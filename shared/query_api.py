"""The query API of Log Analytics, v1: one question, and an answer known to be whole or known not to be.

Sources: "Azure Monitor Log Analytics API" (request and response format, errors, timeouts), "Querying logs for
Azure resources", and "Query data in a Basic and Auxiliary table" for ``/search``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import msgspec

from shared import arm_ids, rawjson
from shared.errors import (
    AnswerTooLargeError,
    IncompleteAnswerError,
    ProtocolError,
    ServiceError,
    SeveralTablesError,
)
from shared.kusto_v1 import KustoTable, result_of
from shared.model import ApiName, Column, Request, Send
from shared.service_errors import describe, request_id_of, served_at

MAX_ROWS = 500_000
"""Rows that the service puts in one answer at most ("Azure Monitor service limits")."""

# The engine's limit and time-out codes, as text, as HRESULT and as the signed number on the wire ("Errors in
# native code", Kusto): result set too large, runaway query, query cancelled, low memory.
_TOO_MUCH = (
    *("E_QUERY_RESULT_SET_TOO_LARGE", "80DA0003", "-2133196797"),
    *("E_RUNAWAY_QUERY", "80DA0001", "-2133196799"),
    *("E_QUERY_CANCELLED", "80DA0006", "-2133196794", "Query cancelled"),
    *("E_LOW_MEMORY_CONDITION", "80DA0007", "-2133196793"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a query is asked: a path of an API.

    ``scans`` says that the time is wanted in the URL, as for tables that are billed by what is scanned;
    ``prefer`` is what is preferred beside the usual, ``client_request_id`` our name of the requests by this
    route, which the service keeps.
    """

    api: ApiName
    path: str
    scans: bool = False
    prefer: str = ""
    client_request_id: str = ""

    def target(self, timespan: str | None) -> str:
        """Return the path and query of a request."""
        return f"{self.path}?timespan={quote(timespan, safe=':/')}" if self.scans and timespan else self.path


def to_workspace(workspace: str) -> Route:
    """Return the route to a workspace's Analytics tables; ``workspace`` is its ID, a GUID."""
    return Route("log_analytics", f"/v1/workspaces/{workspace}/query")


def to_scanned_tables(workspace: str) -> Route:
    """Return the route to a workspace's Basic and Auxiliary tables."""
    return Route("log_analytics", f"/v1/workspaces/{workspace}/search", scans=True)


def to_resource(arm_id: str) -> Route:
    """Return the route to the rows of an Azure resource, wherever they are."""
    return Route("log_analytics", f"/v1{arm_ids.path(arm_id)}/query")


def through_arm(arm_id: str) -> Route:
    """Return the route to the same rows through Resource Manager.

    It answers in the shape of Kusto's first version where it does not mind what is preferred.
    """
    path = f"{arm_ids.path(arm_id)}/providers/microsoft.insights/logs?api-version=2018-03-01-preview"
    return Route("arm", path, prefer="response-v1=true")


class _Column(msgspec.Struct):
    name: str
    type: str


class _Table(msgspec.Struct):
    columns: list[_Column]
    rows: list[msgspec.Raw]


class _Body(msgspec.Struct):
    tables: list[_Table] = []
    error: dict[str, Any] | None = None
    statistics: msgspec.Raw = msgspec.Raw(b"null")
    kusto_tables: list[KustoTable] = msgspec.field(default_factory=list, name="Tables")
    exceptions: list[Any] | None = msgspec.field(default=None, name="Exceptions")
    api_errors: list[Any] | None = msgspec.field(default=None, name="OneApiErrors")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the query API. ``partial`` says why rows are missing; None when it is complete.

    ``rows`` are JSON arrays as the service wrote them, ``statistics`` its own account, as JSON;
    ``answer_bytes`` the size of the decompressed body, ``served_at`` the service's own time (ticks).
    """

    columns: tuple[Column, ...]
    rows: list[msgspec.Raw]
    statistics: msgspec.Raw
    partial: IncompleteAnswerError | None
    answer_bytes: int
    served_at: int | None = None
    request_id: str | None = None


def ask(
    send: Send,
    route: Route,
    body: Mapping[str, str],
    *,
    wait: int,
    deadline: float | None,
) -> Answer:
    """Run one query; ``body`` holds ``query`` and, where it is bounded so, ``timespan``.

    ``send`` is that of the route's API. ``wait`` is how many seconds the service may compute (600 at most).
    Asking twice does no harm, so the transport repeats what failed on the way; but a 504 says that the query
    itself took too long. Raises AnswerTooLargeError where the service refuses because too much was asked.
    """
    prefer = f"wait={wait}, include-statistics=true"
    request = Request(
        "POST",
        route.target(body.get("timespan")),
        msgspec.json.encode(body),
        {
            "Content-Type": "application/json",
            "Prefer": f"{prefer}, {route.prefer}" if route.prefer else prefer,
            "Cache-Control": "no-cache",  # answers are cached for two minutes otherwise
            **({"x-ms-client-request-id": route.client_request_id} if route.client_request_id else {}),
        },
        wait=wait,
        deadline=deadline,
        final=frozenset({504}),
    )
    try:
        response = send(request)
    except ServiceError as error:
        if error.status in {413, 504} or _says_too_much(f"{error.code} {error.message}"):
            raise _incomplete(error.code, error.message, error.request_id, status=error.status) from error
        raise
    at, request_id = served_at(response.headers), request_id_of(response.headers)
    if response.status == 204:  # "a workspace with no data"
        return Answer((), [], msgspec.Raw(b"null"), None, 0, at, request_id)
    return replace(read_answer(response.body, request_id), served_at=at, request_id=request_id)


def read_answer(body: bytes, request_id: str | None = None) -> Answer:
    """Read the body of a 200. Raises ProtocolError when it is not one table of rows."""
    try:
        answer = rawjson.decode(body, _Body)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"Log Analytics' answer is not a table of rows: {error}") from error
    if answer.kusto_tables or answer.exceptions or answer.api_errors:
        answer = _plain(answer)
    if answer.error is not None and not answer.tables:
        return Answer((), [], answer.statistics, _missing(answer, 0, request_id), len(body))
    if not answer.tables:
        raise ProtocolError("Log Analytics answered no table")
    if len(answer.tables) > 1:
        raise SeveralTablesError(
            f"Log Analytics answered {len(answer.tables)} tables; write the query so that it has one result"
        )
    table = answer.tables[0]
    columns = tuple(Column(column.name, column.type) for column in table.columns)
    partial = _missing(answer, len(table.rows), request_id)
    return Answer(columns, table.rows, answer.statistics, partial, len(body))


def _plain(answer: _Body) -> _Body:
    """Return an answer in the shape of Kusto's first version in that of the query API."""
    told = {"Exceptions": answer.exceptions, "OneApiErrors": answer.api_errors}
    result = result_of(answer.kusto_tables, {key: each for key, each in told.items() if each})
    counted = {"query": {"datasetStatistics": [{"tableRowCount": result.stated_rows}]}}
    table = _Table([_Column(each.name, each.type) for each in result.columns], result.rows)
    return _Body(
        [table] if answer.kusto_tables else [],
        answer.error or result.error,
        answer.statistics if result.stated_rows is None else msgspec.Raw(msgspec.json.encode(counted)),
    )


def _missing(answer: _Body, rows: int, request_id: str | None) -> IncompleteAnswerError | None:
    """Return why an answer cannot be the whole one, or None."""
    if answer.error is not None:
        code, message, error_id = describe(answer.error)
        if _says_too_much(f"{code} {message}"):
            return _incomplete(code, message, error_id or request_id)
        return IncompleteAnswerError(
            "Log Analytics",
            status=200,
            code=code,
            message=message,
            request_id=error_id or request_id,
            retryable=True,
        )
    if rows >= MAX_ROWS:
        return _incomplete("RowLimit", f"{rows} rows are the most that one answer holds", request_id)
    stated = _stated_rows(answer.statistics)
    if stated is not None and stated > rows:
        return _incomplete("RowCount", f"{rows} rows came, but the statistics say {stated}", request_id)
    if stated is not None and stated < rows:
        raise ProtocolError(f"Log Analytics answered {rows} rows, but its statistics say {stated}")
    return None


def _says_too_much(text: str) -> bool:
    return any(mark in text for mark in _TOO_MUCH)


def _incomplete(code: str, message: str, request_id: str | None, *, status: int = 200) -> AnswerTooLargeError:
    return AnswerTooLargeError(
        "Log Analytics", status=status, code=code, message=message, request_id=request_id, retryable=False
    )


def _stated_rows(statistics: msgspec.Raw) -> int | None:
    """Return the row count of the service's own statistics, where it gives one."""
    try:
        return int(msgspec.json.decode(statistics)["query"]["datasetStatistics"][0]["tableRowCount"])
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError):
        return None
