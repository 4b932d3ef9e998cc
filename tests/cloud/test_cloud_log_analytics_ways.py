"""The query API's other ways: several workspaces, Azure resources, Basic and Auxiliary tables."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.monitor.query import LogsQueryClient, LogsQueryResult

from local.cloud import Cloud, ControlClient, Limits, Options
from tests.cloud.caller import END, Caller
from tests.cloud.test_cloud_clients import LOG_ANALYTICS, client_secret

ALL = "P3650D"
MINUTE_BEFORE_END = "2026-11-21T11:59:00Z"
LIMITS = Limits(queries=None, reports=None)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Caller]:
    """A client of a stand-in with two workspaces and a table of every plan, whose clock stands at END."""
    options = Options(events=20, audits=0, end=END, limits=LIMITS, workspaces=2, basic=12, auxiliary=8)
    with Cloud(options, tmp_path, clock=lambda: 1_795_262_400.0) as cloud:
        client = Caller(cloud)
        yield client
        client.session.close()


def post(
    caller: Caller, path: str, query: str, url_timespan: str | None = None, **body: Any
) -> requests.Response:
    """Ask by another way than the plain query; `body` has what goes there beside the query."""
    params = {"timespan": url_timespan} if url_timespan else {}
    headers = {"Cache-Control": "no-cache"}
    document = {"query": query} | body
    return caller.call("POST", path, LOG_ANALYTICS, params=params, json=document, headers=headers)


def search(caller: Caller, query: str, url_timespan: str | None = ALL, **body: Any) -> requests.Response:
    """Ask the first workspace's ``/search``."""
    return post(caller, f"/v1/workspaces/{caller.cloud.workspace_id}/search", query, url_timespan, **body)


def rows(answer: requests.Response) -> list[list[Any]]:
    """The rows of an answer that succeeded."""
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["tables"][0]["rows"]
    return found


def inner(answer: requests.Response) -> tuple[int, str, str]:
    """Status of an error, and code and message of what is within it."""
    error = answer.json()["error"]["innererror"]
    return answer.status_code, error["code"], error["message"]


# Several workspaces.


def test_every_workspace_has_rows_of_its_own(several: Caller) -> None:
    """Another id leads to other rows, which say whose they are."""
    first, second = several.cloud.workspace_ids
    assert first == several.cloud.workspace_id
    several.cloud.add_rows("Event", [{"Source": "second"}], workspace=second)
    query = "Event | summarize n = count() by TenantId"
    assert rows(post(several, f"/v1/workspaces/{first}/query", query)) == [[first, 20]]
    assert rows(post(several, f"/v1/workspaces/{second}/query", query)) == [[second, 21]]
    assert several.cloud.rows("Event")[0] != several.cloud.rows("Event", workspace=second)[0]
    assert several.cloud.remove_rows("Event", "Source == 'second'", workspace=second) == 1
    assert len(several.cloud.rows("Event", workspace=second)) == 20
    with pytest.raises(ValueError, match="no workspace 'x'"):
        several.cloud.rows("Event", workspace="x")


@pytest.mark.parametrize("form", ["id", "name", "resource", "path"])
def test_a_query_can_read_several_workspaces(several: Caller, form: str) -> None:
    """The body's list takes an id, a name, an ARM id, and subscription/group/name; the rows are united."""
    first, second = several.cloud.workspace_ids
    resource = several.cloud.workspace_resource_ids[1]
    _, _, subscription, _, group, *_, name = resource.split("/")
    text = {"id": second, "name": name, "resource": resource, "path": f"{subscription}/{group}/{name}"}[form]
    answer = post(
        several,
        f"/v1/workspaces/{first}/query",
        "Event | extend t = ingestion_time() | where isnotnull(t) | summarize n = count() by TenantId",
        workspaces=[text],
    )
    assert dict(rows(answer)) == {first: 20, second: 20}


def test_workspaces_that_do_not_exist_cannot_be_read(several: Caller) -> None:
    """One unknown workspace in the list refuses the whole query."""
    path = f"/v1/workspaces/{several.cloud.workspace_id}/query"
    for unknown in ("nope", several.cloud.foreign_workspace_id):
        status, _, message = inner(post(several, path, "Event", workspaces=[unknown]))
        assert status == 400
        assert unknown in message


def test_the_cache_tells_workspaces_apart(several: Caller) -> None:
    """The same query of two workspaces is two answers."""
    counts = []
    several.cloud.add_rows("Event", [{}], workspace=several.cloud.workspace_ids[1])
    for each in several.cloud.workspace_ids:
        answer = several.call(
            "POST", f"/v1/workspaces/{each}/query", LOG_ANALYTICS, json={"query": "Event | count"}
        )
        counts.append(rows(answer)[0][0])
    assert counts == [20, 21]


# Azure resources.


def test_a_resource_query_reads_the_resource_in_all_workspaces(several: Caller) -> None:
    """The rows whose _ResourceId is that of the path, whatever its case, or lies below it."""
    vm = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/RG/providers/Microsoft.Compute"
    vm += "/virtualMachines/vm1"
    ids = [vm.lower(), f"{vm.lower()}/extensions/x", f"{vm.lower()}0"]
    for workspace in several.cloud.workspace_ids:
        several.cloud.add_rows("Event", [{"_ResourceId": each} for each in ids], workspace=workspace)
    answer = post(several, f"/v1{vm}/query", "Event | summarize n = count() by _ResourceId | order by n asc")
    assert dict(rows(answer)) == {ids[0]: 2, ids[1]: 2}
    assert rows(post(several, f"/v1{vm}/query", "Heartbeat | count")) == [[0]]
    group = vm.partition("/providers/")[0]
    assert rows(post(several, f"/v1{group}/query", "Event | count")) == [[6]]


def test_a_workspaces_own_resource_id_reads_the_workspace(several: Caller) -> None:
    """Every row of it, also those of no resource."""
    resource = several.cloud.workspace_resource_ids[1]
    several.cloud.add_rows("Event", [{}], workspace=several.cloud.workspace_ids[1])
    assert rows(post(several, f"/v1{resource}/query", "Event | count")) == [[21]]


def test_resources_that_cannot_be_read_are_told_apart(several: Caller) -> None:
    """Unknown, forbidden, and no resource at all are three errors."""
    subscription = several.cloud.workspace_resource_ids[0].split("/")[2]
    group = f"/v1/subscriptions/{subscription}/resourceGroups/rg-prod/providers/microsoft.compute"
    unknown = post(several, f"{group}/virtualMachines/none/query", "Event")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "ResourceNotFoundError")
    forbidden = post(several, f"/v1{several.cloud.foreign_resource_id}/query", "Event")
    assert forbidden.json()["error"]["code"] == "InsufficientAccessError"
    assert inner(forbidden)[:2] == (403, "AuthorizationFailedError")
    malformed = post(several, "/v1/subscriptions/x/query", "Event")
    assert (malformed.status_code, malformed.json()["error"]["code"]) == (400, "FailedToResolveResource")


def test_logs_query_client_reads_workspaces_and_resources(several: Caller) -> None:
    """Microsoft's client unites workspaces, and asks a resource."""
    cloud = several.cloud
    with LogsQueryClient(
        client_secret(cloud), endpoint=cloud.url, audience=LOG_ANALYTICS, connection_verify=str(cloud.ca_file)
    ) as client:
        united = client.query_workspace(
            cloud.workspace_id, "Event | count", timespan=None, additional_workspaces=[cloud.workspace_ids[1]]
        )
        assert isinstance(united, LogsQueryResult)
        assert united.tables[0].rows[0][0] == 40
        alone = client.query_resource(
            cloud.workspace_resource_ids[1], "Event | count", timespan=timedelta(days=3650)
        )
        assert isinstance(alone, LogsQueryResult)
        assert alone.tables[0].rows[0][0] == 20


# Basic and Auxiliary tables.


@pytest.mark.parametrize(("table", "plan"), [("ContainerLogV2", "Basic"), ("Firewall_CL", "Auxiliary")])
def test_a_plain_query_of_a_cheap_table_is_refused(several: Caller, table: str, plan: str) -> None:
    """The service's own code, wherever in the query the table is."""
    for query in (f"{table} | count", f"Event | union ({table} | take 1)", f"let t = {table}; t | count"):
        status, code, message = inner(several.query(query))
        assert (status, code) == (400, "UnsupportedApiQueryValidationError")
        assert message.startswith(f"Query of {plan} Logs table is not supported with the API")


def test_a_table_of_that_name_in_a_text_is_no_such_query(several: Caller) -> None:
    """Only what is read counts."""
    assert several.rows("Event | where Source == 'ContainerLogV2' | count") == [[0]]


def test_search_reads_a_cheap_table(several: Caller) -> None:
    """With the timespan of the URL, and the limits and statistics of every query."""
    assert rows(search(several, "ContainerLogV2 | count")) == [[12]]
    assert rows(search(several, "Firewall_CL | count")) == [[8]]
    several.cloud.add_rows("Firewall_CL", [{"TimeGenerated": MINUTE_BEFORE_END, "Action": "mine"}])
    bounds = f"{MINUTE_BEFORE_END}/{MINUTE_BEFORE_END}"
    assert rows(search(several, "Firewall_CL | where Action == 'mine' | project BytesSent", bounds)) == [
        [None]
    ]
    several.cloud.set_limits(rows=5)
    cut = search(several, "ContainerLogV2").json()
    assert len(cut["tables"][0]["rows"]) == 5
    assert cut["error"]["code"] == "PartialError"


def test_search_wants_its_timespan_in_the_url(several: Caller) -> None:
    """One in the body alone is none; one in both is cut to what they share."""
    assert search(several, "ContainerLogV2 | count", None).status_code == 400
    assert search(several, "ContainerLogV2 | count", None, timespan=ALL).status_code == 400
    nothing = search(several, "ContainerLogV2 | count", ALL, timespan="2020-01-01T00:00:00Z/P1D")
    assert rows(nothing) == [[0]]


@pytest.mark.parametrize(
    "query",
    [
        "ContainerLogV2 | join kind=inner Event on Computer",
        "ContainerLogV2 | search 'x'",
        "search 'x'",
        "find in (ContainerLogV2) where Computer == 'x'",
        "externaldata (a: string) ['https://127.0.0.1/x']",
        "let f = (a: long) { a + 1 }; ContainerLogV2 | extend b = f(1)",
        "let f = (a: long) { ContainerLogV2 | take a }; f(1)",
        "workspace('other').ContainerLogV2",
        "ContainerLogV2 | union Firewall_CL",
        "ContainerLogV2 |",
    ],
)
def test_search_refuses_what_it_does_not_support(several: Caller, query: str) -> None:
    """One table, no joining operators, no functions, nothing from elsewhere."""
    answer = search(several, query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadArgumentError")
    assert several.cloud.scans == []


def test_search_refuses_analytics_tables_other_workspaces_and_resources(several: Caller) -> None:
    """It is for a workspace's Basic and Auxiliary tables."""
    assert inner(search(several, "Event | count"))[1] == "UnsupportedApiQueryValidationError"
    second = several.cloud.workspace_ids[1]
    assert search(several, "ContainerLogV2 | count", workspaces=[second]).status_code == 400
    cluster = several.cloud.rows("ContainerLogV2")[0]["_ResourceId"]
    assert post(several, f"/v1{cluster}/search", "ContainerLogV2 | count", ALL).status_code == 400
    resource = several.cloud.workspace_resource_ids[0]
    assert rows(post(several, f"/v1{resource}/search", "ContainerLogV2 | count", ALL)) == [[12]]


def test_search_takes_a_few_analytics_tables_beside_its_own(several: Caller) -> None:
    """By lookup and union."""
    assert len(rows(search(several, "ContainerLogV2 | project Computer | union (Event | take 3)"))) == 15
    names = "Event, Heartbeat, SigninLogs, AzureActivity"
    several.cloud.set_limits(plans={"Firewall_CL": "Analytics"})
    assert search(several, f"ContainerLogV2 | union {names}, Firewall_CL | count").status_code == 200


def test_basic_tables_can_be_asked_thirty_days_back(several: Caller) -> None:
    """Older rows are there, and no query sees them; Auxiliary tables have no such limit."""
    old = {"TimeGenerated": "2026-10-20T00:00:00Z"}
    several.cloud.add_rows("ContainerLogV2", [old])
    several.cloud.add_rows("Firewall_CL", [old])
    assert rows(search(several, "ContainerLogV2 | count")) == [[12]]
    assert rows(search(several, "Firewall_CL | count")) == [[9]]
    several.cloud.set_limits(basic_days=None)
    assert rows(search(several, "ContainerLogV2 | count")) == [[13]]


def test_time_filters_of_search_can_be_refused(several: Caller) -> None:
    """The documentation can be read so; other filters stay."""
    query = "ContainerLogV2 | where TimeGenerated > datetime(2026-01-01) | count"
    assert rows(search(several, query)) == [[12]]
    several.cloud.set_limits(search_time_filters=False)
    assert search(several, query).status_code == 400
    assert search(several, "ContainerLogV2 | where LogLevel == 'info' | count").status_code == 200


def test_scans_are_counted(several: Caller) -> None:
    """Each query costs what its table holds within the timespan, whatever the query keeps of it."""
    search(several, "ContainerLogV2 | count", "2026-11-21T11:00:00Z/PT1H")
    search(several, "ContainerLogV2 | where false", "2026-01-01T00:00:00Z/2026-12-01T00:00:00Z")
    few, all_ = several.cloud.scans
    assert (few.workspace, few.table) == (several.cloud.workspace_id, "ContainerLogV2")
    assert few.timespan == "2026-11-21T11:00:00Z/2026-11-21T12:00:00Z"
    assert 0 <= few.bytes < all_.bytes
    several.query("Event | count")
    assert len(several.cloud.scans) == 2


def test_two_queries_of_cheap_tables_run_at_a_time(several: Caller) -> None:
    """Beside those of Analytics tables; the third waits for its turn, or is refused."""
    several.cloud.set_limits(basic_running=1, queued=0)
    several.cloud.fail("log_analytics", "slow", path="/search", seconds=4.0)
    clients = [Caller(several.cloud) for _ in range(2)]
    for client in clients:
        client.query("Event | count")  # fetches the token, so that the searches start together
    statuses: list[int] = []

    def ask(client: Caller) -> None:
        statuses.append(search(client, "ContainerLogV2 | count").status_code)
        statuses.append(client.query("Event | count").status_code)
        client.session.close()

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(statuses) == [200, 200, 200, 429]


def test_any_table_can_be_given_another_plan(several: Caller) -> None:
    """And an unknown plan is refused."""
    several.cloud.set_limits(plans={"Event": "Basic"})
    assert several.query("Event | count").status_code == 400
    assert rows(search(several, "Event | count")) == [[20]]
    with pytest.raises(ValueError, match="no table plan Cheap"):
        several.cloud.set_limits(plans={"Event": "Cheap"})


def test_another_process_sees_the_same(several: Caller) -> None:
    """`ControlClient` knows workspaces, scans and plans."""
    control = ControlClient(several.cloud.url, several.cloud.ca_file)
    second = several.cloud.workspace_ids[1]
    assert control.workspace_ids == several.cloud.workspace_ids
    assert control.add_rows("Event", [{"Source": "remote"}], workspace=second) == 1
    assert control.rows("Event", workspace=second) == several.cloud.rows("Event", workspace=second)
    control.set_limits(plans={"Event": "Basic"})
    assert control.limits == several.cloud.limits
    search(several, "Event | count")
    assert control.scans == several.cloud.scans != []
