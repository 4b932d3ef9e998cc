"""How the Tables API describes tables, search jobs, and the operations on them. Pure.

See `local.cloud.table_limits.JobShape` for the three shapes of a search job.
"""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from local.cloud.search_jobs import Job
from local.cloud.table_limits import TableLimits
from local.cloud.tables import Plan
from local.cloud.ticks import SECOND, format_instant
from local.cloud.workspaces import Workspace

_RETENTION_DAYS = 30
_STANDARD = "TenantId"


def table_document(workspace: Workspace, name: str, plan: Plan) -> dict[str, Any]:
    """A table that is no search job's."""
    kind = "CustomLog" if name.endswith("_CL") else "Microsoft"
    columns = workspace.store.columns[name]
    return _document(workspace, name, plan, {"tableType": kind, **_columns(columns)}, "Succeeded", {})


def job_document(workspace: Workspace, job: Job, limits: TableLimits) -> dict[str, Any]:
    """A search job's result table."""
    sample = limits.job_shape == "sample"
    search: dict[str, Any] = {
        "query": job.search.query,
        "description": job.search.description,
        "startSearchTime": _date(job.search.start, sample=sample),
        "endSearchTime": _date(job.search.end, sample=sample),
        "sourceTable": job.source,
    }
    if job.search.limit is not None:
        search["limit"] = job.search.limit
    if not sample:
        search["azureAsyncOperationId"] = job.operation
    schema: dict[str, Any] = {"tableType": "SearchResults", **_columns(job.columns)}
    more: dict[str, Any] = {}
    if limits.job_shape == "specified":
        more = {"searchResults": search, "resultStatistics": _statistics(job)}
    else:
        schema["searchResults"] = search
    more["createDate"] = format_instant(job.started)
    return _document(workspace, job.table, "Analytics", schema, job.state, more)


def operation_document(path: str, operation: str, job: Job, limits: TableLimits) -> dict[str, Any]:
    """The status of a long-running operation on a job's table."""
    document: dict[str, Any] = {"id": path, "name": operation, "startTime": format_instant(job.started)}
    if operation == job.deletion:
        status, ended, properties = "Deleting", job.deleted, {}
    else:
        status, ended, properties = job.state, job.ended, {"resultStatistics": _statistics(job)}
    if ended is None:
        return {**document, "status": status}
    cancelled = job.cancelled and operation == job.operation
    status = limits.job_cancelled if cancelled else "Succeeded"
    return {**document, "status": status, "endTime": format_instant(ended), "properties": properties}


def _statistics(job: Job) -> dict[str, Any]:
    return {"progress": job.progress, "ingestedRecords": job.ingested, "scannedGb": job.scanned / 1e9}


def _columns(columns: dict[str, str]) -> dict[str, Any]:
    """The columns as the API lists them: its own, and apart from them the one that every table has."""
    own = [_column(name, kind) for name, kind in columns.items() if name != _STANDARD]
    return {"columns": own, "standardColumns": [_column(_STANDARD, "guid")]}


def _column(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "isDefaultDisplay": False, "isHidden": False}


def _document(
    workspace: Workspace, name: str, plan: Plan, schema: dict[str, Any], state: str, more: dict[str, Any]
) -> dict[str, Any]:
    named = {"tableSubType": "DataCollectionRuleBased", "name": name, "solutions": ["LogManagement"]}
    return {
        "properties": {
            "totalRetentionInDays": _RETENTION_DAYS,
            "archiveRetentionInDays": 0,
            "plan": plan,
            "retentionInDaysAsDefault": True,
            "totalRetentionInDaysAsDefault": True,
            "schema": named | schema,
            "provisioningState": state,
            "retentionInDays": _RETENTION_DAYS,
            **more,
        },
        "id": f"{workspace.resource_id}/tables/{name}",
        "name": name,
    }


def _date(ticks: int, *, sample: bool) -> str:
    if not sample:
        return format_instant(ticks)
    moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=ticks // SECOND)
    return format_datetime(moment, usegmt=True)
