"""Searches of the unified audit log over the wire: their way, their limits, records and errors."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.identity import ClientSecretCredential
from httpx import AsyncClient
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph.generated.models.security.audit_log_query import AuditLogQuery
from msgraph.generated.models.security.audit_log_query_status import AuditLogQueryStatus
from msgraph.generated.models.security.audit_log_record import AuditLogRecord
from msgraph.generated.models.security.audit_log_record_type import AuditLogRecordType
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient

from local.cloud import Cloud, Limits, Options
from tests.cloud.caller import END, Caller
from tests.cloud.clock import Clock

GRAPH = "https://graph.microsoft.com"
QUERIES = "/v1.0/security/auditLog/queries"
ALL_TIME = {"filterStartDateTime": "2026-11-01T00:00:00Z", "filterEndDateTime": "2026-12-01T00:00:00Z"}


@pytest.fixture
def clock() -> Clock:
    """The stand-in's time."""
    return Clock()


@pytest.fixture
def caller(tmp_path: Path, clock: Clock) -> Iterator[Caller]:
    """A plain client of a stand-in with 400 records, whose time stands still."""
    limits = Limits(audit_search_start=10.0, audit_search_seconds=60.0)
    options = Options(events=1, audits=1, search_records=400, end=END, limits=limits, token_seconds=10**9)
    with Cloud(options, tmp_path, clock) as running:
        client = Caller(running)
        yield client
        client.session.close()


def submit(caller: Caller, body: dict[str, Any], queries: str = QUERIES) -> requests.Response:
    """Ask for a search."""
    return caller.call("POST", queries, GRAPH, json=body)


def searched(caller: Caller, clock: Clock, **body: Any) -> str:
    """The path of a search that has succeeded."""
    answer = submit(caller, body)
    assert answer.status_code == 201, answer.text
    clock.tick(60)
    path = f"{QUERIES}/{answer.json()['id']}"
    assert caller.graph(path).json()["status"] == "succeeded"
    return path


def ids(records: list[dict[str, Any]]) -> list[str]:
    """The ids of records, in order."""
    return sorted(record["id"] for record in records)


def test_a_search_goes_its_way_by_the_clock_and_finds_everything(caller: Caller, clock: Clock) -> None:
    """201 with an echo, then notStarted, running and succeeded; each record comes once, in no order."""
    answer = submit(caller, {"displayName": "all", **ALL_TIME, "operationFilters": []})
    created = answer.json()
    assert answer.status_code == 201
    assert created["displayName"] == "all"
    assert created["filterStartDateTime"] == ALL_TIME["filterStartDateTime"]
    path = f"{QUERIES}/{created['id']}"
    seen = [created["status"]]
    for seconds in (9.9, 0.1, 49.9, 0.1):
        clock.tick(seconds)
        seen.append(caller.graph(path).json()["status"])
    assert seen == ["notStarted", "notStarted", "running", "running", "succeeded"]
    records = caller.found(f"{path}/records")
    assert ids(records) == ids(caller.cloud.search_records())
    times = [record["createdDateTime"] for record in records]
    assert times != sorted(times)
    assert times != sorted(times, reverse=True)


def test_pages_of_records_are_of_150_and_may_be_short_or_empty(caller: Caller, clock: Clock) -> None:
    """The count is the page's own, the token has signs that need care, and a page asked twice is the same."""
    path = searched(caller, clock)
    pages = caller.walk(f"{path}/records")
    assert [len(page) for page in pages] == [150, 141, 0, 109]
    first = caller.graph(f"{path}/records").json()
    assert first["@odata.count"] == 150
    link = first["@odata.nextLink"]
    assert "$skiptoken=1!4!MA--%2F1!48!" in link
    assert caller.call("GET", link, GRAPH).json()["value"] == caller.call("GET", link, GRAPH).json()["value"]


def test_top_makes_pages_larger_up_to_a_thousand(caller: Caller, clock: Clock) -> None:
    """And the next link keeps it."""
    path = searched(caller, clock)
    assert [len(page) for page in caller.walk(f"{path}/records", top="1000")] == [400]
    assert "$top=200&" in caller.graph(f"{path}/records", top="200").json()["@odata.nextLink"]
    assert caller.graph(f"{path}/records", top="1001").status_code == 400


@pytest.mark.parametrize("option", ["filter", "orderby", "select", "skip", "count", "search"])
def test_options_that_no_page_names_are_refused(caller: Caller, clock: Clock, option: str) -> None:
    """For the list of searches as for their records."""
    path = searched(caller, clock)
    for each in (QUERIES, f"{path}/records"):
        answer = caller.graph(each, **{option: "displayName eq 'x'"})
        assert answer.status_code == 400
        assert "is not allowed" in answer.json()["error"]["message"]


def test_searches_are_listed_oldest_first_in_pages_and_forgotten_after_30_days(
    caller: Caller, clock: Clock
) -> None:
    """A name can be found only by reading the whole list."""
    for number in range(60):
        assert submit(caller, {"displayName": str(number)}).status_code == 201
        clock.tick(60)
    names = [each["displayName"] for each in caller.found(QUERIES)]
    assert names == [str(number) for number in range(60)]
    assert len(caller.graph(QUERIES).json()["value"]) == 50
    clock.tick(29.99 * 86_400)
    remaining = caller.found(QUERIES)
    assert 0 < len(remaining) < 60
    clock.tick(86_400)
    assert caller.found(QUERIES) == []
    assert caller.graph(f"{QUERIES}/{remaining[-1]['id']}").status_code == 404


def test_beta_has_the_same_searches(caller: Caller, clock: Clock) -> None:
    """Made there, read here, and the other way round; next links stay in their version."""
    created = submit(caller, {"displayName": "b"}, QUERIES.replace("v1.0", "beta")).json()
    clock.tick(60)
    assert caller.graph(f"{QUERIES}/{created['id']}").json()["displayName"] == "b"
    page = caller.graph(f"/beta/security/auditLog/queries/{created['id']}/records").json()
    assert "/beta/" in page["@odata.nextLink"]


@pytest.mark.parametrize(
    ("asked", "matches"),
    [
        (
            {"recordTypeFilters": ["azureActiveDirectory", "sharePointFileOperation"]},
            lambda record: (
                record["auditLogRecordType"] in ("AzureActiveDirectory", "SharePointFileOperation")
            ),
        ),
        ({"serviceFilter": "Exchange"}, lambda record: record["service"] == "Exchange"),
        (
            {"serviceFilters": ["Exchange", "SharePoint"]},
            lambda record: record["service"] in ("Exchange", "SharePoint"),
        ),
        ({"operationFilters": ["UserLoggedIn"]}, lambda record: record["operation"] == "UserLoggedIn"),
        (
            {"userPrincipalNameFilters": ["Not Available"]},
            lambda record: record["userPrincipalName"] == "Not Available",
        ),
        (
            {"ipAddressFilters": ["2001:db8::1038"]},
            lambda record: record["auditData"]["ClientIP"] == "2001:db8::1038",
        ),
        (
            {"keywordFilter": "経理"},
            lambda record: any(each["Value"] == "経理" for each in record["auditData"]["ExtendedProperties"]),
        ),
        (
            {"serviceFilter": "AzureActiveDirectory", "operationFilters": ["Update user."]},
            lambda record: record["operation"] == "Update user.",
        ),
    ],
)
def test_filters_let_through_what_they_say(
    caller: Caller, clock: Clock, asked: dict[str, Any], matches: Any
) -> None:
    """Types in the documented case, addresses and keywords from the data within; several are ANDed."""
    found = caller.found(f"{searched(caller, clock, **asked)}/records")
    expected = [record for record in caller.cloud.search_records() if matches(record)]
    assert 0 < len(expected) < 400
    assert ids(found) == ids(expected)


def test_objects_and_administrative_units_are_found_to_the_letter(caller: Caller, clock: Clock) -> None:
    """One record of each."""
    caller.cloud.add_search_records(
        [{"id": "object", "objectId": "Doc"}, {"id": "unit", "administrativeUnits": ["a", "b"]}]
    )
    for asked, id_ in (
        ({"objectIdFilters": ["Doc"]}, "object"),
        ({"administrativeUnitIdFilters": ["b"]}, "unit"),
    ):
        assert ids(caller.found(f"{searched(caller, clock, **asked)}/records")) == [id_]
    assert caller.found(f"{searched(caller, clock, objectIdFilters=['doc'])}/records") == []


@pytest.mark.parametrize(
    ("ends", "found"),
    [("none", ["b"]), ("start", ["a", "b"]), ("end", ["b", "c"]), ("both", ["a", "b", "c"])],
)
def test_which_ends_of_the_time_belong_to_it_is_a_limit(
    caller: Caller, clock: Clock, ends: str, found: list[str]
) -> None:
    """Bounds are cut to whole seconds, which is also what the echo shows."""
    caller.cloud.set_limits(audit_search_ends=ends)
    times = {"a": "2025-01-01T10:00:00Z", "b": "2025-01-01T10:00:01Z", "c": "2025-01-01T10:00:02Z"}
    caller.cloud.add_search_records([{"id": id_, "createdDateTime": time} for id_, time in times.items()])
    path = searched(
        caller,
        clock,
        filterStartDateTime="2025-01-01T10:00:00.9Z",
        filterEndDateTime="2025-01-01T10:00:02.1234567Z",
    )
    assert caller.graph(path).json()["filterStartDateTime"] == times["a"]
    assert ids(caller.found(f"{path}/records")) == found


def test_records_that_come_after_the_end_of_a_search_are_not_in_it(caller: Caller, clock: Clock) -> None:
    """They are if they come while it runs, though nobody looked at it meanwhile."""
    answers = [submit(caller, {"operationFilters": ["late"]}) for _ in range(2)]
    clock.tick(30)
    caller.cloud.add_search_records([{"id": "in time", "operation": "late"}])
    clock.tick(30)
    caller.cloud.add_search_records([{"id": "too late", "operation": "late"}])
    for answer in answers:
        assert ids(caller.found(f"{QUERIES}/{answer.json()['id']}/records")) == ["in time"]
    path = searched(caller, clock, operationFilters=["late"])
    assert ids(caller.found(f"{path}/records")) == ["in time", "too late"]


def test_beyond_its_record_limit_a_search_succeeds_truncated_and_flagged(
    caller: Caller, clock: Clock
) -> None:
    """Only the flag tells: the count is on either side of the limit."""
    caller.cloud.set_limits(audit_search_records=100)
    documents = [caller.graph(searched(caller, clock)).json() for _ in range(12)]
    assert {each["isRecordCountLimitExceeded"] for each in documents} == {True}
    assert {each["recordCountLimit"] for each in documents} == {100}
    assert len({each["approximateReturnedRecordCount"] for each in documents}) > 1
    found = caller.found(f"{QUERIES}/{documents[0]['id']}/records")
    assert len(found) == 100
    caller.cloud.set_limits(audit_search_records=400)
    assert caller.graph(searched(caller, clock)).json()["isRecordCountLimitExceeded"] is False


@pytest.mark.parametrize(("early", "count"), [("some", 200), ("none", 0), ("400", None)])
def test_what_the_records_of_an_unfinished_search_are_is_a_limit(
    caller: Caller, early: str, count: int | None
) -> None:
    """By default some of them, which look as if they were all."""
    caller.cloud.set_limits(audit_search_early=early, uneven_pages=False)
    path = f"{QUERIES}/{submit(caller, {}).json()['id']}/records"
    if count is None:
        assert caller.graph(path).status_code == 400
    else:
        assert len(caller.found(path)) == count


def test_200_searches_a_day_may_be_submitted_and_50_be_unfinished(caller: Caller, clock: Clock) -> None:
    """Beyond that 429 without a Retry-After; what was refused does not count, and the day rolls."""
    for _ in range(50):
        assert submit(caller, {}).status_code == 201
    refused = submit(caller, {})
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers
    clock.tick(60)
    for _ in range(3):
        for _ in range(50):
            assert submit(caller, {}).status_code == 201
        clock.tick(60)
    assert submit(caller, {}).status_code == 429
    clock.tick(86_400 - 4 * 60 - 1)
    assert submit(caller, {}).status_code == 429
    clock.tick(1)
    assert submit(caller, {}).status_code == 201


@pytest.mark.parametrize(("kind", "status"), [("search_failed", "failed"), ("search_cancelled", "cancelled")])
def test_a_search_can_fail_or_be_cancelled(caller: Caller, clock: Clock, kind: str, status: str) -> None:
    """Ordered when it is submitted or while it runs, it ends so when its time has come."""
    caller.cloud.fail("graph", kind, path="auditLog/queries")
    made_to = submit(caller, {}).json()["id"]
    other = submit(caller, {}).json()["id"]
    clock.tick(30)
    caller.cloud.fail("graph", kind, path=other)
    assert caller.graph(f"{QUERIES}/{other}").json()["status"] == "running"
    clock.tick(30)
    for id_ in (made_to, other):
        document = caller.graph(f"{QUERIES}/{id_}").json()
        assert document["status"] == status
        assert document["isRecordCountLimitExceeded"] is False


def test_paging_one_search_again_can_give_another_order_and_count(caller: Caller, clock: Clock) -> None:
    """As one public report has it; the search itself says nothing of it."""
    path = searched(caller, clock)
    caller.cloud.fail("graph", "unsteady_records", path="/records")
    unsteady = caller.found(f"{path}/records")
    steady = caller.found(f"{path}/records")
    assert (len(unsteady), len(steady)) == (360, 400)
    assert [each["id"] for each in unsteady[:10]] != [each["id"] for each in steady[:10]]
    assert set(ids(unsteady)) < set(ids(steady))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"serviceFilterz": "x"}, "does not exist on type"),
        ({"isRecordCountLimitExceeded": True}, "does not exist on type"),
        ({"operationFilters": "x"}, "operationFilters"),
        ({"keywordFilter": ["x"]}, "keywordFilter"),
        ({"filterStartDateTime": "yesterday"}, "Edm.DateTimeOffset"),
        ({"filterStartDateTime": "2026-11-02T00:00:00"}, "Edm.DateTimeOffset"),
        (
            {"filterStartDateTime": "2026-11-02T00:00:00Z", "filterEndDateTime": "2026-11-01T00:00:00Z"},
            "earlier than",
        ),
    ],
)
def test_a_search_that_asks_for_nonsense_is_refused(
    caller: Caller, body: dict[str, Any], message: str
) -> None:
    """Status 400, and no search is made of it."""
    answer = submit(caller, body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert caller.found(QUERIES) == []


def test_errors_are_in_graphs_own_shape(caller: Caller, clock: Clock) -> None:
    """No consent, another audience, no such search, a method that is not there, a token that is none."""
    path = searched(caller, clock)
    caller.cloud.fail("graph", "missing_consent", path="auditLog")
    denied = caller.graph(QUERIES)
    assert denied.status_code == 403
    assert set(denied.json()["error"]["innerError"]) == {"date", "request-id", "client-request-id"}
    assert caller.call("GET", QUERIES, "https://api.loganalytics.io").status_code == 401
    assert caller.graph(f"{QUERIES}/other").status_code == 404
    assert caller.graph("/v1.0/security/auditLog").status_code == 404
    assert caller.call("DELETE", path, GRAPH).status_code == 405
    assert caller.graph(f"{path}/records", skiptoken="1!4!MA--/1!48!x").status_code == 400
    caller.cloud.fail("graph", "429", path="auditLog", retry_after=7)
    assert caller.graph(QUERIES).headers["Retry-After"] == "7"


def test_next_links_can_be_hostile(caller: Caller, clock: Clock) -> None:
    """To another host, to the page itself, and without a token."""
    path = f"{searched(caller, clock)}/records"
    caller.cloud.fail("graph", "foreign_next_link", location="https://example.org")
    assert caller.graph(path).json()["@odata.nextLink"].startswith("https://example.org/v1.0/")
    caller.cloud.fail("graph", "repeated_next_link")
    assert caller.graph(path).json()["@odata.nextLink"] == caller.cloud.url + path
    caller.cloud.fail("graph", "empty_skip_token")
    empty = caller.graph(path).json()["@odata.nextLink"]
    assert empty.endswith("$skiptoken=")
    assert caller.call("GET", empty, GRAPH).status_code == 400


# The generated client warns of its own classes, for which it has no successors.
@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_microsofts_own_client_searches(caller: Caller, clock: Clock) -> None:
    """It submits, polls, lists and pages, with its own types."""
    cloud = caller.cloud

    async def search() -> tuple[AuditLogQuery, list[AuditLogRecord], list[str | None]]:
        with ClientSecretCredential(
            cloud.tenant_id,
            cloud.client_id,
            cloud.client_secret,
            authority=cloud.url,
            disable_instance_discovery=True,
            connection_verify=str(cloud.ca_file),
        ) as credential:
            provider = AzureIdentityAuthenticationProvider(
                credential, scopes=[f"{GRAPH}/.default"], allowed_hosts=["127.0.0.1"]
            )
            context = ssl.create_default_context(cafile=str(cloud.ca_file))
            async with AsyncClient(verify=context) as http:
                adapter = GraphRequestAdapter(provider, client=http)
                adapter.base_url = f"{cloud.url}/v1.0"
                queries = GraphServiceClient(request_adapter=adapter).security.audit_log.queries
                body = AuditLogQuery(
                    display_name="sdk",
                    filter_start_date_time=datetime(2026, 11, 1, tzinfo=UTC),
                    filter_end_date_time=datetime(2026, 12, 1, tzinfo=UTC),
                    record_type_filters=[AuditLogRecordType.AzureActiveDirectory],
                    service_filters=["AzureActiveDirectory"],
                )
                created = await queries.post(body)
                assert created is not None
                assert created.id is not None
                assert created.status == AuditLogQueryStatus.NotStarted
                clock.tick(60)
                over = await queries.by_audit_log_query_id(created.id).get()
                listed = await queries.get()
                assert over is not None
                assert listed is not None
                records: list[AuditLogRecord] = []
                builder = queries.by_audit_log_query_id(created.id).records
                page = await builder.get()
                while page is not None:
                    records += page.value or []
                    link = page.odata_next_link
                    page = await builder.with_url(link).get() if link else None
                return over, records, [each.display_name for each in listed.value or []]

    over, records, names = asyncio.run(search())
    expected = [
        each for each in cloud.search_records() if each["auditLogRecordType"] == "AzureActiveDirectory"
    ]
    assert over.status == AuditLogQueryStatus.Succeeded
    assert over.is_record_count_limit_exceeded is False
    assert over.record_count_limit == 1_000_000
    assert names == ["sdk"]
    assert sorted(str(each.id) for each in records) == ids(expected)
    assert {each.audit_log_record_type for each in records} == {AuditLogRecordType.AzureActiveDirectory}
    assert records[0].created_date_time is not None
    assert records[0].created_date_time.tzinfo is not None
