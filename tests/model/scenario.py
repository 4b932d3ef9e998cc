"""What one case is made of: exports and how they may be reconfigured, rows, limits, lateness. From a seed."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.windows import DAY, HOUR, MINUTE, SECOND, parse_duration, parse_instant
from tests.model.graph import MILLISECOND, Habits
from tests.model.log_analytics import TABLE, Limits
from tests.model.records import Record, Row, record

Entry = Mapping[str, Any]
"""One ``[[export]]`` table of the exports file."""

Cells = dict[str, Any]
Pipeline = Callable[[Cells], Cells | None]

PIPELINES: Mapping[str, Pipeline] = {
    "": lambda row: row,
    "where Level == 'Error'": lambda row: row if row["Level"] == "Error" else None,
    "project N, TimeGenerated": lambda row: {key: row[key] for key in ("N", "TimeGenerated")},
    "project Level": lambda row: {"Level": row["Level"]},
    "where Level == 'Error' | project N": lambda row: {"N": row["N"]} if row["Level"] == "Error" else None,
}
FREE_KQL = f"{TABLE}\n| where ingestion_time() >= window_start and ingestion_time() < window_end"
WORKSPACE = "00000000-0000-0000-0000-000000000001"
WINDOWS = ("20m", "30m", "1h", "90m", "2h", "3h")
OFFSETS = ("0s", "7m", "13m")
FORMATS = ("jsonl", "jsonl.gz")

MAX_SKEW = 5 * MINUTE
INVOCATION = 10 * MINUTE
"""How long one invocation may last before the host ends it: functionTimeout."""
GRACE = MAX_SKEW + INVOCATION + MINUTE
"""How much earlier than the last recheck a row must be visible to be sure to be found by it."""


@dataclass(frozen=True)
class Scenario:
    """One case. Durations and instants in ticks; ``forgetful`` sources drop rows after hours."""

    seed: int
    begins: int
    steps: int
    lag: int
    recheck: tuple[int, ...]
    forgetful: bool
    entries: tuple[Entry, ...]
    rows: tuple[Row, ...]
    records: tuple[Record, ...]
    limits: Limits
    habits: Habits
    answer_bytes: int
    parallel: int


def scenario(seed: int) -> Scenario:
    """Return the case of a seed."""
    rng = random.Random(f"{seed}/scenario")  # noqa: S311 - chances, not secrets
    begins = parse_instant("2026-03-10") + rng.randrange(0, 2 * DAY) // SECOND * SECOND
    lag = rng.choice(["2m", "10m", "15m"])
    forgetful = rng.random() < 0.15
    recheck = rng.choice([("1h", "24h"), ("30m", "3h"), ("1h", "5h"), ("4h",), ("1h", "2h", "3h"), ()])
    if recheck == ("1h", "24h") and rng.random() < 0.6:  # a day takes its time to pass
        recheck = ("1h", "6h")
    ages = tuple(parse_duration(age) for age in recheck)
    latest = parse_duration(lag)
    if ages and not forgetful:
        latest += max(ages) - GRACE
    common = {"lag": lag, "start": rng.choice(["-1h", "-3h", "-40m"]), "recheck": list(recheck)}
    sources = rng.choice(
        [["table"], ["table"], ["entra"], ["entra"], ["table", "entra"], ["kql"], ["table", "table"]]
    )
    entries = tuple(
        _entry(rng, f"{source}-{number}", source, {**common, **_shape(rng)}, forgetful=forgetful)
        for number, source in enumerate(sources)
    )
    free = "kql" in sources
    rows_limit = rng.choice([6, 12, 40])
    by_time = not free and rng.random() < 0.25
    if by_time:
        entries = tuple(
            {**entry, "window_column": "TimeGenerated"} if "table" in entry else entry for entry in entries
        )
    rows = _rows(
        rng, begins, latest, rows_limit, by_time=by_time, late=bool(ages) and not forgetful, crowded=not free
    )
    records = _records(rng, begins, latest, changing=not forgetful) if "entra" in sources else ()
    return Scenario(
        seed=seed,
        begins=begins,
        steps=rng.choice([15, 30, 45, 60]),
        lag=parse_duration(lag),
        recheck=ages,
        forgetful=forgetful,
        entries=entries,
        rows=rows,
        records=records,
        limits=Limits(
            rows=rows_limit,
            answer_bytes=rng.choice([600, 2_000, 10_000]),
            counted=rng.choice([1, 3, 24]),
            retention=6 * HOUR + 30 * MINUTE if forgetful else None,
        ),
        habits=Habits(
            grain=rng.choice([1, MILLISECOND, SECOND]),
            fuzz=0 if forgetful else rng.choice([0, 0, SECOND - 1]),
            page=rng.choice([1, 3, 10]),
            newest_first=rng.random() < 0.7,
            retention=6 * HOUR if forgetful else None,
        ),
        answer_bytes=rng.choice([500, 2_000, 1 << 20]),
        parallel=rng.choice([1, 2, 3]),
    )


def _shape(rng: random.Random) -> dict[str, str]:
    return {"window": rng.choice(WINDOWS), "offset": rng.choice(OFFSETS), "format": rng.choice(FORMATS)}


def _entry(rng: random.Random, name: str, source: str, common: Entry, *, forgetful: bool) -> Entry:
    if source == "entra":
        return {"name": name, "source": "entra", "log": "directoryAudits", **common}
    entry = {"name": name, "source": "log_analytics", "workspace": WORKSPACE, **common}
    if forgetful:
        entry["retention"] = "6h"
    if source == "kql":
        return {**entry, "kql": FREE_KQL, "splittable": True}
    return {**entry, "table": TABLE, **_pipeline(rng)}


def _pipeline(rng: random.Random) -> dict[str, str]:
    text = rng.choice(list(PIPELINES))
    return {"pipeline": text} if text else {}


def reconfigured(rng: random.Random, entry: Entry) -> tuple[str, Entry]:
    """Return what is changed about an entry, and the entry after that."""
    change = rng.choice(["window", "window", "offset", "format", "pipeline", "enabled"])
    after = {key: value for key, value in entry.items() if key != "enabled"}
    if change == "window":
        after["window"] = rng.choice(WINDOWS)
    elif change == "offset":
        after["offset"] = rng.choice(OFFSETS)
    elif change == "format":
        after["format"] = rng.choice(FORMATS)
    elif change == "enabled" and rng.random() < 0.4:
        after["enabled"] = False
    elif "table" in entry:
        after.pop("pipeline", None)
        after.update(_pipeline(rng))
    return change, after


def toml(entries: tuple[Entry, ...]) -> str:
    """Return an exports file."""
    tables = ("\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items()) for entry in entries)
    return "".join(f"[[export]]\n{table}\n\n" for table in tables)


def _tick(rng: random.Random, begins: int) -> int:
    """Return a time in the hours around the begin; often on an edge that some window has, or beside it."""
    anywhere = begins + rng.randrange(-5 * HOUR, 10 * HOUR)
    if rng.random() < 0.3:
        return anywhere
    edge = anywhere - anywhere % parse_duration(rng.choice(WINDOWS)) + parse_duration(rng.choice(OFFSETS))
    return edge + rng.choice([-1, -1, 0, 0, 1, -SECOND, SECOND - 1, rng.randrange(-SECOND, SECOND)])


def _visible(rng: random.Random, tick: int, lag: int, latest: int) -> int:
    """Return when a row of a tick is seen: mostly soon, sometimes as late as can be."""
    luck = rng.random()
    if luck < 0.4 or latest <= lag:
        return tick + rng.randrange(0, min(lag, latest) + 1)
    return tick + (rng.randrange(0, latest) if luck < 0.8 else latest)


def _rows(
    rng: random.Random, begins: int, latest: int, limit: int, *, by_time: bool, late: bool, crowded: bool
) -> tuple[Row, ...]:
    rows: list[Row] = []
    for _ in range(rng.choice([0, 3, 10, 40])):
        tick = _tick(rng, begins)
        crowd = rng.choice([1, 2, limit // 2, limit, 3 * limit]) if crowded and rng.random() < 0.15 else 1
        for _ in range(crowd):
            visible = _visible(rng, tick, 2 * MINUTE, latest)
            level = rng.choice(["Error", "Error", "Warning"])
            time = tick if by_time else _generated(rng, tick, late=late)
            row = Row(tick, time, visible, level, rng.randrange(1_000_000))
            rows += [row] * (2 if rng.random() < 0.1 and crowd < limit // 2 else 1)
    return tuple(rows)


def _generated(rng: random.Random, ingested: int, *, late: bool) -> int:
    """Return a TimeGenerated for a time of ingestion; where a recheck can find it, far off."""
    luck = rng.random()
    if luck < 0.5:
        return ingested - rng.randrange(0, MINUTE)
    if luck < 0.7:
        return ingested + rng.choice([-3 * DAY, 2 * DAY, -2 * DAY, DAY])
    if luck < 0.85 or not late:
        return ingested + rng.randrange(-3 * DAY, 2 * DAY)
    return ingested + rng.choice([-50 * DAY, 9 * DAY, -4 * DAY, -3 * DAY - 3 * HOUR])


def _records(rng: random.Random, begins: int, latest: int, *, changing: bool) -> tuple[Record, ...]:
    records: list[Record] = []
    for number in range(rng.choice([0, 3, 10, 40])):
        tick = _tick(rng, begins)
        for _ in range(rng.choice([1, 1, 1, 1, 2, 8])):
            since = [_visible(rng, tick, 2 * MINUTE, latest)]
            if changing and rng.random() < 0.15:
                since.append(rng.randrange(since[0], max(since[0], tick + latest) + 1))
            same_id = records and rng.random() < 0.1
            id_ = (
                json.loads(records[-1].bodies[0][1])["id"]
                if same_id
                else f"Directory_{number}_{len(records)}"
            )
            records.append(record(tick, id_, rng.choice(["success", "failure"]), since))
            if rng.random() < 0.1:
                records.append(records[-1])  # the same record twice is one record
    return tuple(records)
