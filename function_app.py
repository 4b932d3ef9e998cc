"""The triggers of the app: each parses its input, calls one part, and answers. ``shared`` holds the parts."""

import time

_BEGAN = time.monotonic()

import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, List  # noqa: UP035  the runtime does not know list[str] inside Out

import azure.functions as func
import msgspec

from shared import VERSION, messages
from shared.errors import BadRequestError, ExportError
from shared.model import Kind, Message
from shared.problems import problem
from shared.settings import Settings
from shared.startup import read_settings

if TYPE_CHECKING:
    from shared.wiring import App

_log = logging.getLogger("exports")

QUEUE = "export-windows"
STORAGE = "AzureWebJobsStorage"

Orders = func.Out[List[str]]  # noqa: UP006  as above


def create_app(settings: Settings) -> func.FunctionApp:
    """Return the function app for these settings."""
    logging.getLogger("azure").setLevel(logging.WARNING)  # the SDKs log every request they send
    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    parts = _Parts(settings)
    app.register_functions(_timers(parts))
    app.register_functions(_windows(parts))
    app.register_functions(_http(parts))
    app.register_functions(_audit(parts))
    return app


class _Parts:
    """The parts of the app, which the first invocation loads and builds, and reports how long that took."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._app: App | None = None

    def __call__(self) -> "App":
        """Return them."""
        with self._lock:
            if self._app is None:
                began = time.monotonic()
                from shared.wiring import App

                self._app = App(self.settings)
                seconds = time.monotonic() - began + _IMPORTED - _BEGAN
                _log.info("started seconds=%.2f version=%s", seconds, VERSION)
            return self._app


def _timers(parts: _Parts) -> func.Blueprint:
    """Return the timer functions, which look for windows that are due."""
    timers = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped
    schedules = parts.settings.schedules

    def plan(kind: Kind, windows: Orders) -> None:
        app = parts()
        for mistake in app.settings.problems:
            _log.error("export disabled by a mistake: %s", mistake)
        app.attempts.sweep()
        _queue(app.planner.plan(kind), windows)

    @timers.function_name("export_log_analytics")
    @timers.timer_trigger(arg_name="timer", schedule=schedules["log_analytics"])
    @timers.queue_output(arg_name="windows", queue_name=QUEUE, connection=STORAGE)
    def export_log_analytics(timer: func.TimerRequest, windows: Orders) -> None:  # noqa: ARG001
        plan("log_analytics", windows)

    @timers.function_name("export_entra")
    @timers.timer_trigger(arg_name="timer", schedule=schedules["entra"])
    @timers.queue_output(arg_name="windows", queue_name=QUEUE, connection=STORAGE)
    def export_entra(timer: func.TimerRequest, windows: Orders) -> None:  # noqa: ARG001
        plan("entra", windows)

    return timers


def _windows(parts: _Parts) -> func.Blueprint:
    """Return the queue functions, which export one window a message."""
    windows_ = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @windows_.function_name("export_window")
    @windows_.queue_trigger(arg_name="order", queue_name=QUEUE, connection=STORAGE)
    @windows_.queue_output(arg_name="windows", queue_name=QUEUE, connection=STORAGE)
    def export_window(order: func.QueueMessage, windows: Orders) -> None:
        message = messages.decode(order.get_body())
        app = parts()
        app.exporter.run(message, attempt=order.dequeue_count or 1)
        _queue(app.planner.top_up(message), windows)

    @windows_.function_name("export_window_poison")
    @windows_.queue_trigger(arg_name="order", queue_name=f"{QUEUE}-poison", connection=STORAGE)
    @windows_.queue_output(arg_name="windows", queue_name=QUEUE, connection=STORAGE)
    def export_window_poison(order: func.QueueMessage, windows: Orders) -> None:
        try:
            message = messages.decode(order.get_body())
        except BadRequestError as error:
            _log.error("a queue message that nobody understands was removed: %s", error)
            return
        app = parts()
        app.exporter.give_up(message)
        _queue(app.planner.top_up(message), windows)

    return windows_


def _http(parts: _Parts) -> func.Blueprint:
    """Return the HTTP functions."""
    http = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @http.function_name("query")
    @http.route(route="query", methods=[func.HttpMethod.POST])
    @_problems
    def query(req: func.HttpRequest) -> func.HttpResponse:
        from shared.query import read_question

        app = parts()
        return _answer(app.query.run(read_question(req.get_body(), app.workspaces)))

    @http.function_name("health")
    @http.route(route="health", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ANONYMOUS)
    def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
        settings = parts().settings
        status = "degraded" if settings.problems else "ok"
        return _answer({"status": status, "version": VERSION, "exports": len(settings.exports)})

    return http


def _audit(parts: _Parts) -> func.Blueprint:
    """Return the HTTP functions that show, prove and ask for what is stored."""
    audit = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @audit.function_name("coverage")
    @audit.route(route="exports/{name}/coverage", methods=[func.HttpMethod.GET])
    @_problems
    def coverage(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import read_span

        return _answer(parts().auditor.coverage(req.route_params["name"], read_span(req.params)))

    @audit.function_name("verify")
    @audit.route(route="exports/{name}/verify", methods=[func.HttpMethod.POST])
    @_problems
    def verify(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import VerifyBody, read_range

        body, span = read_range(req.get_body(), VerifyBody)
        return _answer(parts().auditor.verify(req.route_params["name"], span, body))

    @audit.function_name("backfill")
    @audit.route(route="exports/{name}/backfill", methods=[func.HttpMethod.POST, func.HttpMethod.DELETE])
    @_problems
    def backfill(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import BackfillBody, read_range

        name, auditor = req.route_params["name"], parts().auditor
        if req.method == "DELETE":
            return _answer(auditor.end_backfills(name))
        body, span = read_range(req.get_body(), BackfillBody)
        location = {"Location": f"/api/exports/{name}/coverage"}
        return _answer(auditor.backfill(name, span, body), 202, headers=location)

    return audit


def _problems(
    handler: Callable[[func.HttpRequest], func.HttpResponse],
) -> Callable[[func.HttpRequest], func.HttpResponse]:
    """Answer an error with a problem document."""

    @functools.wraps(handler)
    def handle(req: func.HttpRequest) -> func.HttpResponse:
        try:
            return handler(req)
        except ExportError as error:
            document, headers = problem(error)
            _log.warning("request refused status=%s: %s", document["status"], error)
            return _answer(document, document["status"], "application/problem+json", headers)

    return handle


def _queue(orders: list[Message], windows: Orders) -> None:
    """Hand messages to the host, which sends them when the function has succeeded."""
    if orders:
        windows.set([messages.encode(order) for order in orders])


def _answer(
    body: object,
    status: int = 200,
    media_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> func.HttpResponse:
    return func.HttpResponse(
        msgspec.json.encode(body), status_code=status, mimetype=media_type, headers=headers or {}
    )


app = create_app(read_settings(os.environ, Path(__file__).parent))
_IMPORTED = time.monotonic()
