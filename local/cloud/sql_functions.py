"""How each KQL function works on an engine whose clock counts ticks (see `local.cloud.kql`)."""

from datetime import UTC, datetime, timedelta

from duckdb_kql import ir
from duckdb_kql.translate.functions import SCALAR_FUNCTIONS, FunctionSpec

from local.cloud.ticks import HOUR, MINUTE, SECOND, UNIX_EPOCH

_UNIX_MICROSECONDS = UNIX_EPOCH // 10

SETUP = rf"""
CREATE MACRO tick_count(x) AS epoch_us(x);
CREATE MACRO tick_clock(x) AS make_timestamp(epoch_us(x) // 10 - {_UNIX_MICROSECONDS});
CREATE MACRO clock_ticks(x) AS make_timestamp(epoch_us(x) * 10 + {UNIX_EPOCH});
CREATE MACRO tick_digits(x) AS lpad(CAST(epoch_us(x) % {SECOND} AS VARCHAR), 7, '0');
CREATE MACRO tick_seconds(x) AS strftime(tick_clock(x), '%Y-%m-%dT%H:%M:%S');
CREATE MACRO tick_text(x) AS tick_seconds(x) || '.' || tick_digits(x) || 'Z';
CREATE MACRO tick_wire(x) AS
    tick_seconds(x) || CASE epoch_us(x) % {SECOND} WHEN 0 THEN '' ELSE '.' || rtrim(tick_digits(x), '0') END || 'Z';
CREATE MACRO span_text(x) AS
    CASE WHEN epoch_us(x) < 0 THEN '-' ELSE '' END
    || CASE WHEN abs(epoch_us(x)) >= {24 * HOUR} THEN CAST(abs(epoch_us(x)) // {24 * HOUR} AS VARCHAR) || '.' ELSE '' END
    || lpad(CAST(abs(epoch_us(x)) // {HOUR} % 24 AS VARCHAR), 2, '0') || ':'
    || lpad(CAST(abs(epoch_us(x)) // {MINUTE} % 60 AS VARCHAR), 2, '0') || ':'
    || lpad(CAST(abs(epoch_us(x)) // {SECOND} % 60 AS VARCHAR), 2, '0')
    || CASE abs(epoch_us(x)) % {SECOND} WHEN 0 THEN ''
            ELSE '.' || lpad(CAST(abs(epoch_us(x)) % {SECOND} AS VARCHAR), 7, '0') END;
CREATE MACRO tick_parse(t) AS make_timestamp(
    epoch_us(TRY_CAST(regexp_replace(t, '(\.\d{{6}})\d+', '\1') AS TIMESTAMPTZ) AT TIME ZONE 'UTC') * 10 + {UNIX_EPOCH}
    + coalesce(TRY_CAST(regexp_extract(t, '\.\d{{6}}(\d)', 1) AS BIGINT), 0));
CREATE MACRO span_parse(t) AS CASE WHEN regexp_full_match(t, '-?(\d+\.)?\d\d?:\d\d(:\d\d(\.\d{{1,7}})?)?') THEN to_microseconds(
    CASE WHEN t LIKE '-%' THEN -1 ELSE 1 END * (
        coalesce(TRY_CAST(regexp_extract(t, '^-?(\d+)\.', 1) AS BIGINT), 0) * {24 * HOUR}
        + CAST(regexp_extract(t, '(\d\d?):(\d\d)', 1) AS BIGINT) * {HOUR}
        + CAST(regexp_extract(t, '(\d\d?):(\d\d)', 2) AS BIGINT) * {MINUTE}
        + coalesce(TRY_CAST(regexp_extract(t, ':\d\d:(\d\d)', 1) AS BIGINT), 0) * {SECOND}
        + coalesce(TRY_CAST(rpad(nullif(regexp_extract(t, ':\d\d\.(\d+)$', 1), ''), 7, '0') AS BIGINT), 0))) END;
"""
"""Macros that every connection needs; `tick_*` take an instant of the engine, `span_*` a duration."""


def _by_type(instant: str, span: str, other: str) -> str:
    """SQL that treats instants and durations apart; DuckDB folds the branches that the type rules out."""
    return (
        f"CASE typeof({{0}}) WHEN 'TIMESTAMP' THEN {instant.format('TRY_CAST({0} AS TIMESTAMP)')} "
        f"WHEN 'INTERVAL' THEN {span.format('TRY_CAST({0} AS INTERVAL)')} ELSE {other} END"
    )


_TEMPLATES: dict[str, tuple[str, int]] = {
    "$no_instant": ("CAST(NULL AS TIMESTAMP)", 0),
    "$same": ("{0}", 1),
    "$coalesce": ("coalesce({})", -1),
    "$clock": ("tick_clock({0})", 1),
    "$ticks": ("clock_ticks({0})", 1),
    "$rest": ("to_microseconds(epoch_us({0}) % 10)", 1),
    "$span": ("to_microseconds(epoch_us({0}) * 10)", 1),
    "$unix": ("make_timestamp(CAST({0} * {1} AS BIGINT) + " + str(UNIX_EPOCH) + ")", 2),
    # An instant or a duration: what is left over within a step is taken off, which keeps the type.
    "$bin": ("({0} - to_microseconds((epoch_us({0}) % epoch_us({1}) + epoch_us({1})) % epoch_us({1})))", 2),
    "$text": (_by_type("tick_text({0})", "span_text({0})", "{1}"), 2),
    "$number": (_by_type("epoch_us({0})", "epoch_us({0})", "{1}"), 2),
    "$element": (
        "CASE WHEN {0} IS NULL THEN NULL ELSE "
        + _by_type("to_json(tick_text({0}))", "to_json(span_text({0}))", "to_json({0})")
        + " END",
        1,
    ),
    "$todatetime": (
        "CASE typeof({0}) WHEN 'TIMESTAMP' THEN TRY_CAST({0} AS TIMESTAMP) "
        "WHEN 'JSON' THEN tick_parse(TRY_CAST({0} AS JSON) ->> '$') ELSE tick_parse(CAST({0} AS VARCHAR)) END",
        1,
    ),
    "$totimespan": (
        "CASE typeof({0}) WHEN 'INTERVAL' THEN TRY_CAST({0} AS INTERVAL) "
        "WHEN 'BIGINT' THEN to_microseconds(TRY_CAST({0} AS BIGINT)) "
        "WHEN 'JSON' THEN span_parse(TRY_CAST({0} AS JSON) ->> '$') ELSE span_parse(CAST({0} AS VARCHAR)) END",
        1,
    ),
    "$hash": ("CAST(hash({0}) % CAST({1} AS UBIGINT) AS BIGINT)", 2),
    "$size": (
        "coalesce(CASE typeof({0}) WHEN 'VARCHAR' THEN strlen(CAST({0} AS VARCHAR)) WHEN 'JSON' THEN "
        "strlen(CAST({0} AS VARCHAR)) WHEN 'UUID' THEN 16 WHEN 'INTEGER' THEN 4 WHEN 'BOOLEAN' THEN 1 ELSE 8 END, 0)",
        1,
    ),
}
# The library keeps its mappings as a table of data, and looks names up in it when it renders a call.
SCALAR_FUNCTIONS.update(
    {
        name: FunctionSpec(name, "template", template, () if arity < 0 else (arity,))
        for name, (template, arity) in _TEMPLATES.items()
    }
)

_CALENDAR = {
    "dayofmonth", "dayofyear", "getyear", "getmonth", "monthofyear", "hourofday", "weekofyear", "week_of_year",
    "format_datetime",
}  # fmt: skip
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
        case "hash" if len(arguments) in (1, 2):
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
    if name.startswith("unixtime_") and name.endswith("_todatetime") and len(arguments) == 1:
        if unit := _UNIX_UNITS.get(name.removeprefix("unixtime_").removesuffix("_todatetime")):
            return _call("$unix", arguments[0], _whole(unit))
    return call
