"""Running one query: the engine's rows, cut at the limits, as the body of an answer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
from duckdb_kql.errors import KqlError

from local.cloud import query_errors as errors
from local.cloud.kql import translate
from local.cloud.kql_text import split_options
from local.cloud.options import Limits
from local.cloud.workspaces import Scope


@dataclass(frozen=True)
class Question:
    """What a request asks: KQL, the bounds on TimeGenerated (ticks, inclusive), and what it prefers.

    `wait` is how long the query may run, in seconds; `statistics` whether to tell of the run.
    """

    query: str
    timespan: tuple[int, int] | None
    wait: float
    statistics: bool


@dataclass(frozen=True)
class Result:
    """What a query came to, before it has a shape.

    `columns` are (name, Kusto type), `rows` JSON arrays; `error` is what the engine says where these are not
    all rows. `stated_rows` and `stated_bytes` are what the statistics count, `seconds` how long it took.
    """

    columns: list[tuple[str, str]]
    rows: list[bytes]
    error: errors.Details | None
    stated_rows: int
    stated_bytes: int
    seconds: float


def run(scope: Scope, question: Question, limits: Limits, now: int, *, partial: bool = False) -> Result:
    """Answer a question; `now` is in ticks, `partial` leaves half of the rows out.

    Raises QueryApiError for a query that is wrong.
    """
    started = time.perf_counter()
    options, query = split_options(question.query)
    try:
        most = min(limits.rows, int(options.get("truncationmaxrecords") or limits.rows))
        size = min(limits.bytes, int(options.get("truncationmaxsize") or limits.bytes))
        scope.reveal(now)
        with scope.answer(translate(query, scope.schema, now, question.timespan)) as table:
            cut = _cut(table.rows, most, size, count_all=limits.too_large == "silent")
    except (KqlError, duckdb.Error, ValueError, RecursionError) as problem:
        raise errors.query_error(problem) from problem
    rows, engine = cut.rows, cut.error
    if engine is not None and limits.too_large in ("400", "413", "504"):
        raise errors.refused_for_size(limits.too_large, engine)
    if partial:
        rows, engine = rows[: len(rows) // 2], errors.too_many(len(rows) // 2, "records")
        cut = _Cut(rows, engine, len(rows), sum(map(len, rows)))
    told = engine if partial or limits.too_large == "partial" else None
    seconds = time.perf_counter() - started
    return Result(table.columns, rows, told, cut.stated_rows, cut.stated_bytes, seconds)


def body(result: Result, *, statistics: bool) -> bytes:
    """A result in the query API's own shape, with or without the statistics of the run."""
    columns = [{"name": name, "type": kind} for name, kind in result.columns]
    parts = [
        b'{"tables":[{"name":"PrimaryResult","columns":' + msgspec.json.encode(columns) + b',"rows":[',
        b",".join(result.rows),
        b"]}]",
    ]
    if statistics:
        told = _statistics(result.seconds, result.stated_rows, result.stated_bytes)
        parts.append(b',"statistics":' + msgspec.json.encode(told))
    if result.error is not None:
        parts.append(b',"error":' + msgspec.json.encode(errors.partial(result.error)))
    return b"".join([*parts, b"}"])


@dataclass(frozen=True)
class _Cut:
    """The rows that the limits let through, what the engine says if that is not all, and what it counts."""

    rows: list[bytes]
    error: errors.Details | None
    stated_rows: int
    stated_bytes: int


def _cut(rows: Iterator[bytes], most: int, size: int, *, count_all: bool) -> _Cut:
    """At most so many rows and bytes; `count_all` also counts the rows behind the cut."""
    kept: list[bytes] = []
    held = 0
    for row in rows:
        over = errors.too_many(most, "records") if len(kept) == most else None
        if over is None and held + len(row) > size:
            over = errors.too_many(size, "bytes")
        if over is not None:
            lost = [len(row), *map(len, rows)] if count_all else []
            return _Cut(kept, over, len(kept) + len(lost), held + sum(lost))
        held += len(row)
        kept.append(row)
    return _Cut(kept, None, len(kept), held)


def _statistics(seconds: float, rows: int, size: int) -> dict[str, Any]:
    return {
        "query": {
            "executionTime": round(seconds, 7),
            "resourceUsage": {
                "cache": {"memory": {"hits": 0, "misses": 0, "total": 0}},
                "cpu": {"user": "00:00:00", "kernel": "00:00:00", "totalCpu": "00:00:00"},
                "memory": {"peakPerNode": 5_244_224},
            },
            "inputDatasetStatistics": {
                "extents": {"total": 1, "scanned": 1},
                "rows": {"total": rows, "scanned": rows},
            },
            "datasetStatistics": [{"tableRowCount": rows, "tableSize": size}],
        }
    }
