"""Rows in long-term retention, and of any table plan, through search jobs of Log Analytics.

A job is started, looked at until it is over, and its rows are read from the table that it made; its name says
what it is for, so that another attempt finds it instead of starting it twice. Time is TimeGenerated.

Source: "Run search jobs in Azure Monitor".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from shared import arm_ids, kql
from shared.errors import ExportError, IncompleteAnswerError, NotReadyError, ServiceError
from shared.job_runner import VISIBLE, Found, JobRunner
from shared.la_options import check_pipeline, check_table
from shared.log_reader import LogReader
from shared.model import Batch, Measured, Reading, Source, SourceType, Tools, Window
from shared.query_api import to_resource
from shared.search_job import OPERATORS, ORIGINAL_TIME, Search, check_words, restoring
from shared.window_kql import Selection
from shared.windows import MINUTE

MOST_RECORDS = 100_000_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: a ``table`` of a workspace and an optional ``pipeline``.

    ``resource`` is the workspace's ARM id. ``limit`` is how many rows one job may find: a window that has
    more is halved, which takes further jobs, as often as it comes to a few parts.

    Two exports with the same of all of these share the jobs of windows that both have, because a job is known
    by what it finds. Whichever stores a window first takes its job's table back, so that the other one may
    have to pay for another job: let one export feed both uses, or give them different windows or pipelines.
    """

    resource: str
    table: str
    pipeline: str | None = None
    limit: int = 1_000_000


class SearchJobs:
    """Reads the windows of one export."""

    def __init__(self, options: Options, tools: Tools) -> None:
        search = Search(options.resource, options.table, options.pipeline, options.limit)
        self._pipeline = options.pipeline
        self._route = to_resource(options.resource)
        self._jobs = JobRunner(search, tools, self._count)
        self._tools = tools

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows, once its job, or those of its parts, are over.

        Raises NotReadyError while a job goes on, and NoRoomError where there is no room for it.
        """
        parts = self._jobs.found(reading)
        total = sum(found.rows for found in parts)
        for found in parts:
            for batch in self._rows(found, reading.deadline):
                yield replace(batch, total=total)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:  # noqa: ARG002  see there
        """Not possible: a job that counts costs as much as one that finds."""
        raise ExportError("search jobs do not count")

    def release(self, reading: Reading) -> None:
        """Delete the tables of the window's jobs."""
        self._jobs.release(reading)

    def _rows(self, found: Found, deadline: float) -> Iterator[Batch]:
        """Yield the rows that a job found, as they are in the source. All of them, or an error."""
        if not found.rows:
            return
        try:
            columns = self._reader(found.table, None).columns(found.window, deadline)
            reader = self._reader(found.table, restoring(columns, self._pipeline))
            size = reader.size(found.window, deadline)
            if size is not None and size[0] < found.rows:
                raise self._missing(found, size[0])
            ticks = found.window.end - found.window.start
            measured = None if size is None else Measured(size[0] / ticks, size[1] / ticks)
            rows = 0
            for batch in reader.read(found.window, deadline, measured):
                rows += len(batch.rows)
                yield batch
        except ServiceError as error:
            if _is_unknown(found.table, error):
                raise NotReadyError(MINUTE, f"the table {found.table} cannot be asked yet") from error
            raise
        if rows != found.rows:
            raise self._incomplete(found, rows)

    def _count(self, table: str, window: Window, deadline: float) -> int:
        """Count a window's rows in a job's table."""
        try:
            (rows,) = self._reader(table, None).count([window], deadline)
        except ServiceError as error:
            if _is_unknown(table, error):
                raise NotReadyError(MINUTE, f"the table {table} cannot be asked yet") from error
            raise
        return rows

    def _reader(self, table: str, pipeline: str | None) -> LogReader:
        # TimeGenerated is the time of the job there, so no timespan is sent.
        selection = Selection(table, pipeline, window_column=ORIGINAL_TIME, bounded="none")
        return LogReader(self._route, selection, self._tools)

    def _missing(self, found: Found, rows: int) -> ExportError:
        """Return what to do about rows that cannot be seen: wait, because they were ingested just now."""
        if self._tools.clock.now() - found.since > VISIBLE:
            return self._incomplete(found, rows)
        return NotReadyError(MINUTE, f"{rows} of the {found.rows} rows of {found.table} can be seen yet")

    def _incomplete(self, found: Found, rows: int) -> IncompleteAnswerError:
        return IncompleteAnswerError(
            "Log Analytics",
            status=200,
            code="RecordCount",
            message=f"the search job found {found.rows} records, its table {found.table} holds {rows}",
            request_id=None,
            retryable=True,
        )


def _is_unknown(table: str, error: ServiceError) -> bool:
    """Whether the query service does not know a table: not yet, or not any more because it was released."""
    return error.status == 400 and table in error.message


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if not arm_ids.is_workspace(options.resource):
        yield (
            "resource",
            repr(options.resource),
            "a workspace's id: /subscriptions/…/providers/Microsoft.OperationalInsights/workspaces/…",
        )
    yield from check_table(options.table)
    if not 1 <= options.limit <= MOST_RECORDS:
        yield "limit", str(options.limit), f"1 to {MOST_RECORDS}"
    mistakes = list(check_pipeline(options.pipeline, OPERATORS))
    yield from mistakes
    if options.pipeline is None or mistakes:
        return
    for word in check_words(options.pipeline):
        yield "pipeline", word, "what search jobs take: has instead of contains, and no names of ours"
    if kql.reads_tables(options.pipeline):
        yield "pipeline", "a query of another table", "steps of the table itself"


def _identity(options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return {"resource": options.resource.lower(), "table": options.table}


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return SearchJobs(options, tools)


TYPE = SourceType(
    kind="log_analytics",
    forgets=False,
    union=False,
    retention="4383d",  # twelve years, the longest that a table can keep rows
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
    recheck=(),
    countable=False,
)
