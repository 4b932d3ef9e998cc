"""The real app in a process that is killed before its n-th step, as by a power cut.

A step is one request to the storage account, the queue or the source, whoever in the process sends it: the
app while it plans or exports, or the host while it sends or deletes a message. The setting DIES_BEFORE_STEP
is n, and only requests that match the regular expression STEPS count ("GET /path").
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import signal
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from tests.host.harness import ROOT

_NO_STEP = re.compile(
    r"GET /\w+/[\w-]+/messages|"  # the host polls
    r"PUT /\w+/(export-windows|queries)(-poison)?$|"  # and makes its queues when it starts
    r"PUT /\w+/[\w-]+/messages/|"  # and hides a message for longer
    r"\w+ /\w+/azure-webjobs-hosts"  # and keeps its timers' locks and status
)


def _die_before(step: int, steps: str) -> None:
    """Count the requests of this process that match `steps`, and end it before the one with this number."""
    numbers = itertools.count(1)
    send = HTTPAdapter.send

    def counted(self: HTTPAdapter, request: PreparedRequest, *rest: Any, **named: Any) -> Any:
        what = f"{request.method} {urlsplit(request.url or '').path}"
        if re.search(steps, what) and not _NO_STEP.match(what):
            number = next(numbers)
            print(f"step {number}: {what}", flush=True)
            if number == step:
                # Windows has no SIGKILL, and ends a process at once for SIGTERM too.
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return send(self, request, *rest, **named)

    HTTPAdapter.send = counted  # type: ignore[method-assign]  # what every client in this process goes through


def _real_app() -> func.FunctionApp:
    spec = importlib.util.spec_from_file_location("real_function_app", ROOT / "function_app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = module.app
    assert isinstance(app, func.FunctionApp)
    return app


_die_before(int(os.environ["DIES_BEFORE_STEP"]), os.environ["STEPS"])
app = _real_app()
