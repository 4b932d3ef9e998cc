"""How much memory a worker takes, and that it does not follow the size of the window."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.answers import ROW_BYTES
from bench.line import Line, at_most
from bench.rig import rig
from local.environment import ROOT
from local.progress import StepError

_PEAK = 300.0  # MB
_GROWTH = 1.1
_LARGE = 512.0  # MB: the smallest instance of Flex Consumption


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Export a window, one ten times as large, and one that comes as a single large answer."""
    rows = 5_000 if tiny else 1_000_000
    small, large = _worker(rows), _worker(10 * rows)
    yield at_most(
        f"peak memory of a worker that exports a window of {10 * rows:,} rows",
        _PEAK,
        large["peak"] / 1e6,
        f"{large['slices']} slices",
        " MB",
    )
    yield at_most(
        f"the same beside a window of {rows:,} rows",
        _GROWTH,
        large["peak"] / small["peak"],
        f"{large['peak'] / 1e6:.0f} MB, {small['peak'] / 1e6:.0f} MB",
    )
    rows = 5_000 if tiny else 100_000_000 // ROW_BYTES
    single = _worker(rows, EXPORT_ANSWER_MB="999")
    if single["slices"] != 1:
        raise ValueError("the large answer was not one")
    yield at_most(
        f"peak memory of a worker for one answer of {rows * ROW_BYTES / 1e6:.0f} MB",
        _LARGE,
        single["peak"] / 1e6,
        unit=" MB",
    )


def _worker(rows: int, **settings: str) -> dict[str, Any]:
    """Export so many rows in a process of its own; return what it found."""
    with rig(rows) as here:
        given = json.dumps({"environ": {**here.environ, **settings}, "folder": str(here.folder)})
        worker = subprocess.run(
            [sys.executable, "-m", "bench.worker"],
            input=given,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if worker.returncode != 0:
        raise StepError(f"The worker failed:\n{worker.stderr}")
    found: dict[str, Any] = json.loads(worker.stdout.splitlines()[-1])
    if found["rows"] != rows:
        raise ValueError(f"{found['rows']} rows were stored, {rows} were there")
    return found
