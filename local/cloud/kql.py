"""KQL into SQL: `duckdb-kql` does the translation; this module makes its time exact to the tick.

DuckDB keeps microseconds and Kusto ticks of 100 ns. So the engine's clock runs ten times slow: a TIMESTAMP
here holds, as microseconds since 1970, the number of *ticks* since 0001-01-01, and an INTERVAL one
microsecond for each tick. Comparison, arithmetic, order, `min`, `max` and `bin` are then exact with no more
ado, and `bin` has Kusto's origin. What looks at the calendar or at text (`startofday`, `tostring`, …) goes
through the functions of `local.cloud.sql_functions`, which convert at its edges. All of it happens on the
library's syntax tree, never on the text of a query.
"""

import re
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar, cast

from duckdb_kql import ir
from duckdb_kql.errors import KqlError, KqlSyntaxError
from duckdb_kql.lower import lower
from duckdb_kql.schema import output_columns
from duckdb_kql.timespans import ticks as parse_span
from duckdb_kql.translate import to_sql
from duckdb_kql.translate.naming import expression_name

from local.cloud import sql_functions
from local.cloud.kql_functions import lift
from local.cloud.kql_text import bracket_bounds, plain_strings
from local.cloud.tables import TIME
from local.cloud.ticks import parse_instant

INGESTION = "$ingestion"
"""The column behind `ingestion_time()`. KQL cannot spell this name bare, and an answer never shows it."""

Schema = dict[str, list[str]]
_Node = TypeVar("_Node")

# The library has the engine try ten forms of each instant, for which that takes longer than for all else. A
# text of a query's does not match: in it, quotes are doubled.
_INSTANT = re.compile(
    r"COALESCE\(TRY_CAST\('([-0-9T:.]+)Z' AS TIMESTAMPTZ\) AT TIME ZONE 'UTC', "
    r"try_strptime\(CAST\('\1Z' AS VARCHAR\), \[[^]]*\]\)\)"
)
_COMPARISONS = frozenset({"==", "!=", "<>", "<", "<=", ">", ">="})


class UnresolvedNameError(KqlError):
    """A table or column that does not exist, as `operator` would see it ("" for a source)."""

    def __init__(self, operator: str, kind: str, name: str) -> None:
        self.text = f"'{operator}' operator: Failed to resolve {kind} named '{name}'"
        super().__init__(self.text)


class IncomparableError(KqlError):
    """An instant compared with a text, which Kusto refuses and DuckDB would answer."""


def hidden_table(name: str) -> str:
    """The name of the stored table; the view without the hidden column has the plain name."""
    return f"${name}"


def translate(query: str, schema: Schema, now: int, timespan: tuple[int, int] | None) -> str:
    """The SQL of a KQL query; `now` and the bounds of `timespan` (inclusive, on TimeGenerated) are ticks.

    Raises the library's KqlError family, and UnresolvedNameError and IncomparableError, which belong to it.
    """
    return translate_parsed(parsed(query), query, schema, now, timespan)


def translate_parsed(
    tree: ir.Query, query: str, schema: Schema, now: int, timespan: tuple[int, int] | None
) -> str:
    """The same for a query that is parsed already, and perhaps changed since; `query` is its text."""
    rewriter = _Rewriter(schema, now, timespan, hidden="ingestion_time" in query.lower())
    return _INSTANT.sub(r"TIMESTAMP '\1'", str(to_sql(rewriter.query(tree), schema)))


def parsed(query: str) -> ir.Query:
    """A query's syntax tree. Raises KqlSyntaxError, and KqlError for what the library does not know."""
    try:
        return _lowered(query)
    except KqlSyntaxError:
        bracketed = bracket_bounds(query)
        if bracketed == query:
            raise
        return _lowered(bracketed)


def _lowered(query: str) -> ir.Query:
    rest, functions = lift(plain_strings(query))
    return lower(rest, functions=functions)


def _is_span(node: ir.Expr) -> bool:
    """Whether an expression is, by its form alone, a duration."""
    match node:
        case ir.LetRef(value=inner) | ir.UnaryOp(operand=inner):
            return _is_span(inner)
        case ir.BinaryOp(op="*", left=left, right=right):
            return _is_span(left) or _is_span(right)
        case ir.BinaryOp(op="+" | "-", left=left, right=right):
            return _is_span(left) and _is_span(right)
        case ir.FunctionCall(name=name):
            return name.lower() in sql_functions.SPANS
    return isinstance(node, ir.Literal) and node.kind == "timespan"


def _is_instant(node: ir.Expr) -> bool:
    """Whether an expression is, by its form alone, an instant."""
    match node:
        case ir.LetRef(value=inner):
            return _is_instant(inner)
        case ir.BinaryOp(op="+" | "-", left=left, right=right):
            return _is_instant(left) and _is_span(right)
        case ir.FunctionCall(name=name):
            return name.lower() in sql_functions.INSTANTS
    return isinstance(node, ir.Literal) and node.kind == "datetime"


class _Scope:
    """What the expressions of one operator can see."""

    def __init__(self, operator: str, query: ir.Query | None, schema: Schema) -> None:
        self.operator = operator
        self._query = query
        self._schema = schema

    @cached_property
    def columns(self) -> list[str]:
        """The columns of the operator's input; none for what has no input."""
        return [] if self._query is None else output_columns(self._query, self._schema)

    @property
    def visible(self) -> list[ir.ColumnRef]:
        """The same without what an answer never shows."""
        return [ir.ColumnRef(each) for each in self.columns if not each.startswith(INGESTION)]


@dataclass(frozen=True)
class _Rewriter:
    """Rewrites one query's tree, and anew for each query within it.

    `hidden` says whether the query asks for ingestion times at all; `bound` names its tabular lets.
    """

    schema: Schema
    now: int
    timespan: tuple[int, int] | None
    hidden: bool
    bound: frozenset[str] = frozenset()

    def query(self, query: ir.Query) -> ir.Query:
        """A query with every part of it made exact, and bounded by the timespan."""
        if not query.lets:
            return self._pipeline(query)
        name, value = query.lets[0]
        rest = replace(query, lets=query.lets[1:])
        inner = self
        if isinstance(value, ir.Query):
            value = self.query(value)
            schema = self.schema | {name: output_columns(value, self.schema)}
            inner = replace(self, schema=schema, bound=self.bound | {name})
        else:
            value = self._node(value, _Scope("let", None, self.schema))
        rewritten = inner.query(rest)
        return replace(rewritten, lets=[(name, value), *rewritten.lets])

    def _pipeline(self, query: ir.Query) -> ir.Query:
        source = self._source(query.source)
        done: list[ir.Operator] = []
        if (
            self.timespan
            and self._is_table(query.source)
            and TIME in output_columns(ir.Query(source), self.schema)
        ):
            low, high = map(sql_functions.instant, self.timespan)
            done.append(ir.Where(ir.Between(ir.ColumnRef(TIME), low, high)))
        for operator in query.operators:
            scope = _Scope(type(operator).__name__.lower(), ir.Query(source, list(done)), self.schema)
            done.append(self._node(operator, scope))
        return ir.Query(source, done, [], query.parameters)

    def _is_table(self, source: ir.Source) -> bool:
        return isinstance(source, ir.TableRef) and source.name not in self.bound

    def _source(self, source: ir.Source) -> ir.Source:
        scope = _Scope("", None, self.schema)
        if isinstance(source, ir.PrintSource):
            # Unnamed columns of `print` are numbered by place, so no name is handed down here.
            named = (ir.NamedExpr(self._node(each.expr, scope), each.name) for each in source.expressions)
            return ir.PrintSource(tuple(named))
        if isinstance(source, ir.TableRef) and self._is_table(source):
            if source.qualified not in self.schema:
                raise UnresolvedNameError("", "table or column expression", source.qualified)
            return ir.TableRef(hidden_table(source.name)) if self.hidden else source
        return self._node(source, scope)

    def _node(self, node: _Node, scope: _Scope) -> _Node:
        """`node` with every part of it made exact."""
        return cast("_Node", self._rewritten(node, scope))

    def _rewritten(self, node: Any, scope: _Scope) -> Any:  # noqa: PLR0911 (one for each kind of node)
        match node:
            case ir.Query():
                return self.query(node)
            case ir.Literal():
                return _literal(node)
            case ir.ColumnRef() if node.name not in scope.columns:
                raise UnresolvedNameError(scope.operator, "column or scalar expression", node.name)
            case ir.NamedExpr(name=None):
                expr = self._node(node.expr, scope)
                # Kusto names a column after what the query says, not after what it has become here.
                return ir.NamedExpr(expr, None if expr == node.expr else expression_name(node.expr))
            case ir.FunctionCall():
                return self._call(node, scope)
            case ir.Between() if _is_span(node.high) and _is_instant(node.low):
                return self._parts(replace(node, high=ir.BinaryOp("+", node.low, node.high)), scope)
            case ir.BinaryOp():
                _refuse_text(node)
            case tuple() | list():
                return type(node)(self._node(each, scope) for each in node)
        return self._parts(node, scope) if is_dataclass(node) else node

    def _parts(self, node: Any, scope: _Scope) -> Any:
        return replace(
            node, **{part.name: self._node(getattr(node, part.name), scope) for part in fields(node)}
        )

    def _call(self, call: ir.FunctionCall, scope: _Scope) -> ir.Expr:
        name, arguments = call.name.lower(), call.args
        if name == "ingestion_time":
            if INGESTION not in scope.columns:
                return ir.FunctionCall("$no_instant")
            # In a call of its own, because an unnamed column would take the hidden column's name.
            return ir.FunctionCall("$same", (ir.ColumnRef(INGESTION),))
        if name == "pack_all":
            pairs = [(ir.Literal(column.name, "string"), column) for column in scope.visible]
            return sql_functions.exact(
                ir.FunctionCall("bag_pack", tuple(chain.from_iterable(pairs))), self.now
            )
        if name == "estimate_data_size" and arguments == (ir.Wildcard(),):
            arguments = tuple(scope.visible)
        if name in ("bin", "floor") and len(arguments) == 2 and _is_span(arguments[1]):
            name = "$bin"
        if name == "bin_at" and len(arguments) == 3 and _is_span(arguments[1]):
            name = "$bin_at"
        if name == "coalesce" and _is_instant(arguments[0]):
            name = "$coalesce"
        rewritten = ir.FunctionCall(name, tuple(self._node(each, scope) for each in arguments))
        return sql_functions.exact(rewritten, self.now)


def _literal(literal: ir.Literal) -> ir.Literal:
    if literal.kind == "datetime" and literal.value is not None:
        return sql_functions.instant(parse_instant(str(literal.value)))
    if literal.kind == "timespan" and literal.value is not None:
        return sql_functions.span(parse_span(str(literal.value)))
    return literal


def _refuse_text(node: ir.BinaryOp) -> None:
    for one, other in ((node.left, node.right), (node.right, node.left)):
        is_text = isinstance(other, ir.Literal) and other.kind == "string"
        if is_text and node.op in _COMPARISONS and one == ir.ColumnRef(TIME):
            raise IncomparableError(
                "Cannot compare values of types datetime and string. Try adding explicit casts"
            )
