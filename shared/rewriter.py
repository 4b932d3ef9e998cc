"""Stores a stored window again: at its own bounds, and not with fewer rows unless that is asked for."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from shared import rawjson
from shared.coverage import Stored
from shared.errors import ConflictError, UnavailableError
from shared.events import event
from shared.layout import blob_name
from shared.model import (
    Batch,
    Blob,
    Clock,
    Container,
    Export,
    Format,
    Measured,
    Message,
    Receipt,
    Source,
    SourceType,
    Window,
)
from shared.reading import Reading, read_into, receipt_of
from shared.receipts import from_metadata
from shared.staging import Staging
from shared.state import State

_log = logging.getLogger(__name__)

_COMPARED_BYTES = 8 << 20
"""Size of a blob up to which its rows are compared one by one; beyond it, by their number."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What storing a window again came to; ``rows`` is what its source held.

    ``outcome``: ``unchanged``, ``added`` (the blob holds more rows, or other ones), or ``source_shrank``
    (there were fewer rows, and the stored ones were kept).
    """

    outcome: str
    rows: int


class Rewriter:
    """Stores windows again."""

    def __init__(
        self,
        sources: Mapping[str, SourceType],
        open_source: Callable[[Export], Source],
        formats: Mapping[str, Format],
        data: Container,
        state: State,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._open_source = open_source
        self._formats = formats
        self._data = data
        self._state = state
        self._clock = clock

    def keep_newest(self, stored: Sequence[Stored]) -> Stored:
        """Return a window's blob; of several (a redo in another format was interrupted) keep the newest."""
        newest = max(stored, key=lambda each: int(each.blob.metadata.get("revision", 0)))
        for each in stored:
            if each.blob.name != newest.blob.name and "attempt" in each.blob.metadata:  # one of ours
                self._data.delete(each.blob.name, etag=each.blob.etag)
        return newest

    def rewrite(
        self,
        export: Export,
        stored: Stored,
        message: Message,
        deadline: float,
        *,
        force: bool = False,
        allow_shrink: bool = False,
    ) -> Rewrite:
        """Read a stored window again with a configuration, and replace its blob where that adds to it.

        Where the source's records may change, the stored ones are kept and new ones added. Elsewhere the new
        rows take the stored ones' place, with those that the source has lost since, unless they are fewer.
        ``force`` replaces the blob also where nothing was added, which mends one that is damaged. Conditional
        on the blob that is there now: raises ConflictError, which another delivery of the message mends, when
        another worker changed it.
        """
        format_ = self._formats[export.format]
        staging = Staging(self._data, blob_name(export.name, stored.window, format_.extension))
        before = self._data.head(stored.blob.name)
        if before is None:
            raise ConflictError(f"{stored.blob.name} is gone, so another worker replaces it")
        same_name = staging.name == before.name
        etag = before.etag if same_name else self._etag(staging.name)
        old = _receipt(before)
        self._state.register(export)
        writer = format_.writer()
        kept: list[msgspec.Raw] = []
        source: Unseen | _Remembering
        times = [time for time in (old.first_time, old.last_time) if time] if old else []
        if old is not None and self._sources[export.source].union:
            kept = self._records(stored, old.sha256)
            staging.add(writer.write(Batch(rows=kept, times=times)))
            source = Unseen(self._open_source(export), kept)
        else:
            alike = old is not None and old.config == export.digest and before.size <= _COMPARED_BYTES
            held = self._records(stored, old.sha256) if old and alike and not allow_shrink else []
            source = _Remembering(self._open_source(export), held, times, self._formats["jsonl"])
        reading = Reading(stored.window, deadline, wide=True)
        now = self._clock.now()  # what becomes visible from here on is for another recheck to find
        try:
            tally = read_into(staging, writer, export, source, reading, self._clock)
        except UnavailableError as error:
            event(_log, "window kept: its source forgot it", message, level=logging.WARNING, why=error)
            return Rewrite("source_shrank", 0)
        if old is not None and not kept and source.rows < old.rows and not allow_shrink:
            why = f"{source.rows} rows there, {old.rows} stored"
            event(_log, "window kept: its source shrank", message, level=logging.WARNING, why=why)
            return Rewrite("source_shrank", source.rows)
        receipt = receipt_of(export, old or stored.window, staging, writer, tally, now=now)
        nothing_new = kept and writer.rows == len(kept)
        same_bytes = old is not None and (receipt.sha256, receipt.config) == (old.sha256, old.config)
        if same_name and not force and (nothing_new or same_bytes):
            return Rewrite("unchanged", source.rows)
        if not staging.commit(receipt, format_.content_type, etag=etag):
            raise ConflictError(f"another worker stored {staging.name} first")
        if not same_name:
            self._data.delete(before.name, etag=before.etag)
        event(
            _log,
            "window stored again",
            message,
            rows=receipt.rows,
            before=old.rows if old else 0,
            revision=receipt.revision,
        )
        return Rewrite("added", source.rows)

    def _records(self, stored: Stored, sha256: str) -> list[msgspec.Raw]:
        """Return the records of a stored window; none when its blob is damaged, for then it is no help."""
        document = self._data.read(stored.blob.name)
        format_ = next(each for each in self._formats.values() if each.extension == stored.extension)
        try:
            if document is None or hashlib.sha256(document.data).hexdigest() != sha256:
                raise ValueError("its bytes are not those of its receipt")
            return format_.records(document.data)
        except ValueError as error:
            _log.error("stored window damaged blob=%s: %s", stored.blob.name, error)
            return []

    def _etag(self, name: str) -> str | None:
        blob = self._data.head(name)
        return None if blob is None else blob.etag


def _receipt(blob: Blob) -> Receipt | None:
    """Return a blob's receipt; None for one that lost it, which proves nothing and is replaced."""
    try:
        return from_metadata(blob.metadata)
    except ValueError as error:
        _log.warning("stored window without a receipt blob=%s: %s", blob.name, error)
        return None


class _Remembering:
    """A source whose rows are followed by those stored ones that are no longer among them.

    So a row that was purged at the source is not lost when others became visible late. Only where a row that
    is still there is sure to read the same: a column that was added since, or a value that the service may
    word differently, would make every row look purged, and doubled. ``rows`` counts what the source held.
    """

    def __init__(
        self, source: Source, held: Sequence[msgspec.Raw], times: Sequence[str], lines: Format
    ) -> None:
        self._source = source
        self._held = held
        self._times = times
        self._lines = lines
        self.rows = 0

    def read(
        self, window: Window, deadline: float, measured: Measured | None, *, wide: bool = False
    ) -> Iterator[Batch]:
        """Yield the source's batches, then the stored rows that were not in them."""
        missing = Counter(bytes(record) for record in self._held)
        for batch in self._source.read(window, deadline, measured, wide=wide):
            self.rows += len(batch.rows)
            if missing and not self._reads_the_same(batch):
                missing.clear()
            if missing:
                writer = self._lines.writer()
                missing.subtract((writer.write(batch) + writer.finish()).split(b"\n")[:-1])
            yield batch
        gone = [msgspec.Raw(line) for line, count in missing.items() for _ in range(count)]
        if gone:
            yield Batch(rows=gone, times=self._times, slices=0, requests=0)

    def _reads_the_same(self, batch: Batch) -> bool:
        columns = batch.columns or ()
        stored = list(msgspec.json.decode(self._held[0], type=dict[str, msgspec.Raw]))
        varying = {"dynamic", "real"}
        return [each.name for each in columns] == stored and all(each.type not in varying for each in columns)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return what the source counts."""
        return self._source.count(windows, deadline)


class Unseen:
    """A source without the records that are stored already; ``rows`` counts what it held with them."""

    def __init__(self, source: Source, kept: Iterable[msgspec.Raw]) -> None:
        self._source = source
        self._seen = {hashlib.sha256(record).digest() for record in kept}
        self.rows = 0

    def read(
        self, window: Window, deadline: float, measured: Measured | None, *, wide: bool = False
    ) -> Iterator[Batch]:
        """Yield the batches with what is new in them."""
        for batch in self._source.read(window, deadline, measured, wide=wide):
            self.rows += len(batch.rows)
            if not self._seen:
                yield batch
                continue
            new = [number for number, record in enumerate(batch.rows) if self._is_new(record)]
            yield replace(
                batch,
                rows=[batch.rows[number] for number in new],
                times=[batch.times[number] for number in new],
            )

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return what the source counts."""
        return self._source.count(windows, deadline)

    def _is_new(self, record: msgspec.Raw) -> bool:
        line = rawjson.restore(rawjson.one_line(bytes(record)))
        return hashlib.sha256(line).digest() not in self._seen
