"""Queue messages as the service keeps them: their encoding, and what is told beside them. Pure."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import datetime

from azure.storage.queue import QueueMessage as StoredMessage

from local.functions_host.worker import Datum


def encode(message: str | bytes, *, base64: bool) -> str:
    """Return a message's text in the queue."""
    if base64:
        return b64encode(message if isinstance(message, bytes) else message.encode()).decode("ascii")
    return message if isinstance(message, str) else message.decode()


def decode(content: str, *, base64: bool) -> str | bytes:
    """Return the message behind a text in the queue, bytes where it is no UTF-8; raises `ValueError`."""
    if not base64:
        return content
    try:
        data = b64decode(content, validate=True)
    except ValueError as error:
        raise ValueError(f"not base64: {error}") from error
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def trigger_metadata(message: StoredMessage, body: str | bytes) -> dict[str, Datum]:
    """Return what the real host tells beside the message.

    A property of a JSON message takes the place of what has its name, whatever the case of letters: a message
    with an `id` of its own shows that one as `func.QueueMessage.id` (azure-functions-python-worker#1373).
    """
    metadata = {
        "QueueTrigger": Datum(body, "string" if isinstance(body, str) else "bytes"),
        "DequeueCount": Datum(message.dequeue_count, "int"),
        "Id": Datum(message.id, "string"),
        "InsertionTime": _time(message.inserted_on),
        "ExpirationTime": _time(message.expires_on),
        "NextVisibleTime": _time(message.next_visible_on),
        "PopReceipt": Datum(message.pop_receipt, "string"),
    }
    names = {name.lower(): name for name in metadata}
    for name, value in _properties(body).items():
        datum = Datum(value, "string") if isinstance(value, str) else Datum(json.dumps(value), "json")
        metadata[names.get(name.lower(), name)] = datum
    return metadata


def _properties(body: str | bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _time(moment: datetime | None) -> Datum:
    return Datum(json.dumps(moment.isoformat()) if moment else None, "json" if moment else None)
