"""Which of an export's time is settled, so that a plan lists only what is still open. Pure."""

from collections.abc import Iterable, Sequence

from shared.coverage import cell_of, due_until, gaps
from shared.in_flight import Settled
from shared.journal import Backfill
from shared.model import Export, Window
from shared.windows import END_OF_TIME, union

MAX_SPANS = 50
"""How many spans are remembered: the longest. Each hole between them is a window that fails, or waits."""


def open_time(
    export: Export, spans: Sequence[Window], settled: Settled, active: Iterable[Backfill]
) -> list[Window]:
    """Return the wanted time that must be listed: what is not settled, and all of a new backfill.

    In whole grid cells, because that is how a worker sees whether its window would be planned.
    """
    new = [each.window for each in active if each.id not in settled.backfills]
    cells = union(
        Window(cell_of(export, each.start).start, cell_of(export, each.end - 1).end)
        for each in gaps(spans, gaps(settled.spans, new))
    )
    return gaps(spans, gaps([Window(0, END_OF_TIME)], cells))


def settled_time(
    export: Export,
    spans: Sequence[Window],
    left: Iterable[Window],
    active: Iterable[Backfill],
    since: int,
    now: int,
) -> Settled:
    """Return what is settled after a plan: the wanted time without what is recent or ``left`` to do.

    All of it was just listed, or settled before.
    """
    recent = min(due_until(export, now), now - export.lag - max(export.recheck, default=0))
    done = gaps(spans, [*left, Window(max(0, recent), END_OF_TIME)])
    longest = sorted(done, key=lambda each: each.start - each.end)[:MAX_SPANS]
    return Settled(since, tuple(sorted(longest)), tuple(each.id for each in active))
