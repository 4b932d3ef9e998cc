"""A model of Log Analytics' query API: rows in memory, and just the forms of KQL that the app writes.

It cuts answers at its limits and says so in one of the ways that the service has, or not at all. A text that
it does not know is an AssertionError: the model must then be taught it.
"""

import bisect
import functools
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType

from shared.model import Request
from shared.windows import DAY, HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.model.records import Row
from tests.model.services import Reply, refusal, stormy

TABLE = "Event"
TYPES = {"TimeGenerated": "datetime", "Level": "string", "N": "long"}

_INSTANT = r"datetime\(([0-9TZ:.-]+)\)"
_QUERY = re.compile(rf"let window_start = {_INSTANT};\nlet window_end = {_INSTANT};\n(.*)", re.DOTALL)
_COUNTS = re.compile(
    r"let rows_of = \(window_start: datetime, window_end: datetime\) \{\n(.*)\n\};\n"
    r"union (.*)\n\| project leg, Count\n\| order by leg asc",
    re.DOTALL,
)
_LEG = re.compile(rf"\(rows_of\({_INSTANT}, {_INSTANT}\) \| count \| extend leg = ([0-9]+)\)")
# A condition on the two times of a row: names, comparisons, and, or, brackets, a number of days.
_TIMES = re.compile(
    r"where ((?:TimeGenerated|ingestion_time\(\)|isnull|coalesce|window_start|window_end|and|or"
    r"|>=|<=|>|<|\+|-|[0-9]+d|[(), ])+)"
)
_PART = re.compile(r"where hash_xxhash64\((.+), ([0-9]+)\) == ([0-9]+)")
_KEY = re.compile(r"tostring\(\['(\w+)'\]\)")
_RUN = re.compile(
    r"extend counted_from = bin_at\((coalesce\(ingestion_time\(\), TimeGenerated\)|TimeGenerated),"
    r" time\(([0-9]+)\.([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{7})\), window_start\)"
)
_SCHEMA = f"{TABLE}\n| getschema\n| project ColumnName, ColumnType"
_LEVEL = re.compile(r"where Level == '(\w+)'")
_SIZE = "summarize rows = count(), answer_bytes = sum(estimate_data_size(*))"

TOO_LARGE = "Query result set has exceeded the limit (E_QUERY_RESULT_SET_TOO_LARGE; 0x80DA0003)"


@dataclass(frozen=True)
class Limits:
    """What one answer holds at most: rows, and bytes of all its rows.

    ``counted`` is how many windows one query can count in time. Rows vanish ``retention`` ticks on.
    """

    rows: int
    answer_bytes: int
    counted: int = 24
    retention: int | None = None


@dataclass(frozen=True)
class _Answer:
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    types: Sequence[str] = ()


class Workspace:
    """One workspace with one table. ``now`` is the true time; ``rng`` gives the present worker's chances."""

    def __init__(
        self,
        rows: Sequence[Row],
        limits: Limits,
        now: Callable[[], int],
        rng: Callable[[], random.Random],
        trouble: Callable[[], float],
    ) -> None:
        self.limits = limits
        self._by = {
            "ingested": sorted(rows, key=lambda row: row.ingested),
            "time": sorted(rows, key=lambda row: row.time),
        }
        self._keys = {key: [getattr(row, key) for row in some] for key, some in self._by.items()}
        self._now = now
        self._rng = rng
        self._trouble = trouble

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        rng = self._rng()
        body = json.loads(request.body or b"")
        if rng.random() < self._trouble():
            return self._troubled(body, rng)
        if not any(row.visible <= self._now() for row in self._by["time"]):
            return Reply(204, b"")  # "a workspace with no data"
        if max(body["query"].count(" | count | extend leg = "), _run(body["query"])) > self.limits.counted:
            return refusal(504, "GatewayTimeout", "Kusto query timed out")
        result = self._result(body)
        sizes = itertools.accumulate(len(json.dumps(row)) for row in result.rows)
        room = sum(size <= self.limits.answer_bytes for size in sizes)
        if len(result.rows) > min(room, self.limits.rows):
            return self._limited(result, min(room, self.limits.rows), rng)
        return self._whole(result, rng)

    def _troubled(self, body: dict[str, str], rng: random.Random) -> Reply:
        """Return an answer that something went wrong with which has nothing to do with its size."""
        luck = rng.random()
        if luck < 0.3:
            return self._cut_off(self._result(body), rng, "Something else went wrong", "-1")
        if luck < 0.5:
            return refusal(504, "GatewayTimeout", "Kusto query timed out")
        return stormy(rng, lambda: self._whole(self._result(body), rng))

    def _limited(self, result: _Answer, room: int, rng: random.Random) -> Reply:
        """Return what is left of an answer that is too large; which rows are left is not promised."""
        kept = _Answer(result.columns, rng.sample(result.rows, room), result.types)
        styles = ["partial", "cancelled", "400", "413", "504", "statistics"]
        style = rng.choice([*styles, "silent"] if room == self.limits.rows else styles)
        if style == "partial":
            return self._cut_off(kept, rng, TOO_LARGE, "-2133196797")
        if style == "cancelled":
            return self._cut_off(kept, rng, "Query cancelled by the user's request", "-2133196794")
        if style == "400":
            return refusal(400, "BadArgumentError", TOO_LARGE)
        if style == "413":
            return refusal(413, "ResponseSizeError", "the response is too large")
        if style == "504":
            return refusal(504, "GatewayTimeout", "Kusto query timed out")
        stated = len(result.rows) if style == "statistics" else None
        return Reply(200, _body(kept, stated))

    def _cut_off(self, result: _Answer, rng: random.Random, message: str, code: str) -> Reply:
        kept = rng.sample(result.rows, rng.randrange(len(result.rows) + 1))
        inner = {"code": code, "message": message}
        error = {
            "code": "PartialError",
            "message": "There were some errors when processing your query.",
            "details": [{"code": "EngineError", "message": "Something went wrong.", "innererror": inner}],
        }
        return Reply(200, _body(_Answer(result.columns, kept, result.types), None, error))

    def _whole(self, result: _Answer, rng: random.Random) -> Reply:
        return Reply(200, _body(result, len(result.rows) if rng.random() < 0.5 else None))

    def _result(self, body: dict[str, str]) -> _Answer:
        timespan = None
        if "timespan" in body:
            first, _, last = body["timespan"].partition("/")
            # Whether its end is inclusive is not documented.
            timespan = parse_instant(first), parse_instant(last) + self._rng().randrange(2)
        query = body["query"]
        if query == _SCHEMA:
            return _Answer(("ColumnName", "ColumnType"), list(TYPES.items()), ("string", "string"))
        if counts := _COUNTS.fullmatch(query):
            legs = _LEG.findall(counts[2])
            assert ", ".join(match[0] for match in _LEG.finditer(counts[2])) == counts[2], query
            rows = [
                [
                    int(leg),
                    len(self._rows(counts[1], parse_instant(start), parse_instant(end), timespan).rows),
                ]
                for start, end, leg in legs
            ]
            return _Answer(("leg", "Count"), rows, ("long", "long"))
        if "counted_from" in query:
            return self._counted(query, timespan)
        match = _QUERY.fullmatch(query)
        assert match, f"the model does not know this query: {query}"
        return self._rows(match[3], parse_instant(match[1]), parse_instant(match[2]), timespan)

    def _counted(self, query: str, timespan: tuple[int, int] | None) -> _Answer:
        """Return what a question counts of a run of windows, from each window's rows by themselves."""
        match = _QUERY.fullmatch(query)
        assert match, query
        start, end = parse_instant(match[1]), parse_instant(match[2])
        table, *steps, last = match[3].split("\n| ")
        assert last == "summarize Count = count() by counted_from", query
        at = next(number for number, step in enumerate(steps) if step.startswith("extend counted_from = "))
        length = _length(steps.pop(at))
        steps = [step.replace(", counted_from", "") for step in steps]
        for own in steps[at : at + 1]:
            if own.startswith("where TimeGenerated >= counted_from - "):  # each window's own reach
                ends = re.sub(r"counted_from \+ time\([0-9.:]+\)", "window_end", own)
                steps[at] = ends.replace("counted_from", "window_start")
        rows = []
        for first in range(start, end, length):
            found = len(self._rows("\n| ".join([table, *steps]), first, first + length, timespan).rows)
            if found:
                rows.append([format_instant(first), found])
        self._rng().shuffle(rows)
        return _Answer(("counted_from", "Count"), rows, ("datetime", "long"))

    def _rows(self, text: str, start: int, end: int, timespan: tuple[int, int] | None) -> _Answer:
        table, *steps = text.split("\n| ")
        assert table == TABLE, text
        rows = self._seen(steps, start, end)
        if timespan:
            rows = [row for row in rows if timespan[0] <= row.time < timespan[1]]
        columns = list(TYPES)
        while steps and (keep := _filter(steps[0], start, end)):
            steps.pop(0)
            rows = [row for row in rows if keep(row)]
        cells = [[row.cells[name] for name in columns] for row in rows]
        for step in (part for each in steps for part in each.split(" | ")):
            if step == "count":
                return _Answer(("Count",), [[len(cells)]], ("long",))
            if step == _SIZE:  # of the engine's own form, so not the size of the answer
                size = sum(len(json.dumps(row)) for row in cells) * 2 // 3
                return _Answer(("rows", "answer_bytes"), [[len(cells), size or None]], ("long", "long"))
            if level := _LEVEL.fullmatch(step):
                at = columns.index("Level")
                cells = [row for row in cells if row[at] == level[1]]
                continue
            assert step.startswith("project "), f"the model does not know this step: {step}"
            chosen = step.removeprefix("project ").split(", ")
            places = [columns.index(name) for name in chosen]
            cells, columns = [[row[at] for at in places] for row in cells], chosen
        return _Answer(columns, cells, [TYPES[name] for name in columns])

    def _seen(self, steps: Sequence[str], start: int, end: int) -> list[Row]:
        """Return the rows in and beside a window that can be seen by now, and are still kept."""
        key = "ingested" if any("ingestion_time()" in step for step in steps) else "time"
        first = bisect.bisect_left(self._keys[key], start - 1)
        last = bisect.bisect_right(self._keys[key], end + 1)
        now = self._now()
        floor = self.floor(now)
        rows = self._by[key][first:last]
        return [row for row in rows if row.visible <= now and getattr(row, key) >= floor]

    def floor(self, now: int) -> int:
        """Return the tick before which rows are no longer kept."""
        return 0 if self.limits.retention is None else now - self.limits.retention


def _length(step: str) -> int:
    """Return the ticks of the windows that a step tells apart."""
    match = _RUN.fullmatch(step)
    assert match, step
    days, hours, minutes, seconds, ticks = map(int, match.groups()[1:])
    return days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND + ticks


def _run(query: str) -> int:
    """Return how many windows of a run a question counts; 0 where it counts none."""
    steps = [step for step in query.split("\n| ") if step.startswith("extend counted_from = ")]
    match = _QUERY.fullmatch(query)
    return (parse_instant(match[2]) - parse_instant(match[1])) // _length(steps[0]) if steps and match else 0


def _filter(step: str, start: int, end: int) -> Callable[[Row], bool] | None:
    """Return the condition of a step before the pipeline; None for any other step."""
    if times := _TIMES.fullmatch(step):
        code = _compiled(times[1])
        bounds = {"window_start": start, "window_end": end, "isnull": _is_null, "coalesce": _first}
        return lambda row: eval(code, bounds, {"row": row})  # noqa: S307 - of the words above and no others
    if part := _PART.fullmatch(step):
        names, parts, number = tuple(_KEY.findall(part[1])), int(part[2]), int(part[3])
        assert names, step
        return lambda row: row.hash(names) % parts == number
    return None


@functools.lru_cache(maxsize=1000)
def _compiled(condition: str) -> CodeType:
    """Return a condition on times as Python: the two languages agree on all of it but the names."""
    days = re.sub(r"([0-9]+)d", lambda match: str(int(match[1]) * DAY), condition)
    named = days.replace("ingestion_time()", "row.ingested").replace("TimeGenerated", "row.time")
    return compile(named, "condition", "eval")


def _is_null(value: object) -> bool:
    return value is None


def _first(value: object, other: object) -> object:
    return other if value is None else value


def _body(answer: _Answer, stated: int | None, error: object = None) -> bytes:
    columns = [
        {"name": name, "type": type_} for name, type_ in zip(answer.columns, answer.types, strict=True)
    ]
    body: dict[str, object] = {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": answer.rows}]}
    if stated is not None:
        body["statistics"] = {"query": {"datasetStatistics": [{"tableRowCount": stated, "tableSize": 1}]}}
    if error is not None:
        body["error"] = error
    return json.dumps(body).encode()
