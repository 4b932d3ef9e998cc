"""Walks through records: cut exactly, each record once, and walks that cannot be believed repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ExportError, IncompleteAnswerError, ProtocolError, ServiceError
from shared.model import Batch, Request, Window
from shared.record_log import Cut, read_records
from shared.windows import SECOND, format_instant, parse_instant
from tests.unit.fakes import ListSend, page, service_error

TEN = parse_instant("2026-11-21T10:00:00")
CUT = Cut("at", Window(TEN, TEN + 10 * SECOND))
FIRST = Request("GET", "/records")


def record(id_: int, seconds: float = 1.0, **more: object) -> dict[str, object]:
    """Build a record so many seconds after ten o'clock."""
    return {"id": str(id_), "at": format_instant(TEN + round(seconds * SECOND)), **more}


def walk(*pages_: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Build the pages of one walk, each with a link to the next."""
    links = [f"https://x/{number}" for number in range(1, len(pages_))]
    return [page(*each, link=link) for each, link in zip(pages_, [*links, None], strict=True)]


def read(send: ListSend, cut: Cut = CUT, is_whole: Callable[[int], bool] | None = None) -> list[Batch]:
    """Read all batches."""
    return list(read_records(send, FIRST, cut, is_whole) if is_whole else read_records(send, FIRST, cut))


def rows(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Return the records of batches."""
    return [json.loads(bytes(row)) for batch in batches for row in batch.rows]


def ids(batches: Sequence[Batch]) -> list[int]:
    """Return the ids of the records of batches."""
    return [int(row["id"]) for row in rows(batches)]


def test_the_time_is_read_from_the_member_that_is_named() -> None:
    """Another log names its time otherwise; a window has its first tick, and not its end."""
    inside = [record(1, 0), record(2, 9.9999999)]
    outside = [record(3, -0.0000001), record(4, 10)]
    assert rows(read(ListSend([page(*outside, *inside)]))) == inside
    with pytest.raises(ProtocolError, match="cannot be placed"):
        read(ListSend([page({"id": "1", "createdDateTime": "2026-11-21T10:00:00Z"})]))


def test_a_batch_tells_what_it_took() -> None:
    """One slice a reading, one request a page, the page as it came, and the service's own time."""
    send = ListSend(walk([record(1)], [], [record(1), record(2), record(2, result="changed")]))
    batches = read(send)
    assert [(each.slices, each.requests, each.repeated_ids) for each in batches] == [
        (1, 1, 0),
        (0, 1, 0),
        (0, 1, 1),
    ]
    assert [len(each.rows) for each in batches] == [1, 0, 2]
    assert all(each.page is not None and each.answer_bytes == len(each.page) for each in batches)


def test_a_walk_whose_link_is_refused_begins_again() -> None:
    """What was yielded is not yielded again, what was not is."""
    send = ListSend(
        [
            *walk([record(1)], [])[:1],
            service_error(400),
            *walk([record(1), record(2)], [record(3)]),
        ]
    )
    assert ids(read(send)) == [1, 2, 3]
    assert [request.target for request in send.requests] == [
        "/records", "https://x/1", "/records", "https://x/1",
    ]  # fmt: skip


def test_pages_that_only_repeat_are_not_handed_over_again() -> None:
    """Who keeps pages as they came keeps a repeated walk's only where something new is on them."""
    send = ListSend(
        [
            *walk([record(1)], [])[:1],
            service_error(410),
            *walk([record(1)], [record(1), record(2)], []),
        ]
    )
    assert [each.page is not None for each in read(send)] == [True, False, True, False]


def test_links_that_are_always_refused_end_the_reading() -> None:
    """Four walks that break are enough."""
    send = ListSend([*walk([record(1)], [])[:1], service_error(400)] * 4)
    with pytest.raises(ServiceError) as caught:
        read(send)
    assert caught.value.retryable
    assert len(send.requests) == 8


@pytest.mark.parametrize("status", [400, 408])
def test_a_first_page_that_is_refused_is_an_error_at_once(status: int) -> None:
    """The request itself was not answered, then, and no link was refused."""
    send = ListSend([service_error(status, retryable=True)])
    with pytest.raises(ServiceError):
        read(send)


@pytest.mark.parametrize("status", [429, 503])
def test_other_failures_are_for_the_next_attempt(status: int) -> None:
    """What transport could not mend another walk cannot either."""
    send = ListSend([*walk([record(1)], [])[:1], service_error(status, retryable=True)])
    with pytest.raises(ServiceError):
        read(send)
    assert len(send.requests) == 2


def test_a_walk_that_shows_as_much_as_any_may_show_is_refused() -> None:
    """The service breaks off there without a word, so others may be missing."""
    cut = Cut("at", CUT.window, most=3)
    assert ids(read(ListSend(walk([record(1)], [record(2)])), cut)) == [1, 2]
    with pytest.raises(ExportError, match="shorter window"):
        read(ListSend(walk([record(1)], [record(2), record(3, 60)])), cut)


def test_a_walk_that_shows_all_is_believed() -> None:
    """Records outside the window count as shown, one that is shown twice counts once."""
    send = ListSend(walk([record(1), record(2, -1)], [record(2, -1), record(3)]))
    assert ids(read(send, is_whole=lambda shown: shown == 3)) == [1, 3]
    assert len(send.requests) == 2


def test_a_walk_that_cannot_be_believed_is_repeated_until_nothing_is_new() -> None:
    """What one walk leaves out another one shows; each record is yielded when it is first seen."""
    send = ListSend([page(record(1), record(2)), page(record(3), record(1)), page(record(2), record(3))])
    batches = read(send, is_whole=lambda shown: shown == 9)
    assert [ids([each]) for each in batches] == [[1, 2], [3], []]
    assert [each.slices for each in batches] == [1, 0, 0]


def test_a_walk_that_broke_does_not_vouch_for_another() -> None:
    """Two walks that came to their end have to agree."""
    send = ListSend(
        [*walk([record(1)], [])[:1], service_error(400), page(record(1)), page(record(1), record(2)), page()]
    )
    assert ids(read(send, is_whole=lambda _: False)) == [1, 2]
    assert len(send.requests) == 5


def test_walks_that_never_agree_are_an_error_that_another_attempt_may_mend() -> None:
    """Nothing is stored of records that nobody knows to be all."""
    send = ListSend([page(record(number)) for number in range(20)])
    with pytest.raises(IncompleteAnswerError, match="8 walks") as caught:
        read(send, is_whole=lambda _: False)
    assert caught.value.retryable
    assert len(send.requests) == 8


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=7), st.integers(0, 10))
def test_every_record_of_every_walk_comes_once(shown: list[set[int]], counted: int) -> None:
    """Whatever walks leave out, the answer is all that any walk until the last one showed, each once."""
    answers = [page(*(record(number) for number in sorted(each))) for each in [*shown, shown[-1]]]
    send = ListSend(answers)
    found = ids(read(send, is_whole=lambda number: number == counted))
    assert sorted(found) == sorted(set().union(*shown[: len(send.requests)]))
