"""The KQL parser that other tests lean on finds what they rely on it to find."""

from __future__ import annotations

import pytest

from tests.kusto_parser import diagnostics

TABLES = {
    "Event": {
        "TimeGenerated": "datetime", "Computer": "string", "EventID": "int", "Size": "long",
        "Share": "real", "Payload": "dynamic", "_ResourceId": "string",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "kql",
    [
        "Event | where EventID == 5 | project TimeGenerated, Computer, _ResourceId",
        "Event | where coalesce(ingestion_time(), TimeGenerated) >= datetime(2026-11-21T10:00:00.1234567Z)",
        "Event | extend bucket = hash(tostring(pack_all()), 16) | where bucket == 3 | count",
        "let start = datetime(2026-11-21); Event | where TimeGenerated > start | summarize count()",
        "Event | mv-expand item = Payload.items to typeof(string) | extend Name = 'Grüße \"日本\" ' | take 2",
        "Event | summarize rows = count(), bytes = sum(estimate_data_size(*))",
    ],
)
def test_accepts_good_text(kql: str) -> None:
    """Operators, functions and columns that exist give no diagnostic."""
    assert diagnostics(kql, TABLES) == []


@pytest.mark.parametrize(
    ("kql", "expected"),
    [
        ("Event | where EventID ==", "expression"),
        ("Event | where (EventID == 5", ")"),
        ("Event | wher EventID == 5", "wher"),
        ("Event | project Komputer", "Komputer"),
        ("Events | take 1", "Events"),
        ("Event | extend x = no_such_function(Size)", "no_such_function"),
        ("Event | where Payload.x between (1 .. )", "Missing"),
        ("Event | where Computer > ago(1h) + 5", "type"),
        ("Event | summarize sum(Computer)", "summable"),
    ],
)
def test_finds_mistakes(kql: str, expected: str) -> None:
    """A syntax error, an unknown name and a wrong type are each named."""
    assert expected in "\n".join(diagnostics(kql, TABLES))


def test_tables_belong_to_one_question() -> None:
    """A table given for one query is unknown to the next."""
    assert diagnostics("Event | take 1", TABLES) == []
    assert "Event" in "\n".join(diagnostics("Event | take 1"))
