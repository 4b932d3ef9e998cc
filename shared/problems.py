"""Errors as RFC 9457 problem details: what an HTTP caller is told. Pure."""

from math import ceil
from typing import Any

from shared.errors import (
    BadRequestError,
    CredentialError,
    DeadlineError,
    ExportError,
    NotFoundError,
    PutOffError,
    ServiceError,
)
from shared.windows import SECOND


def problem(error: ExportError) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an error's problem document (with its ``status``) and the headers that go with it."""
    document: dict[str, Any] = {"type": "about:blank", "title": _title(error), "status": _status(error)}
    document["detail"] = str(error)
    headers: dict[str, str] = {}
    if isinstance(error, BadRequestError):
        document["field"] = error.field
    if isinstance(error, PutOffError):
        headers["Retry-After"] = str(ceil(error.wait / SECOND))
    if isinstance(error, ServiceError):
        document |= {"code": error.code, "service_status": error.status, "request_id": error.request_id}
        if error.status == 429:
            headers["Retry-After"] = str(ceil(min(error.retry_after or 30, 3600)))
    return document, headers


def _status(error: ExportError) -> int:
    """Return the HTTP status: what the caller can mend is 4xx, what lies behind this app is 502 to 504."""
    if isinstance(error, BadRequestError):
        return 400
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, PutOffError):
        return 503
    if isinstance(error, ServiceError):
        return error.status if error.status in {400, 429, 504} else 502
    return 504 if isinstance(error, DeadlineError) else 502


def _title(error: ExportError) -> str:
    if isinstance(error, BadRequestError):
        return "The request cannot be understood"
    if isinstance(error, NotFoundError):
        return "There is no such thing"
    if isinstance(error, PutOffError):
        return "The answer is not ready yet"
    if isinstance(error, ServiceError):
        return f"{error.service} refused the query" if error.status < 500 else f"{error.service} failed"
    if isinstance(error, CredentialError):
        return "This app could not sign in"
    return "The query could not be answered"
