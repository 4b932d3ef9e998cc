"""How much memory a worker takes, and that it does not follow the size of the window.

Parquet takes more than the other formats, and more than the target: pyarrow's libraries alone are most of
the difference, which a window of a few rows shows. The rest is a row group (16 MB of answer), twice while it
is written; smaller ones would save a little memory, and make files that are slower to read.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.answers import ROW_BYTES
from bench.line import Line, at_most, reported
from bench.rig import rig
from local.environment import ROOT
from local.progress import StepError

_PEAK = 300.0  # MB
_GROWTH = 1.1
_LARGE = 512.0  # MB: the smallest instance of Flex Consumption


_FORMATS = ("csv.gz", "jsonl.zst", "parquet")
_FEW = 1_000  # rows


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Export a window, one ten times as large, one in each format, and some of a single large answer."""
    rows = 5_000 if tiny else 1_000_000
    small, large = _worker(rows), _worker(10 * rows)
    yield _peak("jsonl.gz", 10 * rows, large)
    yield at_most(
        f"the same beside a window of {rows:,} rows",
        _GROWTH,
        large["peak"] / small["peak"],
        f"{large['peak'] / 1e6:.0f} MB, {small['peak'] / 1e6:.0f} MB",
    )
    rows = 5_000 if tiny else 600_000
    for format_ in _FORMATS[-1:] if tiny else _FORMATS:
        yield _peak(format_, rows, _worker(rows, format_))
    if not tiny:
        few = {format_: _worker(_FEW, format_)["peak"] / 1e6 for format_ in ("jsonl.gz", "parquet")}
        figures = ", ".join(f"{peak:.0f} MB to `{format_}`" for format_, peak in few.items())
        more = f"+{few['parquet'] - few['jsonl.gz']:.0f} MB"
        yield reported(f"the same for a window of {_FEW:,} rows, beside JSON lines", more, figures)
    rows = 5_000 if tiny else 100_000_000 // ROW_BYTES
    for format_ in () if tiny else ("jsonl.gz", "parquet"):
        yield _single(format_, rows)
    yield _single("jsonl.gz", rows, half_pair=True)


def _peak(format_: str, rows: int, found: dict[str, Any]) -> Line:
    what = f"peak memory of a worker that exports a window of {rows:,} rows to `{format_}`"
    return at_most(what, _PEAK, found["peak"] / 1e6, f"{found['slices']} slices", " MB")


def _single(format_: str, rows: int, *, half_pair: bool = False) -> Line:
    found = _worker(rows, format_, half_pair=half_pair, EXPORT_ANSWER_MB="999")
    if found["slices"] != 1:
        raise ValueError("the large answer was not one")
    what = f"peak memory of a worker for one answer of {rows * ROW_BYTES / 1e6:.0f} MB to `{format_}`"
    odd = ", with half of a surrogate pair in it" if half_pair else ""
    return at_most(what + odd, _LARGE, found["peak"] / 1e6, unit=" MB")


def _worker(
    rows: int, format_: str = "jsonl.gz", *, half_pair: bool = False, **settings: str
) -> dict[str, Any]:
    """Export so many rows in a process of its own; return what it found."""
    with rig(rows, half_pair=half_pair) as here:
        environ = {**here.environ, **settings}
        given = json.dumps({"environ": environ, "folder": str(here.folder), "format": format_})
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
