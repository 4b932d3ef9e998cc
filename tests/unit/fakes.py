"""Stand-ins of a few lines for what the pure modules are handed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from shared.errors import ServiceError
from shared.model import Request, Response


class ListSend:
    """A ``send`` that gives prepared answers in order and keeps what it was asked."""

    def __init__(self, answers: Sequence[object]) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request, /) -> Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Response):
            return answer
        return Response(200, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def page(*records: object, link: str | None = None) -> dict[str, object]:
    """Build a page as Graph answers it."""
    return {"value": list(records), **({"@odata.nextLink": link} if link is not None else {})}


def service_error(status: int, *, retryable: bool = False, retry_after: float | None = None) -> ServiceError:
    """Build an error answer as ``send`` raises it."""
    return ServiceError(
        "X", status=status, code="Odd", message="no", request_id="r-1", retryable=retryable, retry_after=retry_after
    )
