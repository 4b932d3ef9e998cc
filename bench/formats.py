"""How fast each of the other formats gets from the service into a blob, beside pandas writing the same."""

import gc
import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median

from bench.answers import COLUMNS, ROW_BYTES, Answers
from bench.contenders import peer
from bench.line import Line, at_least, reported
from bench.rig import export, rig
from shared.formats import FORMATS
from shared.log_reader import portions
from shared.model import Batch
from shared.query_api import read_answer
from shared.wiring import App

_PEER = 5.0
_WRITTEN_BY = {
    "csv.gz": "`to_csv`",
    "csv-guarded.gz": "`to_csv`",
    "parquet": "`to_parquet`",
    "jsonl.zst": "`to_json`",
}
_SIZES = ("jsonl.gz", "jsonl.zst", "jsonl", "csv.gz", "csv", "parquet")


def run(*, tiny: bool = False) -> Iterator[Line]:
    """For each format let the app and the peer take turns, and compare the turns of a round."""
    rows, rounds = (2_000, 1) if tiny else (100_000, 3)
    with rig(rows) as here:
        hours = count()
        for format_, written_by in _WRITTEN_BY.items():
            app = here.with_settings(EXPORT_ANSWER_MB="64").app(format_)
            other = peer(here, format_.replace("-guarded", ""))

            def own(app: App = app) -> int:
                return export(app, next(hours)).rows

            for contender in (own, other):  # connections, tokens, imports
                _seconds(contender, rows)
            turns = [(_seconds(own, rows), _seconds(other, rows)) for _ in range(rounds)]
            speeds = (f"{rows / median(each):,.0f} rows/s" for each in zip(*turns, strict=True))
            what = f"{_rows(rows)} → `{format_}`"
            yield at_least(
                f"{what}: rows/s beside azure-monitor-query + pandas {written_by}",
                _PEER,
                median(theirs / ours for ours, theirs in turns),
                ", ".join(speeds),
            )
    yield from _sizes(rows)


def _sizes(rows: int) -> Iterator[Line]:
    """Write the same rows in each format, and say how large the files are."""
    answer = read_answer(Answers(rows).body(rows))
    for name in _SIZES:
        writer = FORMATS[name].writer()
        batch = Batch(rows=answer.rows, columns=answer.columns)
        size = sum(len(writer.write(each)) for each in portions(batch)) + len(writer.finish())
        yield reported(f"size of {_rows(rows)} as `{name}`", f"{size / 1e6:.1f} MB")


def _rows(count: int) -> str:
    return f"{count:,} rows × {len(COLUMNS)} columns ({count * ROW_BYTES / 1e6:.0f} MB)"


def _seconds(contender: Callable[[], int], rows: int) -> float:
    gc.collect()
    began = time.perf_counter()
    found = contender()
    seconds = time.perf_counter() - began
    if found != rows:
        raise ValueError(f"{found} rows were stored, {rows} were there")
    return seconds
