"""The audit search: begun once, found again, halved where it is cut off, cut exactly, bounded."""

from __future__ import annotations

import logging

import pytest

from shared.audit_queries import A_DAY, AT_ONCE, search_name
from shared.errors import (
    DeniedError,
    ExportError,
    NoRoomError,
    NotReadyError,
    NotSettledError,
    ProtocolError,
    ServiceError,
    TransportError,
)
from shared.model import Reading, Window
from shared.sources.audit_search import PATIENCE, AuditSearch, Options
from shared.windows import HOUR, MINUTE, SECOND
from tests.parts.fakes import FakeClock
from tests.unit.audit_service import (
    DATE,
    READING,
    SINCE,
    TEN,
    WINDOW,
    Service,
    attempts,
    bodies,
    read,
    record,
)
from tests.unit.fakes import ListSend, service_error

QUERIES = "/v1.0/security/auditLog/queries"


def test_a_window_is_searched_for_and_cut_exactly() -> None:
    """A second wider on both sides is asked for; the window's first second is in it, its end is not."""
    inside = [record(TEN, "first"), record(TEN + HOUR - SECOND, "last"), record(TEN + MINUTE, "between")]
    service = Service(record(TEN - SECOND, "before"), *inside, record(TEN + HOUR, "end"))
    assert read(service) == inside
    (body,) = bodies(service)
    assert body.pop("displayName").endswith(" 20261121T122000Z")
    assert body == {
        "filterStartDateTime": "2026-11-21T09:59:59Z",
        "filterEndDateTime": "2026-11-21T11:00:01Z",
    }
    assert {request.target for request in service.asked("begin")} == {QUERIES}
    assert service.asked("records")[0].target == f"{QUERIES}/s%2F0/records?$top=999"


def test_filters_have_the_names_of_the_service() -> None:
    """Each option is one of the query's filters, and what is not given is not sent."""
    service = Service()
    unit = "168ec429-084b-a489-90d8-504a87846305"
    read(
        service,
        record_types=("azureActiveDirectory",),
        services=("Exchange",),
        operations=("Update user.",),
        users=("ann@contoso.com",),
        ip_addresses=("203.0.113.7",),
        object_ids=("x y",),
        administrative_units=(unit,),
        keyword="k",
        version="beta",
    )
    (body,) = bodies(service)
    assert {
        name: value for name, value in body.items() if "DateTime" not in name and name != "displayName"
    } == {
        "recordTypeFilters": ["azureActiveDirectory"],
        "serviceFilters": ["Exchange"],
        "operationFilters": ["Update user."],
        "userPrincipalNameFilters": ["ann@contoso.com"],
        "ipAddressFilters": ["203.0.113.7"],
        "objectIdFilters": ["x y"],
        "administrativeUnitIdFilters": [unit],
        "keywordFilter": "k",
    }
    assert all(request.target.startswith("/beta/security/auditLog/queries") for request in service.requests)


def test_one_attempt_waits_for_a_search_and_reads_it() -> None:
    """Looks come at growing pauses, and all requests end with the reading's deadline."""
    service = Service(record(TEN), seconds=20.0)
    assert len(read(service)) == 1
    assert service.clock.sleeps == [2.0, 3.0, 4.5, 6.75, 10.125]
    assert {request.deadline for request in service.requests} == {500.0}


def test_the_requests_of_a_reading_are_counted() -> None:
    """Looks, lists and beginnings are requests as well as pages."""
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in range(5)])
    batches = list(AuditSearch(Options(), service, service.clock).read(READING))
    assert sum(batch.requests for batch in batches) == len(service.requests)
    assert sum(batch.slices for batch in batches) == 1


def test_an_unfinished_search_is_left_to_another_attempt_which_picks_it_up() -> None:
    """Waiting has an end, the search goes on, and it is begun once however many attempts it takes."""
    service = Service(record(TEN), seconds=1_000.0)
    number, found = attempts(service)
    assert found == [record(TEN)]
    assert number > 3
    assert len(service.asked("begin")) == 1


def test_an_attempt_gives_up_in_time() -> None:
    """It waits neither beyond its patience nor beyond the deadline, and says when to look again."""
    for deadline, most in ((500.0, PATIENCE.total), (10.0, 10.0)):
        service = Service(seconds=1_000.0)
        with pytest.raises(NotReadyError, match="is running") as caught:
            read(service, Reading(WINDOW, deadline, since=SINCE))
        assert service.clock.monotonic() <= most
        assert caught.value.wait == 120 * SECOND


def test_a_look_that_is_refused_in_passing_is_repeated() -> None:
    """Looks at searches that went on were seen to be answered with a plain 400."""
    service = Service()
    read(service)
    assert {request.doubtful for request in service.asked("look")} == {("BadRequest",)}


def test_retry_after_is_honoured() -> None:
    """Where the service says when to look again, it is not asked before."""
    service = Service()
    service.retry_after = "25"
    read(service)
    assert service.clock.sleeps == [25.0, 25.0]


def test_a_search_whose_beginning_was_not_answered_is_found_again() -> None:
    """The connection broke after the service had begun: the next attempt finds the search by its name."""
    service = Service(record(TEN))
    service.faults["begin"] = [TransportError("reset")]
    with pytest.raises(TransportError):
        read(service)
    assert read(service) == [record(TEN)]
    assert len(service.searches) == 1


def test_a_search_is_found_on_any_page_of_the_list() -> None:
    """In which order searches come is not documented, so all are looked through."""
    service = Service(record(TEN), seconds=0.0)
    read(service)
    mine = service.searches.pop("s/0")
    for number in range(9):
        service.add(f"search {number}", "succeeded")
    service.add("", "failed")
    service.searches[mine["id"]] = mine
    assert read(service) == [record(TEN)]
    assert len(service.asked("begin")) == 1
    assert len(service.asked("list")) == 7


def test_a_new_reading_of_a_window_is_a_new_search() -> None:
    """What was found for an earlier reading does not answer a recheck, a retry of it does."""
    service = Service(seconds=0.0)
    read(service)
    service.records.append(record(TEN, "late"))
    assert read(service) == []
    recheck = Reading(WINDOW, 500.0, since=SINCE + HOUR)
    assert [read(service, recheck) for _ in range(2)] == [[record(TEN, "late")]] * 2
    assert len(service.searches) == 2


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_search_that_ended_badly_is_an_error_and_not_picked_up(outcome: str) -> None:
    """The next attempt begins another; three within a day are enough."""
    service = Service(record(TEN))
    service.outcomes = [outcome, outcome, "succeeded"]
    for _ in range(2):
        with pytest.raises(ServiceError, match=f"ended as {outcome}") as caught:
            read(service)
        assert not caught.value.retryable
    assert read(service) == [record(TEN)]
    assert len(service.searches) == 3


def test_searches_that_always_fail_do_not_use_up_the_tenants_allowance() -> None:
    """After three failures within a day no other search is begun; a day later there is."""
    service = Service(seconds=0.0)
    service.outcomes = ["failed"] * 9
    for _ in range(6):
        with pytest.raises(ServiceError):
            read(service)
    assert len(service.searches) == 3
    service.date = "Sun, 22 Nov 2026 12:20:01 GMT"
    with pytest.raises(ServiceError):
        read(service)
    assert len(service.searches) == 4


def test_a_search_without_end_is_given_up_after_a_day() -> None:
    """A service that lost it would otherwise keep the window waiting for ever."""
    service = Service(record(TEN), seconds=0.0)
    name = search_name({}, WINDOW, SINCE)
    service.add(f"{name} 20261120T122000Z", "running")
    assert read(service) == [record(TEN)]
    service = Service(record(TEN), seconds=0.0)
    service.add(f"{name} 20261120T122001Z", "running")
    with pytest.raises(NotReadyError):
        read(service)


def test_no_more_searches_than_allowed_go_on_together() -> None:
    """Those of others, those that are over and those given up do not count."""
    service = Service(record(TEN), seconds=0.0)
    stamp = "20261121T121900Z"
    for number in range(AT_ONCE - 1):
        service.add(f"azure-log-exports x{number} {stamp}", "notStarted")
    for name in ("some other", f"azure-log-exports-2 x {stamp}", "azure-log-exports x 20261119T000000Z"):
        service.add(name, "running")
    service.add(f"azure-log-exports y {stamp}", "succeeded")
    assert read(service) == [record(TEN)]
    service.add(f"azure-log-exports z {stamp}", "running")
    with pytest.raises(NoRoomError, match="10 audit searches") as caught:
        read(service, Reading(WINDOW, 500.0, since=SINCE + HOUR))
    assert caught.value.wait == 2 * MINUTE
    assert len(service.asked("begin")) == 1


@pytest.mark.parametrize(
    ("oldest", "wait"),
    [("20261120T122001Z", SECOND), ("20261120T131000Z", 50 * MINUTE), ("20261121T110000Z", HOUR)],
)
def test_no_more_searches_than_allowed_are_begun_within_a_day(oldest: str, wait: int) -> None:
    """However they ended; the wait is until the oldest counts no more, but an hour at most."""
    service = Service(record(TEN), seconds=0.0)
    for name in (f"of others {oldest}", "azure-log-exports x 20261120T122000Z", "azure-log-exports"):
        service.add(name, "succeeded")
    for number in range(A_DAY - 2):
        service.add(f"azure-log-exports x{number} 20261121T121900Z", "failed" if number % 2 else "succeeded")
    assert read(service) == [record(TEN)]
    service.add(f"azure-log-exports y {oldest}", "succeeded")
    with pytest.raises(NoRoomError, match="150 audit searches within a day") as caught:
        read(service, Reading(WINDOW, 500.0, since=SINCE + HOUR))
    assert caught.value.wait == wait
    assert read(service) == [record(TEN)]
    assert len(service.asked("begin")) == 1


def test_the_searches_that_a_reading_begins_itself_count_towards_the_day() -> None:
    """Halves of halves could otherwise use up what the tenant may have; what was found is found again."""
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in range(60)], seconds=0.0)
    service.limit = 6
    for number in range(A_DAY - 5):
        service.add(f"azure-log-exports x{number} 20261121T121900Z", "succeeded")
    minute = Reading(Window(TEN, TEN + MINUTE), 500.0, since=SINCE)
    with pytest.raises(NoRoomError, match="within a day"):
        read(service, minute)
    assert len(service.asked("begin")) == 5
    assert service.asked("records") == []
    service.date = "Sun, 22 Nov 2026 12:20:00 GMT"
    assert len(read(service, minute)) == 60
    names = [body["displayName"].rpartition(" ")[0] for body in bodies(service)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("retry_after", "wait"), [(None, 600), (5.0, 120), (3_600.0, 3_600)])
def test_a_tenant_without_room_puts_the_window_off(retry_after: float | None, wait: int) -> None:
    """A refusal for lack of room may last for hours: it is not repeated here, and other exports go on."""
    service = Service()
    service.faults["begin"] = [service_error(429, retryable=True, retry_after=retry_after)]
    with pytest.raises(NoRoomError, match="no room") as caught:
        read(service)
    assert caught.value.wait == wait * SECOND
    assert 429 in service.asked("begin")[0].final


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", ["list", "begin", "look", "records"])
def test_a_missing_permission_is_named(kind: str, status: int) -> None:
    """Whichever request is refused, also after another token was tried, the error says what to grant."""
    service = Service()
    service.faults[kind] = [service_error(status)]
    with pytest.raises(DeniedError, match=r"AuditLogsQuery\.Read\.All"):
        read(service)


@pytest.mark.parametrize("kind", ["list", "begin", "look", "records"])
def test_other_errors_stay_what_they_are(kind: str) -> None:
    """A filter that the service refuses, or an outage, is told as it was."""
    service = Service()
    service.faults[kind] = [service_error(400)]
    with pytest.raises(ServiceError) as caught:
        read(service)
    assert (caught.value.status, isinstance(caught.value, DeniedError)) == (400, False)


def test_a_search_that_is_not_to_be_seen_at_once_is_waited_for() -> None:
    """A look that comes too soon after the beginning says nothing."""
    service = Service(record(TEN))
    service.faults["look"] = [service_error(404), service_error(404)]
    assert read(service) == [record(TEN)]


def test_a_search_that_is_cut_off_is_halved() -> None:
    """Every record comes once, each from a search that shows all that it found."""
    records = [record(TEN + number * 36 * SECOND, str(number)) for number in range(100)]
    service = Service(*records, seconds=0.0)
    service.limit = 30
    found = read(service)
    assert sorted(found, key=str) == sorted(records, key=str)
    assert len(found) == 100
    begun = len(service.searches)
    assert read(service) == found
    assert len(service.searches) == begun == 7


def test_halves_are_found_again_by_another_attempt() -> None:
    """Each part has a name of its own, so that no attempt begins one twice."""
    records = [record(TEN + number * 36 * SECOND, str(number)) for number in range(100)]
    service = Service(*records, seconds=200.0)
    service.limit = 60
    number, found = attempts(service)
    assert number > 2
    assert len(found) == 100
    assert len(service.asked("begin")) == len(service.searches) == 3


def test_halves_go_on_together_and_are_read_when_all_are_over() -> None:
    """An attempt that has to be left reads no record in vain, and each is read once."""
    records = [record(TEN + number * 36 * SECOND, str(number)) for number in range(100)]
    service = Service(*records, seconds=80.0)
    service.limit, service.page = 30, 99
    number, found = attempts(service)
    assert [each["id"] for each in found] == [each["id"] for each in records]
    assert number <= 3
    assert service.most_running == 4
    assert len(service.asked("records")) == 4
    kinds = [service.kind(request) for request in service.requests]
    assert set(kinds[kinds.index("records") :]) == {"records"}


def test_a_second_that_holds_too_many_is_an_error_that_says_what_to_do() -> None:
    """A shorter time cannot be asked for, and a search that is cut off is never taken for the whole."""
    service = Service(*[record(TEN, str(number)) for number in range(9)], seconds=0.0)
    service.limit = 5
    with pytest.raises(ExportError, match="such as record_types") as caught:
        read(service, Reading(Window(TEN, TEN + 8 * SECOND), 500.0, since=SINCE))
    assert not caught.value.retryable
    assert len(service.searches) == 7


def test_a_search_that_does_not_say_whether_it_is_cut_off_may_not_show_as_many_as_it_could() -> None:
    """Without flag and count, as many records as a search shows at most are not taken for all."""
    service = Service(*[record(TEN, str(number)) for number in range(5)], seconds=0.0)
    begun = f"{search_name({}, WINDOW, SINCE)} 20261121T121900Z"
    service.add(begun, "succeeded", recordCountLimit=5, found=service.records)
    with pytest.raises(ExportError, match="shorter window"):
        read(service)
    service.records.pop()
    assert len(read(service)) == 4


def test_many_halves_are_not_many_searches_at_once() -> None:
    """The rest waits for them, so that one reading may take more of them than go on together."""
    records = [record(TEN + number * SECOND, str(number)) for number in range(60)]
    service = Service(*records, seconds=5.0)
    service.limit = 3
    assert len(read(service, Reading(Window(TEN, TEN + MINUTE), 500.0, since=SINCE))) == 60
    assert len(service.searches) > 3 * AT_ONCE
    assert service.most_running == AT_ONCE


def test_walks_are_repeated_while_their_number_is_not_what_was_counted() -> None:
    """A walk that leaves records out is found out by the count, and the next one adds what was missing."""
    records = [record(TEN + number * SECOND, str(number)) for number in range(10)]
    service = Service(*records, seconds=0.0)
    service.page = 99
    walks = [slice(3, 10), slice(0, 5)]
    service.answered = lambda found: found[walks.pop(0)]
    assert sorted(read(service), key=str) == sorted(records, key=str)
    assert walks == []


@pytest.mark.parametrize("shown", [0, 9])
def test_walks_that_agree_on_fewer_than_were_counted_are_not_believed_at_once(shown: int) -> None:
    """A search may be over before its records can be read: another attempt finds them all."""
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in range(10)], seconds=0.0)
    service.page = 99
    service.answered = lambda found: found[:shown]
    for date in (DATE, "Sat, 21 Nov 2026 13:19:59 GMT"):
        service.date = date
        with pytest.raises(NotReadyError, match=f"shows {shown} records, and .* about 10") as caught:
            read(service)
        assert caught.value.wait == 2 * MINUTE
        assert not isinstance(caught.value, NoRoomError)
    service.answered = list
    assert len(read(service)) == 10
    assert len(service.searches) == 1


def test_a_count_that_is_too_high_does_not_keep_a_window_out_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An hour after the search began, walks that agree are believed against the count, with a warning."""
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in range(10)], seconds=0.0)
    service.page, service.miscounted = 99, 3
    with pytest.raises(NotReadyError):
        read(service)
    assert caplog.records == []
    service.date = "Sat, 21 Nov 2026 13:20:00 GMT"
    assert len(read(service)) == 10
    assert len(service.asked("records")) == 4
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "shows 10 records, and the service counted about 13" in warning.getMessage()


def test_a_count_that_is_too_low_is_passed_over_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """More than were counted is nothing that could be missing, once two walks agree."""
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in range(10)], seconds=0.0)
    service.page, service.miscounted = 99, -3
    assert len(read(service)) == 10
    assert len(service.asked("records")) == 2
    assert caplog.records == []


def test_an_auditor_does_not_wait_for_ever_for_a_count_that_is_too_high() -> None:
    """Its searches are found again within one hour of the clock only, so it waits for half an hour."""
    service = Service(record(TEN), seconds=0.0)
    service.miscounted = 1
    source = AuditSearch(Options(), service, service.clock)
    for date in (DATE, "Sat, 21 Nov 2026 12:49:59 GMT"):
        service.date = date
        with pytest.raises(NotReadyError, match="shows 1 records"):
            source.count([WINDOW], 500.0)
    service.date = "Sat, 21 Nov 2026 12:50:00 GMT"
    assert source.count([WINDOW], 500.0) == [1]
    assert len(service.searches) == 1


def test_a_count_that_is_right_spares_the_second_walk() -> None:
    """Records of the seconds beside the window were counted as well."""
    service = Service(record(TEN - SECOND, "before"), record(TEN), seconds=0.0)
    service.page = 99
    assert len(read(service)) == 1
    assert len(service.asked("records")) == 1


def test_a_search_that_reaches_less_far_than_asked_is_refused() -> None:
    """A service that cuts a search's time would otherwise seem to hold nothing there."""
    service = Service(seconds=0.0)
    name = f"{search_name({}, WINDOW, SINCE)} 20261121T121900Z"
    edges = {"filterStartDateTime": "2026-11-21T10:00:01Z", "filterEndDateTime": "2026-11-21T11:00:01Z"}
    service.add(name, "succeeded", **edges)
    with pytest.raises(ProtocolError, match="only reaches"):
        read(service)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":5}', b'{"id":"s","filterEndDateTime":"soon"}'])
def test_what_is_no_search_is_refused(body: bytes) -> None:
    """An answer that cannot be read is an error, not a search without records."""
    name = f"{search_name({}, WINDOW, SINCE)} 20261121T121900Z"
    listed = {"value": [{"id": "s", "displayName": name, "status": "running"}]}
    done = body.replace(b"}", b',"status":"succeeded"}') if b"soon" in body else body
    with pytest.raises(ProtocolError):
        list(AuditSearch(Options(), ListSend([listed, done]), FakeClock()).read(READING))


def test_nothing_is_begun_before_the_window_is_due_by_the_services_clock() -> None:
    """This machine's clock is ahead: what a search finds now might not be all."""
    service = Service(record(TEN))
    service.date = "Sat, 21 Nov 2026 11:10:00 GMT"
    with pytest.raises(NotSettledError) as caught:
        read(service)
    assert caught.value.wait == 5 * MINUTE
    assert service.searches == {}


def test_windows_side_by_side_are_counted_by_one_search() -> None:
    """Each window's number is exact; a search a window would use up what the tenant may have."""
    offsets = [0, 1, 59, 60, 61, 3_599, 3_600, 7_199, 7_200]
    service = Service(*[record(TEN + number * SECOND, str(number)) for number in offsets], seconds=0.0)
    sides = [Window(TEN, TEN + MINUTE), Window(TEN + MINUTE, TEN + HOUR), Window(TEN + HOUR, TEN + 2 * HOUR)]
    source = AuditSearch(Options(), service, service.clock)
    assert source.count(sides, 500.0) == [3, 3, 2]
    assert source.count(list(reversed(sides)), 500.0) == [2, 3, 3]
    assert len(service.searches) == 1
    apart = [sides[0], Window(TEN + 2 * HOUR, TEN + 3 * HOUR)]
    assert source.count(apart, 500.0) == [3, 1]
    assert len(service.searches) == 3


def test_a_count_is_of_what_there_is_now() -> None:
    """Asked again soon it finds its search, an hour later it begins another."""
    service = Service(record(TEN), seconds=0.0)
    source = AuditSearch(Options(), service, service.clock)
    assert source.count([WINDOW], 500.0) == [1]
    service.records.append(record(TEN, "late"))
    service.clock.advance("39m")
    assert source.count([WINDOW], 5_000.0) == [1]
    service.clock.advance("1m")
    service.date = "Sat, 21 Nov 2026 13:00:00 GMT"
    assert source.count([WINDOW], 5_000.0) == [2]
