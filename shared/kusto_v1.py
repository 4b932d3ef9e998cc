"""Answers in the shape of Kusto's first REST version, which Resource Manager gives. Pure.

Sources: "Query/management HTTP response" (the tables and their order, errors among rows), and answers of Log
Analytics in that shape (the columns of the table QueryStatus, and how it tells that rows are missing).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared import rawjson
from shared.errors import ProtocolError
from shared.model import Column

_WARNING = 3  # severities: 1 critical, 2 error, 3 warning, 4 information, 6 statistics
_TYPES = {
    "String": "string",
    "DateTime": "datetime",
    "Object": "dynamic",
    "Int32": "int",
    "Int64": "long",
    "Double": "real",
    "SByte": "bool",
    "Boolean": "bool",
    "TimeSpan": "timespan",
    "Guid": "guid",
    "SqlDecimal": "decimal",
}
_BOOLS = {b"0": msgspec.Raw(b"false"), b"1": msgspec.Raw(b"true")}


class KustoColumn(msgspec.Struct):
    """A column as this shape describes it, by a .NET type, and mostly by Kusto's own too."""

    name: str = msgspec.field(name="ColumnName")
    net_type: str = msgspec.field(name="DataType", default="")
    kusto_type: str = msgspec.field(name="ColumnType", default="")


class KustoTable(msgspec.Struct):
    """One of an answer's tables. A row is an array, or an object that tells of an error."""

    columns: list[KustoColumn] = msgspec.field(name="Columns")
    rows: list[msgspec.Raw] = msgspec.field(name="Rows")


@dataclass(frozen=True, slots=True)
class Result:
    """A result as the query API writes it: ``error`` is its partial error, ``stated_rows`` its own count."""

    columns: tuple[Column, ...]
    rows: list[msgspec.Raw]
    error: dict[str, Any] | None
    stated_rows: int | None


def result_of(tables: Sequence[KustoTable], beside: Mapping[str, Any]) -> Result:
    """Return the one result among an answer's tables; ``beside`` are the errors that stand beside them.

    Raises ProtocolError when there is none, or more than one.
    """
    kinds = _kinds(tables)
    if not tables and beside:
        return Result((), [], _partial(_errors(beside)), None)
    results = [table for table, kind in zip(tables, kinds, strict=True) if kind == "QueryResult"]
    if len(results) != 1:
        raise ProtocolError(
            f"Log Analytics answered {len(results)} tables; write the query so that it has one result"
        )
    table = results[0]
    columns = tuple(Column(each.name, _type(each)) for each in table.columns)
    rows = [row for row in table.rows if not _is_object(row)]
    told = [_decoded(row) for row in table.rows if _is_object(row)]
    status = [
        dict(zip([column.name for column in each.columns], _decoded(row), strict=False))
        for each, kind in zip(tables, kinds, strict=True)
        if kind == "QueryStatus"
        for row in each.rows
    ]
    errors = [error for each in [beside, *told] for error in _errors(each)]
    errors += _bad_status(status)
    bools = [place for place, column in enumerate(columns) if column.type == "bool"]
    return Result(
        columns,
        [_with_bools(row, bools) for row in rows] if bools else rows,
        _partial(errors),
        _stated_rows(status),
    )


def _kinds(tables: Sequence[KustoTable]) -> list[str]:
    """Return what each table is. The last of more than two is their table of contents."""
    names = [{column.name for column in table.columns} for table in tables]
    if len(tables) > 2 and names[-1] >= {"Ordinal", "Kind"}:
        contents = [
            dict(zip([column.name for column in tables[-1].columns], _decoded(row), strict=False))
            for row in tables[-1].rows
        ]
        kinds = {each["Ordinal"]: str(each["Kind"]) for each in contents}
        return [kinds.get(number, "") for number in range(len(tables))]
    return [
        "QueryStatus" if each >= {"Severity", "StatusDescription"} else "QueryResult" if not number else ""
        for number, each in enumerate(names)
    ]


def _type(column: KustoColumn) -> str:
    return column.kusto_type or _TYPES.get(column.net_type.removeprefix("System."), "dynamic")


def _is_object(row: msgspec.Raw) -> bool:
    return bytes(memoryview(row)[:1]) == b"{"


def _decoded(row: msgspec.Raw) -> Any:
    try:
        return rawjson.decode(bytes(row), object)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"a row of Log Analytics' answer cannot be read: {error}") from error


def _partial(errors: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return errors as the query API words them beside rows."""
    details = list(errors)
    if not details:
        return None
    return {"code": "PartialError", "message": "Some rows are missing.", "details": details}


def _errors(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the errors that an object among the rows, or the answer itself, tells of."""
    for text in told.get("Exceptions") or []:
        yield {"code": "Exceptions", "message": str(text)}
    for each in told.get("OneApiErrors") or []:
        error = each.get("error") if isinstance(each, dict) else None
        inner = error if isinstance(error, dict) else {"message": str(each)}
        message = " ".join(str(inner[key]) for key in ("message", "@message") if inner.get(key))
        yield {"code": str(inner.get("code") or "OneApiErrors"), "message": message}
    if told and not told.keys() & {"Exceptions", "OneApiErrors"}:
        yield {"code": "ErrorAmongRows", "message": str(told)[:500]}


def _bad_status(status: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in status:
        severity = each.get("Severity")
        if isinstance(severity, int) and severity <= _WARNING:
            yield {"code": str(each.get("StatusCode")), "message": str(each.get("StatusDescription"))}


def _stated_rows(status: Iterable[Mapping[str, Any]]) -> int | None:
    """Return how many rows the statistics among the status rows count, where there are any."""
    for each in status:
        try:
            described = msgspec.json.decode(str(each.get("StatusDescription")))
            return int(described["dataset_statistics"][0]["table_row_count"])
        except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError):
            continue
    return None


def _with_bools(row: msgspec.Raw, places: Sequence[int]) -> msgspec.Raw:
    """Return a row whose truth values are JSON's own: this shape has them as 0 and 1."""
    try:
        cells = msgspec.json.decode(row, type=list[msgspec.Raw])
    except rawjson.UNREADABLE:
        return row  # the writer says what is wrong with it
    for place in places:
        if place < len(cells):
            cells[place] = _BOOLS.get(bytes(cells[place]), cells[place])
    return msgspec.Raw(b"[" + b",".join(map(bytes, cells)) + b"]")
