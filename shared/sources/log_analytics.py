"""Log Analytics tables and KQL, through the query API v1 ("Azure Monitor Log Analytics API").

An answer is taken for the window's rows only when the service neither says nor shows that some are missing.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from shared import kql, rawjson
from shared.errors import AnswerTooLargeError, ExportError, IncompleteAnswerError, ProtocolError
from shared.model import Batch, Column, Measured, Source, SourceType, Tools, Window
from shared.query_api import MAX_ROWS, Answer, ask
from shared.slices import Bounds, Slice, planned_slices, read_in_order
from shared.window_kql import (
    USUAL,
    WIDE,
    Options,
    Reach,
    count_body,
    groups,
    key_of,
    query_body,
    schema_body,
)
from shared.windows import format_instant

WAIT_SECONDS = 300
"""How long one query of an export may run; the service allows 600, a function on the smallest plan also."""

COUNTED_AT_ONCE = 24
"""Windows that one counting query covers."""


_ROW_WISE = {
    *("where", "filter", "extend", "parse", "parse-where", "parse-kv", "mv-expand"),
    *("project", "project-away", "project-keep", "project-rename", "project-reorder"),
}
# What gives another answer at another time, or looks beyond its own row.
_UNSTABLE = {
    *("ago", "now", "rand", "new_guid", "row_number", "row_cumsum", "row_rank_dense", "row_rank_min"),
    *("row_window_session", "prev", "next", "toscalar"),
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class LogAnalytics:
    """Reads the windows of one export."""

    def __init__(self, options: Options, tools: Tools) -> None:
        self._options = options
        self._send = tools.connect("log_analytics")
        self._tools = tools
        self._asked = 0
        self._row_key: str | None = None
        self._lock = threading.Lock()
        self._bounds = Bounds(rows=MAX_ROWS * 9 // 10, answer_bytes=tools.answer_bytes)

    def read(
        self, window: Window, deadline: float, measured: Measured | None, *, wide: bool = False
    ) -> Iterator[Batch]:
        """Yield the window's rows, slice by slice; where an answer was cut off, ask again in halves."""
        reach = WIDE if wide else USUAL
        if self._options.table is None and not self._options.splittable:
            yield self._whole(window, deadline)
            return
        if measured is None:
            measured = self._measure(window, deadline)
        slices = planned_slices(window, measured, self._bounds)
        in_parts: dict[Window, int] = {}
        for slice_, batch in read_in_order(
            slices, lambda each: self._fetch(each, reach, deadline), self._tools.pool, self._tools.parallel
        ):
            if slice_.parts > 1:
                in_parts[slice_.span] = in_parts.get(slice_.span, 0) + len(batch.rows)
            yield replace(batch, requests=self._requests())
        for tick, rows in in_parts.items():
            self._check_parts(tick, rows, reach, deadline)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows each window holds through the pipeline; one query counts many windows."""
        if self._options.table is None:
            return [
                self._numbers(query_body(self._options, Slice(each), "count"), 1, deadline)[0]
                for each in windows
            ]
        return [
            count
            for some in groups(windows, COUNTED_AT_ONCE)
            for count in self._count_at_once(some, WIDE, deadline)
        ]

    def _count_at_once(self, windows: Sequence[Window], reach: Reach, deadline: float) -> list[int]:
        """Count several windows with one question; where that is too much, with two, and less widely."""
        body = count_body(self._options, windows, reach)
        try:
            answer = self._ask(body, deadline)
        except AnswerTooLargeError:
            middle = len(windows) // 2
            if middle:
                halves = (windows[:middle], windows[middle:])
                return [count for half in halves for count in self._count_at_once(half, reach, deadline)]
            if reach == USUAL:
                raise
            return self._count_at_once(windows, USUAL, deadline)
        if not answer.columns:  # see _numbers
            return [0] * len(windows)
        numbers = [_number_row(row, 2, body["query"]) for row in answer.rows]
        if [leg for leg, _ in numbers] != list(range(len(windows))):
            raise ProtocolError("Log Analytics' counts are not those of the windows that were asked for")
        return [count for _, count in numbers]

    def _whole(self, window: Window, deadline: float) -> Batch:
        try:
            return self._fetch(Slice(window), USUAL, deadline)
        except AnswerTooLargeError as error:
            raise ExportError(
                f"{error}; free kql is cut into smaller questions only if it says splittable = true, which "
                "it may if it gives the same rows when asked in parts. Say so, or shorten the window"
            ) from error

    def _fetch(self, slice_: Slice, reach: Reach, deadline: float) -> Batch:
        """Ask for a slice's rows; raises IncompleteAnswerError unless they are all there."""
        key = self._key(deadline) if slice_.parts > 1 else ""
        answer = self._ask(query_body(self._options, slice_, reach=reach, row_key=key), deadline)
        return Batch(
            rows=answer.rows,
            columns=answer.columns,
            answer_bytes=answer.answer_bytes,
            served_at=answer.served_at,
        )

    def _measure(self, window: Window, deadline: float) -> Measured:
        """Ask how much a window holds, through the pipeline. The engine's estimate is of its own form."""
        size = "summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"
        try:
            body = query_body(self._options, Slice(window), size)
            rows, answer_bytes = self._numbers(body, 2, deadline)
        except AnswerTooLargeError:  # even counting takes too long: begin with the whole and halve it
            return Measured(0, 0)
        ticks = window.end - window.start
        return Measured(rows / ticks, answer_bytes / ticks)

    def _check_parts(self, tick: Window, rows: int, reach: Reach, deadline: float) -> None:
        """Compare the parts of one tick with the tick's own count: parts by hash must lose none."""
        (count,) = self._numbers(query_body(self._options, Slice(tick), "count", reach), 1, deadline)
        if count != rows:
            raise IncompleteAnswerError(
                "Log Analytics",
                status=200,
                code="PartCount",
                message=f"the tick {format_instant(tick.start)} counts {count} rows, its parts hold {rows}",
                request_id=None,
                retryable=True,
            )

    def _numbers(self, body: Mapping[str, str], width: int, deadline: float) -> list[int]:
        """Return the one row of numbers that a query answers."""
        answer = self._ask(body, deadline)
        if not answer.columns:  # the workspace holds no data at all, and answers 204 to any query
            return [0] * width
        if len(answer.rows) != 1:
            raise ProtocolError(f"Log Analytics answered {len(answer.rows)} rows where a query has one")
        return _number_row(answer.rows[0], width, body["query"])

    def _key(self, deadline: float) -> str:
        """Return what tells the rows of one tick apart, from the table's own columns."""
        if self._options.table is None:
            raise ExportError(
                "one tick's rows do not fit into an answer, and free kql cannot be parted by hash"
            )
        if self._row_key is None:
            answer = self._ask(schema_body(self._options), deadline)
            try:
                rows = [msgspec.json.decode(row, type=tuple[str, str]) for row in answer.rows]
            except rawjson.UNREADABLE as error:
                raise ProtocolError("Log Analytics did not answer with a table's schema") from error
            self._row_key = key_of(Column(name, type_) for name, type_ in rows)
        return self._row_key

    def _requests(self) -> int:
        """Return how many questions were asked since this was last called, also those asked in vain."""
        with self._lock:
            asked, self._asked = self._asked, 0
        return asked

    def _ask(self, body: Mapping[str, str], deadline: float) -> Answer:
        with self._lock:
            self._asked += 1
        answer = ask(self._send, self._options.workspace, body, wait=WAIT_SECONDS, deadline=deadline)
        if answer.partial is not None:
            raise answer.partial
        return answer


def _number_row(row: msgspec.Raw, width: int, query: str) -> list[int]:
    try:
        numbers = msgspec.json.decode(row, type=list[int | None])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"Log Analytics did not answer with numbers to: {query}") from error
    if len(numbers) != width:
        raise ProtocolError(f"Log Analytics answered {len(numbers)} numbers, not {width}, to: {query}")
    return [number or 0 for number in numbers]


def check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    """Yield the mistakes in an export's options."""
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if not _GUID.fullmatch(options.workspace):
        yield "workspace", repr(options.workspace), "the workspace ID, a GUID"
    if (options.table is None) == (options.kql is None):
        yield (
            "table",
            "neither" if options.table is None else "both",
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
    for function in kql.calls(options.pipeline) & _UNSTABLE:
        yield "pipeline", f"{function}()", "what depends on the row alone; use window_start or window_end"
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


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return LogAnalytics(options, tools)


TYPE = SourceType(
    kind="log_analytics",
    forgets=False,
    union=False,
    retention="30d",  # a table's default; the query API answers older time with nothing, not with an error
    options=Options,
    check=check,
    identity=_identity,
    open=_open,
)
