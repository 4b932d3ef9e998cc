"""Runs the function app on this machine, for developers without Azure Functions Core Tools.

    python -m local.host [--app DIR] [--port 7071] [--settings local.settings.json]
                         [--queue-invisibility SECONDS]

Exit codes: 0 after Ctrl-C or SIGTERM, 1 where the app cannot start, 3 after a function took longer than
host.json's functionTimeout (Azure then ends the worker process; here the host ends, to be started again).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from local.functions_host.app import Options, leave, run
from local.functions_host.settings import HostError

INVISIBILITY_SETTING = "LOCAL_HOST_QUEUE_INVISIBILITY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the host as the command line says; return its exit code."""
    options = parse(arguments)
    try:
        return run(options)
    except HostError as error:
        print(error, file=sys.stderr, flush=True)
        return 1


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; ends the process where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m local.host", description="Run the function app locally.")
    parser.add_argument("--app", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    parser.add_argument("--port", type=_port, help="default 7071, or Host.LocalHttpPort; 0 takes a free one")
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="default: local.settings.json in the app's folder"
    )
    parser.add_argument(
        "--queue-invisibility", type=_seconds, metavar="SECONDS",
        default=os.environ.get(INVISIBILITY_SETTING, "600"),
        help=f"a message reappears so long after this host was killed; {INVISIBILITY_SETTING}, or 600",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    app_dir = given.app.resolve()
    settings = given.settings.resolve() if given.settings else app_dir / "local.settings.json"
    if given.settings and not settings.is_file():
        parser.error(f"--settings: {settings} does not exist")
    return Options(app_dir, settings, given.port, given.queue_invisibility)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 1 <= number <= 7 * 86400:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    leave(main())
