"""Search jobs: asynchronous queries of one table, whose rows go to a new table of the workspace.

Sources: "Run search jobs in Azure Monitor" (limits, states, KQL, columns); and the recorded session
``test_monitor_log_analytics_workspace_table`` of Azure/azure-cli, for the names of the result's columns: the
standard ones of the source have ``_Original`` put before them.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import duckdb
from duckdb_kql import ir
from duckdb_kql.errors import KqlError

from local.cloud import kql
from local.cloud.kql_text import words
from local.cloud.store import literal, quoted
from local.cloud.table_limits import TableLimits
from local.cloud.tables import TIME
from local.cloud.ticks import DAY, SECOND
from local.cloud.workspaces import Workspace

_OPERATORS = (ir.Where, ir.Extend, ir.Project, ir.ProjectAway, ir.ProjectRename, ir.Parse)
"""The documented ones, as far as the library has them: it knows neither ``project-keep`` nor
``project-reorder``. ``parse-where`` is a Parse."""

_BLOCKED = frozenset({"contains", "contains_cs"})
_TRACKED = {TIME: f"_Original{TIME}", "_ItemId": "_OriginalItemId", "Type": "_OriginalType"}
_RENAMED = _TRACKED | {"TenantId": "_OriginalTenantId", "_ResourceId": "_OriginalResourceId"}
_OWN = {
    TIME: "datetime",
    "TenantId": "string",
    "Type": "string",
    "_ItemId": "string",
    "_ResourceId": "string",
}
_NUMBER = "$number"


class SearchJobError(ValueError):
    """A query that a job does not take."""


class TooManyJobsError(Exception):
    """So many jobs run, or were started within a day, as may."""


class TooManyTablesError(Exception):
    """The workspace has so many result tables as it may."""


@dataclass(frozen=True)
class Search:
    """What a job is to find: KQL, bounds of TimeGenerated (ticks, both inclusive), and the most rows."""

    query: str
    start: int
    end: int
    limit: int | None
    description: str


@dataclass
class Job:
    """One job and its result table. What changes is its state; ticks are instants.

    `found` is how many rows the job has, `scanned` how many bytes its source had in the range. `progress` is
    how far it is, or came, in percent. `operation` is the id of the job's long-running operation, and
    `deletion` that of the table's deletion.
    """

    table: str
    search: Search
    source: str
    columns: dict[str, str]
    found: int
    scanned: int
    started: int
    operation: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "Updating"
    ended: int | None = None
    looks: int = 0
    ingested: int = 0
    progress: float = 0.0
    cancelled: bool = False
    deletion: str | None = None
    deleted: int | None = None


class SearchJobs:
    """The search jobs of one workspace. `clock` gives ticks."""

    def __init__(self, workspace: Workspace, clock: Callable[[], int]) -> None:
        self._workspace = workspace
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._operations: dict[str, Job] = {}
        self._starts: list[int] = []
        self._lock = threading.Lock()

    def all(self, limits: TableLimits) -> list[Job]:
        """The jobs whose tables there are, each in its state of this moment."""
        with self._lock:
            for each in list(self._jobs.values()):
                self._advance(each, limits)
            return list(self._jobs.values())

    def get(self, table: str, limits: TableLimits, *, looked: bool = True) -> Job | None:
        """The job of a result table. That it is `looked` at brings it forward."""
        with self._lock:
            job = next((each for name, each in self._jobs.items() if name.lower() == table.lower()), None)
            if job is not None:
                job.looks += looked
                self._advance(job, limits)
            return job if job is not None and job.table in self._jobs else None

    def of_operation(self, operation: str, limits: TableLimits) -> Job | None:
        """The job that a long-running operation is of, brought forward; also when its table is gone."""
        with self._lock:
            job = self._operations.get(operation)
            if job is not None:
                job.looks += 1
                self._advance(job, limits)
            return job

    def start(self, table: str, search: Search, limits: TableLimits) -> Job:
        """Start a job: its rows are those of this moment.

        Raises SearchJobError for KQL that a job does not take, TooManyJobsError and TooManyTablesError.
        """
        now = self._clock()
        with self._lock:
            for each in list(self._jobs.values()):
                self._advance(each, limits)
            self._refuse_too_many(now, limits)
            job = self._staged(table, search, now, limits)
            self._starts.append(now)
            self._jobs[table] = self._operations[job.operation] = job
            return job

    def cancel(self, job: Job) -> None:
        """Stop a job that runs: its table keeps the rows that it has so far, and it its progress."""
        with self._lock:
            if job.state == "Updating":
                self._begin(job)
            job.cancelled = True
            self._end(job)

    def delete(self, job: Job) -> str:
        """Take a result table away and return the id of that operation; its name is free a while later."""
        with self._lock:
            if job.state == "Updating":
                self._begin(job)
            if job.ended is None:
                self._end(job)
            self._workspace.store.drop(job.table)
            job.state, job.looks, job.deletion = "Deleting", 0, str(uuid.uuid4())
            self._operations[job.deletion] = job
            return job.deletion

    def _refuse_too_many(self, now: int, limits: TableLimits) -> None:
        self._starts = [each for each in self._starts if each > now - DAY]
        if sum(each.ended is None for each in self._jobs.values()) >= limits.job_running:
            raise TooManyJobsError(f"{limits.job_running} search jobs are running in the workspace")
        if len(self._jobs) >= limits.job_tables:
            raise TooManyTablesError(f"the workspace has {limits.job_tables} search results tables")
        if len(self._starts) >= limits.jobs_a_day:
            raise TooManyJobsError(f"{limits.jobs_a_day} search jobs were started within a day")

    def _staged(self, table: str, search: Search, now: int, limits: TableLimits) -> Job:
        """A job whose rows are set aside, in a table that no query sees."""
        store = self._workspace.store
        store.reveal(now)
        tree, source = _job_query(search.query, store.columns)
        most = min(limits.job_records, search.limit or limits.job_records)
        span = (search.start, search.end)
        try:
            sql = kql.translate_parsed(tree, search.query, store.schema, now, span)
            with store.answer(sql) as answer:
                found = dict(answer.columns)
            with store.answer(kql.translate(f"['{source}']", store.schema, now, span)) as rows:
                scanned = sum(map(len, rows.rows))
            names = _result_names(found)
            kept = ", ".join(_kept(name, found[name], as_) for name, as_ in names.items())
            rows_sql = f"SELECT row_number() OVER () AS {quoted(_NUMBER)}, {kept} FROM ({sql}) LIMIT {most}"  # noqa: S608
            store.change(f"CREATE TABLE {quoted(_stage(table))} AS {rows_sql}")
            with store.answer(f"SELECT count(*) AS found FROM {quoted(_stage(table))}") as count:  # noqa: S608
                total = int(next(count.rows).strip(b"[]"))
        except (KqlError, duckdb.Error) as problem:
            raise SearchJobError(f"the query cannot be run: {problem}") from problem
        columns = {as_: found[name] for name, as_ in names.items()}
        return Job(table, search, source, columns | _OWN, total, scanned, now)

    def _advance(self, job: Job, limits: TableLimits) -> None:
        """Bring a job to the state that its looks and the time have earned it."""
        if job.state == "Deleting":
            if job.deleted is None and job.looks > limits.delete_polls:
                job.deleted = self._clock()
                self._jobs.pop(job.table, None)
            return
        if job.state == "Updating" and job.looks > min(1, limits.job_polls):
            self._begin(job)
        due = self._clock() >= job.started + round(limits.job_seconds * SECOND)
        if job.state in ("Updating", "InProgress") and job.looks > limits.job_polls and due:
            if job.state == "Updating":
                self._begin(job)
            self._pour(job, job.found)
            job.progress = 100.0
            self._end(job)

    def _begin(self, job: Job) -> None:
        """Make the table, with half of the rows."""
        self._workspace.store.create(job.table, job.columns)
        self._pour(job, job.found // 2)
        job.state, job.progress = "InProgress", 50.0

    def _end(self, job: Job) -> None:
        self._workspace.store.change(f"DROP TABLE {quoted(_stage(job.table))}")
        job.state, job.ended = "Succeeded", self._clock()

    def _pour(self, job: Job, upto: int) -> None:
        """Put more of the rows that were set aside into the table, up to so many."""
        run = f"make_timestamp({job.started})"
        tenant, type_ = literal(self._workspace.id), literal(job.table)
        own = f"{run}, {tenant}, {type_}, CAST(uuid() AS VARCHAR), '', {run}"
        carried = ", ".join(quoted(name) for name in job.columns if name not in _OWN)
        self._workspace.store.change(
            f"INSERT INTO {quoted(kql.hidden_table(job.table))} SELECT {carried}, {own}"  # noqa: S608
            f" FROM {quoted(_stage(job.table))}"
            f" WHERE {quoted(_NUMBER)} > {job.ingested} AND {quoted(_NUMBER)} <= {upto}"
            f" ORDER BY {quoted(_NUMBER)}"
        )
        job.ingested = upto


def _job_query(query: str, tables: Mapping[str, Mapping[str, str]]) -> tuple[ir.Query, str]:
    """The tree of a job's query, with the columns that track the source's rows, and its table.

    Raises SearchJobError for KQL beyond the subset that jobs take.
    """
    if blocked := _BLOCKED & {word for word, _ in words(query)}:
        raise SearchJobError(
            f"the string operator '{min(blocked)}' is blocked from use in search jobs; use 'has'"
        )
    try:
        tree = kql.parsed(query)
    except KqlError as problem:
        raise SearchJobError(f"the query cannot be parsed: {problem}") from problem
    if not isinstance(tree.source, ir.TableRef) or tree.lets or query.lstrip().startswith("let"):
        raise SearchJobError("a search job's query must start with a table name")
    if tree.source.name not in tables:
        raise SearchJobError(f"Failed to resolve table '{tree.source.name}'")
    for each in tree.operators:
        if not isinstance(each, _OPERATORS):
            raise SearchJobError(
                f"the operator '{type(each).__name__.lower()}' isn't supported in search jobs"
            )
    tracked = tuple(ir.NamedExpr(ir.ColumnRef(name), as_) for name, as_ in _TRACKED.items())
    kept = tuple(ir.NamedExpr(ir.ColumnRef(as_)) for as_ in _TRACKED.values())
    operators = [
        replace(each, expressions=(*each.expressions, *kept)) if isinstance(each, ir.Project) else each
        for each in tree.operators
    ]
    return replace(tree, operators=[ir.Extend(tracked), *operators]), tree.source.name


def _result_names(found: Mapping[str, str]) -> dict[str, str]:
    """The query's columns, and what each is called in the result table, in the order there."""
    tracked = dict.fromkeys(_TRACKED.values())
    names = {}
    for name in found:
        if name in _TRACKED:
            names[_TRACKED[name]] = _TRACKED[name]  # the source's own value, whatever the query made of it
        elif name not in tracked:
            names[name] = _RENAMED.get(name, name)
    return names | {name: name for name in tracked}


def _kept(name: str, kind: str, as_: str) -> str:
    """SQL for a column of the rows that are set aside."""
    value = f"to_json({quoted(name)})" if kind == "dynamic" else quoted(name)
    return f"{value} AS {quoted(as_)}"


def _stage(table: str) -> str:
    return f"{table} stage"
