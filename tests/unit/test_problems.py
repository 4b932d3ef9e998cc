"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json

import pytest

from shared.errors import (
    AnswerTooLargeError,
    BadRequestError,
    CredentialError,
    DeadlineError,
    ExportError,
    ForeignHostError,
    IncompleteAnswerError,
    MethodError,
    NotFoundError,
    NotGrantedError,
    NotReadyError,
    ProtocolError,
    RefusedError,
    StorageError,
    TransportError,
)
from shared.problems import problem, told_in_logs
from shared.windows import SECOND
from tests.unit.fakes import service_error


def too_large(status: int) -> AnswerTooLargeError:
    """Build the error of an answer that the service could not give whole."""
    return AnswerTooLargeError("X", status=status, code="Odd", message="m", request_id=None, retryable=False)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequestError("top", "is 0"), 400),
        (service_error(400), 400),
        (service_error(401), 502),
        (service_error(403), 502),
        (service_error(404), 502),
        (service_error(429), 429),
        (service_error(500), 502),
        (service_error(503), 502),
        (service_error(504), 504),
        (DeadlineError("too long"), 504),
        (NotFoundError("no such query"), 404),
        (MethodError(["GET"]), 405),
        *((RefusedError(status, "no"), status) for status in (403, 406, 409, 410, 413, 415, 422, 429)),
        (too_large(200), 422),
        (too_large(413), 422),
        (too_large(504), 504),
        (NotReadyError(SECOND, "running"), 503),
        (CredentialError("no token"), 502),
        (NotGrantedError("no token"), 502),
        (TransportError("no route"), 502),
        (ProtocolError("no table"), 502),
        (ForeignHostError("elsewhere"), 502),
        (StorageError("gone", retryable=True), 502),
        (
            IncompleteAnswerError(
                "X", status=200, code="PartialError", message="m", request_id=None, retryable=False
            ),
            502,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ExportError) else str(value),
)
def test_status(error: ExportError, status: int) -> None:
    """What the caller can mend is 4xx, what lies behind the app is 502 or 504; never 200, never 500."""
    document, _ = problem(error)
    assert document["status"] == status
    assert document["title"]
    assert document["detail"] == str(error)
    assert json.dumps(document)


def test_a_callers_mistake_names_its_field() -> None:
    """A caller finds the wrong field without reading prose."""
    document, _ = problem(BadRequestError("top", "is 0", ("wait", "is -1")))
    assert document["field"] == "top"
    assert document["errors"] == [
        {"field": "top", "message": "is 0"},
        {"field": "wait", "message": "is -1"},
    ]


def test_a_refusal_says_when_to_come_back() -> None:
    """Too many queries now is not too many for ever; what is forbidden stays so."""
    assert problem(RefusedError(429, "busy", retry_after=5))[1] == {"Retry-After": "5"}
    assert problem(RefusedError(403, "no"))[1] == {}


def test_a_refused_method_names_those_that_there_are() -> None:
    """Allow has them, as RFC 9110 demands of 405."""
    document, headers = problem(MethodError(["DELETE", "GET"]))
    assert document["title"] == "Method Not Allowed"
    assert headers == {"Allow": "DELETE, GET"}


def test_a_services_error_keeps_its_code() -> None:
    """The service's own code, status and request id are there for a support case."""
    document, headers = problem(service_error(403))
    assert (document["code"], document["service_status"], document["request_id"]) == ("Odd", 403, "r-1")
    assert headers == {}


def test_what_is_not_ready_says_when_to_come_back() -> None:
    """A search that goes on at the service is no failure: 503, with the time after which to look again."""
    assert problem(NotReadyError(90 * SECOND, "running"))[1] == {"Retry-After": "90"}


@pytest.mark.parametrize(("asked", "said"), [(None, "30"), (7.0, "7"), (0.2, "1"), (12.4, "13")])
def test_throttling_says_when_to_come_back(asked: float | None, said: str) -> None:
    """A 429 carries Retry-After in whole seconds, not before the service asked for."""
    assert problem(service_error(429, retry_after=asked))[1] == {"Retry-After": said}


def test_a_log_has_no_value_of_a_callers() -> None:
    """A mistake is logged by its place alone, in one line; another error with what it says."""
    wrong = BadRequestError.of([("parameters.a\nb", "'secret' is no timespan"), ("top", "is 0")])
    assert told_in_logs(wrong) == r"mistakes in 'parameters.a\nb', 'top'"
    assert told_in_logs(NotFoundError("there is no query 'x'")) == "there is no query 'x'"
