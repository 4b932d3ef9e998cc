"""CSV: RFC 4180, every value's text, null and empty text apart, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.compression import decompress
from shared.errors import ProtocolError
from shared.formats import FORMATS
from shared.formats.delimited import Csv
from shared.model import Batch, Column
from shared.query_api import read_answer
from shared.tables import ColumnsChangedError, numbered, record_columns
from tests.unit.answers import batch, json_values, parts_of, records_of, said, tables, wire, written

CSV = Csv()
TEXTS = (Column("n", "long"), Column("t", "string"))


def read(data: bytes) -> list[list[str]]:
    """Read a file with Python's own reader."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def one_column(*cells: str, type_: str = "string", guarded: bool = False) -> list[str]:
    """Return the fields that cells of a column become, as they stand in the file."""
    rows = [[cell, "1"] for cell in cells]
    data = written(Csv(guarded=guarded).writer(), batch([Column("a", type_), Column("n", "int")], rows))
    header, *lines = data.decode().removesuffix("\r\n").split("\r\n")
    assert header == '"a","n"'
    return [line.removesuffix(",1") for line in lines]


@pytest.fixture(autouse=True)
def _any_length() -> None:
    csv.field_size_limit(1 << 30)


@settings(max_examples=300)
@given(tables())
def test_values_are_the_services(table: tuple[tuple[Column, ...], list[list[str]]]) -> None:
    """Python's reader finds the columns' names and each cell's text, whatever is in it."""
    columns, rows = table
    header, *lines = read(written(CSV.writer(), batch(columns, rows)))
    assert header == [column.name for column in numbered(columns)]
    assert lines == [[said(cell) or "" for cell in cells] for cells in rows]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tables().filter(lambda table: len(table[0]) > 1))
def test_duckdb_tells_nulls_from_empty_texts(
    tmp_path: Path, table: tuple[tuple[Column, ...], list[list[str]]]
) -> None:
    """A reader that can tell the two apart finds each where the service had it."""
    columns, rows = table
    file = tmp_path / "a.csv"
    file.write_bytes(written(CSV.writer(), batch(columns, rows)))
    found = duckdb.execute(
        "SELECT * FROM read_csv($file, columns = $columns, header = true, auto_detect = false, delim = ',',"
        " quote = '\"', escape = '\"', new_line = '\\r\\n', allow_quoted_nulls = false)",
        {"file": str(file), "columns": {f"c{place}": "VARCHAR" for place in range(len(columns))}},
    ).fetchall()
    assert [list(row) for row in found] == [[said(cell) for cell in cells] for cells in rows]


def test_null_and_empty_text_differ() -> None:
    """Text is quoted, and nothing is not."""
    assert one_column('""', "null", '"null"') == ['""', "", '"null"']
    assert one_column("null", "5", type_="long") == ["", "5"]


def test_a_null_alone_on_its_line_is_no_empty_line() -> None:
    """Readers pass over empty lines, and would lose the row."""
    data = written(CSV.writer(), batch([Column("a", "long")], [["1"], ["null"]]))
    assert data == b'"a"\r\n1\r\n""\r\n'
    assert CSV.count(data) == 2


def test_lines_end_as_rfc_4180_says() -> None:
    """CRLF after each, the last one too; line ends within a text are the text's own."""
    data = written(CSV.writer(), batch(TEXTS, [["1", r'"a\nb\r\nc\rd"'], ["2", '"say \\"x\\", y"']]))
    assert data == b'"n","t"\r\n1,"a\nb\r\nc\rd"\r\n2,"say ""x"", y"\r\n'


@pytest.mark.parametrize(
    ("type_", "cell", "field"),
    [
        ("long", "9007199254740993", "9007199254740993"),
        ("real", "1.50", "1.50"),
        ("real", '"NaN"', '"NaN"'),
        ("decimal", '"1234567890.123456789012345678901234"', '"1234567890.123456789012345678901234"'),
        ("datetime", '"2026-11-21T10:00:00.1234567Z"', '"2026-11-21T10:00:00.1234567Z"'),
        ("timespan", '"-1.02:03:04.0000001"', '"-1.02:03:04.0000001"'),
        ("bool", "true", "true"),
        ("bool", "1", "1"),
        ("dynamic", r'"{\"a\":[1.0]}"', '"{""a"":[1.0]}"'),
        ("dynamic", '{"a":[1.0]}', '"{""a"":[1.0]}"'),
        ("dynamic", "[1,2]", '"[1,2]"'),
        ("dynamic", '"[1,2]"', '"[1,2]"'),
        ("dynamic", "12", "12"),
        ("string", '{"a":1}', '"{""a"":1}"'),
        ("string", r'"\u0000é\ud83d\udcb6"', '"\0é💶"'),
        ("string", r'"a\ud83db"', r'"a\ud83db"'),
    ],
)
def test_cells_of_the_wire(type_: str, cell: str, field: str) -> None:
    """Digits, ticks and nesting as the service wrote them, alone and beside cells that are simple."""
    assert one_column(cell, type_=type_) == [field]
    assert one_column('"x"', cell, "null", type_=type_) == ['"x"', field, ""]


def test_half_of_a_surrogate_pair_is_its_escape() -> None:
    """Also where the whole answer had to be read in another way because of it."""
    body = b'{"tables":[{"columns":[{"name":"a","type":"string"}],"rows":[["\\ud83d"],["b"]]}]}'
    answer = read_answer(body)
    data = written(CSV.writer(), Batch(rows=answer.rows, columns=answer.columns))
    assert data == b'"a"\r\n"\\ud83d"\r\n"b"\r\n'


def test_a_columns_name_is_its_escape_too() -> None:
    """No mark of this process gets into a file."""
    body = b'{"tables":[{"columns":[{"name":"a\\ud83d","type":"string"}],"rows":[["b"]]}]}'
    answer = read_answer(body)
    data = written(CSV.writer(), Batch(rows=answer.rows, columns=answer.columns))
    assert data == b'"a\\ud83d"\r\n"b"\r\n'


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A damaged answer is not stored: a reader of the file could not decode it."""
    rows = [msgspec.Raw(b'["\xff","b"]')]
    with pytest.raises(ProtocolError):
        CSV.writer().write(Batch(rows=rows, columns=TEXTS))


@pytest.mark.parametrize("row", ["[1]", "[1,2,3]", '{"n":1,"t":2}', '"ab"', "null"])
def test_a_row_that_does_not_fit_its_columns_is_refused(row: str) -> None:
    """A malformed answer ends as an error of this app, not as fields that moved to other columns."""
    with pytest.raises(ProtocolError):
        CSV.writer().write(Batch(rows=[msgspec.Raw(row.encode())], columns=TEXTS))


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", "＝1", "＋1", "－1", "＠A"]


@pytest.mark.parametrize("text", FORMULAS)
def test_the_guard_takes_formulas_for_text(text: str) -> None:
    """An apostrophe stands before what a spreadsheet would run, also among other texts, and in the header."""
    assert one_column(json.dumps(text), guarded=True) == [f'"\'{text}"']
    assert one_column('"a"', json.dumps(text), guarded=True) == ['"a"', f'"\'{text}"']
    assert one_column(json.dumps(text), type_="dynamic", guarded=True) == [f'"\'{text}"']
    data = written(Csv(guarded=True).writer(), batch([Column(text, "string")], []))
    assert data.decode() == f'"\'{text}"\r\n'
    assert one_column(json.dumps(text)) == [f'"{text}"'], "not guarded"


@given(st.lists(st.sampled_from(FORMULAS) | st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_the_guard_changes_nothing_else(values: list[str]) -> None:
    """No text that is harmless, and no value of a type that cannot be a formula."""
    rows = [[wire(text, ascii_only=False), "-5", '"-00:00:01"'] for text in values]
    columns = [Column("t", "string"), Column("n", "long"), Column("s", "timespan")]
    _, *lines = read(written(Csv(guarded=True).writer(), batch(columns, rows)))
    expected = [f"'{text}" if text.startswith(tuple("=+-@\t\r\n\0＝＋－＠")) else text for text in values]
    assert lines == [[text, "-5", "-00:00:01"] for text in expected]


@pytest.mark.parametrize("format_", ["csv", "csv.gz", "csv-guarded", "csv-guarded.gz"])
@given(edges=st.sets(st.integers(0, 150), max_size=5))
@settings(max_examples=20, deadline=None)
def test_batches_leave_no_trace(format_: str, edges: set[int]) -> None:
    """The same rows give the same bytes, however the service divided them into answers."""
    rows = [[str(number), wire(f"{number * number:x}" * 3000, False)] for number in range(150)]
    writer = FORMATS[format_].writer
    assert written(writer(), *parts_of(TEXTS, rows, edges)) == written(writer(), batch(TEXTS, rows))


def test_the_compressed_file_holds_the_same() -> None:
    """The header is in the stream too."""
    rows = batch(TEXTS, [[str(number), '"x"'] for number in range(1000)])
    plain, packed = (written(FORMATS[name].writer(), rows) for name in ("csv", "csv.gz"))
    assert decompress(packed, "gz") == plain
    assert (FORMATS["csv.gz"].extension, FORMATS["csv-guarded.gz"].extension) == ("csv.gz", "csv.gz")
    assert FORMATS["csv.gz"].count(packed) == 1000


def test_an_empty_window_has_a_header() -> None:
    """The columns of the answer, or, where it had none, the one that every table has."""
    assert written(CSV.writer(), batch(TEXTS, [])) == b'"n","t"\r\n'
    assert written(CSV.writer(), batch([], [])) == b'"TimeGenerated"\r\n'
    assert CSV.count(b'"n","t"\r\n') == 0


def test_columns_that_come_before_any_row_are_in_the_header() -> None:
    """Nothing is out yet, so that nothing has to begin again."""
    data = written(CSV.writer(), batch([], []), batch(TEXTS[:1], []), batch(TEXTS, [["1", '"x"']]))
    assert data == b'"n","t"\r\n1,"x"\r\n'


@pytest.mark.parametrize(
    ("columns", "cells", "line"),
    [
        ([TEXTS[1], TEXTS[0]], ['"y"', "2"], b'2,"y"'),
        ([TEXTS[1]], ['"y"'], b',"y"'),
        ([Column("n", "string"), Column("t", "dynamic")], ['"2"', "[2]"], b'"2","[2]"'),
    ],
    ids=["reordered", "removed", "retyped"],
)
def test_other_columns_that_fit_the_header_take_their_place(
    columns: list[Column], cells: list[str], line: bytes
) -> None:
    """Between two slices columns may change places, or be gone; their values are still found by name."""
    data = written(CSV.writer(), batch(TEXTS, [["1", '"x"']]), batch(columns, [cells]))
    assert data == b'"n","t"\r\n1,"x"\r\n' + line + b"\r\n"


def test_a_column_that_the_header_lacks_needs_a_new_file() -> None:
    """Which, told of all columns, has room for the rows of both."""
    first, second = batch(TEXTS, [["1", '"x"']]), batch([*TEXTS, Column("m", "real")], [["2", '"y"', "0.5"]])
    writer = CSV.writer()
    writer.write(first)
    with pytest.raises(ColumnsChangedError) as changed:
        writer.write(second)
    data = written(CSV.writer(columns=changed.value.columns), first, second)
    assert data == b'"n","t","m"\r\n1,"x",\r\n2,"y",0.5\r\n'


MEMBERS = record_columns("id", "at:datetime", "n:long")


def test_a_record_is_some_members_and_the_whole() -> None:
    """A member that is not there is null; one that is no text is its JSON."""
    records = ['{"id":"a","at":"2026-11-21T10:00:00.5Z","n":1.10,"x":"\\ud83d"}', '{"n":null,"id":[1]}']
    writer = CSV.writer(columns=MEMBERS)
    data = written(writer, records_of(*records, times=["2026-11-21T10:00:00.5Z"]))
    assert read(data) == [
        ["id", "at", "n", "record"],
        ["a", "2026-11-21T10:00:00.5Z", "1.10", records[0]],
        ["[1]", "", "", records[1]],
    ]
    assert (writer.first_time, writer.last_time) == ("2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.5Z")
    assert written(CSV.writer(columns=MEMBERS)) == b'"id","at","n","record"\r\n'
    assert written(CSV.writer(), records_of(records[1])) == b'"record"\r\n"{""n"":null,""id"":[1]}"\r\n'


@pytest.mark.parametrize("format_", ["csv", "csv-guarded.gz", "parquet"])
@given(
    records=st.lists(st.builds(lambda value, more: {"id": value, **more}, json_values,
                               st.dictionaries(st.sampled_from(["n", "at", "y", "record"]), json_values))),
    spaced=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_records_are_read_back_as_json_lines_have_them(
    format_: str, records: list[dict[str, object]], spaced: bool
) -> None:
    """So that a record is known again, whichever format it was stored in."""
    each = [json.dumps(record, indent=2 if spaced else None, ensure_ascii=False) for record in records]
    format_columns = record_columns("id", "n", "y")
    data = written(FORMATS[format_].writer(columns=format_columns), records_of(*each))
    lines = written(FORMATS["jsonl"].writer(), records_of(*each))
    assert [bytes(record) for record in FORMATS[format_].records(data)] == lines.split(b"\n")[:-1]
    assert FORMATS[format_].count(data) == len(records)


def test_rows_of_a_table_are_no_records() -> None:
    """Their JSON is not in the file, and is not made up."""
    with pytest.raises(ValueError, match="not one of whole records"):
        list(CSV.records(written(CSV.writer(), batch(TEXTS, [["1", '"x"']]))))


@pytest.mark.parametrize("data", [b"", b'"n","t"\r\n1,"x', b'"n","t"\r\n1,"x"', b'"n","t"\r\n1,"x"\r\n"'])
def test_a_damaged_file_is_said_to_be(data: bytes) -> None:
    """A file that does not end as one of ours does is not counted, and not read."""
    with pytest.raises(ValueError, match="does not end"):
        CSV.count(data)
    with pytest.raises(ValueError, match="the file"):
        list(CSV.records(data))
    with pytest.raises(ValueError, match="gzip"):
        FORMATS["csv.gz"].count(data or b"x")
    with pytest.raises(ValueError, match="different numbers"):
        list(CSV.records(b'"id","record"\r\n"a"\r\n'))


def test_a_line_with_line_ends_in_its_texts_counts_once() -> None:
    """What is within quotes ends no line."""
    rows = [[str(number), r'"\r\n\"\r\n"'] for number in range(7)]
    assert CSV.count(written(CSV.writer(), batch(TEXTS, rows))) == 7
