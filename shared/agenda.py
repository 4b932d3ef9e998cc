"""What an export needs next, most urgent first. Pure: it decides, and others list and queue."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, islice, pairwise

from shared.coverage import Stored, due_until
from shared.in_flight import Flight, flight
from shared.journal import Backfill, Recheck
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
    found: Iterable[Stored], backfills: Iterable[Backfill], rechecks: Sequence[Recheck]
) -> list[Window]:
    """Return the stored windows that a backfill with ``force`` wants stored again.

    What was stored, or redone to no effect because the source shrank, since the backfill was asked for is
    done. A recheck in between is not enough: it neither mends a blob nor takes another configuration.
    """
    redos = [check for check in rechecks if check.redo]
    return [
        each.window
        for each in found
        if any(
            redo.force
            and overlap(redo.window, each.window)
            and not _done_since(each, redo.requested_at, redos)
            for redo in backfills
        )
    ]


def doubled_windows(found: Sequence[Stored]) -> list[Window]:
    """Return the windows that have two blobs, because a redo in another format died before its end.

    Whoever carries out a message for such a window keeps the newest.
    """
    windows = sorted(each.window for each in found)
    return [one for one, other in pairwise(windows) if one == other]


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
    awaiting: list[tuple[Stored, int]] = []
    for each in sorted(found, key=lambda stored: stored.window):
        if "config" not in each.blob.metadata:
            continue  # without a receipt nobody knows what to compare it with; only verifying can tell
        ages = [each.window.end + export.lag + age for age in export.recheck]
        unmet = [age for age in ages if not _done_since(each, age, rechecks)]
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
        and other.window.end - group[0].window.start <= DAY
    )


def _done_since(stored: Stored, tick: int, rechecks: Sequence[Recheck]) -> bool:
    """Whether a window was stored or rechecked at a time or later; a blob without a receipt never was."""
    try:
        if from_metadata(stored.blob.metadata).exported_at >= tick:
            return True
    except ValueError:
        return False
    return any(
        check.checked_at >= tick
        and check.window.start <= stored.window.start
        and stored.window.end <= check.window.end
        for check in rechecks
    )
