"""From declared bindings to served functions: each mistake stays with its function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.functions_host.catalogue import (
    Declared,
    Function,
    HttpOutput,
    HttpTrigger,
    QueueOutput,
    QueueTrigger,
    TimerTrigger,
    catalogue,
)

ENVIRON = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true", "TICK": "0 */5 * * * *", "QUEUE": "Windows-1",
    "OTHER__queueServiceUri": "https://example.queue.core.windows.net",
    "AzureWebJobsOld": "UseDevelopmentStorage=true",
    "AzureWebJobs.off.Disabled": "True", "Empty": "",
}  # fmt: skip


def one(*bindings: dict[str, Any], name: str = "f") -> Function:
    """Return the only function of an app."""
    raw = tuple(json.dumps({"direction": "IN", "name": "x", **binding}) for binding in bindings)
    return catalogue([Declared(name, "id", raw)], ENVIRON)[0]


def test_http_function_without_route_is_served_under_its_name() -> None:
    """Nothing said of methods means any."""
    function = one(
        {"type": "httpTrigger"}, {"type": "http", "direction": "OUT", "name": "$return"}, name="My_f-1"
    )
    assert isinstance(function.trigger, HttpTrigger)
    assert (function.trigger.route.template, function.trigger.methods) == ("My_f-1", None)
    assert function.trigger.takes("QUERY")
    assert function.outputs == (HttpOutput("$return"),)
    assert function.runs


@pytest.mark.parametrize(
    ("methods", "taken"), [(["get", "POST"], ["GET", "POST"]), ([], []), (None, ["GET", "POST", "PUT"])]
)
def test_http_function_takes_the_methods_that_it_names(methods: list[str] | None, taken: list[str]) -> None:
    """In whatever case they are written; an empty list takes none."""
    trigger = one({"type": "httpTrigger", "methods": methods}).trigger
    assert isinstance(trigger, HttpTrigger)
    assert [method for method in ("GET", "POST", "PUT") if trigger.takes(method)] == taken


def test_settings_are_looked_up_in_schedule_and_queue_name() -> None:
    """%SETTING% is resolved by the host, and queue names are lowered."""
    timer = one({"type": "timerTrigger", "schedule": "%TICK%", "runOnStartup": True, "useMonitor": False})
    assert isinstance(timer.trigger, TimerTrigger)
    assert timer.trigger.schedule.text == "0 */5 * * * *"
    assert (timer.trigger.run_on_startup, timer.trigger.use_monitor) == (True, False)
    queue = one({"type": "queueTrigger", "queueName": "%QUEUE%", "connection": "OTHER"})
    assert queue.trigger == QueueTrigger("x", "windows-1", "OTHER")


def test_queue_output_uses_the_hosts_storage_where_it_names_none() -> None:
    """An empty connection is AzureWebJobsStorage; one may also be set with the prefix AzureWebJobs."""
    function = one(
        {"type": "queueTrigger", "queueName": "abc", "connection": ""},
        {"type": "queue", "direction": "OUT", "name": "out", "queueName": "abc", "connection": "Old"},
    )
    assert function.trigger == QueueTrigger("x", "abc", "AzureWebJobsStorage")
    assert function.outputs == (QueueOutput("out", "abc", "Old"),)


def test_disabled_function_is_known_and_does_not_run() -> None:
    """AzureWebJobs.{name}.Disabled."""
    function = one({"type": "httpTrigger"}, name="off")
    assert (function.disabled, function.runs, function.error) == (True, False, None)


@pytest.mark.parametrize(
    ("bindings", "says"),
    [
        ([{"type": "timerTrigger", "schedule": "%NOPE%"}], "'NOPE' is not set"),
        ([{"type": "timerTrigger", "schedule": "every day"}], "not an NCRONTAB schedule"),
        ([{"type": "timerTrigger", "schedule": "0 0 0 * * *", "useMonitor": "perhaps"}], "useMonitor"),
        ([{"type": "queueTrigger", "queueName": "a_b", "connection": ""}], "'a_b' is no queue name"),
        ([{"type": "queueTrigger", "queueName": "ab", "connection": ""}], "no queue name"),
        ([{"type": "queueTrigger", "queueName": "a--b", "connection": ""}], "no queue name"),
        ([{"type": "queueTrigger", "queueName": "abc", "connection": "NOPE"}], "'NOPE' is not set"),
        ([{"type": "queueTrigger", "queueName": "abc", "connection": "Empty"}], "'Empty' is not set"),
        ([{"type": "httpTrigger", "route": "{a"}], "the route"),
        ([{"type": "blobTrigger", "path": "a"}], "does not know the binding type 'blobTrigger'"),
        ([{"type": "httpTrigger"}, {"type": "blob", "path": "a"}], "does not know the binding type 'blob'"),
        (
            [{"type": "httpTrigger"}, {"type": "queue", "queueName": "abc"}],
            "does not know the binding type 'queue'",
        ),
        ([{"type": "http", "direction": "OUT"}], "exactly one trigger"),
        ([{"type": "httpTrigger"}, {"type": "httpTrigger"}], "exactly one trigger"),
    ],
)
def test_binding_that_cannot_be_served_puts_its_function_in_error(
    bindings: list[dict[str, Any]], says: str
) -> None:
    """The message says what is wrong; the function is listed and does not run."""
    function = one(*bindings)
    assert function.error is not None
    assert says in function.error
    assert not function.runs


@pytest.mark.parametrize("name", ["host", "HOST", "1st", "a b", "a.b", "x" * 129, "_a"])
def test_name_that_azure_refuses_puts_the_function_in_error(name: str) -> None:
    """A letter and up to 127 letters, digits, '_' and '-', but not 'host'."""
    assert "the name must be" in str(one({"type": "httpTrigger"}, name=name).error)


def test_names_that_differ_in_case_only_are_one_name() -> None:
    """The second is in error, and the first runs."""
    raw = (json.dumps({"type": "httpTrigger", "name": "x"}),)
    first, second = catalogue([Declared("Same", "1", raw), Declared("same", "2", raw)], ENVIRON)
    assert first.runs
    assert "another function has this name" in str(second.error)


def test_timer_needs_the_hosts_storage() -> None:
    """Its status and its lock are kept there."""
    raw = (json.dumps({"type": "timerTrigger", "name": "x", "schedule": "0 0 0 * * *"}),)
    assert "AzureWebJobsStorage" in str(catalogue([Declared("f", "1", raw)], {})[0].error)
