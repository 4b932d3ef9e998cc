"""Counts the rows of windows where a source can only be read."""

from collections.abc import Callable, Iterator, Sequence

from shared.errors import DeadlineError
from shared.model import Batch, Reading, Window


def count_by_reading(
    read: Callable[[Reading], Iterator[Batch]], windows: Sequence[Window], deadline: float
) -> list[int]:
    """Return how many rows each window holds, read one after the other.

    Raises what ``read`` raises; a DeadlineError says how many were counted in time.
    """
    counts: list[int] = []
    try:
        for each in windows:
            counts.append(sum(len(batch.rows) for batch in read(Reading(each, deadline))))  # noqa: PERF401  those in time
    except DeadlineError as error:
        raise DeadlineError(str(error), len(counts)) from error
    return counts
