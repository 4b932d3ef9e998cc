"""Watches what the app stores, and judges it in the end against what the sources hold."""

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shared.model import Blob, Document, Export, Window
from shared.retention import read_from
from shared.windows import SECOND, format_second, parse_instant
from tests.model.scenario import INVOCATION, MAX_SKEW, PIPELINES, Scenario
from tests.parts.memory_container import MemoryContainer

if TYPE_CHECKING:
    from tests.model.world import World

_NAME = re.compile(
    r"([^/]+)/window_date=([0-9-]{10})/window_hour=([0-9]{2})/([0-9]{8}T[0-9]{6}Z)_([0-9]{8}T[0-9]{6}Z)\.([a-z.]+)"
)

CLOCKS_DIFFER = 6 * SECOND
"""By how much a window may be stored before it has settled: a Date header has whole seconds."""


@dataclass(frozen=True)
class Held:
    """A stored window as a reader finds it."""

    name: str
    export: str
    window: Window
    extension: str
    lines: tuple[bytes, ...]
    receipt: Mapping[str, str]


@dataclass(frozen=True)
class Promise:
    """A backfill that was accepted: what it asked for, and when."""

    export: str
    span: Window
    requested: int
    force: bool


@dataclass(frozen=True)
class _Deployed:
    """From a tick on a host had these exports, by name."""

    at: int
    host: str
    exports: Mapping[str, Export]


class Witness:
    """Remembers what was stored, asked for and promised. ``now`` is the true time."""

    def __init__(self, scenario: Scenario, now: Callable[[], int]) -> None:
        self._scenario = scenario
        self._now = now
        self._exports: dict[str, Export] = {}
        self._deployed: list[_Deployed] = []
        self._asked: list[tuple[str, Window]] = []
        self._promises: list[Promise] = []
        self._committed: dict[str, int] = {}
        self._by_time = any(entry.get("window_column") == "TimeGenerated" for entry in scenario.entries)

    # What it is told.

    def configured(self, host: str, exports: Iterable[Export]) -> None:
        """Remember the configurations that a host has from now on."""
        self._deployed.append(_Deployed(self._now(), host, {each.name: each for each in exports}))
        self._exports.update((each.digest, each) for each in exports)

    def asked(self, export: str, span: Window) -> None:
        """Remember that a range may be stored."""
        self._asked.append((export, span))

    def promised(self, export: str, span: Window, requested: int, *, force: bool) -> None:
        """Remember that a range must be stored; with ``force``, again."""
        self._promises.append(Promise(export, span, requested, force))

    def ended(self, export: str) -> None:
        """Forget an export's promises."""
        self._promises = [each for each in self._promises if each.export != export]

    def stored(
        self, data: MemoryContainer, name: str, before: Blob | None, document: Document | None
    ) -> None:
        """Judge a blob that was just committed, and what it replaced."""
        self._committed[name] = self._now()
        held = _held(data, name)
        due = held.window.end + self._scenario.lag
        assert self._now() >= due - CLOCKS_DIFFER, f"{name} was stored before its window had settled"
        if before is not None and document is not None:
            self._check_kept(held, _lines(name, document.data), before.metadata)

    def _check_kept(self, held: Held, before: Sequence[bytes], receipt: Mapping[str, str]) -> None:
        """A rewrite removes no stored row, unless its configuration says otherwise."""
        if receipt["config"] == held.receipt["config"] or held.receipt["source"] == "entra":
            gone = Counter(before) - Counter(held.lines)
            assert not gone, f"{held.name}: a rewrite removed {dict(gone)}"

    def noted(self, world: "World", name: str) -> None:
        """Judge a document that was just written: time is called unavailable only where it is."""
        if "/unavailable/" not in name:
            return
        start, _, end = name.rpartition("/")[2].removesuffix(".json").partition("_")
        window = Window(_expand(start), _expand(end))
        entra = name.startswith("entra")
        floor = (
            world.audit_log.floor(self._now())
            if entra
            else read_from(self._retention(name), self._now()) + MAX_SKEW
        )
        assert window.end <= floor + SECOND, f"{name}: the source still holds that time"

    def _retention(self, name: str) -> int:
        export = name.partition("/")[0]
        retention = next(each.exports[export].retention for each in self._deployed if export in each.exports)
        assert retention is not None
        return retention

    def since_origin(self, documents: MemoryContainer, name: str) -> bool:
        """Whether a blob's window lies in the time that the export covers of itself."""
        match = _NAME.fullmatch(name)
        assert match
        return _expand(match[4]) >= _origin(documents, match[1])

    # What it says in the end.

    def judge(self, world: "World") -> None:
        """Assert that what is stored is what the sources hold, each row once."""
        found = [_held(world.data, blob.name) for blob in world.data.list("")]
        for held in found:
            _check_receipt(held)
            self._check_rows(held)
        for entry in world.entries:
            own = sorted(
                (each for each in found if each.export == entry["name"]), key=lambda each: each.window
            )
            for one, other in pairwise(own):
                assert one.window.end <= other.window.start, f"{one.name} and {other.name} overlap"
            self._check_coverage(world, entry["name"], [each.window for each in own])
        self._check_promises(found)

    def _check_coverage(self, world: "World", export: str, windows: Sequence[Window]) -> None:
        """The time since the origin, and what backfills asked for, is stored, or known to be unavailable."""
        origin = _origin(world.documents, export)
        lost = _unavailable(world.documents, export)
        due = self._now() - self._scenario.lag - max(each.window for each in self._exports.values())
        promised = [each.span for each in self._promises if each.export == export]
        for span in [Window(origin, due), *promised]:
            missing = _uncovered(Window(span.start, min(span.end, due)), [*windows, *lost])
            assert not missing, f"{export}: nothing is stored for {_texts(missing)}"
        allowed = [Window(origin, self._now()), *(span for name, span in self._asked if name == export)]
        for window in windows:
            assert not _uncovered(window, allowed), f"{export}: nobody asked for {_texts([window])}"

    def _check_rows(self, held: Held) -> None:
        export = self._exports[held.receipt["config"]]
        assert export.format == held.extension, f"{held.name} is not {export.format}"
        if export.kind == "entra":
            self._check_records(held)
            return
        expected = self._expected(held.window, export)
        found = Counter(json.dumps(json.loads(line), sort_keys=True) for line in held.lines)
        assert not expected - found, f"{held.name} lacks {_few(expected - found)}"
        assert not found - expected, f"{held.name} should not hold {_few(found - expected)}"

    def _expected(self, window: Window, export: Export) -> Counter[str]:
        pipeline = PIPELINES[getattr(export.options, "pipeline", None) or ""]
        rows = (
            pipeline(row.cells)
            for row in self._scenario.rows
            if window.start <= (row.time if self._by_time else row.ingested) < window.end
        )
        return Counter(json.dumps(row, sort_keys=True) for row in rows if row is not None)

    def _check_records(self, held: Held) -> None:
        """Every record as it looks in the end, once; as it looked before, at most once."""
        records = [
            each for each in self._scenario.records if held.window.start <= each.tick < held.window.end
        ]
        found = Counter(held.lines)
        twice = [line for line, times in found.items() if times > 1]
        assert not twice, f"{held.name} holds twice {_few(twice)}"
        lacking = {each.bodies[-1][1] for each in records} - found.keys()
        assert not lacking, f"{held.name} lacks {_few(lacking)}"
        foreign = found.keys() - {body for each in records for _, body in each.bodies}
        assert not foreign, f"{held.name} should not hold {_few(foreign)}"

    def _check_promises(self, found: Sequence[Held]) -> None:
        """What was asked for with force was stored again, unless that would have removed rows."""
        for promise in self._promises:
            since = promise.requested - INVOCATION - 2 * MAX_SKEW
            current = self._digests_since(promise.export, since)
            for held in found:
                inside = held.window.start < promise.span.end and promise.span.start < held.window.end
                if not (promise.force and inside and held.export == promise.export):
                    continue
                again = self._committed[held.name] >= since and held.receipt["config"] in current
                fewer = any(
                    sum(self._expected(held.window, self._exports[digest]).values()) < len(held.lines)
                    for digest in current
                )
                asked = format_second(promise.requested // SECOND * SECOND)
                kept = again or fewer or self._scenario.forgetful
                assert kept, f"{held.name} was not stored again, as asked at {asked}"

    def _digests_since(self, export: str, since: int) -> set[str]:
        """Return the configurations that an export had on some host at a tick or later."""
        found = []
        for host in {each.host for each in self._deployed}:
            own = [each for each in self._deployed if each.host == host]
            found += [each for each in own if each.at < since][-1:] + [
                each for each in own if each.at >= since
            ]
        return {each.exports[export].digest for each in found if export in each.exports}


def _held(data: MemoryContainer, name: str) -> Held:
    match = _NAME.fullmatch(name)
    blob, document = data.head(name), data.read(name)
    assert match, f"{name} is no name of a window"
    assert blob is not None
    assert document is not None
    window = Window(_expand(match[4]), _expand(match[5]))
    assert format_second(window.start)[:13] == f"{match[2]}T{match[3]}", (
        f"{name} lies in another hour's folder"
    )
    return Held(
        name, match[1], window, match[6], _lines(name, document.data), {**blob.metadata, "": _sha(document)}
    )


def _sha(document: Document) -> str:
    return hashlib.sha256(document.data).hexdigest()


def _lines(name: str, data: bytes) -> tuple[bytes, ...]:
    text = gzip.decompress(data) if name.endswith(".gz") else data
    assert not text or text.endswith(b"\n"), f"{name} ends in the middle of a line"
    return tuple(text.split(b"\n")[:-1])


def _check_receipt(held: Held) -> None:
    receipt = held.receipt
    assert receipt["sha256"] == receipt[""], f"{held.name}: the receipt's sha256 is not that of the blob"
    assert int(receipt["rows"]) == len(held.lines), (
        f"{held.name}: the receipt's rows are not those of the blob"
    )
    bounds = parse_instant(receipt["window_start"]), parse_instant(receipt["window_end"])
    assert bounds == (held.window.start, held.window.end), f"{held.name}: the receipt has another window"


def _expand(text: str) -> int:
    return parse_instant(f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:]}")


def _origin(documents: MemoryContainer, export: str) -> int:
    document = documents.read(f"{export}/origin.json")
    assert document is not None, f"{export} has no origin"
    start: Any = json.loads(document.data)["start"]
    return parse_instant(start)


def _unavailable(documents: MemoryContainer, export: str) -> list[Window]:
    names = [blob.name.rpartition("/")[2] for blob in documents.list(f"{export}/unavailable/")]
    edges = [name.removesuffix(".json").partition("_") for name in names]
    return [Window(_expand(start), _expand(end)) for start, _, end in edges]


def _uncovered(span: Window, windows: Iterable[Window]) -> list[Window]:
    """Return the parts of a span that no window covers."""
    parts, at = [], span.start
    for window in sorted(windows):
        if at < window.start and at < span.end:
            parts.append(Window(at, min(window.start, span.end)))
        at = max(at, window.end)
    if at < span.end:
        parts.append(Window(at, span.end))
    return parts


def _texts(windows: Iterable[Window]) -> list[str]:
    return [f"{format_second(each.start)}/{format_second(each.end)}" for each in windows]


def _few(things: Iterable[object]) -> list[object]:
    return list(things)[:3]
