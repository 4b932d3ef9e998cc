"""Runs the benchmarks, prints what they find, and writes it down: `python3 dev.py bench [NAME …]`."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from inspect import getdoc
from pathlib import Path

from bench.line import Line
from local.environment import ROOT
from local.progress import StepError, say

BENCHMARKS = (
    *("throughput", "latency", "formats", "memory", "cold_start", "questions", "graph_rate"),
    *("scale_windows", "scale_hosts", "scale_check"),
)
"""Modules here. Each has ``run(*, tiny)``, which yields a line for each of its targets."""

PAGE = ROOT / "docs" / "performance.md"
_HEAD = """\
# Performance

This page is written by `python3 dev.py bench`, which measures everything anew, in one run on one machine: the
app beside what it is compared with. The targets are ratios, or hold anywhere; the figures behind them hold
for the machine they were taken on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; return 0 if every target was met."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Measures the app; needs minutes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)}")
    chosen = parser.parse_args(arguments).names
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; known are {', '.join(BENCHMARKS)}")
    found: dict[str, list[Line]] = {}
    try:
        for name in chosen or BENCHMARKS:
            say(f"\n── {name} " + "─" * (90 - len(name)))
            found[name] = []
            for line in benchmark(name)(tiny=False):
                found[name].append(line)
                say(_told(line))
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if not chosen:
        PAGE.write_text(page(found), encoding="utf-8", newline="\n")
        say(f"\nWritten to {PAGE.relative_to(ROOT)}.")
    return 0 if all(line.met for lines in found.values() for line in lines) else 1


def benchmark(name: str) -> Callable[..., Iterator[Line]]:
    """Return the function that runs a benchmark."""
    run: Callable[..., Iterator[Line]] = import_module(f"bench.{name}").run
    return run


def _told(line: Line) -> str:
    verdict = ("met   " if line.met else "MISSED") if line.has_target else "      "
    figures = f"  ({line.details})" if line.details else ""
    return f"{verdict}  {line.measured:>10}  {line.target:>10}  {line.what}{figures}"


def page(found: Mapping[str, Sequence[Line]]) -> str:
    """Return the page of the documentation that says what was found."""
    lines = [line for some in found.values() for line in some if line.has_target]
    met = sum(line.met for line in lines)
    parts = [f"{_HEAD}\n- targets met: {met} of {len(lines)}\n{_where()}"]
    for name, some in found.items():
        about = getdoc(import_module(f"bench.{name}")) or ""
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n\n{about}\n\n{_table(some)}")
    return "\n".join(parts)


def _table(lines: Sequence[Line]) -> str:
    rows = ["| what | target | measured | met | figures |", "|---|---|---|---|---|"]
    for line in lines:
        met = ("yes" if line.met else "**no**") if line.has_target else ""
        rows.append(f"| {line.what} | {line.target} | {line.measured} | {met} | {line.details} |")
    return "\n".join(rows) + "\n"


def _where() -> str:
    """Return what the benchmarks ran on, and when, in words."""
    return (
        f"- machine: {os.cpu_count()} cores, {_processor()}\n"
        f"- Python {platform.python_version()} on {platform.system()}\n- {datetime.now(UTC):%Y-%m-%d}\n"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
