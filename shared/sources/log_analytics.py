"""Log Analytics tables and KQL, through the query API v1 ("Azure Monitor Log Analytics API").

An answer is taken for the window's rows only when the service neither says nor shows that some are missing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from shared import kql
from shared.errors import IncompleteAnswerError, ProtocolError
from shared.model import Batch, Column, Connect, Request, Send, Source, SourceType, Window
from shared.service_errors import describe
from shared.windows import DAY, END_OF_TIME, format_instant

MAX_ROWS = 500_000
"""Rows that the service puts in one answer at most ("Azure Monitor service limits")."""
WAIT_SECONDS = 300
"""How long one query of an export may run; the service allows 600, a function on the smallest plan also."""

# TimeGenerated is replaced by the time of receipt when it lies more than two days back or one day ahead
# ("Log data ingestion time in Azure Monitor"), so these bounds hold every row and still spare the service
# a scan of the whole table.
_TIME_GENERATED_BEFORE = 3 * DAY
_TIME_GENERATED_AFTER = 2 * DAY

_ROW_WISE = {
    *("where", "filter", "extend", "parse", "parse-where", "parse-kv", "mv-expand"),
    *("project", "project-away", "project-keep", "project-rename", "project-reorder"),
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOO_LARGE = ("-2133196797", "E_QUERY_RESULT_SET_TOO_LARGE", "0x80DA0003")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: a ``table`` with an optional ``pipeline``, or free ``kql``.

    ``window_column`` says which time puts a row into a window. With ``ingestion_time`` a late row falls
    into a later window instead of being missed.
    """

    workspace: str
    table: str | None = None
    pipeline: str | None = None
    kql: str | None = None
    splittable: bool = False
    window_column: Literal["ingestion_time", "TimeGenerated"] = "ingestion_time"


class _Column(msgspec.Struct):
    name: str
    type: str


class _Table(msgspec.Struct):
    columns: list[_Column]
    rows: list[msgspec.Raw]


class _Body(msgspec.Struct):
    tables: list[_Table]
    error: dict[str, Any] | None = None
    statistics: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the query API. ``partial`` says why rows are missing; None when it is complete.

    ``rows`` are JSON arrays as the service wrote them, ``statistics`` its own account, as JSON;
    ``answer_bytes`` the size of the decompressed body.
    """

    columns: tuple[Column, ...]
    rows: list[msgspec.Raw]
    statistics: msgspec.Raw
    partial: IncompleteAnswerError | None
    answer_bytes: int


def ask(send: Send, workspace: str, body: Mapping[str, str], *, wait: int, deadline: float | None) -> Answer:
    """Run one query; ``body`` holds ``query`` and, where it is bounded so, ``timespan``.

    ``wait`` is how many seconds the service may compute (600 at most). Asking twice does no harm, so the
    transport repeats what failed on the way; but a 504 says that the query itself took too long.
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
    response = send(request)
    if response.status == 204:  # "a workspace with no data"
        return Answer((), [], msgspec.Raw(b"null"), None, 0)
    return read_answer(response.body, response.headers.get("x-ms-correlation-request-id"))


def read_answer(body: bytes, request_id: str | None = None) -> Answer:
    """Read the body of a 200. Raises ProtocolError when it is not one table of rows."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"Log Analytics' answer is not a table of rows: {error}") from error
    if len(answer.tables) != 1:
        raise ProtocolError(
            f"Log Analytics answered {len(answer.tables)} tables; write the query so that it has one result"
        )
    table = answer.tables[0]
    columns = tuple(Column(column.name, column.type) for column in table.columns)
    partial = _incomplete(answer, len(table.rows), request_id)
    return Answer(columns, table.rows, answer.statistics, partial, len(body))


def _incomplete(answer: _Body, rows: int, request_id: str | None) -> IncompleteAnswerError | None:
    """Return why an answer cannot be the whole one, or None."""
    if answer.error:
        code, message, error_id = describe(answer.error)
        too_large = any(mark in f"{code} {message}" for mark in _TOO_LARGE)
        return _error(code, message, error_id or request_id, retryable=not too_large)
    if rows >= MAX_ROWS:
        return _error(
            "RowLimit", f"{rows} rows are the most that one answer holds", request_id, retryable=False
        )
    stated = _stated_rows(answer.statistics)
    if stated is not None and stated != rows:
        return _error(
            "RowCount", f"{rows} rows came, the statistics say {stated}", request_id, retryable=True
        )
    return None


def _error(code: str, message: str, request_id: str | None, *, retryable: bool) -> IncompleteAnswerError:
    return IncompleteAnswerError(
        "Log Analytics", status=200, code=code, message=message, request_id=request_id, retryable=retryable
    )


def _stated_rows(statistics: msgspec.Raw) -> int | None:
    """Return the row count of the service's own statistics, where it gives one."""
    try:
        return int(msgspec.json.decode(statistics)["query"]["datasetStatistics"][0]["tableRowCount"])
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError):
        return None


def window_query(options: Options, window: Window) -> str:
    """Return the KQL that selects a window's rows, exact to the tick."""
    prelude = (
        f"let window_start = {kql.instant(window.start)};\nlet window_end = {kql.instant(window.end)};\n"
    )
    if options.table is None:
        return prelude + (options.kql or "")
    lines = [kql.name(options.table)]
    if options.window_column == "TimeGenerated":
        lines.append("where TimeGenerated >= window_start and TimeGenerated < window_end")
    else:
        # ingestion_time() is null where a table has no ingestion time policy.
        time = "coalesce(ingestion_time(), TimeGenerated)"
        lines.append("where TimeGenerated >= window_start - 3d and TimeGenerated < window_end + 2d")
        lines.append(f"where {time} >= window_start and {time} < window_end")
    if options.pipeline:
        lines.append(options.pipeline)
    return prelude + "\n| ".join(lines)


def query_body(options: Options, window: Window) -> dict[str, str]:
    """Return the body of the request for a window.

    The timespan is only a coarse bound: whether its end is inclusive is not documented. Free KQL gets none,
    because it may look at any time it likes.
    """
    body = {"query": window_query(options, window)}
    if options.table is not None:
        start = max(0, window.start - _TIME_GENERATED_BEFORE)
        end = min(END_OF_TIME - 1, window.end + _TIME_GENERATED_AFTER)
        body["timespan"] = f"{format_instant(start)}/{format_instant(end)}"
    return body


class LogAnalytics:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send) -> None:
        self._options = options
        self._send = send

    def read(self, window: Window, deadline: float) -> Iterator[Batch]:
        """Yield the window's rows, or raise IncompleteAnswerError when the service cut the answer off."""
        answer = ask(
            self._send,
            self._options.workspace,
            query_body(self._options, window),
            wait=WAIT_SECONDS,
            deadline=deadline,
        )
        if answer.partial is not None:
            raise answer.partial
        yield Batch(rows=answer.rows, columns=answer.columns, answer_bytes=answer.answer_bytes)


def check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    """Yield the mistakes in an export's options."""
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if not _GUID.fullmatch(options.workspace):
        yield "workspace", repr(options.workspace), "the workspace ID, a GUID"
    if (options.table is None) == (options.kql is None):
        yield (
            "table",
            "both" if options.table else "neither",
            "either table (with an optional pipeline) or kql",
        )
    if options.table is not None:
        yield from _check_table(options)
    elif options.kql is not None:
        yield from _check_kql(options)


def _check_table(options: Options) -> Iterator[tuple[str, str, str]]:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", options.table or ""):
        yield "table", repr(options.table), "a table's name"
    if options.splittable:
        yield "splittable", "true", "nothing: a table with a pipeline can always be cut"
    if options.pipeline is None:
        return
    try:
        wrong = [name for name in kql.operators(options.pipeline) if name not in _ROW_WISE]
    except ValueError as error:
        yield "pipeline", str(error), "row-wise operators joined by |, as in \"where Level == 'Error'\""
        return
    for name in wrong:
        allowed = ", ".join(sorted(_ROW_WISE))
        yield "pipeline", f"the operator {name!r}", f"row-wise operators only ({allowed}); or use kql"


def _check_kql(options: Options) -> Iterator[tuple[str, str, str]]:
    if options.pipeline is not None:
        yield "pipeline", "a pipeline beside kql", "the whole query in kql"
    if options.window_column != "ingestion_time":
        yield "window_column", "a window column beside kql", "the window's filter in kql itself"
    try:
        missing = [name for name in ("window_start", "window_end") if not kql.uses(options.kql or "", name)]
    except ValueError as error:
        yield "kql", str(error), "a KQL query"
        return
    for name in missing:
        yield "kql", f"no use of {name}", f"a filter on {name}, or every window would hold every row"


def _identity(options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    identity = {"workspace": options.workspace.lower()}
    return identity if options.table is None else {**identity, "table": options.table}


def _open(options: msgspec.Struct, connect: Connect) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return LogAnalytics(options, connect("log_analytics"))


TYPE = SourceType("log_analytics", False, Options, check, _identity, _open)
