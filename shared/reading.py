"""Reads a window from its source into staged blocks: what a first export and a second one have in common."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from shared import VERSION
from shared.errors import DeadlineError, ExportError, NotSettledError
from shared.file_format import Writer
from shared.model import Batch, Clock, Column, Export, Reading, Receipt, Source, Window
from shared.staging import Staging
from shared.tables import ColumnsChangedError
from shared.windows import SECOND

_log = logging.getLogger(__name__)

_TOLERANCE = 5 * SECOND
_BEGINNINGS = 10  # of one file; each knows more columns than the one before
DEADLINE_SECONDS = 540.0
"""How long one message may take: less than the functionTimeout in host.json, so that we end it ourselves."""


def read_into(
    staging: Staging,
    begin: Callable[[Sequence[Column]], Writer],
    export: Export,
    source: Source,
    reading: Reading,
    clock: Clock,
) -> tuple[Writer, "Tally"]:
    """Read a window's rows into staged blocks, and into files of the attempt where the format has such.

    ``begin`` begins the window's file with some columns. Where rows turn out not to fit them, all begins
    again with those that are needed; so does the source, whose requests are all counted.

    Raises the source's errors, DeadlineError when it takes too long, and NotSettledError when the service's
    clock says that the window is not due yet.
    """
    columns, requests = export.columns, 0
    for beginnings in count(1):
        writer, tally = begin(columns), Tally(requests=requests)
        try:
            _read(staging, writer, export, source, reading, clock, tally)
            break
        except ColumnsChangedError as change:
            if beginnings == _BEGINNINGS:
                raise
            columns, requests = change.columns, tally.requests
            staging.restart()
            _log.info("window begins again with other columns export=%s: %s", export.name, _listed(columns))
        except DeadlineError as error:
            raise DeadlineError(
                f"the window took more than {DEADLINE_SECONDS:.0f} s ({error}); "
                f"give {export.name} a shorter window"
            ) from error
    return writer, tally


def _read(
    staging: Staging,
    writer: Writer,
    export: Export,
    source: Source,
    reading: Reading,
    clock: Clock,
    tally: "Tally",
) -> None:
    for batch in source.read(reading):
        _check_settled(export, reading.window, batch)
        tally.slices += batch.slices
        tally.requests += batch.requests
        tally.answer_bytes += batch.answer_bytes
        tally.repeated_ids += batch.repeated_ids
        staging.add(writer.write(batch))
        for file, data in writer.files():
            staging.attempt.put(file, data)
        if clock.monotonic() > reading.deadline:
            raise DeadlineError("not all of its rows were there in time")
        del batch  # or it would stay in memory while the next one comes
    staging.add(writer.finish())


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in columns)


def release(source: Source, reading: Reading) -> None:
    """Let the service drop what it keeps for a reading. What stays there costs a sweep, not the window."""
    try:
        source.release(reading)
    except ExportError as error:
        _log.warning("what the service keeps for a stored window could not be removed: %s", error)


@dataclass(slots=True)
class Tally:
    """What the source was asked and answered."""

    slices: int = 0
    requests: int = 0
    answer_bytes: int = 0
    repeated_ids: int = 0


def receipt_of(
    export: Export, before: Receipt | Window, staging: Staging, writer: Writer, tally: Tally, *, now: int
) -> Receipt:
    """Return the receipt of what is staged; ``before`` is the window's last one, else the window."""
    return Receipt(
        window=before if isinstance(before, Window) else before.window,
        rows=writer.rows,
        sha256=staging.finish(),
        revision=1 if isinstance(before, Window) else before.revision + 1,
        attempt=staging.attempt.id,
        config=export.digest,
        source=export.source,
        first_time=writer.first_time,
        last_time=writer.last_time,
        slices=tally.slices,
        requests=tally.requests,
        answer_bytes=tally.answer_bytes,
        exported_at=now,
        app_version=VERSION,
        repeated_ids=tally.repeated_ids,
    )


def _check_settled(export: Export, window: Window, batch: Batch) -> None:
    """Refuse an answer that the service gave, by its own clock, before the window was due.

    Its Date header has whole seconds, and clocks that are kept in step still differ by some.
    """
    settled = window.end + export.lag - min(export.lag, _TOLERANCE)
    if batch.served_at is not None and batch.served_at < settled:
        raise NotSettledError(window.end + export.lag - batch.served_at)
