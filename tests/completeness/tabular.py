"""Files with columns, read back by readers that are not the app's own, in a form that can be compared."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import parquet

from local.compare import SECOND, instant, ticks
from tests.completeness.truth import Landed, Row, Timed, decode, problems
from tests.completeness.world import World, at


@dataclass(frozen=True)
class Tabular(Landed):
    """A blob with columns. ``kinds`` are their Kusto types; with none, the rows are its whole records."""

    kinds: Mapping[str, str]
    folder: Path

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Its rows as a reader has them; a time of Parquet is the service's text of it."""
        return self._of_parquet() if self.name.endswith(".parquet") else self._of_csv()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its rows, comparable."""
        if not self.kinds:
            return [decode(row["record"]) for row in self.cells]
        for row in self.cells:
            assert row.keys() == self.kinds.keys()
        return [comparable(row, self.kinds) for row in self.cells]

    def _of_parquet(self) -> list[dict[str, Any]]:
        table = parquet.read_table(io.BytesIO(self.content))
        times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        for name in times:
            place = table.column_names.index(name)
            table = table.set_column(place, name, table[name].cast(pa.int64()))
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            row |= {name: None if row[name] is None else _stamp_of(row[name]) for name in times}
        return rows

    def _of_csv(self) -> list[dict[str, Any]]:
        packed = self.name.endswith(".gz")
        text = gzip.decompress(self.content) if packed else self.content
        names = next(csv.reader(io.StringIO(text.decode(), newline="")))
        file = self.folder / "read.csv"
        file.write_bytes(text)
        found = duckdb.execute(
            "SELECT * FROM read_csv($file, columns = $columns, header = true, auto_detect = false,"
            " delim = ',', quote = '\"', escape = '\"', new_line = '\\r\\n', allow_quoted_nulls = false,"
            " max_line_size = 50000000, parallel = false)",
            {"file": str(file), "columns": {f"c{place}": "VARCHAR" for place in range(len(names))}},
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]


def comparable(row: Row, kinds: Mapping[str, str]) -> dict[str, Any]:
    """A row of the wire, or of a file, with the same value for the same, however it was written."""
    read: dict[str, Callable[[Any], Any]] = {name: _READ.get(kind, _text) for name, kind in kinds.items()}
    return {name: None if row[name] is None else read[name](row[name]) for name in kinds}


def _text(value: Any) -> str:
    assert isinstance(value, str)
    return value


def _real(value: Any) -> Any:
    number = float(value)
    return Decimal(repr(number)) if math.isfinite(number) else str(number)


def _time(value: str) -> str:
    return _stamp(ticks(value))


def _bool(value: Any) -> bool:
    return value in {True, "true", "1"}


def _number(value: Any) -> Decimal:
    return Decimal(value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "datetime": _time,
    "decimal": _number,
    "int": _number,
    "long": _number,
    "real": _real,
}


def _stamp(tick: int) -> str:
    fraction = f".{tick % SECOND:07}".rstrip("0").rstrip(".")
    return f"{instant(tick)[:-1]}{fraction}Z"


def _stamp_of(nanoseconds: int) -> str:
    assert nanoseconds % 100 == 0
    return _stamp(nanoseconds // 100 + ticks("1970-01-01T00:00:00Z"))


def blobs_of(world: World, export: str, kinds: Mapping[str, str]) -> list[Tabular]:
    """Return an export's blobs with columns, oldest window first."""
    return [
        Tabular(
            **{field.name: getattr(each, field.name) for field in fields(each)},
            kinds=kinds,
            folder=world.folder,
        )
        for each in world.landed(export)
    ]


def check(
    world: World, source: Sequence[Timed], export: str, kinds: Mapping[str, str], end: str = "12:00"
) -> None:
    """Assert that the blobs from 10:00 on hold the source's rows, each once; ``source`` is as on the wire."""
    rows = [(tick, comparable(row, kinds) if kinds else row) for tick, row in source]
    found = problems(blobs_of(world, export, kinds), rows, ticks(at("10:00")), ticks(at(end)))
    assert not found, "\n".join(found)
