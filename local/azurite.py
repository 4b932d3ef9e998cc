"""Gets and runs Azurite, Microsoft's emulator of Azure Storage, for local runs and tests."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from queue import Empty, Queue
from typing import Self

from local.child import Child
from local.node import find_node, install_packages
from local.progress import StepError

PACKAGES = Path(__file__).resolve().parent / "npm"

KEEP_ALL_BLOBS = PACKAGES / "keep_all_blobs.js"

READY_SECONDS = 60.0
"""A first start with a cold disk cache has taken half a minute."""

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The published name and key of every Azurite ("Use the Azurite emulator", Microsoft Learn); no secret."""

_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (https?://\S+)")


def ensure_installed() -> Path:
    """Install Azurite as locked, showing progress; return its `node_modules`. Raises `StepError`."""
    return install_packages(PACKAGES, "Azurite, the Storage emulator")


class Azurite:
    """A running Azurite on 127.0.0.1 that never outlives this process; a context manager."""

    def __init__(self, child: Child, urls: dict[str, str]) -> None:
        self.pid = child.pid
        self.blob_url = f"{urls['Blob']}/{ACCOUNT}"
        self.queue_url = f"{urls['Queue']}/{ACCOUNT}"
        self.table_url = f"{urls['Table']}/{ACCOUNT}"
        self.connection_string = (
            f"DefaultEndpointsProtocol={self.blob_url.partition(':')[0]};"
            f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.blob_url};QueueEndpoint={self.queue_url};TableEndpoint={self.table_url}"
        )
        self._child = child

    @classmethod
    def start(
        cls,
        *,
        folder: Path | None = None,
        blob_port: int = 0,
        queue_port: int = 0,
        table_port: int = 0,
        cert: Path | None = None,
        key: Path | None = None,
        oauth: bool = False,
    ) -> Self:
        """Install Azurite where it is not, start it and wait until it answers.

        `folder` keeps the data; without it they live in memory. Port 0 is any free one.
        `cert` and `key` (PEM files) switch to https; `oauth` then accepts any well-formed bearer token whose
        audience is Storage, unsigned ones too. Raises `StepError` where it is not up within `READY_SECONDS`.
        """
        if (cert is None) != (key is None):
            raise ValueError("Azurite.start: a certificate needs its key, and a key its certificate")
        script = ensure_installed() / "azurite" / "dist" / "src" / "azurite.js"
        # Also its working directory, which Azurite wants to be writable even with data in memory.
        directory = folder.resolve() if folder else Path(tempfile.gettempdir())
        directory.mkdir(parents=True, exist_ok=True)
        preloads: list[str | Path] = ["--require", PACKAGES / "exit_with_parent.js"]
        if folder is None:
            preloads += ["--require", KEEP_ALL_BLOBS]
        argv: list[str | Path] = [
            find_node().program, *preloads, script,
            "--silent", "--disableTelemetry", "--skipApiVersionCheck",
            "--blobPort", str(blob_port), "--queuePort", str(queue_port), "--tablePort", str(table_port),
            *(["--location", str(directory)] if folder else ["--inMemoryPersistence"]),
            *(["--cert", str(cert.resolve()), "--key", str(key.resolve())] if cert and key else []),
            *(["--oauth", "basic"] if oauth else []),
        ]  # fmt: skip
        lines: Queue[str | None] = Queue()
        child = Child(argv, cwd=directory, on_line=lines.put)
        try:
            return cls(child, _wait_until_listening(child, lines))
        except BaseException:
            child.stop()
            raise

    def stop(self) -> None:
        """Close it as SIGTERM would and wait until it is gone; safe to call twice."""
        self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _wait_until_listening(child: Child, lines: Queue[str | None]) -> dict[str, str]:
    """Read until all three services have printed their address; return service name -> origin."""
    urls: dict[str, str] = {}
    while len(urls) < 3:
        try:
            line = lines.get(timeout=READY_SECONDS)
        except Empty:
            raise StepError(_failure(f"Azurite was not ready after {READY_SECONDS:.0f} s", child)) from None
        if line is None:
            raise StepError(_failure("Azurite ended at once", child))
        if match := _LISTENING.search(line):
            urls[match[1]] = match[2]
    return urls


def _failure(what: str, child: Child) -> str:
    return (
        f"{what}. Its last lines were:\n{child.last_words()}\n"
        "What to do: where a port is in use, end the program that has it or choose another; else remove\n"
        f"{PACKAGES / 'node_modules'} and run the same command again."
    )
