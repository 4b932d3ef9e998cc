"""KQL in the stand-in: exact ticks, ingestion times, Kusto's names and types."""

from collections.abc import Iterator

import pytest

from local.cloud.kql import translate
from local.cloud.store import Store
from local.cloud.tables import INGESTION_TIME
from local.cloud.ticks import parse_instant

NOW = parse_instant("2026-11-21T12:00:00.1234567Z")
FIRST, SECOND, THIRD = (
    "2026-11-21T10:00:00.1234567Z",
    "2026-11-21T10:59:59.9999999Z",
    "2026-11-21T11:00:00Z",
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """Three rows at awkward instants."""
    store = Store("00000000-0000-0000-0000-000000000001")
    rows = [
        {
            "TimeGenerated": FIRST,
            "Computer": "ä",
            "EventLevelName": "Error",
            "EventLevel": 2,
            "EventRecordId": 2**62 + 1,
            "Duration": "1.02:03:04.0000007",
            "Correlation": "8b2f8f3e-0000-0000-0000-000000000001",
            INGESTION_TIME: "2026-11-21T10:00:01.5Z",
        },
        {"TimeGenerated": SECOND, "Computer": "b", INGESTION_TIME: "2026-11-21T11:00:00.0000001Z"},
        {"TimeGenerated": THIRD, "Computer": "b", INGESTION_TIME: None},
    ]
    store.add("Event", rows, None, NOW)
    return store


def ask(store: Store, query: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The columns and rows that a query answers, each row as its JSON."""
    table = store.answer(translate(query, store.schema, NOW, None))
    return table.columns, list(table.rows)


WINDOW = """
let window_start = datetime({start});
let window_end = datetime({end});
Event
| where TimeGenerated >= window_start - 3d and TimeGenerated < window_end + 2d
| where coalesce(ingestion_time(), TimeGenerated) >= window_start and coalesce(ingestion_time(), TimeGenerated) < window_end
| project TimeGenerated, Computer
"""


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-21T10:00:00.0000000Z", "2026-11-21T11:00:00.0000000Z", [f'["{FIRST}","ä"]']),
        ("2026-11-21T11:00:00.0000000Z", "2026-11-21T11:00:00.0000001Z", [f'["{THIRD}","b"]']),
        ("2026-11-21T11:00:00.0000001Z", "2026-11-21T11:00:00.0000002Z", [f'["{SECOND}","b"]']),
        ("2026-11-21T10:00:01.5000001Z", "2026-11-21T11:00:00.0000000Z", []),
    ],
)
def test_a_window_on_ingestion_time_is_exact_to_the_tick(
    store: Store, start: str, end: str, expected: list[str]
) -> None:
    """Half-open bounds divide rows one tick apart, and a null ingestion time falls back to TimeGenerated."""
    assert ask(store, WINDOW.format(start=start, end=end))[1] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"Event | where TimeGenerated == datetime({FIRST}) | count", "[1]"),
        (f"Event | where TimeGenerated > datetime({FIRST}) | count", "[2]"),
        (f"Event | where TimeGenerated between (datetime({FIRST}) .. datetime(2026-11-21T10:59:59.9999998Z)) | count", "[1]"),
        (f"Event | where TimeGenerated between (datetime({FIRST}) .. 1h) | count", "[3]"),
        ("let a = datetime(2026-11-21T10:00:00Z); Event | where TimeGenerated between (a - 1d .. a + 1h - 1tick) | count", "[2]"),
        ("Event | summarize count() by bin(TimeGenerated, 1h) | order by TimeGenerated asc | take 1", '["2026-11-21T10:00:00Z",2]'),
        ("Event | summarize n = count() by w = bin(TimeGenerated, 7d)", '["2026-11-16T00:00:00Z",3]'),
        ("Event | summarize max(TimeGenerated) by Computer | where Computer == 'ä'", f'["ä","{FIRST}"]'),
        ("Event | where Computer == 'ä' | project TimeGenerated - 1tick, ingestion_time() - TimeGenerated", '["2026-11-21T10:00:00.1234566Z","00:00:01.3765433"]'),
        ("Event | where Computer == 'ä' | project startofday(TimeGenerated), endofday(TimeGenerated)", '["2026-11-21T00:00:00Z","2026-11-21T23:59:59.9999999Z"]'),
        ("Event | where Computer == 'ä' | project tostring(TimeGenerated), strcat(TimeGenerated, '/', Duration)", f'["{FIRST}","{FIRST}/1.02:03:04.0000007"]'),
        ("print datetime(2026-11-21T10:00:00.1234567Z) + 1tick, ago(1h)", '["2026-11-21T10:00:00.1234568Z","2026-11-21T11:00:00.1234567Z"]'),
        ("print todatetime('2026-01-01T00:00:00.1234567Z'), totimespan('1.00:00:00.0000001'), tolong(1tick)", '["2026-01-01T00:00:00.1234567Z","1.00:00:00.0000001",1]'),
        ("print hourofday(now()), format_datetime(now(), 'yyyy-MM-dd'), dayofweek(now())", '[12,"2026-11-21","6.00:00:00"]'),
        ("print datetime_add('hour', 1, now()), unixtime_seconds_todatetime(0)", '["2026-11-21T13:00:00.1234567Z","1970-01-01T00:00:00Z"]'),
    ],
)  # fmt: skip
def test_time_keeps_all_seven_digits(store: Store, query: str, expected: str) -> None:
    """Comparison, arithmetic, rounding, the calendar and text all agree with Kusto to 100 ns."""
    assert ask(store, query)[1] == [expected]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("Event | count", [("Count", "long")]),
        ("Event | summarize count() by Computer | order by count_ desc", [("Computer", "string"), ("count_", "long")]),
        ("Event | summarize rows = count(), bytes = sum(estimate_data_size(*))", [("rows", "long"), ("bytes", "long")]),
        ("Event | project ingestion_time()", [("Column1", "datetime")]),
        ("Event | project Duration, Correlation, EventLevel", [("Duration", "timespan"), ("Correlation", "guid"), ("EventLevel", "int")]),
        ("print 1, 1.5, true, 'x', dynamic([1]), now(), 1h",
         [(f"print_{place}", kind) for place, kind in enumerate(("long", "real", "bool", "string", "dynamic", "datetime", "timespan"))]),
    ],
)  # fmt: skip
def test_columns_have_kustos_names_and_types(store: Store, query: str, columns: list[tuple[str, str]]) -> None:
    """A client sees the schema that the service would announce."""
    assert ask(store, query)[0] == columns


def test_the_ingestion_time_is_hidden_and_lost_by_project(store: Store) -> None:
    """It is no column of an answer, and after a projection it is null, as in Kusto."""
    query = "Event | where ingestion_time() > ago(10d) | take 1"
    assert [name for name, _ in ask(store, query)[0]] == store.schema["Event"]
    assert ask(store, "Event | project Computer | where isnotnull(ingestion_time()) | count")[1] == ["[0]"]


def test_hash_parts_divide_the_rows(store: Store) -> None:
    """Every row is in exactly one part of `hash(…, n)`."""
    parts = [
        ask(store, f"Event | where hash(tostring(pack_all()), 3) == {part} | project EventRecordId")[1]
        for part in range(3)
    ]
    assert sum(map(len, parts)) == 3


def test_a_sum_of_hash_parts_is_stable(store: Store) -> None:
    """The same question has the same answer, or a slice could lose rows."""
    query = "Event | extend part = hash(tostring(pack_all()), 1000) | project part"
    assert ask(store, query) == ask(store, query)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("Evento | count", "Failed to resolve table or column expression named 'Evento'"),
        ("event | count", "Failed to resolve table or column expression named 'event'"),
        ("Event | where computer == 'x'", "'where' operator: Failed to resolve column or scalar expression named 'computer'"),
        ("Event | project Nope", "'project' operator: Failed to resolve column or scalar expression named 'Nope'"),
        ("Event | where TimeGenerated > '2026-01-01'", "Cannot compare values of types datetime and string"),
        ("search 'x'", "SearchOperator"),
    ],
)  # fmt: skip
def test_a_query_that_kusto_refuses_is_refused(store: Store, query: str, message: str) -> None:
    """Names are case-sensitive and must exist; what the engine cannot do is an error and no wrong answer."""
    with pytest.raises(Exception, match=message.replace("(", r"\(")):
        ask(store, query)


def test_a_joined_query_may_use_ingestion_time_on_both_sides(store: Store) -> None:
    """The hidden columns of both sides stay out of the answer."""
    query = "Event | where ingestion_time() > ago(9d) | join kind=inner (Event | where ingestion_time() > ago(9d)) on Computer"
    columns, rows = ask(store, query)
    assert len(rows) == 2
    assert not [name for name, _ in columns if "$" in name]


def test_a_timespan_bounds_every_table_of_a_query(store: Store) -> None:
    """The request's timespan is ANDed with the query, on both sides of a join, both ends inclusive."""
    bounds = parse_instant(FIRST), parse_instant(SECOND)
    sql = translate("Event | join kind=inner (Event) on Computer | count", store.schema, NOW, bounds)
    assert list(store.answer(sql).rows) == ["[2]"]
    sql = translate("Event | count", store.schema, NOW, (bounds[0] + 1, bounds[1] - 1))
    assert list(store.answer(sql).rows) == ["[0]"]
