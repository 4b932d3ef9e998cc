"""Hypothesis strategies that several tests draw from."""

from __future__ import annotations

from hypothesis import strategies as st

from shared.model import Message, Receipt, Window
from shared.windows import DAY, END_OF_TIME, SECOND

LINE_MARKS = "\u2028\u2029\x85\x0b\x0c\x1c\x1e\r\n"
"""Characters that one reader or another takes for the end of a line."""

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(LINE_MARKS + "\"'\\%/{}[]\x00\x7f😀é")
)
"""Any text that UTF-8 can carry, with a liking for what breaks formats."""

ticks = st.integers(0, END_OF_TIME - 1)
whole_seconds = st.integers(0, END_OF_TIME // SECOND - 1).map(lambda second: second * SECOND)
hexes = st.text("0123456789abcdef", min_size=1, max_size=32)
export_names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@st.composite
def spans(draw: st.DrawFn, limit: int = 60) -> Window:
    """Windows between small whole numbers, for comparison with sets of ticks."""
    start = draw(st.integers(0, limit - 1))
    return Window(start, draw(st.integers(start + 1, limit)))


@st.composite
def windows(draw: st.DrawFn, longest: int = 7 * DAY) -> Window:
    """Windows on whole seconds, as exports have them."""
    start = draw(whole_seconds.filter(lambda tick: tick < END_OF_TIME - SECOND))
    room = min(longest, END_OF_TIME - SECOND - start) // SECOND
    return Window(start, start + draw(st.integers(1, room)) * SECOND)


messages = st.builds(
    Message,
    export=texts,
    window=windows(),
    reason=st.sampled_from(["schedule", "backfill", "recheck"]),
    config=hexes,
    id=hexes,
)

_counts = st.integers(0, 2**63)
_times = st.none() | st.just("2026-11-21T10:00:00.1234567Z")
receipts = st.builds(
    Receipt,
    window=windows(),
    rows=_counts,
    sha256=hexes,
    revision=_counts,
    attempt=hexes,
    config=hexes,
    source=st.sampled_from(["log_analytics", "entra"]),
    first_time=_times,
    last_time=_times,
    slices=_counts,
    requests=_counts,
    answer_bytes=_counts,
    exported_at=ticks,
    app_version=st.just("0.1.0"),
)
