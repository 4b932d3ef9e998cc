"""Rows as files with columns have them: one set of columns a file, whatever the answers brought. Pure.

An answer's rows are split into cells, a few hundred at a time, so that what is made of them stays in the
processor's cache; cells are decoded column by column, all of a kind at once.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from shared import rawjson
from shared.errors import ExportError, ProtocolError
from shared.model import Batch, Column

RECORD = Column("record", "dynamic")
"""In a file of records, the column that holds each of them whole, as JSON."""

TIME = Column("TimeGenerated", "datetime")
"""A row's own time. Also the only column of a file whose answers had none, as of a workspace without any
data: not every reader opens a file without columns."""

Cells = Sequence[msgspec.Raw]

_ROWS_AT_ONCE = 256
_texts = msgspec.json.Decoder(list[str | None]).decode


class ColumnsChangedError(ExportError):
    """Rows do not fit the columns of a file of which bytes are out already: the file has to begin again.

    ``columns`` are those that it needs, by what is known now.
    """

    retryable = True

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        super().__init__("the columns of the answers changed again and again while the window was read")


class FileColumns:
    """The columns of one file. They grow until its first bytes are out; from then on they are as they are."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.all = tuple(columns)
        self.fixed = False

    def take(self, columns: Sequence[Column], *, retype: bool = True) -> None:
        """Make room for rows of some columns.

        Raises ColumnsChangedError when it is too late for that: also, where ``retype`` is false, for a column
        that is there already to get another type.
        """
        together = united(self.all, columns)
        if together == self.all:
            return
        if self.fixed or not (retype or together[: len(self.all)] == self.all):
            raise ColumnsChangedError(together)
        self.all = together


def record_columns(*members: str) -> tuple[Column, ...]:
    """Return the columns of a file of records: some members of each, and at the end the whole of it.

    A member is written ``name``, or ``name:type`` where it is no text.
    """
    pairs = (member.partition(":") for member in members)
    return (*(Column(name, type_ or "string") for name, _, type_ in pairs), RECORD)


def numbered(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return columns of which no two have one name: a repeated one gets a number, as Kusto gives it."""
    names = {column.name for column in columns}
    used: dict[str, Column] = {}
    for column in columns:
        name, number = column.name, 0
        while name in used or (number and name in names):
            number += 1
            name = f"{column.name}{number}"
        used[name] = Column(name, column.type)
    return tuple(used.values())


def united(known: Sequence[Column], others: Sequence[Column]) -> tuple[Column, ...]:
    """Return some columns and after them those that others add; one that has two types is text."""
    together = {column.name: column for column in known}
    for column in others:
        if together.setdefault(column.name, column).type != column.type:
            together[column.name] = Column(column.name, "string")
    return tuple(together.values())


def as_table(batch: Batch, columns: Sequence[Column]) -> tuple[tuple[Column, ...], Sequence[msgspec.Raw]]:
    """Return a batch's columns, no two of one name, and its rows as JSON arrays of their cells.

    ``columns`` are those of the file, which say what a record's cells are: members of it, and its text.
    """
    if batch.columns is not None:
        return numbered(batch.columns), batch.rows
    if RECORD not in columns:
        columns = (*columns, RECORD)
    kinds = tuple(columns)
    return kinds, [_record_row(record, kinds) for record in batch.rows]


def cells_by_column(rows: Sequence[msgspec.Raw], count: int) -> Iterator[list[Cells]]:
    """Yield the cells of each of ``count`` columns, for a few hundred rows at a time.

    Raises ProtocolError for a row that is no array of so many cells.
    """
    if rows and not count:
        raise ProtocolError("the answer has rows and no columns")
    decode = _rows_decoder(count)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        joined = b"[" + b",".join(rows[first : first + _ROWS_AT_ONCE]) + b"]"
        try:
            yield list(zip(*decode(joined), strict=True))
        except rawjson.UNREADABLE:
            yield list(zip(*_row_by_row(joined, count), strict=True))


def texts_of(cells: Cells) -> list[str | None]:
    r"""Return what cells say as text: a string's text, and of anything else but null its JSON.

    A half of a surrogate pair, which UTF-8 cannot carry, is its JSON escape there (``\ud83d``).
    """
    try:
        return _texts(rawjson.restore(b"[" + b",".join(cells) + b"]"))
    except rawjson.UNREADABLE:
        return [text_of(bytes(cell)) for cell in cells]


def text_of(cell: bytes) -> str | None:
    """Return what one cell says as text. Raises ProtocolError where it is no JSON, or no UTF-8."""
    if cell == b"null":
        return None
    try:
        text = rawjson.decode(cell, str).encode() if cell[:1] == b'"' else cell
        return rawjson.restore(text).decode()
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"a value of the answer cannot be read: {error}") from error


def range_of(times: Cells) -> list[bytes]:
    """Return the first and the last of cells of type ``datetime``, without quotes and the final ``Z``.

    None where all are null.
    """
    stamps = b",".join(times).replace(b'Z"', b"").split(b",")
    if b"null" in (min(stamps), max(stamps)):  # it sorts after every time
        stamps = [stamp for stamp in stamps if stamp != b"null"]
    return [min(stamps)[1:], max(stamps)[1:]] if stamps else []


@lru_cache(maxsize=16)
def _rows_decoder(count: int) -> Any:
    return msgspec.json.Decoder(list[tuple[(msgspec.Raw,) * count]]).decode  # type: ignore[misc]  # made here


def _row_by_row(rows: bytes, count: int) -> list[Cells]:
    """Split rows that could not be split at once: with half of a surrogate pair, or damaged."""
    try:
        split: list[list[msgspec.Raw]] = rawjson.decode(rows, list[list[msgspec.Raw]])
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"a row of the answer is not a JSON array: {error}") from error
    for cells in split:
        if len(cells) != count:
            raise ProtocolError(f"a row of the answer has {len(cells)} cells, its table {count} columns")
    return list(split)


@lru_cache(maxsize=16)
def _members(names: tuple[str, ...]) -> type[Any]:
    fields = [(f"m{place}", msgspec.Raw, msgspec.Raw(b"null")) for place in range(len(names))]
    return msgspec.defstruct("Members", fields, rename={f"m{i}": name for i, name in enumerate(names)})


def _record_row(record: msgspec.Raw, columns: tuple[Column, ...]) -> msgspec.Raw:
    """Return a record as a row of some of its members and, as a string that holds JSON, all of it."""
    members = tuple(column.name for column in columns if column != RECORD)
    line = rawjson.one_line(bytes(record))
    try:
        found = msgspec.structs.astuple(rawjson.decode(line, _members(members)))
        cells = dict(zip(members, found, strict=True))
        cells[RECORD.name] = msgspec.json.encode(rawjson.restore(line).decode())
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"a record of the answer is not a JSON object in UTF-8: {error}") from error
    return msgspec.Raw(b"[" + b",".join(cells[column.name] for column in columns) + b"]")
