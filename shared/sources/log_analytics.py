"""Log Analytics tables and KQL, through the query API v1 ("Azure Monitor Log Analytics API")."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from shared.errors import AnswerTooLargeError, DeadlineError, ExportError, UnavailableError
from shared.la_options import Options, check, identity, places
from shared.log_reader import LogReader
from shared.model import Batch, Reading, Source, SourceType, Tools, Window
from shared.retention import read_from
from shared.window_kql import USUAL, WIDE
from shared.windows import DAY

BASIC_DAYS = 30
"""How far back a Basic table can be asked ("Query data in a Basic and Auxiliary table")."""


class LogAnalytics:
    """Reads the windows of one export: those of its workspaces one after the other, each by itself."""

    def __init__(self, options: Options, tools: Tools) -> None:
        self._options = options
        self._clock = tools.clock
        self._readers = [LogReader(route, selection, tools) for route, selection in places(options)]

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows, slice by slice; where an answer was cut off, ask again in halves.

        Raises UnavailableError for a Basic table's time that was out of reach at the beginning or the end.
        """
        self._check_reach(reading.window)
        yield from self._read(reading)
        self._check_reach(reading.window)  # an answer that came too late would lack rows

    def _read(self, reading: Reading) -> Iterator[Batch]:
        if self._options.table is None and not self._options.splittable:
            yield self._whole(self._readers[0], reading)
            return
        reach = WIDE if reading.wide else USUAL
        for reader in self._readers:
            measured = reading.measured
            # What is measured is all workspaces' together, which says little of each unless it is little;
            # but where counting is not free it has to do.
            countable = len(self._readers) > 1 and not self._options.scanned
            if countable and measured and not reader.fits(reading.window, measured):
                measured = None
            yield from reader.read(reading.window, reading.deadline, measured, reach)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows each window holds through the pipeline, in all workspaces together."""
        for window in windows:
            self._check_reach(window)
        counts: list[list[int]] = []
        try:
            for reader in self._readers:
                counts.append(reader.count(windows, deadline))  # noqa: PERF401  those in time
        except DeadlineError as error:
            in_all = error.counted if len(counts) + 1 == len(self._readers) else 0
            raise DeadlineError(str(error), in_all) from error
        for window in windows:
            self._check_reach(window)
        return [sum(each) for each in zip(*counts, strict=True)]

    def release(self, reading: Reading) -> None:
        """The query API keeps nothing for a window."""

    def _whole(self, reader: LogReader, reading: Reading) -> Batch:
        try:
            return reader.whole(reading.window, reading.deadline)
        except AnswerTooLargeError as error:
            raise ExportError(
                f"{error}; free kql is cut into smaller questions only if it says splittable = true, which "
                "it may if it gives the same rows when asked in parts. Say so, or shorten the window"
            ) from error

    def _check_reach(self, window: Window) -> None:
        """Refuse time that a Basic table is not asked for: the answer would be empty, and no error.

        The floor that is named lies so far within reach that what begins there can be read whole, although
        the reach moves on meanwhile.
        """
        if self._options.plan != "basic":
            return
        now = self._clock.now()
        if window.start < now - BASIC_DAYS * DAY:
            raise UnavailableError(
                read_from(BASIC_DAYS * DAY, now),
                f"a Basic table can be asked for the last {BASIC_DAYS} days only; the source search_jobs "
                "reaches further",
            )


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return check(options)


def _identity(options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return identity(options)


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return LogAnalytics(options, tools)


TYPE = SourceType(
    kind="log_analytics",
    forgets=False,
    union=False,
    retention="30d",  # a table's default; the query API answers older time with nothing, not with an error
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
)
