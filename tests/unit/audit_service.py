"""Graph's audit searches in a few lines, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from shared.errors import NotReadyError, TransportError
from shared.model import Reading, Request, Response, Window
from shared.sources.audit_search import AuditSearch, Options
from shared.windows import HOUR, MINUTE, SECOND, format_second, parse_instant
from tests.parts.fakes import FakeClock

TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
SINCE = WINDOW.end + 15 * MINUTE
READING = Reading(WINDOW, deadline=500.0, since=SINCE)
DATE = "Sat, 21 Nov 2026 12:20:00 GMT"
"""What the service takes for the present: the same as the fake clock."""


class Service:
    """Graph's audit searches, in a few lines: ``records`` are what there is, ``seconds`` what a search takes.

    ``faults`` are raised by the next requests of a kind (list, begin, look, records), in order.
    """

    def __init__(self, *records: dict[str, Any], seconds: float = 30.0) -> None:
        self.records = list(records)
        self.clock = FakeClock()
        self.seconds = seconds
        self.outcomes: list[str] = []
        self.limit = 1_000
        self.miscounted = 0
        self.retry_after: str | None = None
        self.date = DATE
        self.page = 2
        self.most_running = 0
        self.searches: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.faults: dict[str, list[Exception | None]] = {}
        self.answered: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list

    def __call__(self, request: Request, /) -> Response:
        """Answer a request."""
        self.requests.append(request)
        kind = self.kind(request)
        faults = self.faults.get(kind, [])
        fault = faults.pop(0) if faults else None
        if fault is not None and not isinstance(fault, TransportError):
            raise fault
        document = getattr(self, f"_{kind}")(request)
        if fault is not None:  # the answer was lost on its way
            raise fault
        headers = {"date": self.date} | ({"retry-after": self.retry_after} if self.retry_after else {})
        return Response(201 if kind == "begin" else 200, headers, json.dumps(document).encode())

    @staticmethod
    def kind(request: Request) -> str:
        """Name what a request asks for."""
        rest = request.target.partition("/auditLog/queries")[2].partition("?")[0]
        if request.method == "POST":
            return "begin"
        return "list" if not rest else "records" if rest.endswith("/records") else "look"

    def asked(self, kind: str) -> list[Request]:
        """Return the requests of a kind."""
        return [request for request in self.requests if self.kind(request) == kind]

    def add(self, name: str, status: str, **more: object) -> None:
        """Add a search that was begun earlier, by whomever."""
        id_ = f"s-{len(self.searches)}"
        self.searches[id_] = {
            "id": id_, "displayName": name, "status": status, "ends": float("inf"), **more,
        }  # fmt: skip

    def _begin(self, request: Request) -> dict[str, Any]:
        assert request.headers["Content-Type"] == "application/json"
        assert request.once
        id_ = f"s/{len(self.searches)}"
        ends = self.clock.monotonic() + self.seconds
        self.searches[id_] = {**json.loads(request.body or b""), "id": id_, "ends": ends, "status": "running"}
        running = sum(self._shown(each)["status"] == "running" for each in self.searches.values())
        self.most_running = max(self.most_running, running)
        if self.outcomes:
            self.searches[id_]["outcome"] = self.outcomes.pop(0)
        return self._shown(self.searches[id_])

    def _list(self, request: Request) -> dict[str, Any]:
        return self._paged([self._shown(each) for each in self.searches.values()], request)

    def _look(self, request: Request) -> dict[str, Any]:
        return self._shown(self.searches[unquote(request.target.rpartition("/")[2])])

    def _records(self, request: Request) -> dict[str, Any]:
        search = self.searches[unquote(request.target.split("/")[-2])]
        return self._paged(self.answered(search["found"][: self.limit]), request)

    def _found(self, search: dict[str, Any]) -> list[dict[str, Any]]:
        start, end = (search[f"filter{edge}DateTime"] for edge in ("Start", "End"))
        return [each for each in self.records if start < each["createdDateTime"] < end]

    def _shown(self, search: dict[str, Any]) -> dict[str, Any]:
        shown = {name: value for name, value in search.items() if name not in {"ends", "outcome", "found"}}
        if search["status"] != "running" or self.clock.monotonic() < search["ends"]:
            return shown
        found = len(search.setdefault("found", self._found(search)))
        return shown | {
            "status": search.get("outcome", "succeeded"),
            "isRecordCountLimitExceeded": found > self.limit,
            "approximateReturnedRecordCount": min(found, self.limit) + self.miscounted,
            "recordCountLimit": self.limit,
        }

    def _paged(self, values: list[dict[str, Any]], request: Request) -> dict[str, Any]:
        path, _, token = request.target.partition("?$skiptoken=")
        start = int(token or 0)
        more = start + self.page < len(values)
        link = {"@odata.nextLink": f"{path}?$skiptoken={start + self.page}"} if more else {}
        return {"value": values[start : start + self.page], **link}


def record(tick: int, id_: str = "a") -> dict[str, Any]:
    """Build a record of a whole second."""
    return {"id": id_, "createdDateTime": format_second(tick), "operation": "Update user."}


def read(service: Service, reading: Reading = READING, **options: Any) -> list[dict[str, Any]]:
    """Read a window whole."""
    source = AuditSearch(Options(**options), service, service.clock)
    return [json.loads(bytes(row)) for batch in source.read(reading) for row in batch.rows]


def attempts(service: Service, reading: Reading = READING) -> tuple[int, list[dict[str, Any]]]:
    """Read a window in as many attempts as it takes; return how many, and the records."""
    for attempt in range(1, 20):
        try:
            deadline = service.clock.monotonic() + 500
            return attempt, read(service, Reading(reading.window, deadline, since=reading.since))
        except NotReadyError as error:
            service.clock.sleep(error.wait / SECOND)
    raise AssertionError("never ready")


def bodies(service: Service) -> list[dict[str, Any]]:
    """Return what the searches were begun with."""
    return [json.loads(request.body or b"") for request in service.asked("begin")]
