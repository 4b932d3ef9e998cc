"""How far back a source can be read that drops old rows: its floor moves on while it is read. Pure."""

from shared.windows import MINUTE, SECOND

A_READING = 10 * MINUTE
"""Longer than reading or counting a window may take (ticks): as long as functionTimeout in host.json."""


def read_from(kept: int, now: int) -> int:
    """Return the first whole second (ticks) that a source which keeps rows for ``kept`` ticks is asked for.

    What lies before it may be gone before the answer comes, and the answer would then lack rows without a
    word. A reading that begins ``now`` and at this second ends in time.
    """
    return -(-(now - kept + A_READING) // SECOND) * SECOND
