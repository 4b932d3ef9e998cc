"""Attempts to store a window, and the folders in which they keep files beside the window's blob.

Such files are stored before the blob that names them, the manifest, so that an attempt which dies, or comes
second, leaves files that nobody names. A marker in the state container stands for each attempt with a folder
until what it left is cleared away: by itself once it is through, else by a sweep.
"""

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Generator
from dataclasses import dataclass

import msgspec

from shared.errors import ConflictError, ExportError
from shared.layout import (
    MANIFEST,
    blob_name,
    compact,
    expand,
    pages_prefix,
    parse_blob_name,
    parse_window_id,
    window_id,
)
from shared.model import Blob, Clock, Container, Window
from shared.windows import HOUR

_log = logging.getLogger(__name__)

_MARKERS = "page_folders/"  # no name of an export has an underscore
ABANDONED = HOUR
"""How old a marker is (ticks) whose attempt is dead for sure: several times what a function may take."""


class Attempt:
    """One attempt to store one window; ``id`` is its alone, and ``folder`` is where its files go."""

    def __init__(self, export: str, window: Window, data: Container, documents: Container, now: int) -> None:
        self.export = export
        self.window = window
        self.id = uuid.uuid4().hex
        self.folder = f"{pages_prefix(export, window)}{self.id}/"
        self.marker = f"{_MARKERS}{export}/{window_id(window)}_{compact(now)}_{self.id}.json"
        self.marked = False
        self._data = data
        self._documents = documents

    def mark(self) -> None:
        """Leave a marker before the first thing that may have to be cleared away."""
        if not self.marked:
            self._write(self._documents, self.marker, msgspec.json.encode({"folder": self.folder}))
            self.marked = True

    def put(self, file: str, data: bytes) -> None:
        """Store a file in the attempt's folder."""
        self.mark()
        self._write(self._data, f"{self.folder}{file}", data)

    @staticmethod
    def _write(container: Container, name: str, data: bytes) -> None:
        # The name is this attempt's alone: where it is taken, a write went through whose answer was lost.
        with contextlib.suppress(ConflictError):
            container.write(name, data, etag=None)


@dataclass(frozen=True, slots=True)
class _Marker:
    """What a marker's name says: of which attempt it is, and when that began (ticks)."""

    name: str
    export: str
    window: Window
    began: int
    attempt: str


class Attempts:
    """Begins attempts, and clears away what no manifest names. Thread-safe."""

    def __init__(self, data: Container, documents: Container, clock: Clock) -> None:
        self._data = data
        self._documents = documents
        self._clock = clock

    @contextlib.contextmanager
    def of(self, export: str, window: Window) -> Generator[Attempt]:
        """Begin an attempt; when the block ends, clear the window's folders of what no manifest names.

        Not after an error: a commit whose answer was lost may yet take effect, so that is left to a sweep.
        """
        attempt = Attempt(export, window, self._data, self._documents, self._clock.now())
        yield attempt
        if attempt.marked:
            try:
                self._settle(export, window, attempt.id, attempt.marker)
            except ExportError as error:  # the window is stored, and that counts
                _log.warning("folders are left to a sweep export=%s: %s", export, error)

    def remove(self, blob: Blob) -> None:
        """Delete a window's blob, and the files that only it named.

        Raises ConflictError when it is not the same blob any more.
        """
        found = parse_blob_name(blob.name)
        if found is None or found[1] != MANIFEST:
            self._data.delete(blob.name, etag=blob.etag)
            return
        with self.of(blob.name.partition("/")[0], found[0]) as attempt:
            attempt.mark()
            self._data.delete(blob.name, etag=blob.etag)

    def sweep(self) -> None:
        """Clear away what attempts left that died. What goes wrong is logged, and left to the next sweep."""
        try:
            markers = list(self._markers(_MARKERS))
        except ExportError as error:
            _log.warning("the folders of attempts could not be swept: %s", error)
            return
        for marker in markers:
            if self._is_alive(marker):
                continue
            try:
                self._settle(marker.export, marker.window, marker.attempt, marker.name)
            except ExportError as error:
                _log.warning("a folder could not be swept marker=%s: %s", marker.name, error)

    def _settle(self, export: str, window: Window, done: str, marker: str) -> None:
        """Delete the window's files that neither its manifest names nor an attempt that may be alive.

        Looks at the files first, then at the attempts, then at the manifest: a file's attempt has its marker
        before the file, and until after its manifest is there, so that no step of it is overlooked. While the
        manifest is damaged, nobody knows what it names, and all stays. The marker is deleted when nothing is
        there but what is named: another attempt that was spared may have seen itself named by the manifest
        that this one deleted or replaced.
        """
        files = list(self._data.list(pages_prefix(export, window)))
        near = self._markers(f"{_MARKERS}{export}/{window_id(window)}_")
        alive = {marker.attempt for marker in near if marker.attempt != done and self._is_alive(marker)}
        manifest = self._manifest(blob_name(export, window, MANIFEST))
        if manifest is None:
            return
        spared = False
        for file in files:
            folder, _, _ = file.name.rpartition("/")
            if f"{folder}/".encode() in manifest:
                continue
            if folder.rpartition("/")[2] in alive:
                spared = True
            else:
                self._data.delete(file.name)
        if not spared:
            self._documents.delete(marker)

    def _manifest(self, name: str) -> bytes | None:
        """Return a manifest's bytes, none at all where there is no manifest; None for a damaged one."""
        document = self._data.read(name)
        blob = self._data.head(name)
        if document is None and blob is None:
            return b""
        if document is None or blob is None or blob.etag != document.etag:
            raise ConflictError(f"{name} is being replaced")
        intact = hashlib.sha256(document.data).hexdigest() == blob.metadata.get("sha256")
        return document.data if intact else None

    def _is_alive(self, marker: _Marker) -> bool:
        return marker.began > self._clock.now() - ABANDONED

    def _markers(self, prefix: str) -> Generator[_Marker]:
        for blob in self._documents.list(prefix):
            try:
                _, export, name = blob.name.split("/")
                window, began, attempt = name.removesuffix(".json").rsplit("_", 2)
                yield _Marker(blob.name, export, parse_window_id(window), expand(began), attempt)
            except ValueError:
                _log.warning("a document that is no marker was passed over: %s", blob.name)
