"""Compares stored windows with their source again, and adds what became visible since."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from shared.configs import read_config
from shared.coverage import Stored, reading_due, stored_near
from shared.errors import ConflictError, ExportError, UnavailableError
from shared.events import event
from shared.journal import Journal, RecheckedWindow
from shared.model import Clock, Container, Export, Message, Source, SourceType, Window
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.rewriter import Rewrite, Rewriter
from shared.state import State
from shared.windows import format_second

_log = logging.getLogger(__name__)


class Rechecker:
    """Carries out messages with the reason ``recheck``, whose window spans one or more stored windows."""

    def __init__(
        self,
        sources: Mapping[str, SourceType],
        open_source: Callable[[Export], Source],
        data: Container,
        state: State,
        journal: Journal,
        rewriter: Rewriter,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._open_source = open_source
        self._data = data
        self._state = state
        self._journal = journal
        self._rewriter = rewriter
        self._clock = clock

    def run(self, export: Export, message: Message) -> None:
        """Recheck the span's windows with the configuration that they were stored with.

        Where counting is cheap, only windows whose source holds more rows are read again.
        """
        began, deadline = self._clock.now(), self._clock.monotonic() + DEADLINE_SECONDS
        stored = self._stored(message)
        if not stored:
            event(_log, "recheck dropped", message, why="nothing is stored there with its configuration")
            return
        as_stored = self.as_stored(export, message.config)
        if self._sources[export.source].union:
            done = [(each, self._again(export, as_stored, each, message, deadline)) for each in stored]
        else:
            done = self._by_count(export, as_stored, stored, message, deadline)
        self.record(message, done, began)

    def as_stored(self, export: Export, digest: str) -> Export:
        """Return an export as it was when windows were stored with a configuration. Raises ExportError."""
        config = self._state.config(export.name, digest)
        if config is None:
            raise ExportError(
                f"the configuration {digest} of {export.name} is not kept in the state container"
            )
        try:
            return replace(read_config(export.name, config, self._sources), lag=export.lag)
        except ValueError as error:
            raise ExportError(str(error)) from error

    def record(self, message: Message, done: Sequence[tuple[Stored, Rewrite]], began: int) -> None:
        """Keep what was found since it began (ticks), also when nothing changed."""
        windows = [
            RecheckedWindow(
                format_second(stored.window.start),
                format_second(stored.window.end),
                int(stored.blob.metadata.get("rows", 0)),
                rewrite.rows,
                rewrite.outcome,
            )
            for stored, rewrite in done
        ]
        with contextlib.suppress(ConflictError):  # recorded within the same second
            self._journal.record_recheck(
                message.export,
                message.window,
                message.config,
                windows,
                began,
                redo=message.reason == "backfill",
            )
        outcomes = [rewrite.outcome for _, rewrite in done]
        event(
            _log,
            "window rechecked",
            message,
            windows=len(done),
            added=outcomes.count("added"),
            source_shrank=outcomes.count("source_shrank"),
        )

    def _stored(self, message: Message) -> list[Stored]:
        span = message.window
        lengths = self._state.lengths(message.export)
        return [
            each
            for each in stored_near(self._data, message.export, span, lengths)
            if span.start <= each.window.start
            and each.window.end <= span.end
            and each.blob.metadata.get("config") == message.config
        ]

    def _again(
        self, export: Export, as_stored: Export, stored: Stored, message: Message, deadline: float
    ) -> Rewrite:
        since = reading_due(export, stored.window, self._clock.now())
        return self._rewriter.rewrite(as_stored, stored, message, deadline, since)

    def _by_count(
        self,
        export: Export,
        as_stored: Export,
        stored: Sequence[Stored],
        message: Message,
        deadline: float,
    ) -> list[tuple[Stored, Rewrite]]:
        source = self._open_source(as_stored)
        counts = _counts(source, [each.window for each in stored], message, deadline)
        done = []
        for each, count in zip(stored, counts, strict=True):
            rows = from_metadata(each.blob.metadata).rows
            if count is None:
                rewrite = Rewrite("source_shrank", 0)
            elif count > rows:
                rewrite = self._again(export, as_stored, each, message, deadline)
            else:
                rewrite = Rewrite("unchanged" if count == rows else "source_shrank", count)
            done.append((each, rewrite))
        return done


def _counts(source: Source, windows: Sequence[Window], message: Message, deadline: float) -> list[int | None]:
    """Return how many rows a source holds for each window, None for what it forgot."""
    try:
        return [*source.count(windows, deadline)]
    except UnavailableError as error:
        if len(windows) == 1:
            event(_log, "window kept: its source forgot it", message, level=logging.WARNING, why=error)
            return [None]
    return [count for each in windows for count in _counts(source, [each], message, deadline)]
