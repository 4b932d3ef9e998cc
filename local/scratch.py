"""A container in memory, for what a source wants to remember in a run that stores nothing."""

from collections.abc import Iterator, Mapping, Sequence

from shared.errors import ConflictError
from shared.model import Blob, Document


class ScratchContainer:
    """Small blobs that end with the process. Implements `model.Container`, but for staged blocks."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[Blob, bytes]] = {}
        self._writes = 0

    def head(self, name: str) -> Blob | None:
        """Return the blob's properties, or None where there is none."""
        return self._blobs[name][0] if name in self._blobs else None

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the blobs whose names begin with a prefix, in name order."""
        del metadata  # it costs nothing here
        return iter([self._blobs[name][0] for name in sorted(self._blobs) if name.startswith(prefix)])

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that `list` finds."""
        return (blob.name for blob in self.list(prefix))

    def read(self, name: str) -> Document | None:
        """Return a blob, or None where there is none."""
        if name not in self._blobs:
            return None
        blob, data = self._blobs[name]
        return Document(data, blob.etag)

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a blob if its ETag is still `etag` (None: if there is none). Raises ConflictError."""
        before = self.head(name)
        if etag != (before.etag if before else None):
            raise ConflictError(f"{name} was written meanwhile")
        self._writes += 1
        self._blobs[name] = Blob(name, f'"{self._writes}"', len(data), dict(metadata or {})), data

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Delete a blob; one that is gone is no error."""
        del etag  # nobody else writes here
        self._blobs.pop(name, None)

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Refuse: files of rows are not kept in memory."""
        raise NotImplementedError(f"{name} is not stored: {block}, {len(data)} bytes")

    def commit(
        self,
        name: str,
        blocks: Sequence[str],
        metadata: Mapping[str, str],
        *,
        etag: str | None,
        content_type: str,
    ) -> str:
        """Refuse, as `stage` does."""
        raise NotImplementedError(
            f"{name} is not stored: {len(blocks)} blocks, {metadata}, {etag}, {content_type}"
        )
