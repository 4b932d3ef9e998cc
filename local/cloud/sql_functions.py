"""How each function of KQL works on an engine whose clock counts ticks (see `local.cloud.kql`)."""

from datetime import UTC, datetime, timedelta

from duckdb_kql import ir
from duckdb_kql.translate.functions import SCALAR_FUNCTIONS, FunctionSpec

from local.cloud.sql_macros import TEMPLATES
from local.cloud.ticks import SECOND

# The library keeps its mappings in a table of data, where it looks up each name that it renders.
SCALAR_FUNCTIONS.update(
    {name: FunctionSpec(name, "template", sql, arities) for name, (sql, arities) in TEMPLATES.items()}
)

_PACKS = {"bag_pack", "pack", "pack_array"}
_CALENDAR = {
    *("dayofmonth", "dayofyear", "monthofyear", "hourofday", "getyear", "getmonth"),
    *("weekofyear", "week_of_year", "format_datetime"),
}
_STARTS = {"startofday", "startofweek", "startofmonth", "startofyear"}
_ENDS = {name.replace("start", "end"): name for name in _STARTS}
_UNIX_UNITS = {"seconds": SECOND, "milliseconds": SECOND // 1000, "microseconds": 10}

INSTANTS = (
    _STARTS | set(_ENDS) | {"now", "ago", "todatetime", "make_datetime", "datetime_add", "ingestion_time"}
)
"""Functions that return an instant."""

SPANS = {"totimespan", "timespan", "make_timespan", "dayofweek"}
"""Functions that return a duration."""


def instant(ticks: int) -> ir.Literal:
    """An instant as a literal of the engine's clock, in whose text years far beyond 9999 are usual."""
    seconds, microseconds = divmod(ticks, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    # Four hundred years are a whole cycle of the calendar, which Python's own calendar is too short for.
    cycles, days = divmod(days, 146_097)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days, seconds=seconds)
    return ir.Literal(
        f"{moment.year + 400 * cycles:04d}-{moment:%m-%dT%H:%M:%S}.{microseconds:06d}Z", "datetime"
    )


def span(ticks: int) -> ir.Literal:
    """A duration as a literal of the engine's clock."""
    return ir.Literal(f"{ticks}microseconds", "timespan")


def _call(name: str, *arguments: ir.Expr) -> ir.FunctionCall:
    return ir.FunctionCall(name, arguments)


def _whole(number: int) -> ir.Literal:
    return ir.Literal(number, "long")


def _text(node: ir.Expr) -> ir.Expr:
    if isinstance(node, ir.Literal) and node.kind not in ("datetime", "timespan"):
        return node
    if isinstance(node, ir.FunctionCall) and node.name in _PACKS:
        return _call("$json", node)  # a long expression, which the general way would repeat many times
    return _call("$text", node, _call("tostring", node))


def _element(node: ir.Expr) -> ir.Expr:
    return node if isinstance(node, ir.Literal) and node.kind == "string" else _call("$element", node)


def exact(call: ir.FunctionCall, now: int) -> ir.Expr:  # noqa: C901, PLR0911, PLR0912 (one case for each kind of function)
    """A call whose arguments are on the engine's clock, as one whose result is too. `now` is in ticks."""
    name, arguments = call.name, call.args
    match name:
        case "now":
            return ir.BinaryOp("+", instant(now), arguments[0]) if arguments else instant(now)
        case "ago" if len(arguments) == 1:
            return ir.BinaryOp("-", instant(now), arguments[0])
        case "tostring" if len(arguments) == 1:
            return _text(arguments[0])
        case "strcat" | "strcat_delim":
            return ir.FunctionCall(name, tuple(map(_text, arguments)))
        case "pack_array":
            return ir.FunctionCall(name, tuple(map(_element, arguments)))
        case "bag_pack" | "pack":
            return ir.FunctionCall(
                name, tuple(_element(each) if place % 2 else each for place, each in enumerate(arguments))
            )
        case "make_list" | "make_set" if arguments:
            return ir.FunctionCall(name, (_element(arguments[0]), *arguments[1:]))
        case "tolong" | "toint" | "todouble" | "toreal" if len(arguments) == 1:
            return _call("$number", arguments[0], call)
        case "todatetime" | "totimespan" | "timespan" if len(arguments) == 1:
            return _call("$todatetime" if name == "todatetime" else "$totimespan", arguments[0])
        case "hash" | "hash_xxhash64" if len(arguments) in (1, 2):
            return _call(
                "$hash", _text(arguments[0]), arguments[1] if len(arguments) == 2 else _whole(2**63 - 1)
            )
        case "estimate_data_size" if arguments:
            size: ir.Expr = _call("$size", arguments[0])
            for each in arguments[1:]:
                size = ir.BinaryOp("+", size, _call("$size", each))
            return size
        case "make_datetime":
            return _call("$ticks", call)
        case "make_timespan":
            return _call("$span", call)
        case "dayofweek" if len(arguments) == 1:
            return _call("$span", _call(name, _call("$clock", arguments[0])))
        case "datetime_part" | "datetime_diff" if arguments:
            return _call(name, arguments[0], *(_call("$clock", each) for each in arguments[1:]))
        case "datetime_add" if len(arguments) == 3:
            moved = _call(name, *arguments[:2], _call("$clock", arguments[2]))
            return ir.BinaryOp("+", _call("$ticks", moved), _call("$rest", arguments[2]))
    if name in _CALENDAR and arguments:
        return _call(name, _call("$clock", arguments[0]), *arguments[1:])
    if name in _STARTS and arguments:
        return _call("$ticks", _call(name, _call("$clock", arguments[0]), *arguments[1:]))
    if name in _ENDS and arguments:
        offset = ir.BinaryOp("+", arguments[1], _whole(1)) if len(arguments) > 1 else _whole(1)
        return ir.BinaryOp("-", exact(_call(_ENDS[name], arguments[0], offset), now), span(1))
    unit = _UNIX_UNITS.get(name.removeprefix("unixtime_").removesuffix("_todatetime"))
    if unit and name.startswith("unixtime_") and len(arguments) == 1:
        return _call("$unix", arguments[0], _whole(unit))
    return call
