"""Reads the error envelopes of Azure's APIs. Pure.

Sources: "Azure Monitor Log Analytics API errors" (``innererror``, ``details``, ``correlationId``) and
"Microsoft Graph error responses" (``innerError`` with ``request-id``).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from shared import rawjson
from shared.windows import from_datetime

_IDS = ("x-ms-correlation-request-id", "x-ms-request-id", "request-id")


def read_error(
    service: str, status: int, headers: Mapping[str, str], body: bytes
) -> tuple[str, str, str | None]:
    """Return an error answer's ``(code path, message, request id)``, whatever its body looks like."""
    try:
        envelope = msgspec.json.decode(body)
    except rawjson.UNREADABLE:
        envelope = None
    error = envelope.get("error") if isinstance(envelope, dict) else None
    if not isinstance(error, dict):
        text = body[:200].decode("utf-8", "replace").strip()
        return f"HTTP {status}", text or f"{service} gave no reason", _header_id(headers)
    code, message, request_id = describe(error)
    return code or f"HTTP {status}", message, request_id or _header_id(headers)


def describe(error: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return an error object's ``(code path, messages, request id)`` from the outermost level inwards."""
    levels = list(_levels(error))
    codes = [str(level["code"]) for level in levels if level.get("code")]
    messages = dict.fromkeys(str(level["message"]) for level in levels if level.get("message"))
    ids = [level.get("correlationId") or level.get("request-id") for level in levels]
    return "/".join(codes), " ".join(messages) or "no message", next((str(id_) for id_ in ids if id_), None)


def _levels(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield error
    inner = error.get("innererror") or error.get("innerError")
    details = error.get("details")
    for level in [inner, *(details if isinstance(details, list) else [])]:
        if isinstance(level, dict):
            yield from _levels(level)


def served_at(headers: Mapping[str, str]) -> int | None:
    """Return the service's own time (ticks) from an answer's Date header; None where it has none."""
    try:
        date = parsedate_to_datetime(headers["date"])
        return from_datetime(date if date.tzinfo else date.replace(tzinfo=UTC))  # the zone -0000 is none
    except (KeyError, ValueError, OverflowError):
        return None


def _header_id(headers: Mapping[str, str]) -> str | None:
    return next((headers[name] for name in _IDS if headers.get(name)), None)
