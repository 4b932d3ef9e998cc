"""Which tables a query reads, and whether tables of their plans may be asked in that way.

Source: "Query data in a Basic and Auxiliary table". The words of refusals are inferred, apart from the one of
`query_errors.unsupported_plan`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

from duckdb_kql import ir
from duckdb_kql.errors import KqlError

from local.cloud import query_errors as errors
from local.cloud.kql import parsed
from local.cloud.kql_functions import definitions
from local.cloud.kql_text import split_options, words
from local.cloud.tables import TIME, Plan

_OPERATORS = frozenset({"join", "find", "search", "externaldata", "evaluate"})
_ELSEWHERE = frozenset({"workspace", "app", "resource", "adx", "cluster", "database", "arg"})
_MOST_ANALYTICS = 5


def refuse_cheap_tables(query: str, plans: Mapping[str, Plan]) -> None:
    """Refuse a query of ``/query`` that reads a table of `plans`, all of which are Basic or Auxiliary.

    Raises QueryApiError. A query that cannot be parsed is left to the engine, which says why.
    """
    if not any(name in query for name in plans):
        return  # spares most queries a second parsing
    try:
        read = tables_of(parsed(split_options(query)[1]))
    except KqlError:
        return
    for name in read:
        if name in plans:
            raise errors.unsupported_plan(plans[name], "query", "search")


def only_cheap_table(query: str, plans: Mapping[str, Plan], *, time_filters: bool) -> str:
    """The one Basic or Auxiliary table that a query of ``/search`` reads.

    `time_filters` says whether it may filter on TimeGenerated. Raises QueryApiError for any other query.
    """
    query = split_options(query)[1]
    _refuse_words(query)
    try:
        tree = parsed(query)
    except KqlError as problem:
        raise errors.query_error(problem) from problem
    read = tables_of(tree)
    cheap = [name for name in read if name in plans]
    if not cheap:
        raise errors.unsupported_plan("Analytics", "search", "query")
    if len(cheap) > 1:
        raise errors.bad_argument(f"A query of Basic Logs reads a single table, not {', '.join(cheap)}")
    if len(read) > 1 + _MOST_ANALYTICS:
        raise errors.bad_argument(f"lookup and union take up to {_MOST_ANALYTICS} Analytics tables")
    if not time_filters and any(_compares_time(each) for each in _nodes(tree) if isinstance(each, ir.Where)):
        raise errors.bad_argument(f"The time range cannot be given in a where statement on {TIME}")
    return cheap[0]


def tables_of(tree: ir.Query) -> list[str]:
    """The names of what a query reads, each once, in their order; not those that it defines."""
    defined = {name for each in _nodes(tree) if isinstance(each, ir.Query) for name, _ in each.lets}
    names = (each.name for each in _nodes(tree) if isinstance(each, ir.TableRef))
    return list(dict.fromkeys(name for name in names if name not in defined))


def _refuse_words(query: str) -> None:
    if any(True for _ in definitions(query)):
        raise errors.bad_argument("User-defined functions aren't supported in a query of Basic Logs")
    spelled = ["|", *(word for word, _ in words(query)), ""]
    for before, word in pairwise(spelled):
        if before in ("|", ";", "(") and word in _OPERATORS:
            raise errors.bad_argument(f"The operator '{word}' isn't supported in a query of Basic Logs")
        if word == "(" and before in _ELSEWHERE:
            raise errors.bad_argument("Cross-resource queries aren't supported in a query of Basic Logs")


def _compares_time(where: ir.Where) -> bool:
    return any(isinstance(each, ir.ColumnRef) and each.name == TIME for each in _nodes(where))


def _nodes(tree: Any) -> Iterator[Any]:
    """A syntax tree's parts, itself first."""
    if isinstance(tree, tuple | list):
        for each in tree:
            yield from _nodes(each)
    elif is_dataclass(tree):
        yield tree
        for part in fields(tree):
            yield from _nodes(getattr(tree, part.name))
