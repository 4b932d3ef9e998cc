"""Gaps, rechecks and backfills -> a few queue messages.

Few windows are in flight at a time, and each finished one is followed by the next. That one rule bounds the
load on the services without locks, keeps fresh windows ahead of a backlog, and lets a changed configuration
take effect at once.
"""

import contextlib
import heapq
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from msgspec import structs

from shared.agenda import (
    RECHECKED_AT_ONCE,
    Task,
    awaiting_recheck,
    doubled_windows,
    new_windows,
    recheck_tasks,
    redo_tasks,
    redone_windows,
    urgency,
)
from shared.coverage import Stored, cell_of, due_until, gaps, stored_in, wanted
from shared.errors import ConflictError, OriginError, ProtocolError
from shared.events import event
from shared.in_flight import Flight, Flights, InFlight, Position, without
from shared.journal import Backfill, Journal
from shared.model import KINDS, Clock, Container, Export, Kind, Message, SourceType, Window
from shared.state import Origin, State
from shared.windows import HOUR, MINUTE, format_instant, overlap, parse_instant, subtract, union

_log = logging.getLogger(__name__)

IN_FLIGHT_EXPIRES = 30 * MINUTE
"""After this long a queued window is taken for lost. One that was not lost is merely done twice."""
POSITION_EXPIRES = 6 * HOUR
"""How long the time before a position is taken for covered; then all of it is listed again."""
PENDING = 100
"""How many windows a plan keeps ready, so that topping up lists nothing."""
_CONFLICTS = 8

_Change = Callable[[Kind, InFlight], InFlight]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one export needs: its tasks, which of its windows in flight are done, and its new position."""

    tasks: Iterator[Task]
    landed: frozenset[Flight]
    position: Position


class Planner:
    """Plans the exports of both timers."""

    def __init__(
        self,
        exports: Sequence[Export],
        sources: Mapping[str, SourceType],
        max_in_flight: Mapping[Kind, int],
        data: Container,
        state: State,
        journal: Journal,
        flights: Flights,
        clock: Clock,
    ) -> None:
        self._exports = exports
        self._sources = sources
        self._max_in_flight = max_in_flight
        self._data = data
        self._state = state
        self._journal = journal
        self._flights = flights
        self._clock = clock

    def plan(self, kind: Kind) -> list[Message]:
        """Look at what is stored and return the messages that should be queued now.

        They count as in flight from here on. Raises StorageError.
        """
        return self._update(kind, self._planned, uuid.uuid4().hex)

    def top_up(self, done: Message) -> list[Message]:
        """Take a finished window off what is in flight and return the messages that follow it.

        A message that is delivered again because its worker died at the very end returns what it returned
        then, for that may never have been sent.
        """

        def follow(kind: Kind, before: InFlight) -> InFlight:
            after = replace(before, flights=without(before.flights, done))
            return after if after.pending or not after.more else self._planned(kind, after)

        known = [export.kind for export in self._exports if export.name == done.export]
        return [message for kind in known or KINDS for message in self._update(kind, follow, done.id)]

    def _update(self, kind: Kind, change: _Change, after: str) -> list[Message]:
        """Read what is in flight, change it, fill the free places, and save it if nobody else did.

        Returns the messages of what went into flight with the same ``after``, also where that was saved
        before and only the answer was lost.
        """
        for _ in range(_CONFLICTS):
            before = self._flights.load(kind)
            changed, new = _filled(change(kind, before), self._max_in_flight[kind], self._clock.now(), after)
            again = [each for each in changed.flights if each.after == after and each not in new]
            if changed != before:
                try:
                    self._flights.save(kind, changed)
                except ConflictError:
                    continue
            for each in (*again, *new):
                event(_log, "window queued", each.message)
            return [each.message for each in (*again, *new)]
        _log.warning("others keep changing what is in flight for %s; they plan, so this run does not", kind)
        return []

    def _planned(self, kind: Kind, before: InFlight) -> InFlight:
        """Return what is in flight without lost entries, and ``pending`` made anew from what is stored."""
        now = self._clock.now()
        flights = tuple(each for each in before.flights if _is_fresh(each, now))
        positions = dict(before.positions)
        tasks: list[Iterator[Task]] = []
        landed: set[Flight] = set()
        for export in self._exports:
            if export.kind != kind:
                continue
            try:
                origin = self._state.origin(export)
            except (OriginError, ProtocolError) as error:
                _log.error("export disabled: %s", error)
                continue
            # An export that was begun anew does not inherit its position, nor one that lost less than it did.
            key = f"{export.name} {origin.id} {export.retention}"
            own = [each for each in flights if each.export == export.name]
            try:
                plan = self._plan_export(export, origin, positions.get(key), own, now)
            except ProtocolError as error:
                _log.error("export not planned export=%s: %s", export.name, error)
                continue
            positions[key] = plan.position
            landed |= plan.landed
            tasks.append(plan.tasks)
        merged = heapq.merge(*tasks, key=urgency)
        pending = [task.flight for task in islice(merged, PENDING + 1)]
        return InFlight(
            flights=tuple(each for each in flights if each not in landed),
            pending=tuple(pending[:PENDING]),
            more=len(pending) > PENDING,
            positions=positions,
            etag=before.etag,
        )

    def _plan_export(
        self, export: Export, origin: Origin, position: Position | None, own: Sequence[Flight], now: int
    ) -> _Plan:
        """Look at one export: what is missing, what is to be stored again, what is due for a recheck."""
        source = self._sources[export.source]
        position = position or Position(at=origin.tick, since=now)
        backfills = self._journal.backfills(export.name)
        spans = wanted(export, origin.tick, backfills, now)
        active = [each for each in backfills if each.state == "active"]
        ended = [each for each in backfills if each.state == "ended"]
        looked = _looked_at(export, spans, origin.tick, position.at, active)
        listed = [*looked, *(each.window for each in ended)]
        found = stored_in(self._data, export.name, listed, self._state.longest_window(export.name))
        lost = [each.window for each in self._journal.unavailable(export)]
        missing = gaps(looked, [*(each.window for each in found), *lost])
        doubled = doubled_windows(found)
        if now - position.since > POSITION_EXPIRES:
            vanished, doubled_before = self._changed_before(export, spans, looked, lost)
            doubled = doubled_before + doubled
            missing = union([*vanished, *missing])
            position = Position(min([position.at, *(gap.start for gap in missing)]), now)
        rechecks = self._journal.rechecks(export.name, _span(found)) if found else []
        redone = redone_windows(found, active, rechecks) + doubled
        awaiting = awaiting_recheck(export, found, rechecks)
        due = [stored for stored, tick in awaiting if tick <= now]

        def needed(window: Window, reason: str) -> bool:
            if reason == "recheck":
                return any(overlap(window, each.window) for each in due)
            return any(overlap(window, gap) for gap in missing) or window in redone

        landed = frozenset(each for each in own if not needed(each.window, each.reason))
        busy = [each.window for each in own if each not in landed]
        busy += self._resting(export, needed, now)
        before_origin = [each.window for each, _ in awaiting if each.window.start < origin.tick]
        self._finish_backfills(export, active, ended, [*missing, *redone], before_origin)
        at_once = 1 if source.union else RECHECKED_AT_ONCE
        free = [each for each in due if not any(overlap(each.window, other) for other in busy)]
        tasks = heapq.merge(
            new_windows(export, missing, origin.tick, now, forgets=source.forgets),
            recheck_tasks(export, free, at_once=at_once),
            redo_tasks(export, redone),
            key=urgency,
        )
        return _Plan(
            (task for task in tasks if not any(overlap(task.flight.window, other) for other in busy)),
            landed,
            Position(
                max(position.at, _covered_until(export, origin.tick, missing, awaiting, now)), position.since
            ),
        )

    def _changed_before(
        self, export: Export, spans: Iterable[Window], looked: Sequence[Window], lost: Sequence[Window]
    ) -> tuple[list[Window], list[Window]]:
        """Return the gaps before the position, and the windows there that have two blobs.

        Blobs may have been deleted, or a worker that was taken for dead may have stored one, since it passed.
        """
        before = [part for span in spans for part in subtract(span, looked)]
        longest = self._state.longest_window(export.name)
        found = stored_in(self._data, export.name, before, longest, metadata=False)
        return gaps(before, [*(each.window for each in found), *lost]), doubled_windows(found)

    def _resting(self, export: Export, needed: Callable[[Window, str], bool], now: int) -> list[Window]:
        """Return the windows that failed and whose next try lies ahead; forget those that need none.

        A failure to export under another configuration does not count: the change may well have mended it.
        """
        resting = []
        for failure in self._journal.failures(export.name):
            current = failure.reason == "recheck" or failure.config == export.digest
            if not needed(failure.window, failure.reason):
                self._journal.clear_failure(failure)
            elif current and failure.next_try > now:
                resting.append(failure.window)
        return resting

    def _finish_backfills(
        self,
        export: Export,
        active: Iterable[Backfill],
        ended: Iterable[Backfill],
        left: Sequence[Window],
        unchecked: Sequence[Window],
    ) -> None:
        """Record which backfills have nothing left to do; forget the ended ones once all is rechecked."""
        for backfill in active:
            if not any(overlap(backfill.window, each) for each in (*left, *unchecked)):
                with contextlib.suppress(ConflictError):  # another worker was quicker
                    self._journal.change_backfill(export.name, backfill, "done")
                    _log.info("backfill finished export=%s id=%s", export.name, backfill.id)
        for backfill in ended:
            if not any(overlap(backfill.window, each) for each in unchecked):
                self._journal.forget_backfill(export.name, backfill)


def _looked_at(
    export: Export, spans: Iterable[Window], origin: int, position: int, backfills: Iterable[Backfill]
) -> list[Window]:
    """Return the wanted time that must be listed: from the position on, and all of a backfill.

    In whole grid cells, because that is how a worker sees whether its window would be planned.
    """
    position = cell_of(export, position).start
    if position <= origin:
        return list(spans)
    asked = [
        Window(cell_of(export, each.window.start).start, cell_of(export, each.window.end - 1).end)
        for each in backfills
    ]
    skipped = subtract(Window(origin, position), asked)
    return [part for span in spans for part in subtract(span, skipped)]


def _covered_until(
    export: Export, origin: int, missing: Sequence[Window], awaiting: Sequence[tuple[Stored, int]], now: int
) -> int:
    """Return the tick before which everything since the origin is stored, or lost, and rechecked."""
    marks = [due_until(export, now), now - export.lag - max(export.recheck, default=0)]
    marks += [max(origin, gap.start) for gap in missing if gap.end > origin][:1]
    marks += [stored.window.start for stored, _ in awaiting if stored.window.end > origin][:1]
    return max(origin, min(marks))


def _span(found: Sequence[Stored]) -> Window:
    return Window(found[0].window.start, max(each.window.end for each in found))


def _is_fresh(flight: Flight, now: int) -> bool:
    return parse_instant(flight.queued_at or flight.start) > now - IN_FLIGHT_EXPIRES


def _filled(in_flight: InFlight, limit: int, now: int, after: str) -> tuple[InFlight, list[Flight]]:
    """Move windows from ``pending`` into the free places; return them too."""
    flights, pending = list(in_flight.flights), list(in_flight.pending)
    new: list[Flight] = []
    while pending and len(flights) + len(new) < limit:
        entry = pending.pop(0)
        if any(each.export == entry.export and overlap(each.window, entry.window) for each in flights + new):
            continue
        new.append(structs.replace(entry, id=uuid.uuid4().hex, queued_at=format_instant(now), after=after))
    return replace(in_flight, flights=(*flights, *new), pending=tuple(pending)), new
