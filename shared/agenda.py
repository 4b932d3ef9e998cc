"""What an export needs next, most urgent first. Pure: it decides, and others list and queue."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, islice, pairwise

from shared.coverage import Stored, due_until
from shared.in_flight import Flight, flight
from shared.journal import RECHECKED_TOGETHER, Backfill, Recheck
from shared.model import Export, Reason, Window
from shared.receipts import from_metadata
from shared.windows import DAY, cells, cells_newest_first, overlap

RECHECKED_AT_ONCE = 24
"""Windows that one message asks to be rechecked, where one question counts many."""


class Rank(IntEnum):
    """What goes before what."""

    FRESH = 0
    BACKLOG = 1
    RECHECK = 2
    BACKFILL = 3


@dataclass(frozen=True, slots=True)
class Task:
    """A window to queue; ``order`` is among tasks of the same rank."""

    rank: Rank
    order: int
    export: str
    flight: Flight


def urgency(task: Task) -> tuple[int, int, str]:
    """Return what tasks are merged by."""
    return task.rank, task.order, task.export


def new_windows(
    export: Export, gaps: Sequence[Window], origin: int, now: int, *, forgets: bool
) -> Iterator[Task]:
    """Yield the gaps' windows, most urgent first. Lazy, because a backlog is long.

    The newest due window comes first; behind it lies the backlog, and behind that what a backfill added
    before the origin.
    """
    due = due_until(export, now)
    backlog = [gap for gap in gaps if gap.end > origin]
    for cell in _ordered(export, backlog, due, forgets=forgets):
        if cell.end > origin:
            yield _task(export, cell, Rank.FRESH if cell.end == due else Rank.BACKLOG, forgets=forgets)
    before = [gap for gap in gaps if gap.start < origin]
    for cell in _ordered(export, before, 0, forgets=forgets):  # none of it is fresh
        if cell.end <= origin:
            yield _task(export, cell, Rank.BACKFILL, forgets=forgets)


def _ordered(export: Export, gaps: Sequence[Window], due: int, *, forgets: bool) -> Iterable[Window]:
    """Yield gaps cut at the grid, newest first; where the source forgets, the newest and then oldest first.

    There the oldest rows are the next to be lost.
    """
    newest_first = (
        cell for gap in reversed(gaps) for cell in cells_newest_first(gap, export.window, export.offset)
    )
    if not forgets:
        return newest_first
    first = [cell for cell in islice(newest_first, 1) if cell.end == due]
    oldest_first = (cell for gap in gaps for cell in cells(gap, export.window, export.offset))
    return chain(first, (cell for cell in oldest_first if cell not in first))


def _task(export: Export, cell: Window, rank: Rank, *, forgets: bool) -> Task:
    order = cell.start if forgets and rank != Rank.FRESH else -cell.end
    reason: Reason = "backfill" if rank == Rank.BACKFILL else "schedule"
    return Task(rank, order, export.name, flight(export.name, cell, export.digest, reason))


def redone_windows(
    config: str, found: Iterable[Stored], backfills: Iterable[Backfill], rechecks: Iterable[Recheck]
) -> list[Window]:
    """Return the stored windows that a backfill with ``force`` wants stored again.

    What was stored with the export's present configuration, or redone to whatever effect, since the backfill
    was asked for is done. A recheck in between is not enough: it neither mends a blob nor, where it adds to
    one, takes another configuration.
    """
    forced = [backfill for backfill in backfills if backfill.force]
    if not forced:
        return []
    redos = _Checks(check for check in rechecks if check.redo)
    redone = []
    for each in found:
        asked = [backfill.requested_at for backfill in forced if overlap(backfill.window, each.window)]
        if not asked:
            continue
        exported_at = _exported_at(each)
        done = [redos.last(each.window)] if exported_at is not None else []
        if exported_at is not None and each.blob.metadata["config"] == config:
            done.append(exported_at)
        if max(done, default=-1) < max(asked):
            redone.append(each.window)
    return redone


def doubled_windows(found: Iterable[Window]) -> list[Window]:
    """Return the windows that have two blobs, because a redo in another format died before its end.

    Whoever carries out a message for such a window keeps the newest.
    """
    return [one for one, other in pairwise(sorted(found)) if one == other]


def overlapped_windows(found: Sequence[Stored], now: int) -> list[Window]:
    """Return the stored windows that overlap the one before them, where both were stored within a day.

    A worker with another grid died after it stored one, before it saw the other. Whoever carries out a
    message for such a window withdraws it, and what is then a gap is planned again. Later on nobody knows
    whether the source still holds its rows, so it stays.
    """
    new = [each for each in found if (_exported_at(each) or 0) >= now - DAY]
    return [
        other.window
        for one, other in pairwise(sorted(new, key=lambda each: each.window))
        if one.window != other.window and overlap(one.window, other.window)
    ]


def redo_tasks(export: Export, redone: Iterable[Window]) -> Iterator[Task]:
    """Yield the windows to be stored again, newest first."""
    for window in sorted(set(redone), key=lambda each: -each.end):
        entry = flight(export.name, window, export.digest, "backfill")
        yield Task(Rank.BACKFILL, -window.end, export.name, entry)


def awaiting_recheck(
    export: Export, found: Iterable[Stored], rechecks: Sequence[Recheck]
) -> list[tuple[Stored, int]]:
    """Return the stored windows that need a recheck now or later, oldest first, and when (ticks).

    A window is rechecked when it reaches each of the export's ages, unless it was stored, or rechecked, at
    that age or later.
    """
    checks = _Checks(rechecks)
    awaiting: list[tuple[Stored, int]] = []
    for each in sorted(found, key=lambda stored: stored.window):
        if "config" not in each.blob.metadata:
            continue  # without a receipt nobody knows what to compare it with; only verifying can tell
        ages = [each.window.end + export.lag + age for age in export.recheck]
        exported_at = _exported_at(each) if ages else None
        done = -1 if exported_at is None else max(exported_at, checks.last(each.window))
        unmet = [age for age in ages if age > done]
        if unmet:
            awaiting.append((each, min(unmet)))
    return awaiting


def recheck_tasks(export: Export, due: Iterable[Stored], *, at_once: int) -> Iterator[Task]:
    """Yield the rechecks, oldest first; neighbours of one configuration together, ``at_once`` at most."""
    groups: list[list[Stored]] = []
    for each in due:
        if groups and _together(groups[-1], each, at_once):
            groups[-1].append(each)
        else:
            groups.append([each])
    for group in groups:
        span = Window(group[0].window.start, group[-1].window.end)
        entry = flight(export.name, span, group[0].blob.metadata.get("config", ""), "recheck")
        yield Task(Rank.RECHECK, span.start, export.name, entry)


def _together(group: Sequence[Stored], other: Stored, at_once: int) -> bool:
    """Whether a window can be rechecked with its neighbours, in one message over one span of time."""
    return (
        len(group) < at_once
        and group[-1].window.end == other.window.start
        and group[-1].blob.metadata.get("config") == other.blob.metadata.get("config")
        and other.window.end - group[0].window.start <= RECHECKED_TOGETHER
    )


class _Checks:
    """When windows were last rechecked, answered fast for many windows and many rechecks.

    The rechecks are sorted by when they begin, those of about the same length together: of these, only few
    can cover a window.
    """

    def __init__(self, rechecks: Iterable[Recheck]) -> None:
        self._by_length: dict[int, list[Recheck]] = defaultdict(list)
        for check in sorted(rechecks, key=_start):
            self._by_length[(check.window.end - check.window.start).bit_length()].append(check)

    def last(self, window: Window) -> int:
        """Return when a window was last rechecked (ticks); -1 where it never was."""
        done = -1
        for bits, checks in self._by_length.items():
            first = bisect_left(checks, window.end - (1 << bits), key=_start)
            last = bisect_right(checks, window.start, key=_start)
            for check in checks[first:last]:
                if window.end <= check.window.end:
                    done = max(done, check.checked_at)
        return done


def _start(check: Recheck) -> int:
    return check.window.start


def _exported_at(stored: Stored) -> int | None:
    """Return when a stored window was read; None for a blob without a receipt."""
    try:
        return from_metadata(stored.blob.metadata).exported_at
    except ValueError:
        return None
