"""What is stored -> covered time -> gaps. Blob names alone decide which time is covered."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared.journal import Backfill
from shared.layout import parse_blob_name, prefixes
from shared.listing import Lengths
from shared.model import Blob, Container, Export, Measured, Window
from shared.windows import clipped, grid_floor, overlap, overlapping, subtract, union

_NEIGHBOURS = 2


@dataclass(frozen=True, slots=True)
class Stored:
    """A window that is stored, and its blob as a listing shows it."""

    window: Window
    extension: str
    blob: Blob


def stored_near(data: Container, export: str, span: Window, lengths: Lengths) -> list[Stored]:
    """Return an export's stored windows that may overlap a span, and others near it, in name order."""
    return _listed(data, prefixes(export, [_reach(span, lengths)], lengths.shortest))


def stored_in(
    data: Container, export: str, spans: Sequence[Window], lengths: Lengths, life: Window
) -> list[Stored]:
    """Return the stored windows that overlap any of some spans, oldest first, with their receipts.

    ``life`` is the time in which the export has blobs at all, as far as is known.
    """
    reach = [_reach(span, lengths) for span in spans]
    wanted = overlapping(union(spans))
    found = _listed(data, prefixes(export, reach, lengths.shortest, life))
    return sorted((each for each in found if wanted(each.window)), key=lambda each: each.window)


def windows_in(
    data: Container, export: str, spans: Sequence[Window], lengths: Lengths, life: Window
) -> list[Window]:
    """Return the windows that ``stored_in`` finds, from the names alone; one with two blobs comes twice."""
    reach = [_reach(span, lengths) for span in spans]
    wanted = overlapping(union(spans))
    found = _named(data, prefixes(export, reach, lengths.shortest, life))
    return sorted(window for window in found if wanted(window))


def all_windows(data: Container, export: str) -> list[Window]:
    """Return all stored windows of an export, from the names alone; one with two blobs comes twice."""
    return list(_named(data, [f"{export}/window_date="]))


def _reach(span: Window, lengths: Lengths) -> Window:
    """Return when what overlaps a span may begin: a blob lies under the hour in which its window begins."""
    return Window(max(0, span.start - lengths.longest), span.end)


def _listed(data: Container, names: Iterable[str]) -> list[Stored]:
    blobs = (blob for prefix in names for blob in data.list(prefix, metadata=True))
    parsed = ((blob, parse_blob_name(blob.name)) for blob in blobs)
    return [Stored(*found, blob) for blob, found in parsed if found is not None]


def _named(data: Container, names: Iterable[str]) -> Iterator[Window]:
    parsed = (parse_blob_name(name) for prefix in names for name in data.names(prefix))
    return (found[0] for found in parsed if found is not None)


def covered(found: Iterable[Stored], span: Window) -> list[Window]:
    """Return the stored windows that overlap a span."""
    return [each.window for each in found if overlap(each.window, span)]


def measured(found: Iterable[Stored], window: Window, config: str) -> Measured | None:
    """Return what the nearest windows of the same configuration held, at most; None where there are none.

    Needs a listing with metadata. The larger of two, because asking too much costs a request and memory, and
    asking too little only the former. No more than two, because volume changes with the hour.
    """
    alike = [each for each in found if each.blob.metadata.get("config") == config and each.window != window]
    nearest = sorted(alike, key=lambda each: abs(each.window.start - window.start))[:_NEIGHBOURS]
    if not nearest:
        return None

    def most(key: str) -> float:
        return max(int(each.blob.metadata[key]) / (each.window.end - each.window.start) for each in nearest)

    return Measured(rows=most("rows"), answer_bytes=most("answer_bytes"))


def due_until(export: Export, now: int) -> int:
    """Return the end of the last grid cell that has ended and settled: its end lies ``lag`` back or more."""
    return grid_floor(now - export.lag, export.window, export.offset)


def reading_due(export: Export, window: Window, now: int) -> int:
    """Return when a window last became due for a reading (ticks): its first one, or one of its rechecks."""
    due = window.end + export.lag
    return max([due, *(due + age for age in export.recheck if due + age <= now)])


def cell_of(export: Export, tick: int) -> Window:
    """Return the grid cell that holds a tick."""
    start = grid_floor(tick, export.window, export.offset)
    return Window(max(0, start), start + export.window)


def wanted(export: Export, origin: int, backfills: Iterable[Backfill], now: int) -> list[Window]:
    """Return the due time that is to be covered: from the origin on, and what backfills add before it.

    Time from before ``keep`` is no longer wanted: its blobs may have been deleted on purpose.
    """
    due = due_until(export, now)
    # At the grid, so that no window is cut at a time that has moved on when its message is carried out.
    oldest = 0 if export.keep is None else cell_of(export, now - export.keep).end
    asked = [each.window for each in backfills if each.state != "ended"]
    spans = [(origin, due), *((window.start, window.end) for window in asked)]
    cut = [(max(start, oldest), min(end, due)) for start, end in spans]
    return union(Window(start, end) for start, end in cut if start < end)


def gaps(spans: Iterable[Window], holes: Sequence[Window]) -> list[Window]:
    """Return the wanted time that is neither stored nor lost, oldest first."""
    taken = union(holes)
    starts, ends = [hole.start for hole in taken], [hole.end for hole in taken]
    found: list[Window] = []
    for span in spans:
        near = taken[bisect_right(ends, span.start) : bisect_left(starts, span.end)]
        found += subtract(span, near)
    return found


def is_planned(export: Export, window: Window, spans: Iterable[Window], holes: Sequence[Window]) -> bool:
    """Whether a window is just what the planner would issue now: its grid cell, cut to a gap.

    ``holes`` is what is stored, or lost, in the window's grid cell.
    """
    cell = cell_of(export, window.start)
    return window in gaps(clipped(spans, cell), holes)
