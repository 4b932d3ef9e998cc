"""The parts of on-demand queries on a container in memory, before a service that follows a script."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from shared.callers import Caller
from shared.model import LinkingContainer, Request, Response, Send
from shared.query import Answered, Later, Query
from shared.query_audit import Audit
from shared.query_formats import FORMATS
from shared.query_jobs import Job, Jobs
from shared.query_reader import QueryReader
from shared.query_results import Caps, Results
from shared.query_runner import QueryRunner
from shared.query_settings import QuerySettings
from shared.query_status import QueryStatuses
from shared.question import Question, read_question
from shared.windows import MINUTE, format_instant, parse_instant
from tests.parts.fakes import NOW, FakeClock
from tests.parts.memory_container import MemoryContainer
from tests.unit.fakes import tools

WORKSPACE = "12345678-1234-1234-1234-123456789abc"
ANN, BOB = Caller("principal", "oid-ann", "ann@example.com"), Caller("principal", "oid-bob")
KEY = Caller("key", "0123456789ab")
COLUMNS = [{"name": "n", "type": "long"}]
TOO_LARGE = {"code": "PartialError", "message": "E_QUERY_RESULT_SET_TOO_LARGE (80DA0003)"}
BROKEN = {"code": "PartialError", "message": "a shard did not answer"}

_BOUND = re.compile(r"let window_(start|end) = datetime\(([^)]+)\);")


def table(rows: int, **more: Any) -> dict[str, Any]:
    """Build an answer of so many rows of one number."""
    return {
        "tables": [{"name": "PrimaryResult", "columns": COLUMNS, "rows": [[n] for n in range(rows)]}],
        **more,
    }


class Script:
    """A ``send`` that gives prepared answers in order and keeps what it was asked.

    An answer may be an error, or a function of the request that makes one.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request, /) -> Response:
        """Give the next answer, or raise it."""
        self.requests.append(request)
        answer = self._answers.pop(0)
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Response):
            return answer
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Response(200, {"x-ms-request-id": "r-7"}, body)

    @property
    def queries(self) -> list[str]:
        """The texts that were asked."""
        return [json.loads(request.body or b"")["query"] for request in self.requests]


class Table:
    """A ``send`` over a table with a row every minute of the last ``rows`` minutes; an answer holds ``most``.

    It understands the app's own questions about a table, and none else. ``seconds`` pass with each answer.
    ``timeless`` rows have no TimeGenerated.
    """

    def __init__(
        self, clock: FakeClock, rows: int, most: int = 10, *, seconds: int = 0, timeless: int = 0
    ) -> None:
        self._clock = clock
        self.times = [format_instant(NOW - (number + 1) * MINUTE) for number in reversed(range(rows))]
        self._most = most
        self._seconds = seconds
        self._timeless = timeless
        self.queries: list[str] = []
        self.timespans: set[str] = set()

    def __call__(self, request: Request, /) -> Response:
        """Answer a question of rows, their number, or their size."""
        body = json.loads(request.body or b"")
        query: str = body["query"]
        self.queries.append(query)
        self.timespans.add(body["timespan"])
        self._clock.sleep(self._seconds)
        bounds = {edge: parse_instant(text) for edge, text in _BOUND.findall(query)}
        times = [
            time
            for time in self.times
            if not bounds or bounds["start"] <= parse_instant(time) < bounds["end"]
        ]
        if "isnull(TimeGenerated)" in query:
            return self._answer(["TimeGenerated"], [[None]] * min(self._timeless, 1))
        if "summarize rows = count()" in query:
            return self._answer(["rows", "answer_bytes"], [[len(times), len(times) * 50]])
        if query.endswith("| count"):
            return self._answer(["Count"], [[len(times)]])
        if limit := re.search(r"\| take ([0-9]+)$", query):
            times = times[: int(limit[1])]
        rows = [[time, number] for number, time in enumerate(self.times) if time in times]
        if len(rows) > self._most:
            return self._answer(["TimeGenerated", "n"], rows[: self._most], error=TOO_LARGE)
        return self._answer(["TimeGenerated", "n"], rows)

    @staticmethod
    def _answer(columns: Sequence[str], rows: Sequence[object], **more: Any) -> Response:
        described = [
            {"name": name, "type": "long" if name != "TimeGenerated" else "datetime"} for name in columns
        ]
        body = {"tables": [{"name": "PrimaryResult", "columns": described, "rows": rows}], **more}
        return Response(200, {}, json.dumps(body).encode())


class QueryWorld:
    """The parts, on one container and one clock; settings by their names."""

    def __init__(
        self,
        send: Send,
        *,
        clock: FakeClock | None = None,
        container: LinkingContainer | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.container = container or MemoryContainer()
        self.settings = QuerySettings(workspaces={"default": WORKSPACE}, **settings)
        self.reader = QueryReader(tools(send, clock=self.clock))
        self.jobs, self.audit = Jobs(self.container, self.clock), Audit(self.container, self.clock)
        self.results = Results(self.container, Caps(self.settings.rows, self.settings.bytes))
        self.query = Query(self.settings, self.reader, self.jobs, self.results, self.audit, self.clock)
        self.runner = QueryRunner(
            self.reader, self.jobs, self.results, self.audit, self.clock, self.settings.seconds
        )
        self.statuses = QueryStatuses(
            self.jobs, self.results, self.audit, self.clock, self.settings.result_days
        )

    def question(self, **fields: Any) -> Question:
        """Return a question as a request puts it."""
        body = json.dumps({"query": "Event", **fields}).encode()
        headers = {"content-type": "application/json"}
        return read_question(body, headers, self.settings, self.clock.now())

    def ask(self, caller: Caller = ANN, **fields: Any) -> Answered | Later:
        """Ask a question."""
        return self.query.ask(self.question(**fields), caller)

    def queue(self, caller: Caller = ANN, **fields: Any) -> str:
        """Put a question into the queue; return its id."""
        later = self.ask(caller, wait=0, **fields)
        assert isinstance(later, Later)
        return later.job.id

    def job(self, query_id: str) -> Job:
        """Return a query's document."""
        return self.jobs.get(query_id)

    def names(self, kind: Literal["results", "jobs", "audit"]) -> list[str]:
        """Return the names of what is stored of a kind."""
        return list(self.container.names(f"{kind}/"))

    def records(self) -> list[dict[str, Any]]:
        """Return the audit records."""
        return [json.loads(self.data(name)) for name in self.names("audit")]

    def data(self, name: str) -> bytes:
        """Return a stored blob."""
        document = self.container.read(name)
        assert document is not None
        return document.data

    def rows(self, query_id: str) -> list[Any]:
        """Return the rows of a stored result; each an array, or what its form has of it."""
        stored = self.job(query_id).result
        assert stored is not None
        form = FORMATS[stored.format].stored
        found = [json.loads(bytes(record)) for record in form.records(self.data(stored.name))]
        assert len(found) == stored.rows == form.count(self.data(stored.name))
        return found
