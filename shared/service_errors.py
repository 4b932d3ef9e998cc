"""Reads the error envelopes of Azure's APIs. Pure.

Sources: "Azure Monitor Log Analytics API errors" (``innererror``, ``details``, ``correlationId``), "Microsoft
Graph error responses" (``innerError`` with ``request-id``) and "Azure AD Graph API: error codes and error
handling" (``odata.error``, whose message is in a ``value`` beside its language).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from shared import rawjson
from shared.windows import SECOND, from_datetime

_HEADER_IDS = ("x-ms-correlation-request-id", "x-ms-request-id", "request-id")
LONGEST_WAIT = 6 * 3600.0
"""The longest that Retry-After is believed (seconds): as long as a window that fails waits at most. To ask a
service again that meant a day costs a request; to believe a garbled header may cost years."""

_BODY_IDS = ("correlationId", "request-id", "requestId")


def read_error(
    service: str, status: int, headers: Mapping[str, str], body: bytes
) -> tuple[str, str, str | None]:
    """Return an error answer's ``(code path, message, request id)``, whatever its body looks like."""
    try:
        envelope = msgspec.json.decode(body)
    except rawjson.UNREADABLE:
        envelope = None
    error = envelope.get("error", envelope.get("odata.error")) if isinstance(envelope, dict) else None
    if not isinstance(error, dict):
        text = body[:200].decode("utf-8", "replace").strip()
        return f"HTTP {status}", text or f"{service} gave no reason", request_id_of(headers)
    code, message, request_id = describe(error)
    return code or f"HTTP {status}", message, request_id or request_id_of(headers)


def describe(error: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return an error object's ``(code path, messages, request id)`` from the outermost level inwards."""
    levels = list(_levels(error))
    codes = [str(level["code"]) for level in levels if level.get("code")]
    texts = [_text(level.get("message")) for level in levels]
    messages = dict.fromkeys(str(text) for text in texts if text)
    ids = (level[name] for level in levels for name in _BODY_IDS if level.get(name))
    return "/".join(codes), " ".join(messages) or "no message", next((str(id_) for id_ in ids), None)


def _text(message: object) -> object:
    return message.get("value") if isinstance(message, dict) else message


def _levels(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield error
    inner = error.get("innererror") or error.get("innerError")
    details = error.get("details")
    for level in [inner, *(details if isinstance(details, list) else [])]:
        if isinstance(level, dict):
            yield from _levels(level)


def served_at(headers: Mapping[str, str]) -> int | None:
    """Return the service's own time (ticks) from an answer's Date header; None where it has none."""
    return _http_date(headers.get("date", ""))


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Return the seconds that Retry-After asks for, as a number or as a date (RFC 9110); ``now`` in ticks.

    They are never less than 0 nor more than ``LONGEST_WAIT``.
    """
    text = headers.get("retry-after", "").strip()
    seconds = None
    with contextlib.suppress(ValueError):
        seconds = float(text)
    if seconds is None:
        until = _http_date(text)
        seconds = math.nan if until is None else (until - now) / SECOND
    return min(max(0.0, seconds), LONGEST_WAIT) if math.isfinite(seconds) else None


def _http_date(text: str) -> int | None:
    """Return the tick of a date in a header; None where it is none. Without a zone it is UTC."""
    try:
        date = parsedate_to_datetime(text)
        return from_datetime(date if date.tzinfo else date.replace(tzinfo=UTC))  # the zone -0000 is none
    except (ValueError, OverflowError):
        return None


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the id that an answer's headers name, by which Microsoft's support finds the request."""
    return next((headers[name] for name in _HEADER_IDS if headers.get(name)), None)
