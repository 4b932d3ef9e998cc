"""Reads a window from its source into staged blocks: what a first export and a second one have in common."""

from dataclasses import dataclass

from shared import VERSION
from shared.errors import DeadlineError, NotSettledError
from shared.model import Batch, Clock, Export, Measured, Receipt, Source, Window, Writer
from shared.staging import Staging
from shared.windows import SECOND

_TOLERANCE = 5 * SECOND
DEADLINE_SECONDS = 540.0
"""How long one message may take: less than the functionTimeout in host.json, so that we end it ourselves."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is asked of a source: a window, by when (on the clock's ``monotonic``), and how widely."""

    window: Window
    deadline: float
    measured: Measured | None = None
    wide: bool = False


def read_into(
    staging: Staging, writer: Writer, export: Export, source: Source, reading: Reading, clock: Clock
) -> "Tally":
    """Read a window's rows into staged blocks.

    Raises the source's errors, DeadlineError when it takes too long, and NotSettledError when the service's
    clock says that the window is not due yet.
    """
    tally = Tally()
    try:
        for batch in source.read(reading.window, reading.deadline, reading.measured, wide=reading.wide):
            _check_settled(export, reading.window, batch)
            staging.add(writer.write(batch))
            tally.slices += batch.slices
            tally.requests += batch.requests
            tally.answer_bytes += batch.answer_bytes
            tally.repeated_ids += batch.repeated_ids
            if clock.monotonic() > reading.deadline:
                raise DeadlineError("not all of its rows were there in time")
    except DeadlineError as error:
        raise DeadlineError(
            f"the window took more than {DEADLINE_SECONDS:.0f} s ({error}); "
            f"give {export.name} a shorter window"
        ) from error
    staging.add(writer.finish())
    return tally


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
        attempt=staging.attempt,
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
