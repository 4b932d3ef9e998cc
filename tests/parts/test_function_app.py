"""The triggers, called as the host calls them but without a host."""

import importlib.util
import itertools
import json
import logging
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest

from local.azurite import Azurite
from local.cloud import Cloud, Options
from local.cloud.options import Limits
from local.environment import ROOT
from shared import VERSION
from shared.attempts import Attempts
from shared.auth import Tokens
from shared.blob_store import BlobStore
from shared.clock import SystemClock
from shared.errors import BadRequestError, ExportError
from shared.exporter import Exporter
from shared.messages import decode
from shared.planner import Planner
from shared.settings import Settings
from shared.windows import HOUR, format_second, parse_instant

EXPORTS = """
[[export]]
name = "audits"
source = "entra"
log = "directoryAudits"
window = "1h"
start = "-3h"

[[export]]
name = "wrong"
source = "entra"
log = "directoryAudits"
window = "soon"
"""
BASE = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001",
    "LOG_ANALYTICS_WORKSPACE_ID": "00000000-0000-0000-0000-000000000002",
}


class Out(func.Out[Any]):
    """What a function hands to an output binding."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def set(self, val: list[str]) -> None:
        """Take the value."""
        self.values = val

    def get(self) -> list[str]:
        """Return the value."""
        return self.values


class App:
    """A function app for some settings."""

    def __init__(self, module: ModuleType, settings: Settings) -> None:
        self.functions = {
            each.get_function_name(): each for each in module.create_app(settings).get_functions()
        }
        self.queued: list[str] = []

    def bindings(self, name: str) -> list[dict[str, Any]]:
        """Return a function's bindings as the host sees them, the trigger first."""
        found = [json.loads(each) for each in self.functions[name].get_raw_bindings()]
        return sorted(found, key=lambda each: str(each["direction"]))

    def tick(self, name: str) -> list[str]:
        """Call a timer function; return the queue messages that it gives."""
        out = Out()
        self.functions[name].get_user_function()(TimerRequest(past_due=False), out)
        return out.values

    def receive(self, name: str, body: str, dequeue_count: int = 1) -> list[str]:
        """Call a queue function with a message; return the queue messages that it gives."""
        out, message = Out(), QueueMessage(body=body.encode(), dequeue_count=dequeue_count)  # type: ignore[no-untyped-call]  # azure.functions leaves it untyped
        outputs = (out,) if len(self.bindings(name)) > 1 else ()
        self.functions[name].get_user_function()(message, *outputs)
        return out.values

    def call(
        self,
        name: str,
        body: object = None,
        *,
        method: str = "POST",
        export: str = "audits",
        params: Mapping[str, str] | None = None,
        route: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[func.HttpResponse, Any]:
        """Call an HTTP function; return the answer and its decoded body."""
        request = func.HttpRequest(
            method,
            f"/api/{name}",
            body=json.dumps(body).encode(),
            params=dict(params or {}),
            route_params={"name": export, **(route or {})},
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        out = Out()
        bound = {"jobs": out} if name in {"query", "saved_query"} else {}
        response = self.functions[name].get_user_function()(request, **bound)
        self.queued = out.values
        return response, json.loads(response.get_body() or b"null")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load function_app.py anew, as the worker does; it needs storage to be set."""
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("function_app_under_test", ROOT / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def make(module: ModuleType, folder: Path, **environ: str) -> App:
    """Return the app for these app settings."""
    (folder / "exports.toml").write_text(EXPORTS, encoding="utf-8")
    return App(module, module.read_settings({**BASE, **environ}, folder))


@pytest.fixture
def app(module: ModuleType, tmp_path: Path) -> App:
    """Return the app for the least settings."""
    return make(module, tmp_path)


def test_the_module_holds_one_app(module: ModuleType) -> None:
    """The worker looks for exactly one FunctionApp among the module's globals."""
    assert [name for name, each in vars(module).items() if isinstance(each, func.FunctionApp)] == ["app"]


def test_functions_and_their_triggers(app: App) -> None:
    """The timers, the queues with their poison queues, and the routes: nothing else."""
    triggers = {name: app.bindings(name)[0]["type"] for name in app.functions}
    assert triggers == {
        "export_log_analytics": "timerTrigger",
        "export_entra": "timerTrigger",
        "export_window": "queueTrigger",
        "export_window_poison": "queueTrigger",
        "run_query": "queueTrigger",
        "run_query_poison": "queueTrigger",
        "tend_queries": "timerTrigger",
        "query": "httpTrigger",
        "saved_query": "httpTrigger",
        "saved_queries": "httpTrigger",
        "query_result": "httpTrigger",
        "openapi": "httpTrigger",
        "health": "httpTrigger",
        "coverage": "httpTrigger",
        "verify": "httpTrigger",
        "backfill": "httpTrigger",
    }


def test_schedules_are_left_to_the_host_to_resolve(module: ModuleType, tmp_path: Path) -> None:
    """A schedule that is set stays ``%SETTING%`` in the binding; one that is not has its default."""
    app = make(module, tmp_path, EXPORT_ENTRA_SCHEDULE="0 0 * * * *")
    assert app.bindings("export_entra")[0]["schedule"] == "%EXPORT_ENTRA_SCHEDULE%"
    assert app.bindings("export_log_analytics")[0]["schedule"] == "0 */5 * * * *"
    assert not any(
        app.bindings(name)[0].get("runOnStartup") for name in ("export_entra", "export_log_analytics")
    )


@pytest.mark.parametrize(
    ("name", "queue"),
    [("export_window", "export-windows"), ("export_window_poison", "export-windows-poison")],
)
def test_queues(app: App, name: str, queue: str) -> None:
    """The poison queue has the name that the host gives it, and both functions may queue windows."""
    trigger, output = app.bindings(name)
    assert (trigger["queueName"], trigger["connection"]) == (queue, "AzureWebJobsStorage")
    assert (output["type"], output["queueName"], output["connection"]) == (
        "queue",
        "export-windows",
        "AzureWebJobsStorage",
    )


@pytest.mark.parametrize(("name", "route"), [("health", "health"), ("openapi", "openapi.json")])
def test_routes_without_a_key(app: App, name: str, route: str) -> None:
    """Health and the description need neither key nor body."""
    binding = app.bindings(name)[0]
    assert (binding["route"], binding["authLevel"]) == (route, "ANONYMOUS")


def test_health_tells_no_secret_and_touches_nothing(app: App) -> None:
    """It answers at once, without storage or network, and says that one export is wrong, but not why."""
    response, body = app.call("health", method="GET")
    assert response.status_code == 200
    assert body.keys() == {"status", "version", "exports"}
    assert (body["status"], body["exports"]) == ("degraded", 1)


def test_health_touches_neither_storage_nor_credentials(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers although neither could be reached: nobody even tries."""

    def touched(*_: object) -> None:
        raise AssertionError("health is not to need this")

    monkeypatch.setattr(BlobStore, "client", touched)
    monkeypatch.setattr(Tokens, "token", touched)
    monkeypatch.setattr(socket.socket, "connect", touched)
    assert app.call("health", method="GET")[0].status_code == 200


def test_the_first_invocation_reports_the_start(
    app: App, module: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of its log, and of no later one's, says how long the start took and which version it is."""
    monkeypatch.setattr(module, "_BEGAN", module._IMPORTED - 2.5)  # an import of 2.5 s
    caplog.set_level(logging.INFO)
    app.call("health", method="GET")
    (line,) = [each for each in caplog.messages if each.startswith("started ")]
    found = re.fullmatch(r"started seconds=([0-9]+\.[0-9]{2}) version=(.+)", line)
    assert found is not None
    assert 2.5 <= float(found[1]) < 60
    assert found[2] == VERSION
    app.call("health", method="GET")
    assert caplog.messages.count(line) == 1


@pytest.mark.parametrize("name", ["coverage", "verify", "backfill"])
def test_routes_of_an_export(app: App, name: str) -> None:
    """They name the export in the path, and each needs a key."""
    binding = app.bindings(name)[0]
    assert (binding["route"], binding["authLevel"]) == (f"exports/{{name}}/{name}", "FUNCTION")


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("query", "POST"),
        ("saved_query", "DELETE, GET, POST"),
        ("saved_queries", "GET"),
        ("query_result", "GET"),
        ("openapi", "GET"),
        ("health", "GET"),
        ("coverage", "GET"),
        ("verify", "POST"),
        ("backfill", "DELETE, POST"),
    ],
)
def test_other_methods_are_refused(
    app: App, module: ModuleType, name: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """405 names those that there are; no part of the app is built for it, and nothing is queued."""
    monkeypatch.setattr(module._Parts, "__call__", lambda _self: pytest.fail("a part is asked for"))
    assert "methods" not in app.bindings(name)[0], "the host answers what a route does not take with 404"
    for method in {*map(str, func.HttpMethod), "TRACE"} - set(served.split(", ")):
        response, body = app.call(name, method=method)
        assert (response.status_code, response.headers["Allow"]) == (405, served)
        assert (response.mimetype, body["status"]) == ("application/problem+json", 405)
        assert app.queued == []


@pytest.mark.parametrize(
    ("name", "method"),
    [("coverage", "GET"), ("verify", "POST"), ("backfill", "POST"), ("backfill", "DELETE")],
)
@pytest.mark.parametrize("export", ["nobody", "wrong"])
def test_an_export_that_is_not_there_is_404(app: App, name: str, method: str, export: str) -> None:
    """One that is unknown, or disabled by a mistake, is a problem document that names it."""
    span = {"start": "2026-11-21", "end": "2026-11-22"}
    response, body = app.call(name, span, method=method, export=export)
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")
    assert repr(export) in body["detail"]


@pytest.mark.parametrize("name", ["verify", "backfill"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"start": "2026-11-21"}, "end"),
        ({"start": "soon", "end": "2026-11-21"}, "start"),
        ({"start": "2026-11-22", "end": "2026-11-21"}, "end"),
        ({"start": "2026-11-20", "end": "2026-11-21", "fource": True}, "fource"),
        ([], "body"),
    ],
)
def test_a_wrong_range_is_a_problem_document(app: App, name: str, body: object, field: str) -> None:
    """The caller learns which field is wrong, before anything is looked up."""
    response, document = app.call(name, body)
    assert (response.status_code, document["field"]) == (400, field)


def test_an_unreadable_message_goes_to_poison_and_is_removed(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue function refuses it, so that the host moves it; the poison function logs and drops it."""
    with pytest.raises(BadRequestError):
        app.receive("export_window", '{"export": "audits"}')
    assert app.receive("export_window_poison", "\x00") == []
    assert "nobody understands" in caplog.text


@pytest.fixture
def real(
    module: ModuleType, tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[App, Cloud]]:
    """Give the app on real storage and a stand-in cloud, at a time at which no window falls due."""
    ticks = itertools.count(SystemClock().now())
    monkeypatch.setattr(SystemClock, "now", lambda _: next(ticks))
    options = Options(events=10, audits=200, audit_days=0.3, limits=Limits(reports=None))
    with Cloud(options, tmp_path / "cloud") as cloud:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.ca_file))
        environ = {
            "AzureWebJobsStorage": azurite.connection_string,
            "EXPORT_CONTAINER": f"test-{uuid.uuid4().hex[:20]}",
            "EXPORT_GRAPH_REQUESTS": "999",
        }
        yield make(module, tmp_path, **{**cloud.environment(), **environ}), cloud


def test_timer_and_queue_together(real: tuple[App, Cloud], caplog: pytest.LogCaptureFixture) -> None:
    """The timer queues a window, each window is followed by the next, and then there is nothing to do."""
    app, _ = real
    waiting = app.tick("export_entra")
    assert "export disabled by a mistake: exports.toml: export 'wrong': window" in caplog.text
    assert len(waiting) == 1
    done = []
    while waiting:
        done.append(waiting.pop(0))
        waiting += app.receive("export_window", done[-1])
    assert {decode(each).export for each in done} == {"audits"}
    assert len(done) in {2, 3}, "the last hour counts only when its lag is over"
    assert app.tick("export_entra") == []
    assert app.receive("export_window", done[0]) == [], "delivered again, it changes nothing"


def test_coverage_verify_and_backfill_together(real: tuple[App, Cloud]) -> None:
    """What was exported is covered and complete; a backfill is accepted, shown, works, and can be ended."""
    app, _ = real

    def work() -> None:
        waiting = app.tick("export_entra")
        while waiting:
            waiting += app.receive("export_window", waiting.pop(0))

    work()
    response, coverage = app.call("coverage", method="GET")
    assert response.status_code == 200
    ((covered,), gaps) = (coverage["covered"], coverage["gaps"])
    assert (covered["end"], gaps) == (coverage["due_until"], [])
    _, part = app.call("coverage", method="GET", params=covered)
    assert (part["covered"], part["gaps"]) == ([covered], [])
    response, _ = app.call("coverage", method="GET", params={"start": "soon"})
    assert response.status_code == 400
    response, verified = app.call("verify", {**covered, "deep": True})
    assert response.status_code == 200
    assert verified["windows"] == verified["complete"] >= 2
    assert verified["rows"] > 0

    earlier = format_second(parse_instant(covered["start"]) // HOUR * HOUR - HOUR)
    response, asked = app.call("backfill", {"start": earlier, "end": covered["start"]})
    assert (response.status_code, response.headers["Location"]) == (202, "/api/exports/audits/coverage")
    assert response.headers["Cache-Control"] == "no-store", "nothing between may keep it for others"
    _, coverage = app.call("coverage", method="GET")
    assert [each["id"] for each in coverage["backfills"]] == [asked["id"]]
    assert coverage["gaps"] == [{"start": earlier, "end": covered["start"]}]
    work()
    _, coverage = app.call("coverage", method="GET")
    assert coverage["covered"] == [{"start": earlier, "end": covered["end"]}]
    assert app.tick("export_entra") == []
    first = app.call("coverage", method="GET")[1]["backfills"]
    assert [each["id"] for each in first] == [asked["id"]], "its windows are yet to be rechecked"

    _, second = app.call("backfill", {**covered, "force": True})
    response, ended = app.call("backfill", method="DELETE")
    assert (response.status_code, ended) == (200, {"ended": [asked["id"], second["id"]]})
    assert app.call("coverage", method="GET")[1]["backfills"] == []


def test_a_poisoned_window_makes_room(real: tuple[App, Cloud], caplog: pytest.LogCaptureFixture) -> None:
    """A window that was delivered too often is recorded, and the next one is queued in its place."""
    app, _ = real
    (order,) = app.tick("export_entra")
    (following,) = app.receive("export_window_poison", order)
    assert decode(following).window != decode(order).window
    assert "window given up" in caplog.text
    assert app.tick("export_entra") == []


def test_a_failing_delivery_queues_nothing(real: tuple[App, Cloud]) -> None:
    """An error that a retry can mend reaches the host, which will deliver the message again."""
    app, cloud = real
    (order,) = app.tick("export_entra")
    cloud.fail("graph", "wrong_content", count=None)
    with pytest.raises(ExportError):
        app.receive("export_window", order)


def test_the_attempt_is_the_hosts_count(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: ARG001
    """How often the host delivered a message is in the log lines of its window."""
    seen: list[int] = []

    def run(_self: Exporter, _message: object, attempt: int) -> None:
        seen.append(attempt)
        raise BadRequestError("message", "enough for this test")

    monkeypatch.setattr(Exporter, "run", run)
    body = (
        '{"export": "audits", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T11:00:00Z", '
        '"reason": "schedule", "config": "c", "id": "1"}'
    )
    with pytest.raises(BadRequestError):
        app.receive("export_window", body, dequeue_count=4)
    assert seen == [4]


def test_each_run_of_a_timer_sweeps_before_it_plans(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """What attempts left that died is cleared away by whichever timer comes next."""
    done: list[str] = []

    def plan(_self: Planner, kind: str) -> list[object]:
        done.append(kind)
        return []

    monkeypatch.setattr(Attempts, "sweep", lambda _self: done.append("sweep"))
    monkeypatch.setattr(Planner, "plan", plan)
    for kind in ("log_analytics", "entra"):
        assert app.tick(f"export_{kind}") == []
    assert done == ["sweep", "log_analytics", "sweep", "entra"]


def test_mistakes_are_repeated_at_every_run(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong export stays loud: each run of a timer says at level error what to mend."""
    monkeypatch.setattr(Attempts, "sweep", lambda _self: None)
    monkeypatch.setattr(Planner, "plan", lambda _self, _kind: [])
    for _ in range(2):
        assert app.tick("export_log_analytics") == []
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
