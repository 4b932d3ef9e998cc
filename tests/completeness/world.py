"""The app's parts, put together as they run, between storage and a stand-in cloud, on a clock of ours.

Messages are carried out one after the other, as the queue would hand them over; nothing waits for real time.
Storage is Azurite where tests are about what is stored, and in memory where they are about what is asked for:
`tests/parts/test_container.py` holds the one to what the other does.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from local.azurite import Azurite
from local.cloud import Cloud, Limits, Options
from local.cloud.tables import TABLES
from local.compare import SECOND, instant, ticks
from shared import wiring
from shared.auditor import BackfillBody, VerifyBody, read_range
from shared.clouds import Api
from shared.errors import ExportError
from shared.model import KINDS, Message, Request, Response, Send
from shared.sources import entra
from shared.startup import read_settings
from shared.transport import Transport
from shared.wiring import App
from tests.completeness.memory_store import MemoryStore
from tests.completeness.truth import Landed, Timed, audits_at_source, problems, rows_at_source

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UNIX_EPOCH = ticks("1970-01-01T00:00:00Z")

TODAY = "2026-03-10"
NOW = f"{TODAY}T12:20:00Z"
"""When a world begins. Windows of an hour with a lag of 15 minutes are then due until 12:00."""

DELIVERIES = 5
"""How often the queue delivers a message before it counts as poison (host.json)."""

NO_RATES = Limits(queries=None, reports=None, identity_protection=None, audit_search_miscount=0)
"""The services' limits without those on how often they may be asked, which need real time to pass."""


DATE_AHEAD = 40 * DAY
"""The Date header follows the machine's clock, not the world's: set so far ahead, every time is settled."""


def options(date_ahead: int = DATE_AHEAD) -> Options:
    """Return a cloud's options: it holds nothing, and its Date is so many ticks ahead of a new world."""
    date_offset = (ticks(NOW) + date_ahead - UNIX_EPOCH) / SECOND - time.time()
    nothing = {"events": 0, "audits": 0, "sign_ins": 0, "provisionings": 0, "risk_detections": 0}
    nothing |= {"search_records": 0, "activities": 0}
    return Options(limits=NO_RATES, token_seconds=10**7, date_offset=date_offset, **nothing)  # type: ignore[arg-type]  # counts


def at(time_of_day: str, day: str = TODAY) -> str:
    """An instant of the day on which worlds begin: `10:00`, `10:00:01`, `10:00:00.0000001`."""
    return f"{day}T{time_of_day}{'' if time_of_day.count(':') == 2 else ':00'}Z"


class WorldClock:
    """Time that moves one tick whenever somebody looks, and further only when a test says so."""

    def __init__(self) -> None:
        self.tick = ticks(NOW)
        self.ahead = 0
        """How far the app's clock is ahead of the world's, in ticks."""
        self.spent = 0.0
        """Seconds that a test pretends the app's work has taken."""

    def now(self) -> int:
        """Return what the app's machine takes for the present."""
        self.tick += 1
        return self.tick + self.ahead

    def unix(self) -> float:
        """Return the world's own time, in Unix seconds."""
        return (self.tick - UNIX_EPOCH) / SECOND

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic() + self.spent

    def sleep(self, seconds: float) -> None:
        """Wait hardly at all."""
        time.sleep(min(seconds, 0.01))


class World:
    """One deployment: its exports file, its containers, the cloud behind it, and its app."""

    def __init__(
        self,
        folder: Path,
        azurite: Azurite | None,
        patch: pytest.MonkeyPatch,
        options: Options,
    ) -> None:
        """Without Azurite the containers are in memory."""
        self.folder = folder
        self.clock = WorldClock()
        self.cloud = Cloud(options, folder / "cloud", self.clock.unix)
        self.container = f"world-{uuid.uuid4().hex[:12]}"
        self._memory = MemoryStore()
        self._connection = azurite.connection_string if azurite else None
        self.blobs: Any = self._memory
        if azurite:
            self.blobs = BlobServiceClient.from_connection_string(azurite.connection_string)
        self.data = self.blobs.get_container_client(self.container)
        self.state = self.blobs.get_container_client(f"{self.container}-state")
        self._patch = patch
        self._app: App | None = None

    def __enter__(self) -> Self:
        self.cloud.__enter__()
        self._patch.setenv("REQUESTS_CA_BUNDLE", str(self.cloud.ca_file))
        self._patch.setenv("NO_PROXY", "127.0.0.1")
        return self

    def __exit__(self, *error: object) -> None:
        self.cloud.__exit__(None, None, None)
        self.blobs.close()

    # The app.

    @property
    def app(self) -> App:
        """The app as it was started last."""
        assert self._app is not None, "start the app first"
        return self._app

    def start(self, *entries: str, **settings: str) -> None:
        """Write the exports file and start the app anew; every entry must be right."""
        (self.folder / "exports.toml").write_text("\n".join(entries), encoding="utf-8")
        environment = {
            **self.cloud.environment(),
            "EXPORT_GRAPH_REQUESTS": "999",
            "AzureWebJobsStorage": self._connection or "UseDevelopmentStorage=true",
            "EXPORT_CONTAINER": self.container,
            **settings,
        }
        read = read_settings(environment, self.folder)
        assert not read.problems, read.problems
        if self._connection is None:
            self._patch.setattr(wiring, "BlobStore", lambda *_: self._memory)
        self._app = App(read, self.clock)

    def table(self, name: str = "events", **keys: object) -> str:
        """An entry that exports table Event from 10:00 on; a key that is None is left out."""
        given = {"source": "log_analytics", "workspace": self.cloud.workspace_id, "table": "Event"}
        return _entry({"name": name, **given, "start": at("10:00"), **keys})

    def audits(self, name: str = "audits", **keys: object) -> str:
        """An entry that exports the directory audits from 10:00 on."""
        given = {"source": "entra", "log": "directoryAudits"}
        return _entry({"name": name, **given, "start": at("10:00"), **keys})

    def log(self, log: str, **keys: object) -> str:
        """An entry that exports a log of Graph from 10:00 on, named after it in small letters."""
        return _entry(
            {"name": log.lower(), "source": "entra", "log": log, "start": at("10:00"), **keys},
        )

    def search(self, name: str = "search", **keys: object) -> str:
        """An entry that exports all rows of a workspace from 10:00 on through the retired search API."""
        given = {"source": "log_analytics_search", "resource": self.cloud.workspace_resource_ids[0]}
        return _entry({"name": name, **given, "start": at("10:00"), **keys})

    def report(self, report: str, **keys: object) -> str:
        """An entry that exports a report of Azure AD Graph from 10:00 on, named after it in small letters."""
        given = {"source": "aad_graph", "tenant": "%AZURE_TENANT_ID%", "report": report}
        return _entry({"name": report.lower(), **given, "start": at("10:00"), **keys})

    def searched(self, name: str = "searched", **keys: object) -> str:
        """An entry that exports the unified audit log from 10:00 on."""
        return _entry({"name": name, "source": "audit_search", "start": at("10:00"), **keys})

    def pass_time(self, hours: float) -> None:
        """Let time pass."""
        self.clock.tick += round(hours * HOUR)

    def plan(self) -> list[Message]:
        """Let both timers fire; the messages that they queue."""
        return [message for kind in KINDS for message in self.app.planner.plan(kind)]

    def drain(self, timers: int = 100, at_most: int = 500) -> list[Message]:
        """Let both timers fire until they queue no more, or so often, and carry out all that they queue."""
        done: list[Message] = []
        for _ in range(timers):
            queue = self.plan()
            if not queue:
                break
            self.clock.tick += SECOND
            while queue:
                message = queue.pop(0)
                self.deliver(message)
                done.append(message)
                assert len(done) <= at_most, f"more than {at_most} messages: {done[-3:]}"
                queue += self.app.planner.top_up(message)
        return done

    def deliver(self, message: Message) -> None:
        """Hand a message to the exporter, again if it fails, and at last to the poison queue's function."""
        for attempt in range(1, DELIVERIES + 1):
            try:
                self.app.exporter.run(message, attempt)
            except ExportError:
                continue
            return
        self.app.exporter.give_up(message)

    # What an auditor asks.

    def coverage(self, name: str = "events") -> dict[str, Any]:
        """Answer of `GET /api/exports/{name}/coverage`."""
        return self.app.auditor.coverage(name)

    def verify(self, start: str, end: str, name: str = "events", **asked: bool) -> dict[str, Any]:
        """Answer of `POST /api/exports/{name}/verify`."""
        body, span = read_range(json.dumps({"start": start, "end": end, **asked}).encode(), VerifyBody)
        return self.app.auditor.verify(name, span, body)

    def backfill(self, start: str, end: str, name: str = "events", **asked: bool) -> dict[str, Any]:
        """Answer of `POST /api/exports/{name}/backfill`."""
        body, span = read_range(json.dumps({"start": start, "end": end, **asked}).encode(), BackfillBody)
        return self.app.auditor.backfill(name, span, body)

    # What landed.

    def landed(self, export: str = "events") -> list[Landed]:
        """An export's blobs, oldest window first."""
        return sorted(self._landed(export), key=lambda blob: (blob.window, blob.name))

    def _landed(self, export: str) -> Iterator[Landed]:
        with contextlib.suppress(ResourceNotFoundError):
            for blob in self.data.list_blobs(f"{export}/"):
                download = self.data.download_blob(blob.name)
                properties = download.properties
                yield Landed(blob.name, properties.etag, properties.metadata or {}, download.readall())

    def one(self, export: str = "events", start: str = "10:00") -> Landed:
        """The one blob of the window that begins at a time of the day."""
        (blob,) = [each for each in self.landed(export) if each.window[0] == ticks(at(start))]
        return blob

    def windows(self, export: str = "events") -> list[tuple[str, str]]:
        """The stored windows as text, oldest first."""
        spans = (each.window for each in self.landed(export))
        return [(instant(start), instant(end)) for start, end in spans]

    def documents(self, prefix: str) -> list[dict[str, Any]]:
        """The state documents under a prefix, in name order."""
        with contextlib.suppress(ResourceNotFoundError):
            names = [blob.name for blob in self.state.list_blobs(prefix)]
            return [json.loads(self.state.download_blob(name).readall()) for name in names]
        return []

    def rechecked(self, export: str = "events") -> list[tuple[str, int, int, str]]:
        """What the rechecks found: the window's start, rows stored and counted, and the outcome."""
        return [
            (each["start"], each["stored"], each["counted"], each["outcome"])
            for document in self.documents(f"{export}/rechecks/")
            for each in document["windows"]
        ]

    # What should have landed.

    def events(self, **how: Any) -> list[Timed]:
        """The rows of table Event, or another, as they should be stored."""
        return rows_at_source(self.cloud, TABLES[how.get("table", "Event")], **how)

    def check(
        self,
        source: Sequence[Timed] | None = None,
        start: str = "10:00",
        end: str = "12:00",
        export: str = "events",
    ) -> None:
        """Assert that the blobs of some time hold the source's rows of it, each once.

        `start` and `end` are instants, or times of the day.
        """
        first, last = (ticks(each if "T" in each else at(each)) for each in (start, end))
        blobs = [each for each in self.landed(export) if each.window[0] < last and first < each.window[1]]
        found = problems(blobs, self.events() if source is None else source, first, last)
        assert not found, "\n".join(found)

    def records(self, log: str, time_field: str, **having: object) -> list[Timed]:
        """The records of a log of Microsoft Graph, as they should be stored; those with some values only."""
        return [
            (ticks(str(each[time_field])), each)
            for each in self.cloud.records(log)
            if all(each.get(name) == value for name, value in having.items())
        ]

    def check_audits(self, source: Sequence[Timed] | None = None, **how: str) -> None:
        """Assert the same of the directory audits."""
        self.check(audits_at_source(self.cloud) if source is None else source, export="audits", **how)

    def queries(self) -> list[str]:
        """The KQL that was asked so far, in the order of the answers."""
        return [json.loads(seen.body)["query"] for seen in self.cloud.requests if seen.api == "log_analytics"]


def _entry(keys: Mapping[str, object]) -> str:
    """An entry of the exports file; a key that is None is left out. JSON texts are TOML texts too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(["[[export]]", *lines, ""])


def small_pages_of(patch: pytest.MonkeyPatch, size: int = 5) -> None:
    """Ask Microsoft Graph for pages of so many records."""
    for name, log in entra._LOGS.items():
        patch.setitem(entra._LOGS, name, replace(log, page_size=size))


Look = Callable[[Request], None]
Change = Callable[[Request, Response], Response]


def intercept(patch: pytest.MonkeyPatch, *, before: Look | None = None, after: Change | None = None) -> None:
    """Do something before each request of apps that are started from here on, or change its answer."""
    plain = Transport.sender

    def sender(self: Transport, api: Api) -> Send:
        send = plain(self, api)

        def watched(request: Request) -> Response:
            if before is not None:
                before(request)
            response = send(request)
            return response if after is None else after(request, response)

        return watched

    patch.setattr(Transport, "sender", sender)


Table = tuple[list[tuple[str, str]], list[str]]
"""Columns as (name, Kusto type), and rows as JSON texts."""


def answering(patch: pytest.MonkeyPatch, table_of: Callable[[str], Table]) -> None:
    """Have the service answer each question for rows with a table of our own; counts stay its own."""

    def change(request: Request, response: Response) -> Response:
        query = json.loads(request.body or b"{}").get("query", "")
        if "window_start" not in query or "summarize" in query:
            return response
        columns, rows = table_of(query)
        described = json.dumps([{"name": name, "type": kind} for name, kind in columns])
        text = f'{{"tables":[{{"name":"PrimaryResult","columns":{described},"rows":[{",".join(rows)}]}}]}}'
        return replace(response, body=text.encode("utf-8"))

    intercept(patch, after=change)


def spread(count: int, start: str, end: str, **values: object) -> list[dict[str, Any]]:
    """So many rows of table Event, spread evenly over ingestion times of the day, told apart by a number."""
    first, last = ticks(at(start)), ticks(at(end))
    step = (last - first) // count
    return [
        {
            "TimeGenerated": first + number * step,
            "ingestion_time()": first + number * step,
            "EventRecordId": number,
            **values,
        }
        for number in range(count)
    ]
