"""Exactly as stored: every value of every Kusto type, through the app and the storage, in every format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from local.cloud.tables import TABLES
from local.compare import ticks
from tests.completeness.conftest import MakeWorld
from tests.completeness.truth import decode, multiset
from tests.completeness.world import Table, World, answering, at

pytestmark = pytest.mark.usefixtures("azurite")

EVERY_FORMAT = pytest.mark.parametrize("format_", ["jsonl", "jsonl.gz", "jsonl.zst"])

ODD_TEXTS = {
    "empty": "",
    "blank": " ",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "line ends": "a\r\nb\nc\rd\u2028e\u2029f\u0085g",
    "quotes": '"\\"\'`\\',
    "percent": "%b %s %% %",
    "no JSON": "{not JSON",
    "emoji": "💶👩‍👩‍👧‍👦é\u0301",
    "last of Unicode": "\U0010ffff\ufffe\ufeff",
    "null as a word": "null",
}

DYNAMICS: dict[str, Any] = {
    "object": {"a": [1, 2.50, {"deep": [[]]}], "empty": {}, "text": 'say "x"\u2028'},
    "array": [1, "two", None, True, [[]]],
    "large numbers": {"sequence": 2**63 + 5, "small": -(2**63)},
    "text": "only a text",
    "number in a text": "12",
    "text like an object": "{not JSON",
    "text like an array": "[1, 2",
    "null": None,
}


def extremes() -> list[dict[str, Any]]:
    """Rows of AzureActivity and SigninLogs columns at the ends of their types, by what they are to show."""
    longs = [2**63 - 1, -(2**63), 2**53 + 1, 0, None]
    decimals = ["1234567890123456789012345678.0123456789", "-0.0000000001", "0", None]
    return [
        *({"SequenceNumber": value} for value in longs),
        *({"EstimatedCost": value} for value in decimals),
        *({"EventSubmissionTimestamp": f"{value}Z"} for value in (
            "0001-01-01T00:00:00", "0001-01-01T00:00:00.0000001", "9999-12-31T23:59:59.9999999",
            "2026-03-10T10:00:00.1234567", "2026-03-10T10:00:00.12",
        )),
    ]  # fmt: skip


@EVERY_FORMAT
def test_realistic_tables_land_value_by_value(make_world: MakeWorld, format_: str) -> None:
    """Awkward made-up rows of every table, all columns, exported whole and compared with every digit."""
    world = make_world(events=800, days=0.15, end=at("12:00"))
    world.start(*(world.table(table.lower(), table=table, format=format_) for table in TABLES))
    world.drain()
    for table in TABLES:
        source = world.events(table=table)
        assert sum(ticks(at("10:00")) <= time < ticks(at("12:00")) for time, _ in source) > 50
        world.check(source, export=table.lower())


@EVERY_FORMAT
def test_the_ends_of_each_type_land_as_they_are(world: World, format_: str) -> None:
    """Values are compared with what was put in, not with what the stand-in says that it has."""
    at_ten = at("10:30")
    activities = extremes()
    texts = [{"Caller": text} for text in ODD_TEXTS.values()]
    reals = ["NaN", "Infinity", "-Infinity", 5e-324, 1.7976931348623157e308, 0.1, -0.0, 1e22, 1.125, None]
    spans = ["00:00:00", "-00:00:00.0000001", "10675199.02:48:05.4775807", "-3.04:05:06.7000000", None]
    guids = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", None]
    ints = [2**31 - 1, -(2**31), None]
    put: dict[str, list[dict[str, Any]]] = {
        "AzureActivity": [*activities, *texts, *({"Properties_d": value} for value in DYNAMICS.values())],
        "SigninLogs": [*({"RiskScore": value} for value in reals),
                       *({"IsInteractive": value} for value in (True, False, None))],
        "Event": [*({"Duration": value} for value in spans), *({"Correlation": value} for value in guids),
                  *({"EventID": value} for value in ints)],
    }  # fmt: skip
    for table, rows in put.items():
        world.cloud.add_rows(table, [row | {"TimeGenerated": at_ten} for row in rows], at_ten)
    world.start(*(world.table(table.lower(), table=table, format=format_) for table in put))
    world.drain()
    for table, rows in put.items():
        landed = world.one(table.lower()).rows
        for row in rows:
            ((column, value),) = row.items()
            assert any(_same(value, each[column]) for each in landed), (column, value)
        for row in landed:
            assert row.keys() == TABLES[table].keys()


def _same(put: Any, landed: Any) -> bool:
    """Whether what landed is what was put in, type and digits included."""
    if isinstance(put, bool) or put is None or isinstance(put, str):
        return type(put) is type(landed) and put == landed
    if isinstance(put, int | float):
        return isinstance(landed, Decimal) and landed == Decimal(repr(put))
    return multiset([{"": decode(json.dumps(put))}]) == multiset([{"": landed}])


def test_strings_of_a_megabyte_land_whole(world: World) -> None:
    """Large cells are no special case, in slices of their own or not."""
    texts = [character * (1 << 20) for character in ("x", "ü", "\u2028", '"')]
    for number, text in enumerate(texts):
        time = at(f"10:{number}0:00")
        world.cloud.add_rows("Event", [{"TimeGenerated": time, "RenderedDescription": text}], time)
    world.start(world.table())
    world.drain()
    world.check()


def exported(world: World, format_: str = "jsonl") -> list[bytes]:
    """The lines of the one window from 10:00 to 11:00."""
    world.cloud.add_rows("Event", [{}], at("09:00"))  # a workspace without any row answers nothing at all
    world.start(world.table(format=format_))
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    return world.one().lines


CELLS: Mapping[str, tuple[str, str, str]] = {
    "a bool as 1": ("bool", "1", "1"),
    "a bool as 0": ("bool", "0", "0"),
    "a bool as true": ("bool", "true", "true"),
    "half of a surrogate pair": ("string", r'"a\ud83db"', r'"a\ud83db"'),
    "a surrogate pair as escapes": ("string", r'"\ud83d\udcb6"', '"💶"'),
    "NUL": ("string", r'"a\u0000b"', r'"a\u0000b"'),
    "an unescaped line separator": ("string", '"a\u2028b"', r'"a\u2028b"'),
    "a decimal of 34 digits": ("decimal", '"1234567890.123456789012345678901234"',
                               '"1234567890.123456789012345678901234"'),
    "a long beyond 2^53": ("long", "9007199254740993", "9007199254740993"),
    "a real with a trailing zero": ("real", "1.50", "1.50"),
    "a real in scientific form": ("real", "1E+22", "1E+22"),
    "NaN": ("real", '"NaN"', '"NaN"'),
    "a dynamic that was never a text": ("dynamic", '{"a": [1.0]}', '{"a":[1.0]}'),
    "a dynamic of broken JSON": ("dynamic", r'"{\"a\": "', r'"{\"a\": "'),
    "a dynamic bare number": ("dynamic", '"12.50"', '"12.50"'),
    "a dynamic with half of a pair": ("dynamic", r'"{\"a\": \"\\ud83d\"}"', r'{"a":"\ud83d"}'),
    "a dynamic with large numbers": ("dynamic", '"[9007199254740993, 1.10]"', "[9007199254740993,1.10]"),
    "a dynamic null": ("dynamic", "null", "null"),
    "a dynamic empty text": ("dynamic", '""', '""'),
}  # fmt: skip


@EVERY_FORMAT
def test_cells_of_the_wire_land_as_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """What the stand-in's engine cannot hold is put on the wire by hand, a column for each case."""
    columns = [(case, kind) for case, (kind, _, _) in CELLS.items()]
    row = f"[{','.join(sent for _, sent, _ in CELLS.values())}]"
    answering(monkeypatch, lambda _: (columns, [row, row]))
    line, again = exported(world, format_)
    assert line == again
    assert not {"\u2028", "\u2029", "\u0085"} & set(line.decode("utf-8"))
    landed = json.loads(line, parse_float=str, parse_int=str)
    for case, (_, _, stored) in CELLS.items():
        assert landed[case] == json.loads(stored, parse_float=str, parse_int=str), case


def test_columns_with_odd_and_doubled_names_keep_their_values(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name breaks a line, and no value hides behind another of the same name."""
    names = ['quo"te', "back\\slash", "per%cent %b", "new\nline", "tab\t", "ü 💶", "", "a", "a", "a1", "a"]
    row = json.dumps(list(range(len(names))))
    answering(monkeypatch, lambda _: ([(name, "long") for name in names], [row]))
    (line,) = exported(world)
    stored = decode(line)
    assert list(stored.values()) == list(map(Decimal, range(len(names))))
    assert list(stored)[: len(names) - 4] == names[:-4]
    assert list(stored)[-4:] == ["a", "a2", "a1", "a3"]


def test_odd_names_that_a_query_gives_land_as_given(world: World) -> None:
    """The same without any hand on the wire."""
    world.cloud.add_rows("Event", [{"EventRecordId": 7}], at("10:30"))
    world.start(world.table(pipeline="project ['a b'] = EventRecordId, ['ü\"'] = Computer"))
    world.drain()
    (row,) = world.one().rows
    assert row == {"a b": 7, 'ü"': ""}


SCHEMAS: Mapping[str, Table] = {
    "added": ([("a", "long"), ("b", "string"), ("c", "real")], ['[1,"x",2.5]']),
    "removed": ([("b", "string")], ['["x"]']),
    "reordered": ([("b", "string"), ("a", "long")], ['["x",1]']),
    "retyped": ([("a", "dynamic"), ("b", "string")], [r'["{\"k\":1}","x"]']),
}


@pytest.mark.parametrize("change", SCHEMAS)
def test_a_schema_that_changes_between_two_slices_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Each row is written with the columns of its own answer."""
    before: Table = ([("a", "long"), ("b", "string")], ['[1,"x"]'])
    halves: list[str] = []

    def table_of(query: str) -> Table:
        halves.append(query)
        return before if "window_start = datetime(2026-03-10T10:00:00" in query else SCHEMAS[change]

    rows = [{"TimeGenerated": at("10:30"), "RenderedDescription": "x" * 10_000}] * 150
    world.cloud.add_rows("Event", rows, at("10:30"))
    answering(monkeypatch, table_of)
    world.start(world.table(), EXPORT_ANSWER_MB="1")
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    lines = world.one().rows
    assert len(lines) == len(halves) == 2
    assert lines[0] == {"a": 1, "b": "x"}
    columns, (row,) = SCHEMAS[change]
    expected = dict(zip((name for name, _ in columns), decode(row), strict=True))
    assert lines[1] == ({"a": {"k": 1}, "b": "x"} if change == "retyped" else expected)
