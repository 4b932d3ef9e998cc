"""How fast one large answer gets from the service into a blob, beside the peer and the floor.

The floor reads the body, splits its rows into cells, fills a bytes template with each row, compresses and
uploads. The app also hashes, unwraps ``dynamic`` values, finds the first and the last time, looks for what is
no UTF-8, and asks storage for what is there before and after; it wins some of that back where it joins cells
to lines without a template.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from statistics import median

from bench.answers import COLUMNS, ROW_BYTES
from bench.contenders import floor, peer
from bench.line import Line, at_least, at_most
from bench.rig import export, rig

_PEER = 10.0
_FLOOR = 1.25


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one turn took: seconds by the clock, and of the processor in this process."""

    wall: float
    cpu: float


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Let the three take turns, and compare the turns of a round with one another."""
    rows, rounds = (2_000, 1) if tiny else (100_000, 5)
    with rig(rows) as here:
        app = here.with_settings(EXPORT_ANSWER_MB="64").app()
        hours = count()
        contenders: Mapping[str, Callable[[], int]] = {
            "app": lambda: export(app, next(hours)).rows,
            "peer": peer(here),
            "floor": floor(here),
        }
        for contender in contenders.values():  # connections, tokens, imports
            _turn(contender, rows)
        turns = [{name: _turn(each, rows) for name, each in contenders.items()} for _ in range(rounds)]
    speed = {name: f"{rows / median(each[name].wall for each in turns):,.0f}" for name in contenders}
    cpu = {name: f"{median(each[name].cpu for each in turns):.2f}" for name in contenders}
    size = f"{rows:,} rows × {len(COLUMNS)} columns, {rows * ROW_BYTES / 1e6:.0f} MB"
    what = f"one answer ({size}) to a `.jsonl.gz` blob"
    yield at_least(
        f"{what}: rows/s beside azure-monitor-query + pandas",
        _PEER,
        median(each["peer"].wall / each["app"].wall for each in turns),
        f"{speed['app']} rows/s, {speed['peer']} rows/s",
    )
    yield at_most(
        f"{what}: processor time beside the floor",
        _FLOOR,
        median(each["app"].cpu / each["floor"].cpu for each in turns),
        f"{cpu['app']} s, {cpu['floor']} s",
    )


def _turn(contender: Callable[[], int], rows: int) -> _Turn:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    found = contender()
    turn = _Turn(time.perf_counter() - wall, time.process_time() - cpu)
    if found != rows:
        raise ValueError(f"{found} rows were stored, {rows} were there")
    return turn
