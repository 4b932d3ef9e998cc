"""On-demand questions: understood exactly, or refused with every field that is wrong."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequestError, RefusedError
from shared.formats.parquet import Parquet
from shared.model import Window
from shared.query_settings import QuerySettings
from shared.question import Question, read_question
from shared.windows import DAY, END_OF_TIME, HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.parts.fakes import NOW
from tests.unit.strategies import ticks

ONE, TWO = "11111111-1111-1111-1111-111111111111", "22222222-aaaa-2222-2222-222222222222"
SETTINGS = QuerySettings(workspaces={"default": ONE, "Lab": TWO}, days=36_500)
JSON = {"content-type": "application/json"}


def read(
    settings: QuerySettings = SETTINGS, headers: dict[str, str] | None = None, **fields: Any
) -> Question:
    """Read a question with these fields and headers."""
    body = json.dumps({"query": "Event", **fields}).encode()
    return read_question(body, {**JSON, **(headers or {})}, settings, NOW)


def mistakes(**fields: Any) -> dict[str, str]:
    """Return what is wrong with a question, by field."""
    with pytest.raises(BadRequestError) as caught:
        read(**fields)
    assert caught.value.field == caught.value.mistakes[0][0]
    return dict(caught.value.mistakes)


def test_wrong_types_hide_no_wrong_values() -> None:
    """All that is wrong is told in one turn, each field once."""
    types: dict[str, Any] = {"query": 5, "top": "x", "destination": "disk", "workspace": 7, "foo": 1}
    found = mistakes(**types, format="xml", wait=999, timespan="soon")
    assert set(found) == {"query", "top", "format", "destination", "wait", "timespan", "workspace", "foo"}


def test_any_number_of_unknown_fields_hides_no_wrong_type() -> None:
    """However many there are, what is wrong with the known ones is told, and nothing fails on the way."""
    found = mistakes(top="x", **{f"unknown{number}": 1 for number in range(50)})
    assert "top" in found
    assert "unknown0" in found


def test_a_bare_query_has_defaults() -> None:
    """The first workspace, the last 24 hours, every row, as JSON, within half a minute."""
    assert read() == Question("Event", NOW - DAY, NOW, ONE)
    assert read() == Question(
        "Event",
        NOW - DAY,
        NOW,
        ONE,
        top=None,
        format="json",
        destination="inline",
        wait=30,
        saved=None,
    )


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [
        ({"timespan": "P7D"}, NOW - 7 * DAY, NOW),
        ({"timespan": "P1W"}, NOW - 7 * DAY, NOW),
        ({"timespan": "PT1.5H"}, NOW - 90 * MINUTE, NOW),
        ({"timespan": "PT0.0000001S"}, NOW - 1, NOW),
        (
            {"timespan": "P1DT2H3M4.5S"},
            NOW - DAY - 2 * HOUR - 3 * MINUTE - 4 * SECOND - SECOND // 2,
            NOW,
        ),
        (
            {"timespan": "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z"},
            parse_instant("2026-11-20"),
            parse_instant("2026-11-21"),
        ),
        (
            {"timespan": "2026-11-20T00:00:00Z/PT2H"},
            parse_instant("2026-11-20"),
            parse_instant("2026-11-20T02:00:00Z"),
        ),
        (
            {"timespan": "PT2H/2026-11-20T00:00:00Z"},
            parse_instant("2026-11-19T22:00:00Z"),
            parse_instant("2026-11-20"),
        ),
        (
            {"start": "2026-11-20", "end": "2026-11-20T12:00:00.1234567+01:00"},
            parse_instant("2026-11-20"),
            parse_instant("2026-11-20T11:00:00.1234567Z"),
        ),
    ],
)
def test_timespans(fields: dict[str, Any], start: int, end: int) -> None:
    """A duration, an interval, or two instants become one interval, exact to the tick and fixed for good."""
    question = read(**fields)
    assert question.span == Window(start, end)
    assert question.timespan == f"{format_instant(start)}/{format_instant(end)}"


_numbers = st.tuples(st.integers(0, 10_000), st.text("0123456789", max_size=9))


@given(st.tuples(*[st.none() | _numbers] * 4))
def test_a_duration_is_exact_to_the_tick(parts: tuple[tuple[int, str] | None, ...]) -> None:
    """Days, hours, minutes and seconds, each with a fraction, add up without any rounding but the last."""
    said = {
        unit: f"{part[0]}{'.' * bool(part[1])}{part[1]}"
        for unit, part in zip("DHMS", parts, strict=True)
        if part is not None
    }
    date, time = said.get("D"), [f"{said[unit]}{unit}" for unit in "HMS" if unit in said]
    text = "P" + (f"{date}D" if date else "") + ("T" + "".join(time) if time else "")
    sizes = {"D": 86_400, "H": 3_600, "M": 60, "S": 1}
    length = round(sum(Fraction(number) * sizes[unit] for unit, number in said.items()) * 10_000_000)
    if text == "P" or not length:
        assert "timespan" in mistakes(timespan=text)
        return
    assert read(timespan=text).span == Window(NOW - length, NOW)
    assert read(timespan=f"2026-11-20/{text}").span.start == parse_instant("2026-11-20")


@given(ticks, ticks)
def test_an_interval_is_exact_to_the_tick(one: int, other: int) -> None:
    """Two instants bound the question in either form; where they do not follow one another, none does."""
    start, end = format_instant(one), format_instant(other)
    forms: list[tuple[dict[str, Any], str]] = [
        ({"timespan": f"{start}/{end}"}, "timespan"),
        ({"start": start, "end": end}, "end"),
    ]
    for fields, field in forms:
        if one >= other:
            assert list(mistakes(**fields)) == [field]
        elif other - one > SETTINGS.days * DAY:
            assert "QUERY_MAX_DAYS" in mistakes(**fields)["timespan" if "timespan" in fields else "start"]
        else:
            assert read(**fields).span == Window(one, other)


def test_a_duration_that_reaches_before_all_time_ends_there() -> None:
    """The first tick that Kusto knows is the earliest start."""
    settings = QuerySettings(workspaces={"default": ONE}, days=10**7)
    assert read(settings, timespan="P999999D").span == Window(0, NOW)
    with pytest.raises(BadRequestError, match="years 1 to 9999"):
        read(settings, timespan="2026-11-21/P9999999D")
    assert read(settings, timespan="0001-01-01/9999-12-31").end == END_OF_TIME - DAY


@pytest.mark.parametrize("wanted", [TWO, TWO.upper(), "Lab", "lab"])
def test_a_workspace_is_chosen_from_the_apps_own(wanted: str) -> None:
    """By its name or ID, whose letters may have any case; what is asked is the configured one."""
    assert read(workspace=wanted).workspace == TWO


def test_the_end_of_the_query_is_cut() -> None:
    """What follows the last statement goes, so that a limit can be added after it."""
    assert read(query="Event | take 5; // mine").query == "Event | take 5"


def test_parameters_are_declared_before_the_query() -> None:
    """Values become constants; no text of the caller's is spliced into KQL."""
    question = read(query="Event | where Computer == c", parameters={"c": "a' or 1 == 1 //", "n": 5})
    assert question.text == "let c = 'a\\' or 1 == 1 //';\nlet n = long(5);\nEvent | where Computer == c"


def test_the_guard_reads_what_callers_write() -> None:
    """KQL that looks beyond the workspace is refused, unless the deployment permits it by name."""
    query = f"workspace('{TWO}').Event"
    assert "workspace" in mistakes(query=query)["query"]
    permitted = QuerySettings(workspaces={"default": ONE}, allowed=frozenset({"workspace"}))
    assert read(permitted, query=query).query == query


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "// only words"}, "query"),
        ({"query": ";"}, "query"),
        ({"query": "Event | where a == 'b"}, "query"),
        ({"query": ".show tables"}, "query"),
        ({"query": 5}, "query"),
        ({"query": None}, "query"),
        ({"top": 0}, "top"),
        ({"top": -1}, "top"),
        ({"top": 500_001}, "top"),
        ({"top": "5"}, "top"),
        ({"top": True}, "top"),
        ({"top": 1.5}, "top"),
        ({"top": 10**30}, "top"),
        ({"timespan": 24}, "timespan"),
        ({"timespan": ""}, "timespan"),
        ({"timespan": "24h"}, "timespan"),
        ({"timespan": "P1H"}, "timespan"),
        ({"timespan": "P"}, "timespan"),
        ({"timespan": "PT"}, "timespan"),
        ({"timespan": "P1DT"}, "timespan"),
        ({"timespan": "PT0S"}, "timespan"),
        ({"timespan": "PT0.00000001S"}, "timespan"),
        ({"timespan": "-P1D"}, "timespan"),
        ({"timespan": "PT٢٤H"}, "timespan"),
        ({"timespan": "P36501D"}, "timespan"),
        ({"timespan": "/"}, "timespan"),
        ({"timespan": "2026-11-21/2026-11-20"}, "timespan"),
        ({"timespan": "2026-11-21/2026-11-21"}, "timespan"),
        ({"timespan": "2026-11-21/"}, "timespan"),
        ({"timespan": "2026-11-21/PT"}, "timespan"),
        ({"timespan": "PT1H/PT2H"}, "timespan"),
        ({"timespan": "P999999999D/2026-11-21"}, "timespan"),
        ({"timespan": "P1M"}, "timespan"),
        ({"query": "a " * 50_001}, "query"),
        ({"timespan": "2026-11-19/2026-11-20/2026-11-21"}, "timespan"),
        ({"timespan": "P1D", "start": "2026-11-20", "end": "2026-11-21"}, "timespan"),
        ({"start": "2026-11-20"}, "end"),
        ({"end": "2026-11-20"}, "start"),
        ({"start": "yesterday", "end": "2026-11-21"}, "start"),
        ({"start": "2026-11-20", "end": "today"}, "end"),
        ({"start": "2026-11-21", "end": "2026-11-21"}, "end"),
        ({"start": "1900-01-01", "end": "2026-11-21"}, "start"),
        ({"workspace": "33333333-3333-3333-3333-333333333333"}, "workspace"),
        ({"workspace": ""}, "workspace"),
        ({"workspace": 5}, "workspace"),
        ({"format": "xml"}, "format"),
        ({"format": ""}, "format"),
        ({"format": 5}, "format"),
        ({"destination": "disk"}, "destination"),
        ({"destination": None}, "destination"),
        ({"wait": -1}, "wait"),
        ({"wait": 201}, "wait"),
        ({"wait": 10.5}, "wait"),
        ({"wait": "10"}, "wait"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {"c": None}}, "parameters.c"),
        ({"parameters": {"1c": 5}}, "parameters.1c"),
        ({"limit": 5}, "limit"),
        ({"workspaces": [TWO]}, "workspaces"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], field: str) -> None:
    """A question that is not understood is refused, naming the one field that the caller should change."""
    assert list(mistakes(**fields)) == [field]


def test_what_cannot_be_had_here_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what writes Parquet, a caller who accepts nothing else learns what else there is."""
    monkeypatch.setattr(Parquet, "missing", property(lambda _: "pyarrow"))
    with pytest.raises(RefusedError, match=r"answers are application/json, application/x-ndjson, text/csv$"):
        read(headers={"accept": "application/vnd.apache.parquet"})
    assert mistakes(format="parquet") == {"format": "pyarrow"}


def test_every_wrong_field_is_named_at_once() -> None:
    """Whoever makes several mistakes learns of all of them from one answer."""
    wrong = {
        "query": "set a = 1; Event",
        "timespan": "soon",
        "top": 0,
        "workspace": "x",
        "format": "x",
        "wait": 999,
    }
    named = {"1": 1, "b": None}
    assert mistakes(**wrong, parameters=named).keys() == {*wrong, "parameters.1", "parameters.b"}
    assert mistakes(query=5, top="5", wait="x", start=1, other=2).keys() == {
        "query", "top", "wait", "start", "other",
    }  # fmt: skip
    assert mistakes(start="yesterday", end="today").keys() == {"start", "end"}
    assert mistakes(start=1, end="today").keys() == {"start", "end"}


def test_what_could_have_been_chosen_is_told() -> None:
    """A word that is none of a field's is answered with those that are."""
    assert "inline, blob" in mistakes(destination="disk")["destination"]
    assert "json, ndjson, csv" in mistakes(format="xml")["format"]


@pytest.mark.parametrize(
    "body",
    [b"", b"Event", b"[]", b'"Event"', b"null", b'{"query":"Event"', b'{"query":"\xff"}',
     b'{"query":"\\ud800"}', b"[" * 100_000, b'{"query":5,bad', b'{"query":5,"top":' + b"[" * 100_000],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_a_wrong_body_is_named(body: bytes) -> None:
    """A body that is not a JSON object of UTF-8 is the caller's mistake, not a failure of the app."""
    with pytest.raises(BadRequestError) as caught:
        read_question(body, JSON, SETTINGS, NOW)
    assert caught.value.field == "body"


def test_a_missing_query_is_named() -> None:
    """The one field that must be there is asked for by name."""
    with pytest.raises(BadRequestError) as caught:
        read_question(b"{}", JSON, SETTINGS, NOW)
    assert caught.value.field == "query"


def test_without_a_workspace_the_setting_is_named() -> None:
    """Whoever runs the app is told what to set."""
    with pytest.raises(BadRequestError, match="LOG_ANALYTICS_WORKSPACE_ID"):
        read(QuerySettings())


def test_the_deployments_own_bounds_hold() -> None:
    """Rows and time are bounded by the settings, where these are below what the service allows."""
    settings = QuerySettings(workspaces={"default": ONE}, rows=100, days=1)
    assert read(settings, top=100, timespan="P1D").top == 100
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"top": 101}, "top"),
        ({"timespan": "P1DT0.0000001S"}, "timespan"),
    ]
    for fields, field in wrong:
        with pytest.raises(BadRequestError) as caught:
            read(settings, **fields)
        assert caught.value.field == field


_FIELDS = [
    "query",
    "timespan",
    "start",
    "end",
    "top",
    "workspace",
    "format",
    "destination",
    "wait",
    "parameters",
]
_odd = st.text() | st.text("PTDHMS0123456789.-:/Z") | st.integers() | st.floats() | st.none() | st.booleans()


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(_FIELDS),
        _odd | st.dictionaries(st.text(), _odd, max_size=2) | st.lists(_odd, max_size=2),
    ).map(lambda fields: json.dumps(fields).encode("utf-8", "surrogatepass"))
)
def test_every_body_is_understood_or_refused(body: bytes) -> None:
    """Whatever is sent, the answer is a question or a refusal that names a field."""
    try:
        question = read_question(body, JSON, SETTINGS, NOW)
    except BadRequestError as error:
        assert error.field  # noqa: PT017  either outcome is right, nothing else is
    else:
        assert question.workspace in {ONE, TWO}
        assert question.start < question.end
