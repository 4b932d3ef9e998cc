"""On-demand questions: what their headers say, and those that are saved."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequestError, RefusedError
from shared.formats.parquet import Parquet
from shared.question import MAX_BODY, preferences, read_question
from shared.saved_queries import Declared, SavedQuery
from tests.parts.fakes import NOW
from tests.unit.test_question import JSON, SETTINGS, mistakes, read

SAVED = SavedQuery(
    "errors",
    "Errors of one computer",
    (Declared("name", "string"), Declared("most", "long", "5", "long(5)")),
    "Event | where Computer == name | take most",
)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b" " * (MAX_BODY + 1), JSON, 413),
        (b'{"query":"Event"}', {}, 415),
        (b'{"query":"Event"}', {"content-type": "text/plain"}, 415),
        (b'{"query":"Event"}', {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b'{"query":"Event"}', {**JSON, "accept": "text/html"}, 406),
        (b'{"query":"Event"}', {**JSON, "accept": "application/json;q=0"}, 406),
    ],
)
def test_what_http_has_a_status_for(body: bytes, headers: dict[str, str], status: int) -> None:
    """Too large, of another media type, or for an answer that there is not."""
    with pytest.raises(RefusedError) as caught:
        read_question(body, headers, SETTINGS, NOW)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("fields", "accept", "name"),
    [
        ({}, "", "json"),
        ({}, "text/csv", "csv"),
        ({"format": "csv-guarded"}, "text/html", "csv-guarded"),
        ({"format": "Text/CSV; charset=utf-8"}, "application/json", "csv"),
        ({"format": None}, "application/x-ndjson", "ndjson"),
    ],
)
def test_the_field_goes_before_the_header(fields: dict[str, Any], accept: str, name: str) -> None:
    """Who names a format gets it, whatever their client accepts."""
    assert read(headers={"accept": accept}, **fields).format == name


def test_a_form_that_cannot_be_written_here_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the field is refused with what to install, and the header as something there is not."""
    monkeypatch.setattr(Parquet, "missing", "pyarrow installed")
    assert "pyarrow" in mistakes(format="parquet")["format"]
    parquet = "application/vnd.apache.parquet"
    with pytest.raises(RefusedError):
        read(headers={"accept": parquet})
    assert read(headers={"accept": f"{parquet}, text/csv;q=0.1"}).format == "csv"


@pytest.mark.parametrize(
    ("wait", "prefer", "seconds"),
    [
        (None, "", 30),
        (0, "", 0),
        (200, "", 200),
        (None, "respond-async", 0),
        (None, "Respond-Async; foo=bar, return=minimal", 0),
        (None, "wait=7", 7),
        (None, 'WAIT = "7"', 7),
        (None, "respond-async, wait=7", 7),
        (None, "wait=9999", 200),
        (None, "wait=0", 0),
        (None, "wait=-1", 30),
        (None, "wait=soon, respond-async", 0),
        (5, "respond-async, wait=7", 5),
    ],
)
def test_how_long_the_caller_waits(wait: int | None, prefer: str, seconds: int) -> None:
    """The body says it, else ``Prefer`` does, as far as that can be met (RFC 7240)."""
    assert read(headers={"prefer": prefer}, wait=wait).wait == seconds


@given(
    st.text()
    | st.lists(st.sampled_from(["respond-async", "wait=5", "wait", ";", ",", "=", '"', "x=1"])).map("".join)
)
def test_no_preference_is_too_odd(prefer: str) -> None:
    """A header that nobody understands is ignored; the first of two that say the same counts."""
    assert 0 <= read(headers={"prefer": prefer}).wait <= 200
    assert preferences(f"first=1, {prefer}")["first"] == "1"


def test_a_saved_query_brings_its_own_text() -> None:
    """Its caller gives values and what else a question has, or nothing at all, and no KQL."""
    body = b'{"parameters": {"name": "web-01"}, "top": 3}'
    question = read_question(body, JSON, SETTINGS, NOW, SAVED)
    assert question.text == (
        "let name = 'web-01';\nlet most = long(5);\nEvent | where Computer == name | take most"
    )
    assert (question.saved, question.top) == ("errors", 3)
    everything = SavedQuery("all", "", (), "Event;")
    assert read_question(b"", {}, SETTINGS, NOW, everything).query == "Event"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parameters": {"name": "x"}, "query": "Event"}, "query"),
        ({"parameters": {"name": 5}}, "parameters.name"),
        ({}, "parameters.name"),
        ({"parameters": {"name": "x", "other": 1}}, "parameters.other"),
    ],
)
def test_a_saved_query_takes_nothing_else(fields: dict[str, Any], field: str) -> None:
    """KQL beside it, a value of another type, a missing and an unknown one are named."""
    with pytest.raises(BadRequestError) as caught:
        read_question(json.dumps(fields).encode(), JSON, SETTINGS, NOW, SAVED)
    assert caught.value.field == field
