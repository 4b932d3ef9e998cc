"""The comparison that the demo's verdict rests on sees every way in which an export can be wrong."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.compare import (
    CannotJudgeError,
    Expected,
    Stored,
    Truth,
    certainly_due,
    differences,
    duration,
    instant,
    read_exports,
    ticks,
)

HOUR = duration("1h")
TYPES = {
    "TimeGenerated": "datetime",
    "Level": "string",
    "Id": "long",
    "Share": "real",
    "Data": "dynamic",
    "Note": "string",
}
EVENTS = Expected(
    name="events", source="log_analytics", table="Event",
    pipeline="where Level == 'Error' | project TimeGenerated, Id, Share, Data, Note",
    window=HOUR, lag=duration("15m"), start=-duration("24h"),
)  # fmt: skip
AUDITS = dataclasses.replace(EVENTS, name="audits", source="entra", table="", pipeline="")
DUE = (ticks("2026-11-21T10:00:00Z"), ticks("2026-11-21T12:00:00Z"))


def event(time: str, number: int, *, level: str = "Error", ingested: str | None = None) -> dict[str, Any]:
    """A row as the source's wire has it; ingested when it was generated unless told otherwise."""
    return {
        "TimeGenerated": time, "Level": level, "Id": number, "Share": 0.1,
        "Data": '{"a": [1, 2.50]}', "Note": '{"b": 1}', "ingested": ingested,
    }  # fmt: skip


ROWS = [
    event("2026-11-21T10:00:00.0000000Z", 9007199254740993),
    event("2026-11-21T10:30:00.1234567Z", 2),
    event("2026-11-21T10:59:59.9999999Z", 3),
    event("2026-11-21T11:00:00.0000000Z", 4),
    event("2026-11-21T10:10:00.0000000Z", 5, ingested="2026-11-21T11:10:00.0000000Z"),
    event("2026-11-21T10:20:00.0000000Z", 6, level="Warning"),
    event("2026-11-21T12:00:00.0000000Z", 7),
]
RECORDS: list[dict[str, Any]] = [
    {"id": "a", "activityDateTime": "2026-11-21T10:00:00Z", "targetResources": [{"n": None}]},
    {"id": "b", "activityDateTime": "2026-11-21T11:59:59.9999999Z", "targetResources": []},
]
TRUTH = Truth(
    tables={"Event": ROWS},
    columns={"Event": TYPES},
    audits=RECORDS,
    ingested=lambda row: None if row["ingested"] is None else str(row["ingested"]),
)
LINE = '{{"TimeGenerated":"{}","Id":{},"Share":0.1,"Data":{{"a":[1,2.50]}},"Note":"{{\\"b\\": 1}}"}}'
FIRST = [
    LINE.format("2026-11-21T10:00:00.0000000Z", 9007199254740993),
    LINE.format("2026-11-21T10:30:00.1234567Z", 2),
    LINE.format("2026-11-21T10:59:59.9999999Z", 3),
]
SECOND = [LINE.format("2026-11-21T11:00:00.0000000Z", 4), LINE.format("2026-11-21T10:10:00.0000000Z", 5)]


def stored(start: str, end: str, lines: Sequence[str], *, export: str = "events") -> Stored:
    """A blob with a true receipt."""
    content = gzip.compress("".join(f"{line}\n" for line in lines).encode())
    metadata = {
        "window_start": start,
        "window_end": end,
        "rows": str(len(lines)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Stored(f"{export}/{start}_{end}.jsonl.gz", metadata, content)


def two_windows(first: Sequence[str] = FIRST, second: Sequence[str] = SECOND) -> list[Stored]:
    """The due time in two blobs."""
    return [
        stored("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", first),
        stored("2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z", second),
    ]


def test_a_true_export_has_no_differences() -> None:
    """Order does not matter; a late row is in the window of its ingestion; the filter applies."""
    assert differences(EVENTS, TRUTH, two_windows(first=FIRST[::-1]), DUE) == []


def test_a_true_audit_export_has_no_differences() -> None:
    """Records are compared whole, at the time of their activity."""
    lines = [json.dumps(record) for record in RECORDS]
    blob = stored("2026-11-21T10:00:00Z", "2026-11-21T12:00:00Z", lines, export="audits")
    assert differences(AUDITS, TRUTH, [blob], DUE) == []
    assert (
        "rows missing: 1"
        in differences(
            AUDITS, TRUTH, [dataclasses.replace(blob, content=gzip.compress(f"{lines[0]}\n".encode()))], DUE
        )[-1]
    )


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda lines: lines[1:], "rows missing: 1"),
        (lambda lines: [*lines, lines[1]], "rows doubled, altered or misplaced: 1"),
        (lambda lines: [*lines, SECOND[0]], "rows doubled, altered or misplaced: 1"),
        (lambda lines: [lines[0].replace("40993", "40992"), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[1].replace("1234567Z", "1234560Z"), lines[0], lines[2]], "rows missing: 1"),
        (lambda lines: [lines[0].replace("0.1", '"0.1"'), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[0].replace('"Share":0.1', '"Share":null'), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[0].replace('{"a":[1,2.50]}', '"[1]"'), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[0].replace('"{\\"b\\": 1}"', '{"b": 1}'), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[0].replace(',"Note":"{\\"b\\": 1}"', ""), *lines[1:]], "rows missing: 1"),
        (lambda lines: [lines[0].replace("[1,2.50]", "[2.50,1]"), *lines[1:]], "rows missing: 1"),
    ],
    ids=["missing", "doubled", "of another window", "long rounded", "tick lost", "number as text", "null",
         "dynamic as text", "text as object", "column left out", "array reordered"],
)  # fmt: skip
def test_a_wrong_row_is_found(spoil: Callable[[Sequence[str]], list[str]], expected: str) -> None:
    """One row too few, too many or altered in one value makes the export wrong."""
    spoiled = spoil(FIRST)
    assert spoiled != FIRST
    assert expected in "\n".join(differences(EVENTS, TRUTH, two_windows(first=spoiled), DUE))


def test_a_gap_is_found() -> None:
    """Time that is due and that no blob covers is named, at either end and between."""
    first, second = two_windows()
    (late,) = differences(EVENTS, TRUTH, [first], DUE)
    assert late == "events: nothing covers 2026-11-21T11:00:00Z to 2026-11-21T12:00:00Z"
    (early,) = differences(EVENTS, TRUTH, [second], DUE)
    assert early == "events: nothing covers 2026-11-21T10:00:00Z to 2026-11-21T11:00:00Z"
    assert len(differences(EVENTS, TRUTH, [], DUE)) == 1


def test_an_overlap_is_found() -> None:
    """Two windows that share time have their rows twice."""
    both = stored("2026-11-21T10:00:00Z", "2026-11-21T12:00:00Z", FIRST + SECOND)
    assert "overlaps" in "\n".join(differences(EVENTS, TRUTH, [*two_windows(), both], DUE))


@pytest.mark.parametrize(("key", "value"), [("rows", "4"), ("sha256", "0" * 64)])
def test_a_false_receipt_is_found(key: str, value: str) -> None:
    """A receipt must describe the blob that it belongs to."""
    first, second = two_windows()
    false = dataclasses.replace(first, metadata={**first.metadata, key: value})
    assert key in "\n".join(differences(EVENTS, TRUTH, [false, second], DUE))


def test_due_time_is_whole_windows_that_every_planning_moment_agrees_on() -> None:
    """A window at an edge that depends on the moment of planning is not demanded."""
    began, ended = ticks("2026-11-21T12:14:59Z"), ticks("2026-11-21T12:16:00Z")
    start, end = certainly_due(EVENTS, began, ended)
    assert (instant(start), instant(end)) == ("2026-11-20T13:00:00Z", "2026-11-21T11:00:00Z")
    assert instant(certainly_due(EVENTS, ended, ended)[1]) == "2026-11-21T12:00:00Z"


def test_the_shipped_exports_can_be_judged() -> None:
    """The exports file of this repository stays within what the comparison understands."""
    exports = read_exports(Path(__file__).parent.parent / "exports.toml")
    assert {export.source for export in exports} == {"log_analytics", "entra"}


@pytest.mark.parametrize("line", ['kql = "Event"', 'format = "csv"', 'offset = "1h"', 'log = "signIns"'])
def test_an_export_that_cannot_be_judged_is_refused(tmp_path: Path, line: str) -> None:
    """What the comparison does not understand is an error and never a pass."""
    keys = 'name = "x"\nsource = "entra"\nwindow = "1h"\nlag = "30m"\nstart = "-7d"\n'
    file = tmp_path / "exports.toml"
    file.write_text(f"[[export]]\n{keys}{line}\n", encoding="utf-8")
    with pytest.raises(CannotJudgeError):
        read_exports(file)


def test_an_operator_that_cannot_be_judged_is_refused() -> None:
    """A pipeline beyond `where ==` and `project` is an error and never a pass."""
    counted = dataclasses.replace(EVENTS, pipeline="summarize count() by Level")
    with pytest.raises(CannotJudgeError, match="summarize"):
        differences(counted, TRUTH, two_windows(), DUE)
