"""Names of blobs: which name a window has, and which window a name has. Pure."""

import re
from collections.abc import Iterator
from datetime import date

from shared.model import Window
from shared.windows import DAY, format_instant, parse_instant

_NAME = re.compile(
    r"[^/]+/window_date=[0-9-]{10}/window_hour=[0-9]{2}/([0-9]{8}T[0-9]{6}Z)_([0-9]{8}T[0-9]{6}Z)\.(.+)"
)


def _compact(ticks: int) -> str:
    return re.sub(r"[-:]", "", format_instant(ticks)[:19]) + "Z"


def _expand(text: str) -> int:
    return parse_instant(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:15]}Z")


def window_id(window: Window) -> str:
    """Return ``20261121T100000Z_20261121T110000Z``, for windows that lie on whole seconds."""
    return f"{_compact(window.start)}_{_compact(window.end)}"


def parse_window_id(text: str) -> Window:
    """Return the window that ``window_id`` wrote. Raises ValueError for anything else."""
    start, _, end = text.partition("_")
    return Window(_expand(start), _expand(end))


def blob_name(export: str, window: Window, extension: str) -> str:
    """Return the name of a window's blob: Hive-style partitions by when the window began."""
    start = format_instant(window.start)
    return f"{export}/window_date={start[:10]}/window_hour={start[11:13]}/{window_id(window)}.{extension}"


def parse_blob_name(name: str) -> tuple[Window, str] | None:
    """Return a data blob's window and extension, or None for a name that is not of this layout."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    try:
        return Window(_expand(match[1]), _expand(match[2])), match[3]
    except ValueError:  # a date that there is not, or an end before the start
        return None


def prefixes(export: str, span: Window) -> Iterator[str]:
    """Yield the shortest list of name prefixes that together hold every window that begins in a span.

    Days, for up to a month; months beyond that, so that years of history cost few listings.
    """
    first, last = span.start // DAY, (span.end - 1) // DAY
    width = 10 if last - first < 31 else 7
    seen = ""
    for day in range(first, last + 1):
        part = date.fromordinal(day + 1).isoformat()[:width]
        if part != seen:
            seen = part
            yield f"{export}/window_date={part}"
