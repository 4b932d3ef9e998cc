"""Answers of the service as the tests of the formats draw them: columns of any kind, cells as on the wire."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from shared.file_format import Writer
from shared.model import Batch, Column
from tests.unit.strategies import texts


def wire(text: str, ascii_only: bool) -> str:
    """Write text as a JSON string."""
    return json.dumps(text, ensure_ascii=ascii_only)


strings = st.builds(wire, texts, st.booleans())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False).map(float)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
).filter(lambda value: "Infinity" not in json.dumps(value))  # fmt: skip
dynamics = st.builds(
    lambda value, spaced, short: json.dumps(value, indent=1 if spaced else None, ensure_ascii=short),
    json_values,
    st.booleans(),
    st.booleans(),
) | st.sampled_from(
    ["", "{", "[1,", "{'a':1}", "[NaN]", "[1]x", "[1] ", " [1]", '"[1]"', "12", "true", "null", '["a\nb"]',
     '{"a":1,"a":2}', "[9007199254740993, 1.10, 1E400]", "[\r\n]", '["\\u0041\\n"]', "[01]"]
)  # fmt: skip
CELLS = {
    "string": strings,
    "long": st.integers(-(2**63), 2**63 - 1).map(str),
    "int": st.integers(-(2**31), 2**31 - 1).map(str),
    "real": st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
    | st.sampled_from(['"NaN"', '"Infinity"', '"-Infinity"', "-0.0", "1", "0.1000", "1E-7", "1e400"]),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: f'"{number}"'),
    "datetime": st.sampled_from(
        ['"0001-01-01T00:00:00Z"', '"2026-11-21T10:00:00.1234567Z"', '"9999-12-31T23:59:59.9999999Z"']
    ),
    "timespan": st.sampled_from(['"-1.02:03:04.0000001"', '"00:00:10"']),
    "bool": st.sampled_from(["true", "false", "1", "0"]),
    "guid": st.uuids().map(lambda guid: f'"{guid}"'),
    "dynamic": st.builds(wire, dynamics | texts, st.booleans()),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Column, ...], list[list[str]]]:
    """Columns of any names and types, and rows of cells as the service writes them."""
    names = texts | st.sampled_from(["a", "a", "a1", "100%", "%b", "%(x)s", 'quo"te', "back\\slash"])
    types = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    columns = tuple(Column(draw(names), type_) for type_ in types)
    cells = [st.just("null") | CELLS[type_] for type_ in types]
    return columns, draw(st.lists(st.tuples(*cells).map(list), max_size=4))


def batch(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Batch:
    """Build a batch of rows whose cells are JSON texts."""
    raw = [msgspec.Raw(f"[{','.join(cells)}]".encode()) for cells in rows]
    return Batch(rows=raw, columns=tuple(columns))


def said(cell: str) -> str | None:
    """Return what a cell says as text: a string's text, and of anything else but null its JSON."""
    value = json.loads(cell)
    if value is None:
        return None
    if not isinstance(value, str):
        return cell
    return "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in value)


def written(writer: Writer, *batches: Batch) -> bytes:
    """Write batches as one file."""
    data = b"".join([*map(writer.write, batches), writer.finish()])
    assert writer.rows == sum(len(each.rows) for each in batches)
    assert writer.files() == ()
    return data


def parts_of(columns: Sequence[Column], rows: Sequence[Sequence[str]], edges: set[int]) -> list[Batch]:
    """Divide rows into batches at some places."""
    places = sorted(edges | {0, len(rows)})
    return [batch(columns, rows[start:end]) for start, end in itertools.pairwise(places)]


def records_of(*records: str, times: Sequence[str] = ()) -> Batch:
    """Build a batch of whole records."""
    return Batch(rows=[msgspec.Raw(record.encode()) for record in records], times=times)
