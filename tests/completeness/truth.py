"""What landed, read back and compared with what the source holds, value by value.

Nothing here is the app's own: the arithmetic of time and the equality of values are `local.compare`'s, and
names, lines and receipts are read by code of this module.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from backports import zstd

from local.cloud import INGESTION_TIME, Cloud
from local.compare import freeze, instant, ticks

Row = Mapping[str, Any]
_TIMES = ("TimeGenerated", "detectedDateTime", "createdDateTime", "activityDateTime", "activityDate",
          "signinDateTime")  # fmt: skip
"""What a row's own time is called; of two, the first is the one."""

Timed = tuple[int, Row]
"""A row of the source as it should be stored, and the tick that puts it into a window."""

_NAME = re.compile(
    r"(?P<export>[^/]+)/window_date=(?P<date>[0-9-]{10})/window_hour=(?P<hour>\d\d)/"
    r"(?P<start>\d{8}T\d{6}Z)_(?P<end>\d{8}T\d{6}Z)\.(?P<extension>jsonl(?:\.gz|\.zst)?|csv(?:\.gz)?|parquet)"
)


@dataclass(frozen=True)
class Landed:
    """One blob of the data container."""

    name: str
    etag: str
    metadata: Mapping[str, str]
    content: bytes

    @property
    def window(self) -> tuple[int, int]:
        """The window that its receipt names, in ticks."""
        return ticks(self.metadata["window_start"]), ticks(self.metadata["window_end"])

    @property
    def revision(self) -> int:
        """How often the window was stored."""
        return int(self.metadata["revision"])

    @property
    def lines(self) -> list[bytes]:
        """Its lines, which end at a line feed and at nothing else."""
        text = self.content
        if self.name.endswith(".gz"):
            text = gzip.decompress(text)
        elif self.name.endswith(".zst"):
            text = zstd.decompress(text)
        lines = text.split(b"\n")
        assert lines.pop() == b"", f"{self.name}: the last line has no end"
        return lines

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its rows, with every digit of a number."""
        return [decode(line) for line in self.lines]


def decode(line: bytes | str) -> Any:
    """A JSON text with every digit of its numbers; a member that stands twice is a mistake."""
    return json.loads(line, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), f"a member stands twice: {[name for name, _ in pairs]}"
    return members


def multiset(rows: Iterable[Row]) -> Counter[Hashable]:
    """Rows as they can be compared: equal only where type, digits and shape are."""
    return Counter(freeze(row) for row in rows)


def nested(value: Any, kind: str) -> Any:
    """A `dynamic` that holds an object or an array is stored as such; any other text stays a text."""
    if kind == "dynamic" and isinstance(value, str):
        try:
            parsed = json.loads(value, parse_float=Decimal, parse_int=Decimal)
        except ValueError:
            return value
        return parsed if isinstance(parsed, dict | list) else value
    return value


def rows_at_source(
    cloud: Cloud,
    columns: Mapping[str, str],
    *,
    table: str = "Event",
    window_column: str = "ingestion_time",
    shaped: Callable[[dict[str, Any]], Row | None] = lambda row: row,
) -> list[Timed]:
    """A table's rows as they should be stored, with their window time. `shaped` is the pipeline's work."""
    found = []
    for raw in cloud.rows(table):
        ingested = raw.pop(INGESTION_TIME)
        time = ingested if window_column == "ingestion_time" and ingested else raw["TimeGenerated"]
        row = shaped({name: nested(value, columns[name]) for name, value in raw.items()})
        if row is not None:
            found.append((ticks(str(time)), row))
    return found


def searched_at_source(cloud: Cloud, *tables: str, **having: object) -> list[Timed]:
    """Tables' rows as the search API of 2015 has them: without what is empty, with an id and metadata."""
    rows: list[Timed] = []
    for row in (row for table in tables for row in cloud.rows(table)):
        shown = {name: value for name, value in row.items() if value not in (None, "")}
        del shown[INGESTION_TIME]
        shown["id"] = shown.pop("_ItemId")
        shown["__metadata"] = {"Type": row["Type"], "TimeGenerated": row["TimeGenerated"], "highlighting": {}}
        if all(row.get(name) == value for name, value in having.items()):
            rows.append((ticks(str(row["TimeGenerated"])), shown))
    return rows


def audits_at_source(cloud: Cloud) -> list[Timed]:
    """The directory audits with their window time; of records that are the same in every member, one."""
    distinct = {freeze(record): record for record in cloud.audits()}
    return [(ticks(str(record["activityDateTime"])), record) for record in distinct.values()]


def problems(blobs: Sequence[Landed], source: Sequence[Timed], start: int, end: int) -> list[str]:
    """Everything in which blobs differ from the source's rows of `[start, end)`: nothing, when all is well.

    Each window is compared for itself, so that a row in the wrong one is found as well as a lost, doubled or
    altered one; and together they cover the time once.
    """
    found = []
    reached = start
    for blob in sorted(blobs, key=lambda each: each.window):
        found += [f"{blob.name}: {problem}" for problem in _own_problems(blob)]
        first, last = blob.window
        if first != reached:
            found.append(f"{blob.name}: covered so far is {instant(reached)}: a gap, or time that is doubled")
        reached = last
        stored = multiset(blob.rows)
        wanted = multiset(row for time, row in source if first <= time < last)
        found += [f"{blob.name}: lacks {count} of {row}" for row, count in (wanted - stored).items()]
        found += [f"{blob.name}: has {count} more of {row}" for row, count in (stored - wanted).items()]
    if reached != end:
        found.append(f"covered until {instant(reached)} instead of {instant(end)}")
    return found[:10]


def _own_problems(blob: Landed) -> Iterator[str]:
    """What is wrong with a blob, looking at nothing but itself: its name and its receipt."""
    match = _NAME.fullmatch(blob.name)
    if match is None:
        yield "no name of the storage layout"
        return
    for key in ("start", "end"):
        if re.sub(r"[-:]", "", blob.metadata[f"window_{key}"]) != match[key]:
            yield f"the receipt's {key} is {blob.metadata[f'window_{key}']}"
    if blob.metadata["window_start"][:13] != f"{match['date']}T{match['hour']}":
        yield "not in its window's partition"
    if blob.metadata["sha256"] != hashlib.sha256(blob.content).hexdigest():
        yield "the receipt's sha256 is not that of the blob"
    rows = blob.rows
    if blob.metadata["rows"] != str(len(rows)):
        yield f"the receipt says {blob.metadata['rows']} rows, there are {len(rows)}"
    times = [str(time) for row in rows if (time := next(filter(None, map(row.get, _TIMES)), None))]
    for key, extreme in (("first_time", min), ("last_time", max)):
        wanted = extreme(map(ticks, times)) if times else None
        given = blob.metadata[key]
        if (ticks(given) if given else None) != wanted:
            yield f"the receipt's {key} is {given!r}"
