"""Kusto's types in DuckDB: how a value comes in, how it is kept, and how the query service sends it."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from local.cloud.ticks import parse_duration, parse_instant

STORED = {
    "datetime": ("TIMESTAMP", "BIGINT", "make_timestamp({0})"),
    "timespan": ("INTERVAL", "BIGINT", "to_microseconds({0})"),
    "string": ("VARCHAR", "VARCHAR", "coalesce({0}, '')"),
    "int": ("INTEGER", "INTEGER", "{0}"),
    "long": ("BIGINT", "BIGINT", "{0}"),
    "real": ("DOUBLE", "VARCHAR", "CAST({0} AS DOUBLE)"),
    "bool": ("BOOLEAN", "BOOLEAN", "{0}"),
    "guid": ("UUID", "VARCHAR", "CAST({0} AS UUID)"),
    "decimal": ("DECIMAL(38, 10)", "VARCHAR", "CAST({0} AS DECIMAL(38, 10))"),
    "dynamic": ("JSON", "VARCHAR", "CAST({0} AS JSON)"),
}
"""Kusto type -> the column's type, the type of its value in JSON, and SQL from the one to the other."""

_WIRE = {
    "TIMESTAMP": ("datetime", "tick_wire({0})"),
    "INTERVAL": ("timespan", "span_text({0})"),
    "VARCHAR": ("string", "coalesce({0}, '')"),
    "INTEGER": ("int", "{0}"),
    "BIGINT": ("long", "{0}"),
    "HUGEINT": ("long", "{0}"),
    "UBIGINT": ("long", "{0}"),
    "BOOLEAN": ("bool", "{0}"),
    "UUID": ("guid", "CAST({0} AS VARCHAR)"),
    "DOUBLE": ("real", "real_wire({0})"),
}


def wire(engine_type: str) -> tuple[str, str]:
    """The Kusto type that a DuckDB type is announced as, and SQL that makes its values JSON."""
    if engine_type.startswith("DECIMAL"):
        return "decimal", "decimal_wire({0})"
    return _WIRE.get(engine_type, ("dynamic", "dynamic_wire({0})"))


def _instant(value: Any) -> Any:
    return parse_instant(value) if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _real(value: Any) -> Any:
    """JSON has no NaN and no infinities; DuckDB reads their names."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _dynamic(value: Any) -> Any:
    """The JSON of a dynamic value: a text that is JSON is taken as it stands, any other value is encoded."""
    if isinstance(value, str):
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError:
            return msgspec.json.encode(value).decode()
        return value
    return None if value is None else msgspec.json.encode(value).decode()


TO_JSON: dict[str, Callable[[Any], Any]] = {
    "datetime": _instant,
    "timespan": _duration,
    "dynamic": _dynamic,
    "real": _real,
}
"""Kusto type -> what brings a value into the form that `STORED` reads; other types are in it already."""
