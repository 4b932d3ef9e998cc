"""A container in memory. The suite in ``test_container.py`` holds it to what real storage does."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from shared.errors import ConflictError, StorageError
from shared.model import Blob, Document


@dataclass(frozen=True)
class _Stored:
    blob: Blob
    data: bytes
    content_type: str
    blocks: Mapping[str, bytes] = field(default_factory=dict)


class MemoryContainer:
    """One container, which the first write to it creates. Thread-safe.

    Implements ``model.LinkingContainer``.
    """

    def __init__(self) -> None:
        self._blobs: dict[str, _Stored] = {}
        self._staged: dict[str, dict[str, bytes]] = {}
        self._etags = itertools.count(1)
        self._lock = threading.Lock()

    def head(self, name: str) -> Blob | None:
        """Return the blob's properties, or None where there is none."""
        stored = self._blobs.get(name)
        return stored.blob if stored else None

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the committed blobs whose names begin with a prefix, in name order."""
        with self._lock:
            found = sorted((name, each.blob) for name, each in self._blobs.items() if name.startswith(prefix))
        for name, blob in found:
            yield blob if metadata else Blob(name, blob.etag, blob.size)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that ``list`` finds."""
        return (blob.name for blob in self.list(prefix))

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Keep one block aside. The ids of all blocks of a blob have one length ("Put Block")."""
        with self._lock:
            staged = self._staged.setdefault(name, {})
            known = [*staged, *(self._blobs[name].blocks if name in self._blobs else ())]
            if any(len(each) != len(block) for each in known):
                raise StorageError(
                    f"staging a block of {name} failed: 400 InvalidBlobOrBlock", retryable=False
                )
            staged[block] = data

    def commit(
        self,
        name: str,
        blocks: Sequence[str],
        metadata: Mapping[str, str],
        *,
        etag: str | None,
        content_type: str,
    ) -> str:
        """Make blocks and metadata the blob, and forget every other block that was staged for it.

        Returns the new ETag.
        """
        with self._lock:
            self._check(name, etag)
            before = self._blobs.get(name)
            known = {**(before.blocks if before else {}), **self._staged.get(name, {})}
            if any(block not in known for block in blocks):
                raise ConflictError(f"committing {name}: somebody else wrote first (InvalidBlockList)")
            chosen = {block: known[block] for block in blocks}
            data = b"".join(known[block] for block in blocks)
            return self._put(name, data, metadata, content_type, chosen)

    def read(self, name: str) -> Document | None:
        """Return a small blob, or None where there is none."""
        stored = self._blobs.get(name)
        return Document(stored.data, stored.blob.etag) if stored else None

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a small blob if its ETag is still ``etag`` (None: if there is none). Raises ConflictError."""
        with self._lock:
            self._check(name, etag)
            self._put(name, data, metadata or {}, "application/json", {})

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Delete a blob, where ``etag`` is given only if it is still that; one that is gone is no error."""
        with self._lock:
            if etag is not None and name in self._blobs:
                self._check(name, etag)
            self._blobs.pop(name, None)

    def link(
        self, name: str, seconds: int, *, content_type: str, content_encoding: str, file_name: str
    ) -> str:
        """Return a URL that says what it promises; nobody serves it."""
        said = {"se": seconds, "rsct": content_type, "rsce": content_encoding, "rscd": file_name}
        return f"https://memory.example/{name}?{urlencode(said)}"

    def _check(self, name: str, etag: str | None) -> None:
        stored = self._blobs.get(name)
        if etag != (stored.blob.etag if stored else None):
            raise ConflictError(f"writing {name}: somebody else wrote first (ConditionNotMet)")

    def _put(
        self,
        name: str,
        data: bytes,
        metadata: Mapping[str, str],
        content_type: str,
        blocks: Mapping[str, bytes],
    ) -> str:
        blob = Blob(name, f'"0x{next(self._etags):X}"', len(data), dict(metadata))
        self._blobs[name] = _Stored(blob, data, content_type, blocks)
        self._staged.pop(name, None)
        return blob.etag
