"""The made-up data: the same for a seed, as late and as awkward as real ones."""

from pathlib import Path

import pytest

from local.cloud import INGESTION_TIME, Cloud, Options
from local.cloud.tables import TABLES
from local.cloud.ticks import HOUR, parse_instant
from tests.cloud.caller import END, Caller


def test_the_same_seed_and_end_make_the_same_data(tmp_path: Path) -> None:
    """And another seed other data."""

    def data(seed: int) -> object:
        with Cloud(Options(seed=seed, events=40, audits=10, end=END), tmp_path / str(seed)) as cloud:
            return [cloud.rows(table) for table in cloud.tables()], cloud.audits(), cloud.workspace_id

    assert data(5) == data(5)
    assert data(5) != data(6)


def test_rows_end_at_the_end_and_some_are_late(shared: Caller) -> None:
    """Arrivals are ordered, none is in the future, a few are hours late or before their own time."""
    rows = shared.cloud.rows("Event")
    arrivals = [parse_instant(row[INGESTION_TIME]) for row in rows]
    delays = [
        arrival - parse_instant(row["TimeGenerated"]) for arrival, row in zip(arrivals, rows, strict=True)
    ]
    assert arrivals == sorted(arrivals)
    assert max(arrivals) <= parse_instant(END)
    assert max(delays) > HOUR
    assert sum(delay < 5 * 60 * 10**7 for delay in delays) > 0.9 * len(rows)


@pytest.mark.parametrize("table", list(TABLES))
def test_tables_have_their_columns_and_unique_items(shared: Caller, table: str) -> None:
    """Every row has every column, its table's name, the workspace's id and an id of its own."""
    rows = shared.cloud.rows(table)
    assert all(set(row) == {*TABLES[table], INGESTION_TIME} for row in rows)
    assert {row["Type"] for row in rows} == {table}
    assert {row["TenantId"] for row in rows} == {shared.cloud.workspace_id}
    assert len({row["_ItemId"] for row in rows}) == len(rows)


def test_the_data_hold_what_breaks_careless_readers(shared: Caller) -> None:
    """Line breaks, other scripts, numbers beyond 2^53, seventh digits, shared instants, nulls, NaN."""
    events, sign_ins = shared.cloud.rows("Event"), shared.cloud.rows("SigninLogs")
    texts = "".join(row["RenderedDescription"] for row in events)
    assert all(mark in texts for mark in ("\r\n", "\u2028", "💶", '"', "\t", "管理者"))
    assert any((row["EventRecordId"] or 0) > 2**53 for row in events)
    assert any(len(row["TimeGenerated"]) == len("2026-11-21T10:00:00.1234567Z") for row in events)
    assert any(len(row["TimeGenerated"]) == len("2026-11-21T10:00:00Z") for row in events)
    assert len({row["TimeGenerated"] for row in events}) < len(events)
    assert any(row["Duration"] is None for row in events)
    assert {"NaN", "Infinity", "-Infinity"} <= {row["RiskScore"] for row in sign_ins}
    assert any(row[INGESTION_TIME] is None for row in shared.cloud.rows("AzureActivity"))
    assert any(record["initiatedBy"]["user"] is None for record in shared.cloud.audits())
    assert any(record["category"] is None for record in shared.cloud.audits())


def test_a_row_that_does_not_fit_is_refused(shared: Caller) -> None:
    """An unknown column or a wrong value is a mistake of the test that adds it."""
    with pytest.raises(ValueError, match="no column Nope"):
        shared.cloud.add_rows("Event", [{"Nope": 1}])
    with pytest.raises(ValueError, match="does not fit table Event"):
        shared.cloud.add_rows("Event", [{"Correlation": "no guid"}])
    with pytest.raises(ValueError, match="not an ISO 8601 instant"):
        shared.cloud.add_rows("Event", [{"TimeGenerated": "noon"}])
