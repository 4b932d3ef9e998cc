"""Values that callers give to a query -> `let` constants, so that nobody splices values into KQL. Pure.

A value is ``{"type": T, "value": V}``, T one of TYPES, or, for short, plain JSON: a string, a boolean, an
integer (``long``), another number (``real``) or an array (``dynamic``).

Source: the Kusto documentation's "Scalar data types" and "let statement".
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from shared import kql
from shared.errors import BadRequestError
from shared.windows import DAY, HOUR, MINUTE, SECOND, parse_instant

MOST = 100
"""How many parameters a query may have."""

_TOLD = 20  # mistakes in one request

_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}")  # two underscores begin Kusto's own words
_RESERVED = frozenset(
    """
    accumulate alias and anomalychart anomalycolumns areachart as asc bagexpansion barchart best_effort
    between bin_legacy bool boolean by byte cachingpolicy callout cancel card char columnchart consume
    contains contains_cs containscs count cycles dataexport dataformat datascope datatable date datetime
    datetime_pattern decimal declare decodeblocks desc distinct double dynamic earliest encodingpolicy
    endswith endswith_cs entity_group evaluate expandoutput extend extent_tags_retention external_data
    externaldata false filter find first flags float force_remote getschema graph guid harddelete
    hardretention has has_all has_any has_cs hasprefix hasprefix_cs hassuffix hassuffix_cs hotcache in
    inline_external_table int int16 int32 int64 int8 invoke isfuzzy join journal kind ladderchart last
    latest let like likecs limit linechart long matches materialize mdm missing mvapply mvexpand
    nooptimization notcontains notcontainscs notlike notlikecs null of or order others panels parse
    pathformat piechart pivotchart plotly print project queries query_results real regex relaxed
    restrict restricted_view_access row_level_security rowstore rowstore_references rowstore_sealinfo
    rowstorepolicy rowstores sample scan scatterchart seal seals search serialize set shards simple
    softdelete softretention sort sql stackedareachart startswith startswith_cs statistics
    storedqueryresultcontainers string summarize table tablepurge take time timechart timeline timepivot
    timespan title to top toscalar totable treemap true typeof uint uint16 uint32 uint64 uint8 ulong
    union uniqueid unrestrictedviewers uuid verbose viewers views where with_itemindex with_match_id
    with_node_id with_source with_step_name withsource writeaheadlog
    """.split()  # noqa: SIM905 (a list of 190 quoted words would fill a page)
)
"""The words of KQL that cannot stand for a value (Microsoft's published grammar and lexer)."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = {"nan": "nan", "inf": "+inf", "+inf": "+inf", "-inf": "-inf"}
_DECIMAL_DIGITS = 34  # what 128 bits hold for certain
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_CLOCK = re.compile(r"(-?)(?:([0-9]{1,8})\.)?([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2})(?:\.([0-9]{1,7}))?)?")
_SPAN = re.compile(r"(-?)([0-9]{1,12}(?:\.[0-9]{1,18})?) ?([a-z]+)")
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), SECOND // 1000),
    **dict.fromkeys(("micro", "micros", "microsecond", "microseconds"), 10),
    **dict.fromkeys(("tick", "ticks"), 1),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A constant of a query: its name, one of TYPES, and its value as a KQL literal."""

    name: str
    type: str
    literal: str


def read(parameters: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Return a caller's parameters, in their order. Raises BadRequestError, which names each wrong one."""
    if len(parameters) > MOST:
        raise BadRequestError("parameters", f"{len(parameters)} parameters; a query has {MOST} at most")
    return all_of(functools.partial(_guess, name, value) for name, value in parameters.items())


def all_of(reading: Iterable[Callable[[], Parameter]]) -> tuple[Parameter, ...]:
    """Return what all of some calls return. Raises BadRequestError, which has the mistakes of all of them."""
    found: list[Parameter] = []
    mistakes: list[tuple[str, str]] = []
    for read_one in reading:
        try:
            found.append(read_one())
        except BadRequestError as error:
            mistakes += error.mistakes
            if len(mistakes) >= _TOLD:
                break
    if mistakes:
        raise BadRequestError.of(mistakes)
    return tuple(found)


def declare(parameters: Iterable[Parameter]) -> str:
    """Return the `let` statements, each with `;` and a line feed, that come before the query's text."""
    return "".join(f"let {each.name} = {each.literal};\n" for each in parameters)


def declared(constants: str) -> set[str]:
    """Return the names that such statements declare; each is a line of its own, whatever its value holds."""
    return {line.split(" ", 2)[1] for line in constants.split("\n")[:-1]}


def parameter(name: str, type_: str, value: Any) -> Parameter:
    """Return one parameter of a known type; JSON's null is a null of that type.

    Raises BadRequestError for a name, a type or a value that is wrong.
    """
    field = f"parameters.{name[:64]}"
    if not _NAME.fullmatch(name):
        raise BadRequestError(field, "a name is 1 to 64 letters, digits and _, without a digit or __ first")
    if name in _RESERVED or name.lower() in {"true", "false"}:
        raise BadRequestError(field, "the name is a word of KQL; choose another, such as " + repr(name + "_"))
    if type_ not in TYPES:
        raise BadRequestError(field, f"no type {type_[:64]!r}; there are " + ", ".join(TYPES))
    try:
        literal = f"{type_}(null)" if value is None and type_ != "string" else TYPES[type_](value)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:300]
        raise BadRequestError(field, f"not a value of type {type_}: {said}") from error
    return Parameter(name, type_, literal)


def is_typed(value: Any) -> bool:
    """Whether a value names its type: ``{"type": T, "value": V}``."""
    return isinstance(value, dict) and value.keys() == {"type", "value"}


def _guess(name: str, value: Any) -> Parameter:
    """Return one parameter whose value names its type, or shows it."""
    if is_typed(value):
        return parameter(name, str(value["type"]), value["value"])
    for class_, type_ in _SHORT:
        if isinstance(value, class_):
            return parameter(name, type_, value)
    raise BadRequestError(
        f"parameters.{name[:64]}",
        'expected {"type": …, "value": …}, or a string, a boolean, a number or an array',
    )


_SHORT = ((str, "string"), (bool, "bool"), (int, "long"), (float, "real"), (list, "dynamic"))


def _string(value: Any) -> str:
    text = _text(value, "a string, which has no null in Kusto")
    _check_unicode(text)
    return kql.string(text)


def _bool(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 (a caller's mistake, not ours)
    return str(value).lower()


def _integer(type_: str, bits: int) -> Callable[[Any], str]:
    limit = 1 << (bits - 1)

    def literal(value: Any) -> str:
        if isinstance(value, bool) or not (
            isinstance(value, int) or (isinstance(value, str) and _INTEGER.fullmatch(value))
        ):
            raise ValueError("expected an integer, or its digits as a string")
        if not -limit <= int(value) < limit:
            raise ValueError(f"outside {-limit} to {limit - 1}")
        return f"{type_}({int(value)})"

    return literal


def _real(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _NOT_FINITE:
        return f"real({_NOT_FINITE[value.lower()]})"
    if isinstance(value, bool) or not (
        isinstance(value, int | float) or (isinstance(value, str) and _REAL.fullmatch(value))
    ):
        raise ValueError("expected a number, its digits as a string, or 'nan', '+inf', '-inf'")
    return f"real({_finite(value)!r})"


def _finite(value: float | str) -> float:
    """Return a number as a finite double."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("too large for a double")
    return number


def _decimal(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (isinstance(value, str) and _REAL.fullmatch(value)):
        raise ValueError("expected an integer, or digits as a string (a JSON number would not be exact)")
    try:
        plain = f"{Decimal(value):f}"
    except InvalidOperation as error:
        raise ValueError("no number") from error
    if sum(map(str.isdigit, plain)) > _DECIMAL_DIGITS:
        raise ValueError(f"more than {_DECIMAL_DIGITS} digits")
    return f"decimal({plain})"


def _datetime(value: Any) -> str:
    return kql.instant(parse_instant(_text(value, "an instant such as '2026-11-21T10:00:00.1234567Z'")))


def _timespan(value: Any) -> str:
    ticks = _span_ticks(_text(value, "a timespan such as '1.02:03:04.5678901' or '5m'"))
    sign, ticks = ("-", -ticks) if ticks < 0 else ("", ticks)
    if ticks >= 1 << 63:
        raise ValueError("longer than Kusto's longest, some 29,000 years")
    seconds, fraction = divmod(ticks % DAY, SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:07}"
    return f"{sign}timespan({ticks // DAY}.{clock})"


def _span_ticks(text: str) -> int:
    """Return a timespan's ticks of 100 ns."""
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups()[1:5])
        if hours > 23 or minutes > 59 or seconds > 59:
            raise ValueError(f"{text!r} has more than 23 hours, 59 minutes or 59 seconds")
        ticks = days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND
        return (ticks + int((clock[6] or "").ljust(7, "0"))) * (-1 if clock[1] else 1)
    if (span := _SPAN.fullmatch(text)) and span[3] in _UNITS:
        exact = Decimal(span[2]) * _UNITS[span[3]]
        if exact != int(exact):
            raise ValueError(f"{text!r} is not a whole number of ticks of 100 ns")
        return int(exact) * (-1 if span[1] else 1)
    raise ValueError(f"{text!r} is no timespan such as '1.02:03:04.5678901', '5m' or '1.5h'")


def _guid(value: Any) -> str:
    text = _text(value, "a GUID")
    if not _GUID.fullmatch(text):
        raise ValueError("expected 32 hexadecimal digits as in '12345678-1234-1234-1234-123456789abc'")
    return f"guid({text.lower()})"


def _dynamic(value: Any) -> str:
    return f"dynamic({_json(value)})"


def _json(value: Any) -> str:
    """Return JSON whose strings are strings of KQL as well, so that none ends early."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            _check_unicode(value)
            return '"' + kql.escaped(value, '"') + '"'
        case int() if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{value} is no long; as a string it keeps its digits")
        case int():
            return str(value)
        case float():
            return repr(_finite(value))
        case list():
            return "[" + ",".join(map(_json, value)) + "]"
        case dict():
            return "{" + ",".join(f"{_json(str(key))}:{_json(each)}" for key, each in value.items()) + "}"
    raise ValueError(f"{type(value).__name__} is no JSON")


def _text(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")  # noqa: TRY004 (a caller's mistake, not ours)
    return value


def _check_unicode(text: str) -> None:
    """Raise ValueError for half a surrogate pair, which no UTF-8 can carry."""
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("it holds half of a surrogate pair")


TYPES: Mapping[str, Callable[[Any], str]] = {
    "string": _string,
    "bool": _bool,
    "int": _integer("int", 32),
    "long": _integer("long", 64),
    "real": _real,
    "decimal": _decimal,
    "datetime": _datetime,
    "timespan": _timespan,
    "guid": _guid,
    "dynamic": _dynamic,
}
"""Kusto's scalar types, and what writes a JSON value as a literal of each; ValueError where it is none."""
