"""Parquet files with typed columns, compressed with Zstandard. Sole importer of pyarrow. Pure.

| Kusto | Parquet |
|---|---|
| ``datetime`` | timestamp[ns, UTC], which holds all seven digits of the years 1677 to 2262 |
| ``int``, ``long``, ``real``, ``bool`` | int32, int64, double, bool |
| ``decimal`` | decimal128(38, 18): 20 digits before the point, 18 after it |
| ``dynamic``, ``guid``, ``timespan``, ``string``, others | string, as the service wrote it |

A value that its column's type cannot hold exactly makes the column a ``string`` in that file, where every
value is as the service wrote it: nothing is rounded, and no odd date keeps a window from being stored.

Rows become columns a few hundred at a time, and columns become a row group when there is enough of them, so
that memory is bounded. Times and decimals stay text until then, and are only then found to fit their types.
"""

import contextlib
import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import compute, parquet

from shared import rawjson, tables
from shared.file_format import Counting
from shared.model import Batch, Column
from shared.tables import RECORD, TIME, Cells, ColumnsChangedError, FileColumns

# The system's allocator gives back what pyarrow's own would keep: a tenth of all that a worker takes.
pa.set_memory_pool(pa.system_memory_pool())

GROUP_ROWS = 131_072
GROUP_BYTES = 16 << 20  # of answer
_READ_ROWS = 1024

# What columns are held as, and stored as, where that is not text.
_HELD = {"bool": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "real": pa.float64()}
_STORED = {**_HELD, "datetime": pa.timestamp("ns", "UTC"), "decimal": pa.decimal128(38, 18)}
_DECIMAL = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$"

_PYTHON: Mapping[str, Any] = {"bool": bool, "int": int, "long": int, "real": float}
_ALL = {name: msgspec.json.Decoder(list[type_ | None]) for name, type_ in _PYTHON.items()}  # type: ignore[valid-type]  # made here
_ONE = {name: msgspec.json.Decoder(type_) for name, type_ in _PYTHON.items()}
# What the service also writes for a value of a type.
_WORDS: Mapping[str, Mapping[str, float | bool]] = {
    "bool": {"0": False, "1": True},
    "real": {word: float(word) for word in ("NaN", "Infinity", "-Infinity")},
}


_MINUS_ZERO = msgspec.Raw(b"-0.0")


class ParquetFile(Counting):
    """Gathers columns until they fill a row group, and keeps count. Implements ``model.Writer``."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self._columns = FileColumns(columns)
        self._held: dict[str, list[pa.Array]] = {}
        self._held_rows = 0
        self._held_bytes = 0
        self._sink = _Sink()
        self._file: parquet.ParquetWriter | None = None

    def write(self, batch: Batch) -> bytes:
        """Take a batch. Raises ColumnsChangedError where it does not fit what was written before."""
        columns, rows = tables.as_table(batch, self._columns.all)
        self._columns.take(columns, retype=not self._held_rows)
        self._times.see([time[:-1].encode() for time in batch.times] if batch.columns is None else [])
        self._rows += len(rows)
        first = 0
        while first < len(rows):  # row groups end at the same rows however these are divided into batches
            last = self._fill(rows, first)
            self._hold(rows[first:last], columns)
            if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
                self._write_group()
            first = last
        return self._sink.taken()

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        if self._held_rows or self._file is None:
            self._write_group()
        if self._file is not None:
            self._file.close()
        return self._sink.taken()

    def _fill(self, rows: Sequence[msgspec.Raw], first: int) -> int:
        """Return up to where rows, from the first on, go into the row group; count their bytes to it."""
        last = min(len(rows), first + GROUP_ROWS - self._held_rows)
        for place in range(first, last):
            self._held_bytes += len(rows[place])
            if self._held_bytes >= GROUP_BYTES:
                return place + 1
        return last

    def _hold(self, rows: Sequence[msgspec.Raw], columns: Sequence[Column]) -> None:
        """Turn rows into columns, and hold these."""
        types = {column.name: column.type for column in self._columns.all}
        for cells in tables.cells_by_column(rows, len(columns)):
            arrays = {}
            for column, each in zip(columns, cells, strict=True):
                arrays[column.name] = _array(each, types[column.name])
                if column == TIME:
                    self._times.see(tables.range_of(each))
            misfits = [_as_text(column) for column in columns if arrays[column.name] is None]
            if misfits:  # what is held of these columns already does not say how it was written
                raise ColumnsChangedError(tables.united(self._columns.all, misfits))
            for name, type_ in types.items():
                pieces = self._held.setdefault(name, [_nulls(self._held_rows, type_)])
                pieces.append(arrays[name] if name in arrays else _nulls(len(cells[0]), type_))
            self._held_rows += len(cells[0])

    def _write_group(self) -> None:
        """Write what is held as one row group; of a file without rows, only its columns."""
        columns = self._columns.all or (TIME,)
        arrays, misfits = [], []
        for column in columns:
            # In one piece, so that the pieces leave no trace in the file; and these are no longer needed.
            whole = pa.concat_arrays(self._held.pop(column.name, [_nulls(self._held_rows, column.type)]))
            fitting = _cast(whole, column.type)
            if fitting is None:
                misfits.append(_as_text(column))
            arrays.append(whole if fitting is None else fitting)
        self._columns.take(misfits)
        self._columns.fixed = True
        table = pa.table(arrays, [rawjson.restore(column.name.encode()).decode() for column in columns])
        if self._file is None:
            self._file = parquet.ParquetWriter(
                self._sink, table.schema, compression="zstd", write_page_checksum=True
            )
        if self._held_rows:
            self._file.write_table(table)
        self._held, self._held_rows, self._held_bytes = {}, 0, 0


class _Sink(io.RawIOBase):
    """Where pyarrow writes to, and from where its bytes are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It can be written to, and nothing else."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """Return what was written since this was last asked."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def count_rows(data: bytes) -> int:
    """Return how many rows a whole file has, having read each of its groups. Raises ValueError."""
    with _opened(data) as file:
        return sum(file.read_row_group(group).num_rows for group in range(file.num_row_groups))


def read_records(data: bytes) -> Iterator[str]:
    """Yield the records of a whole file of records, as JSON. Raises ValueError."""
    with _opened(data) as file:
        if RECORD.name not in file.schema_arrow.names:
            raise ValueError("the file is not one of whole records")
        for batch in file.iter_batches(_READ_ROWS, columns=[RECORD.name]):
            yield from batch.column(0).to_pylist()


@contextlib.contextmanager
def _opened(data: bytes) -> Generator[parquet.ParquetFile]:
    try:
        with parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"the file is no whole Parquet file: {error}") from error


def _as_text(column: Column) -> Column:
    return Column(column.name, "string")


def _nulls(count: int, type_: str) -> pa.Array:
    return pa.nulls(count, _HELD.get(type_, pa.string()))


def _array(cells: Cells, type_: str) -> pa.Array | None:
    """Return cells as they are held; None where one of them has no place in its type."""
    try:
        return pa.array(_values(cells, type_), _HELD.get(type_, pa.string()))
    except (pa.ArrowInvalid, OverflowError, *rawjson.UNREADABLE):
        return None


def _values(cells: Cells, type_: str) -> Sequence[Any]:
    """Return the values of cells: numbers, truth values, or texts. Raises UNREADABLE."""
    if type_ not in _PYTHON:
        return tables.texts_of(cells)
    joined = b",".join(cells)
    if type_ == "real" and b"-0" in joined:  # an integer's zero has no sign to the decoder
        cells = [_MINUS_ZERO if bytes(cell) == b"-0" else cell for cell in cells]
        joined = b",".join(cells)
    try:
        return list(_ALL[type_].decode(b"[" + joined + b"]"))
    except rawjson.UNREADABLE:
        words = _WORDS.get(type_, {})
        return [
            None if text is None else words[text] if text in words else _ONE[type_].decode(text)
            for text in tables.texts_of(cells)
        ]


def _cast(array: pa.Array, type_: str) -> pa.Array | None:
    """Return what is held as it is stored; None where a value has no place in its type."""
    # A cast to a decimal of text with too many digits is not always refused; one to a time is.
    if type_ == "decimal" and compute.all(compute.match_substring_regex(array, _DECIMAL)).as_py() is False:
        return None
    try:
        return array.cast(_STORED.get(type_, pa.string()))
    except pa.ArrowInvalid:
        return None
