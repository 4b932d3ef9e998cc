"""Resource Manager's Tables API and search jobs, by hand and with Microsoft's management client."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.loganalytics.models import SearchResults, Table, TableProperties

from local.cloud import INGESTION_TIME, Cloud, ControlClient, Options
from tests.cloud.caller import END, NO_RATES, Caller
from tests.cloud.tables_api import ARM, DAY, VERSION, call, finished, put, records
from tests.cloud.test_cloud_clients import client_secret


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        """The time of this moment."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at END."""
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Iterator[Caller]:
    """A client of a stand-in with ten rows on one day, and rows of its own."""
    options = Options(events=40, audits=0, end=END, limits=NO_RATES, basic=5)
    with Cloud(options, tmp_path, clock=clock) as cloud:
        day = [
            {"TimeGenerated": f"2026-11-20T{hour:02d}:00:00.0000001Z", "Source": "job", "EventRecordId": hour}
            for hour in range(10)
        ]
        cloud.add_rows("Event", day, ingested="2026-11-20T10:00:00Z")
        client = Caller(cloud)
        yield client
        client.session.close()


def test_a_job_goes_through_its_states(jobs: Caller) -> None:
    """Updating without a table, InProgress with half of the rows, Succeeded with all."""
    answer = put(jobs, "A_SRCH", "Event | where Source == 'job'", limit=1000)
    assert (answer.status_code, answer.content) == (202, b"")
    assert "/operationstatuses/" in answer.headers["Azure-AsyncOperation"]
    assert "/tables/A_SRCH/operationresults/" in answer.headers["Location"]
    assert "Retry-After" not in answer.headers
    seen = []
    for _ in range(3):
        properties = call(jobs, "GET", "A_SRCH").json()["properties"]
        count = jobs.query("A_SRCH | count")
        rows = count.json()["tables"][0]["rows"][0][0] if count.status_code == 200 else None
        seen.append((properties["provisioningState"], properties["resultStatistics"]["progress"], rows))
        assert properties["resultStatistics"]["ingestedRecords"] == (rows or 0)
    assert seen == [("Updating", 0.0, None), ("InProgress", 50.0, 5), ("Succeeded", 100.0, 10)]
    assert jobs.cloud.search_tables()[0]["state"] == "Succeeded"


def test_a_job_takes_its_time(jobs: Caller, clock: Clock) -> None:
    """Looks alone do not end it before the seconds have passed."""
    jobs.cloud.set_limits(job_polls=0, job_seconds=60)
    put(jobs, "A_SRCH", "Event | where Source == 'job'")
    assert call(jobs, "GET", "A_SRCH").json()["properties"]["provisioningState"] == "InProgress"
    clock.now += 60
    assert call(jobs, "GET", "A_SRCH").json()["properties"]["provisioningState"] == "Succeeded"


def test_the_result_keeps_the_originals_beside_its_own(jobs: Caller, clock: Clock) -> None:
    """Time, id, type and workspace of the source have new names; the job's own stand in their place."""
    source = [row for row in jobs.cloud.rows("Event") if row["Source"] == "job"]
    put(jobs, "A_SRCH", "Event | where Source == 'job'")
    clock.now += 90
    columns = [each["name"] for each in finished(jobs, "A_SRCH")["properties"]["schema"]["columns"]]
    assert columns[:3] == ["_OriginalTenantId", "SourceSystem", "_OriginalTimeGenerated"]
    found = records(jobs, "A_SRCH | extend t = ingestion_time() | order by _OriginalTimeGenerated asc")
    assert [set(row) - {"t", "TenantId"} for row in found] == [set(columns)] * 10
    renamed = ("TimeGenerated", "_ItemId", "Type", "TenantId", "_ResourceId")
    for row, original in zip(found, source, strict=True):
        assert {name: row[f"_Original{name.removeprefix('_')}"] for name in renamed} == {
            name: original[name] for name in renamed
        }
        same = set(original) - {*renamed, INGESTION_TIME}
        assert {name: row[name] for name in same} == {name: original[name] for name in same}
        assert (row["TimeGenerated"], row["t"], row["Type"]) == (END, END, "A_SRCH")
    assert len({row["_ItemId"] for row in found} | {row["_ItemId"] for row in source}) == 20


def test_both_ends_of_the_search_time_count(jobs: Caller) -> None:
    """To the tick, on TimeGenerated; the query's own bounds come on top."""
    ends = {
        "startSearchTime": "2026-11-20T02:00:00.0000001Z",
        "endSearchTime": "2026-11-20T04:00:00.0000001Z",
    }
    put(jobs, "A_SRCH", "Event | where Source == 'job'", **ends)
    finished(jobs, "A_SRCH")
    assert sorted(row["EventRecordId"] for row in records(jobs, "A_SRCH")) == [2, 3, 4]
    own = "Event | where Source == 'job' | where TimeGenerated >= datetime(2026-11-20T02:00:00Z)"
    own += " and TimeGenerated < datetime(2026-11-20T04:00:00.0000001Z)"
    put(jobs, "B_SRCH", own)
    finished(jobs, "B_SRCH")
    assert sorted(row["EventRecordId"] for row in records(jobs, "B_SRCH")) == [2, 3]


def test_a_job_finds_what_was_there_when_it_started(jobs: Caller) -> None:
    """Rows that come or go later change nothing."""
    put(jobs, "A_SRCH", "Event | where Source == 'job'")
    jobs.cloud.remove_rows("Event", "Source == 'job'")
    jobs.cloud.add_rows("Event", [{"TimeGenerated": DAY[0], "Source": "job"}])
    finished(jobs, "A_SRCH")
    assert jobs.rows("A_SRCH | count") == [[10]]


def test_projections_do_not_lose_the_originals(jobs: Caller) -> None:
    """The three columns that track the source's rows are there whatever the query keeps."""
    query = "Event | where Source == 'job' | extend n = EventRecordId * 2 | project n | project-rename m = n"
    put(jobs, "A_SRCH", query)
    finished(jobs, "A_SRCH")
    (row, *_) = records(jobs, "A_SRCH | where m == 4")
    assert row["_OriginalTimeGenerated"] == "2026-11-20T02:00:00.0000001Z"
    own = {"TimeGenerated", "TenantId", "Type", "_ItemId", "_ResourceId"}
    assert set(row) - own == {"m", "_OriginalTimeGenerated", "_OriginalItemId", "_OriginalType"}


def test_every_type_survives_a_job(jobs: Caller) -> None:
    """Also dynamic values, durations, NaN and nulls."""
    value = {
        "TimeGenerated": "2026-11-20T01:00:00.7654321Z",
        "Identity": "types",
        "Status": {"a": [1.5, None]},
        "RiskScore": "NaN",
        "IsInteractive": None,
    }
    jobs.cloud.add_rows("SigninLogs", [value])
    put(jobs, "A_SRCH", "SigninLogs | where Identity == 'types' | extend span = 90s")
    finished(jobs, "A_SRCH")
    columns = "RiskScore, Status, IsInteractive, span, DurationMs"
    assert jobs.rows(f"A_SRCH | project {columns}") == [["NaN", '{"a":[1.5,null]}', None, "00:01:30", None]]


def test_a_job_stops_at_its_limit_and_succeeds(jobs: Caller) -> None:
    """Only the number of records tells of it."""
    put(jobs, "A_SRCH", "Event | where Source == 'job'", limit=4)
    document = finished(jobs, "A_SRCH")
    assert document["properties"]["resultStatistics"]["ingestedRecords"] == 4
    assert document["properties"]["searchResults"]["limit"] == 4
    assert jobs.rows("A_SRCH | count") == [[4]]
    jobs.cloud.set_limits(job_records=3)
    put(jobs, "B_SRCH", "Event")
    assert finished(jobs, "B_SRCH")["properties"]["resultStatistics"]["ingestedRecords"] == 3
    assert put(jobs, "C_SRCH", "Event", limit=4).status_code == 400


def test_a_job_reads_cheap_tables(jobs: Caller) -> None:
    """Which is what it is for; the result is an Analytics table."""
    put(jobs, "A_SRCH", "ContainerLogV2", startSearchTime="2026-01-01T00:00:00Z", endSearchTime=END)
    document = finished(jobs, "A_SRCH")
    assert document["properties"]["plan"] == "Analytics"
    assert document["properties"]["resultStatistics"]["scannedGb"] > 0
    assert jobs.rows("A_SRCH | count") == [[5]]


@pytest.mark.parametrize(
    "query",
    [
        "Event | where Source contains 'x'",
        "Event | where Source !contains 'x'",
        "Event | summarize count()",
        "Event | count",
        "Event | take 5",
        "Event | order by TimeGenerated asc",
        "Event | join (Heartbeat) on Computer",
        "union Event, Heartbeat",
        "let a = 1; Event | where EventID == a",
        "print 1",
        "search 'x'",
        "Nope",
        "Event | where Nope == 1",
        "Event |",
    ],
)
def test_a_job_takes_a_part_of_kql(jobs: Caller, query: str) -> None:
    """A table first, then row by row; the rest is refused at once and leaves nothing behind."""
    answer = put(jobs, "A_SRCH", query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidParameter")
    assert call(jobs, "GET", "A_SRCH").status_code == 404
    assert put(jobs, "A_SRCH", "Event | where Source has 'contains'").status_code == 202


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A_CL", {}),
        ("A_srch", {}),
        ("A.B_SRCH", {}),
        ("A" * 59 + "_SRCH", {}),
        ("A_SRCH", {"startSearchTime": "yesterday"}),
        ("A_SRCH", {"startSearchTime": END}),
        ("A_SRCH", {"limit": 0}),
        ("A_SRCH", {"query": None}),
    ],
)
def test_wrong_requests_are_refused(jobs: Caller, name: str, words: dict[str, Any]) -> None:
    """Names, times and limits are checked."""
    answer = put(jobs, name, **{"query": "Event"} | words)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidParameter")


def test_a_longest_name_is_taken(jobs: Caller) -> None:
    """63 characters."""
    assert put(jobs, "A" * 58 + "_SRCH", "Event").status_code == 202


def test_a_name_is_taken_until_its_table_is_gone(jobs: Caller) -> None:
    """409 while there is one, in any case, and while it is being deleted; then it is free."""
    put(jobs, "A_SRCH", "Event")
    assert put(jobs, "a_SRCH", "Event").json()["error"]["code"] == "Conflict"
    assert call(jobs, "DELETE", "A_SRCH").status_code == 409  # the schema is still being made
    finished(jobs, "A_SRCH")
    answer = call(jobs, "DELETE", "A_SRCH")
    assert answer.status_code == 202
    assert jobs.query("A_SRCH").status_code == 400
    assert put(jobs, "A_SRCH", "Event").status_code == 409
    assert call(jobs, "GET", "A_SRCH").json()["properties"]["provisioningState"] == "Deleting"
    gone = call(jobs, "GET", "A_SRCH")
    assert gone.status_code == 404
    assert gone.json()["error"]["message"] == "The specified table: 'A_SRCH' does not exist."
    assert call(jobs, "DELETE", "A_SRCH").status_code == 204
    operation = jobs.call("GET", answer.headers["Azure-AsyncOperation"], ARM).json()
    assert operation["status"] == "Succeeded"
    assert put(jobs, "A_SRCH", "Event").status_code == 202


def test_operations_can_be_followed(jobs: Caller) -> None:
    """By the address in Azure-AsyncOperation, or by the one in Location."""
    answer = put(jobs, "A_SRCH", "Event | where Source == 'job'")
    status, result = answer.headers["Azure-AsyncOperation"], answer.headers["Location"]
    assert jobs.call("GET", status, ARM).json()["status"] == "Updating"
    assert jobs.call("GET", result, ARM).status_code == 202
    document = jobs.call("GET", status, ARM).json()
    assert document["status"] == "Succeeded"
    assert document["properties"]["resultStatistics"]["ingestedRecords"] == 10
    assert jobs.call("GET", result, ARM).json()["name"] == "A_SRCH"


@pytest.mark.parametrize("status", ["Succeeded", "Canceled"])
def test_a_job_can_be_cancelled(jobs: Caller, status: str) -> None:
    """It keeps what it has, and says how far it came; a job at its end cannot be cancelled."""
    jobs.cloud.set_limits(job_cancelled=status)
    operation = put(jobs, "A_SRCH", "Event | where Source == 'job'").headers["Azure-AsyncOperation"]
    assert call(jobs, "POST", "A_SRCH/cancelSearch").status_code == 200
    statistics = finished(jobs, "A_SRCH")["properties"]["resultStatistics"]
    assert (statistics["ingestedRecords"], statistics["progress"]) == (5, 50.0)
    document = jobs.call("GET", operation, ARM).json()
    assert (document["status"], document["properties"]["resultStatistics"]) == (status, statistics)
    assert jobs.rows("A_SRCH | count") == [[5]]
    assert call(jobs, "POST", "A_SRCH/cancelSearch").status_code == 400
    assert call(jobs, "POST", "B_SRCH/cancelSearch").status_code == 404
    with pytest.raises(ValueError, match="no job_cancelled 'Gone'"):
        jobs.cloud.set_limits(job_cancelled="Gone")


def test_an_operation_that_there_is_not_is_not_found(jobs: Caller) -> None:
    """Unless the app may not ask: that is refused first, by the action's name, on the subscription."""
    subscription = "/".join(jobs.cloud.workspace_resource_ids[0].split("/")[:3])
    place = f"{subscription}/providers/Microsoft.OperationalInsights/locations/westeurope/operationstatuses"
    path = f"{place}/00000000-0000-0000-0000-000000000000?{VERSION}"
    answer = jobs.call("GET", path, ARM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NotFound")
    jobs.cloud.fail("resource_manager", "403", path="operationstatuses", count=None)
    answer = jobs.call("GET", path, ARM)
    assert answer.status_code == 403
    assert "'Microsoft.OperationalInsights/locations/operationstatuses/read'" in answer.text
    assert call(jobs, "GET").status_code == 200


def test_the_number_of_jobs_is_limited(jobs: Caller, clock: Clock) -> None:
    """At one time, of tables, and within a day, which passes."""
    jobs.cloud.set_limits(job_running=1, job_tables=2, jobs_a_day=3)
    assert put(jobs, "A_SRCH", "Event").status_code == 202
    running = put(jobs, "B_SRCH", "Event")
    assert (running.status_code, running.json()["error"]["code"]) == (429, "TooManyRequests")
    finished(jobs, "A_SRCH")
    put(jobs, "B_SRCH", "Event")
    finished(jobs, "B_SRCH")
    tables = put(jobs, "C_SRCH", "Event")
    assert (tables.status_code, tables.json()["error"]["code"]) == (400, "LimitExceeded")
    call(jobs, "DELETE", "A_SRCH")
    assert [call(jobs, "GET", "A_SRCH").status_code for _ in range(2)] == [200, 404]
    assert put(jobs, "C_SRCH", "Event").status_code == 202
    finished(jobs, "C_SRCH")
    call(jobs, "DELETE", "C_SRCH")
    assert [call(jobs, "GET", "C_SRCH").status_code for _ in range(2)] == [200, 404]
    assert put(jobs, "D_SRCH", "Event").status_code == 429
    clock.now += 86_400
    later = Caller(jobs.cloud)  # with a new token
    assert put(later, "D_SRCH", "Event").status_code == 202
    later.session.close()


@pytest.mark.parametrize("shape", ["recorded", "sample"])
def test_the_documents_come_in_other_shapes(jobs: Caller, shape: str) -> None:
    """The search under the schema and no statistics; in the documentation's sample with other dates."""
    jobs.cloud.set_limits(job_shape=shape)
    put(jobs, "A_SRCH", "Event", limit=9)
    properties = finished(jobs, "A_SRCH")["properties"]
    assert not {"searchResults", "resultStatistics"} & set(properties)
    search = properties["schema"]["searchResults"]
    assert (search["sourceTable"], search["limit"]) == ("Event", 9)
    expected = DAY[0] if shape == "recorded" else "Fri, 20 Nov 2026 00:00:00 GMT"
    assert search["startSearchTime"] == expected
    assert ("azureAsyncOperationId" in search) == (shape == "recorded")
    with pytest.raises(ValueError, match="no job_shape 'round'"):
        jobs.cloud.set_limits(job_shape="round")


def test_tables_are_listed_with_their_plans(jobs: Caller) -> None:
    """The workspace's own, and those of jobs, which listing does not bring forward."""
    put(jobs, "A_SRCH", "Event")
    for _ in range(5):
        listed = {each["name"]: each["properties"] for each in call(jobs, "GET").json()["value"]}
    assert listed["A_SRCH"]["provisioningState"] == "Updating"
    assert (listed["Event"]["plan"], listed["ContainerLogV2"]["plan"]) == ("Analytics", "Basic")
    event = call(jobs, "GET", "event").json()
    assert event["name"] == "Event"
    types = {each["name"]: each["type"] for each in event["properties"]["schema"]["columns"]}
    assert (types["EventID"], types["TimeGenerated"]) == ("int", "datetime")
    assert event["properties"]["totalRetentionInDays"] == 30
    assert call(jobs, "DELETE", "Event").status_code == 400
    assert call(jobs, "PATCH", "Event", json={}).status_code == 405


def test_the_way_in_is_guarded(jobs: Caller) -> None:
    """Version, workspace, token, and the role that a fault takes away."""
    assert call(jobs, "GET", "A_SRCH", "").json()["error"]["code"] == "MissingApiVersionParameter"
    unknown = jobs.cloud.workspace_resource_ids[0].replace("stand-in", "none")
    answer = jobs.call("GET", f"{unknown}/tables?{VERSION}", ARM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
    path = f"{jobs.cloud.workspace_resource_ids[0]}/tables?{VERSION}"
    assert jobs.call("GET", path, "https://api.loganalytics.io").status_code == 403
    jobs.cloud.fail("resource_manager", "403", path="A_SRCH")
    refused = put(jobs, "A_SRCH", "Event")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")
    jobs.cloud.fail("resource_manager", "429", retry_after=3)
    assert call(jobs, "GET", "A_SRCH").headers["Retry-After"] == "3"
    listing = call(jobs, "GET")
    assert int(listing.headers["x-ms-ratelimit-remaining-subscription-reads"]) > 0


def test_the_management_client_runs_a_search_job(jobs: Caller) -> None:
    """Creates, waits, reads, lists, cancels and deletes, with that library's own polling."""
    cloud = jobs.cloud
    _, _, subscription, _, group, *_, workspace = cloud.workspace_resource_ids[0].split("/")
    search = SearchResults(
        query="Event | where Source == 'job'",
        limit=1000,
        start_search_time=datetime(2026, 11, 20, tzinfo=UTC),
        end_search_time=datetime(2026, 11, 21, tzinfo=UTC),
    )
    wanted = Table(properties=TableProperties(search_results=search))
    with LogAnalyticsManagementClient(
        client_secret(cloud),
        subscription,
        base_url=cloud.url,
        credential_scopes=[f"{ARM}/.default"],
        connection_verify=str(cloud.ca_file),
        polling_interval=0,
    ) as client:
        with pytest.raises(ResourceNotFoundError):
            client.tables.get(group, workspace, "A_SRCH")
        table = client.tables.begin_create_or_update(group, workspace, "A_SRCH", wanted).result(30)
        assert table.properties is not None
        assert table.properties.provisioning_state == "Succeeded"
        assert table.properties.search_results is not None
        assert table.properties.search_results.source_table == "Event"
        assert table.properties.result_statistics is not None
        assert table.properties.result_statistics.ingested_records == 10
        assert jobs.rows("A_SRCH | count") == [[10]]
        with pytest.raises(ResourceExistsError):
            client.tables.begin_create_or_update(group, workspace, "A_SRCH", wanted)
        assert "A_SRCH" in [each.name for each in client.tables.list_by_workspace(group, workspace)]
        with pytest.raises(HttpResponseError, match="not running"):
            client.tables.cancel_search(group, workspace, "A_SRCH")
        client.tables.begin_delete(group, workspace, "A_SRCH").result(30)
        with pytest.raises(ResourceNotFoundError):
            client.tables.get(group, workspace, "A_SRCH")
    assert cloud.search_tables() == []


def test_jobs_show_in_another_process(jobs: Caller) -> None:
    """`ControlClient` lists them as `Cloud` does; they are none of the workspace's own tables."""
    put(jobs, "A_SRCH", "Event | where Source == 'job'")
    finished(jobs, "A_SRCH")
    control = ControlClient(jobs.cloud.url, jobs.cloud.ca_file)
    (listed,) = control.search_tables()
    assert listed == jobs.cloud.search_tables()[0]
    assert (listed["name"], listed["found"], listed["ingested"]) == ("A_SRCH", 10, 10)
    assert "A_SRCH" not in control.tables()
    assert len(jobs.cloud.rows("A_SRCH")) == 10


def test_a_workspace_says_where_it_is(caller: Caller) -> None:
    """Its region is part of the address of its operations ("Workspaces - Get")."""
    cloud = caller.cloud
    answer = caller.call("GET", f"{cloud.identity.workspace_resource_id}?{VERSION}", ARM)
    assert answer.status_code == 200
    document = answer.json()
    assert document["properties"]["customerId"] == cloud.workspace_id
    assert document["location"]
