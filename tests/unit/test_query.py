"""On-demand questions: understood or refused by field, and answered without hiding what is missing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequestError, ServiceError
from shared.query import Query, Question, Result, read_question
from tests.unit.fakes import ListSend, service_error

ONE, TWO = "11111111-1111-1111-1111-111111111111", "22222222-aaaa-2222-2222-222222222222"
COLUMNS = [{"name": "n", "type": "long"}]


class StoppedClock:
    """A clock whose time stands still."""

    def now(self) -> int:
        """Return no particular time."""
        return 0

    def monotonic(self) -> float:
        """Return the same seconds always."""
        return 100.0

    def sleep(self, seconds: float) -> None:
        """Never called here."""
        raise AssertionError(seconds)


def read(**fields: Any) -> Question:
    """Read a question with these fields."""
    return read_question(json.dumps({"query": "Event", **fields}).encode(), [ONE, TWO])


def answer(rows: int, **more: Any) -> dict[str, Any]:
    """Build an answer of so many rows."""
    return {
        "tables": [{"name": "PrimaryResult", "columns": COLUMNS, "rows": [[i] for i in range(rows)]}],
        **more,
    }


def run(question: Question, *answers: object) -> tuple[Result, ListSend]:
    """Run a question against prepared answers."""
    send = ListSend(answers)
    return Query(send, StoppedClock()).run(question), send


def test_a_bare_query_has_defaults() -> None:
    """The first workspace, the last 24 hours, every row."""
    assert read() == Question("Event", "PT24H", ONE, None)


@pytest.mark.parametrize(
    ("fields", "timespan"),
    [
        ({"timespan": "P7D"}, "P7D"),
        ({"timespan": "PT1.5H"}, "PT1.5H"),
        ({"timespan": "P1DT2H3M4.5S"}, "P1DT2H3M4.5S"),
        (
            {"timespan": "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z"},
            "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z",
        ),
        ({"timespan": "2026-11-20T00:00:00Z/PT2H"}, "2026-11-20T00:00:00Z/PT2H"),
        (
            {"start": "2026-11-20", "end": "2026-11-20T12:00:00.1234567+01:00"},
            "2026-11-20T00:00:00.0000000Z/2026-11-20T11:00:00.1234567Z",
        ),
    ],
)
def test_timespans(fields: dict[str, str], timespan: str) -> None:
    """A duration, an interval, or two instants become the service's timespan, exact to the tick."""
    assert read(**fields).timespan == timespan


@pytest.mark.parametrize("wanted", [TWO, TWO.upper()])
def test_a_workspace_is_chosen_from_the_apps_own(wanted: str) -> None:
    """A GUID's letters may have any case; what is asked is the configured one."""
    assert read(workspace=wanted).workspace == TWO


def test_the_end_of_the_query_is_cut() -> None:
    """What follows the last statement goes, so that a limit can be added after it."""
    assert read(query="Event | take 5; // mine").query == "Event | take 5"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "// only words"}, "query"),
        ({"query": ";"}, "query"),
        ({"query": "Event | where a == 'b"}, "query"),
        ({"query": 5}, "query"),
        ({"query": None}, "query"),
        ({"top": 0}, "top"),
        ({"top": -1}, "top"),
        ({"top": 500_001}, "top"),
        ({"top": "5"}, "top"),
        ({"top": True}, "top"),
        ({"top": 1.5}, "top"),
        ({"timespan": 24}, "timespan"),
        ({"timespan": "24h"}, "timespan"),
        ({"timespan": "P1H"}, "timespan"),
        ({"timespan": "P"}, "timespan"),
        ({"timespan": "PT"}, "timespan"),
        ({"timespan": "P1DT"}, "timespan"),
        ({"timespan": "PT٢٤H"}, "timespan"),
        ({"timespan": "/"}, "timespan"),
        ({"timespan": "2026-11-21/2026-11-20"}, "timespan"),
        ({"timespan": "2026-11-21/2026-11-21"}, "timespan"),
        ({"timespan": "2026-11-21/"}, "timespan"),
        ({"timespan": "2026-11-21/PT"}, "timespan"),
        ({"timespan": "P1D", "start": "2026-11-20", "end": "2026-11-21"}, "timespan"),
        ({"start": "2026-11-20"}, "end"),
        ({"end": "2026-11-20"}, "start"),
        ({"start": "yesterday", "end": "2026-11-21"}, "start"),
        ({"start": "2026-11-20", "end": "today"}, "end"),
        ({"start": "2026-11-21", "end": "2026-11-21"}, "end"),
        ({"workspace": "33333333-3333-3333-3333-333333333333"}, "workspace"),
        ({"workspace": 5}, "workspace"),
        ({"limit": 5}, "limit"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], field: str) -> None:
    """A question that is not understood is refused, naming the field that the caller should change."""
    with pytest.raises(BadRequestError) as caught:
        read(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [b"", b"Event", b"[]", b'"Event"', b"null", b'{"query":"Event"', b'{"query":"\xff"}', b"[" * 100_000],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_a_wrong_body_is_named(body: bytes) -> None:
    """A body that is not a JSON object of UTF-8 is the caller's mistake, not a failure of the app."""
    with pytest.raises(BadRequestError) as caught:
        read_question(body, [ONE])
    assert caught.value.field == "body"


def test_a_missing_query_is_named() -> None:
    """The one field that must be there is asked for by name."""
    with pytest.raises(BadRequestError) as caught:
        read_question(b"{}", [ONE])
    assert caught.value.field == "query"


def test_without_a_workspace_the_setting_is_named() -> None:
    """Whoever runs the app is told what to set."""
    with pytest.raises(BadRequestError, match="LOG_ANALYTICS_WORKSPACE_ID"):
        read_question(b'{"query":"Event"}', [])


@given(st.binary() | st.dictionaries(
    st.sampled_from(["query", "timespan", "start", "end", "top", "workspace"]),
    st.text() | st.integers() | st.none(),
).map(lambda fields: json.dumps(fields).encode()))  # fmt: skip
def test_every_body_is_understood_or_refused(body: bytes) -> None:
    """Whatever is sent, the answer is a question or a refusal."""
    try:
        question = read_question(body, [ONE])
    except BadRequestError as error:
        assert error.field  # noqa: PT017  either outcome is right, nothing else is
    else:
        assert question.workspace == ONE


def test_what_is_asked_of_the_service() -> None:
    """The query and its timespan go to the workspace; with ``top`` one row more is asked for."""
    _, send = run(Question("Event // all", "PT1H", TWO, 5), answer(1))
    (request,) = send.requests
    assert request.target == f"/v1/workspaces/{TWO}/query"
    assert json.loads(request.body or b"") == {"query": "Event // all\n| take 6", "timespan": "PT1H"}
    assert "wait=180" in request.headers["Prefer"]
    assert request.deadline == 315.0


@pytest.mark.parametrize(
    ("top", "rows", "returned", "truncated"),
    [
        (None, 3, 3, False),
        (5, 3, 3, False),
        (3, 3, 3, False),
        (3, 4, 3, True),
        (1, 2, 1, True),
        (None, 0, 0, False),
    ],
)
def test_a_result_says_whether_there_is_more(
    top: int | None, rows: int, returned: int, truncated: bool
) -> None:
    """``top`` rows at most come back, and ``truncated`` tells whether that was all."""
    result, _ = run(Question("Event", "PT1H", ONE, top), answer(rows))
    assert (result.status, result.returned, len(result.rows), result.truncated) == (
        "complete", returned, returned, truncated,
    )  # fmt: skip


def test_a_result_is_the_documented_json() -> None:
    """Cells go through as the service sent them, with its statistics; no ``error`` where there is none."""
    table = b'{"columns":[{"name":"n","type":"long"}],"rows":[[9007199254740993],[1.10]]}'
    body = b'{"tables":[' + table + b'],"statistics":{"q":1.0}}'
    result, _ = run(Question("Event", "PT1H", ONE, None), body)
    text = msgspec.json.encode(result)
    assert b'"rows":[[9007199254740993],[1.10]]' in text
    document = json.loads(text)
    assert list(document) == ["query_id", "status", "returned", "truncated", "columns", "rows", "statistics"]
    assert document["columns"] == COLUMNS
    assert document["statistics"] == {"q": 1.0}


def test_a_partial_answer_says_so() -> None:
    """Rows that came in spite of an error are shown as partial, with the service's code and words."""
    error = {"code": "PartialError", "message": "too much"}
    result, _ = run(Question("Event", "PT1H", ONE, None), answer(2, error=error))
    assert (result.status, result.truncated, result.returned) == ("partial", True, 2)
    assert result.error == {"code": "PartialError", "message": "too much"}


def test_a_refusal_goes_through() -> None:
    """The service's error reaches the caller as it is."""
    with pytest.raises(ServiceError, match="Odd"):
        run(Question("Event", "PT1H", ONE, None), service_error(400))
