"""The query API over the wire: requests, answers, limits and errors."""

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from local.cloud import INGESTION_TIME, Cloud, Options
from tests.cloud.caller import NO_RATES, Caller

LOG_ANALYTICS = "https://api.loganalytics.io"


def inner_code(answer: Any) -> str:
    """The innermost code of an error answer."""
    error = answer.json()["error"]
    assert error["correlationId"]
    while "innererror" in error:
        error = error["innererror"]
    return str(error["code"])


def test_every_type_is_encoded_as_the_service_encodes_it(caller: Caller) -> None:
    """Strings for what JSON cannot say, bare digits for longs, nulls for all but strings."""
    caller.cloud.add_rows(
        "AzureActivity",
        [
            {
                "TimeGenerated": "2026-11-21T10:00:00.1200000Z",
                "SequenceNumber": 2**63 - 1,
                "EstimatedCost": "1.2500",
                "Properties_d": {"a": [1.50, "é"], "b": None},
                "Caller": "línea\r\n\u2028\"'\\",
            },
            {"Caller": "empty", "Properties_d": '"text"'},
        ],
    )
    columns = "TimeGenerated, SequenceNumber, EstimatedCost, Properties_d, Caller, EventSubmissionTimestamp"
    answer = caller.query(
        f"AzureActivity | where isempty(Category) | project {columns}".replace("Category", "CategoryValue")
    )
    assert answer.headers["Content-Type"].startswith("application/json")
    assert b",9223372036854775807," in answer.content
    table = answer.json()["tables"][0]
    assert table["name"] == "PrimaryResult"
    assert [each["type"] for each in table["columns"]] == [
        "datetime",
        "long",
        "decimal",
        "dynamic",
        "string",
        "datetime",
    ]
    first, second = table["rows"]
    assert first == [
        "2026-11-21T10:00:00.12Z",
        2**63 - 1,
        "1.25",
        '{"a":[1.5,"é"],"b":null}',
        "línea\r\n\u2028\"'\\",
        None,
    ]
    assert second[1:] == [None, None, "text", "empty", None]


def test_reals_bools_guids_and_timespans_are_encoded_as_the_service_encodes_them(caller: Caller) -> None:
    """NaN and the infinities are strings, whole reals lose their point."""
    numbers = [1.0, 0.1, "NaN", "Infinity", "-Infinity", None, 1e-7]
    caller.cloud.add_rows("SigninLogs", [{"Identity": "real", "RiskScore": each} for each in numbers])
    found = caller.query(
        "SigninLogs | where Identity == 'real' | project RiskScore, IsInteractive, SessionId"
    )
    assert [row[0] for row in found.json()["tables"][0]["rows"]] == numbers
    assert b"[1,null,null]" in found.content
    caller.cloud.add_rows(
        "Heartbeat", [{"MG": "ABCDEF00-0000-0000-0000-000000000001", "Uptime": "-1.00:00:00.5"}]
    )
    rows = caller.rows(
        "Heartbeat | where MG == guid(abcdef00-0000-0000-0000-000000000001)"
        "| project MG, Uptime, IsGatewayInstalled"
    )
    assert rows == [["abcdef00-0000-0000-0000-000000000001", "-1.00:00:00.5000000", None]]


def test_rows_agrees_with_what_a_query_returns(shared: Caller) -> None:
    """`Cloud.rows` is the same data, value by value, with the ingestion time beside it."""
    for table in shared.cloud.tables():
        own = shared.cloud.rows(table)
        answer = shared.query(f"{table} | extend received = ingestion_time()")
        decoded = msgspec.json.decode(answer.content)["tables"][0]
        names = [column["name"] for column in decoded["columns"]]
        asked = [dict(zip(names, row, strict=True)) for row in decoded["rows"]]
        assert [{INGESTION_TIME: row.pop("received")} | row for row in asked] == own
        assert len(own) > 0


def test_statistics_and_preferences_are_answered(shared: Caller) -> None:
    """`Prefer` is echoed, and the statistics count the rows of the answer."""
    answer = shared.query("Event | take 7", Prefer="wait=600, include-statistics=true")
    assert answer.headers["Preference-Applied"] == "wait=600"
    statistics = answer.json()["statistics"]["query"]
    assert statistics["datasetStatistics"][0]["tableRowCount"] == 7
    assert "statistics" not in shared.query("Event | take 7").json()


@pytest.mark.parametrize(
    ("timespan", "expected"),
    [
        ("2026-11-21T10:00:00.0000000Z/2026-11-21T11:00:00Z", 2),
        ("2026-11-21T10:00:00.0000001Z/2026-11-21T11:00:00Z", 1),
        ("2026-11-21T10:00:00Z/PT59M59.9999999S", 1),
        ("2026-11-21T10:00:00Z/PT1H", 2),
        ("PT1H/2026-11-21T10:00:00Z", 1),
        ("2026-11-21T10:00:00Z/P1H", 1),
    ],
)
def test_the_timespan_bounds_the_answer(caller: Caller, timespan: str, expected: int) -> None:
    """Both ends count, to the tick; an hour without its T is no time at all."""
    rows = [{"TimeGenerated": f"2026-11-21T{hour}:00:00Z", "Source": "bounds"} for hour in (10, 11)]
    caller.cloud.add_rows("Event", rows)
    assert caller.rows("Event | where Source == 'bounds' | count", timespan) == [[expected]]


def test_timespans_of_url_and_body_intersect(caller: Caller) -> None:
    """The narrower of two timespans wins on each side."""
    caller.cloud.add_rows(
        "Event", [{"TimeGenerated": f"2026-11-21T0{hour}:00:00Z", "Source": "both"} for hour in range(6)]
    )
    answer = caller.call(
        "POST",
        f"/v1/workspaces/{caller.cloud.workspace_id}/query?timespan=2026-11-21T02:00:00Z/PT9H",
        LOG_ANALYTICS,
        json={"query": "Event | where Source == 'both' | count", "timespan": "2026-11-21T00:00:00Z/PT3H"},
    )
    assert answer.json()["tables"][0]["rows"] == [[2]]


def test_a_get_asks_the_same(shared: Caller) -> None:
    """Query and timespan may come in the URL."""
    answer = shared.call(
        "GET",
        f"/v1/workspaces/{shared.cloud.workspace_id}/query",
        LOG_ANALYTICS,
        params={"query": "Event | count"},
    )
    assert answer.json()["tables"][0]["rows"] == [[300]]


@pytest.mark.parametrize(
    "words",
    [
        {"data": b""},
        {"data": b'{"query":"Event"}'},
        {"data": b"x", "headers": {"Content-Type": "text/plain"}},
    ],
)
def test_without_a_body_or_its_type_the_answer_is_empty(shared: Caller, words: dict[str, Any]) -> None:
    """The documented oddity: status 200 and nothing."""
    answer = shared.call("POST", f"/v1/workspaces/{shared.cloud.workspace_id}/query", LOG_ANALYTICS, **words)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_workspace_without_data_answers_204(tmp_path: Path) -> None:
    """The documented oddity: no data at all is no content."""
    with Cloud(Options(events=0, audits=0, limits=NO_RATES), tmp_path) as empty:
        client = Caller(empty)
        assert client.query("Event | count").status_code == 204
        client.session.close()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("Event |", "SYN0002"),
        ("Event | where Nope == 1", "SEM0100"),
        ("Heartbeats | count", "SEM0100"),
        ("Event | where TimeGenerated == 'x'", "SEM0064"),
        ("search 'x'", "STANDIN"),
    ],
)
def test_a_wrong_query_is_a_nested_error(shared: Caller, query: str, code: str) -> None:
    """400, BadArgumentError, and within it what the engine says."""
    answer = shared.query(query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BadArgumentError"
    assert inner_code(answer) == code


@pytest.mark.parametrize("timespan", ["yesterday", "P", "2026-11-21/later"])
def test_a_wrong_timespan_is_an_error(shared: Caller, timespan: str) -> None:
    """What is no ISO 8601 is refused."""
    assert shared.query("Event | count", timespan).status_code == 400


def test_tokens_are_checked(shared: Caller) -> None:
    """No token, a forged one, and one for another API are three different errors."""
    path = f"{shared.cloud.url}/v1/workspaces/{shared.cloud.workspace_id}/query"
    body = {"query": "Event | count"}
    missing = shared.session.post(path, json=body)
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "AuthenticationFailed")
    forged = shared.token(LOG_ANALYTICS)[:-3] + "abc"
    answer = shared.session.post(path, json=body, headers={"Authorization": f"Bearer {forged}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "InvalidAuthenticationToken")
    answer = shared.call("POST", path, "https://graph.microsoft.com", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "InvalidAuthenticationTokenAudience")


def test_expired_tokens_are_refused(caller: Caller) -> None:
    """After `expire_tokens` only a new token opens the API."""
    assert caller.query("Event | count").status_code == 200
    caller.cloud.expire_tokens()
    assert caller.query("Event | count").status_code == 401


def test_other_workspaces_are_closed(shared: Caller) -> None:
    """One without a role is forbidden, one that does not exist is not found."""
    foreign = shared.call(
        "POST",
        f"/v1/workspaces/{shared.cloud.foreign_workspace_id}/query",
        LOG_ANALYTICS,
        json={"query": "Event"},
    )
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "InsufficientAccessError")
    unknown = shared.call(
        "POST",
        "/v1/workspaces/00000000-0000-0000-0000-00000000000f/query",
        LOG_ANALYTICS,
        json={"query": "Event"},
    )
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "PathNotFoundError")
    assert shared.session.get(f"{shared.cloud.url}/nothing/here/at/all").status_code == 404


def test_answers_are_cached_for_two_minutes_unless_told_otherwise(caller: Caller) -> None:
    """A plain repeat has an Age and misses new rows; `no-cache` sees them."""
    caller.query("Event | count", Cache_Control="")
    caller.cloud.add_rows("Event", [{}])
    repeated = caller.query("Event | count", Cache_Control="")
    assert repeated.headers["Age"] == "0"
    assert repeated.json()["tables"][0]["rows"] == [[20]]
    fresh = caller.query("Event | count")
    assert "Age" not in fresh.headers
    assert fresh.json()["tables"][0]["rows"] == [[21]]


@pytest.mark.parametrize(
    ("limits", "query"),
    [({"rows": 3}, "Event"), ({"bytes": 3000}, "Event"), ({}, "set truncationmaxrecords=3; Event")],
)
def test_too_large_an_answer_is_partial(caller: Caller, limits: dict[str, int], query: str) -> None:
    """Status 200, some rows, and an error with the engine's number for it."""
    caller.cloud.set_limits(**limits)
    answer = caller.query(query)
    assert answer.status_code == 200
    document = answer.json()
    assert 0 < len(document["tables"][0]["rows"]) <= 5
    assert document["error"]["code"] == "PartialError"
    assert document["error"]["details"][0]["innererror"]["code"] == "-2133196797"


@pytest.mark.parametrize(
    ("too_large", "status", "code"),
    [("400", 400, "BadArgumentError"), ("413", 413, "PayloadTooLarge"), ("504", 504, "GatewayTimeout")],
)
@pytest.mark.parametrize("limits", [{"rows": 3}, {"bytes": 3000}])
def test_too_large_an_answer_can_be_refused(
    caller: Caller, limits: dict[str, int], too_large: str, status: int, code: str
) -> None:
    """No rows at all; where the engine's word comes through, it is the one of the partial answer."""
    caller.cloud.set_limits(**limits, too_large=too_large)
    answer = caller.query("Event")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert inner_code(answer) == ("GatewayTimeout" if status == 504 else "-2133196797")
    assert ("E_QUERY_RESULT_SET_TOO_LARGE" in answer.text) == (status != 504)
    assert caller.query("Event | take 2").status_code == 200


@pytest.mark.parametrize(("limits", "kept"), [({"rows": 3}, 3), ({"bytes": 3000}, None)])
def test_rows_can_be_missing_without_a_word(caller: Caller, limits: dict[str, int], kept: int | None) -> None:
    """Status 200 and no error, but the statistics count every row and byte."""
    whole = caller.query("Event", Prefer="include-statistics=true").json()
    caller.cloud.set_limits(**limits, too_large="silent")
    cut = caller.query("Event", Prefer="include-statistics=true").json()
    rows = cut["tables"][0]["rows"]
    assert 0 < len(rows) < 20
    assert kept is None or len(rows) == kept
    assert "error" not in cut
    stated = whole["statistics"]["query"]["datasetStatistics"]
    assert stated[0]["tableRowCount"] == 20
    assert cut["statistics"]["query"]["datasetStatistics"] == stated
    assert "error" not in caller.query("Event").json()


def test_what_is_too_large_cannot_be_anything(caller: Caller) -> None:
    """A word that the stand-in does not know is refused when it is set."""
    with pytest.raises(ValueError, match="cannot be '418'"):
        caller.cloud.set_limits(too_large="418")


def test_an_answer_at_the_limit_is_whole(caller: Caller) -> None:
    """Exactly as many rows as may be are no error."""
    caller.cloud.set_limits(rows=20)
    assert "error" not in caller.query("Event").json()


def test_the_rate_is_limited(caller: Caller) -> None:
    """The call after the last allowed one is a 429 that says when to come back."""
    caller.cloud.set_limits(queries=3, query_seconds=60)
    assert [caller.query("print 1").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = caller.query("print 1")
    assert refused.json()["error"]["code"] == "ThrottledError"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_queries_wait_for_their_turn_and_not_for_ever(caller: Caller) -> None:
    """Of three queries with one place and one seat, one runs, one waits, and one is refused."""
    caller.cloud.set_limits(running=1, queued=1)
    clients = [Caller(caller.cloud) for _ in range(3)]
    for client in clients:
        client.query("print 1")  # fetches the token, so that all start together
    caller.cloud.fail("log_analytics", "slow", seconds=3.0)
    statuses: list[int] = []

    def ask(client: Caller) -> None:
        statuses.append(client.query("print 1").status_code)
        client.session.close()

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(statuses) == [200, 200, 429]


def test_a_query_that_runs_too_long_is_a_gateway_timeout(caller: Caller) -> None:
    """`wait` decides what is too long; the stand-in does not make anybody sit through it."""
    caller.cloud.fail("log_analytics", "slow", seconds=200, count=None)
    answer = caller.query("Event", Prefer="wait=120")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "GatewayTimeout")
    assert answer.json()["error"]["innererror"]["message"] == "Kusto query timed out"


def test_large_answers_are_compressed_when_asked(shared: Caller) -> None:
    """Gzip by Accept-Encoding; the document is the same."""
    plain = shared.query("Event", Accept_Encoding="identity")
    packed = shared.query("Event", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == packed.json()
