"""What the models of the two services have in common: faults, and answers in the form of ``model.Send``."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from shared.errors import CredentialError, ServiceError, TransportError
from shared.model import Response
from shared.service_errors import read_error
from shared.windows import SECOND

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504, 509})


@dataclass(frozen=True)
class Reply:
    """An answer on the wire."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str) -> Reply:
    """Return an error in the envelope that Azure's APIs share."""
    return Reply(status, json.dumps({"error": {"code": code, "message": message}}).encode())


def deliver(service: str, reply: Reply, now: int) -> Response:
    """Return a reply as the transport would: with the service's Date, and errors raised."""
    date = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=now // SECOND)
    headers = {"date": format_datetime(date, usegmt=True), **reply.headers}
    if reply.status < 400:
        return Response(reply.status, headers, reply.body)
    code, message, request_id = read_error(service, reply.status, headers, reply.body)
    raise ServiceError(
        service,
        status=reply.status,
        code=code,
        message=message,
        request_id=request_id,
        retryable=reply.status in TRANSIENT,
    )


def stormy(rng: random.Random, reply: Callable[[], Reply]) -> Reply:
    """Return a reply that something went wrong with; raise where nothing came at all."""
    kind = rng.choice(["lost", "token", "busy", "down", "forbidden", "refused", "broken off", "empty"])
    if kind == "lost":
        raise TransportError("the connection broke, also after retries")
    if kind == "token":
        raise CredentialError("no token")
    if kind == "busy":
        return refusal(429, "ThrottledError", "too many requests")
    if kind == "down":
        return refusal(rng.choice([500, 502, 503]), "InternalError", "try later")
    if kind == "forbidden":
        return refusal(403, "InsufficientAccessError", "no access")
    if kind == "refused":
        return refusal(400, "BadArgumentError", "a 400 that says nothing of limits or floors")
    if kind == "broken off":
        whole = reply()
        return Reply(whole.status, whole.body[: rng.randrange(len(whole.body) + 1)])
    return Reply(200, b"")
