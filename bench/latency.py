"""How much parallel slices gain where each request waits for the service."""

import time
from collections.abc import Iterator

from bench.line import Line, at_least
from bench.rig import Rig, export, rig

_TARGET = 4.5
_LATENCY = 0.3  # seconds
_PARALLEL = 5


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Export the same window slice by slice, and several slices at a time."""
    rows = 6_000 if tiny else 200_000
    with rig(rows, _LATENCY) as here:
        one, several = (_seconds(here, parallel, rows) for parallel in (1, _PARALLEL))
    yield at_least(
        f"{rows:,} rows in slices of 1 MB, {_LATENCY * 1000:.0f} ms a request: "
        f"{_PARALLEL} parallel slices beside one",
        _TARGET,
        one / several,
        f"{several:.1f} s, {one:.1f} s",
    )


def _seconds(here: Rig, parallel: int, rows: int) -> float:
    app = here.with_settings(EXPORT_ANSWER_MB="1", EXPORT_PARALLEL_SLICES=str(parallel)).app()
    export(app, 1)  # so that the next one is sized by it, and connections are there
    began = time.perf_counter()
    if export(app, 0).rows != rows:
        raise ValueError("not all rows were stored")
    return time.perf_counter() - began
