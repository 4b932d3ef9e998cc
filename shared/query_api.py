"""The query API of Log Analytics, v1: one question, and an answer known to be whole or known not to be.

Source: "Azure Monitor Log Analytics API" (request and response format, errors, timeouts).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from shared import rawjson
from shared.errors import AnswerTooLargeError, IncompleteAnswerError, ProtocolError, ServiceError
from shared.model import Column, Request, Send
from shared.service_errors import describe, served_at

MAX_ROWS = 500_000
"""Rows that the service puts in one answer at most ("Azure Monitor service limits")."""

# The engine's limit and time-out codes, as text, as HRESULT and as the signed number on the wire ("Errors in
# native code", Kusto): result set too large, runaway query, query cancelled, low memory.
_TOO_MUCH = (
    *("E_QUERY_RESULT_SET_TOO_LARGE", "0x80DA0003", "-2133196797"),
    *("E_RUNAWAY_QUERY", "0x80DA0001", "-2133196799"),
    *("E_QUERY_CANCELLED", "0x80DA0006", "-2133196794", "Query cancelled"),
    *("E_LOW_MEMORY_CONDITION", "0x80DA0007", "-2133196793"),
)


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


def ask(send: Send, workspace: str, body: Mapping[str, str], *, wait: int, deadline: float | None) -> Answer:
    """Run one query; ``body`` holds ``query`` and, where it is bounded so, ``timespan``.

    ``wait`` is how many seconds the service may compute (600 at most). Asking twice does no harm, so the
    transport repeats what failed on the way; but a 504 says that the query itself took too long. Raises
    AnswerTooLargeError where the service refuses because too much was asked at once.
    """
    request = Request(
        "POST",
        f"/v1/workspaces/{workspace}/query",
        msgspec.json.encode(body),
        {
            "Content-Type": "application/json",
            "Prefer": f"wait={wait}, include-statistics=true",
            "Cache-Control": "no-cache",  # answers are cached for two minutes otherwise
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
    if response.status == 204:  # "a workspace with no data"
        return Answer((), [], msgspec.Raw(b"null"), None, 0, served_at(response.headers))
    answer = read_answer(response.body, response.headers.get("x-ms-correlation-request-id"))
    return replace(answer, served_at=served_at(response.headers))


def read_answer(body: bytes, request_id: str | None = None) -> Answer:
    """Read the body of a 200. Raises ProtocolError when it is not one table of rows."""
    try:
        answer = rawjson.decode(body, _Body)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"Log Analytics' answer is not a table of rows: {error}") from error
    if answer.error is not None and not answer.tables:
        return Answer((), [], answer.statistics, _missing(answer, 0, request_id), len(body))
    if len(answer.tables) != 1:
        raise ProtocolError(
            f"Log Analytics answered {len(answer.tables)} tables; write the query so that it has one result"
        )
    table = answer.tables[0]
    columns = tuple(Column(column.name, column.type) for column in table.columns)
    partial = _missing(answer, len(table.rows), request_id)
    return Answer(columns, table.rows, answer.statistics, partial, len(body))


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
