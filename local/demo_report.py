"""What the demo prints at its end."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from local.compare import Expected, Stored, instant
from local.progress import say

SHOWN_WINDOWS = 8
"""How many windows of each export the table shows; one line sums up the others."""

ROW_WIDTH = 240
"""Characters of a row that are shown."""


def show_landed(exports: Sequence[Expected], blobs: Sequence[Stored]) -> None:
    """Print a table of what landed, newest last, and the first two rows of one blob of each export."""
    lines = [("export", "window", "rows", "bytes", "blob")]
    for export in exports:
        own = _of(export, blobs)
        if earlier := own[:-SHOWN_WINDOWS]:
            rows, size = sum(map(_rows, earlier)), sum(len(blob.content) for blob in earlier)
            lines.append((export.name, f"{len(earlier)} earlier windows", f"{rows:,}", f"{size:,}", "…"))
        for blob in own[-SHOWN_WINDOWS:]:
            start, end = map(instant, blob.span)
            window = f"{start[:16]} to {end[11:16]}"
            lines.append((export.name, window, f"{_rows(blob):,}", f"{len(blob.content):,}", blob.name))
    say("\nWhat landed (times in UTC):\n")
    _print_table(lines, right={2, 3})
    for export in exports:
        fullest = max(_of(export, blobs), key=_rows, default=None)
        if fullest is not None and _rows(fullest):
            say(f"\nThe first rows of {fullest.name}:\n")
            for line in gzip.decompress(fullest.content).decode("utf-8").splitlines()[:2]:
                say("  " + (line if len(line) <= ROW_WIDTH else line[:ROW_WIDTH] + " …"))


def show_query(question: Mapping[str, str], answer: Mapping[str, Any], port: int) -> None:
    """Print a question, its answer as a table, and the command that asks it again."""
    say(f"\nA question over HTTP: {question['query']}\n")
    if answer["rows"]:
        header = tuple(str(column["name"]) for column in answer["columns"])
        _print_table([header, *(tuple(_cell(value) for value in row) for row in answer["rows"])])
    else:
        say("  (no rows)")
    say("\nAsk it again" + (" (in cmd):\n" if os.name == "nt" else ":\n"))
    say("  " + curl(question, port, windows=os.name == "nt"))


def curl(question: Mapping[str, str], port: int, *, windows: bool) -> str:
    """The command line that asks a question, quoted for a POSIX shell or for Windows' cmd."""
    body = json.dumps(question)
    quoted = '"' + body.replace('"', '\\"') + '"' if windows else shlex.quote(body)
    return f'curl -s http://localhost:{port}/api/query -H "Content-Type: application/json" -d {quoted}'


def show_verdict(
    exports: Sequence[Expected], blobs: Sequence[Stored], found: Mapping[str, list[str]]
) -> None:
    """Print, for each export, whether every row landed exactly once, or what differs."""
    say()
    for export in exports:
        own = _of(export, blobs)
        if problems := found[export.name]:
            say(f"{export.name}: NOT as at the source:")
            for problem in problems:
                say(f"  {problem}")
        else:
            rows = sum(map(_rows, own))
            say(f"{export.name}: {rows:,} rows in {len(own)} windows, each once, as the source has it.")


def _of(export: Expected, blobs: Sequence[Stored]) -> list[Stored]:
    own = [blob for blob in blobs if blob.name.startswith(f"{export.name}/")]
    return sorted(own, key=lambda blob: blob.span)


def _rows(blob: Stored) -> int:
    return int(blob.metadata["rows"])


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _print_table(lines: Sequence[tuple[str, ...]], right: set[int] | None = None) -> None:
    """Print rows under their header in columns; those in `right` are set flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], tuple("─" * width for width in widths), *lines[1:]]
    for line in ruled:
        cells = [
            cell.rjust(width) if index in (right or ()) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        say(("  " + "  ".join(cells)).rstrip())
