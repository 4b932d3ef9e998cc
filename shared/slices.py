"""Cuts a window into slices that each fit into one answer, and reads them in order, a few at a time.

How large a slice's answer will be is only an estimate. Where it was wrong the service says so, and the slice
is cut again; so nothing here can lose a row, it can only ask more often than needed.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice, pairwise
from math import ceil

from shared.errors import AnswerTooLargeError, ExportError
from shared.model import Batch, Measured, Window

MAX_SLICES = 1_000
MAX_PARTS = 4_096


@dataclass(frozen=True, slots=True)
class Slice:
    """What one request asks for: a span, or, of a single tick, one of ``parts`` parts by hash."""

    span: Window
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may hold at most, by our own measure: below the service's limits and our memory."""

    rows: int
    answer_bytes: int


def planned_slices(window: Window, measured: Measured, bounds: Bounds) -> list[Slice]:
    """Cut a window into equal spans, as few as the bounds allow if the rows lie evenly."""
    ticks = window.end - window.start
    wanted = max(measured.rows * ticks / bounds.rows, measured.answer_bytes * ticks / bounds.answer_bytes)
    count = min(max(1, ceil(wanted)), ticks, MAX_SLICES // 4)  # an estimate must not refuse a window
    edges = [window.start + ticks * i // count for i in range(count + 1)]
    return [Slice(Window(start, end)) for start, end in pairwise(edges)]


def halved(slice_: Slice) -> list[Slice]:
    """Return the two halves of a slice: of its span, or of its share of a single tick.

    A row's hash modulo ``2n`` is ``i`` or ``i + n`` when modulo ``n`` it is ``i``, so parts halve exactly.
    """
    start, end = slice_.span.start, slice_.span.end
    if end - start > 1:
        middle = (start + end) // 2
        return [Slice(Window(start, middle)), Slice(Window(middle, end))]
    parts = slice_.parts * 2
    if parts > MAX_PARTS:
        raise ExportError(
            f"one tick's rows do not fit into {MAX_PARTS} answers: so many of them are the same that no hash "
            "parts them, or a single row is larger than an answer"
        )
    return [Slice(slice_.span, slice_.part, parts), Slice(slice_.span, slice_.part + slice_.parts, parts)]


def read_in_order(
    slices: Sequence[Slice], fetch: Callable[[Slice], Batch], pool: Executor, parallel: int
) -> Iterator[tuple[Slice, Batch]]:
    """Fetch slices on a pool, ``parallel`` ahead at most, and yield their batches in order.

    A slice whose answer is too large is replaced by its halves. Raises what ``fetch`` raises.
    """
    waiting: deque[tuple[Slice, Future[Batch] | None]] = deque((each, None) for each in slices)
    done = 0
    try:
        while waiting:
            free = parallel - sum(future is not None for _, future in waiting)
            for place, (each, future) in enumerate(list(islice(waiting, parallel))):
                if future is None and free > 0:  # what is fetched and waits for its turn takes a place too
                    waiting[place] = (each, pool.submit(fetch, each))
                    free -= 1
            first, future = waiting.popleft()
            try:
                batch = future.result() if future is not None else fetch(first)
            except AnswerTooLargeError:
                waiting.extendleft((half, None) for half in reversed(halved(first)))
                _check_count(done + len(waiting))
                continue
            done += 1
            yield first, batch
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


def _check_count(count: int) -> None:
    if count > MAX_SLICES:
        raise ExportError(
            f"the window would take more than {MAX_SLICES} slices; give the export a shorter window"
        )
