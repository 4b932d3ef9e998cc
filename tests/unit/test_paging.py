"""Following next links: whole, to the end, and never in a circle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import paging
from shared.errors import ProtocolError, ServiceError
from shared.model import Request
from shared.paging import pages
from tests.unit.fakes import ListSend, page, service_error

FIRST = Request("GET", "/first?$top=2", headers={"a": "b"}, wait=7, deadline=9)


@given(st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=6))
def test_every_record_of_every_page_comes_in_order(numbers: list[list[int]]) -> None:
    """Pages may be empty, also the first and the last: only the absence of a link ends the walk."""
    links: list[str | None] = [f"https://x/page?$skiptoken={i}" for i in range(1, len(numbers))]
    answers = [page(*each, link=link) for each, link in zip(numbers, [*links, None], strict=True)]
    send = ListSend(answers)
    walked = list(pages(send, FIRST))
    assert [[int(bytes(record)) for record in each.records] for each in walked] == numbers
    assert [request.target for request in send.requests] == [FIRST.target, *links]


def test_a_link_by_its_older_name_is_followed_too() -> None:
    """OData wrote it without the sign before version 4: what has such a link is not the last page."""
    first, second = ({"value": [number], "odata.nextLink": f"https://x/{number}"} for number in (1, 2))
    send = ListSend([first, second, page(3)])
    assert [bytes(record) for each in pages(send, FIRST) for record in each.records] == [b"1", b"2", b"3"]
    assert [request.target for request in send.requests] == [FIRST.target, "https://x/1", "https://x/2"]


def test_a_link_is_followed_as_it_is() -> None:
    """A next link is never taken apart, and all else of the request stays as it was."""
    link = "https://graph.example/v1.0/x?$skiptoken=&%24top=1%2B0#odd"
    send = ListSend([page(link=link), page()])
    list(pages(send, FIRST))
    assert send.requests[1] == Request("GET", link, headers={"a": "b"}, wait=7, deadline=9)


def test_pages_are_asked_for_one_by_one() -> None:
    """A page is handed over before the next is asked for, so that one page is in memory at a time."""
    send = ListSend([page(1, link="https://x/2"), page(2)])
    walk = pages(send, FIRST)
    next(walk)
    assert len(send.requests) == 1


@pytest.mark.parametrize("links", [[FIRST.target], ["https://x/2", "https://x/2"], ["a", "b", "a"]])
def test_a_circle_is_refused(links: list[str]) -> None:
    """A link that was followed before would never end: the walk is an error, not a success."""
    send = ListSend([page(link=link) for link in links])
    with pytest.raises(ProtocolError, match="read before"):
        list(pages(send, FIRST))
    assert len(send.requests) == len(links)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"value":null}', b'{"value":{}}', b'{"value":[1,',
     b'{"value":[],"@odata.nextLink":5}',
     b'{"value":[],"odata.nextLink":5}',
     b'{"value":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"],
    ids=["empty", "no value", "array", "null", "object", "cut off", "odd link", "odd older link", "deep"],
)  # fmt: skip
def test_what_is_not_a_page_is_refused(body: bytes) -> None:
    """A body that is no page is never taken for the last one."""
    with pytest.raises(ProtocolError):
        list(pages(ListSend([page(1, link="https://x/2"), body]), FIRST))


def test_a_walk_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that always has one more page is told apart from a long log."""
    monkeypatch.setattr(paging, "MAX_PAGES", 5)
    send = ListSend([page(link=f"https://x/{i}") for i in range(9)])
    with pytest.raises(ProtocolError, match="shorter window"):
        list(pages(send, FIRST))
    assert len(send.requests) == 5


@pytest.mark.parametrize(
    ("before", "status", "retryable"), [(0, 400, False), (1, 400, True), (1, 410, True), (1, 501, False)]
)
def test_a_refused_link_can_be_mended_by_beginning_again(before: int, status: int, retryable: bool) -> None:
    """A skip token that died midway is worth another walk; a first request that is wrong stays wrong."""
    answers = [*(page(link=f"https://x/{i}") for i in range(before)), service_error(status)]
    with pytest.raises(ServiceError) as caught:
        list(pages(ListSend(answers), FIRST))
    assert caught.value.retryable is retryable


def test_the_body_is_kept_as_it_came() -> None:
    """The page's own bytes are there for whoever counts or keeps them."""
    body = b'{ "value" : [ {"a":1.10} ] , "more":1}'
    (only,) = pages(ListSend([body]), FIRST)
    assert only.body == body
    assert bytes(only.records[0]) == b'{"a":1.10}'
