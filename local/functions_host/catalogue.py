"""From the bindings that the app declares to the functions that the host serves. Pure.

A function whose bindings the host cannot serve is kept with its `error`; the others are not touched by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from local.functions_host.routing import Route
from local.functions_host.schedule import Schedule
from local.functions_host.settings import resolve
from local.functions_host.storage import STORAGE_SETTING, StorageError, check_connection

_FUNCTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}")
_QUEUE_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")

Binding = Mapping[str, Any]


@dataclass(frozen=True)
class HttpTrigger:
    """Runs on a request. `methods` are upper case; None means any, and an empty list none, as on Azure."""

    parameter: str
    route: Route
    methods: tuple[str, ...] | None

    def takes(self, method: str) -> bool:
        """Whether it runs on a request with this method."""
        return self.methods is None or method in self.methods


@dataclass(frozen=True)
class TimerTrigger:
    """Runs on a schedule; `use_monitor` keeps its status in storage, so that a missed run is caught up."""

    parameter: str
    schedule: Schedule
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True)
class QueueTrigger:
    """Runs on each message of a queue; `connection` is the name of the setting with the storage account."""

    parameter: str
    queue: str
    connection: str


@dataclass(frozen=True)
class QueueOutput:
    """Messages to send once the function succeeded; `parameter` is `$return` for what it returns."""

    parameter: str
    queue: str
    connection: str


@dataclass(frozen=True)
class HttpOutput:
    """The answer to a request."""

    parameter: str


Trigger = HttpTrigger | TimerTrigger | QueueTrigger
Output = QueueOutput | HttpOutput


@dataclass(frozen=True)
class Declared:
    """A function as the runtime library indexed it, with its bindings as JSON texts."""

    name: str
    id: str
    raw_bindings: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function that the host knows; it has a `trigger`, or an `error` that says why not."""

    name: str
    id: str
    bindings: tuple[Binding, ...]
    trigger_type: str
    trigger: Trigger | None = None
    outputs: tuple[Output, ...] = ()
    disabled: bool = False
    error: str | None = None

    @property
    def runs(self) -> bool:
        """Whether the host listens for its trigger."""
        return self.error is None and not self.disabled


def catalogue(declared: Sequence[Declared], environ: Mapping[str, str]) -> list[Function]:
    """Check every function that the app declares; settings and connections are looked up in `environ`."""
    functions: list[Function] = []
    for one in declared:
        function = _function(one, environ)
        if any(other.name.lower() == one.name.lower() for other in functions):
            function = replace(function, error="another function has this name, but for the case of letters")
        functions.append(function)
    return functions


def _function(declared: Declared, environ: Mapping[str, str]) -> Function:
    bindings = tuple(json.loads(raw) for raw in declared.raw_bindings)
    triggers = [binding for binding in bindings if str(binding["type"]).lower().endswith("trigger")]
    function = Function(
        declared.name,
        declared.id,
        bindings,
        trigger_type=triggers[0]["type"] if triggers else "no trigger",
        disabled=environ.get(f"AzureWebJobs.{declared.name}.Disabled", "").lower() in {"true", "1"},
    )
    try:
        if not _FUNCTION_NAME.fullmatch(declared.name) or declared.name.lower() == "host":
            raise ValueError(
                "the name must be a letter and up to 127 letters, digits, '_' and '-', and must not be 'host'"
            )
        if len(triggers) != 1:
            raise ValueError(f"a function has exactly one trigger, and this one has {len(triggers)}")
        return replace(
            function,
            trigger=_trigger(declared.name, _resolved(triggers[0], environ), environ),
            outputs=tuple(_output(_resolved(b, environ), environ) for b in bindings if b is not triggers[0]),
        )
    except (ValueError, LookupError, StorageError) as error:
        return replace(function, error=str(error.args[0]))


def _resolved(binding: Binding, environ: Mapping[str, str]) -> Binding:
    return {
        key: resolve(value, environ) if isinstance(value, str) and key not in {"name", "type"} else value
        for key, value in binding.items()
    }


def _trigger(function: str, binding: Binding, environ: Mapping[str, str]) -> Trigger:
    parameter = binding["name"]
    match binding["type"]:
        case "httpTrigger":
            route = binding.get("route")
            methods = binding.get("methods")
            return HttpTrigger(
                parameter,
                Route.parse(function if route is None else route),
                None if methods is None else tuple(str(method).upper() for method in methods),
            )
        case "timerTrigger":
            check_connection(STORAGE_SETTING, "blob", environ)
            return TimerTrigger(
                parameter,
                Schedule.parse(binding["schedule"]),
                run_on_startup=_flag(binding, "runOnStartup", default=False),
                use_monitor=_flag(binding, "useMonitor", default=True),
            )
        case "queueTrigger":
            return QueueTrigger(parameter, *_queue(binding, environ))
        case other:
            raise _unknown(other, parameter)


def _output(binding: Binding, environ: Mapping[str, str]) -> Output:
    parameter = binding["name"]
    match binding["type"], str(binding.get("direction", "in")).lower():
        case "http", "out":
            return HttpOutput(parameter)
        case "queue", "out":
            return QueueOutput(parameter, *_queue(binding, environ))
        case other, _:
            raise _unknown(other, parameter)


def _queue(binding: Binding, environ: Mapping[str, str]) -> tuple[str, str]:
    # The host lowers a queue's name before it checks it.
    name = str(binding["queueName"]).lower()
    if not _QUEUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no queue name: 3 to 63 letters, digits and single dashes between them")
    connection = binding.get("connection") or STORAGE_SETTING
    check_connection(connection, "queue", environ)
    return name, connection


def _flag(binding: Binding, key: str, *, default: bool) -> bool:
    value = str(binding.get(key, default)).lower()
    if value not in {"true", "false"}:
        raise ValueError(f"{key} must be true or false, not {value!r}")
    return value == "true"


def _unknown(kind: object, parameter: str) -> ValueError:
    return ValueError(
        f"the local host does not know the binding type {kind!r} (parameter {parameter!r}); it serves "
        "httpTrigger, timerTrigger, queueTrigger, http and queue: use Azure Functions Core Tools for this one"
    )
