"""Running one query: the engine's rows, cut at the limits, as the body of an answer."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
from duckdb_kql.errors import KqlError

from local.cloud import query_errors as errors
from local.cloud.kql import translate
from local.cloud.kql_text import split_options
from local.cloud.options import Limits
from local.cloud.store import Store


@dataclass(frozen=True)
class Question:
    """What a request asks: KQL, the bounds on TimeGenerated (ticks, inclusive), and what it prefers.

    `wait` is how long the query may run, in seconds; `statistics` whether to tell of the run.
    """

    query: str
    timespan: tuple[int, int] | None
    wait: float
    statistics: bool


def run(store: Store, question: Question, limits: Limits, now: int, *, partial: bool = False) -> bytes:
    """The body that answers a question; `now` is in ticks, `partial` leaves half of the rows out.

    Raises QueryApiError for a query that is wrong.
    """
    started = time.perf_counter()
    options, query = split_options(question.query)
    try:
        most = min(limits.rows, int(options.get("truncationmaxrecords") or limits.rows))
        size = min(limits.bytes, int(options.get("truncationmaxsize") or limits.bytes))
        with store.answer(translate(query, store.schema, now, question.timespan)) as table:
            rows, error = _cut(table.rows, most, size)
    except (KqlError, duckdb.Error, ValueError) as problem:
        raise errors.query_error(problem) from problem
    if partial:
        rows, error = rows[: len(rows) // 2], errors.too_many(len(rows) // 2, "records")
    columns = [{"name": name, "type": kind} for name, kind in table.columns]
    parts = [
        b'{"tables":[{"name":"PrimaryResult","columns":' + msgspec.json.encode(columns) + b',"rows":[',
        b",".join(rows),
        b"]}]",
    ]
    if question.statistics:
        statistics = _statistics(time.perf_counter() - started, len(rows), sum(map(len, rows)))
        parts.append(b',"statistics":' + msgspec.json.encode(statistics))
    if error is not None:
        parts.append(b',"error":' + msgspec.json.encode(error))
    return b"".join([*parts, b"}"])


def _cut(rows: Iterable[bytes], most: int, size: int) -> tuple[list[bytes], errors.Details | None]:
    """The rows that the limits let through, and the partial error where that is not all of them."""
    kept: list[bytes] = []
    left = size
    for row in rows:
        left -= len(row)
        if len(kept) == most:
            return kept, errors.too_many(most, "records")
        if left < 0:
            return kept, errors.too_many(size, "bytes")
        kept.append(row)
    return kept, None


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
