"""The workspace's rows in DuckDB: adding them, and answers in the query service's encoding of rows.

Instants are kept as ticks on the engine's clock (see `local.cloud.kql`), so all seven digits survive.
"""

import queue
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
from duckdb_kql.errors import KqlError

from local.cloud import kql
from local.cloud.kusto_types import STORED, TO_JSON, wire
from local.cloud.sql_macros import SETUP
from local.cloud.tables import INGESTION_TIME, TABLES, TIME

_INSERT_ROWS = 5_000
_FETCH_ROWS = 10_000
_NUMBER = "$number"


@dataclass(frozen=True)
class Table:
    """An answer's table: `columns` as (name, Kusto type), `rows` each as a JSON array, read once."""

    columns: list[tuple[str, str]]
    rows: Iterator[bytes]


def new_database() -> duckdb.DuckDBPyConnection:
    """An empty database in memory, for the stores of any number of workspaces."""
    # The stand-in must not reach for the network, and all that it needs is built in.
    database = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    database.execute(SETUP)
    return database


class Store:
    """The tables of one workspace, in memory, for any number of threads.

    Several stores can share a `database`, each in a `space` (a DuckDB schema) of its own, so that one query
    can ask them all.
    """

    def __init__(
        self,
        workspace_id: str,
        database: duckdb.DuckDBPyConnection | None = None,
        space: str = "main",
        tables: Mapping[str, Mapping[str, str]] = TABLES,
    ) -> None:
        self.workspace_id = workspace_id
        self.space = space
        self._database = (database or new_database()).cursor()
        self._database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(space)}")
        self._database.execute(f"SET schema = {literal(space)}")
        self._idle: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        self._write = threading.Lock()
        self._has_rows = False
        self._later: list[tuple[int, str]] = []  # (ticks, table) of rows that are not visible yet
        self.columns: dict[str, dict[str, str]] = {}
        self.schema: kql.Schema = {}
        for name, columns in tables.items():
            self.create(name, columns)

    def create(self, name: str, columns: Mapping[str, str]) -> None:
        """Add an empty table; `columns` are names with their Kusto types."""
        stored, visible = quoted(kql.hidden_table(name)), ", ".join(map(quoted, columns))
        declared = ", ".join(f"{quoted(each)} {STORED[kind][0]}" for each, kind in columns.items())
        self.change(
            f"CREATE TABLE {stored} ({declared}, {quoted(kql.INGESTION)} TIMESTAMP)",
            f"CREATE VIEW {quoted(name)} AS SELECT {visible} FROM {stored}",  # noqa: S608
            f"CREATE TABLE {_later(name)} AS SELECT *, 0::BIGINT AS visible FROM {stored}",  # noqa: S608
            # What `remove` looks at; no query can, because `schema` does not have it.
            *(
                f"CREATE VIEW {quoted(view)} AS SELECT *, rowid AS {quoted(_NUMBER)} FROM {stored}"  # noqa: S608
                for view in (_numbered(name), kql.hidden_table(_numbered(name)))
            ),
        )
        # Replaced as a whole, because queries read them without a lock.
        self.columns = {**self.columns, name: dict(columns)}
        self.schema = _schema(self.columns)

    def drop(self, name: str) -> None:
        """Take a table away with all its rows."""
        self.columns = {known: columns for known, columns in self.columns.items() if known != name}
        self.schema = _schema(self.columns)
        views = (_numbered(name), kql.hidden_table(_numbered(name)), name)
        self.change(
            *(f"DROP VIEW {quoted(view)}" for view in views),
            f"DROP TABLE {_later(name)}",
            f"DROP TABLE {quoted(kql.hidden_table(name))}",
        )

    def change(self, *statements: str) -> None:
        """Run SQL that changes tables, all of it or none. Raises duckdb.Error."""
        with self._write, self._connection() as connection:
            connection.execute("BEGIN")
            try:
                for each in statements:
                    connection.execute(each)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that nobody else uses meanwhile: DuckDB's are not for several threads at once."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._database.cursor()
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET schema = {literal(self.space)}")
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Drop everything."""
        while not self._idle.empty():
            self._idle.get().close()
        self._database.close()

    def add(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        ingested: int | None,
        now: int,
        visible: int | None = None,
    ) -> int:
        """Append rows and return how many. Queries see them from `visible` (ticks) on, or at once.

        A value is in the wire's form; instants and durations may also be ticks. `ingested` and `now` are
        ticks; an item `INGESTION_TIME` of a row goes before `ingested`. A missing column is null (a string:
        empty), but TimeGenerated is then `now`, and `Type`, `TenantId` and `_ItemId` are filled in as the
        service does.

        Raises ValueError for an unknown table or column, or a value that is not of its column's type.
        """
        kinds = {**self._columns(table), INGESTION_TIME: "datetime"}
        standard = {TIME: now, "Type": table, "TenantId": self.workspace_id, INGESTION_TIME: ingested}
        converters = [(name, TO_JSON[kind]) for name, kind in kinds.items() if kind in TO_JSON]
        documents = []
        for row in rows:
            if unknown := row.keys() - kinds.keys():
                raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
            document = {**standard, **row}
            if "_ItemId" not in document:
                document["_ItemId"] = str(uuid.uuid4())
            for name, convert in converters:
                if name in document:
                    document[name] = convert(document[name])
            documents.append(document)
        with self._write, self._connection() as connection:
            for first in range(0, len(documents), _INSERT_ROWS):
                text = msgspec.json.encode(documents[first : first + _INSERT_ROWS]).decode()
                try:
                    connection.execute(_insert(table, kinds, visible), [text])
                except duckdb.Error as error:
                    raise ValueError(f"a row does not fit table {table}: {error}") from error
            if visible is not None:
                self._later.append((visible, table))
        self._has_rows = self._has_rows or bool(documents)
        return len(documents)

    def reveal(self, now: int) -> None:
        """Show queries the rows that are to be visible by `now` (ticks)."""
        if not any(ticks <= now for ticks, _ in self._later):
            return
        with self._write, self._connection() as connection:
            for table in dict.fromkeys(table for ticks, table in self._later if ticks <= now):
                due = f"FROM {_later(table)} WHERE visible <= {now}"
                target = quoted(kql.hidden_table(table))
                connection.execute("BEGIN")
                connection.execute(f"INSERT INTO {target} SELECT * EXCLUDE (visible) {due}")
                connection.execute(f"DELETE {due}")
                connection.execute("COMMIT")
            self._later = [each for each in self._later if each[0] > now]

    def remove(self, table: str, which: int | str, now: int) -> int:
        """Delete rows and return how many: the first so many, or those that meet a KQL condition.

        Rows that are not visible yet are left alone. Raises ValueError for an unknown table or a condition
        that cannot be run.
        """
        stored = quoted(kql.hidden_table(table))
        columns = [*self._columns(table), kql.INGESTION, _NUMBER]
        if isinstance(which, int):
            numbers = f"SELECT rowid FROM {stored} ORDER BY rowid LIMIT {which}"  # noqa: S608
        else:
            schema = {_numbered(table): columns, kql.hidden_table(_numbered(table)): columns}
            query = f"['{_numbered(table)}']\n| where {which}\n| project ['{_NUMBER}']"
        self.reveal(now)
        try:
            if isinstance(which, str):
                numbers = kql.translate(query, schema, now, None)
            with self._write, self._connection() as connection:
                done = connection.execute(f"DELETE FROM {stored} WHERE rowid IN ({numbers})").fetchall()  # noqa: S608
        except (KqlError, duckdb.Error) as error:
            raise ValueError(f"cannot remove the rows of {table} where {which}: {error}") from error
        return int(done[0][0])

    def is_empty(self) -> bool:
        """Whether no table has any row."""
        return not self._has_rows

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows in the order of their arrival, as the wire has them, with their item `INGESTION_TIME`.

        Last come those that queries do not see yet.
        """
        names = [*self._columns(table), INGESTION_TIME]
        decode = msgspec.json.Decoder().decode
        later = f"SELECT * EXCLUDE (visible) FROM {_later(table)}"  # noqa: S608
        sql = f"FROM {quoted(kql.hidden_table(table))} UNION ALL {later}"
        with self.answer(sql, hidden=True) as answer:
            return [dict(zip(names, decode(row), strict=True)) for row in answer.rows]

    def _columns(self, table: str) -> dict[str, str]:
        if table not in self.columns:
            raise ValueError(f"no table {table!r} in the stand-in; it has {', '.join(self.columns)}")
        return self.columns[table]

    @contextmanager
    def answer(self, sql: str, *, hidden: bool = False) -> Iterator[Table]:
        """The table that `sql` selects, to be read within the block; `hidden` shows the hidden column too.

        Raises duckdb.Error where the SQL does not fit the data.
        """
        with self._connection() as connection:
            columns: list[tuple[str, str]] = []
            values: list[str] = []
            for name, engine_type, *_ in connection.execute(f"DESCRIBE {sql}").fetchall():
                if hidden or not name.startswith(kql.INGESTION):
                    kind, encode = wire(engine_type)
                    columns.append((name, kind))
                    values.append(encode.format(quoted(name)))
            # One JSON array a row, made by the engine: names are quoted, and the values never are SQL.
            connection.execute(f"SELECT CAST(json_array({', '.join(values)}) AS VARCHAR) FROM ({sql})")  # noqa: S608
            yield Table(columns, _rows(connection))


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
    while batch := connection.fetchmany(_FETCH_ROWS):
        for (row,) in batch:
            yield row.encode()


def _schema(tables: Mapping[str, Mapping[str, str]]) -> kql.Schema:
    """What a translation needs to know of tables: each one's columns, and those of its hidden twin."""
    visible = {name: list(columns) for name, columns in tables.items()}
    return visible | {kql.hidden_table(name): [*columns, kql.INGESTION] for name, columns in tables.items()}


def _numbered(table: str) -> str:
    """The view of a table that numbers its rows in the order of their arrival."""
    return f"{table} numbered"


def _later(table: str) -> str:
    """The table of the rows that are not visible yet, quoted."""
    return quoted(f"${table} later")


def _insert(table: str, kinds: Mapping[str, str], visible: int | None) -> str:
    """SQL that inserts a JSON array of rows; only the names of columns are in it, and quoted."""
    shape = msgspec.json.encode([{name: STORED[kind][1] for name, kind in kinds.items()}]).decode()
    values = ", ".join(STORED[kind][2].format(f"row[{literal(name)}]") for name, kind in kinds.items())
    rows = f"(SELECT unnest(from_json(?, {literal(shape)})) AS row)"
    if visible is not None:
        return f"INSERT INTO {_later(table)} SELECT {values}, {visible} FROM {rows}"  # noqa: S608
    return f"INSERT INTO {quoted(kql.hidden_table(table))} SELECT {values} FROM {rows}"  # noqa: S608


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"
