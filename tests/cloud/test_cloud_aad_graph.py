"""Azure AD Graph's activity reports over the wire: pages, filters, versions and errors."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.cloud import Cloud, Limits, Options
from local.cloud.aad_graph import is_of_a_user
from local.cloud.dataset import DOMAIN
from tests.cloud.caller import END, Caller

RESOURCE = "https://graph.windows.net"
AUDIT = f"/{DOMAIN}/activities/audit"
SIGN_INS = f"/{DOMAIN}/activities/signinEvents"
NAMESPACE = "Microsoft.ActiveDirectory.DataService.PublicApi.Model.Reporting.AuditLog"


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """A plain client of a stand-in whose pages have 30 records."""
    options = Options(events=1, audits=1, activities=100, end=END, limits=Limits(activity_page=30))
    with Cloud(options, tmp_path) as running:
        client = Caller(running)
        yield client
        client.session.close()


def ask(caller: Caller, path: str = AUDIT, **options: str) -> requests.Response:
    """Ask for a page; option names are given without their dollar."""
    named = {"api-version": "beta"} | {f"${name}": value for name, value in options.items()}
    return caller.call("GET", path, RESOURCE, params=named)


def walk(caller: Caller, path: str = AUDIT, **options: str) -> list[list[dict[str, Any]]]:
    """Every page of a walk that succeeds."""
    answer = ask(caller, path, **options)
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["value"])
        if "@odata.nextLink" not in answer.json():
            return pages
        answer = caller.call("GET", answer.json()["@odata.nextLink"], RESOURCE)


def found(caller: Caller, path: str, **options: str) -> list[dict[str, Any]]:
    """Every record of a walk that succeeds."""
    return [record for page in walk(caller, path, **options) for record in page]


@pytest.mark.parametrize("report", ["audit", "signinEvents"])
def test_a_walk_gives_every_record_once_newest_first(caller: Caller, report: str) -> None:
    """By the tenant's name as by its id."""
    for tenant in (DOMAIN, caller.cloud.tenant_id):
        pages = walk(caller, f"/{tenant}/activities/{report}")
        assert [len(page) for page in pages] == [30, 30, 30, 10]
        assert [record for page in pages for record in page] == caller.cloud.activities(report)


def test_a_page_has_a_thousand_records_at_most(tmp_path: Path) -> None:
    """That is the documented batch."""
    with Cloud(Options(events=1, audits=1, activities=1_001, end=END), tmp_path) as cloud:
        client = Caller(cloud)
        assert [len(page) for page in walk(client)] == [1_000, 1]
        client.session.close()


def test_next_links_keep_the_version_and_have_a_negative_token(caller: Caller) -> None:
    """And ask the same origin; a page asked twice is the same, although records came meanwhile."""
    link = ask(caller).json()["@odata.nextLink"]
    start, _, token = link.partition("&%24skiptoken=")
    assert start == f"{caller.cloud.url}{AUDIT}?api-version=beta"
    assert int(token) < 0
    first = caller.call("GET", link, RESOURCE).json()
    caller.cloud.add_activities("audit", [{"id": "new"}])
    assert caller.call("GET", link, RESOURCE).json() == first


def test_top_ends_the_whole_walk(caller: Caller) -> None:
    """It is no page size in this API."""
    assert [len(page) for page in walk(caller, top="45")] == [30, 15]
    assert ask(caller, top="0").status_code == 400


def test_sign_ins_end_at_a_million_without_a_word(caller: Caller) -> None:
    """Audits do not; the number is smaller here."""
    caller.cloud.set_limits(signin_events=70)
    assert [len(page) for page in walk(caller, SIGN_INS)] == [30, 30, 10]
    assert len(found(caller, AUDIT)) == 100


@pytest.mark.parametrize(
    ("operator", "ids"), [("eq", "b"), ("ge", "bc"), ("gt", "c"), ("le", "ab"), ("lt", "a")]
)
@pytest.mark.parametrize(("report", "time"), [("audit", "activityDate"), ("signinEvents", "signinDateTime")])
def test_the_five_operators_compare_to_the_tick(
    caller: Caller, report: str, time: str, operator: str, ids: str
) -> None:
    """With a bare date."""
    tails = {"a": "1234566", "b": "1234567", "c": "1234568"}
    times = {id_: f"2016-01-01T10:00:00.{tail}Z" for id_, tail in tails.items()}
    caller.cloud.add_activities(report, [{"id": id_, time: stamp} for id_, stamp in times.items()])
    path = f"/{DOMAIN}/activities/{report}"
    near = f"{time} lt 2016-01-02T00:00:00Z and {time} {operator} {times['b']}"
    assert "".join(sorted(each["id"] for each in found(caller, path, filter=near))) == ids


def test_the_original_scripts_filters_work(caller: Caller) -> None:
    """A second's precision with ``gt``, and a date alone."""
    since = "2026-11-18"
    expected = [each for each in caller.cloud.activities("audit") if each["activityDate"] > since]
    assert 0 < len(expected) < 100
    assert found(caller, AUDIT, filter=f"activityDate gt {since}T00:00:00Z") == expected
    assert found(caller, AUDIT, filter=f"activityDate gt {since}") == expected


def upn(entity: dict[str, Any]) -> str:
    """Whom an actor or a target is."""
    return str(entity["userPrincipalName"])


@pytest.mark.parametrize(
    ("path", "text", "matches"),
    [
        (AUDIT, "category eq 'SSGM'", lambda each: each["category"] == "SSGM"),
        (AUDIT, "activityStatus eq -1", lambda each: each["activityResultStatus"] == "Failure"),
        (AUDIT, "activityType eq 'Group'", lambda each: each["activityType"] == "Group"),
        (
            AUDIT,
            "activity eq 'Import' or contains(activity, 'application') or startsWith(activity, 'Add')",
            lambda each: (
                each["activity"] == "Import"
                or "application" in each["activity"]
                or each["activity"].startswith("Add")
            ),
        ),
        (
            AUDIT,
            f"startswith(actor/{NAMESPACE}.ActorUserEntity/userPrincipalName,'SILE')",
            lambda each: upn(each["actor"]).startswith("sile"),
        ),
        (
            AUDIT,
            f"targets/any(t: startswith(t/{NAMESPACE}.TargetResourceUserEntity/userPrincipalName,'sile'))",
            lambda each: any(upn(target).startswith("sile") for target in each["targets"]),
        ),
        (SIGN_INS, "loginStatus eq '1'", lambda each: each["loginStatus"] == "Failure"),
        (SIGN_INS, "appDisplayName eq 'Azure Portal'", lambda each: each["appDisplayName"] == "Azure Portal"),
    ],
)
def test_documented_filters_let_through_what_they_say(
    caller: Caller, path: str, text: str, matches: Any
) -> None:
    """Users' names whatever their case, and only with the long cast."""
    expected = [each for each in caller.cloud.activities(path.rpartition("/")[2]) if matches(each)]
    assert 0 < len(expected) < 100
    assert found(caller, path, filter=text) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (AUDIT, "activityDate gt '2026-11-18T00:00:00Z'"),
        (AUDIT, "activityDate gt 2026-11-18T00:00:00"),
        (AUDIT, "eventTime gt 2026-11-18T00:00:00Z"),
        (AUDIT, "category ne 'SSGM'"),
        (AUDIT, "startswith(actor/userPrincipalName,'sile')"),
        (AUDIT, "startswith(actor/castUserPrincipalName,'sile')"),
        (AUDIT, "signinDateTime gt 2026-11-18T00:00:00Z"),
        (SIGN_INS, "activityDate gt 2026-11-18T00:00:00Z"),
        (SIGN_INS, "loginStatus eq 1"),
    ],
)
def test_other_filters_are_refused(caller: Caller, path: str, text: str) -> None:
    """Quoted dates, dates without a zone, operators and properties that no page names, users without cast."""
    answer = ask(caller, path, filter=text)
    assert answer.status_code == 400
    assert answer.json()["odata.error"]["code"] == "Request_BadRequest"


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "Request_DataContractVersionMissing"), ("?api-version=1.6", "Request_InvalidDataContractVersion")],
)
def test_the_version_is_needed_and_is_beta(caller: Caller, query: str, code: str) -> None:
    """In the envelope of that API."""
    answer = caller.call("GET", AUDIT + query, RESOURCE)
    assert answer.status_code == 400
    error = answer.json()["odata.error"]
    assert error["code"] == code
    assert set(error["message"]) == {"lang", "value"}


def test_tokens_of_apps_are_refused_in_tenants_of_the_eu(caller: Caller) -> None:
    """The known issue of the samples, as a switch."""
    caller.cloud.set_limits(aad_graph_app_tokens=False)
    answer = ask(caller)
    assert answer.status_code == 403
    assert answer.json()["odata.error"]["code"] == "Authorization_RequestDenied"


def test_errors_are_told_apart(caller: Caller) -> None:
    """Another tenant, another audience, no token, a token that expired, a page that is gone, a method."""
    assert ask(caller, "/other.example/activities/audit").status_code == 404
    wrong = caller.call("GET", f"{AUDIT}?api-version=beta", "https://graph.microsoft.com")
    assert wrong.json()["odata.error"]["code"] == "Authentication_MissingOrMalformed"
    bare = caller.session.get(f"{caller.cloud.url}{AUDIT}?api-version=beta", timeout=30)
    assert bare.status_code == 401
    assert ask(caller, skiptoken="-1").json()["odata.error"]["code"] == "Directory_ExpiredPageToken"
    assert ask(caller, orderby="activityDate").status_code == 400
    assert caller.call("POST", f"{AUDIT}?api-version=beta", RESOURCE).status_code == 405
    caller.cloud.expire_tokens()
    assert ask(caller).json()["odata.error"]["code"] == "Authentication_ExpiredToken"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("403", 403, "Authorization_RequestDenied"),
        ("429", 429, "Request_ThrottledTemporarily"),
        ("503", 503, "Service_ServiceUnavailable"),
        ("expired_token", 401, "Authentication_ExpiredToken"),
        ("invalid_skip_token", 400, "Directory_ExpiredPageToken"),
        ("retired", 403, "Authentication_Unauthorized"),
    ],
)
def test_faults_come_in_the_apis_own_words(caller: Caller, kind: str, status: int, code: str) -> None:
    """Once, and then all is well again."""
    caller.cloud.fail("aad_graph", kind, retry_after=3)
    answer = ask(caller)
    assert (answer.status_code, answer.json()["odata.error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (kind in ("429", "503"))
    assert ask(caller).status_code == 200


def test_next_links_can_be_hostile(caller: Caller) -> None:
    """To another host, and to the page itself."""
    caller.cloud.fail("aad_graph", "foreign_next_link", location="https://example.org")
    assert ask(caller).json()["@odata.nextLink"].startswith("https://example.org/")
    caller.cloud.fail("aad_graph", "repeated_next_link")
    assert ask(caller).json()["@odata.nextLink"] == f"{caller.cloud.url}{AUDIT}?api-version=beta"


def test_records_are_completed_and_reports_are_two(caller: Caller) -> None:
    """The time in milliseconds is always that of the time."""
    caller.cloud.add_activities("audit", [{"id": "mine", "activityDate": "2030-01-01T00:00:00.0019999Z"}])
    first = caller.cloud.activities("audit")[0]
    assert (first["id"], first["activityDateInMillis"]) == ("mine", 1_893_456_000_001)
    assert first.keys() == caller.cloud.activities("audit")[1].keys()
    with pytest.raises(ValueError, match="no report 'other'"):
        caller.cloud.add_activities("other", [{}])
    with pytest.raises(ValueError, match="no report 'other'"):
        caller.cloud.activities("other")


def test_a_token_is_a_users_only_if_it_has_scopes(caller: Caller) -> None:
    """An app's own has none."""
    head, claims, tail = caller.token(RESOURCE).split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    users = base64.urlsafe_b64encode(json.dumps({**said, "scp": "Directory.Read.All"}).encode()).decode()
    assert not is_of_a_user(f"Bearer {head}.{claims}.{tail}")
    assert is_of_a_user(f"Bearer {head}.{users.rstrip('=')}.{tail}")
