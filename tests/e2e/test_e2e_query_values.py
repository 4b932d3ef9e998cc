"""An answer has the values, one by one, that Microsoft's own client gets from the same service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from azure.identity import ClientSecretCredential
from azure.monitor.query import LogsQueryClient, LogsQueryResult

from local.azurite import Azurite
from local.cloud import Cloud
from local.compare import ticks
from tests.e2e.asking import LATER, answer_of, deployed, result_of
from tests.e2e.harness import Running

# Of each Kusto type what is at its edge, in rows among those of the tables.
_ODD: dict[str, list[dict[str, object]]] = {
    "Event": [
        {"EventRecordId": 2**53 + 1, "Duration": "-1.02:03:04.0000001", "EventLevel": -(2**31)},
        {"EventRecordId": -(2**63), "Duration": "10000000.00:00:00", "EventLevel": 2**31 - 1},
        {"EventRecordId": None, "Duration": None, "EventLevel": None, "Correlation": None},
        {"RenderedDescription": '\0 \t"\\ \u2028 \u0085 💩 </script>', "Duration": "00:00:00"},
    ],
    "SigninLogs": [
        {"RiskScore": value, "DeviceDetail": detail, "IsInteractive": truth}
        for value, detail, truth in (
            ("NaN", None, None),
            ("Infinity", "[]", True),
            ("-Infinity", '"text"', False),
            (5e-324, '{"a":{"b":[1.10,null,9007199254740993]}}', None),
            (1.7976931348623157e308, "true", None),
            (-0.0, '{"é":"\\u0000"}', None),
            (None, "1.50", None),
        )
    ],
    "AzureActivity": [
        {"EstimatedCost": "1234567890123456789012345678.0123456789", "SequenceNumber": 2**63 - 1},
        {"EstimatedCost": "-0.0000000001", "SequenceNumber": 0},
        {"EstimatedCost": None, "EventSubmissionTimestamp": "0001-01-01T00:00:00Z"},
        {"EventSubmissionTimestamp": "9999-12-31T23:59:59.9999999Z"},
    ],
}
_SUMMARY = (
    "Event | summarize n = count(), newest = max(TimeGenerated), mean = avg(EventLevel),"
    " ids = make_set(EventID) by EventLevelName | order by EventLevelName asc"
)
_LITERALS = (
    "print a = long(-9223372036854775808), b = long(null), c = datetime(2026-01-01 00:00:00.1234567),"
    " d = datetime(null), e = 1.5d, f = timespan(null), g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),"
    " h = guid(null), i = dynamic({'a': [1, null]}), j = dynamic(null), k = real(nan), l = real(+inf),"
    " m = real(-inf), n = true, o = bool(null), p = '', q = int(null)"
)
_IN_ORDER = "order by TimeGenerated asc, _ItemId asc"
_TYPES = {"datetime", "timespan", "string", "int", "long", "real", "bool", "guid", "decimal", "dynamic"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host, whose service holds odd values too."""
    with deployed(tmp_path_factory.mktemp("values"), azurite) as world:
        for table, rows in _ODD.items():
            times = (world.at(-1 - number / 3600)[:-1] for number in range(len(rows)))
            dated = [
                {"TimeGenerated": f"{time}.1234567Z", **row} for time, row in zip(times, rows, strict=True)
            ]
            world.cloud.add_rows(table, dated)
        with world.running() as running:
            yield running


@pytest.mark.parametrize(
    "query",
    [
        f"Event | {_IN_ORDER}",
        f"Heartbeat | {_IN_ORDER}",
        f"SigninLogs | {_IN_ORDER}",
        f"AzureActivity | {_IN_ORDER}",
        "Event | where false",
        "AzureActivity | take 0 | project EstimatedCost, Properties_d",
        _SUMMARY,
        _LITERALS,
        'range i from 1 to 300 step 1 | extend text = hash_sha256(i), half = i / 2.0, ["a b"] = i % 3',
    ],
)
def test_an_answer_has_the_values_of_microsofts_client(app: Running, query: str) -> None:
    """Columns, types, rows and order equal those that azure-monitor-query gets for the same question."""
    start, end = app.world.at(-3), app.world.at(0)
    ours = answer_of(app.post("/api/query", {"query": query, "start": start, "end": end}))
    theirs = _ask_with_microsofts_client(app.world.cloud, query, start, end).tables[0]
    assert [column["name"] for column in ours["columns"]] == list(theirs.columns)
    kinds = [column["type"] for column in ours["columns"]]
    assert kinds == list(theirs.columns_types)
    rows = [list(map(_as_the_client, row, kinds)) for row in ours["rows"]]
    assert rows == [list(row) for row in theirs.rows]
    # 1 == 1.0 == True, so that types are compared for themselves.
    assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in theirs.rows]
    assert (ours["status"], ours["truncated"]) == ("complete", False)
    assert ours["returned"] == ours["total"] == len(rows)
    assert bool(rows) == ("where false" not in query and "take 0" not in query)


def test_every_type_is_compared(app: Running) -> None:
    """The tables that are compared above have columns of every type, and each type a value."""
    seen = set()
    for table in _ODD | {"Heartbeat": []}:
        answer = answer_of(
            app.post("/api/query", {"query": table, "start": app.world.at(-3), "end": app.world.at(0)})
        )
        for row in answer["rows"]:
            seen |= {
                column["type"]
                for column, cell in zip(answer["columns"], row, strict=True)
                if cell is not None
            }
    assert seen == _TYPES


def test_what_microsofts_client_rounds_is_kept(app: Running) -> None:
    """The seventh digit of an instant, and numbers' own spelling, are in the answer's text."""
    question = {
        "query": "AzureActivity | where SequenceNumber == 9223372036854775807"
        " | project TimeGenerated, EstimatedCost, SequenceNumber",
        "start": app.world.at(-3),
        "end": app.world.at(0),
    }
    text = app.post("/api/query", question).text
    assert ".1234567Z" in text
    assert '"1234567890123456789012345678.0123456789",9223372036854775807]' in text


@pytest.mark.parametrize("table", ["Event", "SigninLogs", "AzureActivity"])
def test_a_stored_result_has_the_same_values(app: Running, table: str) -> None:
    """What was read from the queue, in slices or whole, equals the answer given at once."""
    span = {"start": app.world.at(-3), "end": app.world.at(0)}
    for query in (f"{table} | {_IN_ORDER}", f"{table} | where TimeGenerated >= datetime(2026-01-01)"):
        at_once = answer_of(app.post("/api/query", {"query": query, **span}))
        location = app.post("/api/query", {"query": query, **span}, **LATER).headers["Location"]
        later = result_of(app, location)
        assert later["columns"] == at_once["columns"]
        assert _sorted(later["rows"]) == _sorted(at_once["rows"])


def _sorted(rows: list[list[object]]) -> list[str]:
    return sorted(map(json.dumps, rows))


def _as_the_client(cell: object, kind: str) -> object:
    """A cell of ours as azure-monitor-query gives it, of which it changes three types.

    A `datetime` becomes a Python datetime, cut to microseconds; of `timespan` and `guid` it takes `str()`, so
    that null becomes the text None. All else it leaves as the service sent it: a `decimal` is a text, and so
    are a `dynamic` and the `real` values NaN, Infinity and -Infinity.
    """
    if kind == "datetime" and isinstance(cell, str):
        micros = (ticks(cell) - ticks("1970-01-01T00:00:00Z")) // 10
        seconds, micros = divmod(micros, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return str(cell) if kind in {"guid", "timespan"} else cell


def _ask_with_microsofts_client(cloud: Cloud, query: str, start: str, end: str) -> LogsQueryResult:
    credential = ClientSecretCredential(
        cloud.tenant_id, cloud.client_id, cloud.client_secret,
        authority=cloud.url, disable_instance_discovery=True, connection_verify=str(cloud.ca_file),
    )  # fmt: skip
    with (
        credential,
        LogsQueryClient(
            credential,
            endpoint=cloud.url,
            audience="https://api.loganalytics.io",
            connection_verify=str(cloud.ca_file),
        ) as client,
    ):
        timespan = (datetime.fromisoformat(start), datetime.fromisoformat(end))
        answer = client.query_workspace(cloud.workspace_id, query, timespan=timespan)
        assert isinstance(answer, LogsQueryResult)
        return answer
