"""Directory audits over the wire: filters, pages, the retention floor, throttling and errors."""

from typing import Any

import pytest

from local.cloud import Cloud, Limits, Options
from tests.cloud.caller import Caller

PATH = "/v1.0/auditLogs/directoryAudits"


def test_a_walk_gives_every_record_once_newest_first(shared: Caller) -> None:
    """Short and empty pages lie in between, and the last page has no next link."""
    pages = shared.walk(PATH, top="40")
    assert [len(page) for page in pages[:5]] == [40, 38, 0, 40, 40]
    assert [record for page in pages for record in page] == shared.cloud.audits()


def test_a_walk_without_top_has_pages_of_a_thousand(shared: Caller) -> None:
    """The default is the greatest page."""
    assert [len(page) for page in shared.walk(PATH)] == [300]


def test_a_page_asked_twice_is_the_same(shared: Caller) -> None:
    """A retry of a next link loses and doubles nothing."""
    link = shared.audits(top="10").json()["@odata.nextLink"]
    pages = [shared.call("GET", link, "https://graph.microsoft.com").json()["value"] for _ in range(2)]
    assert pages[0] == pages[1]


def test_ge_and_le_are_inclusive_to_the_tick(caller: Caller) -> None:
    """Both bounds count; one tick further does not."""
    times = [f"2026-11-21T10:00:00.{tail}Z" for tail in ("1234566", "1234567", "1234568")]
    caller.cloud.add_audits([{"id": time, "activityDateTime": time} for time in times])
    between = f"activityDateTime ge {times[1]} and activityDateTime le {times[1]}"
    assert [record["id"] for record in caller.found(PATH, filter=between)] == [times[1]]


def test_gt_is_ignored_as_the_service_ignores_it(shared: Caller) -> None:
    """An undocumented operator brings everything back."""
    assert len(shared.walk(PATH, filter="activityDateTime gt 2026-11-21T11:59:59Z")[0]) == 300


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("loggedByService eq 'PIM'", lambda record: record["loggedByService"] == "PIM"),
        (
            "startswith(activityDisplayName,'Add')",
            lambda record: record["activityDisplayName"].startswith("Add"),
        ),
        (
            "initiatedBy/user/userPrincipalName eq 'sile.obrien@contoso.onmicrosoft.com'",
            lambda record: (
                (record["initiatedBy"]["user"] or {}).get("userPrincipalName", "")
                == "sile.obrien@contoso.onmicrosoft.com"
            ),
        ),
        (
            "targetResources/any(t:t/displayName eq 'O''Brien, Síle')",
            lambda record: any(
                target["displayName"] == "O'Brien, Síle" for target in record["targetResources"]
            ),
        ),
        (
            (
                "(loggedByService eq 'PIM' or startswith(activityDisplayName,'Add')) and "
                "activityDateTime ge 2026-11-18T00:00:00Z"
            ),
            lambda record: (
                record["activityDateTime"] >= "2026-11-18"
                and (record["loggedByService"] == "PIM" or record["activityDisplayName"].startswith("Add"))
            ),
        ),
    ],
)
def test_documented_filters_work(shared: Caller, text: str, matches: Any) -> None:
    """The filtered walk is what a filter in Python leaves."""
    found = shared.found(PATH, filter=text)
    assert found == [record for record in shared.cloud.audits() if matches(record)]
    assert found


@pytest.mark.parametrize(
    "text",
    [
        "activityDateTime ge '2026-11-21T00:00:00Z'",
        "activityDateTime ge yesterday",
        "category eq 'UserManagement'",
        "result eq 'success'",
        "loggedByService ne 'PIM'",
        "startswith(id,'Directory')",
        "activityDateTime ge 2026-11-21T00:00:00Z and",
        "activityDateTime ge 2026-13-41T00:00:00Z",
    ],
)
def test_other_filters_are_refused(shared: Caller, text: str) -> None:
    """Quoted dates, undocumented properties and operators, and bad syntax are 400."""
    answer = shared.audits(filter=text)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Invalid filter clause")
    assert set(answer.json()["error"]["innerError"]) == {"date", "request-id", "client-request-id"}


def test_skip_is_not_allowed(shared: Caller) -> None:
    """The service names the option and how it thinks one could allow it."""
    answer = shared.audits(skip="10")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Query option 'Skip' is not allowed.")


def test_an_option_without_its_dollar_is_ignored(shared: Caller) -> None:
    """As with the service, everything comes back."""
    answer = shared.call(
        "GET", PATH, "https://graph.microsoft.com", params={"": "activityDateTime ge 2026-11-21T11:00:00Z"}
    )
    assert len(answer.json()["value"]) == 300


@pytest.mark.parametrize("top", ["0", "1001", "-1", "x"])
def test_top_is_between_one_and_a_thousand(shared: Caller, top: str) -> None:
    """Another number is 400."""
    assert shared.audits(top=top).status_code == 400


def test_the_order_can_be_turned_round(shared: Caller) -> None:
    """Oldest first with `asc`; another property is refused."""
    first = shared.audits(orderby="activityDateTime asc").json()["value"][0]
    assert first == shared.cloud.audits()[-1]
    assert shared.audits(orderby="id").status_code == 400


@pytest.mark.parametrize("path", ["/v1.0/auditlogs/directoryaudits", "/beta/auditLogs/directoryAudits"])
def test_paths_do_not_depend_on_case_or_version(shared: Caller, path: str) -> None:
    """Both spellings and versions are in use."""
    assert shared.audits(path).status_code == 200


def test_other_paths_are_not_found(shared: Caller) -> None:
    """The stand-in does not invent resources."""
    answer = shared.audits("/v1.0/users")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_below_the_retention_floor_is_an_error(tmp_path: Any) -> None:
    """The floor is a midnight; records below it are gone, and a filter that names such a time is refused."""
    options = Options(events=0, audits=0, limits=Limits(reports=None, retention_days=30))
    noon = 1_795_262_400.0  # 2026-11-21T12:00:00Z
    with Cloud(options, tmp_path, clock=lambda: noon) as cloud:
        cloud.add_audits(
            [{"id": day, "activityDateTime": f"{day}T00:00:00Z"} for day in ("2026-10-21", "2026-10-22")]
        )
        client = Caller(cloud)
        assert [record["id"] for record in client.found(PATH)] == ["2026-10-22"]
        assert client.audits(filter="activityDateTime ge 2026-10-22T00:00:00Z").status_code == 200
        refused = client.audits(filter="activityDateTime ge 2026-10-21T23:59:59.9999999Z")
        assert refused.status_code == 400
        assert (
            "Minimum allowed time for activityDateTime is 10/22/2026 12:00:00 AM"
            in refused.json()["error"]["message"]
        )
        client.session.close()


def test_the_sixth_call_in_ten_seconds_is_throttled(caller: Caller) -> None:
    """429 with the service's odd code, and a Retry-After."""
    caller.cloud.set_limits(reports=5)
    assert [caller.audits().status_code for _ in range(6)] == [200] * 5 + [429]
    refused = caller.audits()
    assert refused.json()["error"]["code"] == "UnknownError"
    assert 1 <= int(refused.headers["Retry-After"]) <= 10


def test_answers_carry_request_ids(shared: Caller) -> None:
    """The client's id comes back beside the service's own."""
    answer = shared.call("GET", PATH, "https://graph.microsoft.com", headers={"client-request-id": "mine"})
    assert answer.headers["client-request-id"] == "mine"
    assert answer.headers["request-id"]
    assert answer.json()["@odata.context"].endswith("/v1.0/$metadata#auditLogs/directoryAudits")


def test_tokens_are_checked(shared: Caller) -> None:
    """Graph answers 401 to a missing token and to one for another API."""
    assert shared.session.get(shared.cloud.url + PATH).json()["error"]["message"] == "Access token is empty."
    wrong = shared.call("GET", PATH, "https://api.loganalytics.io")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_late_records_appear_in_new_walks_only(caller: Caller) -> None:
    """A walk goes on over what its first page found."""
    before = len(caller.cloud.audits())
    link = caller.audits(top="15").json()["@odata.nextLink"]
    caller.cloud.add_audits([{}])
    assert len(caller.call("GET", link, "https://graph.microsoft.com").json()["value"]) == before - 15
    assert len(caller.walk(PATH)[0]) == before + 1
