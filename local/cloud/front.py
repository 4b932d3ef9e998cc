"""The way of every request: which service it is for, what is to go wrong with it, and a note that it came."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from local.cloud.faults import Fault, Faults, general_answer
from local.cloud.server import Answer, Request, Seen, json_answer


@dataclass(frozen=True)
class Service:
    """One service behind the front: the paths that are its own, and how it answers."""

    name: str
    serves: Callable[[str], bool]
    answer: Callable[[Request, Fault | None], Answer]
    keeps_time: bool = False
    """Whether it sees to the fault "slow" itself."""


class Front:
    """Hands requests to services; `clock` gives Unix seconds, `latency` delays every answer (seconds)."""

    def __init__(self, faults: Faults, clock: Callable[[], float], latency: float) -> None:
        self._faults = faults
        self._clock = clock
        self._latency = latency
        self._seen: list[Seen] = []
        self._lock = threading.Lock()

    def seen(self) -> list[Seen]:
        """The requests so far, in the order of their answers."""
        with self._lock:
            return list(self._seen)

    def forget(self) -> None:
        """Start the list of requests anew."""
        with self._lock:
            self._seen.clear()

    def serve(self, services: list[Service], request: Request) -> Answer:
        """The answer of the first service whose path it is; 404 without one."""
        arrived = self._clock()
        if self._latency:
            time.sleep(self._latency)
        service = next((each for each in services if each.serves(request.path)), _NOBODY)
        fault = self._faults.take(service.name, request.target)
        answer = _answer(service, request, fault)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if "authorization" in headers:
            headers["authorization"] = headers["authorization"].partition(" ")[0] + " …"
        if "x-identity-header" in headers:
            headers["x-identity-header"] = "…"
        # A request to the token endpoint holds the app's secret.
        body = "" if service.name == "entra_id" else request.body.decode(errors="replace")
        note = Seen(service.name, request.method, request.target, answer.status, body, arrived, headers)
        with self._lock:
            self._seen.append(note)
        return answer


def _answer(service: Service, request: Request, fault: Fault | None) -> Answer:
    if fault is None:
        return service.answer(request, None)
    if general := general_answer(fault, request.target):
        return general
    if fault.kind == "truncate":
        return replace(service.answer(request, None), cut=1)
    if fault.kind == "slow" and not service.keeps_time:
        time.sleep(fault.seconds)
        return service.answer(request, None)
    return service.answer(request, fault)


def _nothing(request: Request, fault: Fault | None) -> Answer:
    del fault
    return json_answer(
        404, {"error": {"code": "NotFound", "message": f"nothing is served at {request.path}"}}
    )


_NOBODY = Service("", lambda _: True, _nothing)
