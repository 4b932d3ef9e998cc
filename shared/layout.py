"""Names of blobs: which name a window has, and which window a name has. Pure."""

import re
from collections.abc import Iterable, Iterator

from shared.listing import stamps
from shared.model import Window
from shared.windows import HOUR, MINUTE, SECOND, format_instant, midnight

_NAME = re.compile(
    r"[^/]+/window_date=([0-9]{4})-([0-9]{2})-([0-9]{2})/window_hour=([0-9]{2})/"
    r"(\1\2\3T\4[0-9]{4}Z)_([0-9]{8}T[0-9]{6}Z)\.([a-z]+(?:\.(?:gz|zst|json))?)"
)
"""A window's blob; the partitions that it lies in say when the window began."""
_COMPACT = re.compile(r"([0-9]{8})T([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])Z")

MANIFEST = "pages.json"
"""The extension of a window's blob that names others, which hold its rows."""


def compact(ticks: int) -> str:
    """Return ``20261121T100000Z``; a fraction of a second is cut off."""
    return format_instant(ticks)[:19].replace("-", "").replace(":", "") + "Z"


def expand(text: str) -> int:
    """Return the tick that ``compact`` wrote. Raises ValueError for anything else."""
    match = _COMPACT.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an instant such as '20261121T100000Z'")
    day, hours, minutes, seconds = match.groups()
    return midnight(day) + int(hours) * HOUR + int(minutes) * MINUTE + int(seconds) * SECOND


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
        return Window(expand(match[5]), expand(match[6])), match[7]
    except ValueError:  # a date that there is not, or an end before the start
        return None


def pages_prefix(export: str, window: Window) -> str:
    """Return under which names the pages of a window are, each attempt's in a folder of its own.

    Beside the partitions, and under a name that Spark, Hive and Synapse pass over when they read those.
    """
    return f"{export}/_pages/{window_id(window)}/"


def prefixes(
    export: str, spans: Iterable[Window], shortest: int, life: Window | None = None
) -> Iterator[str]:
    """Yield the name prefixes that hold every window that begins in some spans, each under one of them.

    As ``listing.stamps`` chooses them, for windows of ``shortest`` ticks.
    """
    for stamp in stamps(spans, shortest, life):
        day, _, hour = stamp.partition("T")
        yield f"{export}/window_date={day}" + (f"/window_hour={hour}" if hour else "")
