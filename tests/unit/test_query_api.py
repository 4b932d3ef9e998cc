"""The query API of Log Analytics: what is sent, and when an answer is taken for the whole one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import query_api
from shared.errors import AnswerTooLargeError, ExportError, IncompleteAnswerError, ProtocolError, ServiceError
from shared.model import Response
from shared.query_api import Answer, ask, read_answer, to_workspace
from tests.unit.fakes import ListSend, service_error

COLUMNS = [{"name": "TimeGenerated", "type": "datetime"}, {"name": "n", "type": "long"}]
ROWS = [["2026-11-21T10:00:00.1234567Z", 9007199254740993], [None, None]]


def table(rows: int = 2, **more: Any) -> dict[str, Any]:
    """Build an answer of one table."""
    return {"tables": [{"name": "PrimaryResult", "columns": COLUMNS, "rows": (ROWS * rows)[:rows]}], **more}


def statistics(rows: object) -> dict[str, Any]:
    """Build the service's own account of an answer."""
    return {"query": {"datasetStatistics": [{"tableRowCount": rows, "tableSize": 266}]}}


def partial(code: str, text: str) -> dict[str, Any]:
    """Build the error that the service puts beside the rows of a cut answer."""
    inner = {"code": code, "message": text}
    details = [{"code": "EngineError", "message": "Something went wrong.", "innererror": inner}]
    return {"code": "PartialError", "message": "There were some errors.", "details": details}


def answered(answer: object) -> Answer:
    """Read an answer's body."""
    return read_answer(json.dumps(answer).encode(), "c-1")


def asked(answer: object) -> tuple[Answer, ListSend]:
    """Ask one question."""
    send = ListSend([answer])
    return ask(send, to_workspace("w"), {"query": "Event", "timespan": "P1D"}, wait=300, deadline=99.0), send


def test_the_request() -> None:
    """One POST that asks for time and statistics, refuses cached answers, and does not repeat a 504."""
    _, send = asked(table())
    (request,) = send.requests
    assert (request.method, request.target) == ("POST", "/v1/workspaces/w/query")
    assert json.loads(request.body or b"") == {"query": "Event", "timespan": "P1D"}
    assert request.headers["Prefer"] == "wait=300, include-statistics=true"
    assert request.headers["Cache-Control"] == "no-cache"
    assert request.headers["Content-Type"] == "application/json"
    assert (request.wait, request.deadline, request.final) == (300, 99.0, frozenset({504}))


def test_the_answer_comes_as_the_service_wrote_it() -> None:
    """Rows stay raw, columns keep their types, statistics are passed on, bytes are counted."""
    body = json.dumps(table(statistics=statistics(2))).encode()
    answer, _ = asked(body)
    assert [json.loads(bytes(row)) for row in answer.rows] == ROWS
    assert [{"name": column.name, "type": column.type} for column in answer.columns] == COLUMNS
    assert json.loads(bytes(answer.statistics)) == statistics(2)
    assert answer.answer_bytes == len(body)


def test_no_content_is_no_rows() -> None:
    """204 is how the service answers for a workspace without data."""
    answer, _ = asked(Response(204, {}, b""))
    assert (answer.rows, answer.partial) == ([], None)


def test_the_header_names_the_request_where_the_body_does_not() -> None:
    """A cut answer carries the correlation id of its response, for a support case."""
    body = json.dumps(table(error=partial("X", "y"))).encode()
    answer, _ = asked(Response(200, {"x-ms-correlation-request-id": "c-9"}, body))
    assert answer.partial is not None
    assert answer.partial.request_id == "c-9"


@pytest.mark.parametrize("status", [413, 504])
def test_a_refusal_of_size_asks_for_less(status: int) -> None:
    """Too large and timed out cannot be mended by asking the same again."""
    with pytest.raises(AnswerTooLargeError) as caught:
        asked(service_error(status, retryable=True))
    assert (caught.value.status, caught.value.retryable) == (status, False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_any_other_refusal_stays_what_it_is(status: int) -> None:
    """An error that has nothing to do with size goes through as it came."""
    error = service_error(status)
    with pytest.raises(ServiceError) as caught:
        asked(error)
    assert caught.value is error


@pytest.mark.parametrize(
    "answer",
    [table(), table(statistics=statistics(2)), table(0, statistics=statistics(0)),
     table(statistics={"query": {}}), table(statistics=statistics(None)),
     table(statistics=None), table(error=None), table(render={"x": 1})],
)  # fmt: skip
def test_a_complete_answer(answer: dict[str, Any]) -> None:
    """An answer is whole when the service neither says nor shows that rows are missing."""
    assert answered(answer).partial is None


@pytest.mark.parametrize(
    ("answer", "code", "too_large"),
    [
        (
            table(error=partial("-2133196797", "record count limit")),
            "PartialError/EngineError/-2133196797",
            True,
        ),
        (
            table(error=partial("X", "(E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003)")),
            "PartialError/EngineError/X",
            True,
        ),
        (
            table(error=partial("X", "Query cancelled by the user's request")),
            "PartialError/EngineError/X",
            True,
        ),
        (table(error=partial("-2133196799", "runaway")), "PartialError/EngineError/-2133196799", True),
        (table(error=partial("-2133196793", "low memory")), "PartialError/EngineError/-2133196793", True),
        (table(error=partial("-2133196800", "extents")), "PartialError/EngineError/-2133196800", False),
        (table(error={"code": "Benign", "message": "a leg failed"}), "Benign", False),
        (table(error={}), "", False),
        (table(statistics=statistics(3)), "RowCount", True),
        (table(0, statistics=statistics(1)), "RowCount", True),
    ],
)
def test_an_incomplete_answer(answer: dict[str, Any], code: str, too_large: bool) -> None:
    """Any error in a 200, and fewer rows than the statistics count, say that rows are missing.

    Only limits and time-outs say that asking for less can help.
    """
    missing = answered(answer).partial
    assert isinstance(missing, IncompleteAnswerError)
    assert (missing.status, missing.code, missing.request_id) == (200, code, "c-1")
    assert isinstance(missing, AnswerTooLargeError) is too_large
    assert missing.retryable is not too_large


def test_more_rows_than_the_statistics_count_are_no_answer() -> None:
    """Asking for less would not help against an answer that contradicts itself."""
    with pytest.raises(ProtocolError, match="answered 2 rows, but its statistics say 1"):
        answered(table(statistics=statistics(1)))


def test_a_row_count_at_the_cap_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer as long as answers can be may have been cut, whatever it says of itself."""
    monkeypatch.setattr(query_api, "MAX_ROWS", 4)
    assert answered(table(3, statistics=statistics(3))).partial is None
    missing = answered(table(4, statistics=statistics(4))).partial
    assert isinstance(missing, AnswerTooLargeError)
    assert missing.code == "RowLimit"


@pytest.mark.parametrize("tables", [{"tables": []}, {}])
def test_an_error_without_a_table_is_surfaced(tables: dict[str, Any]) -> None:
    """The service's own code is said also when its 200 carries an error and nothing else."""
    with pytest.raises(ExportError, match="-2133196799"):
        raise answered({**tables, "error": partial("-2133196799", "runaway")}).partial or AssertionError(
            "complete"
        )


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"tables":[]}', json.dumps({"tables": table()["tables"] * 2}).encode(),
     json.dumps(table()).encode()[:-9], b'{"tables":[{"columns":[],"rows":{}}]}', b'{"tables":[{"rows":[]}]}',
     b'{"tables":[{"columns":[],"rows":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}]}"],
    ids=["empty", "object", "array", "no table", "two tables", "cut off", "odd rows", "no columns", "deep"],
)  # fmt: skip
def test_what_is_not_one_table_is_refused(body: bytes) -> None:
    """A 200 with no body, with half of one, or with another form is an error and never an empty window."""
    with pytest.raises(ProtocolError):
        read_answer(body)
