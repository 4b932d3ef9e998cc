"""Which search jobs were started for a workspace, and when: what its limits and its sweep are reckoned by."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from shared import rawjson
from shared.errors import ProtocolError
from shared.model import Clock, Container, Window
from shared.windows import DAY, format_instant, parse_instant

_TABLE_KEPT = 2 * DAY  # a job runs for a day at most, and its rows are read soon after
_SPLIT_KEPT = 7 * DAY
_REFUSED_KEPT = 90 * DAY  # finding it out again takes dozens of jobs, and old rows do not get fewer

State = Literal["starting", "running", "done", "split", "refused", "dropped"]
"""``starting``: its table may be there or not; ``running`` and ``done``: the service has it; ``split``: it
found too much, so halves take its place; ``refused``: the same, and too many parts would; ``dropped``: its
table is deleted, and it may be started again."""


class Entry(msgspec.Struct, frozen=True):
    """One job: its table, its window, when it was started, and since when it is in its state.

    ``failed_at`` is when it, and those that had its name before it, failed; ``started_before`` when those
    before it were started. Both have the last 24 hours alone. ``whole`` is the table of the job for the whole
    window, where this one is for a part.
    """

    table: str
    window_start: str
    window_end: str
    state: State
    started_at: str
    state_since: str
    operation: str | None = None
    failed_at: tuple[str, ...] = ()
    started_before: tuple[str, ...] = ()
    whole: str | None = None

    @property
    def started(self) -> int:
        """When it was started (ticks)."""
        return parse_instant(self.started_at)

    @property
    def since(self) -> int:
        """Since when it is in its state (ticks)."""
        return parse_instant(self.state_since)

    def failures(self, now: int) -> list[int]:
        """Return when (ticks) jobs of this name failed within the last 24 hours, oldest first."""
        return _within_a_day(self.failed_at, now)

    def starts(self, now: int) -> list[int]:
        """Return when (ticks) jobs of this name were started within the last 24 hours, oldest first."""
        return _within_a_day([*self.started_before, self.started_at], now)


def _within_a_day(instants: Iterable[str], now: int) -> list[int]:
    return sorted(at for each in instants if now - (at := parse_instant(each)) < DAY)


@dataclass(frozen=True, slots=True)
class _Kept:
    entry: Entry
    etag: str


class JobLedger:
    """The jobs of one workspace, one document each; every write is conditional, and raises ConflictError."""

    def __init__(self, documents: Container, workspace: str, clock: Clock) -> None:
        digest = hashlib.sha256(workspace.lower().encode()).hexdigest()[:16]
        self._prefix = f"search_jobs/{digest}/"  # no name of an export has an underscore
        self._documents = documents
        self._clock = clock

    def get(self, table: str) -> Entry | None:
        """Return a job; None for one that is not known."""
        kept = self._read(self._name(table))
        return kept.entry if kept else None

    def all(self) -> list[Entry]:
        """Return every job that is known."""
        names = [blob.name for blob in self._documents.list(self._prefix)]
        kept = (self._read(name) for name in names)
        return [each.entry for each in kept if each is not None]

    def begin(self, table: str, window: Window, whole: str | None = None) -> None:
        """Write down that a job is about to be started, before it is; ``whole`` as in its Entry.

        One of its name that was started before still counts, but not one that was only about to be.
        """
        kept = self._read(self._name(table))
        tick = self._clock.now()
        now, start, end = (format_instant(each) for each in (tick, window.start, window.end))
        failed_at, before = (kept.entry.failed_at, kept.entry.started_before) if kept else ((), ())
        if kept and kept.entry.state != "starting":
            before = (*before, kept.entry.started_at)
        before = tuple(format_instant(each) for each in _within_a_day(before, tick))
        entry = Entry(table, start, end, "starting", now, now, None, failed_at, before, whole)
        self._write(entry, kept.etag if kept else None)

    def mark(self, table: str, state: State, operation: str | None = None) -> None:
        """Write down what became of a job, if that is new; one that is not known stays so."""
        kept = self._read(self._name(table))
        if kept is None or kept.entry.state == state:
            return
        changed = msgspec.structs.replace(
            kept.entry,
            state=state,
            state_since=format_instant(self._clock.now()),
            operation=operation or kept.entry.operation,
        )
        self._write(changed, kept.etag)

    def fail(self, table: str) -> None:
        """Write down that a job failed, and that its table is deleted."""
        kept = self._read(self._name(table))
        if kept is None:
            return
        now = self._clock.now()
        recent = [*kept.entry.failures(now), now]
        failed_at = tuple(format_instant(each) for each in recent)
        changed = msgspec.structs.replace(
            kept.entry, state="dropped", state_since=format_instant(now), failed_at=failed_at
        )
        self._write(changed, kept.etag)

    def undo(self, table: str, before: Entry | None) -> None:
        """Put back what was known of a job before it was begun, because it was not started."""
        if before is None:
            self.forget(table)
            return
        kept = self._read(self._name(table))
        self._write(before, kept.etag if kept else None)

    def forget(self, table: str) -> None:
        """Drop what is known of a job."""
        self._documents.delete(self._name(table))

    def _name(self, table: str) -> str:
        return f"{self._prefix}{table}.json"

    def _write(self, entry: Entry, etag: str | None) -> None:
        self._documents.write(self._name(entry.table), msgspec.json.encode(entry), etag=etag)

    def _read(self, name: str) -> _Kept | None:
        document = self._documents.read(name)
        if document is None:
            return None
        try:
            return _Kept(rawjson.decode(document.data, Entry), document.etag)
        except rawjson.UNREADABLE as error:
            raise ProtocolError(f"the stored document {name} cannot be read: {error}") from error


def swept(entries: Collection[Entry], tables: Collection[str], now: int) -> Iterator[Entry]:
    """Yield the jobs that are to be forgotten, and deleted where their table is among ``tables``.

    ``tables`` are names in lower case of those whose job is over. A job that found too much is remembered
    for longer, because that spares other ones; one that failed, for as long as that counts. The age of all
    parts of a window is that of its latest job, because they are read at once.
    """
    latest: dict[str, int] = {}
    for entry in entries:
        whole = entry.whole or entry.table
        latest[whole] = max(entry.started, latest.get(whole, 0))
    for entry in entries:
        if entry.table.lower() in tables:
            longest = _TABLE_KEPT
        else:
            longest = {"split": _SPLIT_KEPT, "refused": _REFUSED_KEPT}.get(entry.state, DAY)
        if now - latest[entry.whole or entry.table] > longest and not entry.failures(now):
            yield entry


def started_today(entries: Iterable[Entry], now: int) -> int:
    """Return how many jobs were started within the last 24 hours, several by one name too."""
    return sum(len(entry.starts(now)) for entry in entries)
