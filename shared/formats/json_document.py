"""One JSON document: the columns, and each row as an array of its cells, as the service sent them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from shared import rawjson
from shared.compression import MEDIA_TYPES, Compression, Stream, decompress
from shared.errors import ProtocolError
from shared.file_format import Counting, ReadBlob, SingleFile, Writer
from shared.model import Batch, Column
from shared.tables import FileColumns, as_table, cells_by_column

_NULL = msgspec.Raw(b"null")


class _Document(msgspec.Struct):
    columns: list[dict[str, str]]
    rows: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class JsonDocument(SingleFile):
    """``{"columns": [{"name", "type"}], "rows": [[…]]}``, perhaps compressed."""

    compression: Compression

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return f"json.{self.compression}".rstrip(".")

    @property
    def content_type(self) -> str:
        """The media type."""
        return MEDIA_TYPES.get(self.compression, "application/json")

    def writer(
        self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()  # noqa: ARG002
    ) -> Writer:  # fmt: skip
        """Begin one file, which is all there is."""
        return _Writer(Stream(self.compression), columns)

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:  # noqa: ARG002  all is in one file
        """Return how many rows a whole file has. Raises ValueError for a damaged file."""
        return len(self._document(data).rows)

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:  # noqa: ARG002
        """Yield the rows of a whole file, each an array. Raises ValueError for a damaged file."""
        yield from self._document(data).rows

    def _document(self, data: bytes) -> _Document:
        try:
            return rawjson.decode(decompress(data, self.compression), _Document)
        except rawjson.UNREADABLE as error:
            raise ValueError(f"the file is no whole document: {error}") from error


class _Writer(Counting):
    """Writes batches of one set of columns."""

    def __init__(self, stream: Stream, columns: Sequence[Column]) -> None:
        super().__init__()
        self._stream = stream
        self._columns = FileColumns(columns)

    def write(self, batch: Batch) -> bytes:
        """Take a batch. Raises ColumnsChangedError where it has columns that the file has not."""
        columns, rows = as_table(batch, self._columns.all)
        self._columns.take(columns)
        if not rows:
            return b""
        between = b",\n" if self._rows else b""
        self._rows += len(rows)
        if columns != self._columns.all:
            rows = self._widened(rows, columns)
        return self._head() + self._stream.write(between + _finished(b",\n".join(rows)))

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        return self._head() + self._stream.write(b"]}\n") + self._stream.finish()

    def _head(self) -> bytes:
        if self._columns.fixed:
            return b""
        self._columns.fixed = True
        columns = msgspec.json.encode([{"name": each.name, "type": each.type} for each in self._columns.all])
        return self._stream.write(b'{"columns":' + rawjson.restore(columns) + b',"rows":[')

    def _widened(self, rows: Sequence[msgspec.Raw], columns: Sequence[Column]) -> list[msgspec.Raw]:
        """Return rows with the cells of the file's columns, null where they have none."""
        places = {column.name: place for place, column in enumerate(columns)}
        order = [places.get(column.name) for column in self._columns.all]
        wide = []
        for cells in cells_by_column(rows, len(columns)):
            absent = [_NULL] * len(cells[0])
            fields = [absent if place is None else cells[place] for place in order]
            wide += [msgspec.Raw(b"[" + b",".join(row) + b"]") for row in zip(*fields, strict=True)]
        return wide


def _finished(text: bytes) -> bytes:
    """Return rows ready to be stored. Raises ProtocolError for what is not UTF-8: none could decode it."""
    text = rawjson.restore(text)
    try:
        if not text.isascii():
            text.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the answer is damaged: it is not UTF-8 ({error.reason})") from error
    return text
