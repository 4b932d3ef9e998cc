"""What stands between an app and Graph's logs: rates, licence, permission, retention, and its bad days."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import Cloud, Limits, Options
from tests.cloud.caller import Caller

AUDITS = "/v1.0/auditLogs/directoryAudits"
SIGN_INS = "/v1.0/auditLogs/signIns"
PROVISIONING = "/v1.0/auditLogs/provisioning"
RISK = "/v1.0/identityProtection/riskDetections"
REPORTS = [AUDITS, SIGN_INS, PROVISIONING]
NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[Caller]:
    """A client of a stand-in at noon of 2026-11-21 whose logs have a record a day for a hundred days."""
    limits = Limits(queries=None, reports=None, identity_protection=None)
    options = Options(
        events=0,
        audits=0,
        sign_ins=0,
        provisionings=0,
        risk_detections=0,
        end="2026-11-21T12:00:00Z",
        limits=limits,
    )
    with Cloud(options, tmp_path, clock=lambda: NOON) as cloud:
        client = Caller(cloud)
        for log, time in (
            ("directoryAudits", "activityDateTime"),
            ("signIns", "createdDateTime"),
            ("provisioning", "activityDateTime"),
            ("riskDetections", "detectedDateTime"),
        ):
            days = [f"2026-{month:02d}-{day:02d}" for month in (8, 9, 10, 11) for day in range(1, 22)]
            cloud.add_records(log, [{"id": day, time: f"{day}T00:00:00Z"} for day in days])
        yield client
        client.session.close()


def error(caller: Caller, path: str, **options: str) -> tuple[int, str, str]:
    """The status, code and message of a refusal."""
    answer = caller.graph(path, **options)
    document = answer.json()["error"]
    return answer.status_code, document["code"], document["message"]


def oldest(caller: Caller, path: str) -> str:
    """The oldest record that can be read."""
    return min(str(record["id"]) for record in caller.found(path))


def test_the_reports_share_one_rate(caller: Caller) -> None:
    """Five requests in ten seconds, to whichever of them; risk detections are apart."""
    caller.cloud.set_limits(reports=5, report_seconds=60)
    paths = [*REPORTS, "/beta/auditLogs/signIns", AUDITS, PROVISIONING]
    answers = [caller.graph(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 50 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert caller.graph(RISK).status_code == 200


def test_identity_protection_takes_one_request_a_second_and_does_not_say_when(caller: Caller) -> None:
    """Its refusal has no Retry-After."""
    assert Limits().identity_protection == Limits().identity_protection_seconds == 1
    caller.cloud.set_limits(identity_protection=1, identity_protection_seconds=60)
    answers = [caller.graph(RISK) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "Retry-After" not in answers[1].headers
    assert caller.graph(AUDITS).status_code == 200


def test_a_refused_request_and_one_that_fails_count_too(caller: Caller) -> None:
    """What an app retries comes out of the same rate."""
    caller.cloud.set_limits(reports=2, report_seconds=60)
    caller.cloud.fail("graph", "503")
    assert [caller.graph(AUDITS).status_code for _ in range(4)] == [503, 200, 429, 429]


def test_a_request_counts_when_it_arrives(caller: Caller) -> None:
    """However long its answer takes."""
    caller.graph(AUDITS)  # so that there is a token
    caller.cloud.set_limits(reports=1, report_seconds=2)
    caller.cloud.fail("graph", "slow", seconds=2.5, count=2)
    assert [caller.graph(PROVISIONING).status_code for _ in range(2)] == [429, 200]


def test_without_a_licence_there_are_only_directory_audits(aged: Caller) -> None:
    """The other logs say that the tenant lacks it, each in its family's words."""
    aged.cloud.set_limits(premium=False)
    for path in (SIGN_INS, PROVISIONING, "/beta/auditLogs/signIns"):
        assert error(aged, path) == (
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        )
    assert error(aged, RISK) == (403, "Forbidden", "Your tenant is not licensed for this feature.")
    assert oldest(aged, AUDITS) == "2026-11-14"
    assert "11/14/2026" in error(aged, AUDITS, filter="activityDateTime ge 2026-11-13T00:00:00Z")[2]


@pytest.mark.parametrize("path", REPORTS)
def test_a_licensed_tenant_is_told_now_and_then_that_it_is_not(caller: Caller, path: str) -> None:
    """For so many calls, and then the same request succeeds."""
    caller.cloud.fail("graph", "not_premium", count=2)
    codes = [error(caller, path)[:2] for _ in range(2)]
    assert codes == [(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant")] * 2
    assert caller.graph(path).status_code == 200


def test_an_app_without_the_permission_is_told_so(caller: Caller) -> None:
    """The reports name the permission, identity protection does not."""
    caller.cloud.fail("graph", "missing_consent", count=None)
    text = "Calling principal does not have required MSGraph permissions AuditLog.Read.All"
    for path in REPORTS:
        assert error(caller, path) == (403, "Authentication_MSGraphPermissionMissing", text)
    text = "You cannot perform the requested operation, required scopes are missing in the token."
    assert error(caller, RISK) == (403, "Forbidden", text)


@pytest.mark.parametrize(
    ("path", "time", "operator"),
    [
        (AUDITS, "activityDateTime", "ge"),
        (SIGN_INS, "createdDateTime", "ge"),
        (PROVISIONING, "activityDateTime", "gt"),
    ],
)
def test_a_time_below_the_floor_is_refused_in_words_that_name_it(
    aged: Caller, path: str, time: str, operator: str
) -> None:
    """With a code that says nothing; the floor is a midnight thirty days ago."""
    below = f"{time} {operator} 2026-10-21T23:59:59Z"
    status, code, message = error(aged, path, filter=below)
    assert (status, code) == (400, "UnknownError")
    assert f"Minimum allowed time for {time} is 10/22/2026 12:00:00 AM" in message
    assert aged.graph(path, filter=f"{time} {operator} 2026-10-22T00:00:00Z").status_code == 200
    assert oldest(aged, path) == "2026-11-01"


def test_a_time_below_the_floor_can_be_an_invalid_filter(aged: Caller) -> None:
    """As it was seen of sign-ins; directory audits name the floor all the same."""
    aged.cloud.set_limits(floor_error="invalid_filter")
    below = "createdDateTime ge 2026-10-21T23:59:59Z"
    assert error(aged, SIGN_INS, filter=below) == (400, "BadRequest", "Invalid filter clause")
    assert error(aged, AUDITS, filter=below.replace("created", "activity"))[1] == "UnknownError"
    with pytest.raises(ValueError, match="there are named, invalid_filter"):
        aged.cloud.set_limits(floor_error="none")


def test_old_risk_detections_are_gone_without_a_word(aged: Caller) -> None:
    """They reach back ninety days, and no error is known for a time before that."""
    assert oldest(aged, RISK) == "2026-09-01"
    assert aged.graph(RISK, filter="detectedDateTime ge 2026-01-01T00:00:00Z").status_code == 200


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("null_skip_token", "Invalid Skip Token, skip token is null"),
        ("unsupported_query", "Unsupported Query"),
    ],
)
def test_errors_of_the_field_come_to_any_request(caller: Caller, kind: str, message: str) -> None:
    """They say that the request is wrong, and the same request succeeds."""
    for path in (*REPORTS, RISK):
        caller.cloud.fail("graph", kind)
        assert error(caller, path, top="5") == (400, "UnknownError", message)
        assert caller.graph(path, top="5").status_code == 200


def test_a_next_link_can_lack_its_token(caller: Caller) -> None:
    """It cannot be followed, however often one tries; a new walk can."""
    caller.cloud.fail("graph", "empty_skip_token")
    link = caller.graph(PROVISIONING, top="5").json()["@odata.nextLink"]
    assert link.endswith("&$skiptoken=")
    for _ in range(2):
        assert error(caller, link) == (400, "UnknownError", "Invalid Skip Token, skip token is null")
    assert len(caller.found(PROVISIONING, top="50")) == len(caller.cloud.records("provisioning"))


def test_a_token_can_expire_in_the_middle_of_a_walk(caller: Caller) -> None:
    """The page comes with a new one."""
    link = caller.graph(SIGN_INS, top="5").json()["@odata.nextLink"]
    caller.cloud.expire_tokens()
    assert error(caller, link)[:2] == (401, "InvalidAuthenticationToken")
    fresh = Caller(caller.cloud)
    assert fresh.graph(link).status_code == 200
    fresh.session.close()
