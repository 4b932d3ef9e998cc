"""Stand-ins of a few lines for what the pure modules are handed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from shared.errors import ServiceError
from shared.model import ApiName, Clock, Container, Request, Response, Send, Tools
from tests.parts.fakes import FakeClock
from tests.parts.memory_container import MemoryContainer

P = ParamSpec("P")
T = TypeVar("T")


class ListSend:
    """A ``send`` that gives prepared answers in order and keeps what it was asked."""

    def __init__(self, answers: Sequence[object]) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request, /) -> Response:
        """Give the next answer, or raise it."""
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
        "X",
        status=status,
        code="Odd",
        message="no",
        request_id="r-1",
        retryable=retryable,
        retry_after=retry_after,
    )


class AtOnce(Executor):
    """An executor that does what it is given while it is given it, so that a test's order is fixed."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call and return its outcome."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  whatever a call raises belongs to its future
            future.set_exception(error)
        return future


def tools(
    send: Send,
    asked: list[ApiName] | None = None,
    *,
    answer_bytes: int = 32 << 20,
    clock: Clock | None = None,
    documents: Container | None = None,
) -> Tools:
    """Give a source a ``send`` for any API; ``asked`` takes down which APIs it wanted."""

    def connect(api: ApiName) -> Send:
        if asked is not None:
            asked.append(api)
        return send

    clock = clock or FakeClock()
    return Tools(
        connect,
        AtOnce(),
        parallel=2,
        answer_bytes=answer_bytes,
        clock=clock,
        documents=documents or MemoryContainer(),
    )
