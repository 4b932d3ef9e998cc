"""An export with very many stored windows, over containers that count what is asked of them.

A real account answers a listing in pages of 5,000 blobs, with or without their metadata ("List Blobs"), and
each page is a request of its own; so pages are what is counted.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from shared.agenda import RECHECKED_AT_ONCE
from shared.coverage import due_until
from shared.layout import blob_name, compact, window_id
from shared.model import Blob, Document, Export, Kind, Receipt, Window
from shared.receipts import to_metadata
from shared.windows import DAY, MINUTE, SECOND, cells, format_second
from tests.parts.fakes import FakeClock, make_export, rows_of
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World

PAGE = 5_000
"""Blobs in one answer to a listing."""


class CountingContainer(MemoryContainer):
    """A container in memory that counts calls: each page of a listing is one. Finds names by bisection."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.listed = self.receipts = 0
        self._names: list[str] | None = None

    def fill(self, name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Put a blob there without counting it, as somebody else did."""
        self._put(name, data, metadata, "application/json", {})

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the blobs under a prefix, page by page; without metadata they are the names alone."""
        for name in self._under(prefix, "list"):
            blob = self._blobs[name].blob
            self.receipts += metadata
            yield blob if metadata else Blob(name, blob.etag, blob.size)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names under a prefix, page by page."""
        yield from self._under(prefix, "names")

    def head(self, name: str) -> Blob | None:
        """Count, and do it."""
        self.calls["head"] += 1
        return super().head(name)

    def read(self, name: str) -> Document | None:
        """Count, and do it."""
        self.calls["read"] += 1
        return super().read(name)

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Count, and do it."""
        self.calls["write"] += 1
        super().write(name, data, etag=etag, metadata=metadata)

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Count, and do it."""
        self.calls["delete"] += 1
        self._names = None
        super().delete(name, etag=etag)

    def _under(self, prefix: str, method: str) -> Iterator[str]:
        if self._names is None:
            self._names = sorted(self._blobs)
        names = self._names
        self.calls[method] += 1
        at, found = bisect_left(names, prefix), 0
        while at < len(names) and names[at].startswith(prefix):
            if found and found % PAGE == 0:
                self.calls[method] += 1
            yield names[at]
            at, found = at + 1, found + 1
            self.listed += 1

    def _put(
        self,
        name: str,
        data: bytes,
        metadata: Mapping[str, str],
        content_type: str,
        blocks: Mapping[str, bytes],
    ) -> str:
        self._names = None
        return super()._put(name, data, metadata, content_type, blocks)

    def copy(self) -> "CountingContainer":
        """Return another container that holds the same, and has counted nothing."""
        other = CountingContainer()
        other._blobs = dict(self._blobs)
        other._etags = self._etags
        return other


@dataclass(frozen=True)
class Asked:
    """What was asked of storage: pages of data blobs and of documents, blobs listed, and other calls.

    ``receipts`` are those of the blobs listed that came with their metadata.
    """

    data: int
    documents: int
    listed: int
    receipts: int
    others: int

    @property
    def calls(self) -> int:
        """All calls together."""
        return self.data + self.documents + self.others


def asked(world: World) -> Asked:
    """Return what was asked of a world's storage since the last time, and begin to count anew."""
    data, documents = world.data, world.documents
    assert isinstance(data, CountingContainer)
    assert isinstance(documents, CountingContainer)
    of_data, of_documents = (each.calls["list"] + each.calls["names"] for each in (data, documents))
    others = data.calls.total() + documents.calls.total() - of_data - of_documents
    receipts = data.receipts + documents.receipts
    counted = Asked(of_data, of_documents, data.listed + documents.listed, receipts, others)
    for container in (data, documents):
        container.calls.clear()
        container.listed = container.receipts = 0
    return counted


def copied(world: World) -> World:
    """Return a world of its own that holds the same at the same time."""
    data, documents = world.data, world.documents
    assert isinstance(data, CountingContainer)
    assert isinstance(documents, CountingContainer)
    clock = FakeClock(world.clock.now())
    return replace(world, data=data.copy(), documents=documents.copy(), clock=clock, queue=[])


def world_of_windows(count: int, length: str = "5m", kind: Kind = "log_analytics") -> World:
    """Return a world in which the ``count`` newest due windows of an export are stored and rechecked in time.

    Each was exported soon after it was due, and each of its rechecks that is due by now left its record, as
    a running app would have left them.
    """
    shape = make_export(kind=kind, window=length)
    world = World(data=CountingContainer(), documents=CountingContainer())
    due = due_until(shape, world.clock.now())
    span = Window(due - count * shape.window, due)
    export = make_export(kind=kind, window=length, start=format_second(span.start), recheck=("1h", "24h"))
    world.exports = [export]
    world.state().origin(export)
    world.state().register(export)
    store(world, span)
    for age in export.recheck:
        _record_rechecks(world, export, span, age)
    asked(world)
    return world


def store(world: World, span: Window, *, at: int | None = None) -> None:
    """Put the windows of a span there, as the one export's, read soon after they were due, or ``at``."""
    assert isinstance(world.data, CountingContainer)
    (export,) = world.exports
    for window in cells(span, export.window):
        receipt = Receipt(
            window=window,
            rows=len(rows_of(window)),
            sha256="0" * 64,
            revision=1,
            attempt="0" * 32,
            config=export.digest,
            source=export.source,
            first_time=None,
            last_time=None,
            slices=1,
            requests=1,
            answer_bytes=100,
            exported_at=window.end + export.lag + 30 * SECOND if at is None else at,
            app_version="1",
        )
        world.data.fill(blob_name(export.name, window, export.format), b"", to_metadata(receipt))


def _record_rechecks(world: World, export: Export, span: Window, age: int) -> None:
    """Record the rechecks at one age: of neighbours together where they are counted, else one by one."""
    assert isinstance(world.documents, CountingContainer)
    at_once = 1 if export.kind == "entra" else RECHECKED_AT_ONCE
    step = min(at_once * export.window, DAY)
    for start in range(span.start, span.end, step):
        window = Window(start, min(start + step, span.end))
        checked_at = window.end + export.lag + age + MINUTE
        if checked_at <= world.clock.now():
            name = f"{export.name}/rechecks/{window_id(window)}_{compact(checked_at)}.json"
            world.documents.fill(name, b"{}", {})
