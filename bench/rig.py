"""What the benchmarks export with: the real app, the server of canned answers, and Azurite."""

import contextlib
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from local.azurite import Azurite
from local.child import Child
from local.environment import ROOT
from local.progress import StepError
from shared.model import Message, Receipt, Window
from shared.startup import read_settings
from shared.windows import DAY, HOUR, grid_floor
from shared.wiring import App

_EXPORT = """
[[export]]
name = "events"
source = "log_analytics"
workspace = "%LOG_ANALYTICS_WORKSPACE_ID%"
table = "Event"
window = "1h"
start = "-7d"
format = "{format}"
"""


@dataclass(frozen=True, slots=True)
class Rig:
    """Where the app finds what it needs: its settings, and a folder for its files."""

    environ: Mapping[str, str]
    folder: Path

    def with_settings(self, **settings: str) -> "Rig":
        """Return a rig with other settings."""
        return Rig({**self.environ, **settings}, self.folder)

    def app(self, format_: str = "jsonl.gz") -> App:
        """Build the app as the host would, on a container of its own."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        (folder / "exports.toml").write_text(_EXPORT.format(format=format_), encoding="utf-8")
        environ = {**self.environ, "EXPORT_CONTAINER": f"bench-{uuid.uuid4().hex[:20]}"}
        return App(read_settings(environ, folder))


def order(app: App, hours_ago: int) -> Message:
    """Return the message that orders an hour of the app's one export; 0 is the last full day's first hour."""
    (export,) = app.settings.exports
    start = grid_floor(app.clock.now(), DAY) - DAY - hours_ago * HOUR
    return Message(export.name, Window(start, start + HOUR), "schedule", export.digest, "00")


def export(app: App, hours_ago: int) -> Receipt:
    """Export an hour; return its receipt."""
    receipt = app.exporter.run(order(app, hours_ago))
    if receipt is None:
        raise StepError("The app did not store a window of the benchmark; its log says why.")
    return receipt


@contextlib.contextmanager
def rig(rows_per_hour: int, latency: float = 0.0, *, half_pair: bool = False) -> Generator[Rig]:
    """Start the server of canned answers and Azurite, and stop them at the end.

    What reads its certificates from the environment, as requests does, finds them there meanwhile.
    """
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        azurite = running.enter_context(Azurite.start(folder=folder / "azurite"))
        canned = _canned(running, folder, rows_per_hour, latency, half_pair)
        environ = {**canned, "AzureWebJobsStorage": azurite.connection_string}
        running.enter_context(with_variables(REQUESTS_CA_BUNDLE=canned["REQUESTS_CA_BUNDLE"]))
        yield Rig(environ, folder)


def _canned(
    running: contextlib.ExitStack, folder: Path, rows_per_hour: int, latency: float, half_pair: bool
) -> dict[str, str]:
    """Start the server; return the settings of an app that asks it."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    argv = [sys.executable, "-m", "local.tethered", "bench.server", "--folder", folder,
            "--rows-per-hour", rows_per_hour, "--latency", latency,
            *(["--half-pair"] if half_pair else [])]  # fmt: skip
    child = running.enter_context(Child([str(part) for part in argv], cwd=ROOT, on_line=lines.put))
    line = lines.get()
    if line is None:
        raise StepError(f"The server of canned answers did not start:\n{child.last_words()}")
    settings: dict[str, str] = json.loads(line)
    return settings


@contextlib.contextmanager
def with_variables(**variables: str) -> Generator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
