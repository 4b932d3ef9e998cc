"""Graph's other logs over the wire: sign-ins of every kind, provisioning and risk detections."""

from typing import Any

import pytest

from local.cloud import ControlClient
from tests.cloud.caller import Caller

V1, BETA = "/v1.0/auditLogs/signIns", "/beta/auditLogs/signIns"
PROVISIONING = "/v1.0/auditLogs/provisioning"
RISK = "/v1.0/identityProtection/riskDetections"
KINDS = ("interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity")
ALL = "detectedDateTime ge 2026-11-01T00:00:00Z and detectedDateTime le 2026-11-22T00:00:00Z"


def ids(records: list[dict[str, Any]]) -> list[str]:
    """What identifies records."""
    return [record["id"] for record in records]


def of_kind(caller: Caller, kind: str) -> list[str]:
    """The ids of the sign-ins of a kind, newest first."""
    return ids([each for each in caller.cloud.records("signIns") if kind in each["signInEventTypes"]])


@pytest.mark.parametrize("path", [V1, BETA])
def test_sign_ins_without_a_filter_are_the_interactive_ones(shared: Caller, path: str) -> None:
    """Newest first, a thousand a page; the others do not even show that they are missing."""
    pages = shared.walk(path)
    assert [ids(page) for page in pages] == [of_kind(shared, "interactiveUser")]


@pytest.mark.parametrize("kind", KINDS)
def test_beta_gives_each_kind_of_sign_ins_by_itself(shared: Caller, kind: str) -> None:
    """With the filter that the app sends, over short and empty pages."""
    text = (
        "createdDateTime ge 2026-11-01T00:00:00Z and createdDateTime le 2026-11-22T00:00:00Z "
        f"and signInEventTypes/any(t: t eq '{kind}')"
    )
    found = ids(shared.found(BETA, filter=text, top="20"))
    assert found == of_kind(shared, kind)
    assert found


def test_a_kind_can_be_excluded(shared: Caller) -> None:
    """`ne` gives what is left of all kinds, not of the interactive ones."""
    found = ids(shared.found(BETA, filter="signInEventTypes/any(t: t ne 'interactiveUser')"))
    assert len(found) == 400 - len(of_kind(shared, "interactiveUser"))


def test_v1_knows_no_kinds_of_sign_ins(shared: Caller) -> None:
    """The property is missing from its records, and a filter that names it is refused."""
    assert "signInEventTypes" not in shared.graph(V1, top="1").json()["value"][0]
    assert "signInEventTypes" in shared.graph(BETA, top="1").json()["value"][0]
    refused = shared.graph(V1, filter="signInEventTypes/any(t: t eq 'servicePrincipal')")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "BadRequest"
    assert (
        "Could not find a property named 'signInEventTypes' on type 'microsoft.graph.signIn'"
        in refused.json()["error"]["message"]
    )


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("startswith(appDisplayName,'Azure')", lambda each: each["appDisplayName"].startswith("Azure")),
        ("startsWith(appDisplayName,'Azure')", lambda each: each["appDisplayName"].startswith("Azure")),
        ("status/ErrorCode eq 50126", lambda each: each["status"]["errorCode"] == 50126),
        ("(location/city eq '東京')", lambda each: each["location"]["city"] == "東京"),
        (
            (
                "createdDateTime ge 2026-11-18 and (status/errorCode eq 53003 or "
                "userPrincipalName eq 'li.xiaolong@contoso.onmicrosoft.com')"
            ),
            lambda each: (
                each["createdDateTime"] >= "2026-11-18"
                and (
                    each["userPrincipalName"].startswith("li.xiaolong@")
                    or each["status"]["errorCode"] == 53003
                )
            ),
        ),
    ],
)
def test_documented_filters_of_sign_ins_work(shared: Caller, text: str, matches: Any) -> None:
    """Texts, numbers, dates without a time, brackets and `or`."""
    interactive = of_kind(shared, "interactiveUser")
    wanted = [each for each in shared.cloud.records("signIns") if each["id"] in interactive and matches(each)]
    assert ids(shared.found(V1, filter=text)) == ids(wanted)
    assert wanted


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (V1, "createdDateTime gt 2026-11-18T00:00:00Z"),
        (V1, "createdDateTime lt 2026-11-18T00:00:00Z"),
        (V1, "createdDateTime ge '2026-11-18T00:00:00Z'"),
        (V1, "isInteractive eq true"),
        (V1, "status/errorCode eq '0'"),
        (V1, "not (appDisplayName eq 'x')"),
        (V1, "contains(appDisplayName,'x')"),
        (V1, "appDisplayName startswith 'x'"),
        (V1, "(appDisplayName eq 'x'"),
        (BETA, "signInEventTypes/any(t: s eq 'interactiveUser')"),
        (BETA, "signInEventTypes/any(t: t eq 'interactiveUser' or t eq 'servicePrincipal')"),
        (BETA, "signInEventTypes eq 'interactiveUser'"),
        (PROVISIONING, "activityDateTime ge 2026-11-18T00:00:00Z"),
        (PROVISIONING, "activityDateTime le 2026-11-18T00:00:00Z"),
        (PROVISIONING, "startswith(jobId,'scim')"),
        (RISK, "contains(riskEventType,'x')"),
    ],
)
def test_what_a_log_does_not_document_is_refused(shared: Caller, path: str, text: str) -> None:
    """Each log has its own grammar."""
    answer = shared.graph(path, filter=text)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Invalid filter clause")


def test_a_property_of_another_log_is_not_found(shared: Caller) -> None:
    """In the words that the service has for it."""
    answer = shared.graph(RISK, filter="createdDateTime ge 2026-11-18T00:00:00Z")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "Invalid filter clause: Could not find a property named 'createdDateTime' on type "
        "'microsoft.graph.riskDetection'."
    )


def test_gt_and_lt_of_provisioning_are_exclusive_to_the_tick(caller: Caller) -> None:
    """What lies on a bound does not count, so a window needs bounds outside of it."""
    times = [f"2026-11-21T10:00:00.{tail}Z" for tail in ("1234566", "1234567", "1234568")]
    caller.cloud.add_records("provisioning", [{"id": time, "activityDateTime": time} for time in times])
    between = f"activityDateTime gt {times[0]} and activityDateTime lt {times[2]}"
    assert ids(caller.found(PROVISIONING, filter=between)) == [times[1]]


def test_the_order_of_provisioning_means_nothing(shared: Caller) -> None:
    """Unless it is asked for."""
    known = ids(shared.cloud.records("provisioning"))
    found = ids(shared.found(PROVISIONING, top="30"))
    assert found != known
    assert sorted(found) == sorted(known)
    asked = shared.found(PROVISIONING, orderby="activityDateTime desc")
    assert [each["activityDateTime"] for each in asked] == [
        each["activityDateTime"] for each in shared.cloud.records("provisioning")
    ]


def test_provisioning_is_filtered_as_in_its_documentation(shared: Caller) -> None:
    """Microsoft's example: `contains` in any case, `or`, brackets and a day between dates."""
    target = shared.cloud.records("provisioning")[0]["servicePrincipal"]
    text = (
        f"((contains(tolower(servicePrincipal/id), '{target['displayName'].lower()}') or "
        f"contains(tolower(servicePrincipal/displayName), '{target['displayName'].lower()}')) "
        "and activityDateTime gt 2026-11-14 and activityDateTime lt 2026-11-21)"
    )
    wanted = {
        each["id"]
        for each in shared.cloud.records("provisioning")
        if each["servicePrincipal"] == target and "2026-11-14" <= each["activityDateTime"] < "2026-11-21"
    }
    assert set(ids(shared.found(f"{PROVISIONING}/", filter=text))) == wanted
    assert wanted
    job = shared.cloud.records("provisioning")[0]["jobId"]
    assert all(each["jobId"] == job for each in shared.found(PROVISIONING, filter=f"jobid eq '{job}'"))


def test_risk_detections_come_twenty_a_page_and_five_hundred_at_most(shared: Caller) -> None:
    """A request without `$top` takes many calls, at one a second."""
    assert len(shared.graph(RISK).json()["value"]) == 20
    assert len(shared.graph(RISK, top="500").json()["value"]) == 100
    assert shared.graph(RISK, top="501").status_code == 400
    found = shared.found(RISK, filter=ALL)
    assert sorted(ids(found)) == sorted(ids(shared.cloud.records("riskDetections")))
    assert shared.graph(RISK, orderby="detectedDateTime desc").status_code == 400
    assert shared.graph(RISK.replace("v1.0", "beta")).status_code == 404


@pytest.mark.parametrize(("first", "last"), [("ge", "le"), ("gt", "lt")])
def test_bounds_of_risk_detections_are_inclusive_whatever_they_say(
    caller: Caller, first: str, last: str
) -> None:
    """As reported of `gt` and `lt`; other than that nothing is documented."""
    time = "2026-11-21T10:00:00.1234567Z"
    caller.cloud.add_records("riskDetections", [{"id": "mine", "detectedDateTime": time}])
    text = f"detectedDateTime {first} {time} and detectedDateTime {last} {time} and (riskLevel eq 'medium')"
    assert ids(caller.found(RISK, filter=text)) == ["mine"]


@pytest.mark.parametrize(
    ("log", "path", "time"),
    [
        ("directoryAudits", "/v1.0/auditLogs/directoryAudits", "activityDateTime"),
        ("signIns", BETA, "createdDateTime"),
        ("provisioning", PROVISIONING, "activityDateTime"),
        ("riskDetections", RISK, "detectedDateTime"),
    ],
)
def test_records_of_every_log_can_be_added_changed_and_removed(
    caller: Caller, log: str, path: str, time: str
) -> None:
    """What is not said is filled in, and one id can have another body later."""
    cloud = caller.cloud
    before = len(cloud.records(log))
    assert cloud.add_records(log, [{"id": "mine"}, {"id": "old", time: "2020-01-01T00:00:00Z"}]) == 2
    cloud.replace_record(log, "mine", {"correlationId": "changed"})
    changed = next(each for each in caller.found(path, top="500") if each["id"] == "mine")
    assert changed["correlationId"] == "changed"
    assert set(cloud.records(log)[0]) <= set(changed)
    assert cloud.records(log)[-1]["id"] == "old"
    assert cloud.remove_records(log, ["mine", "old", "unknown"]) == 2
    assert len(cloud.records(log)) == before
    with pytest.raises(ValueError, match=f"no record of {log} with the id 'mine'"):
        cloud.replace_record(log, "mine", {})
    with pytest.raises(ValueError, match="not an ISO 8601 instant"):
        cloud.add_records(log, [{time: "noon"}])


def test_the_control_client_does_the_same(caller: Caller) -> None:
    """A test can use either without a change."""
    client = ControlClient(caller.cloud.url, caller.cloud.ca_file)
    assert client.add_records("riskDetections", [{"id": "mine", "riskLevel": "high"}]) == 1
    client.replace_record("riskDetections", "mine", {"riskState": "dismissed"})
    found = caller.found(RISK, filter="riskLevel eq 'high' and id eq 'mine'")
    assert [each["riskState"] for each in found] == ["dismissed"]
    assert client.records("riskDetections") == caller.cloud.records("riskDetections")
    assert client.remove_records("riskDetections", ["mine"]) == 1
    with pytest.raises(ValueError, match="no log 'audits'"):
        client.records("audits")


def test_an_unknown_log_is_refused(shared: Caller) -> None:
    """A slip in a test should not go unnoticed."""
    with pytest.raises(ValueError, match="no log 'audits' in the stand-in; it has directoryAudits, signIns"):
        shared.cloud.records("audits")


def test_the_made_up_records_hold_what_breaks_careless_readers(shared: Caller) -> None:
    """Every kind, seventh digits and whole seconds, shared instants, nulls, and risk that changed later."""
    sign_ins, risks = shared.cloud.records("signIns"), shared.cloud.records("riskDetections")
    times = [each["createdDateTime"] for each in sign_ins]
    assert {len(time) for time in times} >= {20, 28}
    assert len(set(times)) < len(times)
    assert all(of_kind(shared, kind) for kind in KINDS)
    assert len(set(ids(sign_ins))) == len(sign_ins) == 400
    assert any(each["requestId"] is None for each in risks)
    assert any(each["lastUpdatedDateTime"] > each["detectedDateTime"] for each in risks)
    assert {each["provisioningStatusInfo"]["status"] for each in shared.cloud.records("provisioning")} == {
        "success",
        "failure",
    }
