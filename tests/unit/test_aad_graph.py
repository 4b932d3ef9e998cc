"""The Azure AD Graph source: the original samples' requests, a second wider, cut exactly, walked whole."""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeniedError, ExportError, ProtocolError, ServiceError
from shared.model import ApiName, Batch, Reading, Window
from shared.sources import aad_graph
from shared.sources.aad_graph import TYPE, AadGraph, Options, ReportName, first_page
from shared.windows import HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.unit.fakes import ListSend, page, service_error, tools

TEN = parse_instant("2018-08-20T10:00:00")
WINDOW = Window(TEN, TEN + HOUR)
TENANT = "contoso.onmicrosoft.com"
AUDIT = Options(tenant=TENANT)
SIGN_INS = Options(tenant=TENANT, report="signinEvents")
TIMES: dict[ReportName, str] = {"audit": "activityDate", "signinEvents": "signinDateTime"}


def record(tick: int, report: ReportName = "audit", id_: str = "Directory_ABCDE_1") -> dict[str, Any]:
    """Build a record as the service answers it."""
    time = format_instant(tick)[:-1].rstrip("0").rstrip(".").ljust(19, "0") + "Z"
    return {"id": id_, TIMES[report]: time, f"{TIMES[report]}InMillis": 1534778205572}


def batches(send: ListSend, options: Options = AUDIT, window: Window = WINDOW) -> list[Batch]:
    """Read a window."""
    return list(AadGraph(options, send).read(Reading(window, 99.0)))


def records_of(found: list[Batch]) -> list[Any]:
    """Decode the records of batches."""
    return [json.loads(bytes(row)) for batch in found for row in batch.rows]


def test_the_request_is_the_samples_and_a_second_wider() -> None:
    """The path and version of the original scripts, and bounds that no comparison makes too narrow."""
    send = ListSend([page()])
    batches(send)
    (request,) = send.requests
    assert (request.method, request.wait, request.deadline) == ("GET", 300.0, 99.0)
    assert request.target == (
        "/contoso.onmicrosoft.com/activities/audit?api-version=beta"
        "&$filter=activityDate%20ge%202018-08-20T09:59:59Z%20and%20activityDate%20le%202018-08-20T11:00:01Z"
    )


def test_sign_ins_have_their_own_report_and_time() -> None:
    """The same for the other report."""
    target = first_page(SIGN_INS, WINDOW)
    assert urlsplit(target).path == "/contoso.onmicrosoft.com/activities/signinEvents"
    assert parse_qs(urlsplit(target).query)["$filter"] == [
        "signinDateTime ge 2018-08-20T09:59:59Z and signinDateTime le 2018-08-20T11:00:01Z"
    ]


def test_a_filter_is_one_term_more() -> None:
    """In parentheses, so that an ``or`` in it cannot reach the window's bounds."""
    options = Options(tenant=TENANT, filter="category eq 'B2C' or category eq 'A&B'")
    query = unquote(urlsplit(first_page(options, WINDOW)).query)
    assert query.endswith(" and (category eq 'B2C' or category eq 'A&B')")
    assert parse_qs(urlsplit(first_page(options, WINDOW)).query).keys() == {"api-version", "$filter"}


@pytest.mark.parametrize("options", [AUDIT, SIGN_INS])
@given(
    offsets=st.lists(st.integers(-2 * SECOND, MINUTE + 2 * SECOND), unique=True, max_size=12),
    size=st.integers(1, 4),
)
def test_each_record_is_in_just_one_of_neighbouring_windows(
    options: Options, offsets: list[int], size: int
) -> None:
    """Read side by side, windows hold every record of their time once and no other, over all pages."""
    records = [record(TEN + offset, options.report, str(offset)) for offset in offsets]
    parts = [records[start : start + size] for start in range(0, len(records), size)] or [[]]
    links = [f"https://graph.windows.net/x?$skiptoken=-{i}" for i in range(1, len(parts))]
    answers = [page(*part, link=link) for part, link in zip(parts, [*links, None], strict=True)]
    found = [
        each
        for edges in itertools.pairwise([TEN, TEN + SECOND, TEN + MINUTE])
        for each in records_of(batches(ListSend(answers), options, Window(*edges)))
    ]
    expected = [each for each, offset in zip(records, offsets, strict=True) if 0 <= offset < MINUTE]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_next_links_are_followed_whole_and_pages_kept() -> None:
    """A link is not taken apart; each batch has its page as it came, for whoever stores pages."""
    link = "https://graph.windows.net/contoso.com/activities/audit?api-version=beta&%24skiptoken=-1339686058"
    bodies = [
        b'{"@odata.context":"x", "value":[] ,"@odata.nextLink":"' + link.encode() + b'"}',
        json.dumps(page(record(TEN))).encode(),
    ]
    send = ListSend(bodies)
    found = batches(send)
    assert [each.target for each in send.requests][1:] == [link]
    assert [each.page for each in found] == bodies
    assert records_of(found) == [record(TEN)]


@pytest.mark.parametrize("odd", [{}, {"id": "a"}, {"id": "a", "signinDateTime": format_instant(TEN)}])
def test_what_is_not_a_record_of_the_report_is_refused(odd: object) -> None:
    """A record without the report's own time fails the window."""
    with pytest.raises(ProtocolError, match="cannot be placed"):
        batches(ListSend([page(odd)]))


def test_a_walk_that_broke_begins_again() -> None:
    """A skip token that expired midway costs a second walk, and no record is in both."""
    one, two = record(TEN, id_="1"), record(TEN + 1, id_="2")
    answers = [page(one, link="https://x/2"), service_error(400), page(one, link="https://x/3"), page(two)]
    assert records_of(batches(ListSend(answers))) == [one, two]


@pytest.mark.parametrize(
    ("options", "needs"),
    [(AUDIT, "Read directory data"), (SIGN_INS, "Security Reader")],
)
def test_a_refusal_says_what_to_grant_and_how_to_go_round_the_known_issue(
    options: Options, needs: str
) -> None:
    """Apps are refused in some tenants whatever they were granted: a user's identity is the way out."""
    with pytest.raises(DeniedError, match=needs) as caught:
        batches(ListSend([service_error(403)]), options)
    assert "EXPORT_CREDENTIAL = azure_cli or device_code" in str(caught.value)


def test_other_errors_stay_what_they_are() -> None:
    """Only a refusal disables an export."""
    with pytest.raises(ServiceError) as caught:
        batches(ListSend([service_error(400)]))
    assert not isinstance(caught.value, DeniedError)


def test_a_walk_at_the_cap_of_sign_ins_is_never_taken_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service ends the walk there without a word; records outside the window count as well."""
    assert aad_graph.MOST_SIGN_INS == 1_000_000
    monkeypatch.setattr(aad_graph, "MOST_SIGN_INS", 3)
    three = [record(TEN + offset, "signinEvents", str(offset)) for offset in (-1, 0, 1)]
    with pytest.raises(ExportError, match="shorter window") as caught:
        batches(ListSend([page(*three[:2], link="https://x/2"), page(three[2])]), SIGN_INS)
    assert not caught.value.retryable
    assert len(records_of(batches(ListSend([page(*three[:2])]), SIGN_INS))) == 1
    audits = [record(TEN + offset, "audit", str(offset)) for offset in range(3)]
    assert len(records_of(batches(ListSend([page(*audits)])))) == 3


def test_a_walk_that_begins_again_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broken walk showed does not count against the next one."""
    monkeypatch.setattr(aad_graph, "MOST_SIGN_INS", 3)
    one, two = (record(TEN + offset, "signinEvents", str(offset)) for offset in (0, 1))
    answers = [page(one, link="https://x/2"), service_error(400), page(one, link="https://x/3"), page(two)]
    assert records_of(batches(ListSend(answers), SIGN_INS)) == [one, two]


def test_counting_reads() -> None:
    """The service cannot count, so the records are counted that lie in each window."""
    answers = [page(record(TEN), record(TEN + HOUR, id_="2"))] * 2
    source = AadGraph(AUDIT, ListSend(answers))
    assert source.count([WINDOW, Window(TEN + HOUR, TEN + 2 * HOUR)], 99.0) == [1, 1]


@pytest.mark.parametrize(
    "options",
    [AUDIT, SIGN_INS, Options(tenant="12345678-1234-1234-1234-123456789ABC"),
     Options(tenant="contoso.com", filter="targets/any(t: t/name eq 'activityDate')"),
     Options(tenant=TENANT, report="signinEvents", filter="loginStatus eq '1'")],
)  # fmt: skip
def test_right_options_have_no_mistakes(options: Options) -> None:
    """A tenant is named by its id or a domain; a filter may do what the window does not."""
    assert list(TYPE.check(options)) == []


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (Options(tenant="common"), "tenant"),
        (Options(tenant="myorganization"), "tenant"),
        (Options(tenant="contoso.com/activities"), "tenant"),
        (Options(tenant="contoso.com?x"), "tenant"),
        (Options(tenant=".."), "tenant"),
        (Options(tenant=""), "tenant"),
        (Options(tenant=TENANT, filter="activityDate gt 2018-08-20T00:00:00Z"), "filter"),
        (Options(tenant=TENANT, report="signinEvents", filter="signinDateTime eq x"), "filter"),
        (Options(tenant=TENANT, filter="category eq 'B2C') or (true"), "filter"),
        (Options(tenant=TENANT, filter=" "), "filter"),
    ],
)
def test_each_mistake_names_its_key(options: Options, key: str) -> None:
    """A tenant that is whoever asks, or a filter that undoes the window's, is refused at the start."""
    assert [found[0] for found in TYPE.check(options)] == [key]


def test_a_name_belongs_to_one_tenants_report() -> None:
    """The entry names the tenant, so the app's own does not matter."""
    assert TYPE.identity(Options(tenant="Contoso.COM"), None) == {"tenant": "contoso.com", "report": "audit"}
    assert TYPE.identity(SIGN_INS, "t") == {"tenant": TENANT, "report": "signinEvents"}


def test_the_registry_knows_that_it_forgets_and_pages() -> None:
    """Its records go after days and may change, and pages are what the original script stored."""
    asked: list[ApiName] = []
    TYPE.open(AUDIT, tools(ListSend([]), asked))
    assert (TYPE.kind, TYPE.forgets, TYPE.union, TYPE.paged) == ("entra", True, True, True)
    assert asked == ["aad_graph"]
