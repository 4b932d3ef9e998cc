"""What is in flight: a cache in the state container. Losing it repeats work and loses nothing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared import rawjson
from shared.model import Container, Kind, Message, Reason, Window
from shared.windows import format_instant, format_second, parse_instant

_log = logging.getLogger(__name__)


class Flight(msgspec.Struct, frozen=True):
    """A window that was given to the queue, or is to be given to it next.

    ``id`` and ``queued_at`` are those of its message, empty before there is one; ``after`` is the id of the
    message whose completion gave it to the queue.
    """

    export: str
    start: str
    end: str
    config: str
    reason: Reason = "schedule"
    id: str = ""
    queued_at: str = ""
    after: str = ""

    @property
    def window(self) -> Window:
        """The window itself."""
        return Window(parse_instant(self.start), parse_instant(self.end))

    @property
    def message(self) -> Message:
        """The message that gives it to the queue."""
        return Message(self.export, self.window, self.reason, self.config, self.id)


@dataclass(frozen=True, slots=True)
class Settled:
    """The time in which nothing is left to do for an export, so that nobody need list it again.

    It was stored, or lost, and rechecked; also for the ``backfills`` (their ids), while others may ask for
    more. Since the tick ``since`` that is only remembered.
    """

    since: int
    spans: tuple[Window, ...] = ()
    backfills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InFlight:
    """What one timer's exports have in flight.

    ``pending`` are the windows to queue next, so that a finished window can be followed without listing
    anything; ``more`` says that there were more of them than were kept. ``settled`` tells for each export
    what needs not be listed again.
    """

    flights: tuple[Flight, ...] = ()
    pending: tuple[Flight, ...] = ()
    more: bool = True
    settled: Mapping[str, Settled] = field(default_factory=dict)
    etag: str | None = None


class _SettledDocument(msgspec.Struct, frozen=True):
    since: str
    spans: list[tuple[str, str]]
    backfills: list[str]


class _InFlightDocument(msgspec.Struct, frozen=True):
    in_flight: list[Flight]
    pending: list[Flight]
    more: bool
    settled: dict[str, _SettledDocument]


class Flights:
    """Reads and replaces what is in flight for each timer."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def load(self, kind: Kind) -> InFlight:
        """Return what is in flight; nothing when the document is missing or cannot be read."""
        name = f"in_flight/{kind}.json"
        document = self._container.read(name)
        if document is None:
            return InFlight()
        try:
            content = rawjson.decode(document.data, _InFlightDocument)
            settled = {key: _read(document) for key, document in content.settled.items()}
            for each in content.in_flight + content.pending:
                _ = each.window, parse_instant(each.queued_at or each.start)  # raises where unreadable
        except (*rawjson.UNREADABLE, ValueError) as error:
            _log.warning("%s is only a cache and is begun anew: %s", name, error)
            return InFlight(etag=document.etag)
        return InFlight(
            tuple(content.in_flight), tuple(content.pending), content.more, settled, document.etag
        )

    def save(self, kind: Kind, in_flight: InFlight) -> None:
        """Replace what is in flight, if nobody else did since it was read. Raises ConflictError."""
        document = _InFlightDocument(
            list(in_flight.flights),
            list(in_flight.pending),
            in_flight.more,
            {key: _written(settled) for key, settled in in_flight.settled.items()},
        )
        self._container.write(f"in_flight/{kind}.json", msgspec.json.encode(document), etag=in_flight.etag)


def _read(document: _SettledDocument) -> Settled:
    spans = (Window(parse_instant(start), parse_instant(end)) for start, end in document.spans)
    return Settled(parse_instant(document.since), tuple(spans), tuple(document.backfills))


def _written(settled: Settled) -> _SettledDocument:
    spans = [(format_instant(span.start), format_instant(span.end)) for span in settled.spans]
    return _SettledDocument(format_instant(settled.since), spans, list(settled.backfills))


def flight(export: str, window: Window, config: str, reason: Reason) -> Flight:
    """Return the entry of a window that is to be queued."""
    return Flight(export, format_second(window.start), format_second(window.end), config, reason)


def without(flights: Sequence[Flight], message: Message) -> tuple[Flight, ...]:
    """Return the flights but those of a message's window, whichever message announced it."""
    done = (message.export, message.window, message.reason)
    return tuple(each for each in flights if (each.export, each.window, each.reason) != done)
