"""One on-demand question -> its answer. A partial answer is never presented as a whole one."""

import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from shared import kql
from shared.errors import BadRequestError
from shared.http_body import read_body
from shared.model import Clock, Column, Send
from shared.query_api import Answer, ask, to_workspace
from shared.windows import format_instant, parse_instant

_log = logging.getLogger(__name__)

DEFAULT_TIMESPAN = "PT24H"
WAIT_SECONDS = 180
"""How long a query may compute; the load balancer before a function cuts at 230 s."""
ANSWER_SECONDS = 215.0
MAX_TOP = 500_000

_DURATION = re.compile(
    r"P(?=.)(?:\d+(?:\.\d+)?D)?(?:T(?=.)(?:\d+(?:\.\d+)?H)?(?:\d+(?:\.\d+)?M)?(?:\d+(?:\.\d+)?S)?)?",
    re.ASCII,
)


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's body. ``timespan`` is an ISO 8601 duration or interval; ``start``/``end`` instants."""

    query: str
    timespan: str | None = None
    start: str | None = None
    end: str | None = None
    top: int | None = None
    workspace: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was understood: ``top`` is how many rows to answer at most (None: all)."""

    query: str
    timespan: str
    workspace: str
    top: int | None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer's body. ``rows`` are arrays in ``columns``' order, each cell as the service sent it."""

    query_id: str
    status: str
    returned: int
    truncated: bool
    columns: list[dict[str, str]]
    rows: list[msgspec.Raw]
    statistics: msgspec.Raw
    error: dict[str, str] | None = None


def read_question(body: bytes, workspaces: Sequence[str]) -> Question:
    """Read a request's body; the first configured workspace is the default.

    Raises BadRequestError, which names the field that is wrong.
    """
    fields = read_body(body, Body)
    if fields.top is not None and not 1 <= fields.top <= MAX_TOP:
        raise BadRequestError("top", f"is {fields.top}; expected 1 to {MAX_TOP}")
    try:
        query = kql.without_end(fields.query)
    except ValueError as error:
        raise BadRequestError("query", str(error)) from error
    if not query:
        raise BadRequestError("query", "is empty; expected KQL such as 'Event | take 10'")
    return Question(query, _timespan(fields), _workspace(fields.workspace, workspaces), fields.top)


def _timespan(fields: Body) -> str:
    """Return the timespan to send: one form, checked, because the service takes a wrong one for no rows."""
    if fields.start is None and fields.end is None:
        return _checked_timespan(fields.timespan or DEFAULT_TIMESPAN)
    if fields.timespan is not None:
        raise BadRequestError("timespan", "was given beside start or end; give one or the other")
    if fields.start is None or fields.end is None:
        raise BadRequestError("start" if fields.start is None else "end", "is missing; give both or neither")
    start, end = _instant("start", fields.start), _instant("end", fields.end)
    if start >= end:
        raise BadRequestError("end", "does not lie after start")
    return f"{format_instant(start)}/{format_instant(end)}"


def _checked_timespan(text: str) -> str:
    first, slash, second = text.partition("/")
    if not slash:
        _check_duration(first)
    elif second.startswith("P"):
        _instant("timespan", first)
        _check_duration(second)
    elif _instant("timespan", first) >= _instant("timespan", second):
        raise BadRequestError("timespan", "does not end after it starts")
    return text


def _check_duration(text: str) -> None:
    if not _DURATION.fullmatch(text):
        raise BadRequestError(
            "timespan",
            f"{text!r} is not an ISO 8601 duration such as PT24H or P7D, nor an interval start/end",
        )


def _instant(field: str, text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise BadRequestError(field, str(error)) from error


def _workspace(wanted: str | None, workspaces: Sequence[str]) -> str:
    if not workspaces:
        raise BadRequestError(
            "workspace", "none is configured; set the app setting LOG_ANALYTICS_WORKSPACE_ID"
        )
    if wanted is None:
        return workspaces[0]
    for workspace in workspaces:
        if workspace.lower() == wanted.lower():
            return workspace
    raise BadRequestError("workspace", f"{wanted!r} is not one of this app's workspaces")


class Query:
    """Answers questions."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send = send
        self._clock = clock

    def run(self, question: Question) -> Result:
        """Ask the service and return the answer. Raises ServiceError and the transport's errors.

        With ``top``, one row more is asked for, which tells whether there are more.
        """
        query_id = uuid.uuid4().hex
        began = self._clock.monotonic()
        text = question.query if question.top is None else f"{question.query}\n| take {question.top + 1}"
        answer = ask(
            self._send,
            to_workspace(question.workspace),
            {"query": text, "timespan": question.timespan},
            wait=WAIT_SECONDS,
            deadline=began + ANSWER_SECONDS,
        )
        result = _result(query_id, answer, question.top)
        seconds = self._clock.monotonic() - began
        _log.info(
            "query answered query_id=%s status=%s rows=%d bytes=%d seconds=%.1f",
            query_id,
            result.status,
            result.returned,
            answer.answer_bytes,
            seconds,
        )
        return result


def _result(query_id: str, answer: Answer, top: int | None) -> Result:
    rows = answer.rows if top is None else answer.rows[:top]
    partial = answer.partial
    return Result(
        query_id=query_id,
        status="complete" if partial is None else "partial",
        returned=len(rows),
        truncated=partial is not None or len(rows) < len(answer.rows),
        columns=[_column(column) for column in answer.columns],
        rows=rows,
        statistics=answer.statistics,
        error=None if partial is None else {"code": partial.code, "message": partial.message},
    )


def _column(column: Column) -> dict[str, str]:
    return {"name": column.name, "type": column.type}
