"""JSON lines: one JSON object a line, every digit and tick as the service sent it. Pure.

Rows are split, never decoded: a value's bytes go from the answer into the file. Only cells of ``dynamic``
columns are looked into, because the service sends them as strings that hold JSON.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from shared import rawjson
from shared.errors import ProtocolError
from shared.model import Batch, Column, Writer

Cells = tuple[msgspec.Raw | bytes, ...]

_split = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode
_text = msgspec.json.Decoder(str).decode
_TIME = Column("TimeGenerated", "datetime")
_LEVEL = 2
_PIECE = 1 << 20  # bytes given to the compressor at a time, so that its output does not depend on batches


@dataclass(frozen=True, slots=True)
class JsonLines:
    """The format ``jsonl`` or ``jsonl.gz``."""

    compressed: bool

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return "jsonl.gz" if self.compressed else "jsonl"

    @property
    def content_type(self) -> str:
        """The media type. ``.gz`` is the file's own form, not an encoding that clients should undo."""
        return "application/gzip" if self.compressed else "application/x-ndjson"

    def writer(self) -> Writer:
        """Begin one file."""
        if not self.compressed:
            return _Lines(bytes, bytes)
        from isal import isal_zlib

        # wbits 31 is a gzip stream; its header says no time, so that the same rows give the same bytes.
        stream = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
        return _Lines(stream.compress, stream.flush)

    def records(self, data: bytes) -> list[msgspec.Raw]:
        """Return the rows of a whole file, each a JSON object. Raises ValueError for a damaged file."""
        try:
            text = gzip.decompress(data) if self.compressed else data
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"the file is no whole gzip stream: {error}") from error
        if text and not text.endswith(b"\n"):
            raise ValueError("the file's last line does not end")
        return [msgspec.Raw(line) for line in text.split(b"\n")[:-1]]


class _Lines:
    """Writes batches as lines and keeps count."""

    def __init__(self, compress: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> None:
        self._compress = compress
        self._flush = flush
        self._held = bytearray()
        self._first: bytes | None = None
        self._last: bytes | None = None
        self._rows = 0

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return self._rows

    @property
    def first_time(self) -> str | None:
        """The earliest row time, as the service wrote it."""
        return None if self._first is None else f"{self._first.decode()}Z"

    @property
    def last_time(self) -> str | None:
        """The latest row time, as the service wrote it."""
        return None if self._last is None else f"{self._last.decode()}Z"

    def write(self, batch: Batch) -> bytes:
        if batch.columns is None:
            self._held += _record_lines(batch.rows)
            self._see([time[:-1].encode() for time in batch.times])
        else:
            self._held += self._table_lines(batch.rows, batch.columns)
        self._rows += len(batch.rows)
        whole = len(self._held) // _PIECE * _PIECE
        ready = b"".join(self._compress(bytes(self._held[i : i + _PIECE])) for i in range(0, whole, _PIECE))
        del self._held[:whole]
        return ready

    def finish(self) -> bytes:
        return self._compress(bytes(self._held)) + self._flush()

    def _table_lines(self, rows: Iterable[msgspec.Raw], columns: Sequence[Column]) -> bytes:
        template = line_template(columns)
        nested = [i for i, column in enumerate(columns) if column.type == "dynamic"]
        time = next((i for i, column in enumerate(columns) if column == _TIME), None)
        lines: list[bytes] = []
        stamps: list[bytes] = []
        for row in rows:
            cells: Cells = _cells(row, len(columns))
            if time is not None:
                stamps.append(bytes(cells[time])[1:-2])
            if nested:
                changed = list(cells)
                for i in nested:
                    changed[i] = unwrap(changed[i])
                cells = tuple(changed)
            lines.append(template % cells)
        self._see([stamp for stamp in stamps if len(stamp) > 1])  # a null leaves its inner "u"
        return _checked(rawjson.without_line_ends(b"".join(lines)))

    def _see(self, stamps: Sequence[bytes]) -> None:
        """Widen the time range by stamps that lack their final ``Z``: so, text order is time order.

        Fractions come with the zeros at their end cut off: ``.5`` sorts before ``.51``, ``.5Z`` after it.
        """
        if stamps:
            first, last = min(stamps), max(stamps)
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)


def line_template(columns: Sequence[Column]) -> bytes:
    """Return a bytes template that makes a line of a row's cells: ``{"a":%b,"b":%b}``.

    A name that stands twice gets a number, as Kusto gives it, so that no value hides another.
    """
    used: set[str] = set()
    names = {column.name for column in columns}
    members: list[bytes] = []
    for column in columns:
        name, number = column.name, 0
        while name in used or (number and name in names):
            number += 1
            name = f"{column.name}{number}"
        used.add(name)
        members.append(msgspec.json.encode(name).replace(b"%", b"%%") + b":%b")
    return b"{" + b",".join(members) + b"}\n"


def unwrap(cell: msgspec.Raw | bytes) -> msgspec.Raw | bytes:
    """Return a ``dynamic`` cell as nested JSON when its text is an object or array, else as it came."""
    raw = bytes(cell)
    if raw[:1] in {b"{", b"["}:  # nested already
        return rawjson.one_line(raw)
    if raw[:2] not in {b'"{', b'"['}:
        return cell
    try:
        nested = bytes(rawjson.decode(_text(raw).encode(), msgspec.Raw))
        return rawjson.one_line(nested)
    except rawjson.UNREADABLE:
        return cell  # not JSON after all: a string that begins like it


def _record_lines(records: Iterable[msgspec.Raw]) -> bytes:
    return _checked(b"".join(rawjson.one_line(bytes(record)) + b"\n" for record in records))


def _cells(row: msgspec.Raw, count: int) -> Cells:
    try:
        cells = _split(row)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"a row of the answer is not a JSON array: {error}") from error
    if len(cells) != count:
        raise ProtocolError(f"a row of the answer has {len(cells)} cells, its table {count} columns")
    return cells


def _checked(text: bytes) -> bytes:
    """Return the finished lines. Raises ProtocolError when they are not UTF-8: none could decode them."""
    text = rawjson.restore(text)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"the answer is damaged: it is not UTF-8 ({error.reason})") from error
    return text
