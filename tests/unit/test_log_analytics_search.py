"""The search API of 2015: begun, waited for, never taken for done, searched in halves where it cut off."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.errors import DeadlineError, DeniedError, ExportError, ProtocolError, ServiceError
from shared.model import ApiName, Batch, Reading, Request, Response, Send, Window
from shared.sources.log_analytics_search import TYPE, LogAnalyticsSearch, Options
from shared.windows import HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.parts.fakes import FakeClock
from tests.unit.fakes import ListSend, service_error, tools

TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
RESOURCE = (
    "/subscriptions/12345678-1234-1234-1234-123456789abc/resourceGroups/logs_(1)"
    "/providers/Microsoft.OperationalInsights/workspaces/contoso-logs"
)
OPTIONS = Options(resource=RESOURCE, query="Type=Event", top=100)
SEARCH = f"{RESOURCE}/search"
VERSION = "?api-version=2015-11-01-preview"
KEY = "d66b5275-0000-0000-0000-000000000000|10.1.0.7|2017-09-27T10-30-38Z"
KEY_IN_PATH = "d66b5275-0000-0000-0000-000000000000%7C10.1.0.7%7C2017-09-27T10-30-38Z"


def row(tick: int, **more: Any) -> dict[str, Any]:
    """Build a row as the service answers it."""
    time = format_instant(tick)[:-1].rstrip("0").rstrip(".").ljust(19, "0") + "Z"
    return {"TimeGenerated": time, "id": "4668cfe7", "__metadata": {"Type": "Event"}, **more}


def done(*rows: object, **metadata: Any) -> dict[str, Any]:
    """Build a finished search."""
    about = {"resultType": "raw", "total": len(rows), "top": 100, "Status": "Successful", **metadata}
    return {"id": f"{SEARCH[1:]}/{KEY}", "__metadata": about, "value": list(rows)}


def pending(*rows: object) -> dict[str, Any]:
    """Build a search that is not done, and shows some rows all the same."""
    return done(*rows, Status="Pending")


def batches(
    send: Send, options: Options = OPTIONS, window: Window = WINDOW, until: float = 540
) -> list[Batch]:
    """Read a window; ``until`` is its deadline."""
    return list(LogAnalyticsSearch(options, send, FakeClock()).read(Reading(window, until)))


def rows_of(found: Sequence[Batch]) -> list[Any]:
    """Decode the rows of batches."""
    return [json.loads(bytes(each)) for batch in found for each in batch.rows]


def asked(request: Request) -> Any:
    """Decode the body of a request."""
    return json.loads(request.body or b"null")


def test_the_search_is_the_scripts_and_a_second_wider() -> None:
    """The same path, members and form of time; the wider bounds leave out nothing, whatever they include."""
    send = ListSend([done()])
    batches(send)
    (request,) = send.requests
    assert (request.method, request.target, request.deadline) == ("POST", SEARCH + VERSION, 540)
    assert request.headers == {"Content-Type": "application/json"}
    assert asked(request) == {
        "query": "Type=Event",
        "top": 100,
        "start": "2026-11-21T09:59:59",
        "end": "2026-11-21T11:00:01",
    }


def test_rows_are_cut_to_the_tick_and_kept_as_they_came() -> None:
    """First and last tick are in; the tick before and the end are not. A row keeps its own metadata."""
    inside = [row(TEN, n=1), row(TEN + HOUR - 1)]
    outside = [row(TEN - 1), row(TEN + HOUR)]
    body = json.dumps(done(*outside, *inside)).replace('"n": 1', '"n" :1.10').encode()
    (batch,) = batches(ListSend([body]))
    assert [bytes(each) for each in batch.rows] == [
        json.dumps(inside[0]).replace('"n": 1', '"n" :1.10').encode(),
        json.dumps(inside[1]).encode(),
    ]
    assert list(batch.times) == ["2026-11-21T10:00:00Z", "2026-11-21T10:59:59.9999999Z"]
    assert (batch.columns, batch.answer_bytes, batch.slices, batch.requests) == (None, len(body), 1, 1)


def test_a_pending_search_is_waited_for_and_its_rows_are_not_its_answer() -> None:
    """What is shown early is thrown away, each look waits longer, and the answer is as old as its search."""
    first = Response(202, {"date": "Sat, 21 Nov 2026 12:00:00 GMT"}, json.dumps(pending(row(TEN))).encode())
    late = Response(200, {"date": "Sat, 21 Nov 2026 12:09:00 GMT"}, json.dumps(done(row(TEN + 1))).encode())
    send = ListSend([first, pending(row(TEN)), pending(), pending(row(TEN)), late])
    clock = FakeClock()
    (batch,) = LogAnalyticsSearch(OPTIONS, send, clock).read(Reading(WINDOW, 540))
    assert rows_of([batch]) == [row(TEN + 1)]
    assert (batch.requests, batch.served_at) == (5, parse_instant("2026-11-21T12:00:00"))
    assert clock.sleeps == [1, 1.5, 2.25]


@pytest.mark.parametrize(
    ("id_", "step"),
    [(f"{SEARCH[1:]}/{KEY}", KEY_IN_PATH), (f"/{SEARCH}/{KEY}", KEY_IN_PATH), ("d66b5275", "d66b5275"),
     ("a/b?c#d e", "b%3Fc%23d%20e")],
)  # fmt: skip
def test_the_poll_goes_to_the_last_step_of_the_id(id_: str, step: str) -> None:
    """An id is a name or a path to it; the Location header of recorded answers is no address."""
    headers = {"location": "https://https//management.azure.com/elsewhere"}
    first = Response(200, headers, json.dumps(pending() | {"id": id_}).encode())
    send = ListSend([first, pending() | {"id": "another"}, done()])
    batches(send)
    assert [(each.method, each.target, each.body) for each in send.requests[1:]] == [
        ("POST", f"{SEARCH}/{step}{VERSION}", None)
    ] * 2


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_that_polls_by_get_is_polled_by_get(status: int) -> None:
    """POST is documented and recorded, GET the script's: who refuses the one gets the other from then on."""
    send = ListSend([pending(), service_error(status), pending(), pending(), done(row(TEN))])
    (batch,) = batches(send)
    assert [each.method for each in send.requests] == ["POST", "POST", "GET", "GET", "GET"]
    assert (len(batch.rows), batch.requests) == (1, 5)


def test_a_service_that_knows_neither_method_is_an_error() -> None:
    """Both were refused: the search cannot be read, and nothing says that it will be."""
    send = ListSend([pending(), service_error(405), service_error(404)])
    with pytest.raises(ServiceError) as caught:
        batches(send)
    assert (caught.value.status, len(send.requests)) == (404, 3)


def test_a_search_that_is_gone_is_begun_again() -> None:
    """Unfinished searches are lost after minutes (410): the same time is searched anew."""
    send = ListSend([pending(), service_error(410), pending(), pending(), service_error(410), done(row(TEN))])
    (batch,) = batches(send)
    assert (len(batch.rows), batch.requests) == (1, 6)
    assert len({json.dumps(asked(each)) for each in send.requests if each.body}) == 1


def test_a_search_that_is_always_gone_fails_until_later() -> None:
    """After a few searches the window fails, and the queue may try it again."""
    send = ListSend([pending(), service_error(410)] * 4)
    with pytest.raises(ServiceError) as caught:
        batches(send)
    assert (caught.value.status, caught.value.retryable) == (410, True)
    assert len(send.requests) == 8


def test_a_search_that_cannot_be_begun_is_not_begun_again() -> None:
    """410 to the search itself says that there is no such API any more."""
    with pytest.raises(ServiceError) as caught:
        batches(ListSend([service_error(410)]))
    assert (caught.value.status, caught.value.retryable) == (410, False)


def test_a_search_that_never_ends_ends_at_the_deadline() -> None:
    """The script would have asked for ever."""

    def send(request: Request, /) -> Response:
        del request
        return Response(200, {}, json.dumps(pending()).encode())

    with pytest.raises(DeadlineError, match="pending"):
        batches(send, until=300)


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (done(row(TEN), Status="Error", error={"type": "Oops", "message": "no shard"}), "Oops", "no shard"),
        (done(Status="error") | {"error": {"Code": "Oops", "Message": "no"}}, "Oops", "no"),
        (done(Status="Failed"), "SearchError", "no reason"),
    ],
)
@pytest.mark.parametrize("before", [[], [pending()]], ids=["at once", "after a while"])
def test_a_search_that_failed_is_an_error(
    before: list[object], answer: dict[str, Any], code: str, message: str
) -> None:
    """A 200 that says Error is one, with the type, the message and the request's id; it may pass."""
    answer["__metadata"]["RequestId"] = "r-7"
    with pytest.raises(ServiceError, match=message) as caught:
        batches(ListSend([*before, answer]))
    assert (caught.value.code, caught.value.request_id, caught.value.retryable) == (code, "r-7", True)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"__metadata":{}}', b'{"__metadata":{"Status":"Successful"}}',
     b'{"__metadata":{"Status":5},"value":[]}', b'{"__metadata":{"Status":"Successful"},"value":{}}',
     b'{"tables":[{"columns":[],"rows":[]}]}', b'{"__metadata":{"Status":"Pending"},"value":[]}',
     done(Status="Paused"), done(total=-1), done(row(TEN), total=0), done(total="many"),
     pending() | {"id": "a/"}, pending() | {"id": ""}, pending() | {"id": None}],
    ids=str,
)  # fmt: skip
def test_what_is_no_search_is_refused(answer: object) -> None:
    """Nothing but a search that says that it is done is taken for rows."""
    with pytest.raises(ProtocolError):
        batches(ListSend([answer]))


def test_names_are_read_in_any_case() -> None:
    """The wire, the documentation and Microsoft's client spell the metadata's names differently."""
    camel = {"id": "x", "metaData": {"status": "Successful", "total": 1}, "Value": [row(TEN)]}
    waiting = {"Id": "x", "__Metadata": {"STATUS": "PENDING"}}
    assert rows_of(batches(ListSend([waiting, camel]))) == [row(TEN)]


@pytest.mark.parametrize("row_", [row(TEN, TimeGenerated="yesterday"), [], "x", {"TimeGenerated": 5}])
def test_a_row_that_cannot_be_placed_is_refused(row_: object) -> None:
    """A row whose time is misread would be in no window or in two."""
    with pytest.raises(ProtocolError, match="cannot be placed"):
        batches(ListSend([done(row_)]))


@pytest.mark.parametrize("row_", [{"Computer": "a", "Count": 5}, {"TimeGenerated": None}])
def test_rows_without_a_time_are_refused_with_the_reason(row_: object) -> None:
    """What a measure makes belongs to no window: the query is wrong, and no retry mends it."""
    with pytest.raises(ExportError, match="measure") as caught:
        batches(ListSend([done(row_)]))
    assert not caught.value.retryable


class Service:
    """Holds rows and answers as the service does: both bounds belong to a search, ``top`` cuts it off."""

    def __init__(self, offsets: Sequence[int], most: int = 5000, *, tells: bool = True) -> None:
        self.rows = [row(TEN + offset, n=number) for number, offset in enumerate(offsets)]
        self.most = most
        self.tells = tells
        self.asked: list[Any] = []

    def __call__(self, request: Request, /) -> Response:
        """Answer a search."""
        self.asked.append(asked(request))
        first, last = parse_instant(self.asked[-1]["start"]), parse_instant(self.asked[-1]["end"])
        found = [each for each in self.rows if first <= parse_instant(each["TimeGenerated"]) <= last]
        shown = found[: min(self.most, self.asked[-1]["top"])]
        answer = done(*shown, total=len(found) if self.tells else None)
        return Response(200, {}, json.dumps(answer).encode())


@given(
    st.lists(st.integers(-2 * SECOND, MINUTE + 2 * SECOND), max_size=40), st.integers(8, 20), st.booleans()
)
def test_each_row_is_read_once_however_often_a_window_is_halved(
    offsets: list[int], top: int, tells: bool
) -> None:
    """Side by side, windows hold every row of their time once and no other."""
    seconds = Counter(
        second for offset in offsets for second in range(offset // SECOND - 2, offset // SECOND + 3)
    )
    assume(max(seconds.values(), default=0) < top)  # else a single second may be too full
    service = Service(offsets, tells=tells)
    found = [
        each
        for edges in itertools.pairwise([TEN, TEN + SECOND, TEN + 7 * SECOND, TEN + MINUTE])
        for each in rows_of(batches(service, Options(resource=RESOURCE, top=top), Window(*edges)))
    ]
    expected = [each for each, offset in zip(service.rows, offsets, strict=True) if 0 <= offset < MINUTE]
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(("most", "tells"), [(5000, False), (5000, True), (3, True)])
def test_an_answer_that_may_be_cut_off_is_searched_in_halves(most: int, tells: bool) -> None:
    """A total above the rows, or as many rows as were asked for: neither is all there is for certain."""
    service = Service([5 * MINUTE, 10 * MINUTE, 35 * MINUTE, 50 * MINUTE], most, tells=tells)
    found = batches(service, Options(resource=RESOURCE, top=4))
    assert [len(batch.rows) for batch in found] == [2, 2]
    assert [batch.requests for batch in found] == [2, 1]
    assert [(each["start"][11:], each["end"][11:]) for each in service.asked] == [
        ("09:59:59", "11:00:01"),
        ("09:59:59", "10:30:01"),
        ("10:29:59", "11:00:01"),
    ]


def test_a_second_that_is_too_full_is_an_error_that_says_so() -> None:
    """Shorter than a second no search can be, so nothing of the window is stored."""
    service = Service([SECOND // 2] * 4)
    with pytest.raises(ExportError, match=r"the second 2026-11-21T10:00:00Z.*4 rows.*narrow") as caught:
        batches(service, Options(resource=RESOURCE, top=4))
    assert not caught.value.retryable


def test_a_window_of_very_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window's searches have an end; a shorter window is the answer."""
    monkeypatch.setattr("shared.sources.log_analytics_search.MAX_SLICES", 3)
    service = Service([minute * MINUTE for minute in range(60)])
    with pytest.raises(ExportError, match="more than 3 searches"):
        batches(service, Options(resource=RESOURCE, top=5))


def test_no_permission_disables_the_export_with_what_to_grant() -> None:
    """403 is not for retries."""
    with pytest.raises(DeniedError, match="Log Analytics Reader"):
        batches(ListSend([service_error(403)]))


def test_total_and_returned_are_logged_as_the_script_printed_them(caplog: pytest.LogCaptureFixture) -> None:
    """Each search says what it matched and what it gave, in the words of the run's summary."""
    caplog.set_level(logging.INFO)
    batches(ListSend([pending(row(TEN)), done(row(TEN), row(TEN))]))
    assert [each.getMessage() for each in caplog.records] == [
        "searched 2026-11-21T10:00:00Z to 2026-11-21T11:00:00Z: total=2 returned=2"
    ]


def test_counting_reads() -> None:
    """Totals are of more than the window, so the rows are counted that lie in it."""
    source = LogAnalyticsSearch(OPTIONS, Service([-1, 0, HOUR - 1, HOUR]), FakeClock())
    assert source.count([WINDOW, Window(TEN + HOUR, TEN + 2 * HOUR)], 540) == [2, 1]


@pytest.mark.parametrize(
    "options",
    [OPTIONS, Options(resource=RESOURCE), Options(resource=RESOURCE.upper()),
     Options(resource=RESOURCE, query="Type=Event A=\"a | measure\" | where B='|top' | Select TimeGenerated"),
     Options(resource=RESOURCE, query="Type=Event A IN {Type=Update | distinct A} | extend B=A | sort A")],
)  # fmt: skip
def test_right_options_have_no_mistakes(options: Options) -> None:
    """Pipes inside texts and inner searches are no commands; ids of resources know no case."""
    assert list(TYPE.check(options)) == []


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (Options(resource="12345678-1234-1234-1234-123456789abc"), "resource"),
        (Options(resource=RESOURCE + "/search"), "resource"),
        (Options(resource=RESOURCE + "?x"), "resource"),
        (Options(resource="https://management.azure.com" + RESOURCE), "resource"),
        (Options(resource=RESOURCE.replace("logs_(1)", "..%2f")), "resource"),
        (Options(resource=RESOURCE, top=1), "top"),
        (Options(resource=RESOURCE, top=5001), "top"),
        (Options(resource=RESOURCE, query=" "), "query"),
        (Options(resource=RESOURCE, query="Type=Event | measure count() by Computer"), "query"),
        (Options(resource=RESOURCE, query="* | where a=b | Top 10"), "query"),
        (Options(resource=RESOURCE, query="* |"), "query"),
    ],
)
def test_each_mistake_names_its_key(options: Options, key: str) -> None:
    """What would ask for something else, or for what no window can be cut from, is refused at the start."""
    assert [found[0] for found in TYPE.check(options)] == [key]


def test_a_name_belongs_to_one_workspace() -> None:
    """Whose rows they are is decided by the workspace; its id knows no case."""
    assert TYPE.identity(OPTIONS, None) == {"workspace": RESOURCE.lower()}
    assert TYPE.identity(Options(resource=RESOURCE.upper()), "t") == TYPE.identity(OPTIONS, None)


def test_the_registry_reads_it_through_resource_manager() -> None:
    """It is Log Analytics', and its rows are not records that change."""
    wanted: list[ApiName] = []
    TYPE.open(OPTIONS, tools(ListSend([]), wanted))
    assert (TYPE.kind, TYPE.union, TYPE.forgets, wanted) == ("log_analytics", False, False, ["arm"])
