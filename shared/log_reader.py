"""Reads, sizes and counts the rows that a selection has in a window, from one place of Log Analytics.

An answer is taken for the rows only when the service neither says nor shows that some are missing.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

import msgspec

from shared import rawjson
from shared.errors import (
    AnswerTooLargeError,
    DeadlineError,
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
    row_steps,
    run_body,
    schema_body,
)
from shared.windows import DAY, format_instant, parse_instant

_OF_TIME = re.compile("TimeGenerated|time ?(range|span)", re.IGNORECASE)
_NO_TIME = (
    "windows of Basic and Auxiliary tables are cut by a where on TimeGenerated; if the service does not take "
    "that, no window of this table can be had through /search: export it with the source search_jobs, or "
    "give a Basic table the plan Analytics"
)
"""The documentation has said that the time cannot be given in a where ("Query data in a Basic and Auxiliary
table"). Without one nothing cuts a window exactly: the ends of a request's timespan are not documented."""

WAIT_SECONDS = 300
"""How long one query of an export may run; the service allows 600, a function on the smallest plan also."""

COUNTED_AT_ONCE = 24
"""Windows that one counting query covers, each by a question of its own within."""

RUN_AT_ONCE = 1_000
"""Windows of a run that one counting query covers: its answer has as many rows at most."""

RUN_SPAN = 31 * DAY
"""How much time such a query covers at most (ticks), where that is more than ``COUNTED_AT_ONCE`` windows: it
scans all of it before it answers."""

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
        self._counts_many = selection.table is not None and not route.scans
        self._row_steps = row_steps(selection.pipeline) if self._counts_many else None
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

        Free KQL, and tables that may not be asked through functions, take one query for each. As many are
        asked at a time as slices of a window.
        """
        parallel = 1 if self._route.scans else self._tools.parallel
        counts: dict[Window, int] = {}
        for parts in groups(self._counted_together(windows), parallel):
            asked = [self._tools.pool.submit(self._count_part, part, deadline) for part in parts]
            try:
                for part, future in zip(parts, asked, strict=True):
                    counts.update(zip(part, future.result(), strict=True))
            except DeadlineError as error:
                counted = sum(1 for _ in takewhile(counts.__contains__, windows))
                raise DeadlineError(str(error), counted) from error
            finally:
                for future in asked:
                    future.cancel()
        return [counts[each] for each in windows]

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

    def _counted_together(self, windows: Sequence[Window]) -> list[Sequence[Window]]:
        """Return the windows, each once, in the parts that one query counts."""
        distinct = sorted(set(windows))
        if not self._counts_many:
            return list(groups(distinct, 1))
        found = _runs(distinct) if self._row_steps is not None else []
        parts = [run for run in found if len(run) > 1]
        rest = sorted(set(distinct).difference(*parts))
        return [*parts, *groups(rest, COUNTED_AT_ONCE)]

    def _count_part(self, windows: Sequence[Window], deadline: float) -> list[int]:
        if self._counts_many:
            return self._count_at_once(windows, WIDE, deadline)
        return [self._numbers(query_body(self._selection, Slice(windows[0]), "count", WIDE), 1, deadline)[0]]

    def _count_at_once(self, windows: Sequence[Window], reach: Reach, deadline: float) -> list[int]:
        """Count several windows with one question; where that is too much, with two, and less widely."""
        steps = self._row_steps if _is_run(windows) else None
        if steps is None:
            body = count_body(self._selection, windows, reach)
        else:
            body = run_body(self._selection, windows, steps, reach)
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
        if steps is not None:
            return _run_counts(answer.rows, windows)
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
            if error.status in {401, 403}:  # 401 also after a new token
                advice = "the app needs the role Log Analytics Data Reader on what it asks, or its workspace"
                raise DeniedError.of(error, advice) from error
            if error.status == 400 and self._route.scans and _OF_TIME.search(error.message):
                raise ServiceError.of(error, _NO_TIME) from error
            raise
        if answer.partial is not None:
            raise answer.partial
        return answer


def portions(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in portions; the first one counts for all. Also a batch without rows is one."""
    yield replace(batch, rows=batch.rows[:PORTION])
    for first in range(PORTION, len(batch.rows), PORTION):
        rows = batch.rows[first : first + PORTION]
        yield replace(batch, rows=rows, slices=0, requests=0, answer_bytes=0, statistics=None)


def _runs(windows: Sequence[Window]) -> list[list[Window]]:
    """Return windows, which are in order, in runs that one query counts."""
    found: list[list[Window]] = []
    for each in windows:
        at_most = max(COUNTED_AT_ONCE, min(RUN_AT_ONCE, RUN_SPAN // (each.end - each.start)))
        if found and len(found[-1]) < at_most and _is_run([found[-1][-1], each]):
            found[-1].append(each)
        else:
            found.append([each])
    return found


def _is_run(windows: Sequence[Window]) -> bool:
    """Whether several windows have one length and lie one after the other."""
    neighbours = list(pairwise(windows))
    return bool(neighbours) and all(
        one.end == other.start and one.end - one.start == other.end - other.start
        for one, other in neighbours
    )


def _run_counts(rows: Sequence[msgspec.Raw], run: Sequence[Window]) -> list[int]:
    """Return the count of each window of a run from the rows of an answer, which has those with rows."""
    counts = dict.fromkeys((each.start for each in run), 0)
    try:
        found = [msgspec.json.decode(row, type=tuple[str, int]) for row in rows]
        starts = [parse_instant(start) for start, _ in found]
    except (*rawjson.UNREADABLE, ValueError) as error:
        raise ProtocolError("Log Analytics did not answer with the counts of windows") from error
    if len(set(starts)) < len(starts) or not counts.keys() >= set(starts):
        raise ProtocolError("Log Analytics' counts are not those of the windows that were asked for")
    return list((counts | {start: count for start, (_, count) in zip(starts, found, strict=True)}).values())


def _number_row(row: msgspec.Raw, width: int, query: str) -> list[int]:
    try:
        numbers = msgspec.json.decode(row, type=list[int | None])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"Log Analytics did not answer with numbers to: {query}") from error
    if len(numbers) != width:
        raise ProtocolError(f"Log Analytics answered {len(numbers)} numbers, not {width}, to: {query}")
    return [number or 0 for number in numbers]
