"""What a cold start costs: importing the app and indexing its functions, beside what it cannot do without."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median

from bench.line import Line, at_most
from local.environment import ROOT

_TARGET = 1.5

_APP = "import function_app; assert len(function_app.app.get_functions()) > 8"
_LEAST = "import azure.functions, requests"
_SETTINGS = {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Let both take turns, each in a new interpreter, and compare the turns of a round."""
    rounds = 1 if tiny else 15
    with tempfile.TemporaryDirectory() as compiled:
        for code in (_APP, _LEAST):  # so that all is compiled and in the file cache
            _seconds(code, compiled)
        turns = [(_seconds(_APP, compiled), _seconds(_LEAST, compiled)) for _ in range(rounds)]
    app, least = (median(each) for each in zip(*turns, strict=True))
    yield at_most(
        "importing `function_app` and indexing its functions, "
        "beside importing `azure.functions` and `requests`",
        _TARGET,
        median(one / other for one, other in turns),
        f"{app * 1000:.0f} ms, {least * 1000:.0f} ms of the processor",
    )


def _seconds(code: str, compiled: str) -> float:
    """Return the processor time that some code takes in an interpreter that has just started."""
    timed = f"import time; began = time.process_time()\n{code}\nprint(time.process_time() - began)"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", timed],
        cwd=ROOT,
        env={**environ, **_SETTINGS, "PYTHONPYCACHEPREFIX": compiled},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])
