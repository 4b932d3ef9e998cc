"""The real job on one machine: Azurite, the stand-in cloud and the app in its host, run once and checked.

`python -m local.demo` (dev.py starts it) exports what is due, asks one question over HTTP, shows what landed
and compares it with what the stand-in holds. Then it stays up until Ctrl-C, or ends with `--once`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from local import demo_report as report
from local.azurite import Azurite
from local.cloud import INGESTION_TIME, Cloud, Limits, Options
from local.cloud.tables import TABLES
from local.compare import Expected, Stored, Truth, certainly_due, differences, read_exports, ticks
from local.demo_app import SETTINGS, App, Storage, require_free_port, start_app
from local.environment import ROOT
from local.progress import Step, StepError, say

TIMERS = ("export_log_analytics", "export_entra")
STALLED_SECONDS = 180.0
"""A run in which no window lands for so long will not end."""

QUESTION = {
    "query": "Event | summarize Rows = count() by EventLevelName | order by Rows desc",
    "timespan": "P1D",
}


def main(argv: Sequence[str]) -> int:
    """Run the demo; return 0 if every row landed exactly once, 1 if not or if a step failed."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: tidily
    _keep_loopback_from_proxies()
    try:
        return _run(options.port, options.rows, once=options.once)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nStopped; nothing is left running.")
        return 130 if options.once else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py demo")
    parser.add_argument("--once", action="store_true", help="end after the export")
    parser.add_argument("--port", type=int, default=7071, help="where the app answers HTTP")
    parser.add_argument("--rows", type=int, default=Options().events, help="events in the stand-in cloud")
    return parser


def _run(port: int, rows: int, *, once: bool) -> int:
    require_free_port(port)
    folder = ROOT / ".local" / f"demo-{port}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    exports = read_exports(ROOT / "exports.toml")
    with contextlib.ExitStack() as running:
        azurite = running.enter_context(Azurite.start(folder=folder / "azurite"))
        with Step(f"Starting the stand-in cloud with {rows:,} events"):
            # Graph's limit of 5 reports in 10 seconds would make a week of hourly windows take minutes.
            options = Options(events=rows, limits=Limits(reports=None))
            cloud = running.enter_context(Cloud(options, folder=folder / "cloud"))
        app = start_app(
            folder,
            port,
            {
                **cloud.environment(),
                "AzureWebJobsStorage": azurite.connection_string,
                "EXPORT_GRAPH_REQUESTS": "999",
            },
        )
        running.enter_context(app.child)
        app.wait_until_ready()
        began = _now()
        for timer in TIMERS:
            app.run_function(timer)
        storage = Storage(azurite.connection_string)
        blobs = _wait_until_landed(exports, storage, app, began)
        found = _compare(exports, cloud, blobs, began)
        report.show_landed(exports, blobs)
        report.show_query(QUESTION, app.query(QUESTION), port)
        report.show_verdict(exports, blobs, found)
        if not once:
            _stay_up(app)
    return 1 if any(found.values()) else 0


def _wait_until_landed(exports: Sequence[Expected], storage: Storage, app: App, began: int) -> list[Stored]:
    """Wait until every due window has a blob and the queue is empty; return all blobs."""
    landed = -1
    deadline = 0.0
    with Step("Exporting what is due") as step:
        while True:
            spans = storage.spans()
            queued = storage.queued()
            missing = total = 0
            for export in exports:
                due = certainly_due(export, began, _now())
                missing += _missing(export, due, spans.get(export.name, []))
                total += max(0, due[1] - due[0]) // export.window
            step.detail = f"{total - missing} of {total} windows, {queued} queued"
            if missing == 0 and queued == 0:
                return storage.blobs()
            if (count := sum(map(len, spans.values()))) > landed:
                landed, deadline = count, time.monotonic() + STALLED_SECONDS
            app.require_alive()
            _require_progress(storage, app, deadline, step.detail)
            time.sleep(0.5)


def _missing(export: Expected, due: tuple[int, int], spans: Sequence[tuple[int, int]]) -> int:
    """How many grid cells of the due time no stored window covers to the end."""
    return sum(
        not any(start <= cell and cell + export.window <= end for start, end in spans)
        for cell in range(due[0], due[1], export.window)
    )


def _require_progress(storage: Storage, app: App, deadline: float, state: str) -> None:
    if poisoned := storage.poisoned():
        raise StepError(f"{poisoned} windows failed for good ({state}). {app.where_to_look()}")
    if time.monotonic() > deadline:
        raise StepError(f"No window has landed for {STALLED_SECONDS:.0f} s ({state}). {app.where_to_look()}")


def _compare(
    exports: Sequence[Expected], cloud: Cloud, blobs: Sequence[Stored], began: int
) -> Mapping[str, list[str]]:
    """Export -> what differs from what the stand-in holds."""
    with Step("Comparing every row with the stand-in's, value by value"):
        truth = Truth(
            tables={export.table: cloud.rows(export.table) for export in exports if export.table},
            columns=TABLES,
            audits=cloud.audits(),
            ingested=lambda row: None if row[INGESTION_TIME] is None else str(row[INGESTION_TIME]),
        )
        ended = _now()
        found = {}
        for export in exports:
            own = [blob for blob in blobs if blob.name.startswith(f"{export.name}/")]
            found[export.name] = differences(export, truth, own, certainly_due(export, began, ended))
            if not any(int(blob.metadata["rows"]) for blob in own):
                found[export.name].append("no rows at all, so that nothing is proven: try more with --rows")
    return found


def _stay_up(app: App) -> None:
    settings = app.log.with_name(SETTINGS)
    say(f"\nIts settings, and in AzureWebJobsStorage what opens its storage: {settings}")
    say(f"\nUp on http://localhost:{app.port} until Ctrl-C. Its console (all of it: {app.log}):\n")
    app.echo = True
    while True:
        app.require_alive()
        time.sleep(0.5)


def _now() -> int:
    return ticks(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _keep_loopback_from_proxies() -> None:
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
