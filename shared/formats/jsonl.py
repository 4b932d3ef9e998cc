"""JSON lines: one JSON object a line, every digit and tick as the service sent it. Pure.

Rows are split, never decoded: a value's bytes go from the answer into the file. Only cells of ``dynamic``
columns are looked into, because the service sends them as strings that hold JSON.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from shared import rawjson
from shared.compression import MEDIA_TYPES, Compression, Stream, inflated
from shared.errors import ProtocolError
from shared.file_format import Counting, ReadBlob, SingleFile, Writer
from shared.model import Batch, Column
from shared.tables import TIME, Cells, cells_by_column, numbered, range_of

_UNENDED = "the file's last line does not end"

_text = msgspec.json.Decoder(str).decode
_texts = msgspec.json.Decoder(list[str | None]).decode
_value = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class JsonLines(SingleFile):
    """The format ``jsonl``, and its compressed forms."""

    compression: Compression

    comparable = True
    """A line holds what the service wrote."""

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return f"jsonl.{self.compression}".rstrip(".")

    @property
    def content_type(self) -> str:
        """The media type. ``.gz`` is the file's own form, not an encoding that clients should undo."""
        return MEDIA_TYPES.get(self.compression, "application/x-ndjson")

    def writer(
        self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()  # noqa: ARG002
    ) -> Writer:  # fmt: skip
        """Begin one file, which is all there is; each line has its own columns."""
        return _Lines(Stream(self.compression))

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:  # noqa: ARG002  all is in one file
        """Return how many rows a whole file has. Raises ValueError for a damaged file."""
        rows, last = 0, b"\n"
        for piece in inflated(data, self.compression):
            rows += piece.count(b"\n")
            last = piece[-1:]
        if last != b"\n":
            raise ValueError(_UNENDED)
        return rows

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:  # noqa: ARG002
        """Yield the rows of a whole file, each a JSON object. Raises ValueError for a damaged file."""
        rest = b""
        for piece in inflated(data, self.compression):
            *lines, rest = (rest + piece).split(b"\n")
            yield from map(msgspec.Raw, lines)
        if rest:
            raise ValueError(_UNENDED)


class _Lines(Counting):
    """Writes batches as lines and keeps count."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def write(self, batch: Batch) -> bytes:
        self._rows += len(batch.rows)
        if batch.columns is None:
            self._times.see([time[:-1].encode() for time in batch.times])
            return self._stream.write(_record_lines(batch.rows))
        return b"".join(map(self._stream.write, self._table_lines(batch.rows, batch.columns)))

    def finish(self) -> bytes:
        return self._stream.finish()

    def _table_lines(self, rows: Sequence[msgspec.Raw], columns: Sequence[Column]) -> Iterator[bytes]:
        pattern = _pattern(columns)
        nested = [i for i, column in enumerate(columns) if column.type == "dynamic"]
        time = next((i for i, column in enumerate(columns) if column == TIME), None)
        for cells in cells_by_column(rows, len(columns)):
            if time is not None:
                self._times.see(range_of(cells[time]))
            for i in nested:
                cells[i] = _unwrapped(cells[i])
            # Joined in one go: a template filled row by row would copy each cell into an object first.
            parts = pattern * len(cells[0])
            for place, column in enumerate(cells):
                parts[2 * place + 1 :: len(pattern)] = column
            yield _finished(b"".join(parts))


def _pattern(columns: Sequence[Column]) -> list[bytes | msgspec.Raw]:
    """Return the parts of a line, ``{"a":``, ``,"b":`` and so on, each with nothing after it for its cell."""
    names = (msgspec.json.encode(column.name) for column in numbered(columns))
    parts = [(b"," if place else b"{") + name + b":" for place, name in enumerate(names)]
    return [*(each for part in parts for each in (part, b"")), b"}\n"]


def _unwrapped(cells: Cells) -> Cells:
    """Return the cells of a ``dynamic`` column, unwrapped; all at once where nothing is odd about them."""
    try:
        texts = _texts(b"[" + b",".join(cells) + b"]")
        values = [
            _value(text) if text and text[0] in "{[" else cell
            for text, cell in zip(texts, cells, strict=True)
        ]
    except rawjson.UNREADABLE:
        return [_unwrap(cell) for cell in cells]
    joined = b"".join(values)
    return [_unwrap(cell) for cell in cells] if b"\n" in joined or b"\r" in joined else values


def _unwrap(cell: msgspec.Raw) -> msgspec.Raw:
    """Return a ``dynamic`` cell as nested JSON when its text is an object or array, else as it came."""
    raw = bytes(cell)
    if raw[:1] in {b"{", b"["}:  # nested already
        return msgspec.Raw(rawjson.one_line(raw))
    if raw[:2] not in {b'"{', b'"['}:
        return cell
    try:
        nested = rawjson.decode(_text(raw).encode(), msgspec.Raw)
        return msgspec.Raw(rawjson.one_line(bytes(nested)))
    except rawjson.UNREADABLE:
        return cell  # not JSON after all: a string that begins like it


def _record_lines(records: Iterable[msgspec.Raw]) -> bytes:
    return _finished(b"".join(rawjson.one_line(bytes(record)) + b"\n" for record in records))


def _finished(text: bytes) -> bytes:
    """Return lines ready to be stored. Raises ProtocolError for what is not UTF-8: none could decode it."""
    try:
        return rawjson.finished(text)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the answer is damaged: it is not UTF-8 ({error.reason})") from error
