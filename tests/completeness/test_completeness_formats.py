"""Files with columns hold every row once, value by value, of every source; nothing is lost between types."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from local.cloud import INGESTION_TIME
from local.cloud.tables import TABLES
from local.compare import ticks
from shared import parquet_file
from tests.completeness.conftest import MakeWorld
from tests.completeness.tabular import Tabular, blobs_of, check
from tests.completeness.test_completeness_entra_logs import KINDS_OF_EVENT, TIMES, fill, truth
from tests.completeness.test_completeness_types import extremes
from tests.completeness.truth import Timed
from tests.completeness.world import Table, World, answering, at, small_pages_of

pytestmark = pytest.mark.usefixtures("azurite")

EVERY_FORMAT = pytest.mark.parametrize("format_", ["csv", "csv.gz", "parquet"])
COLUMNS = ["id", "activityDateTime", "activityDisplayName", "category", "correlationId", "loggedByService",
           "operationType", "result", "resultReason", "record"]  # fmt: skip


def on_the_wire(world: World, table: str) -> list[Timed]:
    """The rows of a table as the wire has them, with their window time."""
    rows = world.cloud.rows(table)
    return [(ticks(str(row.pop(INGESTION_TIME) or row["TimeGenerated"])), row) for row in rows]


@EVERY_FORMAT
def test_realistic_tables_land_value_by_value(make_world: MakeWorld, format_: str) -> None:
    """Awkward made-up rows of every table, all columns, exported whole and compared with every digit."""
    world = make_world(events=800, days=0.15, end=at("12:00"))
    world.start(*(world.table(table.lower(), table=table, format=format_) for table in TABLES))
    world.drain()
    for table, kinds in TABLES.items():
        source = on_the_wire(world, table)
        assert sum(ticks(at("10:00")) <= time < ticks(at("12:00")) for time, _ in source) > 50
        check(world, source, table.lower(), kinds)
        verified = world.verify(at("10:00"), at("12:00"), table.lower(), deep=True)
        assert (verified["complete"], verified["damaged"]) == (2, [])


@EVERY_FORMAT
def test_the_ends_of_each_type_land_as_they_are(world: World, format_: str) -> None:
    """Also where a type of the file has no place for them."""
    activities = [
        *extremes(),
        *({"Caller": text} for text in ("", " ", "a\r\nb", 'say "x", y', "\0", "é💶", "null")),
    ]
    reals = ["NaN", "Infinity", "-Infinity", 5e-324, 1.7976931348623157e308, 0.1, -0.0, 1e22, None]
    put: dict[str, list[dict[str, Any]]] = {
        "AzureActivity": activities,
        "SigninLogs": [{"RiskScore": value} for value in reals],
        "Event": [
            *({"Duration": value} for value in ("-00:00:00.0000001", "10675199.02:48:05.4775807", None)),
            *({"EventID": value} for value in (2**31 - 1, -(2**31), None)),
        ],
    }
    for table, rows in put.items():
        world.cloud.add_rows(table, [row | {"TimeGenerated": at("10:30")} for row in rows], at("10:30"))
    world.start(*(world.table(table.lower(), table=table, format=format_) for table in put))
    world.drain()
    for table, rows in put.items():
        check(world, on_the_wire(world, table), table.lower(), TABLES[table])
        assert len(blobs_of(world, table.lower(), TABLES[table])[0].rows) == len(rows)


def types(blob: Tabular) -> dict[str, str]:
    """The types of a Parquet file's columns, by their names."""
    schema = parquet.read_schema(pa.BufferReader(blob.content))
    return {field.name: str(field.type) for field in schema}


def test_only_the_column_of_an_odd_value_is_text_and_only_in_its_window(world: World) -> None:
    """A date from before 1677 costs that column its type there; other windows keep it."""
    for hour in ("10", "11"):
        odd = at("00:00:00", day="0001-01-01") if hour == "10" else at("11:00:00")
        rows = [{"EventSubmissionTimestamp": odd, "EstimatedCost": "0.10", "TimeGenerated": at(f"{hour}:30")}]
        world.cloud.add_rows("AzureActivity", rows, at(f"{hour}:30"))
    world.start(world.table(table="AzureActivity", format="parquet"))
    world.drain()
    check(world, on_the_wire(world, "AzureActivity"), "events", TABLES["AzureActivity"])
    ten, eleven = (types(blob) for blob in blobs_of(world, "events", TABLES["AzureActivity"]))
    assert ten.pop("EventSubmissionTimestamp") == "string"
    assert eleven.pop("EventSubmissionTimestamp") == "timestamp[ns, tz=UTC]"
    assert ten == eleven
    assert ten["EstimatedCost"] == "decimal128(38, 18)"


@EVERY_FORMAT
def test_strings_of_a_megabyte_land_whole(world: World, format_: str) -> None:
    """Large cells are no special case, in slices of their own or not."""
    texts = [character * (1 << 20) for character in ("x", "ü", "\u2028", '"')]
    for number, text in enumerate(texts):
        time = at(f"10:{number}0:00")
        world.cloud.add_rows("Event", [{"TimeGenerated": time, "RenderedDescription": text}], time)
    world.start(world.table(format=format_))
    world.drain()
    check(world, on_the_wire(world, "Event"), "events", TABLES["Event"])


@EVERY_FORMAT
def test_a_window_without_rows_is_a_file_that_opens(world: World, format_: str) -> None:
    """With the table's columns; or, of a workspace that answers nothing at all, with one."""
    world.start(world.table(format=format_))
    world.drain()
    for blob in blobs_of(world, "events", {}):
        assert blob.cells == []
        assert (list(types(blob)) if format_ == "parquet" else ["TimeGenerated"]) == ["TimeGenerated"]
    world.cloud.add_rows("Event", [{"TimeGenerated": at("09:30")}], at("09:30"))
    world.start(world.table("others", format=format_))
    world.drain()
    check(world, on_the_wire(world, "Event"), "others", TABLES["Event"])
    for blob in blobs_of(world, "others", {}):
        assert blob.cells == []
        if format_ == "parquet":
            assert list(types(blob)) == list(TABLES["Event"])


@EVERY_FORMAT
@pytest.mark.parametrize("change", ["added", "removed", "retyped"])
def test_columns_that_change_between_two_slices_lose_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, format_: str, change: str
) -> None:
    """The blob has the union of the columns, and each row is there once."""
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 1)
    before: Table = ([("a", "long"), ("b", "string")], ['[1,"x"]'])
    after: Table = {
        "added": ([("a", "long"), ("b", "string"), ("c", "real")], ['[2,"y",2.5]']),
        "removed": ([("b", "string")], ['["y"]']),
        "retyped": ([("a", "real"), ("b", "string")], ['[2.50,"y"]']),
    }[change]
    asked: list[str] = []

    def table_of(query: str) -> Table:
        asked.append(query)
        return before if "window_start = datetime(2026-03-10T10:00:00" in query else after

    rows = [{"TimeGenerated": at("10:30"), "RenderedDescription": "x" * 10_000}] * 150
    world.cloud.add_rows("Event", rows, at("10:30"))
    answering(monkeypatch, table_of)
    world.start(world.table(format=format_), EXPORT_ANSWER_MB="1")
    world.clock.tick = ticks(at("11:20"))
    world.drain()
    kinds = {
        "added": {"a": "long", "b": "string", "c": "real"},
        "removed": {"a": "long", "b": "string"},
        "retyped": {"a": "string", "b": "string"},
    }[change]
    (blob,) = blobs_of(world, "events", {})
    found = [{name: None if row[name] is None else str(row[name]) for name in kinds} for row in blob.cells]
    expected = {
        "added": [{"a": "1", "b": "x", "c": None}, {"a": "2", "b": "y", "c": "2.5"}],
        "removed": [{"a": "1", "b": "x"}, {"a": None, "b": "y"}],
        "retyped": [{"a": "1", "b": "x"}, {"a": "2.50", "b": "y"}],
    }[change]
    assert found == expected
    begun_twice = change == "added" or (change, format_) == ("retyped", "parquet")
    assert len(asked) == (4 if begun_twice else 2)
    assert blob.metadata["rows"] == "2"


@EVERY_FORMAT
@pytest.mark.parametrize("log", ["directoryAudits", "provisioning", "riskDetections"])
def test_every_record_of_a_log_lands_once(
    world: World, log: str, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and its well-known members say the same in columns of their own."""
    small_pages_of(monkeypatch)
    fill(world, log)
    world.start(world.log(log, format=format_))
    world.drain()
    check(world, truth(world, log), log.lower(), {})
    for blob in blobs_of(world, log.lower(), {}):
        for cells, record in zip(blob.cells, blob.rows, strict=True):
            assert cells["id"] == record["id"]
            assert ticks(cells[TIMES[log]]) == ticks(record[TIMES[log]])


@EVERY_FORMAT
def test_sign_ins_have_the_same_columns_whatever_their_kind(
    world: World, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One schema for one log, also of a window without records."""
    small_pages_of(monkeypatch)
    for kind in KINDS_OF_EVENT.values():
        fill(world, "signIns", signInEventTypes=[kind])
    world.start(
        *(world.log("signIns", name=kind.lower(), events=kind, format=format_) for kind in KINDS_OF_EVENT)
    )
    world.drain()
    columns = set()
    for kind, own in KINDS_OF_EVENT.items():
        for blob in blobs_of(world, kind.lower(), {}):
            assert {row["signInEventTypes"][0] for row in blob.rows if "signInEventTypes" in row} <= {own}
            assert {str(row["isInteractive"]).lower() for row in blob.cells} <= {"true", "false"}
            columns.add(tuple(blob.cells[0]))
    assert len(columns) == 1


@EVERY_FORMAT
def test_late_and_changed_records_are_added_to_the_stored_ones(world: World, format_: str) -> None:
    """The union by record, as in JSON lines; nothing new leaves the blob as it is."""
    world.cloud.add_audits(
        [{"id": f"audit-{number}", "activityDateTime": at(f"11:30:0{number}.5")} for number in range(3)]
    )
    world.start(world.audits(format=format_))
    world.drain()
    old = world.cloud.audits()
    world.cloud.replace_audit("audit-1", {"result": "failure", "resultReason": 'changed\u2028"later", \\'})
    world.cloud.add_audits([{"id": "late", "activityDateTime": at("11:59:59.9999999")}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    new = [each for each in world.cloud.audits() if each["id"] == "late" or each["result"] == "failure"]
    source = [(ticks(str(each["activityDateTime"])), each) for each in [*old, *new]]
    check(world, source, "audits", {}, end="13:00")
    assert (at("11:00:00"), 3, 4, "added") in world.rechecked("audits")
    (blob,) = [each for each in blobs_of(world, "audits", {}) if each.window[0] == ticks(at("11:00"))]
    assert list(blob.cells[0]) == COLUMNS
    before = blob.etag
    world.clock.tick = ticks(at("12:20", day="2026-03-11"))
    world.drain()
    assert world.one("audits", "11:00").etag == before


@pytest.mark.parametrize("format_", ["csv.gz", "parquet", "jsonl.zst"])
def test_duckdb_reads_a_whole_export(make_world: MakeWorld, format_: str) -> None:
    """All windows at once, empty ones among them, with the partitions as columns."""
    world = make_world(events=300, days=0.15, end=at("12:00"))
    world.start(world.table(start=at("05:00"), format=format_, recheck=[]))
    world.drain()
    folder = world.folder / "read"
    for blob in world.landed():
        file = folder / blob.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blob.content)
    assert any(blob.metadata["rows"] == "0" for blob in world.landed())
    reader, pattern = {
        "csv.gz": ("read_csv($1, hive_partitioning = true, union_by_name = true)", "*.csv.gz"),
        "parquet": ("read_parquet($1, hive_partitioning = true)", "*.parquet"),
        "jsonl.zst": ("read_json($1, hive_partitioning = true, union_by_name = true)", "*.jsonl.zst"),
    }[format_]
    query = f"SELECT count(*), count(DISTINCT EventRecordId), min(window_hour::int) FROM {reader}"  # noqa: S608
    rows, distinct, first = duckdb.execute(query, [str(folder / "**" / pattern)]).fetchall()[0]
    assert rows == sum(int(blob.metadata["rows"]) for blob in world.landed())
    assert distinct > 1
    assert first > 5
