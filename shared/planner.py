"""Gaps -> a few queue messages.

Few windows are in flight at a time, and each finished one is followed by the next. That one rule bounds the
load on the services without locks, keeps fresh windows ahead of a backlog, and lets a changed configuration
take effect at once.
"""

import heapq
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from shared.coverage import covered, due_until, stored_near
from shared.errors import ConflictError, OriginError, ProtocolError
from shared.events import event
from shared.model import KINDS, Clock, Container, Export, Kind, Message, Window
from shared.state import Flight, InFlight, Origin, State, flight, without
from shared.windows import MINUTE, cells, cells_newest_first, format_second, overlap, parse_instant, subtract

_log = logging.getLogger(__name__)

IN_FLIGHT_EXPIRES = 30 * MINUTE
"""After this long a queued window is taken for lost. One that was not lost is merely done twice."""
PENDING = 100
"""How many windows a plan keeps ready, so that topping up lists nothing."""
_CONFLICTS = 8

_Ranked = tuple[int, int, Flight]
_Change = Callable[[Kind, InFlight], InFlight]


class Planner:
    """Plans the exports of both timers."""

    def __init__(
        self,
        exports: Sequence[Export],
        forgetting: Iterable[str],
        max_in_flight: Mapping[Kind, int],
        data: Container,
        state: State,
        clock: Clock,
    ) -> None:
        self._exports = exports
        self._forgetting = frozenset(forgetting)
        self._max_in_flight = max_in_flight
        self._data = data
        self._state = state
        self._clock = clock

    def plan(self, kind: Kind) -> list[Message]:
        """Look at what is stored and return the messages that should be queued now.

        They count as in flight from here on. Raises StorageError.
        """
        return self._update(kind, self._planned)

    def top_up(self, done: Message) -> list[Message]:
        """Take a finished window off what is in flight and return the messages that follow it."""

        def follow(kind: Kind, before: InFlight) -> InFlight:
            after = replace(before, flights=without(before.flights, done))
            return after if after.pending or not after.more else self._planned(kind, after)

        known = [export.kind for export in self._exports if export.name == done.export]
        return [message for kind in known or KINDS for message in self._update(kind, follow)]

    def _update(self, kind: Kind, change: _Change) -> list[Message]:
        """Read what is in flight, change it, fill the free places, and save it if nobody else did."""
        for _ in range(_CONFLICTS):
            before = self._state.in_flight(kind)
            now = self._clock.now()
            after, messages = _filled(change(kind, before), self._max_in_flight[kind], now)
            if after == before:
                return []
            try:
                self._state.save_in_flight(kind, after)
            except ConflictError:
                continue
            for message in messages:
                event(_log, "window queued", message)
            return messages
        _log.warning("others keep changing what is in flight for %s; they plan, so this run does not", kind)
        return []

    def _planned(self, kind: Kind, before: InFlight) -> InFlight:
        """Return what is in flight without lost entries, and ``pending`` made anew from the gaps."""
        now = self._clock.now()
        flights = tuple(
            each for each in before.flights if parse_instant(each.queued_at) > now - IN_FLIGHT_EXPIRES
        )
        positions = dict(before.positions)
        ranked: list[Iterator[_Ranked]] = []
        landed: set[Flight] = set()
        for export in self._exports:
            if export.kind != kind:
                continue
            own = [each for each in flights if each.export == export.name]
            try:
                origin = self._state.origin(export)
                gaps, position = self._gaps(
                    export, max(origin.tick, positions.get(_key(export, origin), 0)), now
                )
            except (OriginError, ProtocolError) as error:
                _log.error("export disabled: %s", error)
                continue
            positions[_key(export, origin)] = position
            open_ = {each for each in own if any(overlap(each.window, gap) for gap in gaps)}
            landed |= set(own) - open_
            busy = [each.window for each in open_] + self._resting(export, gaps, now)
            ranked.append(_ranked(export, gaps, busy, now, forgets=export.source in self._forgetting))
        merged = heapq.merge(*ranked, key=lambda item: item[:2])
        pending = [item[2] for item in islice(merged, PENDING + 1)]
        return InFlight(
            flights=tuple(each for each in flights if each not in landed),
            pending=tuple(pending[:PENDING]),
            more=len(pending) > PENDING,
            positions=positions,
            etag=before.etag,
        )

    def _gaps(self, export: Export, start: int, now: int) -> tuple[list[Window], int]:
        """Return an export's due gaps from a tick on, and until when everything before them is covered."""
        due = due_until(export, now)
        if start >= due:
            return [], start
        span = Window(start, due)
        found = stored_near(self._data, export.name, span, self._state.longest_window(export.name))
        gaps = subtract(span, covered(found, span))
        return gaps, gaps[0].start if gaps else due

    def _resting(self, export: Export, gaps: Sequence[Window], now: int) -> list[Window]:
        """Return the windows that failed and whose next try lies ahead; forget those that are covered now.

        A failure under another configuration does not count: the change may well have mended it.
        """
        resting = []
        for failure in self._state.failures(export.name):
            if not any(overlap(failure.window, gap) for gap in gaps):
                self._state.clear_failure(export.name, failure.window)
            elif failure.config == export.digest and failure.next_try > now:
                resting.append(failure.window)
        return resting


def _key(export: Export, origin: Origin) -> str:
    """Return the name of an export's position, which an export that was begun anew does not inherit."""
    return f"{export.name} {origin.id}"


def _ranked(
    export: Export, gaps: Sequence[Window], busy: Sequence[Window], now: int, *, forgets: bool
) -> Iterator[_Ranked]:
    """Yield the windows to plan, most urgent first, with a rank that compares between exports.

    The newest due window comes first. Behind it lies the backlog: newest first, but oldest first where the
    source forgets, because there the oldest rows are the next to be lost. Lazy, because a backlog is long.
    """
    due = due_until(export, now)
    newest_first = (
        cell for gap in reversed(gaps) for cell in cells_newest_first(gap, export.window, export.offset)
    )
    ordered: Iterable[Window] = newest_first
    if forgets:
        fresh = [cell for cell in islice(newest_first, 1) if cell.end == due]
        oldest_first = (cell for gap in gaps for cell in cells(gap, export.window, export.offset))
        ordered = chain(fresh, (cell for cell in oldest_first if cell not in fresh))
    for window in ordered:
        if any(overlap(window, other) for other in busy):
            continue
        is_fresh = window.end == due
        order = window.start if forgets and not is_fresh else -window.end
        start, end = format_second(window.start), format_second(window.end)
        yield (0 if is_fresh else 1), order, Flight(export.name, start, end, export.digest)


def _filled(in_flight: InFlight, limit: int, now: int) -> tuple[InFlight, list[Message]]:
    """Move windows from ``pending`` into the free places; return their messages too."""
    flights, pending = list(in_flight.flights), list(in_flight.pending)
    messages: list[Message] = []
    while pending and len(flights) < limit:
        next_ = pending.pop(0)
        if any(each.export == next_.export and overlap(each.window, next_.window) for each in flights):
            continue
        message = Message(next_.export, next_.window, "schedule", next_.config, uuid.uuid4().hex)
        messages.append(message)
        flights.append(flight(message, now))
    return replace(in_flight, flights=tuple(flights), pending=tuple(pending)), messages
