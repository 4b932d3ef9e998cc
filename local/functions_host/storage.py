"""Clients for the storage accounts that settings name, and the host's own blobs."""

from __future__ import annotations

import hashlib
import logging
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import LinearRetry, QueueClient, QueueServiceClient

from local.functions_host.settings import HostError

STORAGE_SETTING = "AzureWebJobsStorage"
HOST_CONTAINER = "azure-webjobs-hosts"

# The host asks storage many times a second; the app's own clients keep their log lines.
_QUIET = logging.getLogger("local.functions_host.storage")
_QUIET.setLevel(logging.WARNING)


class StorageError(Exception):
    """A connection that a function names is not set."""


def check_connection(connection: str, service: str, environ: Mapping[str, str]) -> None:
    """Raise `StorageError` unless the settings say where `service` (blob or queue) of `connection` is."""
    if _connection_string(connection, environ) is None and _service_uri(connection, service, environ) is None:
        raise StorageError(
            f"the connection {connection!r} is not set: add {connection} with a storage connection string "
            f"(UseDevelopmentStorage=true is Azurite), or {connection}__{service}ServiceUri, to the settings"
        )


class Storage:
    """Makes clients and keeps them: one account has one connection pool."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._queue_services: dict[str, QueueServiceClient] = {}
        self._blob_services: dict[str, BlobServiceClient] = {}

    def queue(self, connection: str, name: str) -> QueueClient:
        """Return a client that leaves the text of messages as it is: the encoding is the host's business."""
        if connection not in self._queue_services:
            self._queue_services[connection] = self._service(QueueServiceClient, connection, "queue")
        return self._queue_services[connection].get_queue_client(name)

    def host_container(self) -> ContainerClient:
        """Return the container of timer status and locks."""
        if STORAGE_SETTING not in self._blob_services:
            self._blob_services[STORAGE_SETTING] = self._service(BlobServiceClient, STORAGE_SETTING, "blob")
        return self._blob_services[STORAGE_SETTING].get_container_client(HOST_CONTAINER)

    def _service(self, client: Any, connection: str, service: str) -> Any:
        options: dict[str, Any] = {
            "logger": _QUIET,
            # Listeners come back by themselves; long retries would only hold up the end of the host.
            "retry_policy": LinearRetry(backoff=1, retry_total=1, random_jitter_range=0),
            "connection_timeout": 5,
            "read_timeout": 30,
        }
        if text := _connection_string(connection, self._environ):
            try:
                return client.from_connection_string(text, **options)
            except ValueError as error:
                raise HostError(f"{connection} is not set to a storage connection string: {error}") from error
        credential = _credential(connection, self._environ)
        return client(_service_uri(connection, service, self._environ), credential=credential, **options)


def create_container(container: ContainerClient) -> None:
    """Create it where it does not exist."""
    try:
        container.create_container()
    except ResourceExistsError:
        return


def create_queue(queue: QueueClient) -> None:
    """Create it where it does not exist."""
    try:
        queue.create_queue()
    except ResourceExistsError:
        return


def explain(error: Exception) -> str:
    """One line for the console: the service's code, or the kind of failure; nothing from a query string."""
    if isinstance(error, HttpResponseError):
        code = getattr(error, "error_code", None)
        return f"{error.status_code} {getattr(code, 'value', code) or error.reason}"
    return re.sub(r"\?\S+", "", f"{type(error).__name__}: {error}".splitlines()[0])


def host_id(app_dir: Path, environ: Mapping[str, str]) -> str:
    """Return the name that timer status is kept under: a setting, or made of machine and app folder."""
    if name := environ.get("AzureFunctionsWebHost__hostid"):
        return name.lower()
    machine = re.sub("[^a-z0-9]", "", platform.node().lower()) or "localhost"
    digest = hashlib.sha256(str(app_dir).encode()).hexdigest()
    return f"{machine[:21]}-{digest[:10]}"


def _connection_string(connection: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(f"AzureWebJobs{connection}") or environ.get(connection) or None


def _service_uri(connection: str, service: str, environ: Mapping[str, str]) -> str | None:
    account = environ.get(f"{connection}__accountName")
    default = f"https://{account}.{service}.core.windows.net" if account else None
    return environ.get(f"{connection}__{service}ServiceUri") or default


def _credential(connection: str, environ: Mapping[str, str]) -> Any:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    client_id = environ.get(f"{connection}__clientId")
    if environ.get(f"{connection}__credential", "").lower() == "managedidentity":
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)
