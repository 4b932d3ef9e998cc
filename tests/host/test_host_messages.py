"""What becomes of an output's value, and what the function is told beside a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from azure.storage.queue import QueueMessage
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.messages import decode, encode, trigger_metadata
from local.functions_host.outputs import messages_of
from local.functions_host.worker import Datum


@pytest.mark.parametrize(
    ("datum", "expected"),
    [
        (Datum("text", "string"), ["text"]),
        (Datum("", "string"), [""]),
        (Datum('{"a": 1}', "string"), ['{"a": 1}']),
        (Datum('["a", {"b": 1}]', "string"), ["a", '{"b":1}']),
        (Datum("[not json", "string"), ["[not json"]),
        (Datum('["a", "b"]', "json"), ["a", "b"]),
        (Datum("[]", "json"), []),
        (Datum('{"id": null, "body": "b"}', "json"), ["b"]),
        (Datum('[{"id": null, "body": "b"}, "c"]', "json"), ["b", "c"]),
        (Datum({"a": "ä"}, "dict"), ['{"a":"ä"}']),
        (Datum(b"\xff", "bytes"), [b"\xff"]),
        (Datum(None, None), []),
    ],
)
def test_value_of_an_output_means_these_messages(datum: Datum, expected: list[str | bytes]) -> None:
    """A list, or a text that is a JSON list, is one message an item; a QueueMessage is its body."""
    assert messages_of(datum) == expected


@given(st.one_of(st.text(), st.binary()))
def test_message_survives_the_queue(message: str | bytes) -> None:
    """What is encoded is decoded to the same; bytes that are UTF-8 arrive as text."""
    if isinstance(message, str):
        message = message.encode("utf-8", "replace").decode()
    back = decode(encode(message, base64=True), base64=True)
    assert (back.encode() if isinstance(back, str) else back) == (
        message.encode() if isinstance(message, str) else message
    )


@pytest.mark.parametrize("text", ["not base64!", "abc", "\u00e4\u00e4\u00e4\u00e4"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    """Such a message cannot be given to a function."""
    with pytest.raises(ValueError, match="base64"):
        decode(text, base64=True)


def test_property_of_the_body_hides_what_has_its_name_in_any_case() -> None:
    """Only at the top level, and only of an object."""
    message = QueueMessage(content="")
    message.id, message.dequeue_count, message.pop_receipt = "service", 3, "receipt"
    message.inserted_on = message.expires_on = message.next_visible_on = datetime(2026, 11, 21, tzinfo=UTC)
    metadata = trigger_metadata(message, '{"ID": "own", "dequeuecount": 9, "other": {"Id": 1}}')
    assert metadata["Id"] == Datum("own", "string")
    assert metadata["DequeueCount"] == Datum("9", "json")
    assert json.loads(metadata["InsertionTime"].value) == "2026-11-21T00:00:00+00:00"
    assert trigger_metadata(message, '["Id"]')["Id"] == Datum("service", "string")
