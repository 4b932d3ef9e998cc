"""The KQL of an export's windows: what selects, counts and parts their rows, exact to the tick. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from shared import kql
from shared.errors import ExportError
from shared.model import Column, Window
from shared.slices import Slice
from shared.windows import DAY, END_OF_TIME, SECOND, format_instant

_T = TypeVar("_T")

_STRCAT_ARGUMENTS = 60  # strcat takes 64
_FIXED_TEXT = {"string", "datetime", "timespan", "guid", "long", "int", "bool", "decimal"}


@dataclass(frozen=True, slots=True)
class Reach:
    """How many days before and after its window a row's TimeGenerated may lie."""

    before: int
    after: int


# TimeGenerated is replaced by the time of receipt when it lies more than two days back or one day ahead
# ("Log data ingestion time in Azure Monitor"), so these bounds hold every row and still spare the service
# a scan of the whole table. A recheck trusts that less.
USUAL = Reach(before=3, after=2)
WIDE = Reach(before=60, after=10)


INGESTION = "ingestion_time"
"""The window column that is a function: when a row was stored. A late row then falls into a later window."""


COUNTED = "counted_from"
"""The column that tells the windows of a run apart while they are counted: where a row's window begins."""

# Operators of a pipeline that let other than one row out for each that comes in.
_FILTERS = {"where", "filter", "parse-where", "mv-expand"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows a window's query selects: a table's, through a pipeline, or those of free KQL.

    ``window_column`` says which time puts a row into a window. ``tail`` is a step of ours after the user's
    pipeline, and ``prelude`` statements before all else. ``bounded`` says how the request's timespan bounds a
    table's TimeGenerated: by the ``reach`` around the window, by the ``window`` itself and a second on both
    sides, or not at all (``none``); ``timespan`` is one for whatever window, instead.
    """

    table: str | None = None
    pipeline: str | None = None
    kql: str | None = None
    window_column: str = INGESTION
    tail: str = ""
    bounded: Literal["reach", "window", "none"] = "reach"
    prelude: str = ""
    timespan: Window | None = None


def window_query(
    selection: Selection, slice_: Slice, aggregate: str = "", reach: Reach = USUAL, row_key: str = ""
) -> str:
    """Return the KQL that selects a slice's rows, exact to the tick, and may end in an aggregate of them.

    ``row_key`` is what the parts of one tick are told apart by (see ``key_of``).
    """
    lines = [_rows_of(selection, slice_, reach, row_key)]
    if aggregate:
        lines.append(aggregate)
    return (
        f"{selection.prelude}let window_start = {kql.instant(slice_.span.start)};\n"
        f"let window_end = {kql.instant(slice_.span.end)};\n" + "\n| ".join(lines)
    )


def _rows_of(selection: Selection, slice_: Slice, reach: Reach, row_key: str = "") -> str:
    if selection.table is None:
        if slice_.parts > 1:
            raise ExportError(
                "one tick's rows do not fit into an answer, and free kql cannot be parted by hash"
            )
        return kql.without_end(selection.kql or "")
    lines = [kql.name(selection.table)]
    if selection.window_column != INGESTION:
        time = kql.name(selection.window_column)
        lines.append(f"where {time} >= window_start and {time} < window_end")
    else:
        # ingestion_time() is null where a table has no ingestion time policy; bare, so that the engine can
        # leave out what was ingested at other times.
        first, last = f"window_start - {reach.before}d", f"window_end + {reach.after}d"
        lines.append(f"where TimeGenerated >= {first} and TimeGenerated < {last}")
        lines.append(
            "where (ingestion_time() >= window_start and ingestion_time() < window_end)"
            " or (isnull(ingestion_time()) and TimeGenerated >= window_start and TimeGenerated < window_end)"
        )
    if slice_.parts > 1:
        lines.append(f"where hash_xxhash64({row_key}, {slice_.parts}) == {slice_.part}")
    lines += [step for step in (selection.pipeline, selection.tail) if step]
    return "\n| ".join(lines)


def key_of(columns: Iterable[Column]) -> str:
    """Return a KQL expression that gives a stored row the same text in every query.

    Neither ``pack_all()`` nor ``hash()`` promises that (Kusto documentation of both); fixed columns in fixed
    order and ``hash_xxhash64`` do. Columns whose text is not fixed by their value are left out.
    """
    texts = [f"tostring([{kql.string(column.name)}])" for column in columns if column.type in _FIXED_TEXT]
    if not texts:
        raise ExportError("one tick's rows do not fit into an answer, and no column tells them apart")
    while len(texts) > 1:
        texts = [f"strcat({', '.join(some)})" for some in groups(texts, _STRCAT_ARGUMENTS)]
    return texts[0]


def groups(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield a sequence in pieces of a size at most."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def count_query(selection: Selection, windows: Sequence[Window], reach: Reach = WIDE) -> str:
    """Return the KQL that counts the rows of several windows of a table at once, in their order."""
    rows_of = _rows_of(selection, Slice(windows[0]), reach)
    legs = [
        f"(rows_of({kql.instant(each.start)}, {kql.instant(each.end)}) | count | extend leg = {number})"
        for number, each in enumerate(windows)
    ]
    return (
        f"{selection.prelude}"
        f"let rows_of = (window_start: datetime, window_end: datetime) {{\n{rows_of}\n}};\n"
        f"union {', '.join(legs)}\n| project leg, Count\n| order by leg asc"
    )


def row_steps(pipeline: str | None) -> list[str] | None:
    """Return the steps of a pipeline that decide how many rows it has, which carry ``COUNTED`` with them.

    None where one question cannot count several windows: where a step names the window or looks at another
    table, whose time is the request's, or where one more column could change what it does.
    """
    steps = kql.steps(pipeline) if pipeline else []
    while steps and steps[-1][0] not in _FILTERS:
        steps.pop()
    if not all(_carries(name, step) for name, step in steps):
        return None
    keeping = {"project", "project-keep"}
    return [f"{step}, {COUNTED}" if name in keeping else step for name, step in steps]


def _carries(name: str, step: str) -> bool:
    words = ("window_start", "window_end", "ingestion_time", "pack_all")
    elsewhere = kql.reads_tables(step) or kql.looks_up(step, _FIXED_TEXT | {"dynamic", "real", "time"})
    if COUNTED in step or elsewhere or any(kql.uses(step, word) for word in words):
        return False
    # In a pattern a star is any text, elsewhere all columns.
    return name in {"parse", "parse-where"} or all(token.text != "*" for token in kql.tokens(step))


def run_body(
    selection: Selection, run: Sequence[Window], steps: Sequence[str], reach: Reach
) -> dict[str, str]:
    """Return the body of the request that counts a run: windows of one length, one after the other.

    ``steps`` are the pipeline's ``row_steps``. The answer has ``COUNTED`` and ``Count`` of each window that
    has rows. A row counts just where ``count_query`` counts it.
    """
    length = kql.duration(run[0].end - run[0].start)
    by_ingestion = selection.window_column == INGESTION
    time = "coalesce(ingestion_time(), TimeGenerated)" if by_ingestion else kql.name(selection.window_column)
    lines = [f"extend {COUNTED} = bin_at({time}, {length}, window_start)"]
    if by_ingestion:  # each window's own reach
        first, last = f"{COUNTED} - {reach.before}d", f"{COUNTED} + {length} + {reach.after}d"
        lines.append(f"where TimeGenerated >= {first} and TimeGenerated < {last}")
    counted = replace(selection, pipeline="\n| ".join([*lines, *steps]), tail="")
    span = Slice(Window(run[0].start, run[-1].end))
    return query_body(counted, span, f"summarize Count = count() by {COUNTED}", reach)


def query_body(
    selection: Selection, slice_: Slice, aggregate: str = "", reach: Reach = USUAL, row_key: str = ""
) -> dict[str, str]:
    """Return the body of the request for a slice.

    The timespan is only a coarse bound: whether its ends are inclusive is not documented, so the query cuts
    exactly. Free KQL gets none, because it may look at any time it likes.
    """
    query = window_query(selection, slice_, aggregate, reach, row_key)
    return {"query": query, **_timespan(selection, slice_.span, reach)}


def count_body(selection: Selection, windows: Sequence[Window], reach: Reach) -> dict[str, str]:
    """Return the body of the request that counts several windows of a table."""
    span = Window(min(each.start for each in windows), max(each.end for each in windows))
    return {"query": count_query(selection, windows, reach), **_timespan(selection, span, reach)}


def schema_body(selection: Selection, span: Window) -> dict[str, str]:
    """Return the body of the request for a table's columns: ``ColumnName`` and ``ColumnType``.

    The columns are the same at any time, but some tables are not asked without one.
    """
    query = f"{kql.name(selection.table or '')}\n| getschema\n| project ColumnName, ColumnType"
    return {"query": query, **_timespan(selection, span, USUAL)}


def _timespan(selection: Selection, span: Window, reach: Reach) -> dict[str, str]:
    if selection.table is None or selection.bounded == "none":
        return {}
    before, after = reach.before * DAY, reach.after * DAY
    if selection.timespan is not None:
        span, before, after = selection.timespan, 0, 0
    elif selection.bounded == "window":
        before = after = SECOND
    start = max(0, span.start - before)
    end = min(END_OF_TIME - 1, span.end + after)
    return {"timespan": f"{format_instant(start)}/{format_instant(end)}"}
