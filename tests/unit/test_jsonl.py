"""JSON lines: the service's values, whole, one line a row, the same bytes every time."""

from __future__ import annotations

import gzip
import itertools
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ExportError
from shared.formats import FORMATS
from shared.formats.jsonl import JsonLines
from shared.model import Batch, Column
from shared.query_api import read_answer
from tests.unit.answers import batch, json_values, tables, wire
from tests.unit.strategies import LINE_MARKS

TIME = Column("TimeGenerated", "datetime")


def not_json(name: str) -> object:
    """Refuse NaN and the infinities, which Python's decoder takes and JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def exact(text: str | bytes) -> object:
    """Decode JSON without losing a digit or a member: numbers stay text, objects are lists of pairs."""
    return json.loads(
        text,
        parse_int=lambda digits: ("number", digits),
        parse_float=lambda digits: ("number", digits),
        parse_constant=not_json,
        object_pairs_hook=lambda pairs: ("object", pairs),
    )


def dynamic(text: str) -> object:
    """Say what a ``dynamic`` cell's text means: an object or array it holds, else the text."""
    if text[:1] not in {"{", "["}:
        return text
    try:
        return exact(text)
    except ValueError:
        return text


def written(*batches: Batch, format_: str = "jsonl") -> bytes:
    """Write batches as one file."""
    writer = FORMATS[format_].writer()
    data = b"".join([*map(writer.write, batches), writer.finish()])
    assert writer.rows == sum(len(each.rows) for each in batches)
    return data


def stored(body: bytes) -> bytes:
    """Read an answer's body and write its rows, as an export does."""
    answer = read_answer(body)
    return written(Batch(rows=answer.rows, columns=answer.columns))


def cells_of(line: bytes) -> list[object]:
    """Return the values of a line, in order."""
    decoded = exact(line)
    assert isinstance(decoded, tuple)
    names = [name for name, _ in decoded[1]]
    assert len(names) == len(set(names)), "a value hides another of the same name"
    return [value for _, value in decoded[1]]


@settings(max_examples=300)
@given(tables())
def test_values_are_the_services(table: tuple[tuple[Column, ...], list[list[str]]]) -> None:
    """Every cell decodes to what the service sent: digits, ticks, nulls, text; dynamic text is unfolded."""
    columns, rows = table
    lines = written(batch(columns, rows)).splitlines()
    assert len(lines) == len(rows)
    for line, cells in zip(lines, rows, strict=True):
        expected = [
            dynamic(json.loads(cell)) if column.type == "dynamic" and cell != "null" else exact(cell)
            for column, cell in zip(columns, cells, strict=True)
        ]
        assert cells_of(line) == expected


@given(tables())
def test_a_line_is_always_one_line(table: tuple[tuple[Column, ...], list[list[str]]]) -> None:
    """Whatever a reader takes for the end of a line, it finds as many lines as there are rows."""
    data = written(batch(*table))
    assert len(data.splitlines()) == len(data.decode().splitlines()) == data.count(b"\n") == len(table[1])


@given(st.lists(json_values.map(lambda value: {"id": "1", "value": value}), max_size=4), st.booleans())
def test_records_are_the_services(records: list[dict[str, object]], spaced: bool) -> None:
    """A record that is an object already stays as it is, on one line even when the service spread it."""
    texts_ = [json.dumps(record, indent=2 if spaced else None, ensure_ascii=False) for record in records]
    data = written(Batch(rows=[msgspec.Raw(text.encode()) for text in texts_]))
    assert [exact(line) for line in data.splitlines()] == [exact(text) for text in texts_]
    assert len(data.decode().splitlines()) == len(records)


def test_record_bytes_are_untouched() -> None:
    """A record on one line goes into the file byte for byte."""
    record = '{"id":"a" , "n":1.10,"n":12345678901234567890,"t":"é\\u00e9"}'.encode()
    assert written(Batch(rows=[msgspec.Raw(record)])) == record + b"\n"


def test_column_names() -> None:
    """Names are escaped, percent signs are text, and a repeated name gets a number as Kusto gives it."""
    columns = [Column(name, "int") for name in ("a", "100%", 'q"', "a", "a", "%b")]
    assert written(batch(columns, [["1", "2", "3", "4", "5", "6"]])) == (
        b'{"a":1,"100%":2,"q\\"":3,"a1":4,"a2":5,"%b":6}\n'
    )


def test_an_own_name_is_not_given_away() -> None:
    """A column keeps its name when a repeated one is numbered: ``a1`` is the column that is called so."""
    columns = [Column(name, "int") for name in ("a", "a", "a1")]
    decoded = json.loads(written(batch(columns, [["1", "2", "3"]])))
    assert decoded["a"] == 1
    assert decoded["a1"] == 3


def test_a_long_string_is_whole() -> None:
    """A megabyte of text in one cell is a megabyte of text in the file."""
    text = "é\u2028%" * 400_000
    (line,) = written(batch([Column("a", "string")], [[wire(text, False)]])).splitlines()
    assert json.loads(line) == {"a": text}


@pytest.mark.parametrize("type_", ["string", "dynamic"])
def test_lone_surrogates_survive(type_: str) -> None:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot, goes through as its escape."""
    cell = '"\\ud83d"' if type_ == "string" else '"[\\"\\\\ud83d\\"]"'
    body = f'{{"tables":[{{"columns":[{{"name":"a","type":"{type_}"}}],"rows":[[{cell}]]}}]}}'
    line = stored(body.encode())
    assert b"\\ud83d" in line
    assert len(line.splitlines()) == 1


def test_a_dynamic_value_too_deep_to_check_stays_text() -> None:
    """A value nested beyond what the decoder follows is kept as the text that it came as."""
    text = "[" * 100_000 + "]" * 100_000
    (line,) = written(batch([Column("a", "dynamic")], [[json.dumps(text)]])).splitlines()
    assert json.loads(line) == {"a": text}


@pytest.mark.parametrize("row", ["[1]", "[1,2,3]", '{"a":1,"b":2}', '"ab"', "null"])
def test_a_row_that_does_not_fit_its_columns_is_refused(row: str) -> None:
    """A malformed answer ends as an error of this app, not as rows and not as a crash."""
    columns = '[{"name":"a","type":"int"},{"name":"b","type":"int"}]'
    body = f'{{"tables":[{{"columns":{columns},"rows":[{row}]}}]}}'.encode()
    with pytest.raises(ExportError):
        stored(body)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A damaged answer is not stored: a reader of the file could not decode it."""
    body = b'{"tables":[{"columns":[{"name":"a","type":"string"}],"rows":[["\xff"]]}]}'
    with pytest.raises(ExportError):
        stored(body)


@pytest.mark.parametrize("format_", ["jsonl", "jsonl.gz"])
@given(data=st.data())
@settings(max_examples=20)
def test_batches_leave_no_trace(format_: str, data: st.DataObject) -> None:
    """The same rows give the same bytes, however the service divided them into answers."""
    columns = [Column("n", "int"), Column("text", "string")]
    rows = [[str(number), wire(f"{number * number:x}" * 3000, False)] for number in range(150)]
    edges = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=5)) | {0, len(rows)})
    parts = [batch(columns, rows[start:end]) for start, end in itertools.pairwise(edges)]
    assert written(*parts, format_=format_) == written(batch(columns, rows), format_=format_)


def test_gzip_holds_the_lines_and_no_time() -> None:
    """The compressed file is a gzip stream of the same lines whose header carries neither time nor name."""
    rows = batch([Column("n", "int")], [[str(number)] for number in range(50_000)])
    data = written(rows, format_="jsonl.gz")
    assert gzip.decompress(data) == written(rows)
    assert data[:2] == b"\x1f\x8b"
    assert data[3:8] == bytes(5)


def test_an_empty_window_is_a_valid_file() -> None:
    """A window without rows commits an empty file that its readers can open."""
    assert written() == b""
    assert gzip.decompress(written(format_="jsonl.gz")) == b""
    assert written(batch([], [])) == b""


def test_the_writer_hands_over_bytes_as_it_goes() -> None:
    """A large window does not gather in memory: most of it is out before the file is finished."""
    writer = JsonLines("").writer()
    out = sum(
        len(writer.write(batch([Column("a", "string")], [[wire("x" * 300_000, False)]]))) for _ in range(20)
    )
    assert out >= 5 << 20
    assert len(writer.finish()) <= 1 << 20


fractions = st.integers(0, 9_999_999).map(lambda ticks: f".{ticks:07}".rstrip("0").rstrip("."))
stamps = st.builds(lambda second, part: f"2026-11-21T10:00:{second:02}{part}Z", st.integers(0, 2), fractions)


def moment(stamp: str) -> Decimal:
    """Return the seconds of a stamp, exactly."""
    return Decimal(stamp.removeprefix("2026-11-21T10:00:").removesuffix("Z"))


@given(st.lists(st.lists(st.none() | stamps, max_size=4), max_size=3), st.booleans())
def test_first_and_last_time(batches: list[list[str | None]], tabular: bool) -> None:
    """The receipt's range is that of the row times, whose fractions come without the zeros at their end."""
    writer = JsonLines("").writer()
    for times in batches:
        known = [time for time in times if time is not None]
        if tabular:
            writer.write(batch([Column("n", "int"), TIME], [["1", json.dumps(time)] for time in times]))
        else:
            writer.write(Batch(rows=[msgspec.Raw(b"{}")] * len(known), times=known))
    known = [time for times in batches for time in times if time is not None]
    assert writer.first_time == min(known, key=moment, default=None)
    assert writer.last_time == max(known, key=moment, default=None)


def test_rows_without_time_have_no_range() -> None:
    """Where no column is the row's time, the receipt claims none; a name alone does not make one."""
    writer = JsonLines("").writer()
    writer.write(batch([Column("TimeGenerated", "string"), Column("When", "datetime")], [['"x"', '"y"']]))
    assert writer.first_time is None
    assert writer.last_time is None


def test_line_marks_are_escaped_only() -> None:
    """What must not end a line is escaped and still means itself."""
    (line,) = written(batch([Column("a", "string")], [[wire(LINE_MARKS, False)]])).decode().splitlines()
    assert json.loads(line) == {"a": LINE_MARKS}
