"""Files with columns, stored: columns that change midway, records that change later, rows that are purged."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyarrow import parquet

from local.run import _store
from shared import parquet_file, staging
from shared.coverage import Stored, stored_near
from shared.errors import ExportError
from shared.formats import FORMATS
from shared.formats.delimited import Csv
from shared.model import Batch, Column, Export, Reading, Window
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.rewriter import Rewrite
from shared.tables import record_columns
from tests.parts.fakes import LENGTHS, FakeSource, between, make_export, order, row_at, rows_of
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
BOTH = pytest.mark.parametrize("format_", ["csv", "csv.gz", "parquet"])
A, B = Column("a", "long"), Column("b", "string")


def batch(columns: Sequence[Column], *rows: str) -> Batch:
    """Return one answer of a table."""
    return Batch([msgspec.Raw(row.encode()) for row in rows], tuple(columns), answer_bytes=7)


class Tables(FakeSource):
    """Answers with batches of its own."""

    def __init__(self, *batches: Batch) -> None:
        super().__init__()
        self.batches = list(batches)

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the batches."""
        self.readings.append(reading)
        yield from self.batches

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows there are."""
        _ = windows, deadline
        return [sum(len(each.rows) for each in self.batches)]


def stored(world: World) -> Stored:
    """Return the one window that is stored."""
    (found,) = stored_near(world.data, "events", WINDOW, LENGTHS)
    return found


def rows(world: World) -> list[dict[str, Any]]:
    """Return the rows of the stored window; the values of CSV are texts, and its nulls empty ones."""
    found = stored(world)
    document = world.data.read(found.blob.name)
    assert document is not None
    if found.extension == "parquet":
        table: list[dict[str, Any]] = parquet.read_table(io.BytesIO(document.data)).to_pylist()
        return table
    packed = found.extension.endswith(".gz")
    text = (gzip.decompress(document.data) if packed else document.data).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def export_of(world: World) -> None:
    """Export the window."""
    world.exporter().run(order(world.exports[0], WINDOW))


def rewrite(world: World, export: Export | None = None, **options: Any) -> Rewrite:
    """Store the window again, a minute later."""
    world.clock.advance("1m")
    message = order(world.exports[0], WINDOW, "backfill")
    deadline = world.clock.monotonic() + DEADLINE_SECONDS
    return world.rewriter().rewrite(
        export or world.exports[0], stored(world), message, deadline, 0, **options
    )


@BOTH
def test_a_column_that_is_added_midway_is_in_the_whole_file(
    format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window begins again, nothing of the first beginning is in the blob, and the receipt is true."""
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 1)
    monkeypatch.setattr(staging, "BLOCK_BYTES", 64)
    source = Tables(batch([A], *(f"[{n}]" for n in range(300))), batch([A, B], '[300,"x"]'))
    world = World([make_export(format_=format_)], source=source)
    export_of(world)
    assert len(source.readings) == 2
    found = rows(world)
    assert [int(row["a"]) for row in found] == list(range(301))
    assert [row["b"] or None for row in found] == [None] * 300 + ["x"]
    receipt = from_metadata(stored(world).blob.metadata)
    assert (receipt.rows, receipt.slices, receipt.requests, receipt.answer_bytes) == (301, 2, 4, 14)
    assert world.auditor()._damage(stored(world), deep=True) is None


@BOTH
def test_a_column_that_is_added_midway_costs_nothing_where_all_is_in_memory(format_: str) -> None:
    """Parquet holds a row group's rows: the file that an export without a change would get comes at once."""
    source = Tables(batch([A], "[1]"), batch([A, B], '[2,"x"]'))
    world = World([make_export(format_=format_)], source=source)
    export_of(world)
    assert len(source.readings) == (1 if format_ == "parquet" else 2)
    assert [row["b"] or None for row in rows(world)] == [None, "x"]


def test_columns_that_never_settle_fail_the_window() -> None:
    """Each reading shows others: that ends, with an error that a retry may mend, and nothing is stored."""

    class Unsettled(Tables):
        def read(self, reading: Reading) -> Iterator[Batch]:
            self.readings.append(reading)
            yield batch([A], "[1]")
            yield batch([A, Column(f"c{len(self.readings)}", "long")], "[1,2]")

    source = Unsettled()
    world = World([make_export(format_="csv")], source=source)
    with pytest.raises(ExportError, match="changed again and again") as failed:
        export_of(world)
    assert failed.value.retryable
    assert len(source.readings) == 10
    assert world.stored() == []


def entra(format_: str) -> Export:
    """Return an export of a source whose records change and vanish, with columns for them."""
    columns = record_columns("at:datetime", "result")
    return replace(make_export(kind="entra", format_=format_), columns=columns)


@BOTH
def test_records_are_united_with_the_stored_ones(format_: str) -> None:
    """What the source forgot stays, what is new is added, and the same again changes nothing."""
    world = World([entra(format_)])
    export_of(world)
    old = rows_of(WINDOW)
    assert [row["record"] for row in rows(world)] == old
    before = stored(world)
    assert rewrite(world) == Rewrite("unchanged", 6)
    assert stored(world) == before
    late = row_at("10:05:00.0000001", result='late \u2028 \\ "x"')
    world.fake.gone, world.fake.late = set(old[:2]), [late]
    assert rewrite(world) == Rewrite("added", 5)
    found = rows(world)
    assert [row["record"] for row in found] == [*old, late.replace("\u2028", "\\u2028")]
    assert found[-1]["result"] == 'late \u2028 \\ "x"'
    assert rewrite(world) == Rewrite("unchanged", 5)
    assert world.auditor()._damage(stored(world), deep=True) is None


@pytest.mark.parametrize("after", ["jsonl", "jsonl.zst", "csv", "parquet"])
@pytest.mark.parametrize("before", ["jsonl.gz", "csv.gz", "parquet"])
def test_records_go_from_format_to_format(before: str, after: str) -> None:
    """With those that the source has forgotten since."""
    world = World([entra(before)])
    export_of(world)
    world.fake.gone = set(rows_of(WINDOW)[:3])
    assert rewrite(world, entra(after), force=True) == Rewrite("added", 3)
    found = stored(world)
    assert found.extension == after
    document = world.data.read(found.blob.name)
    assert document is not None
    assert [bytes(each).decode() for each in FORMATS[after].records(document.data)] == rows_of(WINDOW)


def test_the_guard_comes_and_goes_under_one_name() -> None:
    """A guarded file and a plain one have the same name; storing again replaces one by the other."""
    world = World([entra("csv")])
    world.fake.late = [row_at("10:05:00", result="=1+1")]
    export_of(world)
    assert rewrite(world, entra("csv-guarded"), force=True) == Rewrite("added", 7)
    assert [row["result"] for row in rows(world)].count("'=1+1") == 1
    assert rewrite(world, entra("csv"), force=True) == Rewrite("added", 7)
    assert [row["result"] for row in rows(world)].count("=1+1") == 1
    assert Csv(guarded=True).extension == Csv().extension


@BOTH
def test_of_a_table_no_row_is_doubled_and_none_lost_without_being_said(format_: str) -> None:
    """Rows cannot be told apart there: fewer leave the file as it is, as many or more take its place."""
    source = Tables(batch([A, B], '[1,"x"]', '[1,"x"]', '[2,"y"]'))
    world = World([make_export(format_=format_)], source=source)
    export_of(world)
    before = stored(world)
    assert rewrite(world, force=False) == Rewrite("unchanged", 3)
    source.batches = [batch([A, B], '[1,"x"]', '[2,"y"]')]
    assert rewrite(world) == Rewrite("source_shrank", 2)
    assert stored(world) == before
    source.batches = [batch([A, B], '[1,"x"]', '[1,"x"]', '[2,"y"]', '[3,"late"]')]
    assert rewrite(world) == Rewrite("added", 4)
    assert [int(row["a"]) for row in rows(world)] == [1, 1, 2, 3]


def test_a_recheck_counts_the_source_once_also_when_the_window_began_again() -> None:
    """What a first, thrown away reading showed is not counted with the second one's."""
    source = Tables(batch([A], "[1]"))
    world = World([make_export(format_="csv")], source=source)
    export_of(world)
    source.batches = [batch([A], "[1]"), batch([A, B], '[2,"x"]')]
    assert rewrite(world) == Rewrite("added", 2)
    assert [(row["a"], row["b"]) for row in rows(world)] == [("1", ""), ("2", "x")]


def test_a_run_into_a_folder_begins_again_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run once from a terminal, an export makes the same file, and no half of one stays."""
    asked: list[int] = []

    def batches() -> Iterator[Batch]:
        asked.append(1)
        yield batch([A], "[1]")
        yield batch([A, B], '[2,"x"]')

    summary = _store(batches, make_export(format_="csv"), WINDOW, tmp_path / "out")
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_bytes() == b'"a","b"\r\n1,\r\n2,"x"\r\n'
    assert (summary.rows, summary.requests, len(asked)) == (2, 2, 2)
    assert str(file) in capsys.readouterr().err
