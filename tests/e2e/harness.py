"""The whole app in small: host, Azurite and the stand-in cloud, what a test can do to them and what it sees.

The clock is the machine's, so a world has a time line of its own: `World.end` is a whole hour that lies one
and a half to two and a half hours back, and `World.lag` is such that windows are due up to it, and none after
it for as long as a test may take. Nothing is shared with the app but the words of its storage layout.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient

from local.azurite import ACCOUNT_KEY, Azurite
from local.cloud import INGESTION_TIME, Cloud
from local.compare import SECOND, instant, ticks
from tests.host.harness import ROOT, HostProcess

QUEUE = "export-windows"
QUERIES = "queries"
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NEVER = f"0 0 0 1 {(time.gmtime().tm_mon + 5) % 12 + 1} *"
"""A schedule that does not come round while a test runs: the first of the month half a year from now."""

HOST_SETTINGS = {
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "EXPORT_LOG_ANALYTICS_SCHEDULE": NEVER,
    "EXPORT_ENTRA_SCHEDULE": NEVER,
    # What host.json says for production would have the tests wait.
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
}


@dataclass(frozen=True)
class Landed:
    """One blob of the data container, with its rows decoded; every digit of a number is kept."""

    name: str
    etag: str
    metadata: Mapping[str, str]
    content: bytes

    @property
    def export(self) -> str:
        """The export it belongs to."""
        return self.name.partition("/")[0]

    @property
    def window(self) -> tuple[int, int]:
        """The window that its receipt names, in ticks."""
        return ticks(self.metadata["window_start"]), ticks(self.metadata["window_end"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What is in it."""
        text = gzip.decompress(self.content) if self.name.endswith(".gz") else self.content
        return [json.loads(line, parse_float=Decimal) for line in text.decode("utf-8").splitlines()]


class World:
    """One deployment of the app: its settings, its exports file, its containers, and the cloud behind it.

    The queues' names are fixed, so that an Azurite holds one world at a time: a new one empties the queues.
    """

    def __init__(self, folder: Path, azurite: Azurite, cloud: Cloud, container: str | None = None) -> None:
        self.folder = folder
        self.cloud = cloud
        self.container = container or f"e2e-{uuid.uuid4().hex[:12]}"
        self.end = (now() - 30 * MINUTE) // HOUR * HOUR - HOUR
        self.settings = {
            **HOST_SETTINGS,
            **cloud.environment(),
            "AzureWebJobsStorage": azurite.connection_string,
            "AzureFunctionsWebHost__hostid": self.container,
            "EXPORT_CONTAINER": self.container,
            "EXPORTS_FILE": str(folder / "exports.toml"),
            "EXPORT_GRAPH_REQUESTS": "999",
        }
        self.processes: list[HostProcess] = []
        blobs = BlobServiceClient.from_connection_string(azurite.connection_string)
        self.data = blobs.get_container_client(self.container)
        self.state = blobs.get_container_client(f"{self.container}-state")
        self.queries = blobs.get_container_client(f"{self.container}-queries")
        self.host_blobs = blobs.get_container_client("azure-webjobs-hosts")
        queues = QueueServiceClient.from_connection_string(azurite.connection_string)
        self.queue = queues.get_queue_client(QUEUE)
        self.poison = queues.get_queue_client(f"{QUEUE}-poison")
        self.query_queue = queues.get_queue_client(QUERIES)
        query_poison = queues.get_queue_client(f"{QUERIES}-poison")
        for queue in (self.queue, self.poison, self.query_queue, query_poison):
            with contextlib.suppress(ResourceNotFoundError):
                queue.clear_messages()
        self._clients = contextlib.ExitStack()
        self._clients.enter_context(blobs)
        self._clients.enter_context(queues)

    # The time line and the exports file.

    def at(self, hours: float) -> str:
        """The instant that lies so many hours after `end`, as text."""
        return instant(self.end + round(hours * HOUR))

    def lag(self, hours: float = 0, *, margin: int = 30) -> str:
        """A lag with which the time up to so many hours after `end` is due now and for `margin` minutes more.

        The margin must be less than a window of the export.
        """
        seconds = (now() - self.end - round(hours * HOUR)) // SECOND - margin * 60
        assert seconds >= 0, f"{hours} hours after the end lies too close to the present"
        return f"{seconds}s"

    def write_exports(self, *exports: str) -> None:
        """Replace the exports file; a host reads it when it starts."""
        (self.folder / "exports.toml").write_text("\n".join(exports), encoding="utf-8")

    def table(self, name: str = "events", **keys: object) -> str:
        """An entry that exports table Event from three hours before `end`; a key that is None is left out."""
        return entry(
            {
                "name": name, "source": "log_analytics", "workspace": "%LOG_ANALYTICS_WORKSPACE_ID%",
                "table": "Event", "window": "1h", "lag": self.lag(), "start": self.at(-3), **keys,
            }
        )  # fmt: skip

    def audits(self, name: str = "audits", **keys: object) -> str:
        """An entry that exports the directory audits from three hours before `end`."""
        return entry(
            {
                "name": name, "source": "entra", "log": "directoryAudits", "window": "1h", "lag": self.lag(),
                "start": self.at(-3), **keys,
            }
        )  # fmt: skip

    # Hosts.

    @contextlib.contextmanager
    def running(self, settings: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Run a host until the block ends. Settings given here go before the world's own."""
        with self.started(settings) as process:
            yield Running(self, process.started())
            if process.process.poll() is None:
                process.stop()

    def started(
        self, settings: Mapping[str, str] | None = None, *, app_dir: Path = ROOT, invisibility: int = 2
    ) -> HostProcess:
        """Start a host, not waiting until it is up; the result is a context manager, which kills it.

        A setting with an empty text is left out. `invisibility` is how long, in seconds, a message is hidden
        from other hosts after this one was killed.
        """
        file = self.folder / f"settings-{len(self.processes)}.json"
        values = {name: text for name, text in {**self.settings, **(settings or {})}.items() if text}
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}), encoding="utf-8")
        process = HostProcess(app_dir, "--settings", str(file), "--queue-invisibility", str(invisibility))
        self.processes.append(process)
        return process

    # What landed, and what should have.

    def landed(self, export: str = "events") -> list[Landed]:
        """An export's blobs, oldest window first."""
        blobs = _read_all(self.data, f"{export}/window_date=")
        return sorted(blobs, key=lambda blob: blob.window)

    def windows(self, export: str = "events") -> list[tuple[int, int]]:
        """The windows of its blobs, oldest first, in ticks."""
        return [blob.window for blob in self.landed(export)]

    def hours(self, export: str = "events") -> list[tuple[float, float]]:
        """The same in hours after `end`."""
        return [((start - self.end) / HOUR, (end - self.end) / HOUR) for start, end in self.windows(export)]

    def ids(self, export: str = "events") -> Counter[str]:
        """How often each row landed, by its id."""
        rows = [row for blob in self.landed(export) for row in blob.rows]
        return Counter(str(row["_ItemId"] if "_ItemId" in row else row["id"]) for row in rows)

    def events_at_source(self, start: float = -3, end: float = 0) -> Counter[str]:
        """The ids of the rows of table Event that were ingested between two hours after `end`."""
        return Counter(
            str(row["_ItemId"])
            for row in self.cloud.rows("Event")
            if self._between(str(row[INGESTION_TIME] or row["TimeGenerated"]), start, end)
        )

    def audits_at_source(self, start: float = -3, end: float = 0) -> Counter[str]:
        """The ids of the directory audits between two hours after `end`."""
        return Counter(
            str(record["id"])
            for record in self.cloud.audits()
            if self._between(str(record["activityDateTime"]), start, end)
        )

    def _between(self, time: str, start: float, end: float) -> bool:
        return self.end + round(start * HOUR) <= ticks(time) < self.end + round(end * HOUR)

    # The small documents beside the data.

    def in_flight(self, kind: str = "log_analytics") -> list[dict[str, str]]:
        """What the app believes to be in flight."""
        document = json.loads(self.state.download_blob(f"in_flight/{kind}.json").readall())
        flights: list[dict[str, str]] = document["in_flight"]
        return flights

    def age_in_flight(self, kind: str = "log_analytics", *, minutes: int = 24 * 60) -> None:
        """Make what is in flight look as if it had been queued so much earlier."""
        name = f"in_flight/{kind}.json"
        document = json.loads(self.state.download_blob(name).readall())
        for flight in document["in_flight"]:
            flight["queued_at"] = instant(ticks(flight["queued_at"]) - minutes * MINUTE)
        self.state.upload_blob(name, json.dumps(document), overwrite=True)

    def failures(self, export: str = "events") -> dict[str, dict[str, str]]:
        """The failure records: name of the blob -> its metadata, and its `error`."""
        with contextlib.suppress(ResourceNotFoundError):
            return {
                blob.name: {
                    **(blob.metadata or {}),
                    "error": json.loads(self.state.download_blob(blob.name).readall())["error"],
                }
                for blob in self.state.list_blobs(f"{export}/failures/", include=["metadata"])
            }
        return {}

    def let_failures_rest_no_longer(self, export: str = "events") -> None:
        """Move the next try of every failed window into the past."""
        for name, failure in self.failures(export).items():
            past = instant(now() - MINUTE)
            kept = {key: text for key, text in failure.items() if key != "error"}
            self.state.get_blob_client(name).set_blob_metadata({**kept, "next_try": past})

    def queued(self) -> int:
        """Messages in the queue and the poison queue, those that are being worked on included.

        The queue is counted on both sides of the poison queue: a window that is given up or taken up again
        meanwhile goes from one to the other, and must not be missed in both.
        """
        before, poisoned = _length(self.queue), _length(self.poison)
        return max(before, _length(self.queue)) + poisoned

    # The end.

    def consoles(self) -> str:
        """All that the hosts of this world have printed."""
        return "\n".join(process.text for process in self.processes)

    def close(self) -> None:
        """Check what every test promises: no secret in a console or in a document."""
        documents = [
            blob.content.decode()
            for container, prefix in ((self.state, ""), (self.queries, "audit/"), (self.queries, "jobs/"))
            for blob in _read_all(container, prefix)
        ]
        self._clients.close()
        for text in (self.consoles(), *documents):
            for what, secret in (
                ("the client secret", re.escape(self.cloud.client_secret)),
                ("the storage account's key", re.escape(ACCOUNT_KEY)),
                ("a token", r"eyJ[\w-]+\.eyJ|Bearer "),
                ("a SAS", r"\bsig="),
            ):
                found = re.search(rf".{{0,60}}(?={secret})", text)
                assert found is None, f"{what} was shown, after {found[0]!r}"


class Running:
    """A host that is up."""

    def __init__(self, world: World, process: HostProcess) -> None:
        self.world = world
        self.process = process

    @property
    def console(self) -> str:
        """What it has printed so far."""
        return self.process.text

    def lines(self, pattern: str) -> list[str]:
        """The lines of its console so far that hold a regular expression."""
        return [line for line in self.console.splitlines() if re.search(pattern, line)]

    def start_timer(self, kind: str = "log_analytics") -> None:
        """Begin to run a timer's function by hand, and do not wait."""
        answer = self.process.run_by_hand(f"export_{kind}")
        assert answer.status_code == 202, answer.text

    def run_timer(self, kind: str = "log_analytics") -> None:
        """Run a timer's function by hand and wait until it succeeded."""
        pattern = rf"Executed 'Functions\.export_{kind}'"
        before = len(self.lines(pattern))
        self.start_timer(kind)
        executed = self.process.wait_for(pattern, count=before + 1)
        assert "(Succeeded" in executed[-1], self.console

    def wait_until_idle(self, seconds: float = 120) -> None:
        """Wait until every message was worked on: the queue and the poison queue are empty."""
        deadline = time.monotonic() + seconds
        while left := self.world.queued():
            assert self.process.process.poll() is None, f"the host ended:\n{self.console}"
            assert time.monotonic() < deadline, f"{left} messages after {seconds} s:\n{self.console}"
            time.sleep(0.2)  # to look costs as much time as the app takes for it

    def export(self, *kinds: str) -> None:
        """Run timers and wait until all that they planned is done."""
        for kind in kinds or ("log_analytics",):
            self.run_timer(kind)
        self.wait_until_idle()

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        """Send a POST request with a JSON body, or with bytes as they are; see `send` for the headers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, **{"Content_Type": "application/json", **headers})

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET request."""
        return self.send("GET", path, **headers)

    def send(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> requests.Response:
        """Send a request and do not follow redirects; `Prefer` or `Accept_Encoding` names a header.

        500 is the host's, for a function that raised what the app does not know: never right.
        """
        named = {name.replace("_", "-"): text for name, text in headers.items() if text}
        response = requests.request(
            method, self.process.url + path, data=body, headers=named, timeout=60, allow_redirects=False
        )
        assert response.status_code != 500, self.console
        return response


def now() -> int:
    """The present in ticks."""
    return ticks("1970-01-01T00:00:00Z") + time.time_ns() // 100


def entry(keys: Mapping[str, object]) -> str:
    """An entry of an exports file; JSON's texts and truth values are TOML's too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(["[[export]]", *lines, ""])


def _read_all(container: ContainerClient, prefix: str) -> list[Landed]:
    try:
        return [
            Landed(blob.name, blob.etag, blob.metadata or {}, container.download_blob(blob.name).readall())
            for blob in container.list_blobs(prefix, include=["metadata"])
        ]
    except ResourceNotFoundError:  # the container: nothing was ever stored
        return []


def _length(queue: QueueClient) -> int:
    try:
        return queue.get_queue_properties().approximate_message_count or 0
    except ResourceNotFoundError:
        return 0
