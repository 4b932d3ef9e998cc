"""The tables of search jobs, through Resource Manager: looked at, created, deleted.

Sources: "Tables - Create Or Update" and its neighbours, "Run search jobs in Azure Monitor", and a recorded
job (Azure/azure-cli), whose number of records stands at its long-running operation and not at its table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from shared import arm_ids, rawjson
from shared.errors import DeniedError, NoRoomError, ProtocolError, ServiceError
from shared.model import Request, Response, Send
from shared.service_errors import describe, served_at
from shared.windows import SECOND

_VERSION = "api-version=2022-10-01"
_SUFFIX = "_SRCH"
_AGAIN_SECONDS = 300.0
_STATUS_ACTION = "Microsoft.OperationalInsights/locations/operationstatuses/read"
_NEEDS = (
    "the app needs Microsoft.OperationalInsights/workspaces/read, tables/read, tables/write, tables/delete "
    "and searchJobs/write on the workspace, which the role Log Analytics Contributor holds, and may query "
    f"it; and {_STATUS_ACTION} on its subscription"
)
_NEEDS_STATUS = (
    f"the app needs {_STATUS_ACTION} on the subscription {{}}, where Azure says how search jobs ended, and "
    "which no role on the workspace reaches; no job is started without it"
)
_NO_OPERATION = "00000000-0000-0000-0000-000000000000"


class _Statistics(msgspec.Struct, rename="camel"):
    ingested_records: int | None = None
    progress: float | None = None


class _SearchResults(msgspec.Struct, rename="camel"):
    azure_async_operation_id: str | None = None


class _Schema(msgspec.Struct, rename="camel"):
    search_results: _SearchResults | None = None


class _Properties(msgspec.Struct, rename="camel"):
    provisioning_state: str = ""
    result_statistics: _Statistics | None = None
    search_results: _SearchResults | None = None
    schema: _Schema | None = None


class _Table(msgspec.Struct):
    name: str
    properties: _Properties = msgspec.field(default_factory=_Properties)


class _Tables(msgspec.Struct, rename="camel"):
    value: list[_Table]
    next_link: str | None = None


class _OperationProperties(msgspec.Struct, rename="camel"):
    result_statistics: _Statistics | None = None


class _Operation(msgspec.Struct):
    status: str = ""
    error: dict[str, Any] | None = None
    properties: _OperationProperties | None = None


class _Workspace(msgspec.Struct):
    location: str


@dataclass(frozen=True, slots=True)
class JobTable:
    """A job's table: its ``state`` ("Updating", "InProgress", "Succeeded", "Deleting"), and what it holds.

    ``ingested`` (records) and ``progress`` (percent) are None where the service does not say so here.
    ``operation`` is the id of its long-running operation.
    """

    name: str
    state: str
    ingested: int | None
    progress: float | None
    operation: str | None

    @property
    def runs(self) -> bool:
        """Whether its job goes on."""
        return self.state not in {"Succeeded", "Deleting"}


@dataclass(frozen=True, slots=True)
class Operation:
    """A job's long-running operation: ``status``, and why it failed.

    ``ingested`` (records) and ``progress`` (percent) are None where the service does not say so here.
    """

    status: str
    ingested: int | None
    progress: float | None
    error: str

    @property
    def has_failed(self) -> bool:
        """Whether the job ended without its rows: a table has no state for that."""
        return self.status.lower() in {"failed", "canceled", "cancelled"}

    @property
    def has_succeeded(self) -> bool:
        """Whether it says so itself: of one that gives no status there is no telling."""
        return self.status.lower() == "succeeded"

    @property
    def is_cut_off(self) -> bool:
        """Whether the job ended at its limit: "aborts the job with a status of partial success"."""
        return "partial" in self.status.lower()

    @property
    def goes_on(self) -> bool:
        """Whether the job is not over by its operation, which has the last word ("final-state-via").

        Any status goes on but those that end an operation; one that is not given says nothing.
        """
        over = self.has_failed or self.is_cut_off or self.status.lower() in {"", "succeeded"}
        return not over


class JobTables:
    """The tables of search jobs in one workspace; ``workspace`` is its ARM id."""

    def __init__(self, send: Send, workspace: str) -> None:
        self._send = send
        self._workspace = arm_ids.path(workspace)
        self._subscription = "/".join(self._workspace.split("/")[:3])
        self._needs_status = _NEEDS_STATUS.format(self._subscription)
        self._location: str | None = None
        self._may_ask = False  # how an operation ended
        self.served_at: int | None = None
        """The service's own time (ticks) at its last answer."""

    def all(self, deadline: float) -> dict[str, JobTable]:
        """Return the workspace's tables of search jobs, whoever started them, by name in lower case."""
        found: dict[str, JobTable] = {}
        target: str | None = f"{self._workspace}/tables?{_VERSION}"
        while target is not None:
            answer = _read(self._ask(Request("GET", target, deadline=deadline)), _Tables)
            found |= {each.name.lower(): _job_table(each) for each in _search_tables(answer.value)}
            target = answer.next_link
        return found

    def get(self, name: str, deadline: float) -> JobTable | None:
        """Return a job's table; None where there is none (yet, or any more)."""
        try:
            response = self._ask(Request("GET", self._target(name), deadline=deadline))
        except ServiceError as error:
            if error.status == 404:
                return None
            raise
        return _job_table(_read(response, _Table))

    def create(self, name: str, body: bytes, deadline: float) -> str | None:
        """Start a job; return its operation's address, None where the table is there already.

        It is not repeated when it may have been done: each run is counted and billed. Raises NoRoomError
        where the service has no room for another job.
        """
        request = Request(
            "PUT",
            self._target(name),
            body,
            {"Content-Type": "application/json"},
            deadline=deadline,
            final=frozenset({429}),  # it may last for hours, and other exports can go on meanwhile
            once=True,
        )
        try:
            response = self._ask(request)
        except ServiceError as error:
            if error.status == 409:  # another attempt was quicker
                return None
            if error.status == 429 or (error.status == 400 and "limit" in error.code.lower()):
                wait = max(_AGAIN_SECONDS, error.retry_after or 0.0)
                raise NoRoomError(round(wait * SECOND), f"no room for a search job: {error}") from error
            raise
        address = urlsplit(response.headers.get("azure-asyncoperation", ""))
        # Without its host: where requests go is decided here, and not by an answer.
        return f"{address.path}?{address.query}" if address.path else None

    def delete(self, name: str, deadline: float) -> None:
        """Delete a job's table, with its rows; one that is gone is no error."""
        try:
            self._ask(Request("DELETE", self._target(name), deadline=deadline))
        except ServiceError as error:
            if error.status != 404:
                raise

    def operation(self, table: JobTable, address: str | None, deadline: float) -> Operation | None:
        """Return a job's operation, whose address is what ``create`` returned.

        Where nobody saw that answer the address follows from the operation's id. A table that says how much
        it holds does not say whether its job failed. None where there is no telling.
        """
        if address is None and table.operation is not None:
            address = self._status_of(table.operation, deadline)
        if address is None:
            return None
        try:
            response = self._ask(Request("GET", address, deadline=deadline), self._needs_status)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise
        if not response.body:
            return None
        answer = _read(response, _Operation)
        statistics = answer.properties.result_statistics if answer.properties else None
        code, message, _ = describe(answer.error or {})
        return Operation(
            answer.status,
            statistics.ingested_records if statistics else None,
            statistics.progress if statistics else None,
            f"{code}: {message}" if answer.error else "no reason is given",
        )

    def check_access(self, deadline: float) -> None:
        """Raise DeniedError where the app may not ask how jobs end: what they find would be paid for in vain.

        It asks, once, for an operation that there is not. Access is checked first, so that it is there where
        the service finds fault with the request itself. Raises ServiceError where it did not get so far, as
        when it is overloaded: that says nothing.
        """
        if self._may_ask:
            return
        request = Request("GET", self._status_of(_NO_OPERATION, deadline), deadline=deadline)
        try:
            self._ask(request, self._needs_status)
        except ServiceError as error:
            if isinstance(error, DeniedError) or error.retryable or error.status >= 500:
                raise
        self._may_ask = True

    def _status_of(self, operation: str, deadline: float) -> str:
        place = f"{self._subscription}/providers/Microsoft.OperationalInsights/locations/{self._at(deadline)}"
        return f"{place}/operationstatuses/{quote(operation, safe='')}?{_VERSION}"

    def _at(self, deadline: float) -> str:
        """Return the workspace's region, where its operations are."""
        if self._location is None:
            response = self._ask(Request("GET", f"{self._workspace}?{_VERSION}", deadline=deadline))
            self._location = _read(response, _Workspace).location
        return quote(self._location, safe="")

    def _target(self, name: str) -> str:
        return f"{self._workspace}/tables/{name}?{_VERSION}"

    def _ask(self, request: Request, needs: str = _NEEDS) -> Response:
        try:
            response = self._send(request)
        except ServiceError as error:
            if error.status in {401, 403}:  # 401 also after a new token
                raise DeniedError.of(error, needs) from error
            raise
        self.served_at = served_at(response.headers) or self.served_at
        return response


def _search_tables(tables: Iterable[_Table]) -> Iterable[_Table]:
    return (each for each in tables if each.name.upper().endswith(_SUFFIX))


def _job_table(table: _Table) -> JobTable:
    properties = table.properties
    nested = properties.schema.search_results if properties.schema else None
    described = properties.search_results or nested
    statistics = properties.result_statistics
    return JobTable(
        table.name,
        properties.provisioning_state,
        statistics.ingested_records if statistics else None,
        statistics.progress if statistics else None,
        described.azure_async_operation_id if described else None,
    )


def _read(response: Response, type_: type[Any]) -> Any:
    try:
        return rawjson.decode(response.body, type_)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"Resource Manager's answer on search jobs cannot be read: {error}") from error
