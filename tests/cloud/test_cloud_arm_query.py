"""Queries through Resource Manager: routes, tokens, and the two shapes of an answer."""

from typing import Any

import msgspec
import pytest
import requests

from tests.cloud.caller import Caller
from tests.cloud.tables_api import ARM


def ask(caller: Caller, query: str, path: str | None = None, **words: Any) -> requests.Response:
    """Ask for a resource's logs, by default the workspace's; `words` are headers, with underscores."""
    headers = {name.replace("_", "-"): value for name, value in words.items()}
    own = f"{caller.cloud.workspace_resource_ids[0]}/providers/microsoft.insights/logs"
    path = path or f"{own}?api-version=2018-03-01-preview"
    return caller.call(
        "POST", path, ARM, json={"query": query}, headers={"Cache-Control": "no-cache"} | headers
    )


def table(answer: requests.Response, number: int) -> dict[str, Any]:
    """One table of an answer in Kusto's first shape."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = msgspec.json.decode(answer.content)["Tables"][number]
    assert found["TableName"] == f"Table_{number}"
    return found


def test_the_usual_shape_is_kustos_first(shared: Caller) -> None:
    """Rows, properties, status, and a table of contents that says which is which."""
    answer = ask(shared, "Event | count")
    assert table(answer, 0) == {
        "TableName": "Table_0",
        "Columns": [{"ColumnName": "Count", "DataType": "Int64", "ColumnType": "long"}],
        "Rows": [[300]],
    }
    status = table(answer, 2)
    names = [each["ColumnName"] for each in status["Columns"]]
    first = dict(zip(names, status["Rows"][0], strict=True))
    assert (first["Severity"], first["StatusDescription"]) == (4, "Query completed successfully")
    assert [row[1:3] for row in table(answer, 3)["Rows"]] == [
        ["QueryResult", "PrimaryResult"],
        ["QueryProperties", "@ExtendedProperties"],
        ["QueryStatus", "QueryStatus"],
    ]
    assert int(answer.headers["x-ms-ratelimit-remaining-subscription-reads"]) < 12_000


def test_the_preferred_shape_is_the_query_apis(shared: Caller) -> None:
    """With ``Prefer: response-v1=true`` the answer is what the other host gives, statistics and all."""
    query = "Event | where EventLevel > 1 | order by TimeGenerated asc | take 20"
    answer = ask(shared, query, Prefer="response-v1=true,include-statistics=true").json()
    assert answer["tables"] == shared.query(query).json()["tables"]
    assert answer["statistics"]["query"]["datasetStatistics"][0]["tableRowCount"] == 20


def test_the_preference_can_be_ignored(caller: Caller) -> None:
    """A switch, because no document promises it."""
    caller.cloud.set_limits(arm_ignores_prefer=True)
    assert "Tables" in ask(caller, "Event | count", Prefer="response-v1=true").json()


def test_values_in_kustos_shape(caller: Caller) -> None:
    """Booleans are 0 and 1 and dynamic values text, or both are JSON's own; all else is as ever."""
    rows: list[dict[str, Any]] = [
        {"Identity": "x", "IsInteractive": True, "Status": {"a": [2**63]}, "RiskScore": "NaN"},
        {"Identity": "x", "IsInteractive": None, "Status": '"text"', "RiskScore": 1.0},
    ]
    caller.cloud.add_rows("SigninLogs", rows)
    query = "SigninLogs | where Identity == 'x' | project IsInteractive, Status, RiskScore, Identity"
    found = table(ask(caller, query), 0)
    assert [each["DataType"] for each in found["Columns"]] == ["SByte", "Object", "Double", "String"]
    assert found["Rows"] == [[1, '{"a":[9223372036854775808]}', "NaN", "x"], [None, "text", 1, "x"]]
    caller.cloud.set_limits(arm_nested=True)
    nested = table(ask(caller, query), 0)["Rows"]
    assert nested == [[True, {"a": [2**63]}, "NaN", "x"], [None, "text", 1, "x"]]


@pytest.mark.parametrize("kind", ["status", "exceptions", "rows"])
def test_missing_rows_are_told_of(caller: Caller, kind: str) -> None:
    """In the status table by the engine's number, beside the tables, or among the rows."""
    caller.cloud.set_limits(rows=5, arm_partial=kind)
    answer = ask(caller, "Event")
    rows, document = table(answer, 0)["Rows"], answer.json()
    severities = [row[1] for row in table(answer, 2)["Rows"]]
    assert (2 in severities) == (kind == "status")
    if kind == "status":
        assert table(answer, 2)["Rows"][0][3] == -2133196797
    assert ("Exceptions" in document) == (kind == "exceptions")
    assert len(rows) == (6 if kind == "rows" else 5)
    assert isinstance(rows[-1], dict) == (kind == "rows")
    assert "E_QUERY_RESULT_SET_TOO_LARGE" in answer.text


def test_partial_answers_can_be_ordered(caller: Caller) -> None:
    """By the fault of that name, in either shape."""
    caller.cloud.fail("resource_manager", "partial", count=2)
    assert table(ask(caller, "Event"), 2)["Rows"][0][1] == 2
    assert ask(caller, "Event", Prefer="response-v1=true").json()["error"]["code"] == "PartialError"
    assert table(ask(caller, "Event"), 2)["Rows"][0][1] == 4


def test_the_older_route_leads_to_a_workspace(shared: Caller) -> None:
    """``api/query`` in two versions; an unknown workspace is Resource Manager's own 404."""
    own = shared.cloud.workspace_resource_ids[0]
    for version in ("2017-01-01-preview", "2020-08-01"):
        answer = ask(shared, "Event | count", f"{own.upper()}/api/query?api-version={version}")
        assert table(answer, 0)["Rows"] == [[300]]
    unknown = ask(shared, "Event", f"{own}x/api/query?api-version=2020-08-01")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_a_resource_has_only_its_own_rows(caller: Caller) -> None:
    """As with the other host; an unknown one is not found."""
    resource = caller.cloud.workspace_resource_ids[0].rpartition("/providers/")[0]
    resource += "/providers/Microsoft.Compute/virtualMachines/vm9"
    caller.cloud.add_rows("Event", [{"_ResourceId": resource.lower()}])
    path = "/providers/microsoft.insights/logs?api-version=2018-03-01-preview"
    assert table(ask(caller, "Event | count", resource + path), 0)["Rows"] == [[1]]
    assert ask(caller, "Event", f"{resource}9{path}").json()["error"]["code"] == "ResourceNotFoundError"


@pytest.mark.parametrize(
    ("version", "code"),
    [("", "MissingApiVersionParameter"), ("?api-version=2001-01-01", "InvalidApiVersionParameter")],
)
def test_the_version_is_checked(shared: Caller, version: str, code: str) -> None:
    """Resource Manager takes no request without one that it knows."""
    path = f"{shared.cloud.workspace_resource_ids[0]}/providers/microsoft.insights/logs{version}"
    answer = ask(shared, "Event", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_token_for_the_other_host_is_refused(shared: Caller) -> None:
    """And so is none."""
    path = f"{shared.cloud.workspace_resource_ids[0]}/api/query?api-version=2020-08-01"
    answer = shared.call("POST", path, "https://api.loganalytics.io", json={"query": "Event"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "InvalidAuthenticationTokenAudience")
    missing = shared.session.post(shared.cloud.url + path, json={"query": "Event"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "AuthenticationFailed")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("403", 403, "AuthorizationFailed"),
        ("429", 429, "SubscriptionRequestsThrottled"),
        ("expired_token", 401, "ExpiredAuthenticationToken"),
        ("504", 504, "GatewayTimeout"),
    ],
)
def test_faults_have_resource_managers_words(caller: Caller, kind: str, status: int, code: str) -> None:
    """What its front refuses is in its words; a query's time-out is the query service's."""
    caller.cloud.fail("resource_manager", kind, path="/logs", retry_after=7 if kind == "429" else None)
    answer = ask(caller, "Event")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("Retry-After") == ("7" if kind == "429" else None)
    assert ask(caller, "Event").status_code == 200


def test_a_wrong_query_is_the_query_services_error(shared: Caller) -> None:
    """Nested as ever."""
    error = ask(shared, "Event | where Nope == 1").json()["error"]
    assert error["innererror"]["innererror"]["code"] == "SEM0100"


def test_what_partial_can_be_is_checked(caller: Caller) -> None:
    """Another word is refused when it is set."""
    with pytest.raises(ValueError, match="no arm_partial 'loud'"):
        caller.cloud.set_limits(arm_partial="loud")
