"""What an export says of its audit searches, what they are called, and how they are told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit_queries import halves, read_search
from shared.errors import ExportError, TransportError
from shared.model import ApiName, Reading, Window
from shared.sources.audit_search import TYPE, AuditSearch, Options
from shared.windows import END_OF_TIME, SECOND
from tests.parts.fakes import NOW, FakeClock
from tests.unit.fakes import ListSend, tools
from tests.unit.strategies import windows

option_values = st.builds(
    Options,
    record_types=st.none() | st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map(tuple),
    operations=st.none() | st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map(tuple),
    users=st.none() | st.just(("a",)),
    keyword=st.none() | st.sampled_from("ab"),
)


readings = st.tuples(
    option_values, windows().filter(lambda window: window.end < END_OF_TIME - 2 * SECOND), st.integers(1, NOW)
)


def named(options: Options, window: Window, since: int) -> str:
    """Return the name of the search that a reading begins."""
    send = ListSend([{"value": []}, TransportError("lost")])
    with pytest.raises(TransportError):
        list(AuditSearch(options, send, FakeClock()).read(Reading(window, 9.0, since=since)))
    return str(json.loads(send.requests[1].body or b"")["displayName"])


@given(readings, readings)
def test_names_are_the_same_only_for_the_same_records(
    one: tuple[Options, Window, int], other: tuple[Options, Window, int]
) -> None:
    """Other filters, another window or another reading never find this one's search; its own retry does."""
    assert named(*one) == named(*one)
    assert (named(*one) == named(*other)) == (one == other)
    assert len(named(*one)) < 120


@given(readings, option_values, st.integers(1, NOW))
def test_names_change_with_each_thing(
    reading: tuple[Options, Window, int], options: Options, since: int
) -> None:
    """One difference is enough: in the filters, in the time, or in the reading."""
    first = named(*reading)
    assert (named(options, *reading[1:]) == first) == (options == reading[0])
    assert (named(*reading[:2], since) == first) == (since == reading[2])
    start, end = reading[1].start, reading[1].end
    assert named(reading[0], Window(start, end + SECOND), reading[2]) != first


@given(windows())
def test_halves_lie_on_whole_seconds_and_fill_their_window(window: Window) -> None:
    """Down to one second, which cannot be halved."""
    if window.end - window.start == SECOND:
        with pytest.raises(ExportError):
            halves(window)
        return
    first, second = halves(window)
    assert (first.start, first.end, second.end) == (window.start, second.start, window.end)
    assert first.end % SECOND == 0
    assert abs((first.end - first.start) - (second.end - second.start)) <= SECOND


@pytest.mark.parametrize(
    ("shown", "is_cut_off"),
    [
        ({"isRecordCountLimitExceeded": True}, True),
        (
            {"isRecordCountLimitExceeded": False, "approximateReturnedRecordCount": 9, "recordCountLimit": 5},
            False,
        ),
        ({"approximateReturnedRecordCount": 5, "recordCountLimit": 5}, True),
        ({"approximateReturnedRecordCount": 4, "recordCountLimit": 5}, False),
        ({"isRecordCountLimitExceeded": None}, False),
    ],
)  # fmt: skip
def test_the_flag_says_whether_a_search_is_cut_off(shown: dict[str, Any], is_cut_off: bool) -> None:
    """The count is approximate, so it only counts where the service does not show the flag."""
    assert read_search(json.dumps({"id": "s", **shown}).encode()).is_cut_off is is_cut_off


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"record_types": ()}, "record_types"),
        ({"record_types": ("azure active directory",)}, "record_types"),
        ({"operations": ("",)}, "operations"),
        ({"services": ("Exchange", " ")}, "services"),
        ({"users": ("Ann Smith",)}, "users"),
        ({"ip_addresses": ("10.0.0.0/8",)}, "ip_addresses"),
        ({"administrative_units": ("sales",)}, "administrative_units"),
        ({"keyword": ""}, "keyword"),
    ],
)
def test_mistakes_in_the_options_are_found(options: dict[str, Any], key: str) -> None:
    """Each is told with its key before anything is asked of the service."""
    ((found, _, expected),) = TYPE.check(Options(**options))
    assert found == key
    assert expected


def test_options_that_are_right_are_taken() -> None:
    """Without any filter all records are meant."""
    assert list(TYPE.check(Options())) == []
    full = Options(
        record_types=("azureActiveDirectory", "AzureActiveDirectory"),
        users=("ann@contoso.com",),
        ip_addresses=("203.0.113.7", "2001:db8::1"),
        administrative_units=("168ec429-084b-a489-90d8-504a87846305",),
        object_ids=("https://contoso/a file.docx",),
        keyword="two words",
    )
    assert list(TYPE.check(full)) == []


def test_identity_is_the_tenant_and_the_log() -> None:
    """A name belongs to one tenant's log; without a tenant it belongs to nobody, and the setting is named."""
    assert TYPE.identity(Options(), "ABC") == {"tenant": "abc", "log": "unified audit log"}
    with pytest.raises(ValueError, match="AZURE_TENANT_ID"):
        TYPE.identity(Options(), None)


def test_the_registry_knows_what_the_log_is_like() -> None:
    """It forgets after 180 days, its records may come late, and reading goes through Graph."""
    asked: list[ApiName] = []
    TYPE.open(Options(), tools(ListSend([]), asked))
    assert (TYPE.kind, TYPE.forgets, TYPE.union, TYPE.paged, TYPE.retention, asked) == (
        "entra", True, True, True, "180d", ["graph"],
    )  # fmt: skip
