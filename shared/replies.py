"""What on-demand queries answer over HTTP: status, headers, body. Pure.

A result goes out as it is where it is small, since the runtime holds a whole body in memory; else the caller
is sent to a link of its own.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared import rawjson
from shared.query import Answered, Elsewhere, File, result_url
from shared.query_formats import FORMATS, accepts_gzip
from shared.query_results import StoredResult
from shared.query_status import RETRY_SECONDS, QueryStatus
from shared.saved_queries import SavedQueries

_WORTH_PACKING = 1 << 10  # bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def to_json(body: Any, status: int = 200, **headers: str) -> Reply:
    """Return a value as JSON. ``Retry_After`` is the header ``Retry-After``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, rawjson.restore(msgspec.json.encode(body)), headers=named)


def answered(outcome: Answered) -> Reply:
    """Return an answer. A file beyond what is sent inline is seen elsewhere."""
    answer = outcome.answer
    if isinstance(answer, Elsewhere):
        return Reply(303, headers={"Location": result_url(answer.query_id), "X-Query-Id": answer.query_id})
    if isinstance(answer, File):
        form = FORMATS[answer.question.format]
        headers = {
            "X-Query-Id": answer.query_id,
            "X-Query-Returned": str(answer.rows),
            "X-Query-Total": "unknown" if answer.total is None else str(answer.total),
            "X-Query-Statistics": msgspec.json.encode(answer.statistics).decode(),
            **({"X-Query-Request-Id": answer.request_id} if answer.request_id else {}),
            "Content-Disposition": f'attachment; filename="{answer.query_id}.{form.plain.extension}"',
        }
        return Reply(200, answer.body, form.media_type, headers)
    return to_json(answer)


def promised(status: QueryStatus) -> Reply:
    """Return where a query that goes on can be asked after."""
    location = f"/api/query/{status.query_id}"
    return to_json(status, 202, Location=location, Retry_After=str(RETRY_SECONDS))


def progress(status: QueryStatus) -> Reply:
    """Return how far a query is."""
    if status.finished_at is None:
        return to_json(status, Retry_After=str(RETRY_SECONDS))
    return to_json(status)


def fetched(stored: StoredResult, found: bytes | str, *, coded: bool) -> Reply:
    """Return a stored result, ``coded`` as it is stored or plain; or the way to it, which is a link."""
    if isinstance(found, str):
        return Reply(302, headers={"Location": found})
    form = FORMATS[stored.format]
    headers = {"Vary": "Accept-Encoding"}
    if coded and form.encoding:
        headers["Content-Encoding"] = form.encoding
    return Reply(200, found, form.media_type, headers)


def saved(queries: SavedQueries) -> Reply:
    """Return a list of the saved queries, and what is wrong with others."""
    listed = [
        {
            "name": each.name,
            "description": each.description,
            "parameters": [
                {"name": one.name, "type": one.type, "default": one.default_text} for one in each.parameters
            ],
        }
        for each in queries.queries.values()
    ]
    return to_json({"queries": listed, "problems": [str(problem) for problem in queries.problems]})


def packed(reply: Reply, headers: Mapping[str, str]) -> Reply:
    """Return a reply as its receiver likes it: in gzip where it is worth it and accepted."""
    if reply.status != 200 or "Content-Encoding" in reply.headers or len(reply.body) < _WORTH_PACKING:
        return reply
    varied = {**reply.headers, "Vary": "Accept, Accept-Encoding"}
    if reply.media_type == FORMATS["parquet"].media_type or not accepts_gzip(
        headers.get("accept-encoding", "")
    ):
        return Reply(reply.status, reply.body, reply.media_type, varied)
    body = gzip.compress(reply.body, compresslevel=1, mtime=0)
    return Reply(reply.status, body, reply.media_type, {**varied, "Content-Encoding": "gzip"})
