"""Errors as RFC 9457 problem details: what an HTTP caller is told. Pure."""

from http import HTTPStatus
from math import ceil
from typing import Any

from shared.errors import (
    AnswerTooLargeError,
    BadRequestError,
    CredentialError,
    DeadlineError,
    ExportError,
    MethodError,
    NotFoundError,
    PutOffError,
    RefusedError,
    ServiceError,
    SeveralTablesError,
)
from shared.windows import SECOND


def problem(error: ExportError) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an error's problem document (with its ``status``) and the headers that go with it."""
    document: dict[str, Any] = {"type": "about:blank", "title": _title(error), "status": _status(error)}
    document["detail"] = str(error)
    headers: dict[str, str] = {}
    if isinstance(error, BadRequestError):
        document["field"] = error.field
        document["errors"] = [{"field": field, "message": message} for field, message in error.mistakes]
    if isinstance(error, RefusedError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodError):
        headers["Allow"] = ", ".join(error.methods)
    if isinstance(error, PutOffError):
        headers["Retry-After"] = str(ceil(error.wait / SECOND))
    if isinstance(error, ServiceError):
        document |= {"code": error.code, "service_status": error.status, "request_id": error.request_id}
        if error.status == 429:
            headers["Retry-After"] = str(ceil(min(error.retry_after or 30, 3600)))
    return document, headers


def told_in_logs(error: ExportError) -> str:
    """Return what a log says of an error: of a caller's mistake only where it is, without any value."""
    if isinstance(error, BadRequestError):
        return "mistakes in " + ", ".join(repr(field) for field, _ in error.mistakes)
    return str(error)


def _status(error: ExportError) -> int:
    """Return the HTTP status: what the caller can mend is 4xx, what lies behind this app is 502 to 504."""
    match error:
        case BadRequestError():
            status = 400
        case NotFoundError():
            status = 404
        case RefusedError():
            status = error.status
        case SeveralTablesError():
            status = 422
        case PutOffError():
            status = 503
        case AnswerTooLargeError():
            status = 504 if error.status == 504 else 422
        case ServiceError():
            status = error.status if error.status in {400, 429, 504} else 502
        case DeadlineError():
            status = 504
        case _:
            status = 502
    return status


def _title(error: ExportError) -> str:
    match error:
        case BadRequestError():
            title = "The request cannot be understood"
        case NotFoundError():
            title = "There is no such thing"
        case RefusedError():
            title = HTTPStatus(error.status).phrase
        case PutOffError():
            title = "The answer is not ready yet"
        case ServiceError():
            title = f"{error.service} refused the query" if error.status < 500 else f"{error.service} failed"
        case CredentialError():
            title = "This app could not sign in"
        case _:
            title = "The query could not be answered"
    return title
