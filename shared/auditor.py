"""What is covered, whether it is what the source holds, and how to ask for it again."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import msgspec

from shared.coverage import Stored, all_windows, due_until, gaps, stored_in, wanted, windows_in
from shared.errors import BadRequestError, DeadlineError, NotFoundError, UnavailableError
from shared.file_format import Format
from shared.http_body import read_mended, span_of
from shared.in_flight import Flights
from shared.journal import Journal, Unavailable
from shared.model import Clock, Container, Export, Reading, Source, SourceType, Window
from shared.receipts import from_metadata
from shared.rechecker import Rechecker
from shared.retention import read_from
from shared.rewriter import Unseen, digests_of
from shared.state import State
from shared.windows import SECOND, clipped, format_second, hull, overlap, subtract, union

_log = logging.getLogger(__name__)

_NOT_COMPARED = "it is stored, but the source no longer keeps it, so that nothing can be compared"
ANSWER_SECONDS = 200.0
"""How long a verification may take; the load balancer before a function cuts at 230 s."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to verify or to backfill; not every field belongs to both."""

    start: str
    end: str


class VerifyBody(Range, frozen=True, forbid_unknown_fields=True):
    """``deep`` also reads the blobs; ``repair`` asks for what is wrong again."""

    deep: bool = False
    repair: bool = False


class BackfillBody(Range, frozen=True, forbid_unknown_fields=True):
    """``force`` also stores again what is stored; ``allow_shrink`` even where that means fewer rows."""

    force: bool = False
    allow_shrink: bool = False


_Range = TypeVar("_Range", bound=Range)


def read_range(body: bytes, type_: type[_Range]) -> tuple[_Range, Window]:
    """Read a request's body and its range. Raises BadRequestError, which names every field that is wrong."""
    request, mistakes = read_mended(body, type_, start="", end="")
    try:
        span = span_of(request.start, request.end, SECOND)
    except BadRequestError as error:
        told = {field for field, _ in mistakes}
        others = [mistake for mistake in error.mistakes if mistake[0] not in told]
        raise BadRequestError.of([*mistakes, *others]) from error
    if mistakes:
        raise BadRequestError.of(mistakes)
    return request, span


def read_span(parameters: Mapping[str, str]) -> Window | None:
    """Read the range of a request without a body; None where it names neither end. Raises BadRequestError."""
    if "start" not in parameters and "end" not in parameters:
        return None
    return span_of(parameters.get("start"), parameters.get("end"), SECOND)


class Auditor:
    """Answers what an auditor asks."""

    def __init__(
        self,
        exports: Sequence[Export],
        sources: Mapping[str, SourceType],
        open_source: Callable[[Export], Source],
        formats: Mapping[str, Format],
        data: Container,
        state: State,
        journal: Journal,
        flights: Flights,
        rechecker: Rechecker,
        clock: Clock,
    ) -> None:
        self._exports = {export.name: export for export in exports}
        self._sources = sources
        self._open_source = open_source
        self._formats = {format_.extension: format_ for format_ in formats.values()}
        self._data = data
        self._state = state
        self._journal = journal
        self._flights = flights
        self._rechecker = rechecker
        self._clock = clock

    def export(self, name: str) -> Export:
        """Return an export by its name. Raises NotFoundError."""
        try:
            return self._exports[name]
        except KeyError:
            raise NotFoundError(f"there is no export {name!r}, or it is paused or wrong") from None

    def coverage(self, name: str, span: Window | None = None) -> dict[str, Any]:
        """Return an export's covered ranges, its gaps, what is lost, in flight, failing and asked for.

        With a span, the first three of that time alone.
        """
        export = self.export(name)
        origin = self._state.origin(export)
        now = self._clock.now()
        backfills = self._journal.backfills(name)
        spans = wanted(export, origin.tick, backfills, now)
        lost = self._journal.unavailable(export)
        if span is None:
            stored = all_windows(self._data, name)
        else:
            found = windows_in(self._data, name, [span], self._state.lengths(name), hull([span, *spans]))
            stored, spans = clipped(found, span), clipped(spans, span)
            lost = [each for each in lost if overlap(each.window, span)]
        flights = self._flights.load(export.kind).flights
        denial = self._journal.denial(name)
        return {
            "export": name,
            "origin": origin.start,
            "due_until": format_second(max(origin.tick, due_until(export, now))),
            "covered": _texts(union(stored)),
            "gaps": _texts(gaps(spans, [*stored, *(each.window for each in lost)])),
            "unavailable": [{**_text(each.window), "reason": each.reason} for each in lost],
            "in_flight": [
                {"start": each.start, "end": each.end, "reason": each.reason}
                for each in flights
                if each.export == name
            ],
            "failures": [
                {
                    **_text(each.window),
                    "reason": each.reason,
                    "times": each.times,
                    "next_try": format_second(each.next_try // SECOND * SECOND),
                }
                for each in self._journal.failures(name)
            ],
            "denied": None if denial is None else denial.reason,
            "backfills": [
                {"id": each.id, **_text(each.window), "force": each.force}
                for each in backfills
                if each.state == "active"
            ],
        }

    def backfill(self, name: str, span: Window, body: BackfillBody) -> dict[str, Any]:
        """Store a range for the planner to draw from; with ``force``, also time that was lost before."""
        export = self.export(name)
        self._state.origin(export)
        if body.force:
            self._journal.forget_unavailable(name, span)
        backfill = self._journal.add_backfill(name, span, force=body.force, allow_shrink=body.allow_shrink)
        _log.info(
            "backfill asked for export=%s id=%s start=%s end=%s", name, backfill.id, body.start, body.end
        )
        return {"id": backfill.id, **_text(span), "force": body.force}

    def end_backfills(self, name: str) -> dict[str, Any]:
        """End all of an export's backfills; what is stored stays."""
        self.export(name)
        active = [each for each in self._journal.backfills(name) if each.state == "active"]
        for backfill in active:
            self._journal.change_backfill(name, backfill, "ended")
        return {"ended": [each.id for each in active]}

    def verify(self, name: str, span: Window, body: VerifyBody) -> dict[str, Any]:
        """Count at the source what is stored in a range, and say what is missing or differs.

        ``deep`` also hashes the blobs and counts their rows; ``repair`` asks for what is wrong again. Raises
        DeadlineError, and asks for nothing again, where that takes too long.
        """
        export = self.export(name)
        origin, now = self._state.origin(export), self._clock.now()
        due = due_until(export, now)
        if span.start >= due:
            raise BadRequestError("start", f"nothing after {format_second(due)} is due yet")
        span = Window(span.start, min(span.end, due))
        deadline = self._clock.monotonic() + ANSWER_SECONDS
        life = hull([span, *wanted(export, origin.tick, self._journal.backfills(name), now)])
        found = stored_in(self._data, name, [span], self._state.lengths(name), life)
        lost = [each for each in self._journal.unavailable(export) if overlap(each.window, span)]
        missing = subtract(span, [*(each.window for each in found), *(each.window for each in lost)])
        damaged = self._damaged(found, deadline, deep=body.deep)
        broken = {window for window, _ in damaged}
        sound = [each for each in found if each.window not in broken]
        differing, forgotten = self._compared(export, sound, deadline)
        wrong = [window for window, _ in (*differing, *damaged)]
        if body.repair:
            for window in union([*missing, *wrong]):
                self._journal.add_backfill(name, window, force=True, allow_shrink=False)
        bad = {*wrong, *(each.window for each in forgotten)}
        return {
            "export": name,
            **_text(span),
            "windows": len(found),
            "rows": sum(_rows(each) for each in sound),
            "complete": sum(each.window not in bad and self._is_countable(each) for each in sound),
            "not_compared": sum(not self._is_countable(each) for each in sound),
            "missing": _texts(missing),
            "differing": [{**_text(window), **counts} for window, counts in differing],
            "damaged": [{**_text(window), "why": why} for window, why in damaged],
            "unavailable": [{**_text(each.window), "reason": each.reason} for each in (*lost, *forgotten)],
            "deep": body.deep,
            "repair": body.repair and bool(missing or wrong),
        }

    def _compared(
        self, export: Export, found: Sequence[Stored], deadline: float
    ) -> tuple[list[tuple[Window, dict[str, int]]], list[Unavailable]]:
        """Compare stored windows with their source, each with the configuration that it was stored with.

        Returns those that differ, and those of which the source has forgotten the rows.
        """
        differing: list[tuple[Window, dict[str, int]]] = []
        floor = 0 if export.retention is None else read_from(export.retention, self._clock.now())
        forgotten = [Unavailable(each.window, _NOT_COMPARED) for each in found if each.window.start < floor]
        found = [each for each in found if each.window.start >= floor]
        found = [each for each in found if self._is_countable(each)]
        by_config: dict[str, list[Stored]] = defaultdict(list)
        for each in found:
            by_config[each.blob.metadata["config"]].append(each)
        compared: set[Window] = set()
        for digest, alike in by_config.items():
            source = self._open_source(self._rechecker.as_stored(export, digest))
            try:
                for each, count in self._counted(source, alike, deadline):
                    if count is None:
                        forgotten.append(Unavailable(each.window, _NOT_COMPARED))
                    elif count != _rows(each) and not self._holds_all(source, each, deadline):
                        differing.append((each.window, {"stored": _rows(each), "source": count}))
                    compared.add(each.window)
            except DeadlineError as error:
                compared.update(each.window for each in alike[: error.counted])
                raise _too_long([each.window for each in found], compared, error) from error
        return differing, forgotten

    def _is_countable(self, stored: Stored) -> bool:
        return self._sources[stored.blob.metadata["source"]].countable

    def _counted(
        self, source: Source, stored: Sequence[Stored], deadline: float
    ) -> Iterator[tuple[Stored, int | None]]:
        """Yield each window with its source's count, None for what the source forgot."""
        try:
            yield from zip(stored, source.count([each.window for each in stored], deadline), strict=True)
        except UnavailableError:
            for each in stored:
                try:
                    yield each, source.count([each.window], deadline)[0]
                except UnavailableError:
                    yield each, None

    def _holds_all(self, source: Source, stored: Stored, deadline: float) -> bool:
        """Whether a window with other rows than its source still holds each of the source's records.

        That is so where records change: the stored ones stay, and the new ones are added.
        """
        if not self._sources[stored.blob.metadata["source"]].union:
            return False
        document = self._data.read(stored.blob.name)
        format_ = self._formats[stored.extension]
        try:
            held = digests_of(format_.records(document.data, self._data.read) if document else ())
        except ValueError:  # it is damaged; looking deep tells how
            return False
        unseen = Unseen(source, held)
        batches = unseen.read(Reading(stored.window, deadline))
        return not any(batch.rows for batch in batches)

    def _damaged(self, found: Iterable[Stored], deadline: float, *, deep: bool) -> list[tuple[Window, str]]:
        """Return the stored windows without a receipt, and, looking deep, whose blobs are not as it says."""
        damaged = []
        for each in found:
            if self._clock.monotonic() > deadline:
                raise DeadlineError("there was no time to read all blobs of the range; ask for a shorter one")
            why = self._damage(each, deep=deep)
            if why:
                damaged.append((each.window, f"{each.blob.name}: {why}"))
        return damaged

    def _damage(self, stored: Stored, *, deep: bool) -> str | None:
        try:
            receipt = from_metadata(stored.blob.metadata)
            if not deep:
                return None
            document = self._data.read(stored.blob.name)
            if document is None:
                return "it is gone"
            if hashlib.sha256(document.data).hexdigest() != receipt.sha256:
                return "its bytes are not those of its receipt"
            rows = self._formats[stored.extension].count(document.data, self._data.read)
        except ValueError as error:
            return str(error)
        return None if rows == receipt.rows else f"it holds {rows} rows, its receipt says {receipt.rows}"


def _too_long(windows: Sequence[Window], compared: set[Window], error: DeadlineError) -> DeadlineError:
    """Return the error that says how far a verification came, and what to ask for instead.

    ``windows`` are those that were to be compared, oldest first.
    """
    done = list(takewhile(compared.__contains__, windows))
    if not done:
        told = "no window was compared in that time; ask for a shorter range"
    else:
        first, last = format_second(windows[0].start), format_second(done[-1].end)
        told = (
            f"{len(done)} of {len(windows)} windows were compared in that time; verify {first} to {last}, "
            "and then as much again from there"
        )
    return DeadlineError(f"a verification may take {ANSWER_SECONDS:.0f} s, and {told} ({error})")


def _rows(stored: Stored) -> int:
    return int(stored.blob.metadata["rows"])  # of a sound one: its receipt has been read whole


def _text(window: Window) -> dict[str, Any]:
    return {"start": format_second(window.start), "end": format_second(window.end)}


def _texts(windows: Iterable[Window]) -> list[dict[str, Any]]:
    return [_text(window) for window in windows]
