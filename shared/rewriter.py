"""Stores a stored window again: at its own bounds, and not with fewer rows unless that is asked for."""

import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from shared import rawjson
from shared.attempts import Attempts
from shared.coverage import Stored
from shared.errors import ConflictError, UnavailableError
from shared.events import event
from shared.file_format import Format
from shared.layout import blob_name
from shared.model import (
    Batch,
    Blob,
    Clock,
    Container,
    Export,
    Message,
    Reading,
    Receipt,
    Source,
    SourceType,
    Window,
)
from shared.reading import read_into, receipt_of, release
from shared.receipts import from_metadata, to_metadata
from shared.staging import Staging
from shared.state import State

_log = logging.getLogger(__name__)

_COMPARED_BYTES = 8 << 20
"""Size of a blob up to which its rows are compared one by one; beyond it, by their number."""

_BATCH_BYTES = 1 << 20
"""Size of stored rows that are handed on together; all of a window's may be more than memory holds."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What storing a window again came to; ``rows`` is what its source held.

    ``outcome``: ``unchanged``, ``added`` (the blob holds more rows, or other ones), or ``source_shrank``
    (there were fewer rows, and the stored ones were kept).
    """

    outcome: str
    rows: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A sound blob's bytes, what reads its rows anew from them, and how often each row's digest is there.

    A damaged one has none of them.
    """

    data: bytes | None = None
    rows: Callable[[], Iterable[msgspec.Raw]] = tuple
    digests: Counter[bytes] = field(default_factory=Counter)

    def batches(self, times: Sequence[str]) -> Iterator[Batch]:
        """Yield the rows in batches."""
        return _batches(self.rows(), times)


class Rewriter:
    """Stores windows again."""

    def __init__(
        self,
        sources: Mapping[str, SourceType],
        open_source: Callable[[Export], Source],
        formats: Mapping[str, Format],
        data: Container,
        attempts: Attempts,
        state: State,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._open_source = open_source
        self._formats = formats
        self._data = data
        self._attempts = attempts
        self._state = state
        self._clock = clock

    def keep_newest(self, stored: Sequence[Stored]) -> Stored:
        """Return a window's blob; of several (a redo in another format was interrupted) keep the newest."""
        newest = max(stored, key=lambda each: int(each.blob.metadata.get("revision", 0)))
        for each in stored:
            if each.blob.name != newest.blob.name and "attempt" in each.blob.metadata:  # one of ours
                self._attempts.remove(each.blob)
        return newest

    def rewrite(
        self,
        export: Export,
        stored: Stored,
        message: Message,
        deadline: float,
        since: int,
        *,
        force: bool = False,
        allow_shrink: bool = False,
    ) -> Rewrite:
        """Read a stored window again with a configuration, and replace its blob where that adds to it.

        Where the source's records may change, the stored ones are kept and new ones added. Elsewhere the new
        rows take the stored ones' place, with those that the source has lost since, unless they are fewer.
        Stored rows without pages cannot become pages: there the source must still hold every one of them.
        ``force`` replaces the blob also where nothing was added, which mends one that is damaged. Conditional
        on the blob that is there now: raises ConflictError, which another delivery of the message mends, when
        another worker changed it.
        """
        reading = Reading(stored.window, deadline, wide=True, since=since)
        name = blob_name(export.name, stored.window, self._formats[export.format].extension)
        with (
            self._attempts.of(export.name, stored.window) as attempt,
            Staging(self._data, name, attempt) as staging,
        ):
            return self._rewrite(
                export, stored, message, reading, staging, force=force, allow_shrink=allow_shrink
            )

    def _rewrite(
        self,
        export: Export,
        stored: Stored,
        message: Message,
        reading: Reading,
        staging: Staging,
        *,
        force: bool,
        allow_shrink: bool,
    ) -> Rewrite:
        format_ = self._formats[export.format]
        before = self._data.head(stored.blob.name)
        if before is None:
            raise ConflictError(f"{stored.blob.name} is gone, so another worker replaces it")
        same_name = staging.name == before.name
        etag = before.etag if same_name else self._etag(staging.name)
        old = _receipt(before)
        self._state.register(export)
        folder = staging.attempt.folder
        times = [time for time in (old.first_time, old.last_time) if time] if old else []
        held, kept = _Held(), 0
        source: Unseen | _Remembering
        continued: bytes | None = None
        if old is not None and self._sources[export.source].union:
            held = self._held(stored, old.sha256)
            whole = format_.verbatim and not same_name
            kept = 0 if whole else held.digests.total()
            continued = held.data if same_name else None
            # Pages either hold the stored rows already, or the source's are to hold them all.
            first = partial((_Held() if format_.verbatim else held).batches, times)
            source = Unseen(self._open_source(export), held.digests, first, whole=whole)
        else:
            alike = old is not None and old.config == export.digest and before.size <= _COMPARED_BYTES
            if old and alike and not allow_shrink and format_.comparable:
                held = self._held(stored, old.sha256)
            source = _Remembering(self._open_source(export), held, times, self._formats["jsonl"])
        begin = partial(format_.writer, folder, continued)
        now = self._clock.now()  # what becomes visible from here on is for another recheck to find
        try:
            writer, tally = read_into(
                staging, begin, export, source, _sized(reading, old, export), self._clock
            )
        except UnavailableError as error:
            event(_log, "window kept: its source forgot it", message, level=logging.WARNING, why=error)
            return Rewrite("source_shrank", 0)
        with _released(source, reading):
            fewer = old is not None and source.rows < old.rows and not allow_shrink
            if old is not None and not kept and (fewer or source.gone):
                why = f"{source.rows} rows there, {old.rows} stored"
                if source.gone:
                    why += f", {source.gone} of these gone there, so that no page has them"
                event(_log, "window kept: its source shrank", message, level=logging.WARNING, why=why)
                return Rewrite("source_shrank", source.rows)
            receipt = receipt_of(export, old or stored.window, staging, writer, tally, now=now)
            nothing_new = kept and writer.rows == kept
            same_bytes = old is not None and (receipt.sha256, receipt.config) == (old.sha256, old.config)
            if same_name and not force and (nothing_new or same_bytes):
                return Rewrite("unchanged", source.rows)
            if not staging.commit(to_metadata(receipt), format_.content_type, etag=etag):
                raise ConflictError(f"another worker stored {staging.name} first")
            if not same_name:
                self._attempts.remove(before)
            event(
                _log,
                "window stored again",
                message,
                rows=receipt.rows,
                before=old.rows if old else 0,
                revision=receipt.revision,
            )
            return Rewrite("added", source.rows)

    def _held(self, stored: Stored, sha256: str) -> _Held:
        """Return what a stored window holds; nothing when it is damaged, for then it is no help."""
        document = self._data.read(stored.blob.name)
        format_ = next(each for each in self._formats.values() if each.extension == stored.extension)
        try:
            if document is None or hashlib.sha256(document.data).hexdigest() != sha256:
                raise ValueError("its bytes are not those of its receipt")
            rows = partial(format_.records, document.data, self._data.read)
            return _Held(document.data, rows, digests_of(rows()))
        except ValueError as error:
            _log.error("stored window damaged blob=%s: %s", stored.blob.name, error)
            return _Held()

    def _etag(self, name: str) -> str | None:
        blob = self._data.head(name)
        return None if blob is None else blob.etag


@contextlib.contextmanager
def _released(source: Source, reading: Reading) -> Generator[None]:
    """Tell the source at the end, unless it was an error, that its rows are no longer needed."""
    yield
    release(source, reading)


def _receipt(blob: Blob) -> Receipt | None:
    """Return a blob's receipt; None for one that lost it, which proves nothing and is replaced."""
    try:
        return from_metadata(blob.metadata)
    except ValueError as error:
        _log.warning("stored window without a receipt blob=%s: %s", blob.name, error)
        return None


def _sized(reading: Reading, held: Receipt | None, export: Export) -> Reading:
    """Return a reading that knows how much its window held, unless another configuration stored that."""
    if held is None or held.config != export.digest:
        return reading
    return replace(reading, measured=held.measured)


def digests_of(rows: Iterable[msgspec.Raw]) -> Counter[bytes]:
    """Return how often each digest of a stored row is there: they are known again by it, and it is small."""
    return Counter(hashlib.sha256(row).digest() for row in rows)


def _batches(rows: Iterable[msgspec.Raw], times: Sequence[str]) -> Iterator[Batch]:
    """Yield stored rows in batches, which cost no request; without rows it is one batch with the times.

    Raises ConflictError for rows that can no longer be read.
    """
    some: list[msgspec.Raw] = []
    size = 0
    try:
        for row in rows:
            some.append(row)
            size += len(row)
            if size >= _BATCH_BYTES:
                yield Batch(rows=some, times=times, slices=0, requests=0)
                some, size = [], 0
    except ValueError as error:  # they were there a moment ago: another worker removes pages that it replaced
        raise ConflictError(f"the stored window changed while it was read: {error}") from error
    yield Batch(rows=some, times=times, slices=0, requests=0)


class _Remembering:
    """A source whose rows are followed by those stored ones that are no longer among them.

    So a row that was purged at the source is not lost when others became visible late. Only where a row that
    is still there is sure to read the same: a column that was added since, or a value that the service may
    word differently, would make every row look purged, and doubled. ``rows`` counts what the source held.
    """

    def __init__(self, source: Source, held: _Held, times: Sequence[str], lines: Format) -> None:
        self._source = source
        self._held = held
        self._times = times
        self._lines = lines
        self.rows = 0
        self.gone = 0  # given up: none, for what is no longer there is added

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the source's batches, then the stored rows that were not in them."""
        self.rows = 0
        missing = self._held.digests.copy()
        for batch in self._source.read(reading):
            self.rows += len(batch.rows)
            if missing and not self._reads_the_same(batch):
                missing.clear()
            if missing:
                writer = self._lines.writer()
                lines = (writer.write(batch) + writer.finish()).split(b"\n")[:-1]
                missing.subtract(digests_of(map(msgspec.Raw, lines)))
            yield batch
        if any(count > 0 for count in missing.values()):
            yield from _batches(self._taken(missing), self._times)

    def _taken(self, missing: Counter[bytes]) -> Iterator[msgspec.Raw]:
        """Yield the stored rows whose digests are missing, each as often as its digest is."""
        for row in self._held.rows():
            digest = hashlib.sha256(row).digest()
            if missing[digest] > 0:
                missing[digest] -= 1
                yield row

    def _reads_the_same(self, batch: Batch) -> bool:
        columns = batch.columns or ()
        first = next(iter(self._held.rows()))
        stored = list(msgspec.json.decode(first, type=dict[str, msgspec.Raw]))
        varying = {"dynamic", "real"}
        return [each.name for each in columns] == stored and all(each.type not in varying for each in columns)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return what the source counts."""
        return self._source.count(windows, deadline)

    def release(self, reading: Reading) -> None:
        """Take back what the source has the service keep."""
        self._source.release(reading)


class Unseen:
    """A source without the records that are stored already, or ``whole``, with them; ``first`` comes first.

    ``stored`` are the digests of those records. ``rows`` counts what it held with them.
    """

    def __init__(
        self,
        source: Source,
        stored: Collection[bytes],
        first: Callable[[], Iterable[Batch]] = tuple,
        *,
        whole: bool = False,
    ) -> None:
        self._source = source
        self._first = first
        self._stored = stored
        self._gone = set(stored)
        self._whole = whole
        self.rows = 0

    @property
    def gone(self) -> int:
        """How many of the stored records it did not hold any more."""
        return len(self._gone)

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the batches with what is new in them."""
        self.rows = 0
        yield from self._first()
        for batch in self._source.read(reading):
            self.rows += len(batch.rows)
            if not self._stored:
                yield batch
                continue
            new = [number for number, record in enumerate(batch.rows) if self._is_new(record)]
            if not self._whole:
                rows = [batch.rows[number] for number in new]
                batch = replace(batch, rows=rows, times=[batch.times[number] for number in new])  # noqa: PLW2901
            yield batch

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return what the source counts."""
        return self._source.count(windows, deadline)

    def release(self, reading: Reading) -> None:
        """Take back what the source has the service keep."""
        self._source.release(reading)

    def _is_new(self, record: msgspec.Raw) -> bool:
        line = rawjson.restore(rawjson.one_line(bytes(record)))
        digest = hashlib.sha256(line).digest()
        self._gone.discard(digest)
        return digest not in self._stored
