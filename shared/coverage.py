"""What is stored -> covered time -> gaps. Blob names alone decide which time is covered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.journal import Backfill
from shared.layout import parse_blob_name, prefixes
from shared.model import Blob, Container, Export, Measured, Window
from shared.windows import grid_floor, overlap, subtract, union

_NEIGHBOURS = 6


@dataclass(frozen=True, slots=True)
class Stored:
    """A window that is stored, and its blob as a listing shows it."""

    window: Window
    extension: str
    blob: Blob


def stored_near(
    data: Container, export: str, span: Window, longest: int, *, metadata: bool = False
) -> list[Stored]:
    """Return an export's stored windows that may overlap a span, and others near it, in name order.

    A blob lies under the hour in which its window begins, so the listing begins ``longest`` ticks before the
    span: the longest window that the export ever had.
    """
    reach = Window(max(0, span.start - longest), span.end)
    found = []
    for prefix in prefixes(export, reach):
        for blob in data.list(prefix, metadata=metadata):
            parsed = parse_blob_name(blob.name)
            if parsed is not None:
                found.append(Stored(*parsed, blob))
    return found


def stored_in(
    data: Container, export: str, spans: Iterable[Window], longest: int, *, metadata: bool = True
) -> list[Stored]:
    """Return the stored windows that overlap any of some spans, oldest first; with their receipts, or not."""
    found = {
        each.blob.name: each
        for span in spans
        for each in stored_near(data, export, span, longest, metadata=metadata)
        if overlap(each.window, span)
    }
    return sorted(found.values(), key=lambda each: each.window)


def stored_all(data: Container, export: str) -> list[Stored]:
    """Return all stored windows of an export, without receipts, in name order."""
    blobs = ((blob, parse_blob_name(blob.name)) for blob in data.list(f"{export}/window_date="))
    return [Stored(*parsed, blob) for blob, parsed in blobs if parsed is not None]


def covered(found: Iterable[Stored], span: Window) -> list[Window]:
    """Return the stored windows that overlap a span."""
    return [each.window for each in found if overlap(each.window, span)]


def measured(found: Iterable[Stored], window: Window, config: str) -> Measured | None:
    """Return what the nearest windows of the same configuration held, at most; None where there are none.

    Needs a listing with metadata. The largest of a few, because asking too much costs a request more than
    asking too little.
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
    return [gap for span in spans for gap in subtract(span, holes)]


def is_planned(export: Export, window: Window, spans: Iterable[Window], holes: Sequence[Window]) -> bool:
    """Whether a window is just what the planner would issue now: its grid cell, cut to a gap.

    ``holes`` is what is stored, or lost, in the window's grid cell.
    """
    cell = cell_of(export, window.start)
    in_cell = [
        Window(max(span.start, cell.start), min(span.end, cell.end)) for span in spans if overlap(span, cell)
    ]
    return window in gaps(in_cell, holes)
