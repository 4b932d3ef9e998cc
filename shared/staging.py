"""Gathers a window's bytes into staged blocks, which one commit turns into the window's blob."""

import hashlib
import uuid

from shared.errors import ConflictError
from shared.model import Container, Receipt
from shared.receipts import to_metadata

BLOCK_BYTES = 8 << 20


class Staging:
    """One attempt to store one window's blob.

    Block ids carry the attempt's id and have one length, as the service demands of a blob's blocks.
    """

    def __init__(self, data: Container, name: str) -> None:
        self._data = data
        self._held = bytearray()
        self._blocks: list[str] = []
        self._hash = hashlib.sha256()
        self.name = name
        self.attempt = uuid.uuid4().hex
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self._held += data
        while len(self._held) >= BLOCK_BYTES:
            self._stage(bytes(self._held[:BLOCK_BYTES]))
            del self._held[:BLOCK_BYTES]

    def finish(self) -> str:
        """Stage what is left; return the SHA-256 of the whole file."""
        if self._held:
            self._stage(bytes(self._held))
            self._held.clear()
        return self._hash.hexdigest()

    def commit(self, receipt: Receipt, content_type: str, etag: str | None) -> bool:
        """Make the blob appear if what is there still has that ETag, or still is not there (None).

        Return False when another worker's is there instead. Storage may commit and the answer be lost on its
        way: then the refusal of the repeated commit is ours to read, and the stored receipt tells whose blob
        it is.
        """
        try:
            self._data.commit(
                self.name, self._blocks, to_metadata(receipt), etag=etag, content_type=content_type
            )
        except ConflictError:
            stored = self._data.head(self.name)
            if stored is None:  # refused because of another worker's blob, which is gone again
                raise
            return stored.metadata.get("attempt") == self.attempt
        return True

    def _stage(self, block: bytes) -> None:
        block_id = f"{self.attempt}-{len(self._blocks):05d}"
        self._data.stage(self.name, block_id, block)
        self._blocks.append(block_id)
        self._hash.update(block)
        self.size += len(block)
