"""Request bodies: read whole, or refused with the field that is wrong."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auditor import BackfillBody, VerifyBody, read_range
from shared.errors import BadRequestError
from shared.http_body import read_body
from shared.model import Window
from shared.windows import HOUR, parse_instant

TEN = parse_instant("2026-11-21T10:00:00")


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body of some request."""

    name: str
    count: int = 0


def test_a_right_body_is_read() -> None:
    """Fields that are left out have their defaults."""
    assert read_body(b'{"name": "x"}', Body) == Body("x", 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": 1}', "name"),
        (b"{}", "name"),
        (b'{"name": "x", "count": "many"}', "count"),
        (b'{"name": "x", "other": 1}', "other"),
        (b"[]", "body"),
        (b'"name"', "body"),
        (b"null", "body"),
        (b"", "body"),
        (b"{", "body"),
        (b'{"name": "\xff"}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"name": 1, broken', "body"),
        (b'{"name": 1, "count": ' + b"[" * 100_000, "body"),
        (b'{"name": "\xff", "count": "many"}', "body"),
        (b'{"count": "many", "name": "\xff"}', "name"),
    ],
)
def test_a_mistake_names_its_field(body: bytes, field: str) -> None:
    """The caller finds the wrong field without reading prose; what is no object is the body's fault."""
    with pytest.raises(BadRequestError) as caught:
        read_body(body, Body)
    assert caught.value.field == field


def test_every_mistake_is_named() -> None:
    """One answer tells of all fields that are wrong, so that the next request can be right."""
    body = b'{"count": "many", "other": 1, "one": 2}'
    with pytest.raises(BadRequestError) as caught:
        read_body(body, Body)
    assert [field for field, _ in caught.value.mistakes] == ["name", "count", "other", "one"]
    assert caught.value.mistakes[0][1] == "is missing"


def test_a_mistake_within_a_field_is_found() -> None:
    """Its place says where in the field the wrong value stands."""

    class Nested(msgspec.Struct, forbid_unknown_fields=True):
        """A body with a field of several values."""

        sizes: dict[str, list[int]]

    with pytest.raises(BadRequestError) as caught:
        read_body(b'{"sizes": {"a": [1, "x"], "fine": [2], "b": 5, "c": [1e400]}}', Nested)
    assert [field for field, _ in caught.value.mistakes] == ["sizes.a[1]", "sizes.b", "sizes.c[0]"]
    with pytest.raises(BadRequestError) as caught:
        read_body(b'{"sizes": 5}', Nested)
    assert caught.value.field == "sizes"


def test_what_a_caller_repeats_is_not_repeated_back() -> None:
    """A request of many mistakes, or of long names, does not make a longer answer, or a longer record."""
    body = json.dumps({"x" * 1000: 1, **{f"n{number}": 1 for number in range(1000)}}).encode()
    with pytest.raises(BadRequestError) as caught:
        read_body(body, Body)
    assert len(caught.value.mistakes) == 20
    assert max(len(field) for field, _ in caught.value.mistakes) == 64


@given(
    st.binary()
    | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_body_is_too_odd(body: bytes) -> None:
    """Whatever arrives is read or refused; nothing else is raised."""
    with contextlib.suppress(BadRequestError):
        assert isinstance(read_body(body, Body), Body)


def test_a_range_is_two_instants() -> None:
    """Any form of an instant is understood, zones too; what is not said is off."""
    body = b'{"start": "2026-11-21T11:00:00+01:00", "end": "2026-11-21T11:00:00Z"}'
    assert read_range(body, VerifyBody) == (
        VerifyBody("2026-11-21T11:00:00+01:00", "2026-11-21T11:00:00Z", deep=False, repair=False),
        Window(TEN, TEN + HOUR),
    )
    assert read_range(b'{"start": "2026-11-21", "end": "2026-11-22", "force": true}', BackfillBody)[0].force


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("soon", "2026-11-21", "start"),
        ("2026-11-21", "later", "end"),
        ("2026-11-21T10:00:00.5Z", "2026-11-22", "start"),
        ("2026-11-21", "2026-11-22T10:00:00.0000001Z", "end"),
        ("2026-11-21", "2026-11-21", "end"),
        ("2026-11-22", "2026-11-21", "end"),
        ("2026-11-21", 7, "end"),
        (None, "2026-11-21", "start"),
    ],
)
def test_a_range_that_is_none_is_refused(start: object, end: object, field: str) -> None:
    """Both ends are instants on whole seconds, and the end lies after the start."""
    with pytest.raises(BadRequestError) as caught:
        read_range(json.dumps({"start": start, "end": end}).encode(), BackfillBody)
    assert caught.value.field == field


def test_every_mistake_in_a_request_for_a_range_is_named() -> None:
    """Wrong instants do not wait for the other fields to be right, nor hide one another."""
    body = {"start": "soon", "end": "later", "force": "yes", "other": 1}
    with pytest.raises(BadRequestError) as caught:
        read_range(json.dumps(body).encode(), BackfillBody)
    assert sorted(field for field, _ in caught.value.mistakes) == ["end", "force", "other", "start"]
    with pytest.raises(BadRequestError) as caught:
        read_range(json.dumps({"start": 5, "end": "later"}).encode(), BackfillBody)
    assert [field for field, _ in caught.value.mistakes] == ["start", "end"]


@pytest.mark.parametrize(("type_", "stranger"), [(VerifyBody, "force"), (BackfillBody, "deep")])
def test_a_field_of_another_request_is_refused(type_: type[VerifyBody | BackfillBody], stranger: str) -> None:
    """A misplaced word is not ignored: who asks to repair by ``force`` learns that it does nothing here."""
    body = {"start": "2026-11-21", "end": "2026-11-22", stranger: True}
    with pytest.raises(BadRequestError) as caught:
        read_range(json.dumps(body).encode(), type_)
    assert caught.value.field == stranger
