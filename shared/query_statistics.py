"""What a query cost: the service's own account of it, and ours. Pure.

Source: "Azure Monitor Log Analytics API: response format" (``include-statistics``).
"""

import re
from typing import Any

import msgspec

from shared import rawjson
from shared.model import Batch

_TIMESPAN = re.compile(r"(?:([0-9]{1,8})\.)?([0-9]{2}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,7})?)")


class Statistics(msgspec.Struct, frozen=True):
    """What was asked, what came, and what it cost.

    ``rows`` came in ``requests`` answers of ``answer_bytes``; the service computed ``execution_seconds``,
    took ``cpu_seconds`` and read ``scanned_rows`` of ``input_rows`` (0 where it does not say).
    """

    requests: int = 0
    rows: int = 0
    answer_bytes: int = 0
    execution_seconds: float = 0.0
    cpu_seconds: float = 0.0
    scanned_rows: int = 0
    input_rows: int = 0

    def plus(self, batch: Batch) -> "Statistics":
        """Return these with those of another answer."""
        told = _told(batch.statistics)
        return Statistics(
            requests=self.requests + batch.requests,
            rows=self.rows + len(batch.rows),
            answer_bytes=self.answer_bytes + batch.answer_bytes,
            execution_seconds=round(self.execution_seconds + _number(told, "executionTime"), 7),
            cpu_seconds=round(
                self.cpu_seconds + _seconds(_member(told, "resourceUsage", "cpu").get("totalCpu")), 7
            ),
            scanned_rows=self.scanned_rows
            + int(_number(_member(told, "inputDatasetStatistics", "rows"), "scanned")),
            input_rows=self.input_rows
            + int(_number(_member(told, "inputDatasetStatistics", "rows"), "total")),
        )


def _told(statistics: msgspec.Raw | None) -> dict[str, Any]:
    try:
        return _member(msgspec.json.decode(b"null" if statistics is None else statistics), "query")
    except rawjson.UNREADABLE:
        return {}


def _member(of: Any, *names: str) -> dict[str, Any]:
    for name in names:
        of = of.get(name) if isinstance(of, dict) else None
    return of if isinstance(of, dict) else {}


def _number(of: dict[str, Any], name: str) -> float:
    number = of.get(name)
    return number if isinstance(number, int | float) and number >= 0 else 0


def _seconds(timespan: object) -> float:
    """Return the seconds of a timespan such as ``00:00:00.0156250`` or ``1.02:03:04``."""
    match = _TIMESPAN.fullmatch(timespan) if isinstance(timespan, str) else None
    if match is None:
        return 0.0
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return days * 86400 + hours * 3600 + minutes * 60 + float(match[4])
