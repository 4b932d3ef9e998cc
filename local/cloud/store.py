"""The workspace's rows in DuckDB: adding them, and answers in the query service's encoding of rows.

Every connection shares one in-memory database. Instants are kept as ticks on the engine's clock
(see `local.cloud.kql`), so all seven digits survive.
"""

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec

from local.cloud import kql, sql_functions
from local.cloud.tables import INGESTION_TIME, TABLES, TIME
from local.cloud.ticks import parse_duration, parse_instant

_STORED = {
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
"""Kusto type -> the column's type, the type of its value in the JSON of `_document`, and SQL from one to the other."""

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
    "DOUBLE": (
        "real",
        "CAST(CASE WHEN isnan({0}) THEN '\"NaN\"' WHEN {0} = 'Infinity' THEN '\"Infinity\"' "
        "WHEN {0} = '-Infinity' THEN '\"-Infinity\"' "
        "WHEN {0} = trunc({0}) AND abs({0}) < 1e15 THEN CAST(CAST({0} AS BIGINT) AS VARCHAR) "
        "ELSE CAST({0} AS VARCHAR) END AS JSON)",
    ),
}
"""DuckDB type -> the Kusto type it is announced as, and SQL that makes a JSON value as the service sends it."""

_DECIMAL_WIRE = ("decimal", "regexp_replace(CAST({0} AS VARCHAR), '\\.?0+$', '')")
_DYNAMIC_WIRE = (
    "dynamic",
    "CASE WHEN {0} IS NULL THEN NULL WHEN json_type(to_json({0})) = 'VARCHAR' THEN to_json({0}) ->> '$' "
    "ELSE CAST(to_json({0}) AS VARCHAR) END",
)


@dataclass(frozen=True)
class Table:
    """An answer's table: `columns` as (name, Kusto type), `rows` each as the text of a JSON array."""

    columns: list[tuple[str, str]]
    rows: Iterator[str]


class Store:
    """The tables of one workspace."""

    def __init__(self, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        # The stand-in must not reach for the network, and all that it needs is built in.
        self._database = duckdb.connect(
            ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self._database.execute("SET GLOBAL TimeZone = 'UTC'")
        self._database.execute(sql_functions.SETUP)
        self._threads = threading.local()
        self._write = threading.Lock()
        self._has_rows = False
        self.schema: kql.Schema = {}
        for name, columns in TABLES.items():
            self._create(name, columns)

    def _create(self, name: str, columns: Mapping[str, str]) -> None:
        stored, visible = _quoted(kql.hidden_table(name)), ", ".join(map(_quoted, columns))
        declared = ", ".join(f"{_quoted(each)} {_STORED[kind][0]}" for each, kind in columns.items())
        self._database.execute(f"CREATE TABLE {stored} ({declared}, {_quoted(kql.INGESTION)} TIMESTAMP)")
        self._database.execute(f"CREATE VIEW {_quoted(name)} AS SELECT {visible} FROM {stored}")
        self.schema[name] = list(columns)
        self.schema[kql.hidden_table(name)] = [*columns, kql.INGESTION]

    def _connection(self) -> duckdb.DuckDBPyConnection:
        """This thread's own connection: DuckDB's are not for several threads at once."""
        connection: duckdb.DuckDBPyConnection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = self._database.cursor()
            connection.execute("SET TimeZone = 'UTC'")
        return connection

    def close(self) -> None:
        """Drop everything."""
        self._database.close()

    def add(self, table: str, rows: Sequence[Mapping[str, Any]], ingested: int | None, now: int) -> int:
        """Append rows and return how many.

        A value is in the wire's form; instants and durations may also be ticks. `ingested` and `now` are ticks;
        an item `INGESTION_TIME` of a row goes before `ingested`. A missing column is null (a string: empty), but
        TimeGenerated is then `now`, and `Type`, `TenantId` and `_ItemId` are filled in as the service does.

        Raises ValueError for an unknown table or column, or a value that is not of its column's type.
        """
        if table not in TABLES:
            raise ValueError(f"no table {table!r} in the stand-in; it has {', '.join(TABLES)}")
        columns = TABLES[table]
        standard = {TIME: now, "Type": table, "TenantId": self.workspace_id, INGESTION_TIME: ingested}
        documents = []
        for row in rows:
            if unknown := row.keys() - columns.keys() - {INGESTION_TIME}:
                raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
            filled = {"_ItemId": str(uuid.uuid4()), **standard, **row}
            documents.append(
                {name: _document(value, columns.get(name, "datetime")) for name, value in filled.items()}
            )
        kinds = {**columns, INGESTION_TIME: "datetime"}
        shape = msgspec.json.encode([{name: _STORED[kind][1] for name, kind in kinds.items()}]).decode()
        read = [_STORED[kind][2].format(f"row[{_text(name)}]") for name, kind in kinds.items()]
        insert = (
            f"INSERT INTO {_quoted(kql.hidden_table(table))} SELECT {', '.join(read)} "
            f"FROM (SELECT unnest(from_json(?, {_text(shape)})) AS row)"
        )
        with self._write:
            for first in range(0, len(documents), 5_000):
                text = msgspec.json.encode(documents[first : first + 5_000]).decode()
                try:
                    self._connection().execute(insert, [text])
                except duckdb.Error as error:
                    raise ValueError(f"a row does not fit table {table}: {error}") from error
        self._has_rows = self._has_rows or bool(documents)
        return len(documents)

    def is_empty(self) -> bool:
        """Whether no table has any row."""
        return not self._has_rows

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows in the order of their arrival, as the wire has them, with their item `INGESTION_TIME`."""
        if table not in TABLES:
            raise ValueError(f"no table {table!r} in the stand-in; it has {', '.join(TABLES)}")
        answer = self.answer(f"SELECT * FROM {_quoted(kql.hidden_table(table))}", hidden=True)
        names = [name if name != kql.INGESTION else INGESTION_TIME for name, _ in answer.columns]
        decode = msgspec.json.Decoder().decode
        return [dict(zip(names, decode(row), strict=True)) for row in answer.rows]

    def answer(self, sql: str, *, hidden: bool = False) -> Table:
        """The table that `sql` selects. Its rows are read while they are iterated, by this thread only.

        Raises duckdb.Error where the SQL does not fit the data.
        """
        connection = self._connection()
        described = connection.execute(f"DESCRIBE {sql}").fetchall()
        columns: list[tuple[str, str]] = []
        encoded: list[str] = []
        for name, kind, *_ in described:
            if name.startswith(kql.INGESTION) and not hidden:
                continue
            wire = _DECIMAL_WIRE if kind.startswith("DECIMAL") else _WIRE.get(kind, _DYNAMIC_WIRE)
            columns.append((name, wire[0]))
            encoded.append(wire[1].format(_quoted(name)))
        connection.execute(f"SELECT CAST(json_array({', '.join(encoded)}) AS VARCHAR) FROM ({sql})")
        return Table(columns, _rows(connection))


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    while batch := connection.fetchmany(10_000):
        for (row,) in batch:
            yield row


def _document(value: Any, kind: str) -> Any:
    """A value in the form that `_STORED` reads."""
    if value is None or (value == "" and kind != "string"):
        return None
    if kind == "datetime" and isinstance(value, str):
        return parse_instant(value)
    if kind == "timespan" and isinstance(value, str):
        return parse_duration(value)
    if kind == "dynamic":
        return _json_text(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 (NaN)
        return str(value)
    return value


def _json_text(value: Any) -> str:
    """The JSON of a dynamic value: a text that is JSON is taken as it stands, any other value is encoded."""
    if isinstance(value, str):
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError:
            return msgspec.json.encode(value).decode()
        return value
    return msgspec.json.encode(value).decode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
