"""The small documents beside the data: origins, configurations, failures, and what is in flight.

Origins are the truth and written create-only. What is in flight is a cache: losing it repeats work and
loses nothing.
"""

import contextlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from shared import VERSION
from shared.errors import ConflictError, OriginError, ProtocolError
from shared.layout import parse_window_id, window_id
from shared.model import Clock, Container, Document, Export, Kind, Message, Window
from shared.windows import MINUTE, SECOND, format_instant, format_second, parse_instant

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_FIRST_RETRY = 5 * MINUTE
_LONGEST_RETRY = 6 * 60 * MINUTE


class Origin(msgspec.Struct, frozen=True):
    """Where an export begins and whose data its name belongs to."""

    id: str
    start: str
    identity: dict[str, str]
    created_at: str
    app_version: str

    @property
    def tick(self) -> int:
        """The start in ticks."""
        return parse_instant(self.start)


@dataclass(frozen=True, slots=True)
class Failure:
    """A window that could not be exported with a configuration, and when it may be tried next (ticks)."""

    window: Window
    config: str
    times: int
    next_try: int


class Flight(msgspec.Struct, frozen=True):
    """A window that was given to the queue, or is to be given to it next."""

    export: str
    start: str
    end: str
    config: str
    id: str = ""
    queued_at: str = ""

    @property
    def window(self) -> Window:
        """The window itself."""
        return Window(parse_instant(self.start), parse_instant(self.end))


@dataclass(frozen=True, slots=True)
class InFlight:
    """What one timer's exports have in flight.

    ``pending`` are the windows to queue next, so that a finished window can be followed without listing
    anything; ``more`` says that there were more of them than were kept. ``positions`` tell for each export
    until when everything is covered.
    """

    flights: tuple[Flight, ...] = ()
    pending: tuple[Flight, ...] = ()
    more: bool = True
    positions: Mapping[str, int] = field(default_factory=dict)
    etag: str | None = None


class _InFlightDocument(msgspec.Struct, frozen=True):
    in_flight: list[Flight]
    pending: list[Flight]
    more: bool
    positions: dict[str, str]


class _FailureDocument(msgspec.Struct, frozen=True):
    start: str
    end: str
    config: str
    error: str
    times: int
    failed_at: str
    next_try: str


class State:
    """Reads and writes the state container; the only place that knows its layout. Thread-safe."""

    def __init__(self, container: Container, clock: Clock) -> None:
        self._container = container
        self._clock = clock
        self._origins: dict[str, Origin] = {}
        self._registered: set[tuple[str, str]] = set()

    def origin(self, export: Export) -> Origin:
        """Return where an export begins and whose data it is; the first call ever writes it.

        Raises OriginError when the name belongs to other data.
        """
        origin = self._origins.get(export.name)
        if origin is None:
            origin = self._origins[export.name] = self._read_or_create_origin(export)
        if origin.identity != dict(export.identity):
            raise OriginError(
                f"the export {export.name!r} reads {_listed(export.identity)}, but its name belongs to "
                f"{_listed(origin.identity)} since {origin.created_at}; give the new data a name of its own"
            )
        return origin

    def _read_or_create_origin(self, export: Export) -> Origin:
        name = f"{export.name}/origin.json"
        now = self._clock.now()
        start = export.start if export.start >= 0 else max(0, now + export.start) // SECOND * SECOND
        mine = Origin(
            uuid.uuid4().hex, format_second(start), dict(export.identity), format_instant(now), VERSION
        )
        document = self._container.read(name)
        if document is None:
            try:
                self._container.write(name, msgspec.json.encode(mine), etag=None)
            except ConflictError:  # another worker was quicker; its origin counts
                document = self._container.read(name)
            else:
                return mine
        if document is None:
            raise ConflictError(f"{name} appeared and vanished; trying again")
        return _decoded(name, document, Origin)

    def register(self, export: Export) -> None:
        """Keep an export's configuration under its digest, before the first window is stored with it."""
        key = (export.name, export.digest)
        if key in self._registered:
            return
        with contextlib.suppress(ConflictError):  # kept already
            self._container.write(
                f"{export.name}/configs/{export.digest}.json",
                export.config,
                etag=None,
                metadata={"window_seconds": str(export.window // SECOND)},
            )
        self._registered.add(key)

    def longest_window(self, export: str) -> int:
        """Return the longest window, in ticks, that any of an export's configurations had (0: none yet)."""
        configs = self._container.list(f"{export}/configs/", metadata=True)
        return max((int(blob.metadata["window_seconds"]) * SECOND for blob in configs), default=0)

    def failures(self, export: str) -> list[Failure]:
        """Return an export's windows that could not be exported when they were last tried."""
        failures = []
        for blob in self._container.list(f"{export}/failures/", metadata=True):
            window = parse_window_id(blob.name.rpartition("/")[2].removesuffix(".json"))
            failures.append(
                Failure(
                    window,
                    blob.metadata["config"],
                    int(blob.metadata["times"]),
                    parse_instant(blob.metadata["next_try"]),
                )
            )
        return failures

    def record_failure(self, export: str, window: Window, config: str, error: str) -> Failure:
        """Record that a window was given up, with an exponentially later next try."""
        name = _failure_name(export, window)
        before = self._container.head(name)
        times = 1
        if before is not None and before.metadata.get("config") == config:
            times += int(before.metadata["times"])
        now = self._clock.now()
        next_try = now + min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(times - 1, 16))
        failure = Failure(window, config, times, next_try)
        document = _FailureDocument(
            format_second(window.start),
            format_second(window.end),
            config,
            error,
            times,
            format_instant(now),
            format_instant(next_try),
        )
        self._container.write(
            name,
            msgspec.json.encode(document),
            etag=before.etag if before else None,
            metadata={"config": config, "times": str(times), "next_try": format_instant(next_try)},
        )
        return failure

    def clear_failure(self, export: str, window: Window) -> None:
        """Forget a failure, because its window is stored now or no longer planned."""
        self._container.delete(_failure_name(export, window))

    def in_flight(self, kind: Kind) -> InFlight:
        """Return what is in flight; nothing when the document is missing or cannot be read."""
        name = f"in_flight/{kind}.json"
        document = self._container.read(name)
        if document is None:
            return InFlight()
        try:
            content = _decoded(name, document, _InFlightDocument)
            positions = {export: parse_instant(at) for export, at in content.positions.items()}
            for each in content.in_flight + content.pending:
                _ = each.window, parse_instant(each.queued_at or each.start)  # raises where unreadable
        except (ProtocolError, ValueError) as error:
            _log.warning("%s is only a cache and is begun anew: %s", name, error)
            return InFlight(etag=document.etag)
        return InFlight(
            tuple(content.in_flight), tuple(content.pending), content.more, positions, document.etag
        )

    def save_in_flight(self, kind: Kind, in_flight: InFlight) -> None:
        """Replace what is in flight, if nobody else did since it was read. Raises ConflictError."""
        document = _InFlightDocument(
            list(in_flight.flights),
            list(in_flight.pending),
            in_flight.more,
            {export: format_instant(at) for export, at in in_flight.positions.items()},
        )
        self._container.write(f"in_flight/{kind}.json", msgspec.json.encode(document), etag=in_flight.etag)


def flight(message: Message, now: int) -> Flight:
    """Return the in-flight entry of a message that is given to the queue now."""
    start, end = format_second(message.window.start), format_second(message.window.end)
    return Flight(message.export, start, end, message.config, message.id, format_instant(now))


def without(flights: Sequence[Flight], message: Message) -> tuple[Flight, ...]:
    """Return the flights but those of a message's window, whichever message announced it."""
    return tuple(each for each in flights if (each.export, each.window) != (message.export, message.window))


def _failure_name(export: str, window: Window) -> str:
    return f"{export}/failures/{window_id(window)}.json"


def _listed(identity: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(identity.items()))


def _decoded(name: str, document: Document, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(document.data, type=type_)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the stored document {name} cannot be read: {error}") from error
