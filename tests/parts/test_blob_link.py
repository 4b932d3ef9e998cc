"""A link to a stored result, on real storage: it reads that blob for a while, and does nothing else."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    ResourceTypes,
    generate_account_sas,
)

from local.azurite import ACCOUNT, ACCOUNT_KEY, Azurite
from shared.blob_store import BlobContainer, BlobStore
from shared.errors import StorageError
from shared.settings import Storage
from shared.windows import from_datetime, parse_instant
from tests.parts.test_blob_store import (
    CREDENTIAL,
    by_connection_string,
    by_identity,
    identity,
    secure_azurite,
)

__all__ = ["secure_azurite"]  # a fixture

NAME = "results/20261121T122000Z_a b/ü.json.gz"
PACKED = b"\x1f\x8bpacked"


def link(container: BlobContainer, seconds: int = 900, *, encoding: str = "gzip") -> str:
    """Store a blob and return a link to it."""
    container.stage(NAME, "a", PACKED)
    container.commit(NAME, ["a"], {}, etag=None, content_type="application/gzip")
    container.write("results/other", b"{}", etag=None)
    return container.link(
        NAME, seconds, content_type="application/json", content_encoding=encoding, file_name="result.json"
    )


def get(url: str, verify: bool | str = True) -> requests.Response:
    """Follow a link, and undo no coding."""
    return requests.get(url, timeout=30, verify=verify, stream=True)


def check_reads(url: str, verify: bool | str = True) -> None:
    """Check that a link gives the blob, and what was promised about it."""
    response = get(url, verify)
    assert response.status_code == 200, response.text
    assert response.raw.read(decode_content=False) == PACKED
    said = {
        name: response.headers.get(name)
        for name in ("Content-Type", "Content-Encoding", "Content-Disposition")
    }
    assert said == {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "Content-Disposition": 'attachment; filename="result.json"',
    }


def check_nothing_else(url: str, verify: bool | str = True) -> None:
    """Check that a link neither reads another blob, nor lists, nor writes, nor deletes."""
    whole, query = url.split("?")
    service, container = whole.split("/results/")[0].rsplit("/", 1)
    options: dict[str, Any] = {"connection_verify": verify, "retry_total": 0}
    other = BlobClient(service, container, "results/other", credential=query, **options)
    mine = BlobClient.from_blob_url(url, **options)
    everything = ContainerClient(service, container, credential=query, **options)
    for act in (
        lambda: other.download_blob().readall(),
        lambda: list(everything.list_blobs()),
        lambda: mine.upload_blob(b"x", overwrite=True),
        lambda: mine.set_blob_metadata({"a": "b"}),
        mine.delete_blob,
    ):
        with pytest.raises(HttpResponseError) as caught:
            act()
        assert caught.value.status_code == 403
    check_reads(url, verify)


def test_a_link_reads_one_blob(azurite: Azurite) -> None:
    """Whoever has it is told what the blob is to them, whatever name and type it is stored with."""
    check_reads(link(by_connection_string(azurite.connection_string)))


def test_a_link_does_nothing_else(azurite: Azurite) -> None:
    """The neighbours, the listing, and the blob's own content are out of its reach."""
    check_nothing_else(link(by_connection_string(azurite.connection_string)))


def test_a_link_without_a_coding_promises_none(azurite: Azurite) -> None:
    """Whoever cannot undo one gets the file as it is stored."""
    response = get(link(by_connection_string(azurite.connection_string), encoding=""))
    assert (response.status_code, response.content) == (200, PACKED)
    assert "Content-Encoding" not in response.headers


def test_a_link_expires(azurite: Azurite) -> None:
    """Its end is in it, signed, so many seconds from now; afterwards, or changed, it is refused."""
    container = by_connection_string(azurite.connection_string)
    now = from_datetime(datetime.now(UTC))
    url = link(container)
    said = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert said["sp"] == "r"
    assert said["sr"] == "b"
    seconds = (parse_instant(said["se"]) - now) / 10_000_000
    assert 898 <= seconds <= 960
    assert parse_instant(said["st"]) < now
    assert get(url.replace(said["se"].split("T")[0], "2099-01-01")).status_code == 403
    over = container.link(NAME, -60, content_type="x/y", content_encoding="", file_name="x")
    assert get(over).status_code == 403


def test_a_connection_by_sas_cannot_sign(azurite: Azurite) -> None:
    """It holds no key: the error says so and what to use instead, and shows nothing of the SAS."""
    everything = AccountSasPermissions(read=True, write=True, create=True, list=True)
    kinds, end = ResourceTypes(container=True, object=True), datetime(2099, 1, 1, tzinfo=UTC)
    sas = generate_account_sas(ACCOUNT, ACCOUNT_KEY, kinds, everything, end)
    text = f"BlobEndpoint={azurite.blob_url};SharedAccessSignature={sas}"
    name = f"test-{uuid.uuid4().hex}"
    BlobServiceClient.from_connection_string(azurite.connection_string).create_container(name)
    container = BlobStore(Storage("EXPORT_STORAGE", connection_string=text), identity()).container(name)
    with pytest.raises(
        StorageError, match=r"EXPORT_STORAGE.*no account key.*EXPORT_STORAGE__blobServiceUri"
    ) as caught:
        link(container)
    assert not caught.value.retryable
    assert container.head(NAME) is not None, "the connection itself is a good one"
    assert "sig=" not in str(caught.value)
    assert sas not in str(caught.value)


def test_an_identity_lends_a_key_of_its_own(
    secure_azurite: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any account key a link is signed by a user delegation key, and only good over https."""
    azurite, trust = secure_azurite
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trust))
    url = link(by_identity(azurite))
    said = parse_qs(urlsplit(url).query)
    assert said["skoid"] == ["00000000-0000-0000-0000-000000000002"]
    assert said["spr"] == ["https"]
    assert said["ske"] >= said["se"]
    check_reads(url, str(trust))
    check_nothing_else(url, str(trust))


@pytest.mark.parametrize(
    "url",
    ["https://logs.blob.core.windows.net", "https://logs.blob.core.usgovcloudapi.net/",
     "https://logs.z01.blob.storage.azure.net"],
)  # fmt: skip
def test_a_link_is_signed_for_the_account_of_any_endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's name, which is part of what is signed, is the first part of its host's name."""
    monkeypatch.setattr(BlobServiceClient, "get_user_delegation_key", lambda *_: "key")
    store = BlobStore(Storage("EXPORT_STORAGE", account_url=url, credential=CREDENTIAL), identity())
    now = datetime.now(UTC)
    assert store.signing(now, now) == {"account_name": "logs", "user_delegation_key": "key"}
