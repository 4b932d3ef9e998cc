"""Compares what was exported with what the source holds, value by value.

It shares nothing with the exporter, so that a mistake there cannot hide here: it reads exports.toml itself,
and its clock arithmetic, KQL pipeline and JSON reading are its own. It is meant for the shipped exports,
and says so where it meets an export that it cannot judge.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

Row = Mapping[str, object]
"""A row as the query service's wire has it, or an audit record as Graph's has it: decoded JSON values."""

SECOND = 10_000_000
"""Ticks of 100 ns."""

_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?Z")
_SHOWN = 3
"""How many rows of each kind of difference a report shows."""

_SHOWN_WIDTH = 500
"""How many characters of each."""


class CannotJudgeError(Exception):
    """An export uses something that this module does not understand."""


@dataclass(frozen=True)
class Expected:
    """What exports.toml asks for, as far as it decides which rows belong where. Times in ticks."""

    name: str
    source: str
    table: str
    pipeline: str
    window: int
    lag: int
    start: int
    """Ticks from the first run to the first window: negative, or zero for now."""


@dataclass(frozen=True)
class Truth:
    """All that the source holds. `ingested` gives the ingestion time of a table's row, as text, or None."""

    tables: Mapping[str, Sequence[Row]]
    columns: Mapping[str, Mapping[str, str]]
    """Table -> column -> Kusto type."""
    audits: Sequence[Row]
    ingested: Callable[[Row], str | None]


@dataclass(frozen=True)
class Stored:
    """One blob of the data container."""

    name: str
    metadata: Mapping[str, str]
    content: bytes

    @property
    def span(self) -> tuple[int, int]:
        """The window, from the receipt."""
        return ticks(self.metadata["window_start"]), ticks(self.metadata["window_end"])


def read_exports(file: Path) -> list[Expected]:
    """The enabled exports of an exports file. Raises `CannotJudgeError`."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("export", [])
    return [_expected(entry) for entry in entries if entry.get("enabled", True)]


def _expected(entry: Mapping[str, str]) -> Expected:
    known = {
        "name",
        "source",
        "workspace",
        "table",
        "pipeline",
        "log",
        "window",
        "lag",
        "start",
        "format",
        "enabled",
    }
    kind = (entry["source"], entry.get("log", "directoryAudits"))
    if unknown := sorted(set(entry) - known):
        raise CannotJudgeError(f"export {entry['name']}: compare.py does not know {', '.join(unknown)}")
    if kind not in {("log_analytics", "directoryAudits"), ("entra", "directoryAudits")}:
        raise CannotJudgeError(f"export {entry['name']}: compare.py does not know {kind}")
    if entry.get("format", "jsonl.gz") != "jsonl.gz" or not entry["start"].startswith("-"):
        raise CannotJudgeError(
            f"export {entry['name']}: compare.py knows format jsonl.gz and a relative start only"
        )
    return Expected(
        name=entry["name"],
        source=entry["source"],
        table=entry.get("table", ""),
        pipeline=entry.get("pipeline", ""),
        window=duration(entry["window"]),
        lag=duration(entry["lag"]),
        start=-duration(entry["start"][1:]),
    )


def certainly_due(export: Expected, began: int, ended: int) -> tuple[int, int]:
    """The time that a first run between two instants must cover, in whole windows of the grid.

    The planner looked at some time between the two, so a window at either edge may or may not be due;
    what this returns is due whenever it looked. Empty (end <= start) where nothing is.
    """
    start = -(-(ended + export.start) // export.window) * export.window
    end = (began - export.lag) // export.window * export.window
    return start, end


def differences(export: Expected, truth: Truth, blobs: Iterable[Stored], due: tuple[int, int]) -> list[str]:
    """Everything in which one export's blobs differ from the source: nothing where every row landed once.

    Checked are the cover of `due` (no gap, no overlap), each receipt against its blob, and each blob's rows
    against the source's rows of its window as multisets, with every digit and tick.
    """
    ordered = sorted(blobs, key=lambda blob: blob.span)
    found = list(_cover(export, ordered, due))
    rows_at = _rows_by_time(export, truth)
    for blob in ordered:
        found += [f"{blob.name}: {problem}" for problem in _blob_problems(blob, rows_at)]
    return found


def _cover(export: Expected, ordered: Sequence[Stored], due: tuple[int, int]) -> Iterator[str]:
    reached = due[0]
    last_end = 0
    for blob in ordered:
        start, end = blob.span
        if not blob.name.startswith(f"{export.name}/"):
            yield f"{blob.name}: not a blob of export {export.name}"
        if start < last_end:
            yield f"{blob.name}: overlaps the window before it, so rows are doubled"
        if start > reached and reached < due[1]:
            yield f"{export.name}: nothing covers {instant(reached)} to {instant(min(start, due[1]))}"
        last_end = max(last_end, end)
        reached = max(reached, end)
    if reached < due[1]:
        yield f"{export.name}: nothing covers {instant(reached)} to {instant(due[1])}"


def _blob_problems(blob: Stored, rows_at: Callable[[int, int], Iterator[Row]]) -> Iterator[str]:
    text = gzip.decompress(blob.content).decode("utf-8")
    lines = text.split("\n")
    if lines.pop() != "":
        yield "the last line has no line end"
    decoded = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in lines]
    demanded = list(rows_at(*blob.span))
    stored, wanted = Counter(map(freeze, decoded)), Counter(map(freeze, demanded))
    if blob.metadata["sha256"] != hashlib.sha256(blob.content).hexdigest():
        yield "the receipt's sha256 is not that of the blob"
    if blob.metadata["rows"] != str(len(lines)):
        yield f"the receipt says {blob.metadata['rows']} rows, the blob has {len(lines)}"
    if missing := wanted - stored:
        yield f"rows missing: {missing.total()}, such as{_examples(demanded, missing)}"
    if extra := stored - wanted:
        yield f"rows doubled, altered or misplaced: {extra.total()}, such as{_examples(decoded, extra)}"


def _examples(rows: Iterable[Row], frozen: Counter[Hashable]) -> str:
    """The first few rows that are among the frozen ones, as JSON, each on a line."""
    among = (json.dumps(row, ensure_ascii=False, default=str) for row in rows if freeze(row) in frozen)
    return "".join(f"\n      {text[:_SHOWN_WIDTH]}" for text in itertools.islice(among, _SHOWN))


def _rows_by_time(export: Expected, truth: Truth) -> Callable[[int, int], Iterator[Row]]:
    """A function that gives what the source's rows of `[start, end)` should look like when stored."""
    if export.source == "entra":
        timed = [(ticks(str(record["activityDateTime"])), record) for record in truth.audits]
    else:
        transform = _pipeline(export.pipeline)
        types = truth.columns[export.table]
        timed = []
        for raw in truth.tables[export.table]:
            row = transform({name: _nested(raw[name], kind) for name, kind in types.items()})
            if row is not None:
                timed.append((ticks(truth.ingested(raw) or str(raw["TimeGenerated"])), row))

    def rows(start: int, end: int) -> Iterator[Row]:
        return (row for time, row in timed if start <= time < end)

    return rows


def _nested(value: object, kind: str) -> object:
    """A `dynamic` value that holds an object or an array is stored as such; any other text stays a string."""
    if kind != "dynamic" or not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return value
    return parsed if isinstance(parsed, dict | list) else value


def _pipeline(text: str) -> Callable[[Row], Row | None]:
    """A KQL pipeline of `where Column == 'text'` and `project A, B` as a function; None is a row left out."""
    steps = [_step(part.strip()) for part in re.split(r"\|(?=(?:[^']*'[^']*')*[^']*$)", text) if part.strip()]

    def run(row: Row) -> Row | None:
        shaped: Row | None = row
        for step in steps:
            shaped = step(shaped) if shaped is not None else None
        return shaped

    return run


def _step(text: str) -> Callable[[Row], Row | None]:
    if where := re.fullmatch(r"where\s+(\w+)\s*==\s*'([^'\\]*)'", text):
        column, value = where.groups()
        return lambda row: row if row[column] == value else None
    if project := re.fullmatch(r"project\s+(\w+(?:\s*,\s*\w+)*)", text):
        columns = re.split(r"\s*,\s*", project[1])
        return lambda row: {column: row[column] for column in columns}
    raise CannotJudgeError(f"compare.py does not know the KQL operator in {text!r}")


def freeze(value: object) -> Hashable:
    """A decoded JSON value as one that can be counted: equal only where type, digits and shape are."""
    match value:
        case dict():
            return ("object", tuple(sorted((key, freeze(item)) for key, item in value.items())))
        case list():
            return ("array", tuple(freeze(item) for item in value))
        case bool() | None | str():
            return (type(value).__name__, value)
        case int() | Decimal():
            return ("number", Decimal(value))
        case float():
            return ("number", Decimal(repr(value)))  # the shortest digits, which are the ones that are sent
        case _:
            raise TypeError(f"not a JSON value: {value!r}")


def ticks(text: str) -> int:
    """An instant such as `2026-11-21T10:00:00.1234567Z` in ticks of 100 ns since 0001-01-01T00:00:00Z."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an instant with up to seven fraction digits and Z: {text!r}")
    day, hour, minute, second, fraction = match.groups()
    minutes = ((date.fromisoformat(day).toordinal() - 1) * 24 + int(hour)) * 60 + int(minute)
    return minutes * _UNITS["m"] + int(second) * SECOND + int((fraction or "").ljust(7, "0"))


def instant(value: int) -> str:
    """Ticks as a readable instant, to the second."""
    minutes, rest = divmod(value, _UNITS["m"])
    days, minute_of_day = divmod(minutes, 24 * 60)
    day = date.fromordinal(days + 1).isoformat()
    return f"{day}T{minute_of_day // 60:02}:{minute_of_day % 60:02}:{rest // SECOND:02}Z"


def duration(text: str) -> int:
    """A length such as `15m` or `7d` in ticks."""
    return int(text[:-1]) * _UNITS[text[-1]]
