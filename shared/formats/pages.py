"""Pages as they came: each page of a paged source is a file of its own, byte for byte. Pure.

The window's blob is their manifest. For each page it has the blob's name, size and SHA-256, and which of the
page's records are the window's: a page may also hold records from beside the window, and records that
another page has already.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from shared import rawjson
from shared.errors import ExportError, ProtocolError
from shared.file_format import Counting, ReadBlob, SingleFile, Writer
from shared.layout import MANIFEST
from shared.model import Batch, Column


class Records(msgspec.Struct, frozen=True):
    """Records of a page that follow one another: the first one's index in ``value``, and how many."""

    first: int
    count: int


class StoredPage(msgspec.Struct, frozen=True):
    """A page in the manifest: the whole name of its blob, its size, its hash, and the window's records."""

    name: str
    bytes: int
    sha256: str
    records: Sequence[Records]


class Manifest(msgspec.Struct, frozen=True):
    """The window's blob."""

    pages: Sequence[StoredPage]


class _Body(msgspec.Struct):
    value: list[msgspec.Raw]


class Pages(SingleFile):
    """The format ``pages``."""

    verbatim = True
    """Rows can only be stored on the pages that they came on."""

    @property
    def extension(self) -> str:
        """The manifest's ending."""
        return MANIFEST

    @property
    def content_type(self) -> str:
        """The manifest's media type."""
        return "application/json"

    def writer(
        self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()  # noqa: ARG002
    ) -> Writer:  # fmt: skip
        """Begin one manifest, of pages in a folder."""
        return _Pages(folder, None if before is None else read_manifest(before))

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:
        """Return how many records the window has, having read its pages. Raises ValueError as ``records``."""
        return sum(1 for _ in self.records(data, read))

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:
        """Yield the window's records from the pages that its manifest names, each on one line.

        Raises ValueError for a damaged manifest, and for a page that is damaged or gone.
        """
        for page in read_manifest(data).pages:
            document = read(page.name) if read is not None else None
            if document is None:
                raise ValueError(f"its page {page.name} is gone")
            if hashlib.sha256(document.data).hexdigest() != page.sha256:
                raise ValueError(f"its page {page.name} is damaged: its bytes are not those of the manifest")
            yield from _records_of(page, document.data)


class _Pages(Counting):
    """Gathers pages for their folder, and the manifest that names them.

    With the manifest from ``before``, its pages stay and their rows count, and only a page that brings a new
    row is added.
    """

    def __init__(self, folder: str, before: Manifest | None) -> None:
        super().__init__()
        self._folder = folder
        self._again = before is not None
        self._pages = [] if before is None else list(before.pages)
        self._rows = sum(_count(page) for page in self._pages)
        self._files: list[tuple[str, bytes]] = []
        self._numbered = 0

    def write(self, batch: Batch) -> bytes:
        """Take a page; or, without one, the times of the rows that are there already."""
        if batch.page is not None:
            self._add(batch.page, batch.rows)
        elif batch.rows:
            raise ExportError(
                f"{len(batch.rows)} rows came without the pages that they were on, so that they cannot be "
                "stored as pages; give the export another format"
            )
        self._rows += len(batch.rows)
        self._times.see([time[:-1].encode() for time in batch.times])
        return b""

    def files(self) -> list[tuple[str, bytes]]:
        """Return the pages that were taken since this was last asked."""
        files, self._files = self._files, []
        return files

    def finish(self) -> bytes:
        """Return the manifest."""
        return msgspec.json.encode(Manifest(self._pages))

    def _add(self, body: bytes, rows: Sequence[msgspec.Raw]) -> None:
        if self._again and not rows:
            return
        try:
            body.decode()
            records = list(_places(rows, rawjson.decode(body, _Body).value))
        except (*rawjson.UNREADABLE, ValueError) as error:
            raise ProtocolError(f"a page is damaged, or not the one of its rows: {error}") from error
        file = f"audit{self._numbered}.json"
        self._numbered += 1
        self._files.append((file, body))
        name, sha256 = f"{self._folder}{file}", hashlib.sha256(body).hexdigest()
        self._pages.append(StoredPage(name, len(body), sha256, records))


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest. Raises ValueError for what is none."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except rawjson.UNREADABLE as error:
        raise ValueError(f"it is no manifest of pages: {error}") from error


def _places(rows: Sequence[msgspec.Raw], value: Sequence[msgspec.Raw]) -> Iterator[Records]:
    """Yield where a page's rows stand among its records, of which they are some, in the same order.

    Raises ValueError where they are not.
    """
    found: list[int] = []
    at = 0
    for row in rows:
        while at < len(value) and bytes(value[at]) != bytes(row):
            at += 1
        if at == len(value):
            raise ValueError("a row is not on its page")
        found.append(at)
        at += 1
    for _, run in groupby(enumerate(found), lambda pair: pair[1] - pair[0]):  # the same for neighbours
        places = [place for _, place in run]
        yield Records(places[0], len(places))


def _records_of(page: StoredPage, body: bytes) -> Iterator[msgspec.Raw]:
    value = rawjson.decode(body, _Body).value  # its hash was right, so it is what was decoded before
    for run in page.records:
        found = value[run.first : run.first + run.count]
        if len(found) != run.count:
            raise ValueError(f"its page {page.name} has {len(value)} records, the manifest speaks of more")
        for record in found:
            yield msgspec.Raw(rawjson.restore(rawjson.one_line(bytes(record))))


def _count(page: StoredPage) -> int:
    return sum(run.count for run in page.records)
