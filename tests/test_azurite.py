"""Azurite starts when asked, keeps what it should, and is gone when nobody needs it any more."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import trustme
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from local.azurite import KEEP_ALL_BLOBS, PACKAGES, Azurite, ensure_installed
from local.environment import ROOT
from local.node import find_node
from local.progress import StepError
from tests.processes import is_running, wait_until_gone


def test_connection_string_works_for_blobs_and_queues(azurite: Azurite) -> None:
    """One connection string serves both of the clients that the app and its host use."""
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        container = blobs.create_container("test-azurite")
        container.upload_blob("name", b"content")
        assert container.download_blob("name").readall() == b"content"
        assert container.url == f"{azurite.blob_url}/test-azurite"
    with QueueClient.from_connection_string(azurite.connection_string, "test-azurite") as queue:
        queue.create_queue()
        queue.send_message("content")
        assert [message.content for message in queue.receive_messages()] == ["content"]
        assert queue.url == f"{azurite.queue_url}/test-azurite"


def test_a_folder_keeps_the_data(tmp_path: Path) -> None:
    """What was written is there after a restart on the same folder, also where its path has a space."""
    folder = tmp_path / "with a space"
    with Azurite.start(folder=folder) as first, _blobs(first.connection_string) as blobs:
        blobs.create_container("kept").upload_blob("name", b"content")
    with Azurite.start(folder=folder) as second, _blobs(second.connection_string) as blobs:
        assert blobs.get_blob_client("kept", "name").download_blob().readall() == b"content"


def test_in_memory_it_takes_no_pause_to_forget() -> None:
    """Azurite's collector of old content, during which it answers nobody, does not run for days."""
    code = (
        "const Manager = require('azurite/dist/src/blob/gc/BlobGCManager').default;"
        "console.log(new Manager({}, {}, {}, () => {}, {}).gcIntervalInMS)"
    )
    preloads: list[list[str | Path]] = [[], ["--require", KEEP_ALL_BLOBS]]
    ensure_installed()
    pauses = [
        int(subprocess.check_output([find_node().program, *preload, "-e", code], cwd=PACKAGES))
        for preload in preloads
    ]
    assert pauses == [10 * 60 * 1000, 2**31 - 1]


def test_stop_ends_the_process(tmp_path: Path) -> None:
    """After `stop` the process is gone and its port refuses connections."""
    running = Azurite.start(folder=tmp_path)
    running.stop()
    assert not is_running(running.pid)
    with pytest.raises(requests.ConnectionError):
        requests.get(running.blob_url, timeout=5)
    running.stop()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL; the test holds the same mechanism")
def test_it_ends_with_a_killed_parent() -> None:
    """Even a parent that is killed without a chance to tidy up leaves no Azurite behind."""
    code = "import time, local.azurite as a; print(a.Azurite.start().pid, flush=True); time.sleep(600)"
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(pid)


def test_a_taken_port_is_a_clear_error(azurite: Azurite, tmp_path: Path) -> None:
    """The message has Azurite's own words, which name the port, and says what to do."""
    port = int(azurite.blob_url.split(":")[2].split("/")[0])
    with pytest.raises(StepError, match=rf"(?s){port}.*What to do"):
        Azurite.start(folder=tmp_path, blob_port=port)


def test_tls_and_identity(tmp_path: Path) -> None:
    """With a certificate it speaks https, and with `oauth` it takes a token for Storage and no other."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    cert, key, trust = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trust)
    with Azurite.start(cert=cert, key=key, oauth=True) as running:
        assert running.blob_url.startswith("https://")
        credential = _Credential("https://storage.azure.com")
        with BlobServiceClient(running.blob_url, credential, connection_verify=str(trust)) as good:
            good.create_container("identity")
            assert [container.name for container in good.list_containers()] == ["identity"]
        foreign = BlobServiceClient(
            running.blob_url,
            _Credential("https://graph.microsoft.com"),
            connection_verify=str(trust),
            retry_total=0,
        )
        with foreign, pytest.raises(ClientAuthenticationError):
            foreign.create_container("refused")


class _Credential:
    """Gives unsigned tokens for one audience."""

    def __init__(self, audience: str) -> None:
        now = int(time.time())
        claims = {
            "aud": audience, "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
            "iat": now, "nbf": now - 60, "exp": now + 3600, "oid": "00000000-0000-0000-0000-000000000002",
        }  # fmt: skip
        self._token = AccessToken(
            f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}.c2lnbmF0dXJl", now + 3600
        )

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return self._token


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@contextmanager
def _blobs(connection_string: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(connection_string) as client:
        yield client
