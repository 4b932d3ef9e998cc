"""Storing a window again takes little memory, however many rows it holds."""

import tracemalloc
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from shared.coverage import stored_near
from shared.model import Batch, Column, Kind, Reading, Window
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.rewriter import Rewrite
from tests.parts.fakes import LENGTHS, between, make_export, order
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
PAGE = 200
PAGES = 60
ROW_BYTES = 2_500
COLUMNS = (Column("n", "long"), Column("t", "string"))


class Many:
    """A source of many rows, made when they are read: a page of whole records, or rows of a table a batch."""

    def __init__(self, columns: tuple[Column, ...] | None) -> None:
        self.columns = columns
        self.numbers: Sequence[int] = range(PAGE * PAGES)

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the rows."""
        _ = reading
        template = b'{"n":%d,"t":"%b"}' if self.columns is None else b'[%d,"%b"]'
        for first in range(0, len(self.numbers), PAGE):
            some = self.numbers[first : first + PAGE]
            rows = [template % (number, b"y" * ROW_BYTES) for number in some]
            page = b'{"value":[%b]}' % b",".join(rows) if self.columns is None else None
            times = ["2026-11-21T10:00:00Z"] * len(rows)
            yield Batch([msgspec.Raw(row) for row in rows], self.columns, times, page=page)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows there are."""
        _ = deadline
        return [len(self.numbers) for _ in windows]

    def release(self, reading: Reading) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize(
    ("kind", "format_"),
    [
        ("entra", "jsonl.gz"),
        ("entra", "jsonl.zst"),
        ("entra", "csv.gz"),
        ("entra", "pages"),
        ("log_analytics", "jsonl.gz"),
    ],
)
def test_a_window_is_stored_again_without_all_its_rows_in_memory(kind: Kind, format_: str) -> None:
    """Neither those that are stored nor the source's: a third of their bytes is more than it takes."""
    source = Many(None if kind == "entra" else COLUMNS)
    world = World([make_export(kind=kind, format_=format_)], source=source)
    world.exporter().run(order(world.exports[0], WINDOW))
    source.numbers = range(1, PAGE * PAGES + 1)  # the first one was purged, one is new
    (found,) = stored_near(world.data, "events", WINDOW, LENGTHS)
    world.clock.advance("1m")
    message = order(world.exports[0], WINDOW, "backfill")
    deadline = world.clock.monotonic() + DEADLINE_SECONDS
    tracemalloc.start()
    try:
        rewrite = world.rewriter().rewrite(world.exports[0], found, message, deadline, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rewrite == Rewrite("added", PAGE * PAGES)
    (again,) = stored_near(world.data, "events", WINDOW, LENGTHS)
    assert from_metadata(again.blob.metadata).rows == PAGE * PAGES + 1
    assert peak < PAGE * PAGES * ROW_BYTES / 3
