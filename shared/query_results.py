"""The results of on-demand queries that are too large for an answer: stored, read again, forgotten."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import msgspec

from shared.compression import gunzip
from shared.errors import NotFoundError, RefusedError
from shared.layout import compact
from shared.model import Batch, Column, LinkingContainer
from shared.query_formats import FORMATS, FormatName
from shared.query_statistics import Statistics
from shared.staging import Blocks
from shared.tables import ColumnsChangedError, numbered, united

_PREFIX = "results/"
_BEGINNINGS = 10  # of one file; each knows more columns than the one before
_PIECE = 16 << 10  # of a compressed file; what it becomes is at most a thousand times as long

SENT_BYTES = 8 << 20
"""How large a result is sent at most: the runtime holds a whole body in memory."""
LINK_SECONDS = 900
"""How long a link to a result can be used."""


class StoredResult(msgspec.Struct, frozen=True):
    """A result that is stored: its blob's name, and ``bytes`` and ``sha256`` of that.

    ``request_id`` is what the service calls the last of its requests, where it says.
    """

    name: str
    format: FormatName
    rows: int
    bytes: int
    sha256: str
    columns: list[dict[str, str]]
    request_id: str | None = None


class TooMuchError(RefusedError):
    """A result is larger than one query's may be."""

    def __init__(self, message: str) -> None:
        super().__init__(422, message)


@dataclass(frozen=True, slots=True)
class Caps:
    """What one result may hold at most; ``bytes`` of its file."""

    rows: int
    bytes: int


class Results:
    """The stored results. Their names begin with when they were asked for, so that old ones are found."""

    def __init__(self, container: LinkingContainer, caps: Caps) -> None:
        self._container = container
        self._caps = caps

    def store(
        self,
        query_id: str,
        asked_at: int,
        format_: FormatName,
        batches: Callable[[], Iterator[Batch]],
        watch: Callable[[Statistics], None] = lambda _: None,
    ) -> tuple[StoredResult, Statistics]:
        """Store a result in one blob, which appears when it is whole. Each attempt has a blob of its own.

        ``batches`` begins to read; it is called again where the rows' columns turn out to be others.
        ``watch`` is told after every batch how far it is. Raises TooMuchError, and what those two raise.
        """
        form = FORMATS[format_].stored
        attempt = uuid.uuid4().hex
        name = f"{_PREFIX}{compact(asked_at)}_{query_id}_{attempt}.{form.extension}"
        with Blocks(self._container, name, attempt) as blocks:
            columns: tuple[Column, ...] = ()
            seen = Statistics()
            for beginnings in count(1):
                rows, found, request_id = 0, columns, None
                writer = form.writer(columns=columns)
                try:
                    for batch in batches():
                        found = united(found, numbered(batch.columns or ()))
                        rows += len(batch.rows)
                        request_id = batch.request_id or request_id
                        seen = seen.plus(batch)
                        blocks.add(writer.write(batch))
                        self.check(rows, blocks.size)
                        watch(msgspec.structs.replace(seen, rows=rows))
                        del batch  # or it would stay in memory while the next one comes
                    break
                except ColumnsChangedError as change:
                    if beginnings == _BEGINNINGS:
                        raise
                    columns = change.columns
                    blocks.restart()
            blocks.add(writer.finish())
            sha256 = blocks.finish()
            self.check(rows, blocks.size)
            blocks.commit({"rows": str(rows), "sha256": sha256}, form.content_type, None)
            listed = [{"name": each.name, "type": each.type} for each in found]
            stored = StoredResult(name, format_, rows, blocks.size, sha256, listed, request_id)
            return stored, msgspec.structs.replace(seen, rows=rows)

    def fetch(self, stored: StoredResult, *, coded: bool) -> bytes | str:
        """Return a result, ``coded`` as it is stored or plain; or, where that is much, a link to it.

        Raises NotFoundError for a result that is gone.
        """
        data = self._read(stored, SENT_BYTES, unpacked=not coded)
        return self._link(stored, decoded=coded) if data is None else data

    def _read(self, stored: StoredResult, most: int, *, unpacked: bool) -> bytes | None:
        """Return a stored file, ``unpacked`` from its coding if it has one; None if it has more bytes."""
        if stored.bytes > most:
            return None
        document = self._container.read(stored.name)
        if document is None:
            raise NotFoundError("the result is gone; it was deleted, or it has expired")
        if not (unpacked and FORMATS[stored.format].encoding):
            return document.data
        pieces = (document.data[at : at + _PIECE] for at in range(0, len(document.data), _PIECE))
        plain = bytearray()
        for piece in gunzip(pieces):
            plain += piece
            if len(plain) > most:
                return None
        return bytes(plain)

    def _link(self, stored: StoredResult, *, decoded: bool) -> str:
        """Return a URL that reads the blob for a quarter of an hour, and nothing else.

        ``decoded`` says that the reader undoes a coding, and so has the plain form; others get the file.
        """
        answer_format = FORMATS[stored.format]
        file_name = f"result.{answer_format.stored.extension}"
        if answer_format.encoding and decoded:
            file_name = f"result.{answer_format.plain.extension}"
        return self._container.link(
            stored.name,
            LINK_SECONDS,
            content_type=answer_format.media_type if decoded else answer_format.stored.content_type,
            content_encoding=answer_format.encoding if decoded else "",
            file_name=file_name,
        )

    def delete(self, stored: StoredResult) -> None:
        """Delete a result; one that is gone is no error."""
        self._container.delete(stored.name)

    def delete_others(self, stored: StoredResult) -> None:
        """Delete what other attempts to store the same result have left."""
        beginning = stored.name.rpartition("_")[0] + "_"
        for name in self._container.names(beginning):
            if name != stored.name:
                self._container.delete(name)

    def sweep(self, before: int) -> int:
        """Delete the results that were asked for before an instant (ticks); return how many."""
        old = [name for name in self._container.names(_PREFIX) if name < f"{_PREFIX}{compact(before)}"]
        for name in old:
            self._container.delete(name)
        return len(old)

    def check(self, rows: int, size: int) -> None:
        """Raise TooMuchError where a result has more than it may."""
        if rows > self._caps.rows:
            raise TooMuchError(f"the result has more than {self._caps.rows} rows (QUERY_MAX_ROWS)")
        if size > self._caps.bytes:
            raise TooMuchError(f"the result's file has more than {self._caps.bytes} bytes (QUERY_MAX_MB)")
