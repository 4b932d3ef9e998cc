"""What the tests of the parts stand on: a clock, a source with its data, and exports of it."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from shared.configs import Config, canonical, digest
from shared.errors import UnavailableError
from shared.listing import Lengths
from shared.model import Batch, Export, Kind, Message, Reading, Reason, Source, SourceType, Tools, Window
from shared.windows import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    format_duration,
    format_instant,
    overlap,
    parse_duration,
    parse_instant,
)

NOW = parse_instant("2026-11-21T12:20:00Z")
ROW_EVERY = 10 * MINUTE
LENGTHS = Lengths(HOUR, 7 * DAY)
"""How long the windows of any export of the tests are, for finding what is stored."""


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


class FakeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of the fake source is told; ``pipeline`` only changes its digest."""

    pipeline: str = ""


def _identity(_options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    return {"table": "Event"}


def _open(_options: msgspec.Struct, _tools: Tools) -> Source:
    raise AssertionError("the world opens its sources itself")


def _source_type(kind: Kind, *, forgets: bool) -> SourceType:
    return SourceType(
        kind=kind,
        forgets=forgets,
        union=forgets,
        retention=None,
        options=FakeOptions,
        check=lambda _: (),
        identity=_identity,
        open=_open,
    )


SOURCES: Mapping[str, SourceType] = {
    "log_analytics": _source_type("log_analytics", forgets=False),
    "entra": _source_type("entra", forgets=True),
}
"""The fake source under both kinds: one counts and keeps its rows, one forgets them and is read again."""


def make_export(
    name: str = "events",
    *,
    kind: Kind = "log_analytics",
    window: str = "1h",
    offset: str = "0s",
    lag: str = "15m",
    start: str = "-6h",
    recheck: Sequence[str] = (),
    retention: str | None = None,
    keep: str | None = None,
    format_: str = "jsonl.gz",
    pipeline: str = "",
    identity: Mapping[str, str] | None = None,
) -> Export:
    """Return an export as the exports file would give it; ``pipeline`` only changes its digest."""
    options = FakeOptions(pipeline=pipeline)
    who = {"table": "Event"} if identity is None else dict(identity)
    shift = parse_duration(offset) % parse_duration(window)
    config = canonical(
        Config(kind, window, format_duration(shift), format_, msgspec.to_builtins(options), who)
    )
    return Export(
        name=name,
        source=kind,
        kind=kind,
        options=options,
        window=parse_duration(window),
        offset=shift,
        lag=parse_duration(lag),
        start=-parse_duration(start[1:]) if start.startswith("-") else parse_instant(start),
        recheck=tuple(parse_duration(age) for age in recheck),
        retention=None if retention is None else parse_duration(retention),
        keep=None if keep is None else parse_duration(keep),
        format=format_,
        identity=who,
        config=config,
        digest=digest(config),
    )


def between(start: str, end: str) -> Window:
    """Return the window of two instants; a time of day such as ``10:00`` is one of 2026-11-21."""
    day = "2026-11-21"
    ends = [parse_instant(text if "-" in text else f"{day}T{text}:00Z") for text in (start, end)]
    return Window(*ends)


def order(export: Export, window: Window, reason: Reason = "schedule") -> Message:
    """Return the message that orders a window with an export's own configuration."""
    return Message(export.name, window, reason, export.digest, "00")


def rows_of(window: Window) -> list[str]:
    """Return the rows of the data set that lie in a window, one every ten minutes: their times as JSON."""
    first = -(-window.start // ROW_EVERY) * ROW_EVERY
    return [f'{{"at":"{format_instant(at)}"}}' for at in range(first, window.end, ROW_EVERY)]


def row_at(time: str, **more: object) -> str:
    """Return a row of a time of day such as ``10:05:00.0000001`` on 2026-11-21, perhaps with more in it."""
    at = format_instant(parse_instant(f"2026-11-21T{time}Z"))
    return msgspec.json.encode({"at": at, **more}).decode()


def time_of(row: str) -> str:
    """Return the time of a row as the service writes it."""
    return row[7:35]


class FakeSource:
    """Gives the rows of ``rows_of``, in batches of ``size``. ``errors`` are raised first, one a question.

    ``late`` are rows beside them that the source holds by now, ``far`` those that only a wide reading finds,
    ``gone`` those that it holds no longer; ``served_at`` is its own time; it refuses what begins before
    ``forgets``.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.errors: list[BaseException] = []
        self.late: list[str] = []
        self.far: list[str] = []
        self.gone: set[str] = set()
        self.served_at: int | None = None
        self.forgets = 0
        self.readings: list[Reading] = []
        self.released: list[Reading] = []
        self.counted: list[list[Window]] = []

    def holds(self, window: Window, *, wide: bool = True) -> list[str]:
        """Return the rows of a window, as widely as it can look or not, in order of time."""
        known = [
            row
            for row in [*self.late, *(self.far if wide else [])]
            if window.start <= parse_instant(time_of(row)) < window.end
        ]
        return sorted(row for row in [*rows_of(window), *known] if row not in self.gone)

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows."""
        window = reading.window
        self.readings.append(reading)
        if self.errors:
            raise self.errors.pop(0)
        self._check(window)
        rows = self.holds(window, wide=reading.wide)
        for at in range(0, len(rows), self.size):
            part = rows[at : at + self.size]
            yield Batch(
                [msgspec.Raw(row.encode()) for row in part],
                times=[time_of(row) for row in part],
                answer_bytes=100,
                served_at=self.served_at,
            )

    @property
    def read_windows(self) -> list[Window]:
        """Return the windows that were read, in their order."""
        return [reading.window for reading in self.readings]

    def release(self, reading: Reading) -> None:
        """Take down which readings nothing is kept for any more."""
        self.released.append(reading)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:  # noqa: ARG002 - no clock here
        """Return how many rows each window holds."""
        self.counted.append(list(windows))
        if self.errors:
            raise self.errors.pop(0)
        for window in windows:
            self._check(window)
        return [len(self.holds(window)) for window in windows]

    def _check(self, window: Window) -> None:
        if window.start < self.forgets:
            raise UnavailableError(self.forgets, "nothing older is kept")


def tiles(windows: Sequence[Window], span: Window) -> bool:
    """Whether windows, oldest first, fill a span without a gap or an overlap."""
    edges = [span.start, *(edge for window in windows for edge in (window.start, window.end)), span.end]
    return all(one == other for one, other in zip(edges[::2], edges[1::2], strict=True))


def disjoint(windows: Sequence[Window]) -> bool:
    """Whether no two windows have a tick in common."""
    ordered = sorted(windows)
    return not any(overlap(one, other) for one, other in itertools.pairwise(ordered))


def texts(windows: Iterable[Window]) -> list[str]:
    """Return windows as short text: ``10:00-11:00``."""
    return [f"{format_instant(each.start)[11:16]}-{format_instant(each.end)[11:16]}" for each in windows]
