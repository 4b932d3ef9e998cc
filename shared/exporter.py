"""One queue message: a window is exported, stored again, or compared with its source."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil

from shared.attempts import Attempts
from shared.coverage import Stored, cell_of, covered, is_planned, measured, stored_near, wanted
from shared.errors import (
    ConflictError,
    DeadlineError,
    DeniedError,
    ExportError,
    NoRoomError,
    NotGrantedError,
    PutOffError,
    ServiceError,
    UnavailableError,
)
from shared.events import event
from shared.file_format import Format
from shared.journal import Backfill, Journal
from shared.layout import blob_name
from shared.model import (
    Clock,
    Container,
    Export,
    Measured,
    Message,
    Reading,
    Receipt,
    Source,
    Window,
)
from shared.reading import DEADLINE_SECONDS, read_into, receipt_of, release
from shared.receipts import to_metadata
from shared.rechecker import Rechecker
from shared.retention import read_from
from shared.rewriter import Rewrite, Rewriter
from shared.staging import Staging
from shared.state import State
from shared.windows import DAY, SECOND, grid_floor, overlap

_log = logging.getLogger(__name__)

_DEADLINES = 2
"""Deliveries that may end at their deadline: what took too long twice will not be quicker at once."""

_LONGEST_REDELIVERY = 120.0
"""Seconds that a service may ask us to wait for the queue to be the one that waits."""

_TOO_MUCH = frozenset({429, 503})
"""Statuses by which a service asks the whole export to wait, whichever window it was asked for."""


class Exporter:
    """Carries out messages. Safe to run several times, and at the same time, for the same window."""

    def __init__(
        self,
        exports: Sequence[Export],
        open_source: Callable[[Export], Source],
        formats: Mapping[str, Format],
        data: Container,
        attempts: Attempts,
        state: State,
        journal: Journal,
        rewriter: Rewriter,
        rechecker: Rechecker,
        clock: Clock,
    ) -> None:
        self._exports = {export.name: export for export in exports}
        self._open_source = open_source
        self._formats = formats
        self._data = data
        self._attempts = attempts
        self._state = state
        self._journal = journal
        self._rewriter = rewriter
        self._rechecker = rechecker
        self._clock = clock

    def run(self, message: Message, attempt: int = 1) -> Receipt | None:
        """Carry out a message; return the receipt of a window that was stored here for the first time.

        An error that a retry can mend is raised, for the queue to deliver the message again. Any other is
        recorded, and the planner tries the window again later.
        """
        try:
            return self._run(message, attempt)
        except NoRoomError as error:
            event(_log, "export put off", message, level=logging.WARNING, why=error)
            self._let_rest(message, str(error), error.wait)
        except PutOffError as error:
            event(_log, "window put off", message, level=logging.WARNING, why=error)
            with contextlib.suppress(ConflictError):  # another worker put it off just now
                self._journal.record_failure(message, str(error), error.wait, put_off=True)
        except (DeniedError, NotGrantedError) as error:
            event(_log, "export denied", message, level=logging.ERROR, attempt=attempt, error=error)
            self._let_rest(message, str(error))
        except ExportError as error:
            if not self._recorded(message, error, attempt):
                raise
        return None

    def _recorded(self, message: Message, error: ExportError, attempt: int) -> bool:
        """Record an error, unless the queue is to deliver the message again soon; return whether it was."""
        wait = error.retry_after if isinstance(error, ServiceError) else None
        too_long = wait is not None and wait > _LONGEST_REDELIVERY
        ticks = None if wait is None else ceil(wait) * SECOND
        if too_long and isinstance(error, ServiceError) and error.status in _TOO_MUCH:
            event(_log, "export put off", message, level=logging.WARNING, why=error)
            self._let_rest(message, str(error), ticks)
            return True
        event(_log, "window failed", message, level=logging.ERROR, attempt=attempt, error=error)
        in_vain = isinstance(error, DeadlineError) and attempt >= _DEADLINES
        if error.retryable and not in_vain and not too_long:
            return False
        self._give_up(message, str(error), ticks)
        return True

    def _let_rest(self, message: Message, why: str, wait: int | None = None) -> None:
        """Have the planner leave an export alone for a while (ticks): its other windows would fare alike."""
        export = self._exports.get(message.export)
        if export is not None:
            with contextlib.suppress(ConflictError):  # another worker met the same just now
                self._journal.record_denial(export, why, wait)

    def give_up(self, message: Message) -> None:
        """Record that the queue delivered a message too often in vain; the log has the errors."""
        self._give_up(message, "every delivery of the queue message failed; the log has the errors")

    def _give_up(self, message: Message, error: str, wait: int | None = None) -> None:
        with contextlib.suppress(ConflictError):  # another worker recorded the same failure just now
            failure = self._journal.record_failure(message, error, wait)
            pause = f"{(failure.next_try - self._clock.now()) // SECOND}s"
            event(
                _log, "window given up", message, level=logging.ERROR, times=failure.times, next_try_in=pause
            )

    def _run(self, message: Message, attempt: int) -> Receipt | None:
        export = self._exports.get(message.export)
        if export is None:
            _dropped(message, "its export is gone, paused, or wrong")
        elif message.reason == "recheck":
            self._state.origin(export)
            self._rechecker.run(export, message)
        elif export.digest != message.config:
            _dropped(message, "its export is configured otherwise by now")
        else:
            return self._planned(export, message, attempt)
        return None

    def _planned(self, export: Export, message: Message, attempt: int) -> Receipt | None:
        """Export a window, or store it again, if the planner would issue its message now."""
        window = message.window
        origin = self._state.origin(export)
        cell = cell_of(export, window.start)
        reach = Window(min(cell.start, window.start), max(cell.end, window.end))
        found = self._near(export, reach)
        backfills = self._journal.backfills(export.name)
        stored = [each for each in found if each.window == window]
        if stored:
            if not self._withdraw_if_overlapped(message, found):
                self._stored_again(export, message, stored, backfills)
            return None
        lost = [each.window for each in self._journal.unavailable(export)]
        spans = wanted(export, origin.tick, backfills, self._clock.now())
        if not is_planned(export, window, spans, [*covered(found, reach), *lost]):
            _dropped(message, "it is not what would be planned now")
            return None
        size = measured(found, window, export.digest)
        while True:
            try:
                if message.window == window:  # not of a rest, for the floor moves on
                    self._check_retention(export, window)
                return self._export(export, message, attempt, size)
            except UnavailableError as error:
                if error.floor <= message.window.start:
                    raise
                self._record_unavailable(export, message, error)
                if error.floor >= window.end:
                    return None
                # At once, because by the next plan the floor has moved on.
                message = replace(message, window=Window(error.floor, window.end))

    def _stored_again(
        self, export: Export, message: Message, stored: Sequence[Stored], backfills: Sequence[Backfill]
    ) -> None:
        """Store a stored window again if a backfill asks for that; else there is nothing to do."""
        kept = self._rewriter.keep_newest(stored)
        redo = [
            each
            for each in backfills
            if each.force and each.state == "active" and overlap(each.window, message.window)
        ]
        if not redo or message.reason != "backfill":
            _dropped(message, "it is stored already")
            return
        began, deadline = self._clock.now(), self._clock.monotonic() + DEADLINE_SECONDS
        allow_shrink = any(each.allow_shrink for each in redo)
        try:
            self._check_retention(export, kept.window)
        except UnavailableError as error:  # what is stored may be all that is left
            event(_log, "window kept: its source may have forgotten it", message, why=error)
            rewrite = Rewrite("source_shrank", 0)
        else:
            since = max(each.requested_at for each in redo)
            rewrite = self._rewriter.rewrite(
                export, kept, message, deadline, since, force=True, allow_shrink=allow_shrink
            )
        self._rechecker.record(message, [(kept, rewrite)], began)

    def _check_retention(self, export: Export, window: Window) -> None:
        """Refuse time that the source may have forgotten by the time that it answers.

        Its answer would be fewer rows, not an error.
        """
        if export.retention is None:
            return
        floor = read_from(export.retention, self._clock.now())
        if window.start < floor:
            raise UnavailableError(
                floor,
                "older than the retention of the source as the export states it, or so near to it that the "
                "rows may be gone before they are read; if its table keeps rows for longer, set the export's "
                "key retention",
            )

    def _record_unavailable(self, export: Export, message: Message, error: UnavailableError) -> None:
        lost = Window(message.window.start, min(message.window.end, error.floor))
        with contextlib.suppress(ConflictError):  # recorded already
            self._journal.record_unavailable(
                export, lost, str(error), by_retention=export.retention is not None
            )
        event(_log, "window unavailable", message, level=logging.WARNING, why=error)

    def _near(self, export: Export, span: Window) -> list[Stored]:
        """List what is stored in and near a span, with receipts."""
        return stored_near(self._data, export.name, span, self._state.lengths(export.name))

    def _withdraw_if_overlapped(self, message: Message, found: Sequence[Stored]) -> bool:
        """Delete the message's stored window when another one overlaps it; return whether that was so.

        Two workers with configurations of different window lengths can only store overlapping windows when
        what is in flight was lost; whoever finds the other's makes way, so that no row stays twice, and
        what is then a gap is planned again.
        """
        window = message.window
        if not any(each.window != window and overlap(each.window, window) for each in found):
            return False
        for each in found:
            if each.window == window:
                with contextlib.suppress(ConflictError):  # it has been replaced since
                    self._attempts.remove(each.blob)
        event(_log, "window withdrawn: another one overlaps it", message, level=logging.WARNING)
        return True

    def _export(
        self, export: Export, message: Message, attempt: int, size: Measured | None
    ) -> Receipt | None:
        began = self._clock.monotonic()
        format_ = self._formats[export.format]
        self._state.register(export)
        now = self._clock.now()  # what becomes visible from here on is for a recheck to find
        last_recheck = message.window.end + export.lag + max(export.recheck, default=0)
        wide = bool(export.recheck) and now >= last_recheck  # no recheck will look farther afield
        # Of a window that settled long ago, what the service prepared this week is as good as new. Where this
        # moves while a search or job goes on, that is left to end by itself, and another one is begun.
        since = max(last_recheck, grid_floor(now, 7 * DAY)) if wide else message.window.end + export.lag
        reading = Reading(message.window, began + DEADLINE_SECONDS, size, wide=wide, since=since)
        source = self._open_source(export)
        name = blob_name(export.name, message.window, format_.extension)
        with self._attempts.of(export.name, message.window) as own, Staging(self._data, name, own) as staging:
            begin = partial(format_.writer, own.folder, None)
            writer, tally = read_into(staging, begin, export, source, reading, self._clock)
            receipt = receipt_of(export, message.window, staging, writer, tally, now=now)
            committed = staging.commit(to_metadata(receipt), format_.content_type, etag=None)
        release(source, reading)
        if not committed:
            event(_log, "window left to the worker that stored it first", message, attempt=attempt)
            return None
        if self._withdraw_if_overlapped(message, self._near(export, message.window)):
            return None
        event(
            _log,
            "window exported",
            message,
            rows=receipt.rows,
            bytes=staging.size,
            seconds=f"{self._clock.monotonic() - began:.1f}",
            attempt=attempt,
        )
        return receipt


def _dropped(message: Message, why: str) -> None:
    event(_log, "window dropped", message, why=why)
