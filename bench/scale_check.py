"""The simulation beside what was measured: `python -m bench.scale_check`.

What the simulation is given is measured first: the processor time that a megabyte of answers takes, and what
a window takes one host. What it then says of more hosts and more slices is compared with a measurement.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from bench.answers import ROW_BYTES
from bench.line import Line, at_most
from bench.rig import Rig, export, rig
from bench.scale_hosts import Pace, loopback, measure
from bench.scale_model import App, Case, Load, Plan, Service, simulate

_OFF = 1.35
"""How far off the simulation may be, either way: it knows nothing of the emulators on the same two cores."""
_LATENCY = 0.5


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Measure, simulate, compare."""
    app = calibrated(tiny=tiny)
    yield from _slices(app, tiny=tiny)
    if not tiny:
        one, *more = [measure(hosts, 1.0, 15) for hosts in (1, 2, 4)]
        yield from _hosts(app, one, more)


def calibrated(*, tiny: bool = False) -> App:
    """Return the app as it is on one core of this machine, by an export of little and one of much."""
    little, much = (_processor_seconds(rows) for rows in (100, 5_000 if tiny else 100_000))
    megabytes = (5_000 if tiny else 100_000) * ROW_BYTES / 1e6
    return App(processor_seconds_a_megabyte=(much - little) / megabytes, processor_seconds_a_window=little)


def _processor_seconds(rows: int) -> float:
    """Return what one window of one answer takes, the least of a few."""
    with rig(rows) as here:
        app, hours = here.with_settings(EXPORT_ANSWER_MB="64").app(), count()
        export(app, next(hours))  # connections, tokens, imports
        found = []
        for hour in list(zip(range(4), hours, strict=False)):
            began = time.process_time()
            export(app, hour[1])
            found.append(time.process_time() - began)
    return min(found)


def _slices(app: App, *, tiny: bool) -> Iterator[Line]:
    """Compare one window's slices, one at a time and five at a time."""
    rows = 10_000 if tiny else 100_000
    with rig(rows, _LATENCY) as here:
        for parallel in (1, 5):
            seconds, slices = _window(here, rows, parallel)
            case = Case(
                Load(rows, ROW_BYTES),
                Service(running=parallel, start_seconds=_LATENCY, megabytes_a_second=1e6),
                replace(
                    app,
                    max_in_flight=1,
                    parallel_slices=parallel,
                    answer_megabytes=rows * ROW_BYTES / slices / 2**20 + 1e-6,
                    storage_seconds=0.005,
                ),
                Plan(instances=1),
            )
            said = simulate(case).seconds_a_window
            yield _compared(f"a window of {slices} slices, {parallel} at a time", said, seconds, "s")


def _window(here: Rig, rows: int, parallel: int) -> tuple[float, int]:
    app = here.with_settings(EXPORT_ANSWER_MB="2", EXPORT_PARALLEL_SLICES=str(parallel)).app()
    export(app, 1)  # so that the next one is sized by it, and connections are there
    began = time.perf_counter()
    receipt = export(app, 0)
    seconds = time.perf_counter() - began
    if receipt.rows != rows:
        raise ValueError("not all rows were stored")
    return seconds, receipt.slices


def _hosts(app: App, one: Pace, more: list[Pace]) -> Iterator[Line]:
    """Give the simulation what a window took one host, and ask it about more of them."""
    taken = one.cpu_a_window or app.processor_seconds_a_window
    calls = app.storage_lists + app.storage_reads + app.storage_writes + app.queue_calls + 1
    waited = max(0.0, 1 / one.windows_a_second - one.query_seconds - taken) / calls
    for pace in more:
        case = Case(
            Load(rows_a_window=100),
            Service(start_seconds=pace.query_seconds),
            replace(
                app,
                max_in_flight=max(2, pace.hosts),
                processor_seconds_a_window=taken,
                storage_seconds=waited,
            ),
            Plan(instances=pace.hosts),
        )
        said = simulate(case).rows_an_hour / 100 / 3600
        yield _compared(f"{pace.hosts} hosts, by what one took", said, pace.windows_a_second, "windows/s")


def _compared(what: str, said: float, measured: float, unit: str) -> Line:
    details = f"simulated {said:.2f} {unit}, measured {measured:.2f} {unit}"
    return at_most(f"the simulation beside {what}", _OFF, max(said / measured, measured / said), details)


def main() -> int:
    """Print what was found."""
    with loopback():
        app = calibrated()
        print(
            f"{app.processor_seconds_a_megabyte * 1000:.1f} ms of processor a megabyte of answers", flush=True
        )
        for line in run(tiny="--tiny" in sys.argv):
            print(f"{line.what}: {line.measured} ({line.target}); {line.details}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
