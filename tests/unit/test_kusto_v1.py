"""Answers in the shape of Kusto's first version: read as those of the query API, and believed no sooner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import AnswerTooLargeError, IncompleteAnswerError, ProtocolError
from shared.query_api import Answer, read_answer

COLUMNS = [
    {"ColumnName": "TimeGenerated", "DataType": "DateTime", "ColumnType": "datetime"},
    {"ColumnName": "n", "DataType": "Int64"},
    {"ColumnName": "ok", "DataType": "SByte", "ColumnType": "bool"},
    {"ColumnName": "bag", "DataType": "Object", "ColumnType": "dynamic"},
]
ROWS: list[Any] = [
    ["2026-11-21T10:00:00.1234567Z", 9007199254740993, 1, '{"a":1}'],
    [None, 1, 0, {"a": 1}],
    [None, 1, None, None],
    [None, 1, True, "x"],
]
STATUS = ["Timestamp", "Severity", "SeverityName", "StatusCode", "StatusDescription", "Count"]
DONE = ["2026-11-21T10:00:01Z", 4, "Info", 0, "Query completed successfully", 1]


def named(*names: str) -> list[dict[str, str]]:
    """Return columns by their names alone."""
    return [{"ColumnName": name, "DataType": "String", "ColumnType": "string"} for name in names]


def stats(rows: int) -> list[Any]:
    """Return the status row that counts the rows."""
    counted = {"ExecutionTime": 0.1, "dataset_statistics": [{"table_row_count": rows, "table_size": 9}]}
    return ["2026-11-21T10:00:01Z", 6, "Stats", 0, json.dumps(counted), 1]


def answer(rows: list[Any] = ROWS, status: list[list[Any]] | None = None, **beside: Any) -> dict[str, Any]:
    """Build an answer as the service orders its tables."""
    kinds = ["QueryResult", "QueryProperties", "QueryStatus"]
    contents = [[number, kind, kind, "id", ""] for number, kind in enumerate(kinds)]
    return {
        "Tables": [
            {"TableName": "Table_0", "Columns": COLUMNS, "Rows": rows},
            {"TableName": "Table_1", "Columns": named("Value"), "Rows": [["{}"]]},
            {"TableName": "Table_2", "Columns": named(*STATUS), "Rows": status or [DONE, stats(len(rows))]},
            {
                "TableName": "Table_3",
                "Columns": named("Ordinal", "Kind", "Name", "Id", "PrettyName"),
                "Rows": contents,
            },
        ],
        **beside,
    }


def read(document: Any) -> Answer:
    """Read an answer's body."""
    return read_answer(json.dumps(document).encode())


def test_the_result_is_read_as_the_query_api_writes_it() -> None:
    """Columns have Kusto's types, truth values are JSON's own, and every other byte is as it came."""
    found = read(answer())
    assert [(each.name, each.type) for each in found.columns] == [
        ("TimeGenerated", "datetime"), ("n", "long"), ("ok", "bool"), ("bag", "dynamic"),
    ]  # fmt: skip
    assert [json.loads(bytes(row)) for row in found.rows] == [
        ["2026-11-21T10:00:00.1234567Z", 9007199254740993, True, '{"a":1}'],
        [None, 1, False, {"a": 1}],
        [None, 1, None, None],
        [None, 1, True, "x"],
    ]
    assert found.partial is None
    assert json.loads(bytes(found.statistics)) == {"query": {"datasetStatistics": [{"tableRowCount": 4}]}}


def test_an_answer_of_two_tables_has_no_contents() -> None:
    """With one or two tables the first is the result."""
    whole = answer()["Tables"]
    for tables in (whole[:1], whole[:2]):
        found = read({"Tables": tables})
        assert (len(found.rows), found.partial) == (4, None)


def test_the_status_is_found_without_contents() -> None:
    """A status table beside the result tells of missing rows also where nothing says what it is."""
    bad = [["t", 2, "Error", -2133196797, "Query result set has exceeded …", 1]]
    tables = answer(status=bad)["Tables"]
    assert isinstance(read({"Tables": [tables[0], tables[2]]}).partial, AnswerTooLargeError)


ONE_API = {"error": {"code": "LimitsExceeded", "message": "m", "@message": "exceeded … (80DA0003)"}}


@pytest.mark.parametrize(
    "document",
    [
        answer(status=[["t", 2, "Error", -2133196797, "exceeded the internal data size limit 64000000", 1]]),
        answer(status=[["t", 2, "Error", 0, "(E_QUERY_RESULT_SET_TOO_LARGE; see …)", 1], stats(4)]),
        answer(Exceptions=["Query execution has exceeded the allowed limits (80DA0003): …"]),
        answer(OneApiErrors=[ONE_API]),
        answer([*ROWS, {"OneApiErrors": [ONE_API]}]),
        answer([*ROWS, {"Exceptions": ["Query execution lacks memory resources (80DA0007): …"]}]),
        {"Tables": [], "Exceptions": ["… (80DA0001): …"]},
        {"Exceptions": ["… (80DA0001): …"]},
        answer(status=[DONE, stats(5)]),
        answer([], status=[DONE, stats(5)]),
    ],
)
def test_a_limit_asks_for_less(document: dict[str, Any]) -> None:
    """Wherever the answer tells, or shows, that a limit has cut it off."""
    assert isinstance(read(document).partial, AnswerTooLargeError)


@pytest.mark.parametrize(
    "document",
    [
        answer(status=[["t", 1, "Critical", 7, "a shard was lost", 1], stats(4)]),
        answer(status=[["t", 3, "Warning", 7, "a leg could not be resolved", 1]]),
        answer(Exceptions=["something else"]),
        answer([*ROWS, {"OneApiErrors": [{"error": {"message": "something else"}}]}]),
        answer([*ROWS, {"OneApiErrors": ["something else"]}]),
        answer([*ROWS, {"Odd": 1}]),
        answer(error={"code": "PartialError", "message": "something else"}),
    ],
)
def test_any_other_error_fails_and_is_retried(document: dict[str, Any]) -> None:
    """Rows beside an error are not all rows; asking for less would not mend it."""
    missing = read(document).partial
    assert isinstance(missing, IncompleteAnswerError)
    assert not isinstance(missing, AnswerTooLargeError)
    assert missing.retryable


@pytest.mark.parametrize(
    "document",
    [
        {"Tables": []},
        {"Tables": [{"Columns": COLUMNS}]},
        answer(status=[DONE, stats(3)]),
        {"Tables": [*answer()["Tables"][:1], *answer()["Tables"][:3],
                    {"Columns": named("Ordinal", "Kind"), "Rows": [[0, "QueryResult"], [1, "QueryResult"]]}]},
    ],
)  # fmt: skip
def test_what_is_not_one_result_is_refused(document: dict[str, Any]) -> None:
    """No table, half a table, more rows than are counted, or two results: nothing of it is taken for data."""
    with pytest.raises(ProtocolError):
        read(document)


def test_a_type_may_be_told_by_its_net_name_alone() -> None:
    """Where Kusto's own type is missing the .NET type decides, also with its namespace."""
    columns = [
        {"ColumnName": str(number), "DataType": name}
        for number, name in enumerate(["System.SByte", "SqlDecimal", "System.Object", "Guid", "Unheard"])
    ]
    found = read({"Tables": [{"Columns": columns, "Rows": [[0, "1.5", {"a": 1}, None, 1]]}]})
    assert [each.type for each in found.columns] == ["bool", "decimal", "dynamic", "guid", "dynamic"]
    assert json.loads(bytes(found.rows[0]))[0] is False
