"""Queue messages: what is written is read back, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from shared.errors import BadRequestError
from shared.messages import decode, encode
from shared.model import Message
from tests.unit.strategies import messages

GOOD = {
    "export": "events",
    "start": "2026-11-21T10:00:00Z",
    "end": "2026-11-21T11:00:00Z",
    "reason": "schedule",
    "config": "0123456789abcdef",
    "id": "5f2c",
}


@given(messages)
def test_a_message_survives_the_queue(message: Message) -> None:
    """Text or bytes: the worker reads the order that the planner wrote."""
    text = encode(message)
    assert decode(text) == message == decode(text.encode())
    assert list(json.loads(text)) == list(GOOD)


def without(key: str) -> bytes:
    """Return the good message without one key."""
    return json.dumps({name: value for name, value in GOOD.items() if name != key}).encode()


def with_(**changes: object) -> bytes:
    """Return the good message with changes."""
    return json.dumps(GOOD | changes).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'{"export": "\xff"}',
        *(without(key) for key in GOOD),
        with_(more=1),
        with_(export=1),
        with_(start="yesterday"),
        with_(start="2026-11-21T11:00:00Z"),
        with_(start="2026-11-21T10:00:00.5Z"),
        with_(end="2026-11-21T10:00:00.0000001Z"),
        with_(reason="whim"),
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:60]),
)
def test_anything_else_is_refused_for_good(body: bytes) -> None:
    """A message that nobody understands raises an error that no retry helps."""
    with pytest.raises(BadRequestError) as caught:
        decode(body)
    assert caught.value.field == "queue message"
    assert not caught.value.retryable


def test_the_good_message_is_good() -> None:
    """The mistakes above are the only reason for their refusal."""
    assert decode(with_()).export == "events"
