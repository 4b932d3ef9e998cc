"""Parquet: typed columns whose values are the service's, files that all readers open, bounded row groups."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from shared import parquet_file
from shared.errors import ExportError, ProtocolError
from shared.exports_file import read_exports
from shared.formats import FORMATS
from shared.model import Batch, Column
from shared.query_api import read_answer
from shared.sources import SOURCES
from shared.tables import ColumnsChangedError, numbered, record_columns
from tests.unit.answers import batch, parts_of, records_of, said, tables, wire, written

PARQUET = FORMATS["parquet"]
TYPES = {
    "bool": pa.bool_(),
    "datetime": pa.timestamp("ns", "UTC"),
    "decimal": pa.decimal128(38, 18),
    "int": pa.int32(),
    "long": pa.int64(),
    "real": pa.float64(),
}
ROW = (Column("n", "long"), Column("t", "string"))
EARLIEST, LATEST = "1677-09-21T00:12:43.1452243Z", "2262-04-11T23:47:16.8547758Z"
NANOSECOND = 10**9


def table_of(data: bytes) -> pa.Table:
    """Read a file as pyarrow does."""
    return parquet.read_table(io.BytesIO(data))


def column(type_: str, *cells: str) -> pa.ChunkedArray:
    """Return what a file has of one column."""
    return table_of(written(PARQUET.writer(), batch([Column("a", type_)], [[cell] for cell in cells])))["a"]


def nanoseconds(text: str) -> int | None:
    """Return a time of the service in nanoseconds since 1970, exactly, where 64 bits hold it."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z", text)
    assert match is not None
    seconds = duckdb.execute("SELECT epoch_us($1::TIMESTAMP) // 1000000", [match[1]]).fetchall()[0][0]
    count = int(seconds) * NANOSECOND + int((match[2] or "").ljust(9, "0"))
    return count if -(2**63) < count < 2**63 else None


def fits(type_: str, cell: str) -> bool:
    """Whether a cell of the wire has a place in its column's type."""
    if cell == "null" or type_ not in TYPES:
        return True
    text = json.loads(cell, parse_float=str, parse_int=str)
    match type_:
        case "datetime":
            return nanoseconds(text) is not None
        case "decimal":
            return re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,18})?", text) is not None
        case "real":
            return text in {"NaN", "Infinity", "-Infinity"} or math.isfinite(float(text))
    return True


def value(type_: str, cell: str) -> object:
    """Return what a file should have of a cell that has a place in its column's type."""
    text = said(cell)
    if text is None or type_ not in TYPES:
        return text
    match type_:
        case "datetime":
            return nanoseconds(text)
        case "decimal":
            return Decimal(text)
        case "real":
            return float(text).hex()
        case "bool":
            return text in {"true", "1"}
    return int(text)


def values(array: pa.ChunkedArray) -> list[object]:
    """Return a column's values, which can be compared exactly."""
    if pa.types.is_timestamp(array.type):
        assert array.type == pa.timestamp("ns", "UTC")
        array = array.cast(pa.int64())
    found: list[object] = array.to_pylist()
    return [each.hex() if isinstance(each, float) else each for each in found]


@settings(max_examples=300, deadline=None)
@given(tables())
def test_values_are_the_services(table: tuple[tuple[Column, ...], list[list[str]]]) -> None:
    """Each column has its type, or, where one of its values has no place in that, the text of all."""
    columns, rows = table
    data, _ = begun_again(batch(columns, rows))
    stored = table_of(data)
    assert stored.column_names == [each.name for each in numbered(columns)]
    assert PARQUET.count(data) == len(rows)
    for place, each in enumerate(columns):
        cells = [row[place] for row in rows]
        if all(fits(each.type, cell) for cell in cells):
            assert stored[place].type == TYPES.get(each.type, pa.string())
            assert values(stored[place]) == [value(each.type, cell) for cell in cells]
        else:
            assert stored[place].type == pa.string()
            assert values(stored[place]) == [said(cell) for cell in cells]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tables())
def test_duckdb_reads_it(tmp_path: Path, table: tuple[tuple[Column, ...], list[list[str]]]) -> None:
    """As many rows, and the same texts, whatever the columns are called."""
    columns, rows = table
    file = tmp_path / "a.parquet"
    file.write_bytes(begun_again(batch(columns, rows))[0])
    found = duckdb.read_parquet(str(file)).to_arrow_table()
    assert found.num_rows == len(rows)
    stored = table_of(file.read_bytes())
    for place, each in enumerate(columns):
        if each.type == "datetime" and stored[place].type != pa.string():
            assert found[place].cast(pa.int64()) == stored[place].cast(pa.int64())
        else:
            assert values(found[place]) == values(stored[place])


def test_duckdb_sees_the_types(tmp_path: Path) -> None:
    """Times are times in UTC, decimals decimals: nobody has to cast."""
    columns = [Column(type_, type_) for type_ in [*TYPES, "string", "dynamic", "guid", "timespan"]]
    cells = {"bool": "true", "datetime": '"2026-11-21T10:00:00.5Z"', "decimal": '"0.10101"', "int": "1",
             "long": "9007199254740993", "real": "0.5", "dynamic": '"{}"'}  # fmt: skip
    row = [cells.get(each.type, '"x"') for each in columns]
    file = tmp_path / "a.parquet"
    file.write_bytes(written(PARQUET.writer(), batch(columns, [row])))
    found = duckdb.execute("DESCRIBE SELECT * FROM read_parquet($1)", [str(file)]).fetchall()
    types = {name: type_ for name, type_, *_ in found}
    assert types["datetime"].startswith("TIMESTAMP")
    assert {name: types[name] for name in types if name != "datetime"} == {
        "bool": "BOOLEAN", "decimal": "DECIMAL(38,18)", "int": "INTEGER", "long": "BIGINT", "real": "DOUBLE",
        "string": "VARCHAR", "dynamic": "VARCHAR", "guid": "VARCHAR", "timespan": "VARCHAR",
    }  # fmt: skip
    query = "SELECT epoch_ns(datetime), long, decimal FROM read_parquet($1)"
    assert duckdb.execute(query, [str(file)]).fetchall() == [
        (1795255200500000000, 9007199254740993, Decimal("0.10101"))
    ]


def test_pandas_reads_it() -> None:
    """With its own types for times and numbers."""
    columns = [Column("at", "datetime"), Column("n", "long"), Column("t", "string"), Column("x", "real")]
    rows = [['"2026-11-21T10:00:00.1234567Z"', "9007199254740993", '"é"', '"NaN"']] * 2
    frame = pd.read_parquet(io.BytesIO(written(PARQUET.writer(), batch(columns, rows))))
    assert [str(each) for each in frame.dtypes][:2] == ["datetime64[ns, UTC]", "int64"]
    assert frame["at"][0].value == 1795255200123456700
    assert (frame["n"][1], frame["t"][1]) == (9007199254740993, "é")
    assert math.isnan(frame["x"][0])


@pytest.mark.parametrize(
    ("type_", "cell", "expected"),
    [
        ("datetime", '"2026-11-21T10:00:00.1234567Z"', 1795255200123456700),
        ("datetime", '"2026-11-21T10:00:00Z"', 1795255200000000000),
        ("datetime", f'"{LATEST}"', 9223372036854775800),
        ("long", "-9223372036854775808", -(2**63)),
        ("long", "9007199254740993", 9007199254740993),
        ("int", "-2147483648", -(2**31)),
        ("real", "1", (1.0).hex()),
        ("real", "-0.0", (-0.0).hex()),
        ("real", "-0", (-0.0).hex()),
        ("real", "1E+22", (1e22).hex()),
        ("real", '"NaN"', "nan"),
        ("real", '"Infinity"', "inf"),
        ("real", '"-Infinity"', "-inf"),
        ("bool", "1", True),
        ("bool", "0", False),
        ("decimal", '"-0.0000000001"', Decimal("-0.0000000001")),
        ("decimal", '"99999999999999999999.999999999999999999"', Decimal("9" * 20 + "." + "9" * 18)),
        ("timespan", '"-1.02:03:04.0000001"', "-1.02:03:04.0000001"),
        ("guid", '"00000000-0000-0000-0000-000000000000"', "00000000-0000-0000-0000-000000000000"),
        ("dynamic", r'"{\"a\": [1.0]}"', '{"a": [1.0]}'),
        ("dynamic", '{"a": [1.0]}', '{"a": [1.0]}'),
        ("dynamic", "12", "12"),
        ("string", '""', ""),
        ("string", r'"a\u0000b\ud83d"', "a\0b\\ud83d"),
        ("something new", "1.50", "1.50"),
    ],
)
def test_cells_of_the_wire(type_: str, cell: str, expected: object) -> None:
    """Each alone, and beside nulls."""
    assert values(column(type_, cell)) == [expected]
    assert values(column(type_, "null", cell, "null")) == [None, expected, None]


@pytest.mark.parametrize(
    ("type_", "odd", "usual"),
    [
        ("datetime", '"0001-01-01T00:00:00Z"', '"2026-11-21T10:00:00.1234567Z"'),
        ("datetime", '"9999-12-31T23:59:59.9999999Z"', '"2026-11-21T10:00:00.50Z"'),
        ("datetime", '"2262-04-11T23:47:16.8547759Z"', '"2026-11-21T10:00:00Z"'),
        ("datetime", '""', '"2026-11-21T10:00:00Z"'),
        ("decimal", '"0.0000000000000000001"', '"1.10"'),
        ("decimal", '"1234567890123456789012345678.0123456789"', '"0"'),
        ("decimal", '"1234567890.123456789012345678901234"', '"5"'),
        ("decimal", '"253262039916862032243194480591"', '"5"'),
        ("decimal", '"1E-7"', '"5"'),
        ("decimal", '"NaN"', '"5"'),
        ("long", "9223372036854775808", "1"),
        ("long", '""', "1"),
        ("long", '"1,2"', "1"),
        ("int", "2147483648", "1"),
        ("int", "1.5", "1"),
        ("real", "1e400", "1.50"),
        ("real", '"nan"', "1.50"),
        ("bool", "2", "true"),
    ],
)
def test_a_value_without_a_place_in_its_type_makes_its_column_text(type_: str, odd: str, usual: str) -> None:
    """Nothing is cut, rounded or dropped, and the others of the column stay as the service wrote them too."""
    columns = [Column("a", type_), Column("n", "long")]
    rows = batch(columns, [[usual, "1"], ["null", "2"], [odd, "3"], [usual, "4"]])
    try:
        data = written(PARQUET.writer(), rows)
    except ColumnsChangedError as change:
        data = written(PARQUET.writer(columns=change.columns), rows)
    stored = table_of(data)
    assert stored["a"].type == pa.string()
    assert stored["a"].to_pylist() == [said(usual), None, said(odd), said(usual)]
    assert stored["n"].to_pylist() == [1, 2, 3, 4]


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make row groups of ten rows."""
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 10)


def numbers(first: int, last: int) -> list[list[str]]:
    """Make rows of a number and a text."""
    return [[str(number), wire(f"{number:x}", False)] for number in range(first, last)]


@pytest.mark.usefixtures("small_groups")
def test_bytes_go_out_with_each_row_group() -> None:
    """A large window does not gather in memory."""
    writer = PARQUET.writer()
    assert writer.write(batch(ROW, numbers(0, 9))) == b""
    assert writer.write(batch(ROW, numbers(9, 12))) != b""
    data = written(PARQUET.writer(), batch(ROW, numbers(0, 35)))
    file = parquet.ParquetFile(io.BytesIO(data))
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [10, 10, 10, 5]
    assert groups[0].column(0).compression == "ZSTD"


def test_a_row_group_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large rows are as much memory as many small ones."""
    monkeypatch.setattr(parquet_file, "GROUP_BYTES", 10_000)
    rows = [["1", wire("x" * 4000, False)]] * 7
    file = parquet.ParquetFile(io.BytesIO(written(PARQUET.writer(), batch(ROW, rows))))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 3, 1]


@given(edges=st.sets(st.integers(0, 700), max_size=5), group=st.sampled_from([10, 256, 300, 1000]))
@settings(max_examples=40, deadline=None)
def test_batches_leave_no_trace(edges: set[int], group: int) -> None:
    """The same rows give the same bytes, however the service divided them into answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_file, "GROUP_ROWS", group)
        whole = written(PARQUET.writer(), batch(ROW, numbers(0, 700)))
        assert written(PARQUET.writer(), *parts_of(ROW, numbers(0, 700), edges)) == whole


def begun_again(*batches: Batch) -> tuple[bytes, int]:
    """Write batches as an export does: from the start again, with other columns, where that is asked for."""
    columns: tuple[Column, ...] = ()
    for again in itertools.count():
        try:
            return written(PARQUET.writer(columns=columns), *batches), again
        except ColumnsChangedError as change:
            before, columns = columns, change.columns
        assert columns != before, "it would begin again for ever"
    raise AssertionError


CHANGES: dict[str, tuple[Sequence[Column], list[str], dict[str, Any]]] = {
    "added": ([*ROW, Column("x", "real")], ["5", '"y"', "0.5"], {"n": 5, "t": "y", "x": 0.5}),
    "removed": ([ROW[1]], ['"y"'], {"n": None, "t": "y"}),
    "reordered": ([ROW[1], ROW[0]], ['"y"', "5"], {"n": 5, "t": "y"}),
    "retyped": ([Column("n", "real"), ROW[1]], ["1.50", '"y"'], {"n": "1.50", "t": "y"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("before", [3, 25])
@pytest.mark.usefixtures("small_groups")
def test_columns_that_change_between_two_slices(change: str, before: int) -> None:
    """The file has the union; it begins again only where its columns were out, or values held as numbers."""
    columns, cells, expected = CHANGES[change]
    data, again = begun_again(batch(ROW, numbers(0, before)), batch(columns, [cells]), batch(ROW, []))
    needed = {"added": before > 10, "retyped": True}
    assert again == needed.get(change, False)
    *old, new = table_of(data).to_pylist()
    assert new == expected
    assert [row["t"] for row in old] == [f"{number:x}" for number in range(before)]
    first = {"n": "0", "t": "0"} if change == "retyped" else {"n": 0, "t": "0"}
    assert old[0] == first | ({"x": None} if change == "added" else {})


@pytest.mark.usefixtures("small_groups")
def test_a_date_beyond_the_range_after_the_first_row_group() -> None:
    """What is out has times in that column: all begins again with text, the same as if it had come first."""
    columns = [Column("n", "long"), Column("at", "datetime")]
    usual = [[str(number), '"2026-11-21T10:00:00.5Z"'] for number in range(15)]
    odd = [["15", '"0001-01-01T00:00:00Z"']]
    data, again = begun_again(batch(columns, usual), batch(columns, odd))
    assert again == 1
    assert table_of(data)["at"].to_pylist() == ["2026-11-21T10:00:00.5Z"] * 15 + ["0001-01-01T00:00:00Z"]


def test_the_range_of_the_row_times_is_known() -> None:
    """As the service wrote them, nulls aside."""
    writer = PARQUET.writer()
    time = Column("TimeGenerated", "datetime")
    cells = ['"2026-11-21T10:00:00.51Z"', "null", '"2026-11-21T10:00:00.5Z"']
    written(writer, batch([time], [[cell] for cell in cells]))
    assert (writer.first_time, writer.last_time) == ("2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.51Z")


@pytest.mark.parametrize("columns", [[], ROW, [Column("", "datetime"), Column("a.b", "real")]])
def test_an_empty_window_is_a_valid_file(tmp_path: Path, columns: Sequence[Column]) -> None:
    """With the columns of the answer, or, where it had none, the one that every table has."""
    data = written(PARQUET.writer(), batch(columns, []))
    file = tmp_path / "a.parquet"
    file.write_bytes(data)
    assert duckdb.execute("SELECT * FROM read_parquet($1)", [str(file)]).fetchall() == []
    names = [each.name for each in columns] or ["TimeGenerated"]
    assert table_of(data).column_names == names
    types = [TYPES.get(each.type, pa.string()) for each in columns] or [TYPES["datetime"]]
    assert table_of(data).schema.types == types
    assert PARQUET.count(data) == 0


def test_an_answer_without_columns_beside_others_adds_none() -> None:
    """A workspace without data among several answers nothing, not even columns."""
    data = written(PARQUET.writer(), batch([], []), batch(ROW, [["1", '"x"']]), batch([], []))
    assert table_of(data).to_pylist() == [{"n": 1, "t": "x"}]


def test_a_record_is_some_members_and_the_whole() -> None:
    """In columns that are the same in every file of the log, whatever its records have."""
    columns = record_columns("id", "at:datetime", "ok:bool", "n:long")
    records = ['{"id":"a","at":"2026-11-21T10:00:00.5Z","ok":true,"x":{"n":1.10}}', '{"id":{"b":1},"n":5}']
    writer = PARQUET.writer(columns=columns)
    stored = table_of(written(writer, records_of(*records, times=["2026-11-21T10:00:00.5Z"])))
    assert stored.schema.types == [pa.string(), TYPES["datetime"], pa.bool_(), pa.int64(), pa.string()]
    assert values(stored["at"]) == [1795255200500000000, None]
    assert stored["id"].to_pylist() == ["a", '{"b":1}']
    assert (stored["ok"].to_pylist(), stored["n"].to_pylist()) == ([True, None], [None, 5])
    assert stored["record"].to_pylist() == records
    assert (writer.first_time, writer.last_time) == ("2026-11-21T10:00:00.5Z",) * 2
    assert table_of(written(PARQUET.writer(columns=columns), records_of())).schema == stored.schema
    assert table_of(written(PARQUET.writer(columns=columns))).schema == stored.schema


def test_rows_of_a_table_are_no_records() -> None:
    """Their JSON is not in the file, and is not made up."""
    with pytest.raises(ValueError, match="not one of whole records"):
        list(PARQUET.records(written(PARQUET.writer(), batch(ROW, [["1", '"x"']]))))


def test_damage_is_seen() -> None:
    """A file that is torn, has another bit, or is something else."""
    data = written(PARQUET.writer(), batch(ROW, numbers(0, 1000)))
    flipped = bytearray(data)
    flipped[40] ^= 0xFF
    for broken in (b"", b"other", data[:-3], data[9:], bytes(flipped)):
        with pytest.raises(ValueError, match="no whole Parquet file"):
            PARQUET.count(broken)


@pytest.mark.parametrize("row", ["[1]", "[1,2,3]", '{"n":1,"t":2}', '"ab"', "null", '[1,"\\x"]'])
def test_a_row_that_does_not_fit_its_columns_is_refused(row: str) -> None:
    """A malformed answer ends as an error of this app, not as values that moved to other columns."""
    with pytest.raises(ProtocolError):
        PARQUET.writer().write(Batch(rows=[msgspec.Raw(row.encode())], columns=ROW))


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A damaged answer is not stored."""
    with pytest.raises(ProtocolError):
        PARQUET.writer().write(Batch(rows=[msgspec.Raw(b'[1,"\xff"]')], columns=ROW))


def test_half_of_a_surrogate_pair_is_its_escape() -> None:
    """Also where the whole answer had to be read in another way because of it."""
    body = b'{"tables":[{"columns":[{"name":"a","type":"string"}],"rows":[["\\ud83d"],["b"]]}]}'
    answer = read_answer(body)
    data = written(PARQUET.writer(), Batch(rows=answer.rows, columns=answer.columns))
    assert table_of(data)["a"].to_pylist() == ["\\ud83d", "b"]


def test_a_columns_name_is_its_escape_too() -> None:
    """No mark of this process gets into a file."""
    body = b'{"tables":[{"columns":[{"name":"a\\ud83d","type":"string"}],"rows":[["b"]]}]}'
    answer = read_answer(body)
    data = written(PARQUET.writer(), Batch(rows=answer.rows, columns=answer.columns))
    assert table_of(data).column_names == ["a\\ud83d"]


def test_without_pyarrow_an_export_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is reported with what to do; and a stored window that needs it fails as clearly."""
    plain = importlib.util.find_spec
    monkeypatch.setattr(
        "shared.formats.parquet.find_spec", lambda name: None if name == "pyarrow" else plain(name)
    )
    file = tmp_path / "exports.toml"
    entry = '[[export]]\nname = "a"\nsource = "entra"\nlog = "signIns"\nformat = "parquet"\n'
    file.write_text(entry, "utf-8")
    exports, (problem,) = read_exports(
        file, {}, cloud="public", tenant_id="T", sources=SOURCES, formats=FORMATS
    )
    assert exports == []
    assert str(problem) == (
        "exports.toml: export 'a': format: found 'parquet'; expected pyarrow installed: add the line "
        "-r requirements-parquet.txt to requirements.txt"
    )
    with pytest.raises(ExportError, match="requirements-parquet"):
        PARQUET.writer()
