"""The Log Search API over the wire: pending searches, ids, what it finds and how it refuses."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from local.cloud import Cloud, Limits, Options
from local.cloud.legacy_query import parse_conditions
from tests.cloud.caller import END, Caller
from tests.cloud.clock import Clock

ARM = "https://management.azure.com"
VERSION = "?api-version=2015-11-01-preview"


@pytest.fixture
def clock() -> Clock:
    """The stand-in's time."""
    return Clock()


@pytest.fixture
def caller(tmp_path: Path, clock: Clock) -> Iterator[Caller]:
    """A plain client of a stand-in with 60 rows of table Event."""
    options = Options(events=60, audits=1, end=END, limits=Limits(legacy_rate=None), token_seconds=10**9)
    with Cloud(options, tmp_path, clock) as running:
        client = Caller(running)
        yield client
        client.session.close()


def path(caller: Caller) -> str:
    """The path of searches."""
    return f"{caller.cloud.identity.workspace_resource_id}/search"


def search(
    caller: Caller, query: str = "Type=Event", top: int | None = 5_000, **words: Any
) -> requests.Response:
    """Start a search."""
    body = {"query": query, **({} if top is None else {"top": top}), **words}
    return caller.call("POST", path(caller) + VERSION, ARM, json=body)


def poll(caller: Caller, document: dict[str, Any], verb: str = "GET") -> requests.Response:
    """Ask about a search, by the last step of its id."""
    id_ = document["id"].rpartition("/")[2]
    return caller.call(verb, f"{path(caller)}/{quote(id_, safe='')}{VERSION}", ARM)


def over(caller: Caller, query: str = "Type=Event", top: int | None = 5_000, **words: Any) -> dict[str, Any]:
    """A search at its end."""
    answer = search(caller, query, top, **words)
    for _ in range(3):
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        if document["__metadata"]["Status"] == "Successful":
            return document
        answer = poll(caller, document)
    raise AssertionError(document["__metadata"])


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_a_search_is_pending_with_some_rows_and_then_successful_with_all(caller: Caller, verb: str) -> None:
    """Those that come while it is pending are not the answer, though nothing but the status says so."""
    answers = [search(caller)]
    answers += [poll(caller, answers[0].json(), verb) for _ in range(3)]
    states = [each.json()["__metadata"]["Status"] for each in answers]
    assert states == ["Pending", "Pending", "Successful", "Successful"]
    counts = [(each.json()["__metadata"]["total"], len(each.json()["value"])) for each in answers]
    assert counts == [(30, 30), (30, 30), (60, 60), (60, 60)]


def test_metadata_is_as_recorded(caller: Caller, clock: Clock) -> None:
    """With an etag that is the time of the last change in .NET's ticks, and an id without a first slash."""
    document = over(caller, top=7)
    metadata = document["__metadata"]
    assert metadata["resultType"] == "raw"
    assert (metadata["total"], metadata["top"], len(document["value"])) == (60, 7, 7)
    assert metadata["sort"] == [{"name": "TimeGenerated", "order": "desc"}]
    assert metadata["StartTime"] == metadata["LastUpdated"] == "2026-11-21T12:00:00Z"
    assert metadata["ETag"] == str(621_355_968_000_000_000 + int(clock.now) * 10**7)
    assert document["id"].startswith("subscriptions/")


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("pipes", r"subscriptions/.+/search/[0-9a-f-]{36}\|10\.1\.0\.7\|2026-11-21T12-00-00Z"),
        ("path", r"subscriptions/.+/search/[0-9a-f-]{36}"),
        ("bare", r"[0-9a-f-]{36}"),
    ],
)
def test_an_id_has_one_of_three_forms(caller: Caller, form: str, pattern: str) -> None:
    """And leads back to the search in each; the Location header never does."""
    caller.cloud.set_limits(legacy_ids=form)
    answer = search(caller)
    assert re.fullmatch(pattern, answer.json()["id"])
    assert answer.headers["Location"].startswith("https://https//127.0.0.1")
    assert poll(caller, answer.json()).status_code == 200


def test_rows_are_newest_first_sparse_and_have_their_own_id(caller: Caller) -> None:
    """What is null or empty is not there at all."""
    caller.cloud.add_rows(
        "Event", [{"TimeGenerated": "2030-01-01T00:00:00Z", "EventID": 4703, "Computer": ""}]
    )
    document = over(caller)
    times = [row["TimeGenerated"] for row in document["value"]]
    assert times == sorted(times, reverse=True)
    first = document["value"][0]
    assert first["__metadata"] == {
        "Type": "Event",
        "TimeGenerated": first["TimeGenerated"],
        "highlighting": {},
    }
    item = caller.cloud.rows("Event")[-1]["_ItemId"]
    assert {name for name in first if name != "__metadata"} == {
        "TenantId",
        "TimeGenerated",
        "EventID",
        "Type",
        "id",
    }
    assert (first["id"], first["EventID"]) == (item, 4703)


def test_ten_rows_come_without_top_and_five_thousand_at_most(caller: Caller) -> None:
    """The total counts all of them, and the number that was asked for is echoed."""
    assert len(over(caller, top=None)["value"]) == 10
    caller.cloud.set_limits(legacy_rows=50)
    document = over(caller, top=10_000)
    assert len(document["value"]) == 50
    assert (document["__metadata"]["total"], document["__metadata"]["top"]) == (60, 10_000)


def test_both_ends_of_the_time_belong_to_a_search(caller: Caller) -> None:
    """To the tick; rows that are not visible yet are not found."""
    times = [f"2025-01-01T10:00:00.{tail}Z" for tail in ("1234566", "1234567", "1234568", "1234569")]
    caller.cloud.add_rows("Event", [{"TimeGenerated": time} for time in times])
    caller.cloud.add_rows("Event", [{"TimeGenerated": times[1]}], visible_at="2026-11-22T00:00:00Z")
    document = over(caller, start=times[1], end=times[2].rstrip("Z"))
    assert [row["TimeGenerated"] for row in document["value"]] == [times[2], times[1]]


def test_a_search_sees_what_there_was_when_it_began(caller: Caller) -> None:
    """Rows that come while it is pending are not in it."""
    pending = search(caller).json()
    caller.cloud.add_rows("Event", [{}])
    poll(caller, pending)
    assert poll(caller, pending).json()["__metadata"]["total"] == 60


@pytest.mark.parametrize("text", ['Computer="new one" AND EventID=7', 'EventID=7 Computer="new one"'])
def test_conditions_are_all_met(caller: Caller, text: str) -> None:
    """Joined by AND or by a blank."""
    caller.cloud.add_rows(
        "Event", [{"Computer": "new one", "EventID": 7}, {"Computer": "new one", "EventID": 8}]
    )
    for query in (f"Type=Event {text}", text):
        assert [row["EventID"] for row in over(caller, query)["value"]] == [7]
    assert over(caller, f"Type=Heartbeat {text}")["value"] == []


def test_a_star_finds_the_rows_of_every_table(caller: Caller) -> None:
    """So rows of one answer have different fields."""
    document = over(caller, "*")
    assert {row["Type"] for row in document["value"]} == {"Event", "Heartbeat", "SigninLogs", "AzureActivity"}


@pytest.mark.parametrize(
    "query",
    ["", "Error", "Type=Event | measure count() by Computer", "Type=Event OR Type=Heartbeat", "EventID>7"],
)
def test_what_is_not_understood_of_the_language_is_refused(caller: Caller, query: str) -> None:
    """Rather than answered in part."""
    with pytest.raises(ValueError, match="cannot be read"):
        parse_conditions(query)
    answer = search(caller, query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BadRequest"


@pytest.mark.parametrize(
    "words",
    [
        {"top": 0},
        {"top": "5"},
        {"start": "yesterday"},
        {"start": "2026-11-22T00:00:00", "end": "2026-11-21T00:00:00"},
    ],
)
def test_other_bodies_are_refused(caller: Caller, words: dict[str, Any]) -> None:
    """A number of rows that is none, a time that is none, and one that ends before it starts."""
    assert search(caller, **words).status_code == 400


def test_a_search_is_gone_after_six_minutes_and_one_that_never_was_pending_at_once(
    caller: Caller, clock: Clock
) -> None:
    """410, as for an id that never was."""
    pending = search(caller).json()
    clock.tick(360)
    assert poll(caller, pending).status_code == 200
    clock.tick(0.1)
    answer = poll(caller, pending)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "Gone")
    caller.cloud.set_limits(legacy_polls=0)
    done = search(caller).json()
    assert done["__metadata"]["Status"] == "Successful"
    assert poll(caller, done).status_code == 410
    assert poll(caller, {"id": "other"}).status_code == 410


@pytest.mark.parametrize(("verbs", "good", "bad"), [("post", "POST", "GET"), ("get", "GET", "POST")])
def test_polling_takes_the_methods_that_a_limit_says(caller: Caller, verbs: str, good: str, bad: str) -> None:
    """POST is documented, GET is what the original script sent."""
    caller.cloud.set_limits(legacy_verbs=verbs)
    pending = search(caller).json()
    assert poll(caller, pending, bad).status_code == 405
    assert poll(caller, pending, good).status_code == 200


def test_each_workspace_has_searches_of_its_own(tmp_path: Path) -> None:
    """With its own rows; one is not to be had through another."""
    options = Options(events=60, audits=1, end=END, workspaces=2)
    with Cloud(options, tmp_path) as cloud:
        client = Caller(cloud)
        first, second = (f"{each}/search" for each in cloud.workspace_resource_ids)
        answer = client.call("POST", second + VERSION, ARM, json={"query": "Type=Event", "top": 60}).json()
        id_ = quote(answer["id"].rpartition("/")[2], safe="")
        assert {row["TenantId"] for row in answer["value"]} == {cloud.workspace_ids[1]}
        assert client.call("GET", f"{second}/{id_}{VERSION}", ARM).status_code == 200
        assert client.call("GET", f"{first}/{id_}{VERSION}", ARM).status_code == 410
        client.session.close()


def test_searches_have_a_rate_that_headers_tell(caller: Caller) -> None:
    """Beyond it 429 with Retry-After; polls do not count."""
    caller.cloud.set_limits(legacy_rate=3, legacy_rate_seconds=600)
    answers = [search(caller) for _ in range(3)]
    assert [each.headers["X-RateLimit-Remaining"] for each in answers] == ["2", "1", "0"]
    assert answers[0].headers["X-RateLimit-Limit"] == "3"
    refused = search(caller)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "600")
    assert poll(caller, answers[0].json()).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status"), [("gone", 410), ("403", 403), ("429", 429), ("503", 503), ("expired_token", 401)]
)
def test_faults_come_in_resource_managers_words(caller: Caller, kind: str, status: int) -> None:
    """While polling, once."""
    pending = search(caller).json()
    caller.cloud.fail("resource_manager", kind, path="/search/")
    answer = poll(caller, pending)
    assert (answer.status_code, set(answer.json()["error"])) == (status, {"code", "message"})
    assert poll(caller, pending).status_code == 200


def test_a_search_can_end_with_an_error(caller: Caller) -> None:
    """Status 200, no rows, and the type and the message of what went wrong."""
    pending = search(caller).json()
    caller.cloud.fail("resource_manager", "search_error", path="/search/")
    document = poll(caller, pending).json()
    assert document["__metadata"]["Status"] == "Error"
    assert document["value"] == []
    assert set(document["error"]) == {"type", "message"}


def test_tokens_versions_and_workspaces_are_checked(caller: Caller) -> None:
    """The path is good in any case, and so is the older version and the older audience."""
    good = path(caller)
    body = {"query": "*"}
    for url in (
        good.lower() + VERSION,
        good.replace("resourceGroups", "resourcegroups") + "?api-version=2015-03-20",
    ):
        assert caller.call("POST", url, "https://management.core.windows.net/", json=body).status_code == 200
    assert caller.call("POST", good, ARM, json=body).status_code == 400
    assert caller.call("POST", f"{good}?api-version=2020-08-01", ARM, json=body).status_code == 400
    assert caller.call("POST", good.replace("stand-in", "other") + VERSION, ARM, json=body).status_code == 404
    wrong = caller.call("POST", good + VERSION, "https://api.loganalytics.io", json=body)
    assert wrong.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"
    assert caller.call("GET", good + VERSION, ARM).status_code == 405
    assert caller.call("POST", good + VERSION, ARM, json={"top": 1}).status_code == 400
