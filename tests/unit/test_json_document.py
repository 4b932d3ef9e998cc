"""One JSON document of an answer: its columns, and its rows as the service sent them."""

from __future__ import annotations

import gzip
import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.compression import Compression
from shared.errors import ProtocolError
from shared.formats.json_document import JsonDocument
from shared.model import Batch, Column
from shared.query_api import read_answer
from shared.tables import ColumnsChangedError, numbered
from tests.unit.answers import batch, parts_of, tables, written

A, B, C = Column("a", "long"), Column("b", "string"), Column("c", "dynamic")


def document(*batches: Batch, columns: tuple[Column, ...] = ()) -> bytes:
    """Write batches as one plain document."""
    return written(JsonDocument("").writer(columns=columns), *batches)


def test_values_are_the_services_byte_for_byte() -> None:
    """No digit, tick, escape or space of a row is lost; what the rows are is said before them."""
    answer = read_answer(
        b'{"tables":[{"columns":[{"name":"a","type":"long"},{"name":"b","type":"string"}],"rows":'
        b'[[9007199254740993,"2026-11-21T10:00:00.1234567Z"],[1.10, "\\u00e9\xc3\xa9"] ,[null,"\\ud83d"]]}]}'
    )
    assert document(Batch(answer.rows, answer.columns)) == (
        b'{"columns":[{"name":"a","type":"long"},{"name":"b","type":"string"}],"rows":['
        b'[9007199254740993,"2026-11-21T10:00:00.1234567Z"],\n'
        b'[1.10, "\\u00e9\xc3\xa9"],\n'
        b'[null,"\\ud83d"]]}\n'
    )


@pytest.mark.parametrize("compression", ["", "gz"])
@given(tables(), st.sets(st.integers(1, 3), max_size=3))
def test_what_is_read_is_what_was_written(
    compression: Compression, table: tuple[tuple[Column, ...], list[list[str]]], edges: set[int]
) -> None:
    """Any answer, however it is divided into batches, is one document that any reader decodes to its rows."""
    columns, rows = table
    format_ = JsonDocument(compression)
    parts = parts_of(columns, rows, {edge for edge in edges if edge < len(rows)})
    data = written(format_.writer(), *(parts or [batch(columns, rows)]))
    text = gzip.decompress(data) if compression else data
    found = json.loads(text)
    assert found["rows"] == [[json.loads(cell) for cell in row] for row in rows]
    assert found["columns"] == [{"name": each.name, "type": each.type} for each in numbered(columns)]
    assert (format_.count(data), len(list(format_.records(data)))) == (len(rows), len(rows))


@pytest.mark.parametrize(
    ("batches", "text"),
    [
        ([], b'{"columns":[],"rows":[]}\n'),
        ([batch((), [])], b'{"columns":[],"rows":[]}\n'),
        ([batch((A,), [])], b'{"columns":[{"name":"a","type":"long"}],"rows":[]}\n'),
        ([batch((A,), []), batch((A,), [["1"]])], b'{"columns":[{"name":"a","type":"long"}],"rows":[[1]]}\n'),
    ],
)
def test_an_answer_without_rows_is_a_document(batches: list[Batch], text: bytes) -> None:
    """Nothing, a workspace without data, no rows, and rows after an answer without any."""
    assert document(*batches) == text


def test_columns_grow_until_the_first_bytes_are_out() -> None:
    """Answers without rows before the first one only add to the columns, with null in the rows."""
    data = document(batch((B,), []), batch((A,), [["1"], ["2"]]))
    assert json.loads(data) == {
        "columns": [{"name": "b", "type": "string"}, {"name": "a", "type": "long"}],
        "rows": [[None, 1], [None, 2]],
    }


def test_columns_that_change_begin_the_document_again() -> None:
    """A row with a column that the head lacks says which are needed; with those, every batch fits."""
    batches = [
        batch((A, B), [["1", '"x"']]),
        batch((B, C), [['"y"', '{"z":1.10}']]),
        batch((A, C, B), [["2", "[]", '""']]),
    ]
    with pytest.raises(ColumnsChangedError) as caught:
        document(*batches)
    assert caught.value.columns == (A, B, C)
    assert caught.value.retryable
    data = document(*batches, columns=caught.value.columns)
    assert data.endswith(b'"rows":[[1,"x",null],\n[null,"y",{"z":1.10}],\n[2,"",[]]]}\n')


def test_a_type_that_changes_begins_the_document_again() -> None:
    """A column that has two types is text by its head; its cells stay what they were."""
    batches = [batch((A,), [["1"]]), batch((Column("a", "string"),), [['"x"']])]
    with pytest.raises(ColumnsChangedError) as caught:
        document(*batches)
    assert caught.value.columns == (Column("a", "string"),)
    assert json.loads(document(*batches, columns=caught.value.columns))["rows"] == [[1], ["x"]]


@given(
    st.lists(st.lists(st.sampled_from([A, B, C]), unique=True, min_size=1), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_begun_again_it_holds_every_row_once(changes: list[list[Column]], count: int) -> None:
    """Whatever the columns of the batches, a few beginnings end with a document of all rows."""
    batches = [batch(columns, [["1"] * len(columns)] * count) for columns in changes]
    columns: tuple[Column, ...] = ()
    for _ in range(4):
        try:
            found = json.loads(document(*batches, columns=columns))
            break
        except ColumnsChangedError as change:
            columns = change.columns
    names = [each["name"] for each in found["columns"]]
    assert [
        {name: cell for name, cell in zip(names, row, strict=True) if cell is not None}
        for row in found["rows"]
    ] == [dict.fromkeys([each.name for each in columns], 1) for columns in changes for _ in range(count)]


def test_names_that_are_there_twice_are_numbered() -> None:
    """As Kusto does it, so that each column has a name of its own."""
    found = json.loads(document(batch((A, A), [["1", "2"]])))
    assert [each["name"] for each in found["columns"]] == ["a", "a1"]


def test_what_is_not_utf8_is_no_document() -> None:
    """A damaged answer is not passed on as if it were whole."""
    rows = [msgspec.Raw(b'["\xff"]')]
    with pytest.raises(ProtocolError, match="UTF-8"):
        document(Batch(rows, (B,)))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"columns":[]}', b'{"columns":[],"rows":[[1]', b'{"columns":[],"rows":[]}x', b"\xff"],
)
def test_a_damaged_document_is_refused(data: bytes) -> None:
    """What does not end, or is something else, has no rows to count."""
    for compression, file in itertools.product(("", "gz"), (data, gzip.compress(data))):
        if file == data or compression:
            with pytest.raises(ValueError, match=r"no whole (document|gzip stream)"):
                JsonDocument(compression).count(file)  # type: ignore[arg-type]  # of two literals


def test_its_name_and_type() -> None:
    """A compressed file is a file of its own kind, not an encoding that clients undo unasked."""
    plain, packed = JsonDocument(""), JsonDocument("gz")
    assert (plain.extension, plain.content_type) == ("json", "application/json")
    assert (packed.extension, packed.content_type) == ("json.gz", "application/gzip")
    writer = plain.writer()
    assert (writer.first_time, writer.last_time, plain.missing) == (None, None, None)
