"""A result in the shape of Kusto's first REST version, in which Resource Manager answers queries.

Sources: "Query/management HTTP response" (names and encoding of the tables), an answer kept in
microsoft/jupyter-Kqlmagic (columns of the status table and of the table of contents), and its issue 77 (how
the status table tells of rows that are missing).
"""

import uuid
from typing import Any

import msgspec

from local.cloud import query_errors as errors
from local.cloud.query_run import Result
from local.cloud.table_limits import TableLimits
from local.cloud.ticks import format_instant

_DATA_TYPES = {
    "string": "String",
    "datetime": "DateTime",
    "int": "Int32",
    "long": "Int64",
    "real": "Double",
    "bool": "SByte",
    "guid": "Guid",
    "decimal": "SqlDecimal",
    "timespan": "TimeSpan",
    "dynamic": "Object",
}

_STATUS = {
    "Timestamp": "datetime",
    "Severity": "int",
    "SeverityName": "string",
    "StatusCode": "int",
    "StatusDescription": "string",
    "Count": "int",
    "RequestId": "guid",
    "ActivityId": "guid",
    "SubActivityId": "guid",
    "ClientActivityId": "string",
}
_CONTENTS = {"Ordinal": "long", "Kind": "string", "Name": "string", "Id": "string", "PrettyName": "string"}


def body(result: Result, limits: TableLimits, now: int) -> bytes:
    """The tables of a result: its rows, its properties, its status, and the table of contents.

    `now` is in ticks; `limits` decides how missing rows are told of, and whether values are JSON's own.
    """
    rows = [_row(row, [kind for _, kind in result.columns], nested=limits.arm_nested) for row in result.rows]
    told = None if result.error is None else limits.arm_partial
    engine = (result.error or {}).get("innererror", {})
    if told == "rows":
        rows.append(_one_api_error(engine))
    properties = {"Visualization": None, "Title": None, "IsQuerySorted": False, "Kind": None}
    tables = [
        _table(0, dict(result.columns), rows),
        _table(1, {"Value": "string"}, [[msgspec.json.encode(properties).decode()]]),
        _table(2, _STATUS, _status(result, engine if told == "status" else None, now)),
        _table(
            3,
            _CONTENTS,
            [
                [0, "QueryResult", "PrimaryResult", str(uuid.uuid4()), ""],
                [1, "QueryProperties", "@ExtendedProperties", str(uuid.uuid4()), ""],
                [2, "QueryStatus", "QueryStatus", str(uuid.UUID(int=0)), ""],
            ],
        ),
    ]
    document: dict[str, Any] = {"Tables": tables}
    if told == "exceptions":
        document["Exceptions"] = [_limits_exceeded(engine)]
    return msgspec.json.encode(document)


def _table(number: int, columns: dict[str, str], rows: list[Any]) -> dict[str, Any]:
    described = [
        {"ColumnName": name, "DataType": _DATA_TYPES[kind], "ColumnType": kind}
        for name, kind in columns.items()
    ]
    return {"TableName": f"Table_{number}", "Columns": described, "Rows": rows}


def _row(row: bytes, kinds: list[str], *, nested: bool) -> Any:
    """A row as it is, but booleans as 0 and 1; or as it is, but dynamic values as JSON instead of text."""
    changed = "dynamic" if nested else "bool"
    if changed not in kinds:
        return msgspec.Raw(row)
    values = msgspec.json.decode(row, type=list[msgspec.Raw])
    change = _unpacked if nested else _number
    return [change(value) if kind == changed else value for kind, value in zip(kinds, values, strict=True)]


def _number(value: msgspec.Raw) -> msgspec.Raw:
    return {b"true": msgspec.Raw(b"1"), b"false": msgspec.Raw(b"0")}.get(bytes(value), value)


def _unpacked(value: msgspec.Raw) -> msgspec.Raw:
    text = msgspec.json.decode(value)
    is_document = isinstance(text, str) and text[:1] in ("{", "[")
    return msgspec.Raw(text.encode()) if is_document else value


def _status(result: Result, engine: errors.Details | None, now: int) -> list[list[Any]]:
    ids = [str(uuid.uuid4()) for _ in range(4)]
    stamp = format_instant(now)
    if engine is not None:
        return [[stamp, 2, "Error", int(engine["code"]), engine["message"], 1, *ids]]
    counted = {"table_row_count": result.stated_rows, "table_size": result.stated_bytes}
    statistics = {"ExecutionTime": round(result.seconds, 7), "dataset_statistics": [counted]}
    return [
        [stamp, 4, "Info", 0, "Query completed successfully", 1, *ids],
        [stamp, 6, "Stats", 0, msgspec.json.encode(statistics).decode(), 1, *ids],
    ]


def _limits_exceeded(engine: errors.Details) -> str:
    return f"Query execution has exceeded the allowed limits (80DA0003): {engine['message']}"


def _one_api_error(engine: errors.Details) -> dict[str, Any]:
    kind = "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException"
    error = {
        "code": "LimitsExceeded",
        "message": "Request is invalid and cannot be executed.",
        "@type": kind,
        "@message": _limits_exceeded(engine),
        "@permanent": False,
    }
    return {"OneApiErrors": [{"error": error}]}
