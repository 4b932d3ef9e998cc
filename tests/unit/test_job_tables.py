"""The tables of search jobs on Resource Manager: what is sent, and how each described shape is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import DeniedError, NoRoomError, ProtocolError, ServiceError, TransportError
from shared.job_tables import JobTable, JobTables, Operation
from shared.model import Response
from shared.windows import MINUTE, SECOND, parse_instant
from tests.unit.fakes import ListSend, service_error
from tests.unit.test_arm_ids import SUBSCRIPTION, WORKSPACE

TABLE = f"{WORKSPACE}/tables/A_SRCH?api-version=2022-10-01"
OPERATION = f"{SUBSCRIPTION}/providers/Microsoft.OperationalInsights/locations/westeurope/operationstatuses"
NOTHING = service_error(404)


def table(state: str = "Succeeded", name: str = "A_SRCH", **properties: Any) -> dict[str, Any]:
    """Build a table as it is specified."""
    return {"name": name, "properties": {"provisioningState": state, "plan": "Analytics", **properties}}


def tables(*answers: object) -> tuple[JobTables, ListSend]:
    """Return the tables of a workspace that gives such answers."""
    send = ListSend(answers)
    return JobTables(send, WORKSPACE), send


@pytest.mark.parametrize(
    ("answer", "ingested", "progress", "operation"),
    [
        (table(), None, None, None),
        (table(resultStatistics={"progress": 99.5, "ingestedRecords": 7}), 7, 99.5, None),
        (table(resultStatistics={"progress": 100}), None, 100.0, None),
        (table(searchResults={"query": "x", "azureAsyncOperationId": "o"}), None, None, "o"),
        (table(schema={"searchResults": {"query": "x", "azureAsyncOperationId": "o"}}), None, None, "o"),
        (table(schema={"columns": []}, searchResults=None, resultStatistics=None), None, None, None),
    ],
)
def test_a_table_is_read_in_every_shape(
    answer: dict[str, Any], ingested: int | None, progress: float | None, operation: str | None
) -> None:
    """As it is specified, as it was recorded, and as the documentation's sample has it."""
    found, send = tables(answer)
    assert found.get("A_SRCH", 9.0) == JobTable("A_SRCH", "Succeeded", ingested, progress, operation)
    assert (send.requests[0].method, send.requests[0].target, send.requests[0].deadline) == (
        "GET",
        TABLE,
        9.0,
    )


def test_there_may_be_no_table() -> None:
    """404 says so; any other error is one."""
    found, _ = tables(NOTHING, service_error(500))
    assert found.get("A_SRCH", 9.0) is None
    with pytest.raises(ServiceError):
        found.get("A_SRCH", 9.0)


def test_the_list_holds_tables_of_jobs_alone() -> None:
    """Other tables are passed over, and links to further ones followed."""
    more = {"value": [table("InProgress", "C_SRCH")]}
    first = {"value": [table(name="Event"), table(name="B_srch"), table("Deleting")], "nextLink": "/next"}
    found, send = tables(first, more)
    assert {name: each.runs for name, each in found.all(9.0).items()} == {
        "b_srch": False, "a_srch": False, "c_srch": True,
    }  # fmt: skip
    assert [request.target.rpartition("/")[2] for request in send.requests] == [
        "tables?api-version=2022-10-01",
        "next",
    ]


def test_a_job_is_created_once() -> None:
    """The request is not repeated where it may have been done; the operation's address has no host."""
    address = f"https://management.azure.com{OPERATION}/o?api-version=2022-10-01"
    found, send = tables(Response(202, {"azure-asyncoperation": address}, b""))
    assert found.create("A_SRCH", b"{}", 9.0) == f"{OPERATION}/o?api-version=2022-10-01"
    (request,) = send.requests
    assert (request.method, request.target, request.body, request.once) == ("PUT", TABLE, b"{}", True)
    assert request.headers["Content-Type"] == "application/json"


def test_a_job_that_is_there_is_no_error() -> None:
    """Another attempt was quicker, or this one's answer was lost."""
    found, _ = tables(service_error(409), Response(200, {}, b""))
    assert found.create("A_SRCH", b"{}", 9.0) is None
    assert found.create("A_SRCH", b"{}", 9.0) is None


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (service_error(429), 5 * MINUTE),
        (service_error(429, retry_after=3600.0), 3600 * SECOND),
        (ServiceError("X", status=400, code="LimitExceeded", message="m", request_id=None, retryable=False),
         5 * MINUTE),
    ],
)  # fmt: skip
def test_no_room_for_a_job_puts_it_off(error: ServiceError, wait: int) -> None:
    """Too many jobs or tables, whoever made them, pass."""
    found, _ = tables(error)
    with pytest.raises(NoRoomError) as caught:
        found.create("A_SRCH", b"{}", 9.0)
    assert caught.value.wait == wait


def test_another_refusal_is_an_error() -> None:
    """A query that the service does not take stays so."""
    found, _ = tables(service_error(400))
    with pytest.raises(ServiceError):
        found.create("A_SRCH", b"{}", 9.0)


def test_a_table_is_deleted() -> None:
    """One that is gone is no error."""
    found, send = tables(Response(202, {}, b""), NOTHING, service_error(409))
    found.delete("A_SRCH", 9.0)
    found.delete("A_SRCH", 9.0)
    with pytest.raises(ServiceError):
        found.delete("A_SRCH", 9.0)
    assert {(request.method, request.target) for request in send.requests} == {("DELETE", TABLE)}


SILENT = JobTable("A_SRCH", "Succeeded", None, None, None)
FAILED = {"status": "Failed", "error": {"code": "Timeout", "message": "24 hours"}}


@pytest.mark.parametrize(
    ("answer", "expected", "failed", "cut"),
    [
        ({"status": "Succeeded",
          "properties": {"resultStatistics": {"ingestedRecords": 3, "progress": 50.0}}},
         Operation("Succeeded", 3, 50.0, "no reason is given"), False, False),
        ({"status": "InProgress"}, Operation("InProgress", None, None, "no reason is given"), False, False),
        ({"status": "PartialSuccess"},
         Operation("PartialSuccess", None, None, "no reason is given"), False, True),
        (FAILED, Operation("Failed", None, None, "Timeout: 24 hours"), True, False),
        ({"status": "Canceled", "properties": {}},
         Operation("Canceled", None, None, "no reason is given"), True, False),
    ],
)  # fmt: skip
def test_an_operation_tells_what_a_table_does_not(
    answer: dict[str, Any], expected: Operation, failed: bool, cut: bool
) -> None:
    """How much was found, and whether the job failed, for which a table has no state."""
    found, send = tables(answer)
    operation = found.operation(SILENT, "/address", 9.0)
    assert operation == expected
    assert (operation.has_failed, operation.is_cut_off) == (failed, cut)
    assert send.requests[0].target == "/address"


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        ("InProgress", True),
        ("Updating", True),
        ("Running", True),
        ("Succeeded", False),
        ("PartialSuccess", False),
        ("Failed", False),
        ("canceled", False),
        ("", False),
    ],
)
def test_an_operation_goes_on_until_it_says_otherwise(status: str, goes_on: bool) -> None:
    """Whatever it is called meanwhile; where no status is given it says nothing."""
    assert Operation(status, None, None, "").goes_on is goes_on


@pytest.mark.parametrize("ingested", [None, 3])
def test_an_address_that_nobody_saw_follows_from_the_id(ingested: int | None) -> None:
    """The workspace's region completes it; it is asked for once. What a table holds makes no difference."""
    found, send = tables(
        {"location": "westeurope", "properties": {}}, {"status": "Succeeded"}, {"status": "x"}
    )
    lost = JobTable("A_SRCH", "Succeeded", ingested, None, "o 1")
    assert found.operation(lost, None, 9.0) is not None
    assert found.operation(lost, None, 9.0) is not None
    assert [request.target for request in send.requests] == [
        f"{WORKSPACE}?api-version=2022-10-01",
        f"{OPERATION}/o%201?api-version=2022-10-01",
        f"{OPERATION}/o%201?api-version=2022-10-01",
    ]


def test_an_address_that_is_not_known_is_not_asked() -> None:
    """The table of the documentation's sample does not name its operation."""
    found, send = tables()
    assert found.operation(SILENT, None, 9.0) is None
    assert send.requests == []


def test_an_operation_may_be_forgotten() -> None:
    """After some days the service does not know it any more."""
    found, _ = tables(NOTHING, Response(204, {}, b""))
    for _ in range(2):
        assert found.operation(SILENT, "/address", 9.0) is None


@pytest.mark.parametrize("answer", [NOTHING, service_error(400), service_error(410), {"status": "Succeeded"}])
def test_access_to_operations_is_checked_once(answer: object) -> None:
    """With one that there is not; an answer about the operation itself says that they may be asked for."""
    found, send = tables({"location": "westeurope"}, answer)
    found.check_access(9.0)
    found.check_access(9.0)
    assert [request.target for request in send.requests] == [
        f"{WORKSPACE}?api-version=2022-10-01",
        f"{OPERATION}/00000000-0000-0000-0000-000000000000?api-version=2022-10-01",
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_operations_names_the_action_and_its_scope(status: int) -> None:
    """A role on the workspace does not hold it there; a refusal is not remembered."""
    refusal = service_error(status)
    found, _ = tables({"location": "westeurope"}, refusal, refusal, NOTHING, refusal)
    action = "Microsoft.OperationalInsights/locations/operationstatuses/read"
    needs = f"{action} on the subscription {SUBSCRIPTION}"
    for _ in range(2):
        with pytest.raises(DeniedError, match=needs):
            found.check_access(9.0)
    found.check_access(9.0)
    with pytest.raises(DeniedError, match=needs):
        found.operation(SILENT, "/address", 9.0)


@pytest.mark.parametrize(
    "passing",
    [
        service_error(429, retryable=True),
        service_error(500),
        service_error(503, retryable=True),
        TransportError("broke off"),
    ],
)
def test_an_answer_that_says_nothing_is_not_taken_for_access(passing: Exception) -> None:
    """It is let out, so that no job is started on it, and the next check asks again."""
    found, _ = tables({"location": "westeurope"}, passing, service_error(403))
    with pytest.raises(type(passing)) as caught:
        found.check_access(9.0)
    assert caught.value is passing
    with pytest.raises(DeniedError):
        found.check_access(9.0)


CALLS: dict[str, Callable[[JobTables], object]] = {
    "get": lambda found: found.get("A_SRCH", 9.0),
    "all": lambda found: found.all(9.0),
    "create": lambda found: found.create("A_SRCH", b"", 9.0),
    "delete": lambda found: found.delete("A_SRCH", 9.0),
}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", CALLS)
def test_a_missing_permission_says_what_to_grant(call: str, status: int) -> None:
    """Each refusal names the actions and the role, also where the token itself is not taken."""
    found, _ = tables(service_error(status))
    with pytest.raises(DeniedError, match=r"searchJobs/write.*Log Analytics Contributor.*subscription"):
        CALLS[call](found)


def test_the_services_own_time_is_kept() -> None:
    """Each answer's Date says what time it is there; one without a Date does not unsay it."""
    body = json.dumps(table()).encode()
    found, _ = tables(Response(200, {"date": "Sat, 21 Nov 2026 10:00:00 GMT"}, body), Response(200, {}, body))
    found.get("A_SRCH", 9.0)
    found.get("A_SRCH", 9.0)
    assert found.served_at == parse_instant("2026-11-21T10:00:00")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 1}', b"<html>"])
def test_an_odd_answer_is_refused(body: bytes) -> None:
    """What is no table is an error, not a table that is missing."""
    found, _ = tables(Response(200, {}, body))
    with pytest.raises(ProtocolError):
        found.get("A_SRCH", 9.0)
