"""Error envelopes as the services send them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.service_errors import LONGEST_WAIT, read_error, retry_after, served_at
from shared.windows import END_OF_TIME, HOUR, SECOND, parse_instant

SEMANTIC = {
    "error": {
        "message": "The request had some invalid properties",
        "code": "BadArgumentError",
        "correlationId": "c-1",
        "innererror": {
            "code": "SemanticError",
            "message": "A semantic error occurred.",
            "innererror": {"code": "SEM0100", "message": "Failed to resolve table 'Heartbeats'"},
        },
    }
}
GRAPH = {
    "error": {
        "code": "UnknownError",
        "message": "This request is throttled.",
        "innerError": {"date": "2026-11-21T10:00:00", "request-id": "r-1", "client-request-id": "k-1"},
    }
}
AAD_GRAPH = {
    "odata.error": {
        "code": "Authorization_RequestDenied",
        "message": {"lang": "en", "value": "Insufficient privileges to complete the operation."},
        "requestId": "r-2",
        "date": "2018-08-20T10:00:00",
    }
}
PARTIAL = {
    "error": {
        "code": "PartialError",
        "message": "There were some errors when processing your query.",
        "details": [
            {
                "code": "EngineError",
                "message": "Something went wrong.",
                "innererror": {"code": "-2133196797", "message": "E_QUERY_RESULT_SET_TOO_LARGE"},
            }
        ],
    }
}


@pytest.mark.parametrize(
    ("body", "code", "message", "request_id"),
    [
        (SEMANTIC, "BadArgumentError/SemanticError/SEM0100", "'Heartbeats'", "c-1"),
        (GRAPH, "UnknownError", "This request is throttled.", "r-1"),
        (
            AAD_GRAPH,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
            "r-2",
        ),
        ({"odata.error": {"code": "Odd", "message": {"lang": "en"}}}, "Odd", "no message", "h-1"),
        (PARTIAL, "PartialError/EngineError/-2133196797", "E_QUERY_RESULT_SET_TOO_LARGE", "h-1"),
        ({"error": {"code": "", "message": "Invalid Skip Token"}}, "HTTP 418", "Invalid Skip Token", "h-1"),
        ({"error": {"code": "Odd"}}, "Odd", "no message", "h-1"),
        ({"error": "invalid_client"}, "HTTP 418", "invalid_client", "h-1"),
    ],
    ids=["semantic", "graph", "aad graph", "no value", "partial", "empty code", "no message", "no object"],
)
def test_an_envelope_is_read_whole(body: object, code: str, message: str, request_id: str) -> None:
    """The code path, every level's message, and the id: the body's own, else the header's."""
    found = read_error("X", 418, {"x-ms-request-id": "h-1"}, json.dumps(body).encode())
    assert (found[0], found[2]) == (code, request_id)
    assert message in found[1]


def test_messages_of_all_levels_are_kept_once() -> None:
    """Each level's message is said, in order, and a repeated one is said once."""
    body = {"error": {"message": "a", "innererror": {"message": "b", "innererror": {"message": "a"}}}}
    assert read_error("X", 400, {}, json.dumps(body).encode())[1] == "a b"


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"", "X gave no reason"), (b"  <html>Bad Gateway</html>", "<html>Bad Gateway</html>"), (b"[]", "[]")],
)
def test_a_body_that_is_no_envelope_is_quoted(body: bytes, message: str) -> None:
    """A gateway's page is shown as it came, cut to a line's length."""
    assert read_error("X", 502, {}, body) == ("HTTP 502", message, None)
    assert len(read_error("X", 502, {}, body * 1000)[1]) <= 200


KEYS = st.sampled_from(
    ["error", "odata.error", "code", "message", "innererror", "innerError", "details", "correlationId"]
)
bodies = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)
).map(lambda value: json.dumps(value).encode())


@given(st.binary() | bodies)
def test_no_body_is_too_odd(body: bytes) -> None:
    """Reading an error never raises another."""
    code, message, _ = read_error("X", 500, {}, body)
    assert code
    assert message


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error":{"innererror":' * 2000 + b"1" + b"}}" * 2000], ids=["list", "error"]
)
def test_no_body_is_too_deep(body: bytes) -> None:
    """Brackets without end are no reason to lose the status."""
    assert read_error("X", 500, {}, body)[0] == "HTTP 500"


NOW = parse_instant("2026-11-21T12:20:00")
PARTS = st.sampled_from(
    ["Mon,", "Sat", "31", "0", "-1", "99", "Feb", "Dec", "9999", "2026", "1", "23:59:59", "25:61", "+9999",
     "-0100", "-0000", "GMT", "EST", "(", ")", '"', ":", "-", "inf", "1e400", "٣", "_"]
)  # fmt: skip
retry_afters = (
    st.text()
    | st.lists(PARTS, max_size=8).map(" ".join)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.builds("{}, {} {} {:04} {:02}:{:02}:{:02} {}".format, st.sampled_from(["Fri", "Mon"]),
                st.integers(1, 31), st.sampled_from(["Jan", "Feb", "Dec"]), st.integers(0, 10_000),
                st.integers(0, 24), st.integers(0, 60), st.integers(0, 60),
                st.sampled_from(["GMT", "-0100", "+2359", "-0000", "", "+99999999999"]))
)  # fmt: skip


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is in another zone than UTC, where that can be had."""
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "XYZ-5")
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Sat, 21 Nov 2026 10:00:00 GMT", "2026-11-21T10:00:00"),
        ("Sat, 21 Nov 2026 10:00:00 +0100", "2026-11-21T09:00:00"),
        ("Sat, 21 Nov 2026 10:00:00 -0000", "2026-11-21T10:00:00"),
        ("Sat, 21 Nov 2026 10:00:00", "2026-11-21T10:00:00"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_dates_in_headers_are_utc(date: str, expected: str) -> None:
    """They are wherever this machine is, also where the header's zone is missing or says nothing."""
    assert served_at({"date": date}) == parse_instant(expected)
    assert retry_after({"retry-after": date}, parse_instant(expected) - 7 * SECOND) == 7


@pytest.mark.parametrize(
    "text", ["21601", "1800000000", "1e20", "1e308", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_no_service_is_waited_for_longer_than_six_hours(text: str) -> None:
    """A number that is a time, or a garbled date, must not put an export off for years."""
    assert retry_after({"retry-after": text}, NOW) == LONGEST_WAIT == 6 * HOUR / SECOND


def test_a_date_beyond_all_years_says_nothing() -> None:
    """It is as good as no header."""
    assert retry_after({"retry-after": "Fri, 31 Dec 9999 23:59:59 -0100"}, NOW) is None


@given(retry_afters, st.integers(0, END_OF_TIME - 1))
def test_no_header_makes_a_wait_that_is_none(text: str, now: int) -> None:
    """Whatever it says, and whenever: nothing is raised, and a wait is neither negative nor too long."""
    seconds = retry_after({"retry-after": text}, now)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT
    served_at({"date": text})


@pytest.mark.parametrize(
    "headers",
    [{}, {"date": ""}, {"date": "soon"}, {"date": "Sat, 31 Feb 2026 10:00:00 GMT"},
     {"date": "Fri, 31 Dec 9999 23:59:59 -2359"}],
)  # fmt: skip
def test_without_a_readable_date_the_services_time_is_unknown(headers: dict[str, str]) -> None:
    """A proxy that leaves the header out, or garbles it, is no reason to fail a window."""
    assert served_at(headers) is None
