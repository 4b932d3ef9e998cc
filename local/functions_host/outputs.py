"""Queue outputs: which messages a value means, and sending them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from azure.core.exceptions import ResourceNotFoundError

from local.functions_host.catalogue import QueueOutput
from local.functions_host.messages import encode
from local.functions_host.queues import Wake
from local.functions_host.storage import Storage, create_queue
from local.functions_host.worker import Datum


@dataclass(frozen=True)
class QueueSender:
    """Sends what a function put out, and tells the listener of that queue in this host."""

    storage: Storage
    base64: bool
    wake: Wake

    def __call__(self, output: QueueOutput, datum: Datum) -> None:
        """Send each message that the value means, creating the queue if need be; storage may raise."""
        queue = self.storage.queue(output.connection, output.queue)
        messages = messages_of(datum)
        for message in messages:
            content = encode(message, base64=self.base64)
            try:
                queue.send_message(content)
            except ResourceNotFoundError:
                create_queue(queue)
                queue.send_message(content)
        if messages:
            self.wake(output.connection, output.queue)


def messages_of(datum: Datum) -> list[str | bytes]:
    """Return the queue messages that an output's value means, as the real host reads it.

    A text that is a JSON list becomes one message for each item (azure-functions-python-worker#1492), as does
    a Python list; a `func.QueueMessage` becomes its body.
    """
    if datum.value is None or datum.type is None:
        return []
    if datum.type == "bytes":
        return [bytes(datum.value)]
    if datum.type == "string" and not datum.value.lstrip().startswith("["):
        return [datum.value]
    try:
        value = json.loads(datum.value) if isinstance(datum.value, str) else datum.value
    except ValueError:
        return [datum.value]
    items = value if isinstance(value, list) else [value]
    return [_message_text(item) for item in items]


def _message_text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and item.keys() == {"id", "body"}:
        return str(item["body"])
    return json.dumps(item, separators=(",", ":"), ensure_ascii=False)
