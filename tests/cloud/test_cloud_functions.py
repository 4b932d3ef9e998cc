"""Functions with a tabular body in the stand-in's KQL, above all the counting of many windows at once."""

import re
from collections.abc import Iterator, Sequence

import pytest
from duckdb_kql.errors import KqlError

from local.cloud.kql import translate
from local.cloud.kql_functions import lift
from local.cloud.store import Store
from local.cloud.tables import INGESTION_TIME, TABLES
from local.cloud.ticks import format_instant, parse_instant
from tests.cloud.caller import Caller

NOW = parse_instant("2026-11-21T12:00:00Z")
START = parse_instant("2026-11-21T10:00:00Z")
ERRORS = "where EventLevelName == 'Error' | project TimeGenerated, Computer"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """A row in each of the first ten ticks after START, every second one an error; the tenth came at once."""
    store = Store("00000000-0000-0000-0000-000000000001")
    rows: list[dict[str, object]] = [
        {
            "TimeGenerated": START + tick,
            "EventID": tick,
            "EventLevelName": ("Error", "Warning")[tick % 2],
            "EventData": f'<Data Name="{tick}"/>',
            INGESTION_TIME: None if tick == 9 else START + tick,
        }
        for tick in range(10)
    ]
    store.add("Event", rows, None, NOW)
    yield store
    store.close()


def ask(store: Store, query: str, timespan: tuple[int, int] | None = None) -> list[str]:
    """The rows that a query answers, each as its JSON."""
    with store.answer(translate(query, store.schema, NOW, timespan)) as table:
        return [row.decode() for row in table.rows]


def counting(windows: Sequence[tuple[int, int]], pipeline: str = ERRORS) -> str:
    """The query that counts the rows of each window, given in ticks, that a pipeline lets through."""
    legs = [
        f"(rows_of(datetime({format_instant(start)}), datetime({format_instant(end)}))"
        f" | count | extend leg = {number})"
        for number, (start, end) in enumerate(windows)
    ]
    return f"""let rows_of = (window_start: datetime, window_end: datetime) {{
Event
| where TimeGenerated >= window_start - 60d and TimeGenerated < window_end + 10d
| where coalesce(ingestion_time(), TimeGenerated) >= window_start
    and coalesce(ingestion_time(), TimeGenerated) < window_end
| {pipeline}
}};
union {", ".join(legs)}
| project leg, Count
| order by leg asc"""


def test_one_query_counts_many_windows_to_the_tick(store: Store) -> None:
    """Every leg has its own window, also one that is a single tick, and an empty one counts zero."""
    windows = [(START, START + 10), (START + 2, START + 3), (START + 3, START + 4), (START + 4, START + 9)]
    assert ask(store, counting(windows)) == ["[0,5]", "[1,1]", "[2,0]", "[3,3]"]


def test_a_single_window_is_counted_too(store: Store) -> None:
    """A union of one leg is a union."""
    assert ask(store, counting([(START, START + 10)])) == ["[0,5]"]


def test_twenty_four_legs_over_nothing_count_zero_each(store: Store) -> None:
    """No leg is lost because it has no rows."""
    windows = [(NOW + place, NOW + place + 1) for place in range(24)]
    assert ask(store, counting(windows)) == [f"[{place},0]" for place in range(24)]


@pytest.mark.parametrize(
    ("pipeline", "count"),
    [
        ("where EventID >= 4", 6),
        ("extend a = EventID * 2 | where a > 10 | project-rename b = a", 4),
        ("project-away EventData", 10),
        ("parse EventData with * 'Name=\"' number: long '\"' * | where number == 3", 1),
        ("mv-expand part = dynamic([1, 2, 3])", 30),
        ("extend brace = '}; let x = (', other = \"{|\", raw = @'\\' // };\n| where brace has 'let'", 10),
        ("extend long_text = ```};\n'``` | where isnotempty(long_text)", 10),
        ("where hash(tostring(pack_all()), 1) == 0", 10),
    ],
)
def test_a_body_may_hold_any_pipeline(store: Store, pipeline: str, count: int) -> None:
    """Row-wise operators, and braces or semicolons in strings and comments."""
    assert ask(store, counting([(START, START + 10)], pipeline)) == [f"[0,{count}]"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("least(3) | count", ["[3]"]),
        ("union least(3), least(2) | count", ["[5]"]),
        ("let some = least(4); some | count", ["[4]"]),
        ("Event | join kind=inner (least(2)) on EventID | count", ["[2]"]),
        ("Event | where EventID in (least(2) | project EventID) | count", ["[2]"]),
        ("print n = toscalar(least(5) | count)", ["[5]"]),
        ("let of_least = (n: int) { least(n) | count }; union of_least(1), of_least(2)", ["[1]", "[2]"]),
    ],
)
def test_a_call_stands_wherever_a_table_may(store: Store, query: str, expected: list[str]) -> None:
    """At the head of a query, in a union, a join, a list, a let, another function."""
    assert sorted(ask(store, f"let least = (n: int) {{ Event | where EventID < n }}; {query}")) == expected


def test_a_body_may_be_a_whole_query_with_an_aggregate(store: Store) -> None:
    """Free KQL with its own lets and a summarize, one answer for each call."""
    query = """
    let factor = 10;
    let levels = (lowest: long, most: long) {
        let bound = most - 1;
        let found = Event | where EventID between (lowest .. bound);
        found | summarize n = count(), highest = max(EventID) * factor by EventLevelName
    };
    union (levels(0, 4) | extend leg = 0), (levels(4, 5) | extend leg = 1)
    | order by leg asc, EventLevelName asc | project leg, EventLevelName, n, highest
    """
    assert ask(store, query) == ['[0,"Error",2,20]', '[0,"Warning",2,30]', '[1,"Error",1,40]']


def test_a_timespan_bounds_the_tables_of_a_function(store: Store) -> None:
    """The request's timespan is ANDed with the body as with any query."""
    query = "let all = () { Event }; all() | count"
    assert ask(store, query, (START + 1, START + 3)) == ["[3]"]


def test_scalar_functions_and_those_with_a_tabular_parameter_stay(store: Store) -> None:
    """What the engine can run by itself is left to it, also where both kinds meet."""
    query = "let twice = (n: long) { n * 2 }; let four = (n: long) { twice(twice(n)) }; print four(3)"
    assert lift(query) == (query, {None: {}})
    assert ask(store, query) == ["[12]"]
    some = "let some = (input: (EventID: int), n: long) { input | where EventID < n }"
    query = f"{some}; Event | invoke some(3) | count"
    assert ask(store, query) == ["[3]"]


def test_definitions_leave_every_place_as_it_was() -> None:
    """An error in the rest of the query is told with its own line and column."""
    query = "let a = 1;\nlet f = () {\n  Event\n}; f() | were x"
    rest, functions = lift(query)
    assert list(functions[None]) == ["f"]
    assert [len(line) for line in rest.split("\n")] == [len(line) for line in query.split("\n")]
    assert rest.endswith("   f() | were x")


@pytest.mark.parametrize("arguments", ["", "datetime(2026-11-21)", "datetime(2026-11-21), now(), 1"])
def test_a_wrong_number_of_arguments_is_a_semantic_error(shared: Caller, arguments: str) -> None:
    """400 with the engine's code, as the service answers."""
    query = re.sub(r"rows_of\(datetime.*?\)\)", f"rows_of({arguments})", counting([(START, START + 1)]))
    answer = shared.query(query)
    inner = answer.json()["error"]["innererror"]
    assert (answer.status_code, inner["code"]) == (400, "SemanticError")
    assert inner["innererror"]["code"] == "SEM0219"
    assert "rows_of(): function expects 2 argument(s)" in inner["innererror"]["message"]


def test_a_wrong_body_is_an_error_and_no_answer(store: Store) -> None:
    """Syntax, unknown columns and recursion within a function are refused."""
    for body in ("Event | were x", "Event | where Nope == 1", "Event | union (f())"):
        with pytest.raises(KqlError):
            ask(store, f"let f = () {{ {body} }}; f() | count")


def test_a_counting_query_over_the_wire_has_statistics_and_is_cached(shared: Caller) -> None:
    """It is a query like any other: columns, statistics, the cache."""
    day = 24 * 60 * 60 * 10_000_000
    query = counting([(NOW - 30 * day, NOW + day), (NOW - 1, NOW - 1)], "where true")
    answer = shared.query(query, Prefer="include-statistics=true", Cache_Control="")
    table = answer.json()["tables"][0]
    assert table["columns"] == [{"name": "leg", "type": "long"}, {"name": "Count", "type": "long"}]
    assert table["rows"] == [[0, 300], [1, 0]]
    assert answer.json()["statistics"]["query"]["datasetStatistics"][0]["tableRowCount"] == 2
    assert "Age" in shared.query(query, Prefer="include-statistics=true", Cache_Control="").headers


@pytest.mark.parametrize("table", TABLES)
def test_parts_by_hash_divide_every_table(shared: Caller, table: str) -> None:
    """Eight parts have some rows each, and together the whole table, each row once."""
    whole = f"{table} | where coalesce(ingestion_time(), TimeGenerated) > datetime(2020-01-01)"
    parts = [
        shared.rows(f"{whole} | where hash(tostring(pack_all()), 8) == {part} | extend more = 1 | count")
        for part in range(8)
    ]
    counts = [part[0][0] for part in parts]
    assert 0 < min(counts) < max(counts) < sum(counts)
    assert [[sum(counts)]] == shared.rows(f"{whole} | count")


def test_identical_rows_are_kept(caller: Caller) -> None:
    """The service does not tell duplicates apart, and loses none; by hash they share a part."""
    twin = {"TimeGenerated": "2026-11-21T10:00:00Z", "_ItemId": "same", "Source": "twin"}
    caller.cloud.add_rows("Event", [twin, twin, twin], ingested="2026-11-21T10:00:00Z")
    rows = caller.rows("Event | where Source == 'twin'")
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]
    parts = [
        caller.rows(
            f"Event | where hash(tostring(pack_all()), 8) == {part} | where Source == 'twin' | count"
        )[0][0]
        for part in range(8)
    ]
    assert sorted(parts) == [0] * 7 + [3]


@pytest.mark.parametrize(("condition", "empty"), [("true", False), ("false", True)])
def test_rows_and_their_size_are_measured(shared: Caller, condition: str, empty: bool) -> None:
    """Without rows both numbers are zero ("summarize operator", default values of aggregations)."""
    size = "summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"
    ((rows, answer_bytes),) = shared.rows(
        f"Event | where ingestion_time() < now() | where {condition} | {size}"
    )
    assert (rows, answer_bytes) == (0, 0) if empty else (rows == 300 and answer_bytes > 300 * 100)
