"""What is covered, whether it is what the source holds, and how to ask for it again."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from shared.coverage import Stored, due_until, gaps, stored_in, wanted
from shared.errors import BadRequestError, NotFoundError
from shared.http_body import read_body
from shared.in_flight import Flights
from shared.journal import Journal, Unavailable
from shared.model import Clock, Container, Export, Format, Source, Window
from shared.receipts import from_metadata
from shared.rechecker import Rechecker
from shared.state import State
from shared.windows import SECOND, format_second, overlap, parse_instant, subtract, union

_log = logging.getLogger(__name__)

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
    """Read a request's body and its range. Raises BadRequestError, which names the field that is wrong."""
    request = read_body(body, type_)
    ticks = {}
    for field in ("start", "end"):
        try:
            ticks[field] = parse_instant(getattr(request, field))
            if ticks[field] % SECOND:
                raise ValueError("it must lie on a whole second")
        except ValueError as error:
            raise BadRequestError(field, str(error)) from error
    if ticks["start"] >= ticks["end"]:
        raise BadRequestError("end", "does not lie after start")
    return request, Window(ticks["start"], ticks["end"])


class Auditor:
    """Answers what an auditor asks."""

    def __init__(
        self,
        exports: Sequence[Export],
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

    def coverage(self, name: str) -> dict[str, Any]:
        """Return an export's covered ranges, its gaps, what is lost, in flight, failing and asked for."""
        export = self.export(name)
        origin = self._state.origin(export)
        now = self._clock.now()
        backfills = self._journal.backfills(name)
        spans = wanted(export, origin.tick, backfills, now)
        found = self._stored(export, spans)
        lost = self._journal.unavailable(export)
        flights = self._flights.load(export.kind).flights
        return {
            "export": name,
            "origin": origin.start,
            "due_until": format_second(max(origin.tick, due_until(export, now))),
            "covered": _texts(union(each.window for each in found)),
            "gaps": _texts(gaps(spans, _windows(found, lost))),
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
            "backfills": [{"id": each.id, **_text(each.window), "force": each.force} for each in backfills],
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
        ended = [backfill.id for backfill in self._journal.backfills(name)]
        for id_ in ended:
            self._journal.end_backfill(name, id_)
        return {"ended": ended}

    def verify(self, name: str, span: Window, body: VerifyBody) -> dict[str, Any]:
        """Count at the source what is stored in a range, and say what is missing or differs.

        ``deep`` also hashes the blobs and counts their rows; ``repair`` asks for what is wrong again.
        """
        export = self.export(name)
        self._state.origin(export)
        due = due_until(export, self._clock.now())
        if span.start >= due:
            raise BadRequestError("start", f"nothing after {format_second(due)} is due yet")
        span = Window(span.start, min(span.end, due))
        deadline = self._clock.monotonic() + ANSWER_SECONDS
        found = self._stored(export, [span])
        lost = [each for each in self._journal.unavailable(export) if overlap(each.window, span)]
        missing = subtract(span, _windows(found, lost))
        differing = self._differing(export, found, deadline)
        damaged = self._damaged(found) if body.deep else []
        wrong = [each.window for each, _ in (*differing, *damaged)]
        if body.repair:
            for window in union([*missing, *wrong]):
                self._journal.add_backfill(name, window, force=True, allow_shrink=False)
        bad = set(wrong)
        return {
            "export": name,
            **_text(span),
            "windows": len(found),
            "rows": sum(from_metadata(each.blob.metadata).rows for each in found),
            "complete": sum(each.window not in bad for each in found),
            "missing": _texts(missing),
            "differing": [{**_text(each.window), **why} for each, why in differing],
            "damaged": [{**_text(each.window), "blob": each.blob.name, "why": why} for each, why in damaged],
            "unavailable": [{**_text(each.window), "reason": each.reason} for each in lost],
            "deep": body.deep,
            "repair": body.repair and bool(missing or wrong),
        }

    def _stored(self, export: Export, spans: Iterable[Window]) -> list[Stored]:
        return stored_in(self._data, export.name, spans, self._state.longest_window(export.name))

    def _differing(
        self, export: Export, found: Sequence[Stored], deadline: float
    ) -> list[tuple[Stored, dict[str, int]]]:
        """Return the stored windows whose source counts otherwise, as they were configured when stored."""
        differing = []
        for digest in dict.fromkeys(each.blob.metadata.get("config", "") for each in found):
            alike = [each for each in found if each.blob.metadata.get("config", "") == digest]
            source = self._open_source(self._rechecker.as_stored(export, digest))
            counts = source.count([each.window for each in alike], deadline)
            for each, count in zip(alike, counts, strict=True):
                rows = from_metadata(each.blob.metadata).rows
                if count != rows:
                    differing.append((each, {"stored": rows, "source": count}))
        return differing

    def _damaged(self, found: Iterable[Stored]) -> list[tuple[Stored, str]]:
        """Return the stored windows whose blobs are not what their receipts say."""
        damaged = []
        for each in found:
            document = self._data.read(each.blob.name)
            why = "it is gone" if document is None else self._damage(each, document.data)
            if why:
                damaged.append((each, why))
        return damaged

    def _damage(self, stored: Stored, data: bytes) -> str | None:
        receipt = from_metadata(stored.blob.metadata)
        if hashlib.sha256(data).hexdigest() != receipt.sha256:
            return "its bytes are not those of its receipt"
        try:
            rows = len(self._formats[stored.extension].records(data))
        except ValueError as error:
            return str(error)
        return None if rows == receipt.rows else f"it holds {rows} rows, its receipt says {receipt.rows}"


def _windows(found: Iterable[Stored], lost: Iterable[Unavailable]) -> list[Window]:
    return [*(each.window for each in found), *(each.window for each in lost)]


def _text(window: Window) -> dict[str, Any]:
    return {"start": format_second(window.start), "end": format_second(window.end)}


def _texts(windows: Iterable[Window]) -> list[dict[str, Any]]:
    return [_text(window) for window in windows]
