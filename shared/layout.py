"""Names of blobs: which name a window has, and which window a name has. Pure."""

import re
from collections.abc import Iterator

from shared.model import Window
from shared.windows import DAY, HOUR, format_instant, parse_instant

_NAME = re.compile(
    r"[^/]+/window_date=[0-9-]{10}/window_hour=[0-9]{2}/([0-9]{8}T[0-9]{6}Z)_([0-9]{8}T[0-9]{6}Z)\.([a-z]+(?:\.(?:gz|zst))?)"
)


def compact(ticks: int) -> str:
    """Return ``20261121T100000Z``; a fraction of a second is cut off."""
    return re.sub(r"[-:]", "", format_instant(ticks)[:19]) + "Z"


def expand(text: str) -> int:
    """Return the tick that ``compact`` wrote. Raises ValueError for anything else."""
    return parse_instant(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:15]}Z")


def window_id(window: Window) -> str:
    """Return ``20261121T100000Z_20261121T110000Z``, for windows that lie on whole seconds."""
    return f"{compact(window.start)}_{compact(window.end)}"


def parse_window_id(text: str) -> Window:
    """Return the window that ``window_id`` wrote. Raises ValueError for anything else."""
    start, _, end = text.partition("_")
    return Window(expand(start), expand(end))


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
        window = Window(expand(match[1]), expand(match[2]))
    except ValueError:  # a date that there is not, or an end before the start
        return None
    export = name.partition("/")[0]
    return (window, match[3]) if blob_name(export, window, match[3]) == name else None


def prefixes(export: str, span: Window) -> Iterator[str]:
    """Yield a short list of name prefixes that together hold every window that begins in a span.

    Hours for up to an hour, days for up to a month, months beyond that: few listings, of few blobs each.
    """
    length = span.end - span.start
    step, width = (HOUR, 13) if length <= HOUR else (DAY, 10 if length <= 31 * DAY else 7)
    seen = ""
    for number in range(span.start // step, (span.end - 1) // step + 1):
        stamp = format_instant(number * step)[:width]
        if stamp != seen:
            seen = stamp
            day, _, hour = stamp.partition("T")
            yield f"{export}/window_date={day}" + (f"/window_hour={hour}" if hour else "")
