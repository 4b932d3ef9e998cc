"""CSV as RFC 4180 has it: a header, CRLF, quotes doubled. Pure.

Text is always quoted and nothing else is, so that a null (nothing between two commas) and an empty text
(``""``) differ. Numbers, times, decimals and timespans are as the service wrote them, ``dynamic`` is JSON.
Records are some of their members, and the whole record as JSON.

A JSON string without a backslash is a quoted field of CSV as it stands: most cells are never decoded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from shared import rawjson, tables
from shared.compression import MEDIA_TYPES, Compression, Stream, inflated
from shared.errors import ProtocolError
from shared.file_format import Counting, ReadBlob, SingleFile, Writer
from shared.model import Batch, Column
from shared.tables import RECORD, TIME, Cells, FileColumns

_END = b"\r\n"
# What keeps a cell from being a field as it stands: an escape, a null, an object or array.
_ODD = (b"\\", b"null", b"{", b"[")
_TEXT = (b'"', b"{", b"[")
# What a spreadsheet takes for a formula ("CSV Injection", and 1.2.10 of the Application Security Verification
# Standard; OWASP), and what is an escape in JSON.
_SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_FORMULA = (*_SIGNS, "\t", "\r", "\n", "\0")
_GUARDED = (*_ODD, *(f'"{sign}'.encode() for sign in _SIGNS))
# Types whose values the service itself forms, so that none of them can be a formula.
_HARMLESS = {"bool", "datetime", "decimal", "guid", "int", "long", "real", "timespan"}
_FIELD = re.compile(rb'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r\n)')


@dataclass(frozen=True, slots=True)
class Csv(SingleFile):
    """The format ``csv``, perhaps compressed.

    ``guarded`` puts an apostrophe before a text that a spreadsheet would take for a formula. Such a file is
    safe to open there, and not exactly what the service sent.
    """

    compression: Compression = ""
    guarded: bool = False

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return f"csv.{self.compression}" if self.compression else "csv"

    @property
    def content_type(self) -> str:
        """The media type."""
        return MEDIA_TYPES.get(self.compression, "text/csv; charset=utf-8; header=present")

    def writer(
        self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()  # noqa: ARG002
    ) -> Writer:  # fmt: skip
        """Begin one file, which is all there is."""
        return _Csv(Stream(self.compression), columns, guarded=self.guarded)

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:  # noqa: ARG002  all is in one file
        """Return how many rows a whole file has. Raises ValueError for a damaged file."""
        lines, quoted, last = 0, False, b""
        for piece in inflated(data, self.compression):
            # A doubled quote ends one quoted part and begins the next: what lies outside has no text in it.
            parts = piece.split(b'"')
            outside = last + b"".join(parts[quoted::2])
            quoted ^= len(parts) % 2 == 0
            lines += outside.count(_END) - last.count(_END)
            last = outside[-len(_END) :]
        if quoted or last != _END:
            raise ValueError("the file's last line does not end")
        return lines - 1

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:  # noqa: ARG002
        """Yield the records of a whole file. Raises ValueError for a damaged one, and one of other rows."""
        lines = _lines(inflated(data, self.compression))
        names = next(lines, [])
        if RECORD.name.encode() not in names:
            raise ValueError("the file is not one of whole records")
        place = names.index(RECORD.name.encode())
        for fields in lines:
            if len(fields) != len(names):
                raise ValueError("the lines of the file have different numbers of fields")
            yield msgspec.Raw(fields[place])


class _Csv(Counting):
    """Writes batches as lines and keeps count."""

    def __init__(self, stream: Stream, columns: Sequence[Column], *, guarded: bool) -> None:
        super().__init__()
        self._stream = stream
        self._columns = FileColumns(columns)
        self._guarded = guarded

    def write(self, batch: Batch) -> bytes:
        """Take a batch. Raises ColumnsChangedError where it has columns that the header has not."""
        columns, rows = tables.as_table(batch, self._columns.all)
        known = {column.name for column in self._columns.all}
        self._columns.take([column for column in columns if column.name not in known])  # whatever their type
        self._times.see([time[:-1].encode() for time in batch.times] if batch.columns is None else [])
        if not rows:
            return b""
        self._rows += len(rows)
        return self._header() + b"".join(map(self._stream.write, self._lines(rows, columns)))

    def finish(self) -> bytes:
        return self._header() + self._stream.finish()

    def _header(self) -> bytes:
        if self._columns.fixed:
            return b""
        self._columns.fixed = True
        names = (column.name for column in self._columns.all or (TIME,))
        header = b",".join(_quoted(name, guarded=self._guarded) for name in names) + _END
        return self._stream.write(rawjson.restore(header))

    def _lines(self, rows: Sequence[msgspec.Raw], columns: Sequence[Column]) -> Iterator[bytes]:
        """Yield rows as lines, some at a time."""
        places = {column.name: place for place, column in enumerate(columns)}
        order = [places.get(column.name) for column in self._columns.all]
        null = b"" if len(order) > 1 else b'""'  # a line with nothing in it is no row to many readers
        time = places[TIME.name] if TIME in columns else None
        for cells in tables.cells_by_column(rows, len(columns)):
            if time is not None:
                self._times.see(tables.range_of(cells[time]))
            absent = [null] * len(cells[0])
            fields = [
                absent if place is None else self._fields(cells[place], columns[place].type, null)
                for place in order
            ]
            lines = _END.join([*map(b",".join, zip(*fields, strict=True)), b""])
            yield _checked(rawjson.restore(lines))

    def _fields(self, cells: Cells, type_: str, null: bytes) -> Iterable[bytes | msgspec.Raw]:
        """Return one column's cells as fields."""
        guarded = self._guarded and type_ not in _HARMLESS
        joined = b",".join(cells)
        if not any(odd in joined for odd in (_GUARDED if guarded else _ODD)):
            return cells
        if not any(mark in joined for mark in _TEXT):  # numbers and truth values among nulls
            return [null if cell == b"null" else cell for cell in map(bytes, cells)]
        return [
            null if text is None else _quoted(text, guarded=guarded) if cell[:1] in b'"{[' else cell
            for cell, text in zip(map(bytes, cells), tables.texts_of(cells), strict=True)
        ]


def _quoted(text: str, *, guarded: bool) -> bytes:
    if guarded and text.startswith(_FORMULA):
        text = f"'{text}"
    return b'"%b"' % text.replace('"', '""').encode()


def _checked(text: bytes) -> bytes:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"the answer is damaged: it is not UTF-8 ({error.reason})") from error
    return text


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the fields of each line. Raises ValueError for a file that this module did not write."""
    fields: list[bytes] = []
    rest, before = b"", 0
    for piece in pieces:
        text, at = rest + piece, 0
        while match := _FIELD.match(text, at):  # none, where the piece ends within a field: that waits
            quoted, plain, end = match.groups()
            fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
            if end == _END:
                yield fields
                fields = []
            at = match.end()
        rest, before = text[at:], before + at
    if fields or rest:
        raise ValueError(f"the file is no CSV from its byte {before} on")
