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
from itertools import islice, pairwise

from msgspec import structs

from shared.agenda import (
    RECHECKED_AT_ONCE,
    Task,
    awaiting_recheck,
    doubled_windows,
    new_windows,
    overlapped_windows,
    recheck_tasks,
    redo_tasks,
    redone_windows,
    urgency,
)
from shared.coverage import Stored, all_windows, due_until, gaps, stored_in, wanted
from shared.errors import ConflictError, OriginError, ProtocolError
from shared.events import event
from shared.in_flight import Flight, Flights, InFlight, Settled, without
from shared.journal import Backfill, Journal, Recheck
from shared.model import KINDS, Clock, Container, Export, Kind, Message, SourceType, Window
from shared.settled import open_time, settled_time
from shared.state import Origin, State
from shared.windows import (
    HOUR,
    MINUTE,
    clipped,
    format_instant,
    hull,
    overlap,
    overlapping,
    parse_instant,
    union,
)

_log = logging.getLogger(__name__)

IN_FLIGHT_EXPIRES = 30 * MINUTE
"""After this long a queued window is taken for lost. One that was not lost is merely done twice."""
SETTLED_EXPIRES = 6 * HOUR
"""How long what was settled is believed; then the names of all blobs are listed again."""
PENDING = 100
"""How many windows a plan keeps ready, so that topping up lists nothing."""
_CONFLICTS = 8

_Change = Callable[[Kind, InFlight], InFlight]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one export needs: its tasks, which of its windows in flight are done, and what is settled."""

    tasks: Iterator[Task]
    landed: frozenset[Flight]
    settled: Settled


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
            if denied:
                after = replace(after, pending=tuple(e for e in after.pending if e.export != done.export))
            return after if after.pending or not after.more else self._planned(kind, after)

        exports = [export for export in self._exports if export.name == done.export]
        denied = any(self._is_denied(export, self._clock.now()) for export in exports)
        known = [export.kind for export in exports]
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
        settled = dict(before.settled)
        tasks: list[Iterator[Task]] = []
        landed: set[Flight] = set()
        for export in self._exports:
            if export.kind != kind:
                continue
            try:
                origin = self._state.origin(export)
                denied = self._is_denied(export, now)
            except (OriginError, ProtocolError) as error:
                _log.error("export disabled: %s", error)
                continue
            if denied:
                continue
            # An export that was begun anew inherits nothing, nor does one that lost less than it had.
            key = f"{export.name} {origin.id} {export.retention}"
            own = [each for each in flights if each.export == export.name]
            try:
                plan = self._plan_export(export, origin, settled.get(key), own, now)
            except ProtocolError as error:
                _log.error("export not planned export=%s: %s", export.name, error)
                continue
            settled[key] = plan.settled
            landed |= plan.landed
            tasks.append(plan.tasks)
        merged = heapq.merge(*tasks, key=urgency)
        pending = [task.flight for task in islice(merged, PENDING + 1)]
        return InFlight(
            flights=tuple(each for each in flights if each not in landed),
            pending=tuple(pending[:PENDING]),
            more=len(pending) > PENDING,
            settled=settled,
            etag=before.etag,
        )

    def _is_denied(self, export: Export, now: int) -> bool:
        """Whether its service refused an export in this run; one that is about to ask again is not."""
        denial = self._journal.denial(export.name)
        if denial is None:
            return False
        if denial.config == export.digest and denial.next_try > now:
            _log.warning("export rests export=%s: %s", export.name, denial.reason)
            return True
        self._journal.forget_denial(export.name)
        return False

    def _plan_export(
        self, export: Export, origin: Origin, before: Settled | None, own: Sequence[Flight], now: int
    ) -> _Plan:
        """Look at one export: what is missing, what is to be stored again, what is due for a recheck."""
        source = self._sources[export.source]
        settled = before or Settled(since=now)
        backfills = self._journal.backfills(export.name)
        spans = wanted(export, origin.tick, backfills, now)
        active = [each for each in backfills if each.state == "active"]
        ended = [each for each in backfills if each.state == "ended"]
        looked = open_time(export, spans, settled, active)
        listed = [*looked, *(each.window for each in ended), *_ahead(export, active, now)]
        found, rechecks = self._listed(export, listed, [*spans, *listed])
        lost = [each.window for each in self._journal.unavailable(export)]
        missing = gaps(looked, [*(each.window for each in found), *lost])
        doubled = doubled_windows(each.window for each in found) + overlapped_windows(found, now)
        odd: list[Window] = []
        if now - settled.since > SETTLED_EXPIRES:
            # Since then blobs may have been deleted, or stored by a worker that was taken for dead.
            stored = all_windows(self._data, export.name)
            missing = union([*gaps(spans, [*stored, *lost]), *missing])
            doubled += doubled_windows(filter(overlapping(spans), stored))
            odd = [other for one, other in pairwise(sorted(stored)) if overlap(one, other)]
            settled = replace(settled, since=now)
        redone = redone_windows(export.digest, found, active, rechecks) + doubled
        awaiting = awaiting_recheck(export, found, rechecks)
        due = [stored for stored, tick in awaiting if tick <= now]
        is_due = overlapping(union(each.window for each in due))
        is_missing, is_redone = overlapping(missing), frozenset(redone)

        def needed(window: Window, reason: str) -> bool:
            return is_due(window) if reason == "recheck" else is_missing(window) or window in is_redone

        landed = frozenset(each for each in own if not needed(each.window, each.reason))
        busy = [each.window for each in own if each not in landed]
        busy += self._resting(export, needed, now)
        unchecked = [each.window for each, _ in awaiting]
        self._finish_backfills(export, active, ended, [*missing, *redone], unchecked, origin.tick)
        is_busy = overlapping(union(busy))
        tasks = heapq.merge(
            new_windows(export, missing, origin.tick, now, forgets=source.forgets),
            recheck_tasks(
                export,
                [each for each in due if not is_busy(each.window)],
                at_once=1 if source.union else RECHECKED_AT_ONCE,
            ),
            redo_tasks(export, redone),
            key=urgency,
        )
        left = [*missing, *redone, *unchecked, *busy, *odd]
        return _Plan(
            (task for task in tasks if not is_busy(task.flight.window)),
            landed,
            settled_time(export, spans, left, active, settled.since, now),
        )

    def _listed(
        self, export: Export, spans: Sequence[Window], life: Sequence[Window]
    ) -> tuple[list[Stored], list[Recheck]]:
        """List what is stored in some spans, oldest first, and its rechecks."""
        if not spans:
            return [], []
        lengths = self._state.lengths(export.name)
        found = stored_in(self._data, export.name, spans, lengths, hull(life))
        checked = union(each.window for each in found)
        return found, self._journal.rechecks(export.name, checked, lengths, hull(life))

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
        origin: int,
    ) -> None:
        """Record which backfills have nothing left to do; forget the ended ones once all is rechecked.

        What lies behind the origin is rechecked with or without a backfill.
        """
        before_origin = [window for window in unchecked if window.start < origin]
        is_left = overlapping(union([*left, *before_origin]))
        is_unchecked = overlapping(union(before_origin))
        for backfill in active:
            if not is_left(backfill.window):
                with contextlib.suppress(ConflictError):  # another worker was quicker
                    self._journal.change_backfill(export.name, backfill, "done")
                    _log.info("backfill finished export=%s id=%s", export.name, backfill.id)
        for backfill in ended:
            if not is_unchecked(backfill.window):
                self._journal.forget_backfill(export.name, backfill)


def _ahead(export: Export, active: Iterable[Backfill], now: int) -> list[Window]:
    """Return what of forced backfills is not due, but may be stored: on a grid that the export had before."""
    due = due_until(export, now)
    forced = (each.window for each in active if each.force)
    return clipped(forced, Window(max(0, due), now)) if due < now else []


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
