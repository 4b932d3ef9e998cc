"""Containers in memory in the place of a storage account, for the app and for the tests beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from shared.model import Blob
from tests.parts.memory_container import MemoryContainer


class MemoryStore:
    """Stands in for the app's `BlobStore`, and for storage's own client as far as tests use that."""

    def __init__(self) -> None:
        self._containers: dict[str, MemoryContainer] = {}

    def container(self, name: str) -> MemoryContainer:
        """The container of a name, as the app's `BlobStore` gives it."""
        return self._containers.setdefault(name, MemoryContainer())

    def get_container_client(self, name: str) -> _Client:
        """The same, as storage's client gives it."""
        return _Client(self.container(name))

    def close(self) -> None:
        """Nothing is open."""


class _Client:
    def __init__(self, container: MemoryContainer) -> None:
        self._container = container

    def list_blobs(self, prefix: str = "") -> list[Blob]:
        return list(self._container.list(prefix, metadata=True))

    def download_blob(self, name: str) -> Any:
        blob, document = self._container.head(name), self._container.read(name)
        if blob is None or document is None:
            raise ResourceNotFoundError(f"{name} does not exist")
        return SimpleNamespace(properties=blob, readall=lambda: document.data)

    def delete_blob(self, name: str) -> None:
        self._container.delete(name)
