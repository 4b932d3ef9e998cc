"""The host's own addresses below /admin: what runs here, and running a function by hand.

As in "Manually run a non HTTP-triggered function" (Microsoft Learn). No key is asked for: the host listens on
loopback only and treats every caller as its administrator, as `func start` does.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.storage.queue import QueueMessage as StoredMessage

from local.functions_host.activity import Activity
from local.functions_host.catalogue import Function, HttpTrigger, QueueTrigger
from local.functions_host.console import function_url
from local.functions_host.http_functions import REASON
from local.functions_host.invoker import Invoker
from local.functions_host.messages import trigger_metadata
from local.functions_host.server import Request, Response
from local.functions_host.timers import timer_data
from local.functions_host.worker import Datum


@dataclass(frozen=True)
class Admin:
    """Answers what is below /admin."""

    functions: Sequence[Function]
    invoker: Invoker
    activity: Activity
    host_id: str
    address: str
    route_prefix: str
    started: float = field(default_factory=time.monotonic)

    def answer(self, request: Request) -> Response:
        """Answer a request below /admin; 404 for what is not there, 405 for another method."""
        routes: dict[tuple[str, ...], dict[str, Callable[[], Response]]] = {
            ("host", "ping"): {"GET": lambda: Response(200), "POST": lambda: Response(200)},
            ("host", "status"): {"GET": self._status},
            ("functions",): {"GET": lambda: _json([self._describe(f) for f in self.functions])},
        }
        path = [unquote(part) for part in urlsplit(request.target).path.strip("/").split("/")][1:]
        methods = routes.get(tuple(part.lower() for part in path))
        if methods is None and len(path) in {2, 3} and path[0].lower() == "functions":
            found = [f for f in self.functions if f.name.lower() == path[1].lower()]
            if found and len(path) == 2:
                methods = {
                    "GET": lambda: _json(self._describe(found[0])),
                    "POST": lambda: self._run(found[0], request.body),
                }
            elif found and path[2].lower() == "status":
                methods = {"GET": lambda: _json({"errors": [found[0].error]} if found[0].error else {})}
        if methods is None:
            return Response(404)
        if request.method not in methods:
            return Response(405, (("Allow", ", ".join(methods)),))
        return methods[request.method]()

    def _status(self) -> Response:
        uptime = round((time.monotonic() - self.started) * 1000)
        return _json({"id": self.host_id, "state": "Running", "version": "local", "processUptime": uptime})

    def _describe(self, function: Function) -> dict[str, Any]:
        http = isinstance(function.trigger, HttpTrigger)
        return {
            "name": function.name,
            "href": f"{self.address}/admin/functions/{function.name}",
            "invoke_url_template": function_url(function, self.address, self.route_prefix) if http else None,
            "language": "python",
            "isDisabled": function.disabled,
            "config": {"bindings": list(function.bindings)},
            "errors": [function.error] if function.error else [],
        }

    def _run(self, function: Function, body: bytes) -> Response:
        """Start the function in the background; a disabled one runs too, which is how to try it out."""
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return _problem('The body must be JSON such as {"input": ""}.')
        if function.error is not None:
            return _problem(f"The function is in error: {function.error}")
        if isinstance(function.trigger, HttpTrigger):
            url = function_url(function, self.address, self.route_prefix)
            return _problem(f"Send a request to {url} instead.")
        given = document.get("input")
        text = given if isinstance(given, str) else "" if given is None else json.dumps(given)
        self.activity.begin()
        threading.Thread(target=self._call, args=(function, text), daemon=True).start()
        return Response(202)

    def _call(self, function: Function, text: str) -> None:
        try:
            if isinstance(function.trigger, QueueTrigger):
                message = _message(text)
                metadata = trigger_metadata(message, text)
                self.invoker.run(function, Datum(text, "string"), reason=REASON, metadata=metadata)
            else:
                self.invoker.run(function, timer_data(None, past_due=False), reason=REASON)
        finally:
            self.activity.end()


def _message(text: str) -> StoredMessage:
    """Return a message that is in no queue, as if taken for the first time."""
    now = datetime.now(UTC)
    message = StoredMessage(content=text)
    message.id = str(uuid.uuid4())
    message.dequeue_count = 1
    message.inserted_on = message.next_visible_on = now
    message.expires_on = now + timedelta(days=7)
    message.pop_receipt = ""
    return message


def _json(value: object) -> Response:
    return Response(200, (("Content-Type", "application/json; charset=utf-8"),), json.dumps(value).encode())


def _problem(text: str) -> Response:
    return Response(400, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())
