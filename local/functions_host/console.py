"""What the host prints: the list of functions, and one line an event with its UTC time and level."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from io import TextIOWrapper

from local.functions_host.catalogue import Function, HttpTrigger

RUNTIME_LOGGER = "azure.functions"
"""The logger of the runtime library: on Azure its lines are system logs and not the developer's."""


def set_up(environ: dict[str, str] | os._Environ[str]) -> None:
    """Send every log line to standard output at once, at the level that the Python worker logs from."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What a function prints must appear in order, and no character may end the host on an old console.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("[%(asctime)s] %(levelname)s %(message)s"))
    debug = environ.get("PYTHON_ENABLE_DEBUG_LOGGING", "").lower() in {"1", "true", "t", "yes", "y"}
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    logging.getLogger(RUNTIME_LOGGER).setLevel(logging.WARNING)
    logging.getLogger(RUNTIME_LOGGER).addFilter(_not_reported_twice)


def print_functions(functions: Iterable[Function], address: str, route_prefix: str) -> None:
    """Print the functions as `func start` does, those with an address first, then those in error."""
    ordered = sorted(functions, key=lambda f: (not isinstance(f.trigger, HttpTrigger), f.name.lower()))
    lines = ["", "Functions:", ""]
    for function in ordered:
        if function.error is None:
            lines += [f"\t{describe(function, address, route_prefix)}", ""]
    in_error = [function for function in ordered if function.error is not None]
    if in_error:
        lines += [f"The following {len(in_error)} functions are in error:", ""]
        lines += [f"\t{function.name}: {function.error}" for function in in_error]
        lines.append("")
    say("\n".join(lines))


def describe(function: Function, address: str, route_prefix: str) -> str:
    """`name: [GET,POST] http://localhost:7071/api/route`, or `name: timerTrigger`."""
    disabled = " (disabled)" if function.disabled else ""
    if isinstance(function.trigger, HttpTrigger):
        methods = function.trigger.methods
        listed = "" if methods is None else f"[{','.join(methods)}] "
        return f"{function.name}: {listed}{function_url(function, address, route_prefix)}{disabled}"
    return f"{function.name}: {function.trigger_type}{disabled}"


def function_url(function: Function, address: str, route_prefix: str) -> str:
    """Return the address of an HTTP function, with its parameters as in the template."""
    template = function.trigger.route.template if isinstance(function.trigger, HttpTrigger) else ""
    return "/".join(part for part in (address, route_prefix, template) if part)


def say(text: str) -> None:
    """Print now, whoever reads the other end."""
    print(text, flush=True)


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - overrides
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _not_reported_twice(record: logging.LogRecord) -> bool:
    """Drop the library's own report of a function's exception: the host prints it with the invocation."""
    return not str(record.msg).startswith(("Native invocation failed", "Native sync invocation failed"))
