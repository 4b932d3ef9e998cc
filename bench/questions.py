"""How many questions a window takes, beside the fewest that the service's limits and our memory allow.

A simulation, a hundred times smaller than in earnest: the app's own reader asks a service that holds rows at
some rate, and that leaves rows out where they are more than it answers. A series of windows is read, each
sized by what those before it held, at several levels of volume; the figure is that of the worst.

Where every fourth window holds ten times as much, the windows after one are cut as finely as it, because of
two neighbours the larger is believed: asking too little costs questions, asking too much costs memory. To
believe the smaller was tried. It asked 1.2 times the fewest, and had answers of several times the memory
that EXPORT_ANSWER_MB allows.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from math import ceil
from random import Random
from typing import Any, cast

from bench.line import Line, at_most
from shared.clock import SystemClock
from shared.coverage import Stored, measured
from shared.log_reader import LogReader
from shared.model import Blob, Container, Request, Response, Tools, Window
from shared.query_api import to_workspace
from shared.window_kql import Selection
from shared.windows import HOUR, MINUTE, parse_instant

_TARGET = 1.15
_OURS = (32 << 20) // 100
"""Bytes of an answer that we ask for at most, as EXPORT_ANSWER_MB has it by default."""
_THEIRS = 64_000_000 // 100
"""Bytes that the service answers at most. Beyond, it leaves rows out and says so."""
_ROW_BYTES = 512
_ROW = b'["%b"],' % (b"x" * (_ROW_BYTES - 5))
_ESTIMATE = 0.8
"""What the engine takes a row for, beside its bytes on the wire: a time is 8 bytes there, a comma none."""
_PIPELINE = "where Level == 'Error'"
_DROPPED = 100
"""So many rows become one in the pipeline."""
_LEVELS = (0.15, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0)
"""How many answers a window fills, before noise and jumps."""
SPIKES = "every fourth window holds ten times as much"
_BEGIN = parse_instant("2026-11-01")
_BOUNDS = re.compile(r"let window_start = datetime\((\S+)\);\s*let window_end = datetime\((\S+)\);")

Volumes = Callable[[Random], list[float]]
"""Gives the volume of each window of a series, in those of its first."""


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Read series of each kind at several levels of volume."""
    windows = 6 if tiny else 48
    levels = _LEVELS[:3] if tiny else _LEVELS

    def steady(random: Random) -> list[float]:
        return [random.uniform(0.9, 1.1) for _ in range(windows)]

    def jumping(random: Random) -> list[float]:
        return [random.uniform(0.9, 1.1) * (10 if number % 24 >= 12 else 1) for number in range(windows)]

    def spiky(random: Random) -> list[float]:
        return [random.uniform(0.9, 1.1) * (10 if number % 4 == 3 else 1) for number in range(windows)]

    kinds: Sequence[tuple[str, Volumes, str | None, bool]] = (
        ("steady volume", steady, None, True),
        ("a pipeline whose `where` drops 99 %", steady, _PIPELINE, True),
        ("volume that jumps tenfold, and back", jumping, None, True),
        (SPIKES, spiky, None, True),
        ("the first run, sized by one count", steady, None, False),
    )
    sizings = 0
    for what, volumes, pipeline, known in kinds:
        series = [_Series(level, volumes, pipeline, Random(number)) for number, level in enumerate(levels)]
        for each in series:
            each.read(known=known)
        sizings += sum(each.counted for each in series) if known else 0
        worst = max(series, key=lambda each: each.asked / each.least)
        asked, least = sum(each.asked for each in series), sum(each.least for each in series)
        details = f"{worst.asked}, {worst.least} at {worst.level:g} answers a window; {asked}, {least} in all"
        ratio = worst.asked / worst.least
        yield at_most(f"data requests beside the fewest: {what}", _TARGET, ratio, details)
    yield Line("requests that only size a window, once an export has run", "0", str(sizings), sizings == 0)


class _Series:
    """A series of windows, the service that holds its rows, and what was asked of it."""

    def __init__(self, level: float, volumes: Volumes, pipeline: str | None, random: Random) -> None:
        self.level = level
        hours = volumes(random)
        # Rows by the minute: uneven by chance, and rising or falling over the hour.
        minutes: list[float] = []
        for volume in hours:
            slope = random.uniform(-0.5, 0.5)
            shape = [random.lognormvariate(0, 0.3) * (1 + slope * (at - 30) / 30) for at in range(60)]
            scale = level * volume * _OURS / _ROW_BYTES / sum(shape)
            minutes += [each * scale for each in shape]
        self._until = list(accumulate(minutes, initial=0.0))
        self._windows = [Window(_BEGIN + n * HOUR, _BEGIN + (n + 1) * HOUR) for n in range(len(hours))]
        self._pipeline = pipeline
        self.asked = self.counted = self.least = 0

    def read(self, *, known: bool) -> None:
        """Read all windows but the first; ``known`` says whether what was stored tells their sizes."""
        selection = Selection(table="Event", pipeline=self._pipeline)
        with ThreadPoolExecutor(2) as pool:
            nothing = cast("Container", None)  # a reader of the query API remembers nothing
            tools = Tools(lambda _: self._send, pool, 2, _OURS, SystemClock(), nothing)
            reader = LogReader(to_workspace("w"), selection, tools)
            stored: list[Stored] = []
            for number, window in enumerate(self._windows):
                size = measured(stored[-6:], window, "c") if known else None
                batches = list(reader.read(window, float("inf"), size))
                rows = sum(len(each.rows) for each in batches)
                if rows != self._rows(window):
                    raise ValueError("not every row came once")
                receipt = {"config": "c", "rows": str(rows)}
                receipt["answer_bytes"] = str(sum(each.answer_bytes for each in batches))
                stored.append(Stored(window, "jsonl.gz", Blob("", "", 0, receipt)))
                if number == 0:
                    self.asked = self.counted = 0
                else:
                    self.least += max(1, ceil(rows * _ROW_BYTES / _OURS))

    def _rows(self, window: Window) -> int:
        """Return how many rows come through the pipeline; where there is none, that is all of them."""
        first, last = (round(self._rows_until(tick)) for tick in (window.start, window.end))
        return last - first

    def _rows_until(self, tick: int) -> float:
        minute, rest = divmod(tick - _BEGIN, MINUTE)
        before = self._until[minute]
        return before + (self._until[minute + 1] - before) * rest / MINUTE if rest else before

    def _send(self, request: Request) -> Response:
        """Answer a question as the service does."""
        query = json.loads(request.body or b"")["query"]
        found = _BOUNDS.search(query)
        assert found is not None  # noqa: S101  every question of a reader has bounds
        rows = self._rows(Window(*map(parse_instant, found.groups())))
        if self._pipeline is not None and self._pipeline not in query:
            rows *= _DROPPED
        if "| summarize " in query:
            self.counted += 1
            return _answer(b"[%d,%d]," % (rows, rows * _ROW_BYTES * _ESTIMATE), 1)
        self.asked += 1
        fitting = min(rows, _THEIRS // _ROW_BYTES)
        return _answer(_ROW * fitting, fitting, missing=fitting < rows)


def _answer(rows: bytes, count: int, *, missing: bool = False) -> Response:
    error: dict[str, Any] = {"code": "PartialError", "message": "E_QUERY_RESULT_SET_TOO_LARGE (0x80DA0003)"}
    statistics = {"query": {"datasetStatistics": [{"tableRowCount": count}]}}
    rest = {"statistics": statistics, **({"error": error} if missing else {})}
    head = b'{"tables":[{"name":"PrimaryResult","columns":[{"name":"a","type":"string"}],"rows":['
    return Response(200, {}, head + rows[:-1] + b"]}]," + json.dumps(rest).encode()[1:])
