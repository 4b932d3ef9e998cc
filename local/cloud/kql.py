"""KQL into SQL: `duckdb-kql` does the translation; this module makes its time exact to the tick.

DuckDB keeps microseconds and Kusto ticks of 100 ns. So the engine's clock runs ten times slow: a TIMESTAMP here
holds, as microseconds since 1970, the number of *ticks* since 0001-01-01, and an INTERVAL one microsecond for each
tick. Comparison, arithmetic, order, `min`, `max` and `bin` are then exact with no more ado, and `bin` has Kusto's
origin. What looks at the calendar or at text (`startofday`, `tostring`, …) goes through the functions of
`local.cloud.sql_functions`, which convert at its edges. All of it happens on the library's syntax tree, never on the
text of a query.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from duckdb_kql import ir
from duckdb_kql.errors import KqlError, KqlSyntaxError
from duckdb_kql.lower import lower
from duckdb_kql.schema import output_columns
from duckdb_kql.timespans import ticks as parse_span
from duckdb_kql.translate import to_sql
from duckdb_kql.translate.naming import expression_name

from local.cloud import sql_functions
from local.cloud.tables import TIME
from local.cloud.ticks import parse_instant

INGESTION = "$ingestion"
"""The column behind `ingestion_time()`. KQL cannot spell this name bare, and an answer never shows it."""

Schema = dict[str, list[str]]
Columns = Callable[[], list[str]]
_Node = TypeVar("_Node")

_SET = re.compile(r"\s*set\s+(\w+)\s*(?:=\s*([^;]+?)\s*)?;", re.IGNORECASE)
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|//[^\n]*|\w+|\.\.|\s+|.""", re.DOTALL)
_COMPARISONS = frozenset({"==", "!=", "<>", "<", "<=", ">", ">="})


class UnresolvedName(KqlError):
    """A table or column that does not exist, as `operator` would see it ("" for a source)."""

    def __init__(self, operator: str, kind: str, name: str) -> None:
        self.text = f"'{operator}' operator: Failed to resolve {kind} named '{name}'"
        super().__init__(self.text)


class Incomparable(KqlError):
    """An instant compared with a text, which Kusto refuses and DuckDB would answer."""


def hidden_table(name: str) -> str:
    """The name of the stored table; the view without the hidden column has the plain name."""
    return f"${name}"


def split_options(query: str) -> tuple[dict[str, str], str]:
    """Leading ``set name[=value];`` statements (names in lower case), and the query without them."""
    options: dict[str, str] = {}
    while found := _SET.match(query):
        options[found[1].lower()] = found[2] or ""
        query = query[found.end() :]
    return options, query


def translate(query: str, schema: Schema, now: int, timespan: tuple[int, int] | None) -> str:
    """The SQL of a KQL query. `now` and the bounds of `timespan` (both inclusive, on TimeGenerated) are ticks.

    Raises the library's KqlError family, and UnresolvedName and Incomparable, which belong to it.
    """
    rewriter = _Rewriter(schema, now, timespan, hidden="ingestion_time" in query.lower())
    return str(to_sql(rewriter.query(_lowered(query)), rewriter.schema))


def _lowered(query: str) -> ir.Query:
    """The query's tree. The library's grammar wants brackets around the bounds of `between`; Kusto's does not."""
    try:
        return lower(query)
    except KqlSyntaxError:
        bracketed = _bracket_bounds(query)
        if bracketed == query:
            raise
        return lower(bracketed)


def _bracket_bounds(query: str) -> str:
    """``between (a - 1d .. b)`` as ``between ((a - 1d) .. (b))``."""
    parts: list[str] = []
    open_brackets: list[bool] = []  # for each: whether it is that of a `between`
    after_between = False
    for token in _TOKEN.findall(query):
        if token == "(":
            open_brackets.append(after_between)
            parts.append("((" if after_between else "(")
        elif token == ")" and open_brackets:
            parts.append("))" if open_brackets.pop() else ")")
        elif token == ".." and open_brackets and open_brackets[-1]:
            parts.append(")..(")
        else:
            parts.append(token)
        if token.strip():
            after_between = token.lower() == "between"
    return "".join(parts)


def _is_span(node: ir.Expr) -> bool:
    """Whether an expression is, by its text alone, a timespan."""
    match node:
        case ir.Literal(kind="timespan"):
            return True
        case ir.LetRef(value=value):
            return _is_span(value)
        case ir.UnaryOp(operand=operand):
            return _is_span(operand)
        case ir.BinaryOp(op="*", left=left, right=right):
            return _is_span(left) or _is_span(right)
        case ir.BinaryOp(op="+" | "-", left=left, right=right):
            return _is_span(left) and _is_span(right)
        case ir.FunctionCall(name=name):
            return name.lower() in sql_functions.SPANS
    return False


def _is_instant(node: ir.Expr) -> bool:
    match node:
        case ir.Literal(kind="datetime"):
            return True
        case ir.LetRef(value=value):
            return _is_instant(value)
        case ir.BinaryOp(op="+" | "-", left=left, right=right):
            return _is_instant(left) and _is_span(right)
        case ir.FunctionCall(name=name):
            return name.lower() in sql_functions.INSTANTS
    return False


@dataclass
class _Rewriter:
    """Rewrites one query's tree. `hidden` says whether it asks for ingestion times at all."""

    schema: Schema
    now: int
    timespan: tuple[int, int] | None
    hidden: bool

    def query(self, query: ir.Query) -> ir.Query:
        outer = self.schema
        self.schema = dict(outer)
        try:
            return self._query(query)
        finally:
            # The names of the outermost query's lets stay known to the emitter, which hides them itself.
            self.schema = outer

    def _query(self, query: ir.Query) -> ir.Query:
        lets: list[tuple[str, ir.Query | ir.Expr]] = []
        for name, bound in query.lets:
            if isinstance(bound, ir.Query):
                bound = self.query(bound)
                self.schema[name] = output_columns(
                    ir.Query(bound.source, bound.operators, [*lets, *bound.lets]), self.schema
                )
            else:
                bound = self.node(bound, list, "let")
            lets.append((name, bound))
        local = {name for name, bound in lets if isinstance(bound, ir.Query)}
        source = self.source(query.source, local)
        operators: list[ir.Operator] = []
        if self.timespan and isinstance(source, ir.TableRef) and TIME in self.columns_of(source):
            low, high = map(sql_functions.instant, self.timespan)
            operators.append(ir.Where(ir.Between(ir.ColumnRef(TIME), low, high)))
        for operator in query.operators:
            so_far = ir.Query(source, list(operators), lets)
            operators.append(
                self.operator(operator, lambda so_far=so_far: output_columns(so_far, self.schema))
            )
        return ir.Query(source, operators, lets, query.parameters)

    def columns_of(self, table: ir.TableRef) -> list[str]:
        return self.schema.get(table.name, [])

    def source(self, source: ir.Source, local: set[str]) -> ir.Source:
        if isinstance(source, ir.PrintSource):
            # Unnamed columns of `print` are numbered by place, so no name is handed down here.
            return ir.PrintSource(
                tuple(
                    ir.NamedExpr(self.node(each.expr, list, "print"), each.name)
                    for each in source.expressions
                )
            )
        if isinstance(source, ir.TableRef) and source.name not in local:
            if source.qualified not in self.schema:
                raise UnresolvedName("", "table or column expression", source.qualified)
            if self.hidden and hidden_table(source.name) in self.schema:
                return ir.TableRef(hidden_table(source.name))
        return self.node(source, list, "")

    def operator(self, operator: ir.Operator, columns: Columns) -> ir.Operator:
        name = type(operator).__name__.lower()
        return self.node(operator, columns, name)

    def node(self, node: _Node, columns: Columns, operator: str) -> _Node:
        """`node` with every part of it made exact; `columns` are those that the operator around it can see."""
        found: Any = node
        match found:
            case ir.Query():
                found = self.query(found)
            case ir.Literal():
                found = self.literal(found)
            case ir.ColumnRef():
                if found.name not in columns():
                    raise UnresolvedName(operator, "column or scalar expression", found.name)
            case ir.NamedExpr():
                expr = self.node(found.expr, columns, operator)
                name = found.name
                if name is None and expr != found.expr:
                    name = expression_name(found.expr)  # Kusto names a column after what the query says
                found = ir.NamedExpr(expr, name)
            case ir.FunctionCall():
                found = self.call(found, columns, operator)
            case ir.Between() if _is_span(found.high) and _is_instant(found.low):
                high = ir.BinaryOp("+", found.low, found.high)
                found = self.parts(replace(found, high=high), columns, operator)
            case ir.BinaryOp():
                self.refuse_text(found)
                found = self.parts(found, columns, operator)
            case tuple() | list():
                found = type(found)(self.node(each, columns, operator) for each in found)
            case _ if is_dataclass(found) and not isinstance(found, type):
                found = self.parts(found, columns, operator)
        return found

    def parts(self, node: Any, columns: Columns, operator: str) -> Any:
        changed = {
            field.name: self.node(getattr(node, field.name), columns, operator) for field in fields(node)
        }
        return replace(node, **changed)

    def literal(self, literal: ir.Literal) -> ir.Literal:
        if literal.kind == "datetime" and literal.value is not None:
            return sql_functions.instant(parse_instant(str(literal.value)))
        if literal.kind == "timespan" and literal.value is not None:
            return sql_functions.span(parse_span(str(literal.value)))
        return literal

    def refuse_text(self, node: ir.BinaryOp) -> None:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if node.op in _COMPARISONS and one == ir.ColumnRef(TIME) and isinstance(other, ir.Literal):
                if other.kind == "string":
                    raise Incomparable(
                        "Cannot compare values of types datetime and string. Try adding explicit casts"
                    )

    def call(self, call: ir.FunctionCall, columns: Columns, operator: str) -> ir.Expr:
        name = call.name.lower()
        if name == "ingestion_time":
            # In a call of its own, because an unnamed column would take the hidden column's name.
            known = INGESTION in columns()
            return (
                ir.FunctionCall("$same", (ir.ColumnRef(INGESTION),))
                if known
                else ir.FunctionCall("$no_instant")
            )
        if name in ("bin", "floor") and len(call.args) == 2 and _is_span(call.args[1]):
            name = "$bin"
        if name == "coalesce" and call.args and _asks_ingestion_time(call.args[0]):
            name = "$coalesce"
        if name in ("pack_all", "estimate_data_size"):
            visible = [ir.ColumnRef(each) for each in columns() if not each.startswith(INGESTION)]
            if name == "pack_all":
                keys = [ir.Literal(each.name, "string") for each in visible]
                pairs = [part for pair in zip(keys, visible, strict=True) for part in pair]
                return sql_functions.exact(ir.FunctionCall("bag_pack", tuple(pairs)), self.now)
            if call.args == (ir.Wildcard(),):
                call = replace(call, args=tuple(visible))
        arguments = tuple(self.node(each, columns, operator) for each in call.args)
        return sql_functions.exact(ir.FunctionCall(name, arguments), self.now)


def _asks_ingestion_time(node: ir.Expr) -> bool:
    return isinstance(node, ir.FunctionCall) and node.name.lower() == "ingestion_time"
