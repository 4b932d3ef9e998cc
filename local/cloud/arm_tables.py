"""Resource Manager's Tables API: ``…/workspaces/{name}/tables``, where search jobs are started and deleted.

Sources: "Tables - Create Or Update" and its neighbours (REST reference), "Run search jobs in Azure Monitor",
and the recorded sessions of Azure/azure-cli (``test_monitor_log_analytics_workspace_table``: answers, headers
and long-running operations) and Azure/azure-powershell (``TestSearchTableCrud``: the 404).

Inferred, because no source says: 409 for a table that exists already or is still being made, 429 for too many
jobs and 400 for too many tables, 404 for an operation that there is not, and the codes and words of these and
of refused queries.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from local.cloud import arm
from local.cloud.arm_table_text import job_document, operation_document, table_document
from local.cloud.faults import Fault
from local.cloud.identity import Identity
from local.cloud.options import Limits
from local.cloud.search_jobs import (
    Search,
    SearchJobError,
    SearchJobs,
    TooManyJobsError,
    TooManyTablesError,
)
from local.cloud.server import Answer, Request, json_answer
from local.cloud.ticks import from_unix, parse_instant
from local.cloud.tokens import Tokens
from local.cloud.workspaces import Workspace, Workspaces

_TABLES = re.compile(
    r"(?P<workspace>/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.operationalinsights"
    r"/workspaces/[^/]+)(?P<tables>/tables(?:/(?P<table>[^/]+)(?:/(?P<rest>.+))?)?)?/?",
    re.IGNORECASE,
)
_OPERATION = re.compile(
    r"/subscriptions/[^/]+/providers/microsoft\.operationalinsights/locations/[^/]+"
    r"/operationstatuses/(?P<operation>[^/]+)",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z0-9-_]{4,63}")
"""What a table may be called ("Tables - Create Or Update")."""

_VERSIONS = (
    *("2021-12-01-preview", "2022-10-01", "2023-01-01-preview", "2023-09-01", "2025-02-01", "2025-04-01"),
    "2025-07-01",
)
_LOCATION = "westeurope"


class _SearchResults(msgspec.Struct, rename="camel"):
    query: str
    start_search_time: str
    end_search_time: str
    limit: int | None = None
    description: str | None = None


class _Properties(msgspec.Struct, rename="camel"):
    search_results: _SearchResults | None = None


class _Body(msgspec.Struct):
    properties: _Properties = msgspec.field(default_factory=_Properties)


class ArmTables:
    """The tables of all workspaces. `clock` gives Unix seconds."""

    def __init__(
        self,
        identity: Identity,
        tokens: Tokens,
        workspaces: Workspaces,
        headers: arm.Headers,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._tokens = tokens
        self._workspaces = workspaces
        self._headers = headers
        self._clock = clock
        self._jobs = {each.id: SearchJobs(each, lambda: from_unix(clock())) for each in workspaces.all}

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of these routes, whatever the workspace."""
        return bool(_TABLES.fullmatch(unquote(path)) or _OPERATION.fullmatch(unquote(path)))

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        try:
            arm.raise_fault(fault, self._clock(), self._identity.client_id, request)
            arm.check_token(self._tokens, request)
            arm.check_version(request, _VERSIONS)
            answer = self._routed(request, limits)
        except arm.ArmError as error:
            answer = error.answer()
        return self._headers.added_to(answer, request)

    def search_tables(self, limits: Limits) -> list[dict[str, Any]]:
        """The search jobs whose tables there are: workspace id, name, query, state, and numbers of rows."""
        return [
            {
                "workspace": workspace,
                "name": job.table,
                "query": job.search.query,
                "state": job.state,
                "found": job.found,
                "ingested": job.ingested,
            }
            for workspace, jobs in self._jobs.items()
            for job in jobs.all(limits)
        ]

    def _routed(self, request: Request, limits: Limits) -> Answer:  # noqa: PLR0911 (one for each route)
        path = unquote(request.path)
        if found := _OPERATION.fullmatch(path):
            return self._operation(found["operation"], request, limits)
        found = _TABLES.fullmatch(path)
        if found is None:
            raise arm.ArmError(404, "NotFound", f"nothing is served at {path}")
        workspace, table = arm.workspace_at(self._workspaces, found["workspace"]), found["table"]
        if table is None:
            show = self._list if found["tables"] else self._workspace
            if request.method == "GET":
                return show(workspace, limits)
        else:
            match request.method, (found["rest"] or "").lower().split("/"):
                case "GET", [""]:
                    return self._get(workspace, table, limits)
                case "PUT", [""]:
                    return self._put(workspace, table, request, limits)
                case "DELETE", [""]:
                    return self._delete(workspace, table, request, limits)
                case "POST", ["cancelsearch"]:
                    return self._cancel(workspace, table, limits)
                case "GET", ["operationresults", operation]:
                    return self._result(workspace, table, operation, limits)
        message = f"The requested resource does not support http method '{request.method}'."
        raise arm.ArmError(405, "MethodNotAllowed", message)

    @staticmethod
    def _workspace(workspace: Workspace, _limits: Limits) -> Answer:
        """What "Workspaces - Get" says of a workspace."""
        document = {
            "id": workspace.resource_id,
            "name": workspace.resource_id.rpartition("/")[2],
            "type": "Microsoft.OperationalInsights/workspaces",
            "location": _LOCATION,
            "properties": {"customerId": workspace.id, "provisioningState": "Succeeded"},
        }
        return json_answer(200, document)

    def _list(self, workspace: Workspace, limits: Limits) -> Answer:
        jobs = self._jobs[workspace.id].all(limits)
        names = {job.table for job in jobs}
        plans = self._workspaces.plans(limits.plans)
        tables = [
            table_document(workspace, name, plans.get(name, "Analytics"))
            for name in workspace.store.columns
            if name not in names
        ]
        return json_answer(200, {"value": tables + [job_document(workspace, job, limits) for job in jobs]})

    def _get(self, workspace: Workspace, table: str, limits: Limits) -> Answer:
        if job := self._jobs[workspace.id].get(table, limits):
            return json_answer(200, job_document(workspace, job, limits))
        for name in workspace.store.columns:
            if name.lower() == table.lower():
                plan = self._workspaces.plans(limits.plans).get(name, "Analytics")
                return json_answer(200, table_document(workspace, name, plan))
        raise _no_table(table)

    def _put(self, workspace: Workspace, table: str, request: Request, limits: Limits) -> Answer:
        search = _search(table, request.body, limits)
        jobs = self._jobs[workspace.id]
        if known := jobs.get(table, limits, looked=False):
            message = f"The table '{known.table}' already exists, in state {known.state}."
            raise arm.ArmError(409, "Conflict", message)
        try:
            job = jobs.start(table, search, limits)
        except SearchJobError as error:
            raise arm.ArmError(400, "InvalidParameter", f"The search query is invalid: {error}") from error
        except TooManyJobsError as error:
            raise arm.ArmError(429, "TooManyRequests", str(error)) from error
        except TooManyTablesError as error:
            raise arm.ArmError(400, "LimitExceeded", str(error)) from error
        return self._accepted(workspace, job.table, job.operation, request)

    def _delete(self, workspace: Workspace, table: str, request: Request, limits: Limits) -> Answer:
        jobs = self._jobs[workspace.id]
        job = jobs.get(table, limits, looked=False)
        if job is None and table.lower() in map(str.lower, workspace.store.columns):
            message = f"The table '{table}' is not a search results table and cannot be deleted."
            raise arm.ArmError(400, "InvalidParameter", message)
        if job is None:
            return Answer(204)
        if job.state == "Updating":
            message = f"The table '{table}' is being updated; try again when that is done."
            raise arm.ArmError(409, "Conflict", message)
        operation = job.deletion if job.deletion is not None else jobs.delete(job)
        return self._accepted(workspace, job.table, operation, request)

    def _cancel(self, workspace: Workspace, table: str, limits: Limits) -> Answer:
        jobs = self._jobs[workspace.id]
        job = jobs.get(table, limits, looked=False)
        if job is None:
            raise _no_table(table)
        if job.ended is not None:
            raise arm.ArmError(400, "InvalidParameter", f"The search job of '{job.table}' is not running.")
        jobs.cancel(job)
        return Answer(200)

    def _accepted(self, workspace: Workspace, table: str, operation: str, request: Request) -> Answer:
        """202 with the addresses of a long-running operation; a Retry-After was not recorded."""
        version = f"?api-version={request.query['api-version']}"
        subscription = "/".join(workspace.resource_id.split("/")[:3])
        provider = f"{request.base}{subscription}/providers/Microsoft.OperationalInsights"
        status = f"{provider}/locations/{_LOCATION}/operationstatuses/{operation}{version}"
        result = f"{request.base}{workspace.resource_id}/tables/{table}/operationresults/{operation}{version}"
        return Answer(202, b"", {"Azure-AsyncOperation": status, "Location": result})

    def _operation(self, operation: str, request: Request, limits: Limits) -> Answer:
        for jobs in self._jobs.values():
            if job := jobs.of_operation(operation, limits):
                return json_answer(200, operation_document(request.path, operation, job, limits))
        raise arm.ArmError(404, "NotFound", f"There is no operation '{operation}'.")

    def _result(self, workspace: Workspace, table: str, operation: str, limits: Limits) -> Answer:
        job = self._jobs[workspace.id].of_operation(operation, limits)
        if job is None or job.table.lower() != table.lower():
            raise arm.ArmError(404, "NotFound", f"There is no operation '{operation}'.")
        if operation == job.deletion:
            return Answer(202 if job.deleted is None else 204)
        return Answer(202) if job.ended is None else json_answer(200, job_document(workspace, job, limits))


def _search(table: str, body: bytes, limits: Limits) -> Search:
    """What a request to create a table asks to be found. Raises ArmError."""
    try:
        wanted = msgspec.json.decode(body, type=_Body).properties.search_results
        if wanted is None:
            raise ValueError("properties.searchResults is missing; only search results tables are made here")
        if _NAME.fullmatch(table) is None or not table.endswith("_SRCH"):
            raise ValueError(f"'{table}' must be 4 to 63 letters, digits, '-' and '_', and end with _SRCH")
        start, end = parse_instant(wanted.start_search_time), parse_instant(wanted.end_search_time)
        if start > end:
            raise ValueError("startSearchTime must not be after endSearchTime")
        if wanted.limit is not None and not 0 < wanted.limit <= limits.job_records:
            raise ValueError(f"limit must be from 1 to {limits.job_records}")
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise arm.ArmError(400, "InvalidParameter", f"The request is invalid: {error}") from error
    usual = f"This table was created using a Search Job with the following query: '{wanted.query}'."
    return Search(wanted.query, start, end, wanted.limit, wanted.description or usual)


def _no_table(table: str) -> arm.ArmError:
    return arm.ArmError(404, "NotFound", f"The specified table: '{table}' does not exist.")
