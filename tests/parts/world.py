"""The whole app in memory: its storage, its queue, its clock, and each of its parts as a process has it."""

import gzip
from dataclasses import dataclass, field

from shared.attempts import Attempts
from shared.auditor import Auditor
from shared.errors import ExportError
from shared.exporter import Exporter
from shared.formats import FORMATS
from shared.in_flight import Flights
from shared.journal import Backfill, Journal
from shared.layout import parse_window_id
from shared.model import Container, Export, Kind, Message, Receipt, Source, Window
from shared.planner import Planner
from shared.receipts import from_metadata
from shared.rechecker import Rechecker
from shared.rewriter import Rewriter
from shared.state import State
from tests.parts.fakes import SOURCES, FakeClock, FakeSource, make_export
from tests.parts.memory_container import MemoryContainer


@dataclass
class World:
    """One storage account, one queue and the app on them, all in memory.

    ``data`` and ``documents`` are the two containers; ``queue`` holds the messages that wait; ``opened`` are
    the exports that a source was opened for.
    """

    exports: list[Export] = field(default_factory=lambda: [make_export()])
    clock: FakeClock = field(default_factory=FakeClock)
    data: Container = field(default_factory=MemoryContainer)
    documents: Container = field(default_factory=MemoryContainer)
    source: Source = field(default_factory=FakeSource)
    limits: dict[Kind, int] = field(default_factory=lambda: {"log_analytics": 2, "entra": 1})
    queue: list[Message] = field(default_factory=list)
    opened: list[Export] = field(default_factory=list)

    @property
    def fake(self) -> FakeSource:
        """The source, where it is the usual one."""
        assert isinstance(self.source, FakeSource)
        return self.source

    def state(self, documents: Container | None = None) -> State:
        """Return the state as a new process sees it: nothing remembered."""
        return State(documents or self.documents, self.clock)

    def journal(self, documents: Container | None = None) -> Journal:
        """Return the journal."""
        return Journal(documents or self.documents, self.clock)

    def attempts(self, data: Container | None = None, documents: Container | None = None) -> Attempts:
        """Return the attempts of a new process, perhaps over wrapped containers."""
        return Attempts(data or self.data, documents or self.documents, self.clock)

    def backfills(self) -> list[Backfill]:
        """Return the backfills of which something is left to do."""
        return [each for each in self.journal().backfills("events") if each.state == "active"]

    def flights(self) -> Flights:
        """Return what is in flight."""
        return Flights(self.documents)

    def planner(self, *, data: Container | None = None, documents: Container | None = None) -> Planner:
        """Return the planner of a new process, perhaps over wrapped containers."""
        return Planner(
            self.exports,
            SOURCES,
            self.limits,
            data or self.data,
            self.state(documents),
            self.journal(documents),
            Flights(documents or self.documents),
            self.clock,
        )

    def rewriter(self, *, data: Container | None = None, source: Source | None = None) -> Rewriter:
        """Return the rewriter of a new process, perhaps over wrapped parts."""
        return self._parts(data, None, source)[0]

    def exporter(
        self,
        *,
        data: Container | None = None,
        documents: Container | None = None,
        source: Source | None = None,
    ) -> Exporter:
        """Return the exporter of a new process, perhaps over wrapped parts."""
        rewriter, rechecker, state, journal = self._parts(data, documents, source)
        return Exporter(
            self.exports,
            lambda export: self._open(export, source),
            FORMATS,
            data or self.data,
            self.attempts(data, documents),
            state,
            journal,
            rewriter,
            rechecker,
            self.clock,
        )

    def auditor(self) -> Auditor:
        """Return the auditor of a new process."""
        _, rechecker, state, journal = self._parts(None, None, None)
        return Auditor(
            self.exports,
            SOURCES,
            lambda export: self._open(export, None),
            FORMATS,
            self.data,
            state,
            journal,
            self.flights(),
            rechecker,
            self.clock,
        )

    def _parts(
        self, data: Container | None, documents: Container | None, source: Source | None
    ) -> tuple[Rewriter, Rechecker, State, Journal]:
        def open_source(export: Export) -> Source:
            return self._open(export, source)

        data = data or self.data
        state, journal = self.state(documents), self.journal(documents)
        attempts = self.attempts(data, documents)
        rewriter = Rewriter(SOURCES, open_source, FORMATS, data, attempts, state, self.clock)
        rechecker = Rechecker(SOURCES, open_source, data, state, journal, rewriter, self.clock)
        return rewriter, rechecker, state, journal

    def _open(self, export: Export, source: Source | None) -> Source:
        self.opened.append(export)
        return source or self.source

    def plan(self, kind: Kind = "log_analytics") -> list[Message]:
        """Do what a timer does; return the messages, which also go to the queue."""
        messages = self.planner().plan(kind)
        self.queue += messages
        return messages

    def deliver(self, message: Message) -> Receipt | None:
        """Do what the queue function does with a message."""
        receipt = self.exporter().run(message)
        self.queue += self.planner().top_up(message)
        return receipt

    def give_up(self, message: Message) -> None:
        """Do what the poison-queue function does with a message."""
        self.exporter().give_up(message)
        self.queue += self.planner().top_up(message)

    def drain(self) -> list[Window]:
        """Deliver until the queue is empty; return the windows in the order of their delivery."""
        return [message.window for message in self.drained()]

    def drained(self) -> list[Message]:
        """Deliver until the queue is empty; return the messages in the order of their delivery."""
        done = []
        while self.queue:
            message = self.queue.pop(0)
            try:
                self.deliver(message)
            except ExportError:
                self.give_up(message)
            done.append(message)
        return done

    def work(self, kind: Kind = "log_analytics") -> list[Message]:
        """Plan and deliver until there is nothing to do; return the messages in their order."""
        done = []
        while self.plan(kind):
            done += self.drained()
        return done

    def stored(self, export: str = "events") -> list[Window]:
        """Return the windows that have blobs, oldest first, from the names alone."""
        names = [blob.name.rpartition("/")[2] for blob in self.data.list(f"{export}/")]
        return sorted(parse_window_id(name.partition(".")[0]) for name in names)

    def receipts(self, export: str = "events") -> list[Receipt]:
        """Return the receipts of an export's blobs, oldest first."""
        blobs = self.data.list(f"{export}/", metadata=True)
        return sorted((from_metadata(blob.metadata) for blob in blobs), key=lambda each: each.window)

    def stored_rows(self, export: str = "events") -> list[str]:
        """Return the rows of all the blobs of an export, in order of time."""
        rows: list[str] = []
        for blob in self.data.list(f"{export}/"):
            rows += read_rows(self.data, blob.name)
        return sorted(rows)


def read_rows(data: Container, name: str) -> list[str]:
    """Return the lines of a stored blob."""
    document = data.read(name)
    assert document is not None, f"there is no blob {name}"
    content = gzip.decompress(document.data) if name.endswith(".gz") else document.data
    return content.decode().split("\n")[:-1]
