"""What an export of Log Analytics is told: its options, their mistakes, and what they come to. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from shared import arm_ids, kql
from shared.query_api import Route, through_arm, to_resource, to_scanned_tables, to_workspace
from shared.window_kql import INGESTION, Selection

ROW_WISE = {
    *("where", "filter", "extend", "parse", "parse-where", "parse-kv", "mv-expand"),
    *("project", "project-away", "project-keep", "project-rename", "project-reorder"),
}
"""Operators whose output of a row depends on that row alone, so that a query of them can be cut anywhere."""
UNSTABLE = {
    *("ago", "now", "rand", "new_guid", "row_number", "row_cumsum", "row_rank_dense", "row_rank_min"),
    *("row_window_session", "prev", "next", "toscalar"),
}
"""Functions that give another answer at another time, or look beyond their own row."""
# What reads another table, which queries of Basic and Auxiliary tables may not ("KQL language limitations").
_ELSEWHERE = {"workspace", "app", "resource", "adx", "arg", "cluster", "database", "table", "externaldata"}
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: a ``table`` with an optional ``pipeline``, or free ``kql``.

    It is read from a ``workspace``, from several ``workspaces``, each by itself and each row with a last
    column ``_WorkspaceId``, or as the rows of an Azure ``resource``, which ``route = "arm"`` asks through
    Resource Manager. ``window_column`` says which time puts a row into a window. With ``ingestion_time`` a
    late row falls into a later window instead of being missed. A ``plan`` other than ``analytics`` is billed
    by what a query scans: such a table is never counted to size a window, but each recheck scans it again.
    """

    workspace: str | None = None
    workspaces: tuple[str, ...] | None = None
    resource: str | None = None
    route: Literal["direct", "arm"] = "direct"
    plan: Literal["analytics", "basic", "auxiliary"] = "analytics"
    table: str | None = None
    pipeline: str | None = None
    kql: str | None = None
    splittable: bool = False
    window_column: Literal["ingestion_time", "TimeGenerated"] = "ingestion_time"

    @property
    def scanned(self) -> bool:
        """Whether each query is billed by what it scans."""
        return self.plan != "analytics"


def places(options: Options) -> list[tuple[Route, Selection]]:
    """Return where the rows are asked for, and which they are there; one place for each workspace."""
    if options.resource is not None:
        through = through_arm if options.route == "arm" else to_resource
        return [(through(options.resource), selection(options))]
    to = to_scanned_tables if options.scanned else to_workspace
    if options.workspaces is None:
        return [(to(options.workspace or ""), selection(options))]
    return [(to(each), selection(options, each)) for each in _distinct(options.workspaces)]


def selection(options: Options, named: str = "") -> Selection:
    """Return which rows an export selects; ``named`` is the workspace that each of them is to name."""
    return Selection(
        table=options.table,
        pipeline=options.pipeline,
        kql=options.kql,
        window_column=options.window_column,
        tail=f"extend _WorkspaceId = {kql.string(named)}" if named else "",
        bounded="window" if options.scanned else "reach",
    )


def identity(options: Options) -> Mapping[str, str]:
    """Return whose data an export reads."""
    if options.resource is not None:
        whose = {"resource": options.resource.lower()}
    else:
        whose = {"workspace": ",".join(_distinct(options.workspaces or [options.workspace or ""]))}
    return whose if options.table is None else {**whose, "table": options.table}


def _distinct(workspaces: Sequence[str]) -> list[str]:
    return sorted({each.lower() for each in workspaces})


def check(options: Options) -> Iterator[tuple[str, str, str]]:
    """Yield the mistakes in an export's options."""
    yield from _check_place(options)
    if (options.table is None) == (options.kql is None):
        yield (
            "table",
            "neither" if options.table is None else "both",
            "either table (with an optional pipeline) or kql",
        )
    if options.table is not None:
        yield from check_table(options.table)
        if options.splittable:
            yield "splittable", "true", "nothing: a table with a pipeline can always be cut"
        yield from check_pipeline(options.pipeline, ROW_WISE)
    elif options.kql is not None:
        yield from _check_kql(options)
    if options.scanned:
        yield from _check_scanned(options)


def _check_place(options: Options) -> Iterator[tuple[str, str, str]]:
    given = [key for key in ("workspace", "workspaces", "resource") if getattr(options, key) is not None]
    if len(given) != 1:
        yield "workspace", " and ".join(given) or "nothing", "one of workspace, workspaces and resource"
    if options.workspace is not None and not _GUID.fullmatch(options.workspace):
        yield "workspace", repr(options.workspace), "the workspace ID, a GUID"
    if options.workspaces is not None:
        wrong = [each for each in options.workspaces if not _GUID.fullmatch(each)]
        if wrong or not options.workspaces:
            yield "workspaces", repr(wrong), "workspace IDs, each a GUID"
        elif len(_distinct(options.workspaces)) < len(options.workspaces):
            yield "workspaces", "a workspace twice", "each workspace once, or its rows would be there twice"
        if options.table is None:
            yield "workspaces", "workspaces beside kql", "a table, whose rows can be given their workspace"
    if options.resource is not None and (wrong_id := arm_ids.problem(options.resource)):
        yield "resource", wrong_id, "the id of an Azure resource, as in /subscriptions/…/providers/…"
    if options.route == "arm" and options.resource is None:
        yield "route", "'arm' without resource", "resource, which may be a workspace's id"


def check_table(table: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a table's name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", table):
        yield "table", repr(table), "a table's name"


def check_pipeline(pipeline: str | None, known: set[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a pipeline that may have the ``known`` operators."""
    if pipeline is None:
        return
    try:
        wrong = [name for name in kql.operators(pipeline) if name not in known]
    except ValueError as error:
        yield "pipeline", str(error), "row-wise operators joined by |, as in \"where Level == 'Error'\""
        return
    for function in sorted(kql.calls(pipeline) & UNSTABLE):
        yield "pipeline", f"{function}()", "what depends on the row alone; use window_start or window_end"
    for name in wrong:
        allowed = ", ".join(sorted(known))
        yield "pipeline", f"the operator {name!r}", f"row-wise operators only ({allowed}); or use kql"


def _check_kql(options: Options) -> Iterator[tuple[str, str, str]]:
    if options.pipeline is not None:
        yield "pipeline", "a pipeline beside kql", "the whole query in kql"
    if options.window_column != INGESTION:
        yield "window_column", "a window column beside kql", "the window's filter in kql itself"
    try:
        missing = [name for name in ("window_start", "window_end") if not kql.uses(options.kql or "", name)]
    except ValueError as error:
        yield "kql", str(error), "a KQL query"
        return
    for name in missing:
        yield "kql", f"no use of {name}", f"a filter on {name}, or every window would hold every row"


def _check_scanned(options: Options) -> Iterator[tuple[str, str, str]]:
    if options.table is None:
        yield "plan", f"{options.plan!r} beside kql", "a table"
    if options.resource is not None:
        yield "plan", f"{options.plan!r} beside resource", "workspace: such tables are asked there only"
    if options.window_column != "TimeGenerated":
        yield (
            "window_column",
            f"{options.window_column!r} with a plan that is billed by what is scanned",
            "'TimeGenerated': with ingestion_time each window would scan several days",
        )
    try:
        calls = kql.calls(options.pipeline or "")
        nested = kql.reads_tables(options.pipeline or "")
    except ValueError:
        return  # said before
    if nested or calls & _ELSEWHERE:
        yield (
            "pipeline",
            "a query of another table",
            f"what a table of the plan {options.plan} allows: itself",
        )
