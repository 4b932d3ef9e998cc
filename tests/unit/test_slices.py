"""Slices: they cut a window without loss, are halved where they are too large, and come back in order."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import slices
from shared.errors import AnswerTooLargeError, ExportError
from shared.model import Batch, Measured, Window
from shared.slices import MAX_PARTS, MAX_SLICES, Bounds, Slice, halved, planned_slices, read_in_order
from tests.unit.fakes import AtOnce
from tests.unit.strategies import spans, windows

BOUNDS = Bounds(rows=1000, answer_bytes=1_000_000)


def too_large() -> AnswerTooLargeError:
    """Build the refusal that asks for less."""
    return AnswerTooLargeError(
        "X", status=200, code="RowLimit", message="m", request_id=None, retryable=False
    )


def touching(cut: list[Slice]) -> bool:
    """Whether each slice begins where the one before it ends."""
    return all(left.span.end == right.span.start for left, right in itertools.pairwise(cut))


@given(windows(), st.floats(0, 500_000), st.floats(0, 500_000_000))
def test_slices_lie_side_by_side_and_fit(window: Window, rows: float, size: float) -> None:
    """Slices cover the window from end to end, and evenly spread rows would fit into each."""
    ticks = window.end - window.start
    measured = Measured(rows / ticks, size / ticks)
    cut = planned_slices(window, measured, BOUNDS)
    assert (cut[0].span.start, cut[-1].span.end, touching(cut)) == (window.start, window.end, True)
    longest = max(each.span.end - each.span.start for each in cut)
    assert len(cut) <= MAX_SLICES // 4
    if len(cut) < MAX_SLICES // 4:  # more would only be an estimate's word
        assert (longest - 1) * measured.rows <= BOUNDS.rows * 1.001
        assert (longest - 1) * measured.answer_bytes <= BOUNDS.answer_bytes * 1.001


def test_an_empty_window_is_one_slice() -> None:
    """Where nothing is expected, one question finds out."""
    assert planned_slices(Window(0, 10), Measured(0, 0), BOUNDS) == [Slice(Window(0, 10))]


def test_a_window_shorter_than_its_slices_is_cut_to_ticks() -> None:
    """There is no span below one tick, however dense the rows."""
    assert len(planned_slices(Window(0, 3), Measured(1e9, 1e9), BOUNDS)) == 3


def test_an_estimate_does_not_refuse_a_window() -> None:
    """However much is expected, no more than a quarter of the slices that are allowed is planned."""
    assert len(planned_slices(Window(0, 10_000), Measured(BOUNDS.rows, 0), BOUNDS)) == MAX_SLICES // 4


@given(spans().filter(lambda span: span.end - span.start > 1))
def test_halves_of_a_span_make_the_span(span: Window) -> None:
    """No tick is lost between halves or asked twice."""
    left, right = halved(Slice(span))
    assert (left.span.start, left.span.end, right.span.end) == (span.start, right.span.start, span.end)


@given(st.integers(0, 10**9), st.integers(0, 11))
def test_a_tick_is_parted_by_hash(key: int, depth: int) -> None:
    """Every row of a tick, whatever its hash, is in just one part at any depth."""
    parts = [Slice(Window(7, 8))]
    for _ in range(depth):
        parts = [half for part in parts[:1] for half in halved(part)] + [
            half for part in parts[1:] for half in halved(part)
        ]
        if len(parts) > 64:
            parts = [part for part in parts if key % part.parts == part.part]
    assert sum(key % part.parts == part.part for part in parts) == 1


def test_a_tick_that_no_hash_parts_is_an_error() -> None:
    """Equal rows cannot be told apart; that is said rather than tried for ever."""
    with pytest.raises(ExportError, match="no hash"):
        halved(Slice(Window(7, 8), 0, MAX_PARTS))


class Service:
    """Answers a slice with its ticks, refuses more than ``limit``, and counts what is not yet taken."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = self.most_held = 0

    def fetch(self, slice_: Slice) -> Batch:
        """Answer or refuse."""
        if slice_.span.end - slice_.span.start > self._limit:
            raise too_large()
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        return Batch(rows=[msgspec.Raw(b"%d" % tick) for tick in range(slice_.span.start, slice_.span.end)])

    def read(self, slices_: list[Slice], parallel: int) -> list[int]:
        """Read slices as a source does."""
        ticks = []
        for _, batch in read_in_order(slices_, self.fetch, AtOnce(), parallel):
            self.held -= 1
            ticks += [int(bytes(row)) for row in batch.rows]
        return ticks


edges = st.sets(st.integers(0, 60), min_size=2, max_size=6).map(sorted)


@given(edges, st.integers(1, 30), st.integers(1, 4))
def test_rows_come_in_order_and_once(edges: list[int], limit: int, parallel: int) -> None:
    """However wrong the sizes were, every row of the window comes once and in the order of its slices."""
    cut = [Slice(Window(start, end)) for start, end in itertools.pairwise(edges)]
    assert Service(limit).read(cut, parallel) == list(range(edges[0], edges[-1]))


@given(edges, st.integers(1, 30), st.integers(1, 4))
def test_only_so_many_answers_are_held(edges: list[int], limit: int, parallel: int) -> None:
    """``parallel`` bounds the answers in memory also while slices are being halved."""
    service = Service(limit)
    service.read([Slice(Window(start, end)) for start, end in itertools.pairwise(edges)], parallel)
    assert service.most_held <= parallel


def test_any_other_error_ends_the_window() -> None:
    """What halving cannot mend goes through, and nothing more is asked."""
    asked = []

    def fetch(slice_: Slice) -> Batch:
        asked.append(slice_)
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        list(read_in_order([Slice(Window(i, i + 1)) for i in range(9)], fetch, AtOnce(), 2))
    assert len(asked) == 2


def test_halving_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that refuses everything is not asked more often than a window may have slices."""
    monkeypatch.setattr(slices, "MAX_SLICES", 20)
    with pytest.raises(ExportError):
        Service(0).read([Slice(Window(0, 1 << 40))], 2)
    assert MAX_SLICES == 1000
