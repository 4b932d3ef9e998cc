"""KQL in the stand-in: exact ticks, ingestion times, Kusto's names and types."""

import json
from collections.abc import Iterator
from random import Random

import pytest

from local.cloud.kql import translate
from local.cloud.store import Store
from local.cloud.tables import INGESTION_TIME
from local.cloud.ticks import format_instant, parse_instant

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
    rows: list[dict[str, object]] = [
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
    yield store
    store.close()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Store]:
    """A store that tests fill with rows of their own, told apart by Source."""
    store = Store("00000000-0000-0000-0000-000000000002")
    yield store
    store.close()


def ask(store: Store, query: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The columns and rows that a query answers, each row as its JSON."""
    return ask_sql(store, translate(query, store.schema, NOW, None))


def ask_sql(store: Store, sql: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The same for a query that is SQL already."""
    with store.answer(sql) as table:
        return table.columns, [row.decode() for row in table.rows]


def numbered(*kinds: str) -> list[tuple[str, str]]:
    """The columns of a `print` without names."""
    return [(f"print_{place}", kind) for place, kind in enumerate(kinds)]


WINDOW = """
let window_start = datetime({start});
let window_end = datetime({end});
Event
| where TimeGenerated >= window_start - 3d and TimeGenerated < window_end + 2d
| where coalesce(ingestion_time(), TimeGenerated) >= window_start
    and coalesce(ingestion_time(), TimeGenerated) < window_end
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
        (
            f"Event | where TimeGenerated between (datetime({FIRST}) .. datetime({SECOND}) - 1tick) | count",
            "[1]",
        ),
        (f"Event | where TimeGenerated between (datetime({FIRST}) .. 1h) | count", "[3]"),
        (
            f"let a = datetime({THIRD}); Event | where TimeGenerated between (a - 1d .. a - 1tick) | count",
            "[2]",
        ),
        (
            "Event | summarize count() by bin(TimeGenerated, 1h) | order by TimeGenerated asc | take 1",
            '["2026-11-21T10:00:00Z",2]',
        ),
        ("Event | summarize n = count() by w = bin(TimeGenerated, 7d)", '["2026-11-16T00:00:00Z",3]'),
        ("Event | summarize max(TimeGenerated) by Computer | where Computer == 'ä'", f'["ä","{FIRST}"]'),
        (
            "Event | take 1 | project TimeGenerated - 1tick, ingestion_time() - TimeGenerated",
            '["2026-11-21T10:00:00.1234566Z","00:00:01.3765433"]',
        ),
        (
            "Event | take 1 | project startofday(TimeGenerated), endofday(TimeGenerated)",
            '["2026-11-21T00:00:00Z","2026-11-21T23:59:59.9999999Z"]',
        ),
        (
            "Event | take 1 | project tostring(TimeGenerated), strcat(TimeGenerated, '/', Duration)",
            f'["{FIRST}","{FIRST}/1.02:03:04.0000007"]',
        ),
        (
            f"print datetime({FIRST}) + 1tick, ago(1h)",
            '["2026-11-21T10:00:00.1234568Z","2026-11-21T11:00:00.1234567Z"]',
        ),
        (
            f"print todatetime('{FIRST}'), totimespan('1.00:00:00.0000001'), tolong(1tick)",
            f'["{FIRST}","1.00:00:00.0000001",1]',
        ),
        (
            "print hourofday(now()), format_datetime(now(), 'yyyy-MM-dd'), dayofweek(now())",
            '[12,"2026-11-21","6.00:00:00"]',
        ),
        (
            "print datetime_add('hour', 1, now()), unixtime_seconds_todatetime(0)",
            '["2026-11-21T13:00:00.1234567Z","1970-01-01T00:00:00Z"]',
        ),
    ],
)
def test_time_keeps_all_seven_digits(store: Store, query: str, expected: str) -> None:
    """Comparison, arithmetic, rounding, the calendar and text all agree with Kusto to 100 ns."""
    assert ask(store, query)[1] == [expected]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("Event | count", [("Count", "long")]),
        (
            "Event | summarize count() by Computer | order by count_ desc",
            [("Computer", "string"), ("count_", "long")],
        ),
        (
            "Event | summarize rows = count(), bytes = sum(estimate_data_size(*))",
            [("rows", "long"), ("bytes", "long")],
        ),
        ("Event | project ingestion_time()", [("Column1", "datetime")]),
        (
            "Event | project Duration, Correlation, EventLevel",
            [("Duration", "timespan"), ("Correlation", "guid"), ("EventLevel", "int")],
        ),
        (
            "print 1, 1.5, true, 'x', dynamic([1]), now(), 1h",
            numbered("long", "real", "bool", "string", "dynamic", "datetime", "timespan"),
        ),
    ],
)
def test_columns_have_kustos_names_and_types(
    store: Store, query: str, columns: list[tuple[str, str]]
) -> None:
    """A client sees the schema that the service would announce."""
    assert ask(store, query)[0] == columns


@pytest.mark.parametrize("seed", range(40))
def test_any_window_selects_what_a_comparison_of_ticks_selects(scratch: Store, seed: int) -> None:
    """Rows a few ticks apart, windows a few ticks long: the engine agrees with whole numbers."""
    random = Random(seed)  # noqa: S311 (test data)
    times = [
        (random.randrange(50), random.choice((None, random.randrange(50))))
        for _ in range(random.randrange(1, 9))
    ]
    start, length = random.randrange(50), random.randrange(50)
    example = f"seed {seed}"
    rows = [
        {
            "Source": example,
            "TimeGenerated": NOW + time,
            "EventID": place,
            INGESTION_TIME: None if arrival is None else NOW + arrival,
        }
        for place, (time, arrival) in enumerate(times)
    ]
    scratch.add("Event", rows, None, NOW)
    end = format_instant(NOW + start + length)
    query = WINDOW.format(start=format_instant(NOW + start), end=end).replace(
        "project TimeGenerated, Computer", f"where Source == '{example}' | project EventID"
    )
    expected = [
        f"[{place}]"
        for place, (time, arrival) in enumerate(times)
        if start <= (time if arrival is None else arrival) < start + length
    ]
    assert ask(scratch, query)[1] == expected


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
        ("Event | where computer == 'x'", "'where' operator: Failed to resolve .* named 'computer'"),
        ("Event | project Nope", "'project' operator: Failed to resolve .* named 'Nope'"),
        ("Event | where TimeGenerated > '2026-01-01'", "Cannot compare values of types datetime and string"),
        ("search 'x'", "SearchOperator"),
    ],
)
def test_a_query_that_kusto_refuses_is_refused(store: Store, query: str, message: str) -> None:
    """Names are case-sensitive and must exist; what the engine cannot do is an error and no wrong answer."""
    with pytest.raises(Exception, match=message):
        ask(store, query)


def test_a_joined_query_may_use_ingestion_time_on_both_sides(store: Store) -> None:
    """The hidden columns of both sides stay out of the answer."""
    recent = "Event | where ingestion_time() > ago(9d)"
    query = f"{recent} | join kind=inner ({recent}) on Computer"
    columns, rows = ask(store, query)
    assert len(rows) == 2
    assert not [name for name, _ in columns if "$" in name]


def test_a_timespan_bounds_every_table_of_a_query(store: Store) -> None:
    """The request's timespan is ANDed with the query, on both sides of a join, both ends inclusive."""
    bounds = parse_instant(FIRST), parse_instant(SECOND)
    sql = translate("Event | join kind=inner (Event) on Computer | count", store.schema, NOW, bounds)
    assert ask_sql(store, sql)[1] == ["[2]"]
    sql = translate("Event | count", store.schema, NOW, (bounds[0] + 1, bounds[1] - 1))
    assert ask_sql(store, sql)[1] == ["[0]"]


def test_a_timespan_leaves_the_results_of_a_let_alone(store: Store) -> None:
    """It bounds what is read from a table, not what a query makes of it."""
    query = "let days = Event | summarize n = count() by bin(TimeGenerated, 1d); days | project n"
    bounds = parse_instant(FIRST), parse_instant(THIRD)
    assert ask_sql(store, translate(query, store.schema, NOW, bounds))[1] == ["[3]"]


def test_what_a_newcomer_tries_works(store: Store) -> None:
    """The operators of any first lesson."""
    for query in (
        "Heartbeat | take 5",
        "union Event, Heartbeat | count",
        "union withsource=T Event, Heartbeat | summarize count() by T",
        "Event | where Computer has 'b' and EventLevel in (1, 2) | project-away TenantId",
        "Event | summarize make_set(Computer), dcount(Computer), arg_max(TimeGenerated, *) by EventLevelName",
        "Event | top 3 by TimeGenerated desc | extend age = now() - TimeGenerated",
        "SigninLogs | extend city = tostring(LocationDetails.city) | summarize count() by city",
        "Event | summarize count() by bin(TimeGenerated, 1h) | render timechart",
        "SigninLogs | mv-expand ConditionalAccessPolicies | project ConditionalAccessPolicies.result",
        "AzureActivity | getschema",
        "range day from ago(2d) to now() step 1d | project day",
    ):
        columns, _ = ask(store, query)
        assert columns, query


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'x\u2028y'", "x\u2028y"),
        (r"'\u0022\u0027\u005c'", "\"'\\"),
        (r"'\u0041\x42\103'", "ABC"),
        (r"'\ud83d\ude00'", "\U0001f600"),
        (r"'\\u0041'", r"\u0041"),
        (r"@'c:\u0041'", r"c:\u0041"),
        (r"'\a\t\n'", "\a\t\n"),
    ],
)
def test_strings_mean_what_their_escapes_say(store: Store, literal: str, value: str) -> None:
    """By number, by letter, and not at all in a verbatim string."""
    assert json.loads(ask(store, f"print a = {literal}")[1][0]) == [value]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("bin_at(datetime(2017-05-15 10:20), 1d, datetime(1970-01-01 12:00))", "2017-05-14T12:00:00Z"),
        ("bin_at(datetime(2017-05-17 10:20), 7d, datetime(2017-06-04))", "2017-05-14T00:00:00Z"),
        ("bin_at(time(1h), 1d, 12h)", "-12:00:00"),
        (
            f"bin_at(datetime({SECOND}), time(0.00:00:00.0000003), datetime({FIRST}))",
            "2026-11-21T10:59:59.9999998Z",
        ),
        (f"bin_at(datetime({SECOND}) - 1tick, 3tick, datetime({FIRST}))", "2026-11-21T10:59:59.9999998Z"),
        (f"bin_at(datetime({SECOND}) + 2tick, 3tick, datetime({FIRST}))", "2026-11-21T11:00:00.0000001Z"),
        (f"bin_at(datetime({FIRST}), 1h, datetime({FIRST}))", FIRST),
        (f"bin_at(datetime({FIRST}) - 1tick, 1h, datetime({FIRST}))", "2026-11-21T09:00:00.1234567Z"),
    ],
)
def test_bins_lie_at_a_point_to_the_tick(store: Store, expression: str, expected: str) -> None:
    """A bin holds its own beginning and not its end, before the point as after it; in lets too."""
    assert ask(store, f"print a = {expression}")[1] == [f'["{expected}"]']
    assert ask(store, f"let a = {expression}; print a")[1] == [f'["{expected}"]']


def test_rows_are_counted_by_bins_at_a_point(store: Store) -> None:
    """By ingestion time, and by TimeGenerated where there is none; a bin without rows is not there."""
    query = (
        "let point = datetime(2026-11-21T10:00:00.0000001Z);\nEvent"
        "\n| extend at = bin_at(coalesce(ingestion_time(), TimeGenerated), time(0.00:30:00.0000000), point)"
        "\n| where TimeGenerated >= at - 1d and TimeGenerated < at + time(0.00:30:00.0000000) + 1d"
        "\n| summarize Count = count() by at\n| order by at asc"
    )
    columns, rows = ask(store, query)
    assert columns == [("at", "datetime"), ("Count", "long")]
    assert rows == [
        '["2026-11-21T10:00:00.0000001Z",1]',
        '["2026-11-21T10:30:00.0000001Z",1]',
        '["2026-11-21T11:00:00.0000001Z",1]',
    ]
