"""Blob containers. The only module that imports azure-storage-blob, and only when storage is first touched.

Blocks are staged and committed with plain block-blob calls ("Put Block", "Put Block List"), and every write
that decides something carries a condition, so that two writers never both believe they won.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from shared import VERSION
from shared.errors import ConflictError, StorageError
from shared.model import Blob, Document
from shared.settings import Credential, Storage

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient, ContainerClient

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CONFLICTS = frozenset({"BlobAlreadyExists", "ConditionNotMet", "InvalidBlockList", "TargetConditionNotMet"})


class BlobStore:
    """One storage account. The client is built on first use. Thread-safe."""

    def __init__(self, storage: Storage, build_credential: "Callable[[Credential], TokenCredential]") -> None:
        self.setting = storage.setting
        self._storage = storage
        self._build_credential = build_credential
        self._lock = threading.Lock()
        self._service: BlobServiceClient | None = None

    def container(self, name: str) -> "BlobContainer":
        """Return one container of the account; it need not exist yet."""
        return BlobContainer(self, name)

    def client(self, container: str) -> "ContainerClient":
        """Return azure-storage-blob's client of a container. Raises StorageError for unusable settings."""
        return self._client().get_container_client(container)

    def signing(self, start: datetime, end: datetime) -> dict[str, Any]:
        """Return what signs links between two times: the account's name, and its key or one lent to us.

        Source: "Create a user delegation SAS". Raises StorageError for a connection that has neither key.
        """
        client = self._client()
        # The client does not find the name in every endpoint's host (ACCOUNT.z01.blob.storage.azure.net).
        account = client.account_name or urlsplit(client.url).netloc.partition(".")[0]
        if self._storage.connection_string is None:
            lent = client.get_user_delegation_key(start, end)
            return {"account_name": account, "user_delegation_key": lent}
        key = getattr(client.credential, "account_key", None)
        if key is None:
            raise StorageError(
                f"the connection {self.setting} holds no account key, so it cannot sign links to results; "
                f"use one that does, or an identity ({self.setting}__blobServiceUri)",
                retryable=False,
            )
        return {"account_name": account, "account_key": key}

    def _client(self) -> "BlobServiceClient":
        with self._lock:
            if self._service is None:
                self._service = _service(self._storage, self._build_credential)
            return self._service


class BlobContainer:
    """One container, which the first write to it creates. Implements ``model.Container``."""

    def __init__(self, store: BlobStore, name: str) -> None:
        self._store = store
        self._name = name

    def head(self, name: str) -> Blob | None:
        """Return the blob's properties, or None where there is none."""
        with self._translated(f"reading the properties of {self._name}/{name}"):
            properties = _unless_missing(self._client.get_blob_client(name).get_blob_properties)
        return None if properties is None else _blob(properties)

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the committed blobs whose names begin with a prefix, in name order."""
        from azure.core.exceptions import ResourceNotFoundError
        from azure.core.pipeline.policies import ContentDecodePolicy

        # The client makes objects of all that storage says of a blob, eight times the work of reading it. So
        # it is asked for names only, and the rest is read from the XML that it has parsed for them, which is
        # in the request's context. The hook for responses is lost where the client repeats a request after a
        # broken connection.
        requests: list[Any] = []
        with self._translated(f"listing {self._name}/{prefix}"):
            try:
                pages = self._client.list_blob_names(
                    name_starts_with=prefix,
                    include=["metadata"] if metadata else None,
                    raw_request_hook=requests.append,
                ).by_page()
                for _ in pages:
                    page = requests.pop().context[ContentDecodePolicy.CONTEXT_NAME]
                    yield from map(_listed, page.iterfind("Blobs/Blob"))
            except ResourceNotFoundError:  # the container: nothing was ever stored
                return

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that ``list`` finds, without building an object for each."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._translated(f"listing {self._name}/{prefix}"):
            try:
                yield from self._client.list_blob_names(name_starts_with=prefix)
            except ResourceNotFoundError:  # the container: nothing was ever stored
                return

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Upload one block. Nothing is visible until a commit names it."""
        client = self._client.get_blob_client(name)
        with self._translated(f"staging a block of {self._name}/{name}"):
            self._creating(lambda: client.stage_block(block, data, length=len(data)))

    def commit(
        self,
        name: str,
        blocks: Sequence[str],
        metadata: Mapping[str, str],
        *,
        etag: str | None,
        content_type: str,
    ) -> str:
        """Make blocks and metadata the blob, at once, if its ETag is still ``etag`` (None: there is none)."""
        from azure.storage.blob import BlobBlock, ContentSettings

        client = self._client.get_blob_client(name)
        with self._translated(f"committing {self._name}/{name}"):
            answer = self._creating(
                lambda: client.commit_block_list(
                    [BlobBlock(block) for block in blocks],
                    content_settings=ContentSettings(content_type=content_type),
                    metadata=dict(metadata),
                    **_condition(etag),
                )
            )
        return _quoted(answer["etag"])

    def read(self, name: str) -> Document | None:
        """Return a small blob, or None where there is none."""
        with self._translated(f"reading {self._name}/{name}"):
            download = _unless_missing(self._client.get_blob_client(name).download_blob)
            return (
                None if download is None else Document(download.readall(), _quoted(download.properties.etag))
            )

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a small blob if its ETag is still ``etag`` (None: if there is none). Raises ConflictError."""
        from azure.storage.blob import ContentSettings

        client = self._client.get_blob_client(name)
        with self._translated(f"writing {self._name}/{name}"):
            self._creating(
                lambda: client.upload_blob(
                    data,
                    overwrite=etag is not None,
                    content_settings=ContentSettings(content_type="application/json"),
                    metadata=dict(metadata or {}),
                    **(_condition(etag) if etag is not None else {}),
                )
            )

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Delete a blob, where ``etag`` is given only if it is still that; one that is gone is no error."""
        condition = {} if etag is None else _condition(etag)
        client = self._client.get_blob_client(name)
        try:
            with self._translated(f"deleting {self._name}/{name}"):
                _unless_missing(lambda: client.delete_blob(**condition))
        except ConflictError:  # also what storage says of a blob that is gone
            if self.head(name) is not None:
                raise

    def link(
        self, name: str, seconds: int, *, content_type: str, content_encoding: str, file_name: str
    ) -> str:
        """Return a URL that reads one blob for so many seconds from now."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        blob = self._client.get_blob_client(name)
        now = datetime.now(UTC)
        end = now + timedelta(seconds=seconds)
        start = now - timedelta(minutes=5)  # storage's clock may be behind ours
        with self._translated(f"signing a link to {self._name}/{name}"):
            signature = generate_blob_sas(
                container_name=self._name,
                blob_name=name,
                permission=BlobSasPermissions(read=True),
                start=start,
                expiry=end,
                protocol="https" if blob.url.startswith("https:") else None,
                content_type=content_type,
                content_encoding=content_encoding or None,
                content_disposition=f'attachment; filename="{file_name}"',
                **self._store.signing(start, end),
            )
        return f"{blob.url}?{signature}"

    @cached_property
    def _client(self) -> "ContainerClient":
        return self._store.client(self._name)

    def _translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return _translated(doing, self._store.setting)

    def _creating(self, write: Callable[[], Any]) -> Any:
        """Write; where the container is missing, create it and write again. Returns storage's answer."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        try:
            return write()
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) != "ContainerNotFound":
                raise
            with contextlib.suppress(ResourceExistsError):  # another worker was quicker
                self._client.create_container()
            return write()


def _service(
    storage: Storage, build_credential: "Callable[[Credential], TokenCredential]"
) -> "BlobServiceClient":
    from azure.storage.blob import BlobServiceClient

    options: dict[str, Any] = {
        "user_agent": f"azure-log-exports/{VERSION}",
        "retry_total": 4,
        "initial_backoff": 1,  # seconds; each next wait is longer by 2, 4, 8
        "increment_base": 2,
    }
    try:
        if storage.connection_string is not None:
            return BlobServiceClient.from_connection_string(storage.connection_string, **options)
        if storage.account_url is None or storage.credential is None:
            raise ValueError("neither a connection string nor an account URL")
        return BlobServiceClient(storage.account_url, build_credential(storage.credential), **options)
    except ValueError as error:
        # The text of a bad connection string may hold its key, so only the setting is named.
        raise StorageError(
            f"the setting {storage.setting} is not a storage connection that can be used; expected a "
            f"connection string, or {storage.setting}__blobServiceUri for a connection with an identity",
            retryable=False,
        ) from error


def _condition(etag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions

    if etag is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"match_condition": MatchConditions.IfNotModified, "etag": etag}


def _blob(properties: Any) -> Blob:
    return Blob(properties.name, _quoted(properties.etag), properties.size, dict(properties.metadata or {}))


def _listed(blob: Any) -> Blob:
    """Return what the XML of a listing says of one blob ("List Blobs")."""
    name = blob.find("Name")
    return Blob(
        unquote(name.text) if name.get("Encoded") == "true" else name.text,  # what XML cannot hold
        _quoted(blob.findtext("Properties/Etag")),
        int(blob.findtext("Properties/Content-Length")),
        {each.tag: each.text or "" for each in blob.iterfind("Metadata/*")},
    )


def _quoted(etag: str) -> str:
    """Return an ETag as HTTP writes it; listings leave out the quotes."""
    return f'"{etag.strip(chr(34))}"'


def _unless_missing(call: Any) -> Any:
    """Return the call's result, or None where the blob or its container does not exist."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return call()
    except ResourceNotFoundError:
        return None


@contextlib.contextmanager
def _translated(doing: str, setting: str) -> Generator[None]:
    """Turn azure-core's errors into ours: what was being done, the code, the request id; never a SAS."""
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceExistsError,
        ResourceModifiedError,
    )

    try:
        yield
    except (ResourceExistsError, ResourceModifiedError) as error:
        raise ConflictError(f"{doing}: somebody else wrote first ({_code(error)})") from error
    except ClientAuthenticationError as error:
        if hasattr(error, "error_code"):  # storage's own refusal
            raise _failed(doing, error) from error
        # The request was never sent: no token from the identity, or a key that cannot sign. The former says
        # why; the latter's text is of no use and is left out for what it may quote.
        why = str(error) if "sign" not in type(error).__name__.lower() else "its key cannot be used"
        raise StorageError(
            f"{doing} failed: the connection {setting}: {why}",
            retryable="key" not in why and "AADSTS" not in why,
        ) from error
    except HttpResponseError as error:
        code = _code(error)
        if code in _CONFLICTS:
            raise ConflictError(f"{doing}: somebody else wrote first ({code})") from error
        raise _failed(doing, error) from error
    except AzureError as error:  # storage could not be reached, also after the client's retries
        raise StorageError(f"{doing} failed: {type(error).__name__}", retryable=True) from error


def _failed(doing: str, error: Any) -> StorageError:
    """Return what storage's refusal means to us."""
    status = error.status_code or 0
    request_id = error.response.headers.get("x-ms-request-id") if error.response is not None else None
    return StorageError(
        f"{doing} failed: {status} {_code(error)} (request id {request_id or 'not given'}){_advice(status)}",
        retryable=status in _TRANSIENT or status == 0,
    )


def _code(error: Any) -> str:
    code = getattr(error, "error_code", None) or error.reason or "unknown"
    return str(getattr(code, "value", code))  # codes that azure-storage-blob knows are members of an enum


def _advice(status: int) -> str:
    if status == 403:
        return (
            "; the app's identity needs the role Storage Blob Data Contributor, and the account's network "
            "rules must let it in"
        )
    return ""
