"""Runs one export once from a terminal, without a Functions host and without writing to storage.

    python -m local.run EXPORT [--start T] [--end T] [--top N] [--output DIR] [--settings FILE]

Rows go to standard output, one JSON object a line; what is being done, and the summary at the end, go to
standard error, so that the rows can be piped on.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from local.environment import ROOT
from local.functions_host.settings import HostError, load_local_settings
from local.scratch import ScratchContainer
from shared.errors import ExportError, NotReadyError
from shared.file_format import Format, Writer
from shared.formats import FORMATS
from shared.layout import MANIFEST, window_id
from shared.model import Batch, Clock, Export, Reading, Source, Window
from shared.sources import SOURCES
from shared.startup import read_settings
from shared.tables import ColumnsChangedError
from shared.windows import HOUR, SECOND, format_instant, parse_duration, parse_instant
from shared.wiring import App

LONGEST_SECONDS = 86_400.0
"""How long one run may take: as long as the longest operation that a service offers."""


_PREPARED = {"audit_search", "search_jobs"}
"""Sources for which a service carries out an operation that is named after its window."""

_READ_ON = {"log_analytics_search"}
"""Sources whose rows are all read to be counted: the totals that they tell are of more than the window."""


@dataclass(frozen=True)
class Options:
    """What the command line says. ``start`` and ``end`` are instants, or relative to now as in ``-7d``."""

    export: str
    start: str
    end: str
    top: int | None
    output: Path | None
    settings: Path


@dataclass
class Summary:
    """What a run came to: what the source was asked, and how many rows were shown of how many it gave.

    ``whole`` says that it gave all of them; ``total`` is how many there are where it said so.
    """

    rows: int = 0
    shown: int = 0
    requests: int = 0
    whole: bool = True
    total: int | None = None
    first_time: str | None = None
    last_time: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one export; return the exit code: 0, or 1 where something is wrong."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("azure", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return _run(options, os.environ)
    except (ExportError, HostError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the rows has enough of them
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="dev.py run", description="Run one export once, and show its rows, or store them in a folder."
    )
    parser.add_argument("export", metavar="EXPORT", help="its name in exports.toml")
    parser.add_argument("--start", default="-24h", help="an instant in UTC, or -7d before now; default -24h")
    parser.add_argument("--end", default="-0s", help="the same; default now")
    parser.add_argument("--top", type=_positive, metavar="N", help="show this many rows and count the rest")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="store the files there, in the export's own format"
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="default: local.settings.json beside dev.py, if any"
    )
    # An option that begins with a minus sign is taken for a value only where argparse sees no option in it.
    given = parser.parse_args(_joined(list(sys.argv[1:] if arguments is None else arguments)))
    if given.top is not None and given.output is not None:
        parser.error("--top shows rows, --output stores all of them: use one of the two")
    settings = given.settings or ROOT / "local.settings.json"
    if given.settings is not None and not settings.is_file():
        parser.error(f"--settings: {settings} does not exist")
    return Options(given.export, given.start, given.end, given.top, given.output, settings)


def _joined(arguments: list[str]) -> list[str]:
    """Return ``--start -7d`` as ``--start=-7d``, which argparse understands."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in {"--start", "--end"} and argument[:1] == "-":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows")
    return number


def _run(options: Options, environ: MutableMapping[str, str]) -> int:
    load_local_settings(options.settings, environ)
    environ.setdefault("AzureWebJobsStorage", "UseDevelopmentStorage=true")  # nothing is stored there
    settings = read_settings(environ, ROOT)
    app = App(settings, documents=ScratchContainer())
    export = next((each for each in settings.exports if each.name == options.export), None)
    if export is None:
        for problem in settings.problems:
            print(f"- {problem}", file=sys.stderr)
        known = ", ".join(each.name for each in settings.exports) or "none"
        print(
            f"There is no export {options.export!r} in the exports file, or it is paused or wrong. "
            f"Those that can be run: {known}.",
            file=sys.stderr,
        )
        return 1
    now = app.clock.now()
    if export.source in _PREPARED:
        now = now // HOUR * HOUR  # so that a repeated run finds the operation that this one began
    window = _window(options, now)
    start, end = format_instant(window.start)[:19], format_instant(window.end)[:19]
    if options.output is not None:
        _check_pages(options.output, _target(options.output, export, window))
    print(f"{export.name}: {export.source} from {start}Z to {end}Z", file=sys.stderr)
    began = time.monotonic()
    source = app.open_source(export)
    # What a service prepares is named after `since` too. Lags are whole seconds, so no reading the app has is
    # due a tick after its window: nothing that the app began is read, or taken back, here.
    reading = Reading(window, app.clock.monotonic() + LONGEST_SECONDS, since=window.end + 1)

    def batches() -> Iterator[Batch]:
        return _patiently(source, reading, app.clock)

    try:
        if options.output is None:
            summary = _show(batches(), options.top, read_on=export.source in _READ_ON)
        else:
            summary = _store(batches, export, window, options.output)
    except BaseException:
        if export.source in _PREPARED:  # it may have taken hours, and is paid for
            print(
                "\nWhatever the service has begun for this is still there: to read it, run the same with "
                f"--start {start}Z --end {end}Z.",
                file=sys.stderr,
            )
        raise
    with contextlib.suppress(ExportError):
        source.release(reading)
    _say(export, _total(export, source, reading, summary), summary, time.monotonic() - began)
    return 0


def _window(options: Options, now: int) -> Window:
    ticks = []
    for name, text in (("--start", options.start), ("--end", options.end)):
        try:
            at = now - parse_duration(text[1:]) if text.startswith("-") else parse_instant(text)
        except ValueError as error:
            raise HostError(
                f"{name}: {error}; expected an instant such as 2026-11-21T10:00:00Z, or -7d"
            ) from error
        ticks.append(at // SECOND * SECOND)
    if ticks[0] >= ticks[1]:
        raise HostError("--start must lie before --end")
    return Window(*ticks)


def _patiently(source: Source, reading: Reading, clock: Clock) -> Iterator[Batch]:
    """Yield the window's batches, also of a service that takes its time to prepare them.

    Raises NotReadyError only when some were yielded before: they would come again, and this run has to.
    """
    yielded = False
    while True:
        try:
            for batch in source.read(reading):
                yielded = True
                yield batch
        except NotReadyError as error:
            if yielded:
                raise
            print(f"… {error}", file=sys.stderr)
            clock.sleep(error.wait / SECOND)
        else:
            return


def _show(batches: Iterator[Batch], top: int | None, *, read_on: bool) -> Summary:
    """Print rows as JSON lines, ``top`` of them at most.

    The others are read to the end, or only until there are some: then a source is not asked for all of its
    rows to show a few.
    """
    summary = Summary()
    out = sys.stdout.buffer
    for batch in batches:
        summary.rows += len(batch.rows)
        summary.requests += batch.requests
        summary.total = batch.total
        left = len(batch.rows) if top is None else min(len(batch.rows), top - summary.shown)
        if left:
            writer = FORMATS["jsonl"].writer()
            shown = replace(batch, rows=batch.rows[:left], times=batch.times[:left])
            out.write(writer.write(shown) + writer.finish())
            out.flush()
            summary.shown += left
            _widen(summary, writer.first_time, writer.last_time)
        elif batch.rows and not read_on:
            summary.whole = False
            break
    return summary


def _widen(summary: Summary, first: str | None, last: str | None) -> None:
    if first is not None and last is not None:
        summary.first_time = min(summary.first_time or first, first)
        summary.last_time = max(summary.last_time or last, last)


def _store(batches: Callable[[], Iterator[Batch]], export: Export, window: Window, folder: Path) -> Summary:
    """Write the window's file, and the pages beside it where its format has them, to a folder.

    Where the rows turn out to need other columns than the file has by then, both begin again.
    """
    format_: Format = FORMATS[export.format]
    folder.mkdir(parents=True, exist_ok=True)
    target = _target(folder, export, window)
    part = target.with_name(target.name + ".part")
    columns, summary = export.columns, None
    while summary is None:
        try:
            with part.open("wb") as file:
                summary = _written(batches(), format_.writer(columns=columns), file, folder)
        except ColumnsChangedError as change:
            columns = change.columns
    part.replace(target)
    print(f"stored in {target}", file=sys.stderr)
    return summary


def _target(folder: Path, export: Export, window: Window) -> Path:
    """Return the path of a window's file in a folder."""
    return folder / f"{export.name}_{window_id(window)}.{FORMATS[export.format].extension}"


def _check_pages(folder: Path, target: Path) -> None:
    """Raise HostError where a window's pages would take the place of another's, for all have the same names.

    What is no manifest of pages has no pages beside it.
    """
    if not target.name.endswith(f".{MANIFEST}"):
        return
    others = sorted(path.name for path in folder.glob(f"*.{MANIFEST}") if path.name != target.name)
    if others:
        raise HostError(
            f"--output: {folder} has the pages of {others[0].removesuffix(f'.{MANIFEST}')}, and pages of all "
            "windows have the same names: name another folder, or move what is in this one"
        )


def _written(batches: Iterator[Batch], writer: Writer, file: BinaryIO, folder: Path) -> Summary:
    summary = Summary()
    for batch in batches:
        file.write(writer.write(batch))
        summary.rows += len(batch.rows)
        summary.requests += batch.requests
        for name, data in writer.files():
            (folder / name.rpartition("/")[2]).write_bytes(data)
    file.write(writer.finish())
    summary.shown = summary.rows
    summary.first_time, summary.last_time = writer.first_time, writer.last_time
    return summary


def _total(export: Export, source: Source, reading: Reading, summary: Summary) -> str:
    """Return how many rows there are; those that were not read are counted where that is one cheap query."""
    if summary.whole:
        return str(summary.rows)
    if summary.total is not None:
        return str(summary.total)
    type_ = SOURCES[export.source]
    cheap = type_.countable and not type_.union and getattr(export.options, "plan", "") == "analytics"
    if cheap:
        with contextlib.suppress(ExportError):
            return str(source.count([reading.window], reading.deadline)[0])
    return f"at least {summary.rows}"


def _say(export: Export, total: str, summary: Summary, seconds: float) -> None:
    span = f", from {summary.first_time} to {summary.last_time}" if summary.first_time else ""
    print(
        f"Total records: {total}\nReturned: {summary.shown}{span}\n"
        f"{export.name}: {summary.requests} requests in {seconds:.1f} s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
