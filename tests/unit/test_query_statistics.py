"""What a query cost: added up over its answers, whatever the service says of itself."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import Batch
from shared.query_statistics import Statistics


def told(
    cpu: object = "00:00:00.0156250", seconds: object = 0.5, scanned: object = 7, total: object = 9
) -> object:
    """Return the service's own account as it writes it."""
    return {
        "query": {
            "executionTime": seconds,
            "resourceUsage": {"cpu": {"user": "00:00:00", "totalCpu": cpu}, "memory": {"peakPerNode": 1}},
            "inputDatasetStatistics": {
                "extents": {"total": 1, "scanned": 1},
                "rows": {"total": total, "scanned": scanned},
            },
            "datasetStatistics": [{"tableRowCount": 2, "tableSize": 20}],
        }
    }


def batch(statistics: object, rows: int = 2, answer_bytes: int = 100) -> Batch:
    """Return an answer of so many rows with an account."""
    text = None if statistics is None else msgspec.Raw(json.dumps(statistics).encode())
    return Batch([msgspec.Raw(b"[1]")] * rows, answer_bytes=answer_bytes, statistics=text)


def test_answers_add_up() -> None:
    """Rows, bytes and requests are ours to count; time, CPU and what was scanned the service tells."""
    one = Statistics().plus(batch(told()))
    assert one == Statistics(1, 2, 100, 0.5, 0.015625, 7, 9)
    two = one.plus(batch(told("1.02:03:04.0000001", 1, 3, 3), rows=5, answer_bytes=50))
    assert two == Statistics(2, 7, 150, 1.5, 93784.0156251, 10, 12)


def test_a_portion_of_an_answer_counts_no_request() -> None:
    """An answer that is handed on in portions was one request, and cost what it cost once."""
    portion = Batch([msgspec.Raw(b"[1]")], requests=0)
    assert Statistics().plus(batch(told())).plus(portion) == Statistics(1, 3, 100, 0.5, 0.015625, 7, 9)


@pytest.mark.parametrize(
    "statistics",
    [
        None,
        [],
        "x",
        {"query": None},
        {"query": {"resourceUsage": [], "inputDatasetStatistics": {"rows": 5}}},
        told(None, None, None, None),
        told("soon", "soon", "7", -1),
        told("-00:00:01", -0.5, -7, -9),
        told("00:00:nan", 0, 0, 0),
        told(f"{'9' * 400}:00:00", 0, 0, 0),
        told(5, {}, [], {}),
    ],
)
def test_what_the_service_does_not_say_counts_nothing(statistics: object) -> None:
    """No account, or one of another form, costs the caller neither the answer nor a wrong number."""
    assert Statistics().plus(batch(statistics)) == Statistics(1, 2, 100)


@pytest.mark.parametrize(
    "raw", [b'{"query":{"executionTime":1e400}}', b'{"query":"\\ud800"}', b'{"query":"\xff"}']
)
def test_an_account_that_cannot_be_read_counts_nothing(raw: bytes) -> None:
    """Neither a number beyond all doubles nor text that is none stops an answer."""
    assert Statistics().plus(Batch([], statistics=msgspec.Raw(raw))) == Statistics(1)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("0:.-9"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(_json, _json, _json, _json)
def test_no_account_is_too_odd(cpu: object, seconds: object, scanned: object, total: object) -> None:
    """Whatever stands in it, the sum is made of numbers that are not below nought."""
    found = Statistics().plus(batch(told(cpu, seconds, scanned, total)))
    assert all(number >= 0 for number in msgspec.structs.astuple(found))
    assert json.loads(msgspec.json.encode(found))
