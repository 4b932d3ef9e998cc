"""The world of one case: two hosts of the app, a queue, storage, the services, and what befalls them."""

import json
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from shared import messages
from shared.auditor import BackfillBody, VerifyBody
from shared.errors import DeadlineError, ExportError
from shared.model import KINDS, Kind, Message, Request, Response, Send, Window
from shared.settings import Settings
from shared.startup import read_settings
from shared.windows import HOUR, MINUTE, SECOND, format_second
from shared.wiring import App
from tests.model.graph import AuditLog
from tests.model.log_analytics import Workspace
from tests.model.scenario import INVOCATION, MAX_SKEW, Entry, Scenario, reconfigured, toml
from tests.model.services import Reply, deliver
from tests.model.witness import Witness
from tests.model.workers import CALM, Crashed, InlinePool, StormyContainer, Weather, Worker
from tests.parts.memory_container import MemoryContainer

ENVIRONMENT = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_TENANT_ID": "00000000-0000-0000-0000-00000000000a",
}
REDELIVERED_AFTER = 30 * SECOND
MAX_DEQUEUE_COUNT = 5


@dataclass(eq=False)
class Envelope:
    """A message in the queue; ``visible`` is the tick from which on it may be delivered."""

    text: str
    visible: int
    deliveries: int = 0


class Host:
    """One instance of the app, with a clock of its own."""

    def __init__(self, name: str, world: "World") -> None:
        self.name = name
        self.skew = 0
        self._world = world
        self.app: App

    def now(self) -> int:
        """Return the time that this host believes it is."""
        return self._world.now + self.skew

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._world.now / SECOND

    def sleep(self, seconds: float) -> None:
        """Nothing of what is driven here sleeps."""
        raise AssertionError(f"asked to sleep for {seconds} s")


class World:
    """Holds the truth, and lets time pass and things happen."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.now = scenario.begins
        self.witness = Witness(scenario, lambda: self.now)
        self.queue: list[Envelope] = []
        self.standing: list[tuple[Worker, int]] = []
        self.entries = scenario.entries
        self.log: list[str] = []
        self.storm = True
        self._folder = folder
        self._settings: dict[str, Settings] = {}
        self._finished: dict[Worker, Callable[[Worker], None]] = {}
        self._worker = Worker("nobody", "", CALM, lambda: None)
        trouble = lambda: self._worker.weather.service  # noqa: E731
        chances = lambda: self._worker.rng  # noqa: E731
        self.workspace = Workspace(scenario.rows, scenario.limits, lambda: self.now, chances, trouble)
        self.audit_log = AuditLog(scenario.records, scenario.habits, lambda: self.now, chances, trouble)
        self.data, self.documents = MemoryContainer(), MemoryContainer()
        self.hosts = [Host("A", self), Host("B", self)]
        for host in self.hosts:
            self.deploy(host)

    # What the app is built of.

    def deploy(self, host: Host) -> None:
        """Start a host anew with the present exports file."""
        with ExitStack() as stack:
            stack.enter_context(
                patch.multiple(
                    "shared.wiring",
                    BlobStore=lambda *_: self,
                    Transport=lambda *_: self,
                    ThreadPoolExecutor=InlinePool,
                )
            )
            host.app = App(self._read_settings(host), host)

    def container(self, name: str) -> StormyContainer:
        """Return one of the two containers, as ``BlobStore`` does."""
        if name == "exports":
            return StormyContainer(
                self.data, lambda: self._worker, lambda *what: self.witness.stored(self.data, *what)
            )
        return StormyContainer(
            self.documents, lambda: self._worker, lambda name, *_: self.witness.noted(self, name)
        )

    def sender(self, api: Any) -> Send:
        """Return the ``send`` of an API, as ``Transport`` does."""
        service = self.audit_log.answer if "Graph" in api.name else self.workspace.answer

        def send(request: Request) -> Response:
            def act() -> Response:
                if self.storm:
                    self.now += self._worker.rng.randrange(3 * SECOND)
                if request.deadline is not None and self.now / SECOND > request.deadline:
                    raise DeadlineError("no time was left")
                reply: Reply = service(request)
                return deliver(api.name, reply, self.now)

            response: Response = self._worker.call(act, storage=False)
            return response

        return send

    def _read_settings(self, host: Host) -> Settings:
        text = toml(self.entries)
        if text not in self._settings:
            (self._folder / "exports.toml").write_text(text)
            settings = read_settings(ENVIRONMENT, self._folder)
            assert not settings.problems, settings.problems
            self._settings[text] = replace(
                settings, answer_bytes=self.scenario.answer_bytes, parallel_slices=self.scenario.parallel
            )
        settings = self._settings[text]
        self.witness.configured(host.name, settings.exports)
        return settings

    # Workers.

    def launch(
        self,
        name: str,
        seed: str,
        weather: Weather,
        work: Callable[[], Any],
        finished: Callable[[Worker], None],
    ) -> None:
        """Begin an invocation; ``finished`` is told when it has ended."""
        worker = Worker(name, seed, weather, work)
        self._finished[worker] = finished
        self._go(worker, self.now)

    def _go(self, worker: Worker, began: int) -> None:
        self._worker = worker
        if self.now - began > INVOCATION and worker.rng.random() < 0.7:  # or its machine stood still as well
            worker.kill()
        else:
            worker.go()
        if not worker.done:
            self.standing.append((worker, began))
            self.note(f"  {worker.name} stands still at call {worker.calls}")
            return
        how = "ended" if worker.error is None else f"{type(worker.error).__name__}: {worker.error}"
        self.note(f"  {worker.name}: {how}")
        if not isinstance(worker.error, None | Crashed | ExportError):
            raise worker.error
        self._finished.pop(worker)(worker)

    def resume(self, rng: random.Random) -> None:
        """Let a worker that stands still go on."""
        if self.standing:
            self._go(*self.standing.pop(rng.randrange(len(self.standing))))

    def note(self, text: str) -> None:
        """Write down what happens, to be shown when the case fails."""
        self.log.append(f"{format_second(self.now // SECOND * SECOND)} {text}")

    # What happens.

    def timer(self, host: Host, kind: Kind, seed: str, weather: Weather) -> None:
        """Do what a timer function does."""
        app = host.app
        self.note(f"timer {kind} on {host.name}")
        self.launch(f"timer {kind}", seed, weather, lambda: app.planner.plan(kind), self._send_all)

    def visible(self) -> list[Envelope]:
        """Return the messages that may be delivered now."""
        return [each for each in self.queue if each.visible <= self.now]

    def deliver(
        self, envelope: Envelope, host: Host, seed: str, weather: Weather, *, twice: bool = False
    ) -> None:
        """Do what the queue function does with a message, or the poison-queue function."""
        envelope.deliveries += 1
        envelope.visible = self.now + INVOCATION
        message = messages.decode(envelope.text)
        app, poison = host.app, envelope.deliveries > MAX_DEQUEUE_COUNT
        label = f"{message.reason} {_text(message.window)} {message.export} {message.config[:4]}"
        self.note(f"{'give up' if poison else 'deliver'} {label} on {host.name}")

        def work() -> list[Message]:
            if poison:
                app.exporter.give_up(message)
            else:
                app.exporter.run(message, attempt=envelope.deliveries)
            return app.planner.top_up(message)

        def finished(worker: Worker) -> None:
            if worker.error is None:
                if not twice and envelope in self.queue:
                    self.queue.remove(envelope)
                self._send_all(worker)
            elif isinstance(worker.error, ExportError):
                envelope.visible = self.now + REDELIVERED_AFTER

        self.launch(f"worker {label}", seed, weather, work, finished)

    def _send_all(self, worker: Worker) -> None:
        if worker.error is None:
            self.queue += [Envelope(messages.encode(each), self.now) for each in worker.result]

    def backfill(
        self, host: Host, entry: Entry, span: Window, seed: str, weather: Weather, *, force: bool
    ) -> None:
        """Ask for a range."""
        name, app = entry["name"], host.app
        self.note(f"backfill {name} {_text(span)} force={force} on {host.name}")
        self.witness.asked(name, span)
        body = BackfillBody(format_second(span.start), format_second(span.end), force=force)
        requested = self.now

        def finished(worker: Worker) -> None:
            if worker.error is None:
                self.witness.promised(name, span, requested, force=force)

        self.launch("backfill", seed, weather, lambda: app.auditor.backfill(name, span, body), finished)

    def end_backfills(self, host: Host, entry: Entry, seed: str, weather: Weather) -> None:
        """End an export's backfills."""
        self.note(f"end backfills {entry['name']}")
        self.witness.ended(entry["name"])
        self.launch(
            "end backfills",
            seed,
            weather,
            lambda: host.app.auditor.end_backfills(entry["name"]),
            lambda _: None,
        )

    def verify(self, host: Host, entry: Entry, span: Window, seed: str, weather: Weather) -> None:
        """Compare a range with its source, and ask for what is wrong again."""
        self.note(f"verify and repair {entry['name']} {_text(span)}")
        self.witness.asked(entry["name"], span)
        body = VerifyBody(format_second(span.start), format_second(span.end), deep=True, repair=True)
        self.launch(
            "verify",
            seed,
            weather,
            lambda: host.app.auditor.verify(entry["name"], span, body),
            lambda _: None,
        )

    def reconfigure(self, rng: random.Random) -> None:
        """Change an entry of the exports file, and start one host or both anew."""
        number = rng.randrange(len(self.entries))
        change, after = reconfigured(rng, self.entries[number])
        self.entries = (*self.entries[:number], after, *self.entries[number + 1 :])
        hosts = self.hosts if rng.random() < 0.7 else [rng.choice(self.hosts)]
        self.note(
            f"reconfigure {change} of {after['name']} on {[host.name for host in hosts]}: "
            + json.dumps(
                {key: after.get(key) for key in ("window", "offset", "format", "pipeline", "enabled")}
            )
        )
        for host in hosts:
            self.deploy(host)

    def enabled(self, host: Host) -> list[Entry]:
        """Return the entries that a host knows."""
        names = {export.name for export in host.app.settings.exports}
        return [entry for entry in self.entries if entry["name"] in names]

    def skew(self, rng: random.Random) -> None:
        """Set a host's clock wrong, or right."""
        host = rng.choice(self.hosts)
        host.skew = rng.choice([0, rng.randint(-MAX_SKEW, MAX_SKEW), MAX_SKEW, -MAX_SKEW])
        self.note(f"the clock of {host.name} is off by {host.skew // SECOND} s")

    def lose_cache(self, rng: random.Random) -> None:
        """Delete what is in flight, or damage it."""
        name = f"in_flight/{rng.choice(KINDS)}.json"
        if (document := self.documents.read(name)) is not None:
            self.note(f"lose {name}")
            if rng.random() < 0.7:
                self.documents.delete(name)
            else:
                self.documents.write(name, b'{"in_flight":', etag=document.etag)

    def lose_blob(self, rng: random.Random) -> None:
        """Delete a stored window of the time since the origin, which must come back."""
        blobs = [
            blob.name for blob in self.data.list("") if self.witness.since_origin(self.documents, blob.name)
        ]
        if blobs and not self.scenario.forgetful:
            name = rng.choice(blobs)
            self.note(f"lose {name}")
            self.data.delete(name)

    def pass_time(self, rng: random.Random) -> None:
        """Let minutes pass, sometimes hours in which no timer runs."""
        luck = rng.random()
        longest = 15 * MINUTE if luck < 0.7 else HOUR if luck < 0.95 else 5 * HOUR
        self.now += rng.randrange(MINUTE, longest)

    def quieten(self, rng: random.Random) -> None:
        """End the storm: whoever stands goes on or dies, clocks are right, hosts run the newest entries."""
        while self.standing:
            if rng.random() < 0.5:
                self.now += 2 * INVOCATION
            self.standing[0][0].weather = CALM
            self.resume(random.Random(0))  # noqa: S311
        self.storm = False
        self.entries = tuple({**entry, "enabled": True} for entry in self.entries)
        self.note("the storm is over")
        for host in self.hosts:
            host.skew = 0
            self.deploy(host)


def _text(window: Window) -> str:
    return f"{format_second(window.start)[8:-4]}/{format_second(window.end)[8:-4]}"
