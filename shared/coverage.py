"""What is stored -> covered time -> gaps. Blob names alone decide; nothing remembered does."""

from collections.abc import Sequence

from shared.layout import parse_blob_name, prefixes
from shared.model import Container, Export, Window
from shared.windows import cells, grid_floor, overlap, subtract


def stored_windows(data: Container, export: str, span: Window, longest: int) -> list[Window]:
    """Return the stored windows of an export that overlap a span.

    A blob lies under the day on which its window begins, so the listing begins ``longest`` ticks before the
    span: the longest window that the export ever had.
    """
    reach = Window(max(0, span.start - longest), span.end)
    found = []
    for prefix in prefixes(export, reach):
        for blob in data.list(prefix):
            parsed = parse_blob_name(blob.name)
            if parsed is not None and overlap(parsed[0], span):
                found.append(parsed[0])
    return found


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
