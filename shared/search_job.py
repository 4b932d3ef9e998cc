"""What a search job is asked, what its table is called, and how the source's rows are made of its rows. Pure.

Sources: "Run search jobs in Azure Monitor", and the table of a recorded job (Azure/azure-cli), whose columns
are those of the source with ``_Original`` before the standard ones, beside the table's own standard columns.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from shared import kql
from shared.errors import ExportError
from shared.model import Column, Window
from shared.windows import SECOND, format_instant, format_second

ORIGINAL_TIME = "_OriginalTimeGenerated"

OPERATORS = {
    *("where", "extend", "parse", "parse-where"),
    *("project", "project-away", "project-keep", "project-rename", "project-reorder"),
}
"""The operators that a job takes."""

_ORIGINAL = "_Original"
_BARE = {"TimeGenerated", "TenantId", "Type"}  # the standard columns without an underscore before them
_TRACKED = {"TimeGenerated", "Type", "_ItemId"}  # of these the source's own are always there
_STANDARD = _BARE | {
    *("_ItemId", "_ResourceId", "_SubscriptionId", "_TimeReceived", "_IsBillable", "_BilledSize"),
}
_PROJECTING = {"project", "project-away", "project-keep"}


@dataclass(frozen=True, slots=True)
class Search:
    """What jobs are to find: rows of a table, through a pipeline, so many at most in one job."""

    workspace: str
    table: str
    pipeline: str | None
    limit: int


def table_name(search: Search, window: Window, since: int) -> str:
    """Return what a job's table is called: the same for the same rows, and only then.

    ``since`` (ticks) sets readings of the same window apart. Names are short enough for any table.
    """
    terms = [search.workspace.lower(), search.table, search.pipeline, search.limit]
    digest = hashlib.sha256(msgspec.json.encode([terms, window.start, window.end, since])).hexdigest()[:16]
    return f"{re.sub('^[^A-Za-z]+', '', search.table)[:22] or 'T'}_{digest}_SRCH"


def job_query(search: Search, window: Window) -> str:
    """Return the job's KQL, which is to begin with the table's name and cuts its rows exactly."""
    start, end = kql.instant(window.start), kql.instant(window.end)
    steps = [kql.name(search.table), f"where TimeGenerated >= {start} and TimeGenerated < {end}"]
    return "\n| ".join([*steps, *([search.pipeline] if search.pipeline else [])])


def job_body(search: Search, window: Window) -> bytes:
    """Return the body that starts a job, for whole seconds and one more on both sides.

    Whether the ends of its time belong to it, and what becomes of fractions, is not documented.
    """
    start, end = window.start // SECOND * SECOND, -(-window.end // SECOND) * SECOND
    results = {
        "query": job_query(search, window),
        "limit": search.limit,
        "startSearchTime": format_second(max(0, start - SECOND)),
        "endSearchTime": format_second(end + SECOND),
        "description": f"{search.table} {format_instant(window.start)} to {format_instant(window.end)}",
    }
    return msgspec.json.encode({"properties": {"searchResults": results}})


def halves(window: Window) -> tuple[Window, Window]:
    """Cut a window in two. Raises ExportError for a single tick."""
    middle = (window.start + window.end) // 2
    if middle == window.start:
        raise ExportError(
            f"a search job finds as many rows as it may at the tick {format_instant(window.start)}; give the "
            "export a higher limit"
        )
    return Window(window.start, middle), Window(middle, window.end)


def restoring(columns: Iterable[Column], pipeline: str | None) -> str:
    """Return the KQL step that makes the source's rows of a job's, in the order of the source's columns.

    Each standard column of the source takes back its name, and those of the job's own table go, unless they
    can only be the source's: a pipeline that leaves nothing out has not left them out.
    """
    names = [column.name for column in columns]
    if ORIGINAL_TIME not in names:
        raise ExportError(f"a search job's table has no column {ORIGINAL_TIME}; is it one?")
    sources = {_restored(name): name for name in names if name.startswith(_ORIGINAL)}
    leaves_out = pipeline is not None and bool(_PROJECTING & set(kql.operators(pipeline)))
    steps: dict[str, str] = {}
    for name in names:
        to = _restored(name)
        if to in sources:
            steps.setdefault(to, sources[to])
        elif name not in _TRACKED and not (leaves_out and name in _STANDARD):
            steps[name] = name
    return "project " + ", ".join(_assigned(to, name) for to, name in steps.items())


def _restored(name: str) -> str:
    """Return what a column is called in the source: ``_OriginalItemId`` is ``_ItemId``."""
    if not name.startswith(_ORIGINAL):
        return name
    bare = name.removeprefix(_ORIGINAL)
    return bare if bare in _BARE else f"_{bare}"


def _assigned(to: str, name: str) -> str:
    return kql.name(to) if to == name else f"{kql.name(to)} = {kql.name(name)}"


def check_words(pipeline: str) -> Sequence[str]:
    """Return what a pipeline has that jobs do not take, beside operators."""
    words = {token.text for token in kql.tokens(pipeline) if token.kind == "word"}
    found = sorted({"contains", "contains_cs", "notcontains", "notcontains_cs"} & words)
    return [*found, *sorted({"window_start", "window_end"} & words)]
