"""What happened to an export's windows beside being stored: failures, lost time, backfills, rechecks."""

import contextlib
import uuid
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from shared import rawjson
from shared.errors import ConflictError, ProtocolError
from shared.layout import compact, expand, parse_window_id, window_id
from shared.listing import Lengths, stamps
from shared.model import Clock, Container, Export, Message, Window
from shared.windows import (
    DAY,
    MINUTE,
    format_duration,
    format_instant,
    format_second,
    overlap,
    parse_instant,
)

_FIRST_RETRY = 5 * MINUTE
_LONGEST_RETRY = 6 * 60 * MINUTE
_DENIED_FOR = 4 * MINUTE  # less than the usual time between two runs of a timer, so that each run asks once
RECHECKED_TOGETHER = DAY
"""The longest span of time that one recheck covers, but for a single window that is longer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A window that could not be exported with a configuration, and when it may be tried next (ticks)."""

    window: Window
    reason: str
    config: str
    times: int
    next_try: int
    blob: str


@dataclass(frozen=True, slots=True)
class Denial:
    """An export that its service refuses altogether: the configuration, until when it rests, and why."""

    config: str
    next_try: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Time that the source no longer held when it was to be exported, and why."""

    window: Window
    reason: str


BackfillState = Literal["active", "done", "ended"]


@dataclass(frozen=True, slots=True)
class Backfill:
    """A range that someone asked for; ``force`` redoes what was stored in it before the request.

    ``allow_shrink`` lets a redo store fewer rows than there were. ``state``: of an ``active`` one there is
    something left to do; the time of one that is ``done`` stays wanted; one that somebody ``ended`` only
    lasts until what it stored has been rechecked.
    """

    id: str
    window: Window
    force: bool
    allow_shrink: bool
    requested_at: int
    state: BackfillState = "active"


@dataclass(frozen=True, slots=True)
class Recheck:
    """A finished comparison of stored windows with their source: their span, and when it was made (ticks).

    ``redo`` says that they were read again because a backfill asked for that by force.
    """

    window: Window
    checked_at: int
    redo: bool = False


class RecheckedWindow(msgspec.Struct, frozen=True):
    """What a recheck found for one window. ``outcome``: ``unchanged``, ``added`` or ``source_shrank``."""

    start: str
    end: str
    stored: int
    counted: int
    outcome: str


class _FailureDocument(msgspec.Struct, frozen=True):
    start: str
    end: str
    reason: str
    config: str
    error: str
    times: int
    failed_at: str
    next_try: str


class _BackfillDocument(msgspec.Struct, frozen=True):
    start: str
    end: str
    force: bool
    allow_shrink: bool
    requested_at: str
    state: BackfillState


class _RecheckDocument(msgspec.Struct, frozen=True):
    checked_at: str
    config: str
    windows: Sequence[RecheckedWindow]


class Journal:
    """Reads and writes the journal in the state container. Thread-safe."""

    def __init__(self, container: Container, clock: Clock) -> None:
        self._container = container
        self._clock = clock

    def failures(self, export: str) -> list[Failure]:
        """Return an export's windows that could not be exported when they were last tried."""
        failures = []
        for blob in self._container.list(f"{export}/failures/", metadata=True):
            with _readable(blob.name):
                window, reason, _ = blob.name.rpartition("/")[2].split(".")
                failures.append(
                    Failure(
                        parse_window_id(window),
                        reason,
                        blob.metadata["config"],
                        int(blob.metadata["times"]),
                        parse_instant(blob.metadata["next_try"]),
                        blob.name,
                    )
                )
        return failures

    def record_failure(
        self, message: Message, error: str, wait: int | None = None, *, put_off: bool = False
    ) -> Failure:
        """Record that a window was given up, with an exponentially later next try, or one ``wait`` ticks off.

        One that was only put off did not fail: it does not count among the ``times``. Raises ConflictError
        when another worker records it at the same time.
        """
        window = message.window
        name = f"{message.export}/failures/{window_id(window)}.{message.reason}.json"
        before = self._container.head(name)
        times = 0 if put_off else 1
        if before is not None and before.metadata.get("config") == message.config:
            times += int(before.metadata["times"])
        now = self._clock.now()
        pause = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(max(0, times - 1), 16)) if wait is None else wait
        failure = Failure(window, message.reason, message.config, times, now + pause, name)
        document = _FailureDocument(
            format_second(window.start),
            format_second(window.end),
            message.reason,
            message.config,
            error,
            times,
            format_instant(now),
            format_instant(failure.next_try),
        )
        self._container.write(
            name,
            msgspec.json.encode(document),
            etag=before.etag if before else None,
            metadata={
                "config": message.config,
                "times": str(times),
                "next_try": format_instant(failure.next_try),
            },
        )
        return failure

    def clear_failure(self, failure: Failure) -> None:
        """Forget a failure, because its window is stored now or no longer planned."""
        self._container.delete(failure.blob)

    def denial(self, export: str) -> Denial | None:
        """Return why an export is denied; None where it was not when it last asked."""
        blob = self._container.head(f"{export}/denied.json")
        if blob is None:
            return None
        with _readable(blob.name):
            return Denial(
                blob.metadata["config"], parse_instant(blob.metadata["next_try"]), blob.metadata["reason"]
            )

    def record_denial(self, export: Export, error: str, wait: int | None = None) -> None:
        """Record that an export's service refuses it, so that it rests: for this run, or ``wait`` ticks.

        Raises ConflictError when another worker records it at the same time.
        """
        name = f"{export.name}/denied.json"
        before = self._container.head(name)
        now = self._clock.now()
        next_try = format_instant(now + (_DENIED_FOR if wait is None else wait))
        document = {
            "config": export.digest,
            "error": error,
            "denied_at": format_instant(now),
            "next_try": next_try,
        }
        self._container.write(
            name,
            msgspec.json.encode(document),
            etag=before.etag if before else None,
            metadata={"config": export.digest, "next_try": next_try, "reason": _ascii(error)},
        )

    def forget_denial(self, export: str) -> None:
        """Forget that an export was denied, because it is about to ask again."""
        self._container.delete(f"{export}/denied.json")

    def unavailable(self, export: Export) -> list[Unavailable]:
        """Return the time that the export's source no longer held.

        What was concluded from another ``retention`` than the export has now does not count.
        """
        found = []
        for blob in self._container.list(f"{export.name}/unavailable/", metadata=True):
            if blob.metadata.get("retention") in {"", _retention(export)}:
                window = parse_window_id(blob.name.rpartition("/")[2].removesuffix(".json"))
                found.append(Unavailable(window, blob.metadata.get("reason", "")))
        return found

    def record_unavailable(self, export: Export, window: Window, reason: str, *, by_retention: bool) -> None:
        """Record time that the source no longer holds; what another retention led to is replaced.

        Raises ConflictError when another worker records it at the same time.
        """
        document = {
            "start": format_second(window.start),
            "end": format_second(window.end),
            "reason": reason,
            "recorded_at": format_instant(self._clock.now()),
        }
        name = f"{export.name}/unavailable/{window_id(window)}.json"
        before = self._container.head(name)
        self._container.write(
            name,
            msgspec.json.encode(document),
            etag=before.etag if before else None,
            metadata={"reason": _ascii(reason), "retention": _retention(export) if by_retention else ""},
        )

    def forget_unavailable(self, export: str, span: Window) -> None:
        """Forget lost time that overlaps a span, so that it is tried again."""
        for name in list(self._container.names(f"{export}/unavailable/")):
            window = parse_window_id(name.rpartition("/")[2].removesuffix(".json"))
            if overlap(window, span):
                self._container.delete(name)

    def backfills(self, export: str) -> list[Backfill]:
        """Return an export's backfills, oldest first."""
        found = []
        for blob in self._container.list(f"{export}/backfills/", metadata=True):
            with _readable(blob.name):
                stored = msgspec.convert(blob.metadata, _BackfillDocument, strict=False)
                found.append(
                    Backfill(
                        blob.name.rpartition("/")[2].removesuffix(".json"),
                        Window(parse_instant(stored.start), parse_instant(stored.end)),
                        stored.force,
                        stored.allow_shrink,
                        parse_instant(stored.requested_at),
                        stored.state,
                    )
                )
        return sorted(found, key=lambda backfill: backfill.requested_at)

    def add_backfill(self, export: str, window: Window, *, force: bool, allow_shrink: bool) -> Backfill:
        """Store a range for the planner to draw from."""
        backfill = Backfill(uuid.uuid4().hex, window, force, allow_shrink, self._clock.now())
        self._write_backfill(export, backfill, etag=None)
        return backfill

    def change_backfill(self, export: str, backfill: Backfill, state: BackfillState) -> None:
        """Change a backfill's state. Raises ConflictError when it is gone or another worker changes it."""
        name = _backfill_name(export, backfill.id)
        before = self._container.head(name)
        if before is None:
            raise ConflictError(f"{name} is gone")
        self._write_backfill(export, replace(backfill, state=state), etag=before.etag)

    def forget_backfill(self, export: str, backfill: Backfill) -> None:
        """Forget a backfill that was ended."""
        self._container.delete(_backfill_name(export, backfill.id))

    def _write_backfill(self, export: str, backfill: Backfill, *, etag: str | None) -> None:
        """Write a backfill: for people as a document, and as its metadata, so that one listing reads all."""
        document = _BackfillDocument(
            format_second(backfill.window.start),
            format_second(backfill.window.end),
            backfill.force,
            backfill.allow_shrink,
            format_instant(backfill.requested_at),
            backfill.state,
        )
        fields: dict[str, object] = msgspec.to_builtins(document)
        metadata = {key: text if isinstance(text, str) else str(text).lower() for key, text in fields.items()}
        self._container.write(
            _backfill_name(export, backfill.id), msgspec.json.encode(document), etag=etag, metadata=metadata
        )

    def rechecks(
        self, export: str, spans: Iterable[Window], lengths: Lengths, life: Window | None = None
    ) -> list[Recheck]:
        """Return the finished rechecks of windows in some spans, and others near them.

        ``lengths`` are those of the export's windows, ``life`` the time in which they lie.
        """
        longest = max(RECHECKED_TOGETHER, lengths.longest)
        reach = [Window(max(0, span.start - longest), span.end) for span in spans]
        found = []
        for stamp in stamps(reach, lengths.shortest, life):
            for blob in self._container.names(f"{export}/rechecks/{stamp.replace('-', '')}"):
                name = blob.rpartition("/")[2].removesuffix(".json")
                window, _, checked_at = name.removesuffix(".redo").rpartition("_")
                redo = name.endswith(".redo")
                found.append(Recheck(parse_window_id(window), expand(checked_at), redo))
        return found

    def record_recheck(
        self,
        export: str,
        span: Window,
        config: str,
        windows: Sequence[RecheckedWindow],
        checked_at: int,
        *,
        redo: bool = False,
    ) -> None:
        """Record a finished recheck, also when nothing changed. Raises ConflictError when it is there."""
        self._container.write(
            f"{export}/rechecks/{window_id(span)}_{compact(checked_at)}{'.redo' if redo else ''}.json",
            msgspec.json.encode(_RecheckDocument(format_instant(checked_at), config, windows)),
            etag=None,
        )


def _backfill_name(export: str, id_: str) -> str:
    return f"{export}/backfills/{id_}.json"


@contextlib.contextmanager
def _readable(name: str) -> Generator[None]:
    """Name the document that cannot be read, so that somebody can look at it."""
    try:
        yield
    except (*rawjson.UNREADABLE, KeyError, ValueError) as error:
        raise ProtocolError(
            f"the stored document {name} cannot be read ({error}); mend or delete it"
        ) from error


def _ascii(text: str) -> str:
    """Return a text in the form that a blob's metadata can hold."""
    return " ".join(text.encode("ascii", "replace").decode().split())[:1000]


def _retention(export: Export) -> str:
    return "" if export.retention is None else format_duration(export.retention)
