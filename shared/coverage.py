"""What is stored -> covered time -> gaps. Blob names alone decide; nothing remembered does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.layout import parse_blob_name, prefixes
from shared.model import Blob, Container, Export, Measured, Window
from shared.windows import cells, grid_floor, overlap, subtract

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


def planned(export: Export, gaps: Sequence[Window]) -> list[Window]:
    """Cut gaps into the windows that would be planned for them, oldest first."""
    return [cell for gap in gaps for cell in cells(gap, export.window, export.offset)]


def is_planned(export: Export, window: Window, stored: Sequence[Window], origin: int, now: int) -> bool:
    """Whether a window is just what the planner would issue now, given what is stored in its grid cell."""
    cell = cell_of(export, window.start)
    if cell.end > due_until(export, now) or origin >= cell.end:
        return False
    return window in planned(export, subtract(Window(max(cell.start, origin), cell.end), stored))
