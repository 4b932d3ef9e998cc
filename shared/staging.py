"""Gathers a file's bytes into staged blocks, which one commit turns into a blob."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from shared.attempts import Attempt
from shared.errors import ConflictError
from shared.model import Container

BLOCK_BYTES = 4 << 20
"""Small enough that a window's last block is soon uploaded, after all its rows are there."""


class Blocks:
    """A blob in the making; a context manager, so that nothing is sent after its end.

    ``writer`` is the id of who makes it, and of nobody else. Block ids carry it and have one length, as the
    service demands of a blob's blocks.

    A full block is uploaded while the next one is gathered: two of them are in memory at most. Its error is
    raised by the next call that has something to upload. The last block is uploaded by ``finish`` itself.
    """

    def __init__(self, data: Container, name: str, writer: str) -> None:
        self._data = data
        self._writer = writer
        self._held = bytearray()
        self._blocks: list[str] = []
        self._dropped = 0
        self._hash = hashlib.sha256()
        self._uploads = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._upload: Future[None] | None = None
        self.name = name
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.shutdown()

    def add(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self._held += data
        while len(self._held) >= BLOCK_BYTES:
            block = bytes(memoryview(self._held)[:BLOCK_BYTES])
            del self._held[:BLOCK_BYTES]
            block_id = self._next_id(block)
            self._await_upload()
            self._upload = self._uploads.submit(self._data.stage, self.name, block_id, block)

    def restart(self) -> None:
        """Forget what was added. Blocks that were uploaded go with the commit, which does not name them."""
        self._await_upload()
        self._dropped += len(self._blocks)
        self._blocks.clear()
        self._held.clear()
        self._hash = hashlib.sha256()
        self.size = 0

    def finish(self) -> str:
        """Stage what is left, beside the block that is on its way; return the SHA-256 of the whole file."""
        if self._held:
            block = bytes(self._held)
            self._data.stage(self.name, self._next_id(block), block)
            self._held.clear()
        self._await_upload()
        return self._hash.hexdigest()

    def commit(self, metadata: Mapping[str, str], content_type: str, etag: str | None) -> bool:
        """Make the blob appear if what is there still has that ETag, or still is not there (None).

        Return False when another writer's is there instead. Storage may commit and the answer be lost on its
        way: then the refusal of the repeated commit is ours to read, and the stored metadata tell by their
        ``attempt`` whose blob it is.
        """
        try:
            self._data.commit(
                self.name,
                self._blocks,
                {**metadata, "attempt": self._writer},
                etag=etag,
                content_type=content_type,
            )
        except ConflictError:
            stored = self._data.head(self.name)
            if stored is None:  # refused because of another writer's blob, which is gone again
                raise
            return stored.metadata.get("attempt") == self._writer
        return True

    def _next_id(self, block: bytes) -> str:
        """Put a block into the list of those to be committed; return its id."""
        block_id = f"{self._writer}-{self._dropped + len(self._blocks):05d}"
        self._blocks.append(block_id)
        self._hash.update(block)
        self.size += len(block)
        return block_id

    def _await_upload(self) -> None:
        """Wait for the block that is being uploaded; raise its error."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.result()


class Staging(Blocks):
    """The blob of an attempt to store a window."""

    def __init__(self, data: Container, name: str, attempt: Attempt) -> None:
        super().__init__(data, name, attempt.id)
        self.attempt = attempt
