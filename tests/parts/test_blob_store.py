"""Real storage, as Azurite has it: what the contract does not say, and how storage may be reached."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import trustme
from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import HttpTransport
from azure.storage.blob import BlobServiceClient

from local.azurite import ACCOUNT_KEY, Azurite
from shared.blob_store import BlobContainer, BlobStore, _listed
from shared.errors import ConflictError, StorageError
from shared.model import Blob
from shared.settings import Credential, Storage
from tests.parts.fakes import between, order, rows_of
from tests.parts.world import World, read_rows

CREDENTIAL = Credential("client_secret", "https://login.example", "tenant", "client", "secret")


class Identity:
    """Gives unsigned tokens for Storage, which Azurite takes, or fails as azure-identity does."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Return a token."""
        assert scopes == ("https://storage.azure.com/.default",)
        if self._failure:
            raise self._failure
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
            "iat": now,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": "00000000-0000-0000-0000-000000000002",
            "tid": "00000000-0000-0000-0000-000000000001",
        }
        header = {"alg": "RS256", "typ": "JWT"}
        return AccessToken(f"{_part(header)}.{_part(claims)}.c2lnbmF0dXJl", now + 3600)


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def identity(failure: Exception | None = None) -> Any:
    """Return a ``build_credential`` whose credential gives tokens, or fails."""

    def build(settings: Credential) -> TokenCredential:
        assert settings == CREDENTIAL
        return Identity(failure)

    return build


def by_connection_string(text: str) -> BlobContainer:
    """Return a new container reached with a connection string."""
    storage = Storage("EXPORT_STORAGE", connection_string=text)
    return BlobStore(storage, identity()).container(f"test-{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def secure_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, Path]]:
    """Give an Azurite over TLS that wants tokens, and the file of the authority to trust."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    cert, key, trust = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trust)
    with Azurite.start(cert=cert, key=key, oauth=True) as running:
        yield running, trust


def by_identity(azurite: Azurite, failure: Exception | None = None) -> BlobContainer:
    """Return a new container reached with an identity."""
    storage = Storage("EXPORT_STORAGE", account_url=azurite.blob_url, credential=CREDENTIAL)
    return BlobStore(storage, identity(failure)).container(f"test-{uuid.uuid4().hex}")


def test_an_identity_reaches_storage(
    secure_azurite: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage without any key: the account's URL and a token are enough to write, list and read."""
    azurite, trust = secure_azurite
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trust))
    container = by_identity(azurite)
    container.write("name", b"content", etag=None)
    assert [blob.name for blob in container.list("")] == ["name"]
    document = container.read("name")
    assert document is not None
    assert document.data == b"content"


def test_a_token_that_cannot_be_had_says_why(
    secure_azurite: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity's own words reach the log: without them nobody could mend it."""
    azurite, trust = secure_azurite
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trust))
    monkeypatch.setattr(HttpTransport, "sleep", lambda _self, _seconds: None)
    failure = ClientAuthenticationError("AADSTS7000215: Invalid client secret provided.")
    with pytest.raises(StorageError, match="AADSTS7000215"):
        by_identity(azurite, failure).head("name")


def test_blobs_are_files_and_not_encoded(azurite: Azurite) -> None:
    """The content type is set, Content-Encoding is not: ``.gz`` is the file's own form."""
    container = by_connection_string(azurite.connection_string)
    container.stage("a.jsonl.gz", "a", b"x")
    container.commit("a.jsonl.gz", ["a"], {}, etag=None, content_type="application/gzip")
    container.write("b.json", b"{}", etag=None)
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        (client,) = [
            service.get_container_client(each.name)
            for each in service.list_containers(name_starts_with=container._name)  # a name of its own
        ]
        settings = {blob.name: blob.content_settings for blob in client.list_blobs()}
    assert {name: each.content_type for name, each in settings.items()} == {
        "a.jsonl.gz": "application/gzip",
        "b.json": "application/json",
    }
    assert {each.content_encoding for each in settings.values()} == {None}


def test_a_long_listing_is_whole(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of several pages gives every blob, in order, as storage's client has it."""
    container = by_connection_string(azurite.connection_string)
    names = [f"a/{number:02} é&<" for number in range(12)]
    for number, name in enumerate(names):
        container.write(name, b"x" * number, etag=None, metadata={"n": str(number), "none": ""})
    client = container._client  # pages of 5,000 are too long for a test
    monkeypatch.setattr(container, "_client", _SmallPages(client))
    listed = list(container.list("a/", metadata=True))
    assert [blob.name for blob in listed] == names
    assert listed == [
        Blob(each.name, f'"{each.etag}"', each.size, {"n": each.metadata["n"], "none": ""})
        for each in client.list_blobs("a/", include=["metadata"])
    ]
    assert [blob.name for blob in container.list("a/")] == names
    assert list(container.names("a/")) == names
    monkeypatch.undo()
    assert [container.head(name) for name in names] == listed


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("failure", ["503", "not sent", "answer lost", "answer cut short"])
def test_a_listing_goes_on_after_a_failure(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, failure: str, number: int
) -> None:
    """The client asks again for a page that it did not get, whichever it is; what it then gets is read."""
    container = by_connection_string(azurite.connection_string)
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        container.write(name, b"", etag=None, metadata={"n": name})
    sent = _fail_once(container, failure, number, monkeypatch)
    monkeypatch.setattr(container, "_client", _SmallPages(container._client))
    assert [(blob.name, blob.metadata["n"]) for blob in container.list("", metadata=True)] == [
        (name, name) for name in names
    ]
    assert sent.count("failed") == 1
    assert len(sent) == 4


@pytest.mark.parametrize("failure", ["503", "not sent", "answer lost", "answer cut short"])
@pytest.mark.parametrize("doing", ["head", "list", "names", "read", "stage", "commit", "write", "delete"])
def test_a_request_that_fails_once_is_sent_again(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, doing: str, failure: str
) -> None:
    """The result is the usual one; but where a write took effect unseen, the next finds what it wrote."""
    container = by_connection_string(azurite.connection_string)
    container.write("a", b"content", etag=None)
    container.stage("b", "block", b"content")
    calls: dict[str, Callable[[], Any]] = {
        "head": lambda: container.head("a").size,  # type: ignore[union-attr]  # it is there
        "list": lambda: [blob.name for blob in container.list("")],
        "names": lambda: list(container.names("")),
        "read": lambda: container.read("a").data,  # type: ignore[union-attr]  # it is there
        "stage": lambda: container.stage("b", "other", b"content"),
        "commit": lambda: container.commit("b", ["block"], {}, etag=None, content_type="text/plain") and None,
        "write": lambda: container.write("c", b"content", etag=None),
        "delete": lambda: container.delete("a"),
    }
    usual = {"head": 7, "list": ["a"], "names": ["a"], "read": b"content"}
    sent = _fail_once(container, failure, 0, monkeypatch)
    if doing in {"commit", "write"} and failure != "not sent":
        with pytest.raises(ConflictError):
            calls[doing]()
    else:
        assert calls[doing]() == usual.get(doing)
    assert sent == ["failed", "passed"]
    monkeypatch.undo()
    kept = {"commit": ["a", "b"], "write": ["a", "c"], "delete": []}
    assert list(container.names("")) == kept.get(doing, ["a"])


def _fail_once(
    container: BlobContainer, failure: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Have one of the requests to come fail, from 0; return what became of each."""
    transport, sent = container._store._client()._pipeline._transport, list[str]()
    send = transport.send

    def fail_once(request: Any, **options: Any) -> Any:
        sent.append("passed" if len(sent) != number else "failed")
        if sent[-1] == "passed":
            return send(request, **options)
        if failure == "not sent":
            raise ServiceRequestError("refused")
        response = send(request, **options)
        if failure == "503":
            assert response.internal_response.content is not None  # read, so that no connection is left open
            response.status_code = 503
            return response
        response.internal_response.close()
        raise ServiceResponseError("reset") if failure == "answer lost" else IncompleteReadError("cut short")

    monkeypatch.setattr(transport, "send", fail_once)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return sent


def test_a_name_that_xml_cannot_hold_is_listed() -> None:
    """Storage then writes it as in a URL, and says so."""
    blob = ET.fromstring(  # noqa: S314 - made here
        "<Blob><Name Encoded='true'>a%EF%BF%BE%2Fb</Name><Properties><Etag>0x1</Etag>"
        "<Content-Length>5</Content-Length></Properties><Metadata /></Blob>"
    )
    assert _listed(blob) == Blob("a\ufffe/b", '"0x1"', 5, {})


class _SmallPages:
    def __init__(self, client: Any) -> None:
        self._client = client

    def list_blob_names(self, **options: Any) -> Any:
        return self._client.list_blob_names(results_per_page=5, **options)


@pytest.mark.parametrize(
    "text",
    [
        f"AccountName=a;AccountKey={ACCOUNT_KEY[:20]}secret",
        "AccountKey=secret",
        "secret",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=secret;EndpointSuffix=core.windows.net",
        "BlobEndpoint=;SharedAccessSignature=secret",
    ],
)
def test_an_unusable_connection_string_names_only_its_setting(text: str) -> None:
    """The text may hold a key, so the error says which setting and what belongs there, and nothing of it."""
    with pytest.raises(StorageError, match="EXPORT_STORAGE") as caught:
        by_connection_string(text).head("name")
    assert "secret" not in str(caught.value)
    assert not caught.value.retryable


def test_storage_that_refuses_says_what_to_do(azurite: Azurite) -> None:
    """A 403 names the role and the network rules; no retry helps; the key is not in the text."""
    wrong = base64.b64encode(b"wrong key" * 5).decode()
    container = by_connection_string(azurite.connection_string.replace(ACCOUNT_KEY, wrong))
    with pytest.raises(StorageError, match=r"403.*Storage Blob Data Contributor.*network") as caught:
        container.write("name", b"content", etag=None)
    assert not caught.value.retryable
    assert wrong not in str(caught.value)
    assert "request id not given" not in str(caught.value)


def test_nothing_is_reached_before_it_is_used() -> None:
    """Building the store, and asking for a container, touches neither network nor settings."""
    BlobStore(Storage("EXPORT_STORAGE", connection_string="nonsense"), identity()).container("name")


def test_a_window_lands_in_real_storage(azurite: Azurite) -> None:
    """The exporter's own sequence of calls does on Azurite what it does in memory, and a rerun nothing."""
    data, documents = (by_connection_string(azurite.connection_string) for _ in range(2))
    world = World(data=data, documents=documents)
    window = between("10:00", "11:00")
    assert world.exporter().run(order(world.exports[0], window)) is not None
    assert world.exporter().run(order(world.exports[0], window)) is None
    (blob,) = data.list("events/")
    assert read_rows(data, blob.name) == rows_of(window)
