"""Error envelopes as the services send them."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.service_errors import read_error, served_at
from shared.windows import parse_instant

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


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Sat, 21 Nov 2026 10:00:00 GMT", "2026-11-21T10:00:00"),
        ("Sat, 21 Nov 2026 10:00:00 +0100", "2026-11-21T09:00:00"),
        ("Sat, 21 Nov 2026 10:00:00 -0000", "2026-11-21T10:00:00"),
        ("Sat, 21 Nov 2026 10:00:00", "2026-11-21T10:00:00"),
    ],
)
def test_the_services_time_is_its_date_header(
    monkeypatch: pytest.MonkeyPatch, date: str, expected: str
) -> None:
    """It is UTC wherever this machine is, also where the header's zone is missing or says nothing."""
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "XYZ-5")
        time.tzset()
    try:
        assert served_at({"date": date}) == parse_instant(expected)
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()


@pytest.mark.parametrize(
    "headers",
    [{}, {"date": ""}, {"date": "soon"}, {"date": "Sat, 31 Feb 2026 10:00:00 GMT"},
     {"date": "Fri, 31 Dec 9999 23:59:59 -2359"}],
)  # fmt: skip
def test_without_a_readable_date_the_services_time_is_unknown(headers: dict[str, str]) -> None:
    """A proxy that leaves the header out, or garbles it, is no reason to fail a window."""
    assert served_at(headers) is None
