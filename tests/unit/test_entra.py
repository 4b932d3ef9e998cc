"""The Entra source: asked a second wider, cut exactly, every record once."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeniedError, ProtocolError, ServiceError, UnavailableError
from shared.model import ApiName, Reading, Request, Response, Window
from shared.record_log import record_tick
from shared.sources.entra import TYPE, Entra, LogName, Options, first_page
from shared.windows import DAY, HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.parts.fakes import FakeClock
from tests.unit.fakes import ListSend, page, tools
from tests.unit.strategies import ticks

TEN = parse_instant("2026-11-21T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
OPTIONS = Options(log="directoryAudits")


def record(tick: int, id_: str = "a", **more: Any) -> dict[str, Any]:
    """Build a record as Graph answers it."""
    return {"id": id_, "activityDateTime": trimmed(tick), **more}


def trimmed(tick: int) -> str:
    """Write an instant as Graph does: up to seven digits, zeros at the end cut off."""
    return format_instant(tick)[:-1].rstrip("0").rstrip(".").ljust(19, "0") + "Z"


def read(send: ListSend, window: Window = WINDOW) -> list[dict[str, Any]]:
    """Read a window whole."""
    batches = Entra(OPTIONS, send, FakeClock()).read(Reading(window, 99.0))
    return [json.loads(bytes(row)) for batch in batches for row in batch.rows]


def test_the_first_page_is_a_second_wider_on_both_sides() -> None:
    """Only documented operators, the largest page, and bounds that no comparison makes too narrow."""
    target = first_page(OPTIONS, WINDOW.start - SECOND, WINDOW.end)
    assert target == (
        "/v1.0/auditLogs/directoryAudits?$filter=activityDateTime%20ge%202026-11-21T09:59:59Z"
        "%20and%20activityDateTime%20le%202026-11-21T11:00:01Z&$top=1000"
    )
    assert parse_qs(urlsplit(target).query)["$top"] == ["1000"]


def test_the_request_is_patient_and_bounded() -> None:
    """Answers may take minutes; the window's deadline ends all."""
    send = ListSend([page()])
    read(send)
    assert (send.requests[0].method, send.requests[0].wait, send.requests[0].deadline) == ("GET", 300.0, 99.0)


@given(ticks)
def test_a_record_time_is_read_to_the_tick(tick: int) -> None:
    """Cut-off zeros change nothing: the text order that they break decides nowhere."""
    assert record_tick(trimmed(tick)) == record_tick(format_instant(tick)) == tick


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21T10:00:00", "2026-11-21 10:00:00Z", "2026-11-21T10:00:00.12345678Z",
     "2026-11-21T10:00:00.Z", "2026-11-21T10:00:00+00:00", "2026-11-21T10:00:00z", "2026-02-30T10:00:00Z"],
)  # fmt: skip
def test_any_other_time_is_refused(text: str) -> None:
    """A record whose time is misread would be in no window or in two: the window fails instead."""
    with pytest.raises(ValueError, match=r"."):
        record_tick(text)
    with pytest.raises(ProtocolError, match="cannot be placed"):
        read(ListSend([page({"id": "a", "activityDateTime": text})]))


@pytest.mark.parametrize("odd", [{}, {"id": "a"}, {"id": None, "activityDateTime": trimmed(TEN)}, [], "x", 5])
def test_what_is_not_a_record_is_refused(odd: object) -> None:
    """A record without id or time fails the window."""
    with pytest.raises(ProtocolError, match="cannot be placed"):
        read(ListSend([page(odd)]))


@given(st.lists(st.integers(-2 * SECOND, MINUTE + 2 * SECOND), unique=True, max_size=20), st.integers(1, 5))
def test_each_record_is_in_just_one_of_neighbouring_windows(offsets: list[int], per_page: int) -> None:
    """Read side by side, windows hold every record of their time once and no other, to the tick."""
    records = [record(TEN + offset, str(offset)) for offset in offsets]
    pages = [records[start : start + per_page] for start in range(0, len(records), per_page)] or [[]]
    answers = [
        page(*each, link=f"https://x/{i}" if i < len(pages) - 1 else None) for i, each in enumerate(pages)
    ]
    edges = [TEN, TEN + SECOND, TEN + 2 * SECOND, TEN + MINUTE]
    found = [
        found
        for start, end in itertools.pairwise(edges)
        for found in read(ListSend(answers), Window(start, end))
    ]
    expected = [each for each, offset in zip(records, offsets, strict=True) if 0 <= offset < MINUTE]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_edges_to_the_tick() -> None:
    """The first tick is in, the last tick is in, one tick before and the end itself are not."""
    inside = [record(TEN, "first"), record(TEN + HOUR - 1, "last")]
    outside = [record(TEN - 1, "before"), record(TEN + HOUR, "end")]
    assert read(ListSend([page(*outside, *inside)])) == inside


def test_a_record_shown_twice_is_kept_once() -> None:
    """Pages that move under the walk repeat records, on one page or over the pages' edge."""
    one = record(TEN)
    assert read(ListSend([page(one, one, link="https://x/2"), page(one)])) == [one]


def test_one_id_with_two_contents_is_kept_twice() -> None:
    """Which of two different records is the right one is not ours to decide."""
    two = [record(TEN, result="success"), record(TEN, result="failure")]
    assert read(ListSend([page(*two)])) == two


def test_what_was_seen_is_forgotten_with_the_walk() -> None:
    """A source reads a window again whole."""
    source = Entra(OPTIONS, ListSend([page(record(TEN)), page(record(TEN))]), FakeClock())
    assert [len(batch.rows) for _ in range(2) for batch in source.read(Reading(WINDOW, 99.0))] == [1, 1]


def test_records_are_untouched_and_counted() -> None:
    """Each page is a batch with the raw records, their times, its size; the pages of a walk are one slice."""
    raw = b'{"id":"a" ,"activityDateTime":"2026-11-21T10:00:00.5Z","n":1.10}'
    bodies = [b'{"value":[' + raw + b'],"@odata.nextLink":"https://x/2"}', b'{"value":[]}']
    batches = list(Entra(OPTIONS, ListSend(bodies), FakeClock()).read(Reading(WINDOW, 99.0)))
    assert [bytes(row) for batch in batches for row in batch.rows] == [raw]
    assert [list(batch.times) for batch in batches] == [["2026-11-21T10:00:00.5Z"], []]
    assert [(batch.slices, batch.requests, batch.answer_bytes) for batch in batches] == [
        (1, 1, len(bodies[0])),
        (0, 1, len(bodies[1])),
    ]


WALK = "https://graph.example/next"


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (Options(log="signIns"),
         "/v1.0/auditLogs/signIns?$filter=createdDateTime ge FROM and createdDateTime le UNTIL&$top=1000"),
        (Options(log="signIns", events="interactive"),
         "/v1.0/auditLogs/signIns?$filter=createdDateTime ge FROM and createdDateTime le UNTIL&$top=1000"),
        (Options(log="signIns", events="nonInteractive", filter="appId eq 'a b'"),
         ("/beta/auditLogs/signIns?$filter=createdDateTime ge FROM and createdDateTime le UNTIL"
         " and signInEventTypes/any(t: t eq 'nonInteractiveUser') and (appId eq 'a b')&$top=1000")),
        (Options(log="signIns", events="servicePrincipal"),
         ("/beta/auditLogs/signIns?$filter=createdDateTime ge FROM and createdDateTime le UNTIL"
         " and signInEventTypes/any(t: t eq 'servicePrincipal')&$top=1000")),
        (Options(log="signIns", events="managedIdentity"),
         ("/beta/auditLogs/signIns?$filter=createdDateTime ge FROM and createdDateTime le UNTIL"
         " and signInEventTypes/any(t: t eq 'managedIdentity')&$top=1000")),
        (Options(log="provisioning"),
         ("/v1.0/auditLogs/provisioning"
          "?$filter=activityDateTime gt FROM and activityDateTime lt UNTIL&$top=1000")),
        (Options(log="riskDetections"),
         ("/v1.0/identityProtection/riskDetections"
         "?$filter=detectedDateTime ge FROM and detectedDateTime le UNTIL&$top=500")),
    ],
)  # fmt: skip
def test_each_log_is_asked_in_its_own_grammar(options: Options, target: str) -> None:
    """Its path and version, its time, its operators, its page; a user's filter stays inside parentheses."""
    asked = unquote(first_page(options, WINDOW.start - SECOND, WINDOW.end))
    assert asked == target.replace("FROM", "2026-11-21T09:59:59Z").replace("UNTIL", "2026-11-21T11:00:01Z")


@pytest.mark.parametrize(
    ("log", "time", "pace"),
    [
        ("directoryAudits", "activityDateTime", "graph_reports"),
        ("signIns", "createdDateTime", "graph_reports"),
        ("provisioning", "activityDateTime", "graph_reports"),
        ("riskDetections", "detectedDateTime", "graph_identity_protection"),
    ],
)
def test_each_log_has_its_time_and_its_rate(log: LogName, time: str, pace: str) -> None:
    """A record is placed by its log's own time, and asked for at the endpoint's own rate."""
    mine, other = ({"id": id_, time: trimmed(tick)} for id_, tick in (("a", TEN), ("b", TEN - 1)))
    send = ListSend([page(mine, other)])
    batches = list(Entra(Options(log=log), send, FakeClock()).read(Reading(WINDOW, 99.0)))
    assert [json.loads(bytes(row)) for batch in batches for row in batch.rows] == [mine]
    assert [request.pace for request in send.requests] == [pace]


def refused(status: int, code: str, message: str = "no") -> ServiceError:
    """Build a refusal of Graph's."""
    return ServiceError(
        "Microsoft Graph", status=status, code=code, message=message, request_id=None, retryable=False
    )


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("directoryAudits", ["AuditLog.Read.All"]),
        ("signIns", ["AuditLog.Read.All", "P1 or P2"]),
        ("provisioning", ["AuditLog.Read.All"]),
        ("riskDetections", ["IdentityRiskEvent.Read.All", "P1 or P2"]),
    ],
)
def test_a_refusal_says_what_to_grant_or_buy(log: LogName, words: list[str]) -> None:
    """Whoever reads it can mend it."""
    send = ListSend([refused(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant")])
    with pytest.raises(DeniedError) as caught:
        list(Entra(Options(log=log), send, FakeClock()).read(Reading(WINDOW, 99.0)))
    assert all(word in str(caught.value) for word in words)
    assert not caught.value.retryable


def test_what_is_refused_now_and_then_is_asked_again_first() -> None:
    """A licensed tenant gets the licence error too, and any the two errors of the query engine."""
    send = ListSend([page()])
    read(send)
    assert {"Authentication_RequestFromNonPremiumTenantOrB2CTenant", "Unsupported Query"} <= set(
        send.requests[0].doubtful
    )


@pytest.mark.parametrize("message", ["Invalid Skip Token", "Invalid Skip Token, skip token is null"])
def test_a_walk_that_breaks_off_begins_again(message: str) -> None:
    """A link that Graph itself refuses costs a walk, and no record comes twice or is missed."""
    one, two = record(TEN, "1"), record(TEN + 1, "2")
    broken = refused(400, "UnknownError", message)
    send = ListSend([page(one, link=WALK), broken, page(one, link=WALK), page(two)])
    assert read(send) == [one, two]
    assert [request.target == WALK for request in send.requests] == [False, True, False, True]


def test_a_walk_that_always_breaks_off_is_an_error() -> None:
    """After four walks the window fails, for the queue to bring it back."""
    broken = refused(400, "UnknownError", "Invalid Skip Token")
    send = ListSend([page(record(TEN), link=WALK), broken] * 4)
    with pytest.raises(ServiceError) as caught:
        read(send)
    assert caught.value.retryable


def test_what_lies_on_the_floor_cannot_be_asked_for_with_gt() -> None:
    """Provisioning knows no "or equal", so the floor's own second is recorded as out of reach."""
    floor = refused(400, "BadRequest", "Minimum allowed time for activityDateTime is 11/21/2026 10:00:00 AM")
    with pytest.raises(UnavailableError) as caught:
        list(Entra(Options(log="provisioning"), ListSend([floor]), FakeClock()).read(Reading(WINDOW, 99.0)))
    assert caught.value.floor == TEN + SECOND
    assert read(ListSend([floor, page()])) == []


@pytest.mark.parametrize("status", [400, 501])
def test_another_refusal_within_a_walk_is_what_it_was(status: int) -> None:
    """Only what a new reading mends is said to be mended by it."""
    broken = refused(400, "UnknownError", "Invalid Skip Token")
    send = ListSend([page(record(TEN), link=WALK), broken, refused(status, "Odd")])
    with pytest.raises(ServiceError) as caught:
        read(send)
    assert not caught.value.retryable


def test_a_walk_from_the_floor_can_be_denied_too() -> None:
    """A permission that is taken away between the two walks is a denial, as it is at the first one."""
    floor = refused(400, "BadRequest", "Minimum allowed time for activityDateTime is 11/21/2026 10:00:00 AM")
    with pytest.raises(DeniedError, match=r"AuditLog\.Read\.All"):
        read(ListSend([floor, refused(403, "Authentication_MSGraphPermissionMissing")]))


class Floored:
    """Graph with a floor (ticks) that it does not name, and odd answers by their number, from 0."""

    def __init__(self, floor: int, odd: Mapping[int, Exception] | None = None) -> None:
        self.floor = floor
        self.odd = odd or {}
        self.asked: list[int] = []

    def __call__(self, request: Request, /) -> Response:
        """Refuse a filter that names a time below the floor."""
        times = re.findall(r"[gl][et] (\S+Z)", unquote(request.target))
        self.asked.append(parse_instant(times[0]))
        if len(self.asked) - 1 in self.odd:
            raise self.odd[len(self.asked) - 1]
        if min(map(parse_instant, times)) < self.floor:
            raise refused(400, "BadRequest", "Invalid filter clause")
        return Response(200, {}, b'{"value":[]}')


OLD = parse_instant("2026-10-22T00:00:00")
WEEK = Window(OLD, OLD + 7 * DAY)


def floor_of(send: Floored, window: Window, log: LogName = "signIns") -> int | None:
    """Read a window; return the floor (ticks) that it is said to lie below, None where it is read."""
    try:
        list(Entra(Options(log=log), send, FakeClock()).read(Reading(window, 99.0)))
    except UnavailableError as error:
        return error.floor
    return None


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("Minimum allowed time for activityDateTime is 10/22/2026 12:00:00 AM", 0),
        ("Invalid filter clause", 2),
    ],
)
def test_a_floor_that_moves_under_a_walk_doubles_no_record(message: str, asked: int) -> None:
    """What was yielded would come again from the floor on: the window fails, and the queue brings it back."""
    records = [record(OLD + second * SECOND, str(second)) for second in range(2)]
    refusals = [refused(400, "BadRequest", message) for _ in range(2)]
    send = ListSend([page(*records, link=WALK), *refusals, *[page()] * asked, page(*records)])
    batches = Entra(OPTIONS, send, FakeClock()).read(Reading(Window(OLD, OLD + HOUR), 99.0))
    found: list[object] = []
    with pytest.raises(ServiceError) as caught:
        found.extend(json.loads(bytes(row)) for batch in batches for row in batch.rows)
    assert caught.value.retryable
    assert found == records


@pytest.mark.parametrize("log", ["signIns", "provisioning"])
@pytest.mark.parametrize("days", range(-1, 9))
def test_a_floor_that_is_not_named_is_found_among_the_windows_midnights(log: LogName, days: int) -> None:
    """What is refused is out of reach, and what is answered is read; a few questions tell which is which."""
    own = SECOND if log == "provisioning" else 0  # it cannot be asked for what lies on the floor itself
    send = Floored(OLD + days * DAY)
    if days < 0 or (days == 0 and not own):
        assert floor_of(send, WEEK, log) is None
    else:
        assert floor_of(send, WEEK, log) == OLD + min(days, 7) * DAY + own
    assert len(send.asked) <= 7


def test_an_hour_below_a_floor_that_is_not_named_costs_three_questions() -> None:
    """The walk, a recent hour, and the window's own start once more."""
    send = Floored(OLD + DAY)
    assert floor_of(send, Window(OLD, OLD + HOUR)) == OLD + HOUR
    assert send.asked == [OLD - SECOND, FakeClock().now() - HOUR, OLD]


def test_a_wrong_filter_is_not_taken_for_a_floor() -> None:
    """A recent hour is refused as well, so the time is not what is wrong, and nothing is said to be gone."""
    send = Floored(FakeClock().now())
    with pytest.raises(ServiceError, match="Invalid filter clause"):
        floor_of(send, WEEK)
    assert len(send.asked) == 2


def test_a_filter_whose_mistake_is_named_is_not_asked_again() -> None:
    """Graph says what is wrong with it."""
    named = "Invalid filter clause: Could not find a property named 'x' on type 'microsoft.graph.signIn'."
    send = Floored(0, {0: refused(400, "BadRequest", named)})
    with pytest.raises(ServiceError, match="named 'x'"):
        floor_of(send, WEEK)
    assert len(send.asked) == 1


def test_what_no_tenant_forgets_is_never_said_to_be_gone() -> None:
    """Of the last days a refusal is a failure, to be tried again, whatever a recent hour is answered."""
    young = Window(TEN - 5 * DAY, TEN - 5 * DAY + HOUR)
    send = Floored(TEN - DAY)
    with pytest.raises(ServiceError, match="Invalid filter clause"):
        floor_of(send, young)
    assert len(send.asked) == 1


def test_a_refusal_that_passes_costs_no_time() -> None:
    """The window's start is answered when it is asked for again, so the window is read."""
    send = Floored(0, {0: refused(400, "BadRequest", "Invalid filter clause")})
    assert floor_of(send, Window(OLD, OLD + HOUR)) is None
    assert send.asked == [OLD - SECOND, FakeClock().now() - HOUR, OLD, OLD]


def test_a_refusal_that_passes_on_the_way_to_the_floor_is_no_floor() -> None:
    """A day that is refused once, among days that are answered, fails the window, and none is lost."""
    passing = refused(400, "BadRequest", "Invalid filter clause")
    with pytest.raises(ServiceError, match="Invalid filter clause"):
        floor_of(Floored(0, {0: passing, 2: passing}), WEEK)


@pytest.mark.parametrize("nth", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("status", "code", "message"), [(400, "UnknownError", "Unsupported Query"), (503, "Busy", "later")]
)
def test_no_other_error_says_that_time_is_gone(nth: int, status: int, code: str, message: str) -> None:
    """Whenever it comes it fails the window, for the queue to bring it back."""
    with pytest.raises(ServiceError, match=message):
        floor_of(Floored(OLD + 3 * DAY, {nth: refused(status, code, message)}), WEEK)


def test_questions_for_the_floor_wait_their_turn_and_know_the_deadline() -> None:
    """They count against the rate like any other, and carry the export's whole filter."""
    asked: list[Request] = []
    graph = Floored(OLD + 3 * DAY)

    def send(request: Request, /) -> Response:
        asked.append(request)
        return graph(request)

    options = Options(log="signIns", filter="appId eq 'a'")
    with pytest.raises(UnavailableError, match="of a recent hour the same filter is answered"):
        list(Entra(options, send, FakeClock()).read(Reading(WEEK, 99.0)))
    assert {(each.pace, each.deadline) for each in asked} == {("graph_reports", 99.0)}
    assert all("(appId eq 'a')" in unquote(each.target) for each in asked)


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        (Options(log="directoryAudits", events="interactive"), "events", "only signIns"),
        (Options(log="signIns", filter="a eq 'b') or (c eq 'd'"), "filter", "closes nothing"),
        (Options(log="signIns", filter="a eq 'b"), "filter", "at character"),
        (Options(log="signIns", filter="a eq 1&$top=1"), "filter", "at character"),
        (Options(log="signIns", filter=" "), "filter", "nothing"),
        (Options(log="signIns", filter="createdDateTime ge 2026-01-01"), "filter", "createdDateTime"),
        (Options(log="signIns", filter="signInEventTypes/any(t: t eq 'x')"), "filter", "signInEventTypes"),
    ],
)
def test_mistakes_in_the_options(options: Options, key: str, words: str) -> None:
    """Each names its key and what is wrong with it."""
    ((found_key, found, expected),) = TYPE.check(options)
    assert found_key == key
    assert words in f"{found} {expected}"


def test_a_right_filter_is_accepted() -> None:
    """Also one with words in strings that are no names, and a quote within."""
    options = Options(log="signIns", filter="startswith(appDisplayName, 'createdDateTime (it''s')")
    assert list(TYPE.check(options)) == []


def test_each_kind_of_sign_in_is_data_of_its_own() -> None:
    """One name never comes to hold two kinds of event; saying the default changes nothing."""
    assert TYPE.identity(Options(log="signIns"), "T")["events"] == "interactive"
    assert TYPE.identity(Options(log="signIns", events="interactive"), "T") == TYPE.identity(
        Options(log="signIns"), "T"
    )
    assert TYPE.identity(Options(log="signIns", events="managedIdentity"), "T")["events"] == "managedIdentity"


def test_identity_is_the_tenant_and_the_log() -> None:
    """A name belongs to one tenant's log; without a tenant it belongs to nobody, and the setting is named."""
    assert TYPE.identity(OPTIONS, "ABC") == {"tenant": "abc", "log": "directoryAudits"}
    with pytest.raises(ValueError, match="AZURE_TENANT_ID"):
        TYPE.identity(OPTIONS, None)


def test_the_registry_knows_that_graph_forgets() -> None:
    """Graph drops records after days, so the planner must know; and reading goes through Graph."""
    asked: list[ApiName] = []
    TYPE.open(OPTIONS, tools(ListSend([]), asked))
    assert (TYPE.kind, TYPE.forgets, asked, list(TYPE.check(OPTIONS))) == ("entra", True, ["graph"], [])
