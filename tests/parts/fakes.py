"""What the tests of the parts stand on: a clock, a source, an export, and a world that holds them."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.errors import ExportError
from shared.exporter import Exporter
from shared.formats import FORMATS
from shared.model import Batch, Container, Export, Kind, Measured, Message, Receipt, Source, Window
from shared.planner import Planner
from shared.state import State
from shared.windows import (
    MINUTE,
    SECOND,
    format_instant,
    parse_duration,
    parse_instant,
)
from tests.parts.memory_container import MemoryContainer

NOW = parse_instant("2026-11-21T12:20:00Z")
ROW_EVERY = 10 * MINUTE


class FakeClock:
    """Time that moves only when it is told to, or slept through. Implements ``model.Clock``."""

    def __init__(self, now: int = NOW) -> None:
        self._began = self._now = now
        self.sleeps: list[float] = []

    def now(self) -> int:
        """Return the present in ticks."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return (self._now - self._began) / SECOND

    def sleep(self, seconds: float) -> None:
        """Move on at once, and remember it."""
        self.sleeps.append(seconds)
        self._now += round(seconds * SECOND)

    def advance(self, duration: str) -> None:
        """Move on by a duration such as ``15m``."""
        self._now += parse_duration(duration)


class Crashed(BaseException):
    """The process ended here; nothing may catch it and go on."""


def make_export(
    name: str = "events",
    *,
    kind: Kind = "log_analytics",
    window: str = "1h",
    offset: str = "0s",
    lag: str = "15m",
    start: str = "-6h",
    format_: str = "jsonl.gz",
    pipeline: str = "",
    identity: Mapping[str, str] | None = None,
) -> Export:
    """Return an export as the exports file would give it; ``pipeline`` only changes its digest."""
    who = {"table": "Event"} if identity is None else dict(identity)
    config = msgspec.json.encode([kind, window, offset, format_, pipeline, who])
    return Export(
        name=name,
        source=kind,
        kind=kind,
        options=msgspec.Struct(),
        window=parse_duration(window),
        offset=parse_duration(offset) % parse_duration(window),
        lag=parse_duration(lag),
        start=-parse_duration(start[1:]) if start.startswith("-") else parse_instant(start),
        format=format_,
        identity=who,
        config=config,
        digest=hashlib.sha256(config).hexdigest()[:16],
    )


def between(start: str, end: str) -> Window:
    """Return the window of two instants; a time of day such as ``10:00`` is one of 2026-11-21."""
    day = "2026-11-21"
    ends = [parse_instant(text if "-" in text else f"{day}T{text}:00Z") for text in (start, end)]
    return Window(*ends)


def order(export: Export, window: Window) -> Message:
    """Return the message that orders a window with an export's own configuration."""
    return Message(export.name, window, "schedule", export.digest, "00")


def rows_of(window: Window) -> list[str]:
    """Return the rows of the data set that lie in a window, one every ten minutes: their times as JSON."""
    first = -(-window.start // ROW_EVERY) * ROW_EVERY
    return [f'{{"at":"{format_instant(at)}"}}' for at in range(first, window.end, ROW_EVERY)]


class FakeSource:
    """Gives the rows of ``rows_of``, in batches of ``size``. ``errors`` are raised first, one a reading."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.errors: list[BaseException] = []
        self.read_windows: list[Window] = []
        self.measured: list[Measured | None] = []

    def read(
        self,
        window: Window,
        deadline: float,  # noqa: ARG002 - the clock stands still
        measured: Measured | None,
    ) -> Iterator[Batch]:
        """Yield the window's rows."""
        self.read_windows.append(window)
        self.measured.append(measured)
        if self.errors:
            raise self.errors.pop(0)
        rows = rows_of(window)
        for at in range(0, len(rows), self.size):
            part = rows[at : at + self.size]
            times = [row[7:-2] for row in part]
            yield Batch([msgspec.Raw(row.encode()) for row in part], times=times, answer_bytes=100)


@dataclass
class World:
    """One storage account, one queue and the app on them, all in memory.

    ``data`` and ``documents`` are the two containers; ``queue`` holds the messages that wait.
    """

    exports: list[Export] = field(default_factory=lambda: [make_export()])
    clock: FakeClock = field(default_factory=FakeClock)
    data: MemoryContainer = field(default_factory=MemoryContainer)
    documents: MemoryContainer = field(default_factory=MemoryContainer)
    source: Source = field(default_factory=FakeSource)
    limits: dict[Kind, int] = field(default_factory=lambda: {"log_analytics": 2, "entra": 1})
    queue: list[Message] = field(default_factory=list)

    def state(self, documents: Container | None = None) -> State:
        """Return the state as a new process sees it: nothing remembered."""
        return State(documents or self.documents, self.clock)

    def planner(self, documents: Container | None = None) -> Planner:
        """Return the planner of a new process."""
        return Planner(self.exports, {"entra"}, self.limits, self.data, self.state(documents), self.clock)

    def exporter(
        self,
        *,
        data: Container | None = None,
        documents: Container | None = None,
        source: Source | None = None,
        state: State | None = None,
    ) -> Exporter:
        """Return the exporter of a new process, perhaps over wrapped parts."""
        chosen = source or self.source
        state = state or self.state(documents)
        return Exporter(self.exports, lambda _: chosen, FORMATS, data or self.data, state, self.clock)

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
        done = []
        while self.queue:
            message = self.queue.pop(0)
            try:
                self.deliver(message)
            except ExportError:
                self.give_up(message)
            done.append(message.window)
        return done

    def stored(self, export: str = "events") -> list[Window]:
        """Return the windows that have blobs, oldest first, from the names alone."""
        names = [blob.name.rpartition("/")[2] for blob in self.data.list(f"{export}/")]
        return sorted(_window(name.partition(".")[0]) for name in names)

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
    return content.decode().splitlines()


def tiles(windows: Sequence[Window], span: Window) -> bool:
    """Whether windows, oldest first, fill a span without a gap or an overlap."""
    edges = [span.start, *(edge for window in windows for edge in (window.start, window.end)), span.end]
    return all(one == other for one, other in zip(edges[::2], edges[1::2], strict=True))


def texts(windows: Iterable[Window]) -> list[str]:
    """Return windows as short text: ``10:00-11:00``, or ``21T10:00-22T00:00`` over two days."""
    return [f"{format_instant(each.start)[11:16]}-{format_instant(each.end)[11:16]}" for each in windows]


def _window(text: str) -> Window:
    start, end = (
        parse_instant(f"{part[:4]}-{part[4:6]}-{part[6:11]}:{part[11:13]}:{part[13:]}")
        for part in text.split("_")
    )
    return Window(start, end)
