"""The Entra source: asked a second wider, cut exactly, every record once."""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.model import ApiName, Window
from shared.sources.entra import TYPE, Entra, Options, first_page, record_tick
from shared.windows import HOUR, MINUTE, SECOND, format_instant, parse_instant
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
    batches = Entra(OPTIONS, send).read(window, deadline=99.0, measured=None)
    return [json.loads(bytes(row)) for batch in batches for row in batch.rows]


def test_the_first_page_is_a_second_wider_on_both_sides() -> None:
    """Only documented operators, the largest page, and bounds that no comparison makes too narrow."""
    target = first_page("directoryAudits", WINDOW.start - SECOND, WINDOW.end)
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
    source = Entra(OPTIONS, ListSend([page(record(TEN)), page(record(TEN))]))
    assert [len(batch.rows) for _ in range(2) for batch in source.read(WINDOW, 99.0, None)] == [1, 1]


def test_records_are_untouched_and_counted() -> None:
    """Each page is a batch with the raw records, their times, its size; the pages of a walk are one slice."""
    raw = b'{"id":"a" ,"activityDateTime":"2026-11-21T10:00:00.5Z","n":1.10}'
    bodies = [b'{"value":[' + raw + b'],"@odata.nextLink":"https://x/2"}', b'{"value":[]}']
    batches = list(Entra(OPTIONS, ListSend(bodies)).read(WINDOW, 99.0, None))
    assert [bytes(row) for batch in batches for row in batch.rows] == [raw]
    assert [list(batch.times) for batch in batches] == [["2026-11-21T10:00:00.5Z"], []]
    assert [(batch.slices, batch.requests, batch.answer_bytes) for batch in batches] == [
        (1, 1, len(bodies[0])),
        (0, 1, len(bodies[1])),
    ]


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
