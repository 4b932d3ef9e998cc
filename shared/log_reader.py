"""Reads, sizes and counts the rows that a selection has in a window, from one place of Log Analytics.

An answer is taken for the rows only when the service neither says nor shows that some are missing.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from shared import rawjson
from shared.errors import (
    AnswerTooLargeError,
    DeniedError,
    ExportError,
    IncompleteAnswerError,
    ProtocolError,
    ServiceError,
)
from shared.model import Batch, Column, Measured, Tools, Window
from shared.query_api import MAX_ROWS, Answer, Route, ask
from shared.slices import (
    MAX_SLICES,
    Bounds,
    Slice,
    check_slices,
    expected_answers,
    in_most_slices,
    read_in_order,
)
from shared.window_kql import (
    USUAL,
    WIDE,
    Reach,
    Selection,
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

PORTION = 20_000
"""Rows that are handed on together at most, so that the first of a large answer are on their way to storage
while the others are still being written."""


_ENGINE_BYTES = 4
"""How many times larger the engine's estimate may be than the answer: a number takes it 8 bytes, and the
shortest one with its comma 2 in JSON."""


class LogReader:
    """Reads the windows of one selection by one route. Thread-safe."""

    def __init__(self, route: Route, selection: Selection, tools: Tools) -> None:
        self._route = route
        self._selection = selection
        self._send = tools.connect(route.api)
        self._tools = tools
        self._asked = 0
        self._columns: tuple[Column, ...] | None = None
        self._lock = threading.Lock()
        self._bounds = Bounds(rows=MAX_ROWS * 9 // 10, answer_bytes=tools.answer_bytes)

    def read(
        self, window: Window, deadline: float, measured: Measured | None, reach: Reach = USUAL
    ) -> Iterator[Batch]:
        """Yield the window's rows, slice by slice; where an answer was cut off, ask again for less.

        Where its size is not known it is counted, unless that costs as much as reading.
        """
        measured = self._sized(window, deadline, measured)
        parallel = 1 if self._route.scans else self._tools.parallel  # two such queries run at one time
        in_parts: dict[Window, int] = {}
        for slice_, batch in read_in_order(
            window,
            lambda each: self._fetch(each, reach, deadline),
            measured,
            self._bounds,
            self._tools.pool,
            parallel,
        ):
            if slice_.parts > 1:
                in_parts[slice_.span] = in_parts.get(slice_.span, 0) + len(batch.rows)
            yield from portions(replace(batch, requests=self._requests()))
            del batch  # its place in memory is the next one's
        for tick, rows in in_parts.items():
            self._check_parts(tick, rows, reach, deadline)

    def whole(self, window: Window, deadline: float) -> Batch:
        """Return the window's rows in one answer. Raises AnswerTooLargeError when they do not fit."""
        return replace(self._fetch(Slice(window), USUAL, deadline), requests=self._requests())

    def fits(self, window: Window, measured: Measured) -> bool:
        """Whether what is expected of a window fits into one answer."""
        return expected_answers(window, measured, self._bounds) <= 1

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows each window holds through the pipeline; one query counts many windows.

        Free KQL, and tables that may not be asked through functions, take one query for each.
        """
        if self._selection.table is None or self._route.scans:
            return [
                self._numbers(query_body(self._selection, Slice(each), "count", WIDE), 1, deadline)[0]
                for each in windows
            ]
        return [
            count
            for some in groups(windows, COUNTED_AT_ONCE)
            for count in self._count_at_once(some, WIDE, deadline)
        ]

    def size(self, window: Window, deadline: float) -> tuple[int, int] | None:
        """Return a window's rows and bytes, through the pipeline; None where even counting is too much.

        The bytes are the engine's estimate, which is of its own form.
        """
        size = "summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"
        try:
            rows, answer_bytes = self._numbers(query_body(self._selection, Slice(window), size), 2, deadline)
        except AnswerTooLargeError:  # even counting takes too long: begin with the whole and halve it
            return None
        return rows, answer_bytes

    def columns(self, window: Window, deadline: float) -> tuple[Column, ...]:
        """Return the table's own columns, in its order."""
        if self._columns is None:
            answer = self._ask(schema_body(self._selection, window), deadline)
            try:
                rows = [msgspec.json.decode(row, type=tuple[str, str]) for row in answer.rows]
            except rawjson.UNREADABLE as error:
                raise ProtocolError("Log Analytics did not answer with a table's schema") from error
            self._columns = tuple(Column(name, type_) for name, type_ in rows)
        return self._columns

    def _sized(self, window: Window, deadline: float, measured: Measured | None) -> Measured:
        """Return what a window is cut by: what was measured elsewhere, or its own size.

        Only its own size may refuse it, for its neighbours may hold far more: where they would take too many
        slices it is counted too. Raises ExportError where it is sure to take more slices than it may.
        """
        if measured is not None and expected_answers(window, measured, self._bounds) <= MAX_SLICES:
            return measured
        size = None if self._route.scans else self.size(window, deadline)
        if size is not None:
            ticks = window.end - window.start
            measured = Measured(size[0] / ticks, size[1] / ticks)
            least = replace(measured, answer_bytes=measured.answer_bytes / _ENGINE_BYTES)
            check_slices(window, least, self._bounds)
        return in_most_slices(window, measured or Measured(0, 0), self._bounds)

    def _count_at_once(self, windows: Sequence[Window], reach: Reach, deadline: float) -> list[int]:
        """Count several windows with one question; where that is too much, with two, and less widely."""
        body = count_body(self._selection, windows, reach)
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

    def _fetch(self, slice_: Slice, reach: Reach, deadline: float) -> Batch:
        """Ask for a slice's rows; raises IncompleteAnswerError unless they are all there."""
        key = self._key(slice_.span, deadline) if slice_.parts > 1 else ""
        answer = self._ask(query_body(self._selection, slice_, reach=reach, row_key=key), deadline)
        return Batch(
            rows=answer.rows,
            columns=answer.columns,
            answer_bytes=answer.answer_bytes,
            served_at=answer.served_at,
            statistics=answer.statistics,
            request_id=answer.request_id,
        )

    def _check_parts(self, tick: Window, rows: int, reach: Reach, deadline: float) -> None:
        """Compare the parts of one tick with the tick's own count: parts by hash must lose none."""
        (count,) = self._numbers(query_body(self._selection, Slice(tick), "count", reach), 1, deadline)
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

    def _key(self, tick: Window, deadline: float) -> str:
        """Return what tells the rows of one tick apart, from the table's own columns."""
        if self._selection.table is None:
            raise ExportError(
                "one tick's rows do not fit into an answer, and free kql cannot be parted by hash"
            )
        return key_of(self.columns(tick, deadline))

    def _requests(self) -> int:
        """Return how many questions were asked since this was last called, also those asked in vain."""
        with self._lock:
            asked, self._asked = self._asked, 0
        return asked

    def _ask(self, body: Mapping[str, str], deadline: float) -> Answer:
        with self._lock:
            self._asked += 1
        try:
            answer = ask(self._send, self._route, body, wait=WAIT_SECONDS, deadline=deadline)
        except ServiceError as error:
            if error.status not in {401, 403}:  # 401 also after a new token
                raise
            advice = "the app needs the role Log Analytics Reader on what it asks, or on its workspace"
            raise DeniedError.of(error, advice) from error
        if answer.partial is not None:
            raise answer.partial
        return answer


def portions(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in portions; the first one counts for all. Also a batch without rows is one."""
    yield replace(batch, rows=batch.rows[:PORTION])
    for first in range(PORTION, len(batch.rows), PORTION):
        rows = batch.rows[first : first + PORTION]
        yield replace(batch, rows=rows, slices=0, requests=0, answer_bytes=0, statistics=None)


def _number_row(row: msgspec.Raw, width: int, query: str) -> list[int]:
    try:
        numbers = msgspec.json.decode(row, type=list[int | None])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"Log Analytics did not answer with numbers to: {query}") from error
    if len(numbers) != width:
        raise ProtocolError(f"Log Analytics answered {len(numbers)} numbers, not {width}, to: {query}")
    return [number or 0 for number in numbers]
