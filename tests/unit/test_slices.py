"""Slices: they cut a window without loss, are cut again where they are too large, and come back in order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import slices
from shared.errors import AnswerTooLargeError, ExportError
from shared.model import Batch, Measured, Window
from shared.slices import MAX_PARTS, MAX_SLICES, Bounds, Slice, expected_answers, halved, read_in_order
from tests.unit.fakes import AtOnce
from tests.unit.strategies import spans

BOUNDS = Bounds(rows=10, answer_bytes=1_000_000)
NOTHING = Measured(0, 0)


def too_large() -> AnswerTooLargeError:
    """Build the refusal that asks for less."""
    return AnswerTooLargeError(
        "X", status=200, code="RowLimit", message="m", request_id=None, retryable=False
    )


class Service:
    """Holds rows at ticks, refuses a slice with more than ``limit``, and counts what is not yet taken.

    A row's hash is its number among those of its tick.
    """

    def __init__(self, rows: list[int], limit: int) -> None:
        self.rows = rows
        self.limit = limit
        self.asked: list[Slice] = []
        self.refused = self.held = self.most_held = 0

    def fetch(self, slice_: Slice) -> Batch:
        """Answer or refuse."""
        self.asked.append(slice_)
        seen: dict[int, int] = {}
        found = []
        for tick in self.rows:
            hash_ = seen[tick] = seen.get(tick, -1) + 1
            if slice_.span.start <= tick < slice_.span.end and hash_ % slice_.parts == slice_.part:
                found.append(msgspec.Raw(b"%d" % tick))
        if len(found) > self.limit:
            self.refused += 1
            raise too_large()
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        return Batch(rows=found)

    def read(
        self, window: Window, measured: Measured = NOTHING, parallel: int = 2, bounds: Bounds = BOUNDS
    ) -> list[int]:
        """Read a window as a source does."""
        ticks = []
        for _, batch in read_in_order(window, self.fetch, measured, bounds, AtOnce(), parallel):
            ticks += sorted(int(bytes(row)) for row in batch.rows)
            self.held -= 1
        return ticks


rows = st.lists(st.integers(0, 200), max_size=60).map(sorted)
measures = st.builds(Measured, st.sampled_from([0.0, 0.01, 0.3, 1.0, 50.0, 1e12]), st.just(0.0))


@given(rows, st.integers(1, 30), measures, st.integers(1, 5))
def test_rows_come_in_order_and_once(rows: list[int], limit: int, measured: Measured, parallel: int) -> None:
    """However wrong the sizes were, every row of the window comes once and in the order of its slices."""
    service = Service(rows, limit)
    assert service.read(Window(5, 201), measured, parallel) == [tick for tick in rows if tick >= 5]


@given(rows, st.integers(1, 30), measures, st.integers(1, 5))
def test_only_so_many_answers_are_held(
    rows: list[int], limit: int, measured: Measured, parallel: int
) -> None:
    """``parallel`` bounds the answers in memory, with the one that is being written."""
    service = Service(rows, limit)
    service.read(Window(0, 201), measured, parallel)
    assert service.most_held <= parallel


def even(window: Window, count: int) -> list[int]:
    """Return so many rows at even distances."""
    return [window.start + (window.end - window.start) * number // count for number in range(count)]


SPAN = Window(0, 1_000_000)


def expecting(rows: float) -> Measured:
    """Return what a window of ``SPAN`` was measured at that held so many rows."""
    return Measured(rows / SPAN.end, 0)


@pytest.mark.parametrize("parallel", [1, 2, 5])
@pytest.mark.parametrize(
    ("before", "count", "requests"),
    [
        (0, 0, 1),  # nothing is expected, and one question finds out
        (10, 10, 1),  # it fits just so
        (95, 95, 10),
        (100, 100, 10),
        (1000, 100, 11),  # a tenth of what was expected: the first are too small, the others not
        (100, 1000, 110),  # ten times as much
        (10_000, 100, 20),  # as much as a window may hold
    ],
)
def test_few_questions_are_asked(before: float, count: int, requests: int, parallel: int) -> None:
    """Slices are as long as answers may be: by what was measured before, and then by what came."""
    service = Service(even(SPAN, count), limit=20)
    assert len(service.read(SPAN, expecting(before), parallel)) == count
    assert len(service.asked) <= requests + 2 * (parallel - 1)


def test_slices_follow_what_the_answers_hold() -> None:
    """Where rows lie thinly slices are long, and where they lie densely short."""
    thin, dense = Window(0, 500_000), Window(500_000, 1_000_000)
    service = Service(even(thin, 100) + even(dense, 1000), limit=20)
    service.read(SPAN, expecting(1100))
    lengths = [each.ticks for each in service.asked]
    assert lengths[5] > 5 * lengths[-5]
    assert len(service.asked) <= 130


def test_a_slice_that_was_too_large_is_not_asked_again_as_it_was() -> None:
    """Also where the answers before it say that it should have fitted."""
    crowd = [900_000 + number for number in range(50)]
    service = Service(even(Window(0, 900_000), 20) + crowd, limit=20)
    service.read(SPAN, expecting(20), parallel=1)
    assert len(set(service.asked)) == len(service.asked)


def test_a_window_of_few_ticks_is_cut_to_ticks() -> None:
    """There is no span below one tick, however dense the rows."""
    service = Service([0, 1, 2], limit=1)
    assert service.read(Window(0, 3), Measured(1e9, 1e9)) == [0, 1, 2]
    assert {each.ticks for each in service.asked} == {1}


def test_bytes_count_like_rows() -> None:
    """The bound that is reached first decides."""
    assert expected_answers(Window(0, 100), Measured(0.1, 50_000), BOUNDS) == 5
    assert expected_answers(Window(0, 100), Measured(1.0, 100), BOUNDS) == 10


def test_a_crowded_tick_is_halved() -> None:
    """Rows of one tick that do not fit into an answer come in parts by hash, between those around them."""
    rows = [*range(0, 500, 100), *[550] * 300, *range(600, 1000, 100)]
    service = Service(rows, limit=20)
    assert service.read(Window(0, 1000), Measured(0.3, 0)) == rows
    assert max(each.parts for each in service.asked) == 16


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


@given(spans().filter(lambda span: span.end - span.start > 1))
def test_halves_of_a_span_make_the_span(span: Window) -> None:
    """No tick is lost between halves or asked twice."""
    left, right = halved(Slice(span))
    assert (left.span.start, left.span.end, right.span.end) == (span.start, right.span.start, span.end)


def test_a_tick_that_no_hash_parts_is_an_error() -> None:
    """Equal rows cannot be told apart; that is said rather than tried for ever."""
    with pytest.raises(ExportError, match="no hash"):
        halved(Slice(Window(7, 8), 0, MAX_PARTS))


def test_any_other_error_ends_the_window() -> None:
    """What less would not mend goes through, and nothing more is asked."""
    asked = []

    def fetch(slice_: Slice) -> Batch:
        asked.append(slice_)
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        list(read_in_order(Window(0, 9), fetch, Measured(90, 0), BOUNDS, AtOnce(), 2))
    assert len(asked) == 2


def test_a_window_that_was_measured_too_large_is_refused_before_it_is_asked() -> None:
    """A thousand answers are planned, and one more is not."""
    service = Service([], limit=20)
    assert service.read(SPAN, expecting(10 * MAX_SLICES)) == []
    service.asked.clear()
    with pytest.raises(ExportError, match="more than 1000 slices; give the export a shorter window"):
        service.read(SPAN, expecting(10 * MAX_SLICES + 1))
    assert service.asked == []


def test_a_window_of_more_slices_than_expected_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that are cut by what the answers before held count like those that were halved."""
    monkeypatch.setattr(slices, "MAX_SLICES", 20)
    most = Service(even(SPAN, 200), limit=20)
    assert len(most.read(SPAN, expecting(200))) == 200
    assert len(most.asked) == 20
    more = Service(even(SPAN, 250), limit=30)
    with pytest.raises(ExportError, match="shorter window"):
        more.read(SPAN, expecting(100))
    assert (more.refused, len(more.asked)) == (0, 20)


def test_what_was_measured_is_lowered_to_the_most_that_a_window_may_hold() -> None:
    """And what is less stays as it is."""
    assert slices.in_most_slices(SPAN, expecting(500), BOUNDS) == expecting(500)
    assert slices.in_most_slices(SPAN, NOTHING, BOUNDS) == NOTHING
    lowered = slices.in_most_slices(SPAN, Measured(1e9, 1e9), BOUNDS)
    assert expected_answers(SPAN, lowered, BOUNDS) == pytest.approx(MAX_SLICES)


def test_cutting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that refuses everything is not asked more often than a window may have slices."""
    monkeypatch.setattr(slices, "MAX_SLICES", 20)
    with pytest.raises(ExportError):
        Service([0, *range(1 << 20, (1 << 20) + 9)], limit=-1).read(Window(0, 1 << 40))
    assert MAX_SLICES == 1000
