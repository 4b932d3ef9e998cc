"""Cuts a window into slices that each fit into one answer, and reads them in order, a few at a time.

How large a slice's answer will be is only an estimate: at first what is known from elsewhere, then what the
window's own answers hold. Where it was wrong the service says so, and the slice is cut again; so nothing here
can lose a row, it can only ask more often than needed. A window of more than ``MAX_SLICES`` slices is an
error.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import ceil

from shared.errors import AnswerTooLargeError, ExportError
from shared.model import Batch, Measured, Window

MAX_SLICES = 1_000
MAX_PARTS = 4_096

_ROUNDING = 1e-6  # of an answer


@dataclass(frozen=True, slots=True)
class Slice:
    """What one request asks for: a span, or, of a single tick, one of ``parts`` parts by hash."""

    span: Window
    part: int = 0
    parts: int = 1

    @property
    def ticks(self) -> int:
        """The length of its span."""
        return self.span.end - self.span.start


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may hold at most, by our own measure: below the service's limits and our memory."""

    rows: int
    answer_bytes: int

    def answers(self, rows: float, answer_bytes: float) -> float:
        """Return how many answers these fill: so many rows, or bytes."""
        return max(rows / self.rows, answer_bytes / self.answer_bytes)


@dataclass(slots=True)
class _Waiting:
    """A slice that is being asked for, or, without a future, is to be asked for or cut."""

    slice: Slice
    future: Future[Batch] | None = None


def expected_answers(window: Window, measured: Measured, bounds: Bounds) -> float:
    """Return how many answers a window fills if it holds as much as was measured."""
    return bounds.answers(measured.rows, measured.answer_bytes) * (window.end - window.start)


def check_slices(window: Window, measured: Measured, bounds: Bounds) -> None:
    """Refuse a window that takes too many slices if it holds as much as was measured."""
    _check_count(_pieces(window, expected_answers(Window(0, 1), measured, bounds)))


def in_most_slices(window: Window, measured: Measured, bounds: Bounds) -> Measured:
    """Return what was measured, or so much less of it that a window may be cut into as many slices."""
    less = min(1.0, MAX_SLICES / max(expected_answers(window, measured, bounds), 1))
    return Measured(measured.rows * less, measured.answer_bytes * less)


def read_in_order(
    window: Window,
    fetch: Callable[[Slice], Batch],
    measured: Measured,
    bounds: Bounds,
    pool: Executor,
    parallel: int,
) -> Iterator[tuple[Slice, Batch]]:
    """Fetch a window's slices on a pool, at most ``parallel`` ahead, and yield their batches in order.

    A slice is cut from the rest of the window just before it is asked for: as long as its answer may be if
    rows lie as densely as in the answer before. One whose answer is too large is replaced by its halves. The
    batch that was yielded last takes one of the ``parallel`` places until the next is wanted. Raises what
    ``fetch`` raises, and ExportError for too many slices: before the first if that many were measured.
    """
    check_slices(window, measured, bounds)
    density = expected_answers(Window(0, 1), measured, bounds)  # answers that one tick fills
    waiting = deque([_Waiting(Slice(window))])
    done = 0
    try:
        while waiting:
            _check_count(done + len(waiting))
            _ask(waiting, density, fetch, pool, parallel)
            first = waiting.popleft()
            slice_ = first.slice
            try:
                batch = _answer(first)
            except AnswerTooLargeError:
                waiting.extendleft(_Waiting(half) for half in reversed(halved(slice_)))
                density = max(density, 2 / slice_.ticks)
                continue
            done += 1
            density = bounds.answers(len(batch.rows), batch.answer_bytes) * slice_.parts / slice_.ticks
            del first
            yield slice_, batch
            del batch  # like its future above; or it would stay in memory beside ``parallel`` others
    finally:
        for each in waiting:
            if each.future is not None:
                each.future.cancel()


def _ask(
    waiting: deque[_Waiting],
    density: float,
    fetch: Callable[[Slice], Batch],
    pool: Executor,
    parallel: int,
) -> None:
    """Ask for the first slices in line, so that ``parallel`` in all are asked for or wait for their turn."""
    free = parallel - sum(each.future is not None for each in waiting)
    place = 0
    while free > 0 and place < min(parallel, len(waiting)):
        each = waiting[place]
        place += 1
        if each.future is None:
            rest = _cut(each, density)
            if rest is not None:
                waiting.insert(place, rest)
            each.future = pool.submit(fetch, each.slice)
            free -= 1


def _answer(waiting: _Waiting) -> Batch:
    assert waiting.future is not None  # noqa: S101  who is first in line is always asked for first
    return waiting.future.result()


def _cut(waiting: _Waiting, density: float) -> _Waiting | None:
    """Shorten a slice to what fits into one answer at a density; return the rest, if there is one."""
    start, end = waiting.slice.span.start, waiting.slice.span.end
    pieces = _pieces(waiting.slice.span, density)
    if pieces <= 1 or waiting.slice.parts > 1:
        return None
    edge = start + (end - start) // pieces
    waiting.slice = Slice(Window(start, edge))
    return _Waiting(Slice(Window(edge, end)))


def _pieces(span: Window, density: float) -> int:
    """Return how many slices a span is cut into where each tick fills so much of an answer."""
    ticks = span.end - span.start
    return min(ceil(density * ticks - _ROUNDING), ticks)


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


def _check_count(count: int) -> None:
    if count > MAX_SLICES:
        raise ExportError(
            f"the window would take more than {MAX_SLICES} slices; give the export a shorter window"
        )
