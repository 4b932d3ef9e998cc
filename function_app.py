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
from shared.errors import BadRequestError, ExportError, MethodError
from shared.model import Kind, Message
from shared.problems import problem, told_in_logs
from shared.settings import Settings
from shared.startup import read_settings

if TYPE_CHECKING:
    from shared.query_desk import Call
    from shared.replies import Reply
    from shared.wiring import App

_log = logging.getLogger("exports")

QUEUE = "export-windows"
QUERIES = "queries"
STORAGE = "AzureWebJobsStorage"

_UNCACHED = {"Cache-Control": "no-store"}
"""Answers are for whoever asked: what lies between must not keep them for others, or for later."""

Orders = func.Out[List[str]]  # noqa: UP006  as above
_Handler = Callable[..., func.HttpResponse]


def create_app(settings: Settings) -> func.FunctionApp:
    """Return the function app for these settings."""
    logging.getLogger("azure").setLevel(logging.WARNING)  # the SDKs log every request they send
    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    parts = _Parts(settings)
    app.register_functions(_timers(parts))
    app.register_functions(_windows(parts))
    app.register_functions(_http(parts))
    app.register_functions(_audit(parts))
    if settings.queries.enabled:
        app.register_functions(_queries(parts))
        app.register_functions(_query_work(parts))
    app.register_functions(_query_care(parts))
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

    @http.function_name("health")
    @http.route(route="health", auth_level=func.AuthLevel.ANONYMOUS)
    @_serves("GET")
    def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
        settings = parts().settings
        status = "degraded" if settings.problems else "ok"
        return _answer({"status": status, "version": VERSION, "exports": len(settings.exports)})

    @http.function_name("openapi")
    @http.route(route="openapi.json", auth_level=func.AuthLevel.ANONYMOUS)
    @_serves("GET")
    def openapi(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
        from shared.openapi import document

        return _answer(document(parts.settings.queries))

    return http


def _queries(parts: _Parts) -> func.Blueprint:
    """Return the functions that answer questions: at once over HTTP, or later from a queue of their own."""
    queries = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    def ask(req: func.HttpRequest, jobs: Orders, saved: str | None = None) -> func.HttpResponse:
        reply, queued = parts().desk.ask(_call(req), saved)
        if queued is not None:
            jobs.set([queued])
        return _reply(reply)

    @queries.function_name("query")
    @queries.route(route="query")
    @queries.queue_output(arg_name="jobs", queue_name=QUERIES, connection=STORAGE)
    @_serves("POST")
    def query(req: func.HttpRequest, jobs: Orders) -> func.HttpResponse:
        return ask(req, jobs)

    @queries.function_name("saved_query")
    @queries.route(route="query/{id}")
    @queries.queue_output(arg_name="jobs", queue_name=QUERIES, connection=STORAGE)
    @_serves("DELETE", "GET", "POST")
    def saved_query(req: func.HttpRequest, jobs: Orders) -> func.HttpResponse:
        # A saved query, which is asked by its name, and a query that was asked before have one function: of
        # two that share a path, the host would give every request to one.
        name_or_id = req.route_params["id"]
        if req.method == "POST":
            return ask(req, jobs, name_or_id)
        desk = parts().desk
        answer = desk.cancel if req.method == "DELETE" else desk.status
        return _reply(answer(name_or_id, _call(req)))

    @queries.function_name("saved_queries")
    @queries.route(route="queries")
    @_serves("GET")
    def saved_queries(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
        return _reply(parts().desk.saved())

    @queries.function_name("query_result")
    @queries.route(route="query/{id}/result")
    @_serves("GET")
    def query_result(req: func.HttpRequest) -> func.HttpResponse:
        return _reply(parts().desk.result(req.route_params["id"], _call(req)))

    return queries


def _query_work(parts: _Parts) -> func.Blueprint:
    """Return the functions that carry out queries from the queue."""
    work = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @work.function_name("run_query")
    @work.queue_trigger(arg_name="job", queue_name=QUERIES, connection=STORAGE)
    def run_query(job: func.QueueMessage) -> None:
        parts().query_runner.run(job.get_body().decode(errors="replace"))

    @work.function_name("run_query_poison")
    @work.queue_trigger(arg_name="job", queue_name=f"{QUERIES}-poison", connection=STORAGE)
    def run_query_poison(job: func.QueueMessage) -> None:
        parts().query_runner.give_up(job.get_body().decode(errors="replace"))

    return work


def _query_care(parts: _Parts) -> func.Blueprint:
    """Return the function that tends what queries left: also where none can be asked any more, it expires."""
    care = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @care.function_name("tend_queries")
    @care.timer_trigger(arg_name="timer", schedule="0 */15 * * * *")
    @care.queue_output(arg_name="jobs", queue_name=QUERIES, connection=STORAGE)
    def tend_queries(timer: func.TimerRequest, jobs: Orders) -> None:  # noqa: ARG001
        app = parts()
        stalled = app.query_statuses.tend()
        if stalled and app.settings.queries.enabled:
            jobs.set(stalled)

    return care


def _audit(parts: _Parts) -> func.Blueprint:
    """Return the HTTP functions that show, prove and ask for what is stored."""
    audit = func.Blueprint()  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped

    @audit.function_name("coverage")
    @audit.route(route="exports/{name}/coverage")
    @_serves("GET")
    def coverage(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import read_span

        return _answer(parts().auditor.coverage(req.route_params["name"], read_span(req.params)))

    @audit.function_name("verify")
    @audit.route(route="exports/{name}/verify")
    @_serves("POST")
    def verify(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import VerifyBody, read_range

        body, span = read_range(req.get_body(), VerifyBody)
        return _answer(parts().auditor.verify(req.route_params["name"], span, body))

    @audit.function_name("backfill")
    @audit.route(route="exports/{name}/backfill")
    @_serves("DELETE", "POST")
    def backfill(req: func.HttpRequest) -> func.HttpResponse:
        from shared.auditor import BackfillBody, read_range

        name, auditor = req.route_params["name"], parts().auditor
        if req.method == "DELETE":
            return _answer(auditor.end_backfills(name))
        body, span = read_range(req.get_body(), BackfillBody)
        location = {"Location": f"/api/exports/{name}/coverage"}
        return _answer(auditor.backfill(name, span, body), 202, headers=location)

    return audit


def _serves(*methods: str) -> Callable[[_Handler], _Handler]:
    """Have a handler answer these methods; all others, and its errors, are answered with a problem document.

    The routes name no methods, and so take every one: Azure's host answers those that a route does not take
    with a bare 404, as if there were nothing at the path.
    """

    def serve(handler: _Handler) -> _Handler:
        @functools.wraps(handler)
        def handle(req: func.HttpRequest, **outputs: Orders) -> func.HttpResponse:
            try:
                if req.method not in methods:
                    raise MethodError(methods)
                return handler(req, **outputs)
            except ExportError as error:
                document, headers = problem(error)
                _log.warning("request refused status=%s: %s", document["status"], told_in_logs(error))
                return _answer(document, document["status"], "application/problem+json", headers)

        return handle

    return serve


def _queue(orders: list[Message], windows: Orders) -> None:
    """Hand messages to the host, which sends them when the function has succeeded."""
    if orders:
        windows.set([messages.encode(order) for order in orders])


def _call(req: func.HttpRequest) -> "Call":
    from shared.query_desk import Call

    headers = {name.lower(): value for name, value in req.headers.items()}
    return Call(req.get_body(), headers, dict(req.params))


def _reply(reply: "Reply") -> func.HttpResponse:
    return func.HttpResponse(
        reply.body,
        status_code=reply.status,
        mimetype=reply.media_type,
        headers={**_UNCACHED, **reply.headers},
    )


def _answer(
    body: object,
    status: int = 200,
    media_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> func.HttpResponse:
    return func.HttpResponse(
        msgspec.json.encode(body),
        status_code=status,
        mimetype=media_type,
        headers={**_UNCACHED, **(headers or {})},
    )


app = create_app(read_settings(os.environ, Path(__file__).parent))
_IMPORTED = time.monotonic()
