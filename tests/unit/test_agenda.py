"""What an export needs next: which windows, in which order, and which rechecks together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agenda import (
    RECHECKED_AT_ONCE,
    Rank,
    Task,
    awaiting_recheck,
    new_windows,
    recheck_tasks,
    redo_tasks,
    redone_windows,
    urgency,
)
from shared.coverage import Stored, gaps, wanted
from shared.journal import Backfill, Recheck
from shared.model import Blob, Export, Receipt, Window
from shared.receipts import to_metadata
from shared.windows import DAY, HOUR, MINUTE, parse_instant, subtract, union

TEN = parse_instant("2026-11-21T10:00:00")
NOW = TEN + 6 * HOUR + 20 * MINUTE
DUE = TEN + 6 * HOUR
HOURLY = Export(
    name="events", source="s", kind="log_analytics", options=msgspec.defstruct("Options", [])(), window=HOUR,
    offset=0, lag=15 * MINUTE, start=-DAY, recheck=(HOUR, DAY), retention=None, keep=None, format="jsonl",
    identity={}, config=b"{}", digest="new",
)  # fmt: skip


def hours(start: float, end: float) -> Window:
    """Return the window between two hours, counted from ten o'clock."""
    return Window(TEN + round(start * HOUR), TEN + round(end * HOUR))


def stored(window: Window, *, at: int = NOW, config: str = "old") -> Stored:
    """Return a stored window with its receipt: when it was exported and with which configuration."""
    receipt = Receipt(
        window=window, rows=1, sha256="", revision=1, attempt="a", config=config, source="s", first_time=None,
        last_time=None, slices=1, requests=1, answer_bytes=1, exported_at=at, app_version="1",
    )  # fmt: skip
    return Stored(window, "jsonl", Blob(f"b{window.start}", "e", 1, to_metadata(receipt)))


def shown(tasks: Iterable[Task]) -> list[tuple[str, float]]:
    """Return tasks as their rank and the hour at which they begin, counted from ten o'clock."""
    return [(task.rank.name, (task.flight.window.start - TEN) / HOUR) for task in tasks]


def spans(tasks: Iterable[Task]) -> list[tuple[float, float]]:
    """Return the hours that tasks span, counted from ten o'clock."""
    windows = [task.flight.window for task in tasks]
    return [((each.start - TEN) / HOUR, (each.end - TEN) / HOUR) for each in windows]


def due_rechecks(
    export: Export, found: list[Stored], rechecks: list[Recheck], now: int
) -> tuple[list[Stored], int | None]:
    """Return the windows that are due for a recheck, and the start of the first that will ever be."""
    awaiting = awaiting_recheck(export, found, rechecks)
    return [each for each, at in awaiting if at <= now], awaiting[0][0].window.start if awaiting else None


def force(start: float, end: float, *, at: int = NOW) -> Backfill:
    """Return a backfill that stores again what is stored."""
    return Backfill("id", hours(start, end), force=True, allow_shrink=False, requested_at=at)


def test_the_newest_due_window_is_fresh_and_behind_it_lies_the_backlog() -> None:
    """Whoever waits for the present does not wait for the past; the newest of the past comes first."""
    tasks = list(new_windows(HOURLY, [hours(2, 6)], TEN, NOW, forgets=False))
    assert shown(tasks) == [("FRESH", 5), ("BACKLOG", 4), ("BACKLOG", 3), ("BACKLOG", 2)]
    assert {(task.flight.reason, task.flight.config, task.export) for task in tasks} == {
        ("schedule", "new", "events")
    }


def test_a_source_that_forgets_is_read_from_its_oldest_end() -> None:
    """After the newest window the oldest ones are the next to be lost."""
    tasks = new_windows(HOURLY, [hours(0, 2), hours(3, 6)], TEN, NOW, forgets=True)
    assert shown(tasks) == [("FRESH", 5), ("BACKLOG", 0), ("BACKLOG", 1), ("BACKLOG", 3), ("BACKLOG", 4)]


def test_only_the_window_that_ends_now_is_fresh() -> None:
    """Where the newest window is stored, what is missing before it is backlog."""
    for forgets in (False, True):
        ranks = {task.rank for task in new_windows(HOURLY, [hours(0, 5)], TEN, NOW, forgets=forgets)}
        assert ranks == {Rank.BACKLOG}


@pytest.mark.parametrize(("forgets", "before"), [(False, [-1, -2]), (True, [-2, -1])])
def test_what_a_backfill_added_before_the_origin_comes_last(*, forgets: bool, before: list[float]) -> None:
    """It is drawn after all that lies behind the origin, in the source's own order, as a backfill."""
    tasks = list(new_windows(HOURLY, [hours(-2, 0), hours(4, 6)], TEN, NOW, forgets=forgets))
    assert shown(tasks) == [("FRESH", 5), ("BACKLOG", 4), *(("BACKFILL", hour) for hour in before)]
    assert [task.flight.reason for task in tasks] == ["schedule"] * 2 + ["backfill"] * 2


def test_a_cell_over_the_origin_is_planned_once() -> None:
    """A gap that reaches from before the origin over it is cut at the grid, not at the origin."""
    tasks = list(new_windows(HOURLY, [hours(-1, 2)], TEN + 20 * MINUTE, NOW, forgets=False))
    assert shown(tasks) == [("BACKLOG", 1), ("BACKLOG", 0), ("BACKFILL", -1)]


some_gaps = st.lists(
    st.tuples(st.integers(-30, 23), st.integers(1, 9)).map(
        lambda at: hours(at[0] / 4, min(at[0] + at[1], 24) / 4)  # nothing is wanted that is not due
    ),
    max_size=6,
).map(union)


@given(some_gaps, st.booleans(), st.integers(-8, 24))
def test_tasks_come_in_the_order_of_their_urgency(missing: list[Window], forgets: bool, origin: int) -> None:
    """Merging them lazily with others' tasks takes them to be in order; and none is lost or doubled."""
    tasks = list(new_windows(HOURLY, missing, TEN + origin * HOUR // 4, NOW, forgets=forgets))
    assert all(urgency(one) <= urgency(other) for one, other in pairwise(tasks))
    assert union(task.flight.window for task in tasks) == union(missing)
    assert sum(task.flight.window.end - task.flight.window.start for task in tasks) == sum(
        gap.end - gap.start for gap in missing
    )


def test_a_year_of_gaps_costs_what_is_taken() -> None:
    """A long backlog is cut window by window, as far as somebody asks."""
    (year,) = gaps(wanted(HOURLY, NOW - 365 * DAY, [], NOW), [])
    assert year.end - year.start > 364 * DAY
    tasks = new_windows(replace(HOURLY, window=1_0000_000), [year], year.start, NOW, forgets=False)
    assert len([next(tasks) for _ in range(100)]) == 100, "31 million windows of a second, a hundred taken"


def test_a_force_redoes_what_was_stored_before_it_was_asked_for() -> None:
    """Only windows that overlap the range, and only those that were stored before the request."""
    found = [stored(hours(at, at + 1), at=NOW - HOUR) for at in range(4)] + [stored(hours(4, 5))]
    redone = redone_windows("old", found, [force(1.5, 5)], [])
    assert redone == [hours(1, 2), hours(2, 3), hours(3, 4)]
    assert redone_windows("old", found, [replace(force(1.5, 5), force=False)], []) == []


def test_a_window_that_shrank_at_its_source_is_done_all_the_same() -> None:
    """What a redo found is recorded; a record of before the request, of a part, or of a recheck is not it."""
    found = [stored(hours(0, 1), at=NOW - HOUR)]
    for window, at, redo, again in [
        (hours(0, 1), NOW, True, False),
        (hours(-1, 2), NOW, True, False),
        (hours(0, 1), NOW - 1, True, True),
        (hours(0, 0.5), NOW, True, True),
        (hours(0.5, 1), NOW, True, True),
        (hours(0, 1), NOW, False, True),
    ]:
        assert bool(redone_windows("old", found, [force(0, 1)], [Recheck(window, at, redo)])) is again


def test_a_recheck_that_added_rows_is_no_redo() -> None:
    """It read the window after the request, but with the old configuration; only a redo's record counts."""
    found = [stored(hours(0, 1), at=NOW, config="old")]
    assert redone_windows("new", found, [force(0, 1, at=NOW - HOUR)], [Recheck(hours(0, 1), NOW)]) == [
        hours(0, 1)
    ]
    assert (
        redone_windows("new", found, [force(0, 1, at=NOW - HOUR)], [Recheck(hours(0, 1), NOW, redo=True)])
        == []
    )
    assert redone_windows("old", found, [force(0, 1, at=NOW - HOUR)], []) == []


def test_a_blob_without_a_receipt_was_never_done() -> None:
    """Nothing proves when it was stored, so a force stores it again."""
    bare = Stored(hours(0, 1), "jsonl", Blob("b", "e", 1, {}))
    assert redone_windows("old", [bare], [force(0, 1, at=0)], []) == [hours(0, 1)]


def test_a_blob_without_a_receipt_is_not_rechecked() -> None:
    """Nobody knows what was asked for it, so no recheck could ever meet its ages; it holds up nothing."""
    bare = Stored(hours(0, 1), "jsonl", Blob("b", "e", 1, {}))
    assert due_rechecks(HOURLY, [bare], [], NOW + 9 * DAY) == ([], None)


def test_redo_goes_newest_first_and_behind_everything_else() -> None:
    """What is stored already can wait."""
    tasks = list(redo_tasks(HOURLY, [hours(0, 1), hours(2, 3), hours(1, 2)]))
    assert shown(tasks) == [("BACKFILL", 2), ("BACKFILL", 1), ("BACKFILL", 0)]
    assert all(urgency(one) <= urgency(other) for one, other in pairwise(tasks))
    assert {(task.flight.reason, task.flight.config) for task in tasks} == {("backfill", "new")}
    assert Rank.FRESH < Rank.BACKLOG < Rank.RECHECK < Rank.BACKFILL


@pytest.mark.parametrize(
    ("now", "due"),
    [("12:14:59.9999999", False), ("12:15:00", True), ("23:00:00", True)],
)
def test_a_window_is_due_for_a_recheck_at_its_age(now: str, *, due: bool) -> None:
    """An hour after it was due for export, and not a tick earlier."""
    found = [stored(hours(0, 1), at=parse_instant("2026-11-21T11:20:00"))]
    tasks, open_ = due_rechecks(HOURLY, found, [], parse_instant(f"2026-11-21T{now}"))
    assert tasks == (found if due else [])
    assert open_ == TEN, "it waits for its last age too"


def test_each_age_is_met_by_its_own_recheck() -> None:
    """A recheck at one age leaves the later one; one at the later age, or a rewrite, meets both."""
    found = [stored(hours(0, 1), at=TEN + HOUR + 20 * MINUTE)]
    first, second = TEN + 2 * HOUR + 15 * MINUTE, TEN + HOUR + DAY + 15 * MINUTE
    early, late = Recheck(hours(0, 1), first), Recheck(hours(-1, 2), second)
    assert due_rechecks(HOURLY, found, [early], first) == ([], TEN)
    assert due_rechecks(HOURLY, found, [early], second) == (found, TEN)
    assert due_rechecks(HOURLY, found, [late], second) == ([], None)
    assert due_rechecks(HOURLY, [stored(hours(0, 1), at=second)], [], second) == ([], None)


def test_a_window_that_is_exported_later_than_an_age_is_not_rechecked_at_it() -> None:
    """A backlog's windows had time to settle before they were read."""
    found = [stored(hours(0, 1), at=TEN + 5 * HOUR)]
    assert due_rechecks(HOURLY, found, [], TEN + DAY) == ([], TEN)
    assert due_rechecks(HOURLY, found, [], TEN + DAY + HOUR + 15 * MINUTE)[0] == found


def test_without_ages_nothing_is_rechecked() -> None:
    """``recheck = []`` turns them off, and then nothing waits for them."""
    assert due_rechecks(replace(HOURLY, recheck=()), [stored(hours(0, 1), at=0)], [], NOW) == ([], None)


def test_due_rechecks_come_oldest_first() -> None:
    """However the listing gives them; the first that is not done for good is where looking goes on."""
    found = [stored(hours(at, at + 1), at=TEN) for at in (2, 0, 1)]
    due, open_ = due_rechecks(HOURLY, found, [Recheck(hours(0, 1), TEN + 9 * DAY)], TEN + 9 * DAY)
    assert [each.window for each in due] == [hours(1, 2), hours(2, 3)]
    assert open_ == hours(1, 2).start


def test_neighbours_are_rechecked_together() -> None:
    """One message asks for a day's windows at most: 24 of an hour, and the next day's in another."""
    found = [stored(hours(at, at + 1)) for at in range(50)]
    tasks = list(recheck_tasks(HOURLY, found, at_once=RECHECKED_AT_ONCE))
    assert spans(tasks) == [(0, 24), (24, 48), (48, 50)]
    assert {(task.flight.reason, task.flight.config, task.rank) for task in tasks} == {
        ("recheck", "old", Rank.RECHECK)
    }
    assert all(urgency(one) <= urgency(other) for one, other in pairwise(tasks))


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0.25, [(0, 6), (6, 12), (12, 12.5)]), (7, [(0, 21), (21, 42), (42, 63)]), (48, [(0, 48), (48, 96)])],
)
def test_no_more_than_24_windows_or_a_day_at_once(length: float, expected: list[tuple[float, float]]) -> None:
    """Short windows are bounded by their number, long ones by the day; one longer than a day stands alone."""
    count = round(expected[-1][1] / length)
    found = [stored(hours(at * length, (at + 1) * length)) for at in range(count)]
    assert spans(recheck_tasks(HOURLY, found, at_once=24)) == expected


def test_one_at_a_time_where_counting_is_reading() -> None:
    """A source whose windows are read again gives each its own message."""
    found = [stored(hours(at, at + 1)) for at in range(3)]
    assert spans(recheck_tasks(HOURLY, found, at_once=1)) == [(0, 1), (1, 2), (2, 3)]


def test_other_configurations_and_gaps_part_a_recheck() -> None:
    """One message has one configuration, and spans nothing that is not to be rechecked."""
    found = [
        stored(hours(0, 1)), stored(hours(1, 2), config="other"), stored(hours(2, 3)), stored(hours(4, 5))
    ]  # fmt: skip
    tasks = list(recheck_tasks(HOURLY, found, at_once=24))
    assert spans(tasks) == [(0, 1), (1, 2), (2, 3), (4, 5)]
    assert [task.flight.config for task in tasks] == ["old", "other", "old", "old"]


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab")), unique_by=lambda each: each[0]))
def test_every_due_recheck_is_in_one_message(found: list[tuple[int, str]]) -> None:
    """Whatever is due, each window is in just one message, with its own configuration."""
    due = [stored(hours(at, at + 1), config=config) for at, config in sorted(found)]
    tasks = list(recheck_tasks(HOURLY, due, at_once=24))
    inside = [
        (each.window, task.flight.config)
        for task in tasks
        for each in due
        if not subtract(each.window, [task.flight.window])
    ]
    assert inside == [(each.window, each.blob.metadata["config"]) for each in due]
    assert sum(end - start for start, end in spans(tasks)) == len(due)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), max_size=12),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(-9, 60)), max_size=20),
)
def test_a_recheck_counts_for_each_window_that_it_covers(
    windows: list[tuple[int, int]], checks: list[tuple[int, int, int]]
) -> None:
    """Whatever lengths they have, and however they overlap: as if each pair were looked at."""
    found = [stored(hours(start, start + length), at=TEN) for start, length in windows]
    rechecks = [Recheck(hours(start, start + length), TEN + at * HOUR) for start, length, at in checks]
    awaiting = {each.window for each, _ in awaiting_recheck(HOURLY, found, rechecks)}
    for each in found:
        last_age = each.window.end + HOURLY.lag + DAY
        covering = [check for check in rechecks if subtract(each.window, [check.window]) == []]
        assert (each.window in awaiting) == all(check.checked_at < last_age for check in covering)
