"""Parameters: what a caller gives is what the query sees, and nothing else."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.cloud.kql import translate
from local.cloud.store import Store
from shared import kql_guard
from shared.errors import BadRequestError
from shared.parameters import MOST, Parameter, declare, read
from shared.windows import format_instant, parse_instant
from tests.kusto_parser import diagnostics, keywords, structures
from tests.unit.strategies import texts, ticks

GUID = "12345678-1234-1234-1234-123456789abc"
LONGEST = 1 << 63


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The stand-in's engine for KQL."""
    store = Store("00000000-0000-0000-0000-000000000001")
    yield store
    store.close()


def asked(store: Store, given: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return what a query sees as the values of its parameters."""
    query = declare(given) + "print " + ", ".join(f"{each.name} = {each.name}" for each in given)
    with store.answer(translate(query, store.schema, 0, None)) as table:
        (row,) = table.rows
        return dict(zip([name for name, _ in table.columns], json.loads(row), strict=True))


def refused(name: str, value: Any) -> str:
    """Return why a parameter is refused; its field must name it."""
    with pytest.raises(BadRequestError) as caught:
        read({name: value})
    assert caught.value.field == f"parameters.{name[:64]}"
    return str(caught.value)


def span_text(count: int) -> str:
    """Write ticks as Kusto writes a timespan, by the documentation and not by the code under test."""
    sign, count = ("-", -count) if count < 0 else ("", count)
    days, rest = divmod(count, 864_000_000_000)
    hours, rest = divmod(rest, 36_000_000_000)
    minutes, rest = divmod(rest, 600_000_000)
    return f"{sign}{days}.{hours:02}:{minutes:02}:{rest // 10_000_000:02}.{rest % 10_000_000:07}"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LONGEST, LONGEST - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "bool": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-LONGEST, LONGEST - 1) | st.integers(-LONGEST, LONGEST - 1).map(str),
    "real": st.floats() | st.integers(-(10**20), 10**20),
    "decimal": st.integers(-(10**33), 10**33)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
    "datetime": ticks.map(format_instant),
    "timespan": st.integers(1 - LONGEST, LONGEST - 1).map(span_text),
    "guid": st.uuids().map(str),
    "dynamic": json_values,
}


def spelled(type_: str, value: Any) -> Any:
    """Return a value as JSON can carry it: what is no finite number as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return f"{Decimal(value):.30g}" if type_ == "decimal" and isinstance(value, str) else value


def of_type(type_: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return values that name their type."""
    return values.map(lambda value: {"type": type_, "value": spelled(type_, value)})


typed = st.one_of(
    [of_type(type_, values if type_ == "string" else st.none() | values) for type_, values in VALUES.items()]
)
# The engine does not know escapes by number, and answers some types in forms of its own.
printable = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\"'\\\n\r\t;)}]")
)
lists = st.lists(printable | st.integers(-LONGEST, LONGEST - 1) | st.booleans() | st.none())
seen = st.one_of(
    of_type("string", printable),
    of_type("dynamic", lists | st.dictionaries(printable, printable)),
    *(of_type(type_, VALUES[type_]) for type_ in ("bool", "int", "long", "datetime", "guid")),
)
names = st.from_regex(r"_?[A-Z][A-Za-z0-9_]{0,62}", fullmatch=True)


@settings(max_examples=60)
@given(st.dictionaries(names, typed, max_size=6))
def test_whatever_the_values_hold_each_is_one_constant(values: dict[str, Any]) -> None:
    """Microsoft's parser sees one right `let` for each parameter, in order; the guard has no objection."""
    text = declare(read(values)) + "print 1"
    nodes = structures([text])[0].nodes
    assert [name for kind, name in nodes if kind == "LetStatement"] == list(values)
    assert len([kind for kind, _ in nodes if kind.endswith("Statement")]) == len(values) + 1
    assert not [name for kind, name in nodes if kind == "FunctionCallExpression"]
    assert diagnostics(text) == []
    kql_guard.check(text, frozenset())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(names, seen, min_size=1, max_size=4))
def test_a_query_sees_the_values_that_were_given(store: Store, values: dict[str, Any]) -> None:
    """Values come back equal, whatever they are, from an engine that runs KQL."""
    for name, value in asked(store, read(values)).items():
        given = values[name]["value"]
        match values[name]["type"]:
            case "dynamic":
                assert json.loads(value) == given
            case "long":
                assert value == int(given)
            case "datetime":
                assert parse_instant(value) == parse_instant(given)
            case _:
                assert value == given


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("it's", "'it\\'s'"),
        ("5", "'5'"),
        (True, "true"),
        (5, "long(5)"),
        (-5, "long(-5)"),
        (1.5, "real(1.5)"),
        ([1, "a"], 'dynamic([1,"a"])'),
        ({"type": "int", "value": -(1 << 31)}, "int(-2147483648)"),
        ({"type": "int", "value": "7"}, "int(7)"),
        ({"type": "long", "value": "-9223372036854775808"}, "long(-9223372036854775808)"),
        ({"type": "long", "value": None}, "long(null)"),
        ({"type": "bool", "value": None}, "bool(null)"),
        ({"type": "dynamic", "value": None}, "dynamic(null)"),
        ({"type": "real", "value": 5}, "real(5.0)"),
        ({"type": "real", "value": "1e-300"}, "real(1e-300)"),
        ({"type": "real", "value": "NaN"}, "real(nan)"),
        ({"type": "real", "value": "-inf"}, "real(-inf)"),
        ({"type": "real", "value": "inf"}, "real(+inf)"),
        ({"type": "decimal", "value": "0.1"}, "decimal(0.1)"),
        ({"type": "decimal", "value": "1.5e3"}, "decimal(1500)"),
        ({"type": "decimal", "value": 7}, "decimal(7)"),
        ({"type": "datetime", "value": "2026-11-21"}, "datetime(2026-11-21T00:00:00.0000000Z)"),
        (
            {"type": "datetime", "value": "2026-11-21T11:00:00.1234567+01:00"},
            "datetime(2026-11-21T10:00:00.1234567Z)",
        ),
        ({"type": "timespan", "value": "1.02:03:04.5678901"}, "timespan(1.02:03:04.5678901)"),
        ({"type": "timespan", "value": "-00:00:00.0000001"}, "-timespan(0.00:00:00.0000001)"),
        ({"type": "timespan", "value": "23:59"}, "timespan(0.23:59:00.0000000)"),
        ({"type": "timespan", "value": "5m"}, "timespan(0.00:05:00.0000000)"),
        ({"type": "timespan", "value": "1.5h"}, "timespan(0.01:30:00.0000000)"),
        ({"type": "timespan", "value": "-90 seconds"}, "-timespan(0.00:01:30.0000000)"),
        ({"type": "timespan", "value": "1tick"}, "timespan(0.00:00:00.0000001)"),
        ({"type": "timespan", "value": "2microseconds"}, "timespan(0.00:00:00.0000020)"),
        ({"type": "timespan", "value": "10ms"}, "timespan(0.00:00:00.0100000)"),
        ({"type": "guid", "value": GUID.upper()}, f"guid({GUID})"),
        (
            {"type": "dynamic", "value": {"a": [True, None, 1.5, "x"]}},
            'dynamic({"a":[true,null,1.5,"x"]})',
        ),
        ({"type": "dynamic", "value": 'a")'}, 'dynamic("a\\")")'),
        ({"type": "dynamic", "value": "😀\n\\"}, 'dynamic("😀\\n\\\\")'),
    ],
)
def test_a_value_is_written_as_its_literal(value: Any, literal: str) -> None:
    """Each type has one exact form, and plain JSON has the type that it shows."""
    assert declare(read({"x": value})) == f"let x = {literal};\n"


def test_no_parameters_declare_nothing() -> None:
    """A query without parameters is what it was."""
    assert declare(read({})) == ""


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"value": 5},
        {"type": "long"},
        {"type": "long", "value": 5, "other": 1},
        {"type": "text", "value": "x"},
        {"type": "String", "value": "x"},
        {"type": None, "value": "x"},
        {"type": ["long"], "value": 5},
        {"type": "string", "value": None},
        {"type": "string", "value": 5},
        {"type": "string", "value": "\ud800"},
        {"type": "bool", "value": "true"},
        {"type": "bool", "value": 1},
        {"type": "int", "value": 1 << 31},
        {"type": "int", "value": 1.0},
        {"type": "int", "value": True},
        {"type": "int", "value": "1_0"},
        {"type": "int", "value": "١"},
        {"type": "int", "value": "5)"},
        {"type": "long", "value": LONGEST},
        {"type": "long", "value": 10**5000},
        {"type": "long", "value": "9" * 30},
        {"type": "long", "value": ""},
        {"type": "real", "value": True},
        {"type": "real", "value": "1,5"},
        {"type": "real", "value": "1e999"},
        {"type": "real", "value": 10**400},
        {"type": "real", "value": math.nan},
        {"type": "real", "value": "infinity"},
        {"type": "decimal", "value": 1.5},
        {"type": "decimal", "value": "1e99"},
        {"type": "decimal", "value": "0." + "1" * 40},
        {"type": "decimal", "value": "nan"},
        {"type": "decimal", "value": "1) + f("},
        {"type": "datetime", "value": "now()"},
        {"type": "datetime", "value": 5},
        {"type": "datetime", "value": "2026-02-30"},
        {"type": "datetime", "value": "2026-11-21T10:00:00.12345678Z"},
        {"type": "timespan", "value": 5},
        {"type": "timespan", "value": "5"},
        {"type": "timespan", "value": "PT5M"},
        {"type": "timespan", "value": "24:00:00"},
        {"type": "timespan", "value": "5 fortnights"},
        {"type": "timespan", "value": "0.5tick"},
        {"type": "timespan", "value": "99999999d"},
        {"type": "timespan", "value": "1m)"},
        {"type": "guid", "value": "1234"},
        {"type": "guid", "value": GUID + "\n"},
        {"type": "guid", "value": 5},
        {"type": "dynamic", "value": LONGEST},
        {"type": "dynamic", "value": [math.inf]},
        {"type": "dynamic", "value": {"\udc00": 1}},
        {"type": "dynamic", "value": {1, 2}},
    ],
)
def test_a_wrong_value_is_refused(value: Any) -> None:
    """What is no value of its type never becomes KQL, and the answer names the parameter."""
    refused("x", value)


def test_what_is_nested_too_deep_is_refused() -> None:
    """A value that would exhaust the stack is the caller's mistake."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert "too deep" in refused("x", value)


@pytest.mark.parametrize(
    "name", ["", "1x", "a b", "a-b", "é", "x" * 65, "x\n", "['x']", "a;b", "where", "True", "__x"]
)
def test_a_wrong_name_is_refused(name: str) -> None:
    """A name is a plain word, and none that KQL uses itself."""
    refused(name, 5)


def test_every_name_that_is_taken_works() -> None:
    """Words of KQL are refused as names where Microsoft's parser would not take them for a value."""
    words = [*keywords(), "name", "id", "start", "user", "days", "host", "type", "app", "Limit", "now"]
    assert len(words) > 300
    taken: list[Parameter] = []
    for word in words:
        with contextlib.suppress(BadRequestError):
            taken.append(*read({word: "a"}))
    assert len(taken) > 30
    for each in taken:
        text = declare([each]) + f"print x = strcat({each.name}, 'b') | where x == {each.name}"
        assert diagnostics(text) == [], each


def test_too_many_parameters_are_refused() -> None:
    """A query has a hundred at most."""
    assert len(read({f"x{number}": 1 for number in range(MOST)})) == MOST
    with pytest.raises(BadRequestError, match="101 parameters"):
        read({f"x{number}": 1 for number in range(MOST + 1)})
