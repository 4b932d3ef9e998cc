"""The two things that the demo looks at from outside: the app in its host, and the storage it writes to."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient
from azure.storage.queue import QueueClient

from local.child import Child
from local.compare import Stored
from local.environment import ROOT
from local.progress import Step, StepError, say

CONTAINER = "exports"
QUEUE = "export-windows"
SETTINGS = "settings.json"
"""The file with the app's settings, beside its log."""
READY_SECONDS = 60.0

_OWN_PREFIXES = ("AZURE_", "EXPORT", "LOG_ANALYTICS_", "GRAPH_", "ARM_", "AzureWebJobs", "IDENTITY_", "MSI_")
"""Variables of the developer's own shell that would send the demo elsewhere."""


class App:
    """The app, running in its host as a process of its own."""

    def __init__(self, child: Child, port: int, log: Path) -> None:
        self.child = child
        self.port = port
        self.log = log
        self.echo = False
        """Whether its console is also shown here."""
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc: this is loopback

    def wait_until_ready(self) -> None:
        """Wait until the host answers. Raises `StepError`."""
        deadline = time.monotonic() + READY_SECONDS
        with Step("Starting the app in its host"):
            while True:
                self.require_alive()
                with contextlib.suppress(requests.RequestException):
                    if self._session.get(self._url("admin/host/ping"), timeout=5).ok:
                        return
                if time.monotonic() > deadline:
                    raise StepError(
                        f"The app did not answer within {READY_SECONDS:.0f} s. {self.where_to_look()}"
                    )
                time.sleep(0.1)

    def run_function(self, name: str) -> None:
        """Run a function now, as the portal does; it runs in the background."""
        answer = self._session.post(self._url(f"admin/functions/{name}"), json={"input": ""}, timeout=30)
        if answer.status_code != 202:
            raise StepError(
                f"Running {name} was answered {answer.status_code}: {answer.text}\n{self.where_to_look()}"
            )

    def query(self, question: Mapping[str, str]) -> dict[str, Any]:
        """Ask a question over HTTP; return the answer."""
        answer = self._session.post(self._url("api/query"), json=question, timeout=240)
        if answer.status_code != 200:
            raise StepError(
                f"The query was answered {answer.status_code}: {answer.text}\n{self.where_to_look()}"
            )
        content = answer.json()
        if not isinstance(content, dict):
            raise StepError(f"The query was answered with {type(content).__name__}. {self.where_to_look()}")
        return content

    def require_alive(self) -> None:
        """Raise `StepError` if the host has ended."""
        if (code := self.child.exit_code()) is not None:
            raise StepError(f"The app's host ended (exit code {code}). {self.where_to_look()}")

    def where_to_look(self) -> str:
        """The last lines of its console and where the rest is."""
        return f"The last lines of its console, of which {self.log} has all:\n{self.child.last_words()}"

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


class Storage:
    """What the app has written, read with Microsoft's client."""

    def __init__(self, connection_string: str) -> None:
        self._container = ContainerClient.from_connection_string(connection_string, CONTAINER)
        self._queue = QueueClient.from_connection_string(connection_string, QUEUE)
        self._poison = QueueClient.from_connection_string(connection_string, f"{QUEUE}-poison")

    def spans(self) -> dict[str, list[tuple[int, int]]]:
        """Export -> the windows that have a blob, in ticks."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for blob in self._list():
            found[blob.name.partition("/")[0]].append(Stored(blob.name, blob.metadata or {}, b"").span)
        return found

    def blobs(self) -> list[Stored]:
        """Every blob with its content."""
        return [
            Stored(blob.name, blob.metadata or {}, self._container.download_blob(blob.name).readall())
            for blob in self._list()
        ]

    def queued(self) -> int:
        """Messages in the queue, those being worked on included."""
        return _length(self._queue)

    def poisoned(self) -> int:
        """Messages that failed as often as they may."""
        return _length(self._poison)

    def _list(self) -> Iterator[BlobProperties]:
        with contextlib.suppress(ResourceNotFoundError):  # before the first window there is no container
            yield from self._container.list_blobs(include=["metadata"])


def start_app(folder: Path, port: int, settings: Mapping[str, str]) -> App:
    """Start the host with these app settings, and none of the developer's own; its files are in `folder`."""
    file = folder / SETTINGS
    values = {"FUNCTIONS_WORKER_RUNTIME": "python", **settings}
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}, indent=2), encoding="utf-8")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in values and not name.startswith(_OWN_PREFIXES)
    }
    log = folder / "host.log"
    console = _Console(log.open("w", encoding="utf-8"))
    argv = [sys.executable, "-m", "local.tethered", "local.host"]
    argv += ["--app", str(ROOT), "--port", str(port), "--settings", str(file)]
    app = App(Child(argv, cwd=ROOT, env=environment, on_line=console), port, log)
    console.app = app
    return app


class _Console:
    """Writes the host's console to the log, and here while the app's `echo` says so."""

    def __init__(self, log: IO[str]) -> None:
        self.app: App | None = None
        self._log = log

    def __call__(self, line: str | None) -> None:
        if line is None:
            self._log.close()
            return
        self._log.write(line + "\n")
        self._log.flush()
        if self.app and self.app.echo:
            say(line)


def require_free_port(port: int) -> None:
    """Raise `StepError` where something already listens on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        if os.name != "nt":  # there it would let two programs share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StepError(
                f"Port {port} of this machine cannot be used: {error.strerror or error}.\n"
                "What to do: end the program that has it (perhaps another demo or `func start`), or choose\n"
                f"another port: python3 dev.py demo --port {port + 1}"
            ) from error


def _length(queue: QueueClient) -> int:
    try:
        return queue.get_queue_properties().approximate_message_count or 0
    except ResourceNotFoundError:
        return 0
