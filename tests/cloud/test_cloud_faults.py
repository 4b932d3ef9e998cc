"""Faults on order: each kind does what it says, on the call it is for, and on no other."""

from email.utils import parsedate_to_datetime
from time import time

import pytest
import requests

from tests.cloud.caller import Caller

QUERY = "Event | project TimeGenerated"


@pytest.mark.parametrize("kind", ["400", "429", "500", "502", "503", "504"])
def test_a_status_is_answered_once_and_then_the_service_is_well(caller: Caller, kind: str) -> None:
    """Each API has its own body for it."""
    caller.cloud.fail("log_analytics", kind)
    answer = caller.query(QUERY)
    assert answer.status_code == int(kind)
    assert answer.json()["error"]["code"]
    assert "Retry-After" not in answer.headers
    assert caller.query(QUERY).status_code == 200
    caller.cloud.fail("graph", kind)
    assert caller.audits().json()["error"]["innerError"]["request-id"]
    assert caller.audits().status_code == 200


def test_nth_count_and_path_choose_the_calls(caller: Caller) -> None:
    """From the second call that matches, two in a row; other calls are not counted."""
    caller.cloud.fail("graph", "503", path="TOP=3", nth=2, count=2)
    statuses = [caller.audits(top=top).status_code for top in ("3", "4", "3", "4", "3", "3")]
    assert statuses == [200, 200, 503, 200, 503, 200]


def test_a_fault_without_count_lasts_until_it_is_cleared(caller: Caller) -> None:
    """None is for ever."""
    caller.query(QUERY)  # so that there is a token
    caller.cloud.fail("*", "500", count=None)
    assert [caller.query(QUERY).status_code for _ in range(2)] == [500, 500]
    caller.cloud.clear_faults()
    assert caller.query(QUERY).status_code == 200


def test_retry_after_is_seconds_or_a_date(caller: Caller) -> None:
    """Both forms of the header exist."""
    caller.cloud.fail("log_analytics", "429", retry_after=7)
    caller.cloud.fail("log_analytics", "429", retry_after="date")
    assert caller.query(QUERY).headers["Retry-After"] == "7"
    caller.cloud.clear_faults()
    caller.cloud.fail("log_analytics", "429", retry_after="date")
    date = parsedate_to_datetime(caller.query(QUERY).headers["Retry-After"])
    assert 0 < date.timestamp() - time() <= 2


def test_a_dropped_connection_has_no_answer(caller: Caller) -> None:
    """The client sees the connection end, and the log says so."""
    caller.query(QUERY)
    caller.cloud.fail("log_analytics", "drop")
    with pytest.raises(requests.ConnectionError):
        caller.query(QUERY)
    assert caller.cloud.requests[-1].status == 0


def test_a_truncated_body_ends_in_the_middle(caller: Caller) -> None:
    """The announced length is not reached."""
    caller.query(QUERY)
    caller.cloud.fail("log_analytics", "truncate")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        caller.query(QUERY)
    assert caller.query(QUERY).status_code == 200


def test_a_partial_answer_has_half_of_the_rows(caller: Caller) -> None:
    """Status 200, which a careless client takes for all."""
    caller.cloud.fail("log_analytics", "partial")
    document = caller.query(QUERY).json()
    assert len(document["tables"][0]["rows"]) == 10
    assert document["error"]["code"] == "PartialError"


def test_a_slow_answer_takes_its_time(caller: Caller) -> None:
    """A client's read timeout can be tried on it."""
    caller.cloud.fail("graph", "slow", seconds=0.3)
    start = time()
    assert caller.audits().status_code == 200
    assert time() - start >= 0.3


def test_an_overdue_query_takes_the_time_that_it_may(caller: Caller) -> None:
    """And is a 504 then, once."""
    caller.cloud.fail("log_analytics", "overdue")
    start = time()
    answer = caller.query(QUERY, Prefer="wait=1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "GatewayTimeout")
    assert time() - start >= 1
    assert caller.query(QUERY).status_code == 200


def test_an_expired_token_is_a_401(caller: Caller) -> None:
    """On both APIs, once."""
    caller.cloud.fail("log_analytics", "expired_token")
    assert [caller.query(QUERY).status_code for _ in range(2)] == [401, 200]
    caller.cloud.fail("graph", "expired_token")
    assert [caller.audits().status_code for _ in range(2)] == [401, 200]


def test_a_redirect_keeps_the_target(caller: Caller) -> None:
    """307 to the same path and query at another origin."""
    caller.cloud.fail("graph", "redirect", location="https://elsewhere.example")
    answer = caller.audits(top="5")
    assert answer.status_code == 307
    assert answer.headers["Location"] == "https://elsewhere.example/v1.0/auditLogs/directoryAudits?%24top=5"


def test_next_links_can_be_foreign_or_repeated(caller: Caller) -> None:
    """Traps for a client that follows blindly."""
    caller.cloud.fail("graph", "foreign_next_link", location="https://elsewhere.example")
    assert caller.audits(top="5").json()["@odata.nextLink"].startswith("https://elsewhere.example/v1.0/")
    link = caller.audits(top="5").json()["@odata.nextLink"]
    caller.cloud.fail("graph", "repeated_next_link", path="skiptoken")
    assert caller.call("GET", link, "https://graph.microsoft.com").json()["@odata.nextLink"] == link


def test_a_skip_token_can_become_invalid(caller: Caller) -> None:
    """The service's own error; the walk has to start again."""
    link = caller.audits(top="5").json()["@odata.nextLink"]
    caller.cloud.fail("graph", "invalid_skip_token", path="skiptoken")
    answer = caller.call("GET", link, "https://graph.microsoft.com")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Invalid Skip Token")
    made_up = link.replace(link[-6:], "f_1_5x")
    assert caller.call("GET", made_up, "https://graph.microsoft.com").status_code == 400
    assert caller.audits(skiptoken="").status_code == 400


def test_wrong_content_is_a_web_page(caller: Caller) -> None:
    """Status 200 and HTML, as a proxy might answer."""
    caller.cloud.fail("log_analytics", "wrong_content")
    answer = caller.query(QUERY)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")


def test_entra_id_can_fail_too(caller: Caller) -> None:
    """A transient error in Entra ID's shape."""
    caller.cloud.fail("entra_id", "503", retry_after=1)
    url = f"{caller.cloud.url}/{caller.cloud.tenant_id}/oauth2/v2.0/token"
    answer = caller.session.post(url, data={})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


def test_entra_id_can_lack_a_consent(caller: Caller) -> None:
    """It is refused at the token endpoint, before any API is asked."""
    caller.cloud.fail("entra_id", "missing_consent")
    url = f"{caller.cloud.url}/{caller.cloud.tenant_id}/oauth2/v2.0/token"
    answer = caller.session.post(url, data={})
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (
        400,
        "invalid_grant",
        [65001],
    )


@pytest.mark.parametrize(("api", "kind"), [("grahp", "500"), ("graph", "boom"), ("graph", "partial")])
def test_an_order_with_a_slip_is_refused(caller: Caller, api: str, kind: str) -> None:
    """A fault that never comes would make a test pass for nothing."""
    with pytest.raises(ValueError, match="there are"):
        caller.cloud.fail(api, kind)
