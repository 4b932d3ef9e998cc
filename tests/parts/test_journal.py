"""What happened to windows beside being stored: every document is read back as it was written."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConflictError
from shared.journal import Backfill, Recheck, RecheckedWindow, Unavailable
from shared.model import Message, Reason, Window
from shared.windows import DAY, HOUR, MINUTE, SECOND, parse_instant
from tests.parts.fakes import LENGTHS, FakeClock, between, make_export, order
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
REASONS: tuple[Reason, ...] = ("schedule", "backfill", "recheck")


@pytest.fixture
def world() -> World:
    """Return an empty storage account."""
    return World()


def failed(config: str = "digest", reason: Reason = "schedule", window: Window = WINDOW) -> Message:
    """Return the message of a window that failed."""
    return Message("events", window, reason, config, "id")


def test_failures_back_off(world: World) -> None:
    """The next try comes after 5 minutes, then twice as long each time, but never after more than 6 hours."""
    pauses = []
    for _ in range(10):
        failure = world.journal().record_failure(failed(), "why")
        assert world.journal().failures("events") == [failure]
        pauses.append((failure.next_try - world.clock.now()) // MINUTE)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]


def test_a_wait_of_its_own_takes_the_place_of_the_backoff(world: World) -> None:
    """Where it is known when a window can be tried, that is when."""
    for _ in range(3):
        failure = world.journal().record_failure(failed(), "why", 7 * SECOND)
        assert failure.next_try == world.clock.now() + 7 * SECOND


def test_a_failure_under_another_configuration_starts_over(world: World) -> None:
    """Whoever changes the configuration may have mended the cause."""
    for digest, times in (("old", 1), ("old", 2), ("new", 1), ("new", 2)):
        assert world.journal().record_failure(failed(digest), "why").times == times


def test_failures_of_each_reason_are_apart(world: World) -> None:
    """A recheck that fails does not make the window's export wait longer, nor the other way round."""
    failures = [world.journal().record_failure(failed(reason=reason), "why") for reason in REASONS]
    assert [failure.times for failure in failures] == [1, 1, 1]
    assert sorted(failure.reason for failure in world.journal().failures("events")) == sorted(REASONS)
    world.journal().clear_failure(failures[2])
    assert {failure.reason for failure in world.journal().failures("events")} == {"schedule", "backfill"}


def test_a_failure_keeps_its_error_and_can_be_forgotten(world: World) -> None:
    """The document says why, for the person who looks; forgetting twice is no error."""
    failure = world.journal().record_failure(failed(), "SEM0100: no such column")
    document = world.documents.read(failure.blob)
    assert document is not None
    assert b"SEM0100: no such column" in document.data
    for _ in range(2):
        world.journal().clear_failure(failure)
    assert world.journal().failures("events") == []


def test_exports_do_not_share_their_journal(world: World) -> None:
    """Not even where one name is the beginning of another."""
    journal, other = world.journal(), make_export("events-2")
    journal.record_failure(failed(), "why")
    journal.record_unavailable(world.exports[0], WINDOW, "why", by_retention=False)
    journal.add_backfill("events", WINDOW, force=False, allow_shrink=False)
    journal.record_recheck("events", WINDOW, "digest", [], world.clock.now())
    assert journal.failures("events-2") == []
    assert journal.unavailable(other) == []
    assert journal.backfills("events-2") == []
    assert journal.rechecks("events-2", [WINDOW], LENGTHS) == []


def test_lost_time_round_trip(world: World) -> None:
    """Its window and its reason are read back; the reason is also in the document, unabridged."""
    reason = "Entra ID kept nothing — “Minimum allowed time”\nof 2026-10-22"
    world.journal().record_unavailable(world.exports[0], WINDOW, reason, by_retention=False)
    (lost,) = world.journal().unavailable(world.exports[0])
    assert lost.window == WINDOW
    assert lost.reason.startswith("Entra ID kept nothing ? ?Minimum allowed time? of 2026-10-22")
    (blob,) = world.documents.list("events/unavailable/")
    document = world.documents.read(blob.name)
    assert document is not None
    assert msgspec.json.decode(document.data)["reason"] == reason


def test_what_was_concluded_from_another_retention_does_not_count(world: World) -> None:
    """Whoever corrects ``retention`` sees the time tried again; what the source said itself stays."""
    month, year = make_export(retention="30d"), make_export(retention="365d")
    by_source, by_retention = between("08:00", "09:00"), between("09:00", "10:00")
    world.journal().record_unavailable(month, by_source, "a", by_retention=False)
    world.journal().record_unavailable(month, by_retention, "b", by_retention=True)
    assert world.journal().unavailable(month) == [Unavailable(by_source, "a"), Unavailable(by_retention, "b")]
    assert world.journal().unavailable(year) == [Unavailable(by_source, "a")]
    assert world.journal().unavailable(make_export()) == [Unavailable(by_source, "a")]


def test_lost_time_can_be_concluded_again_from_another_retention(world: World) -> None:
    """The same window, recorded under a retention of the past, is recorded under the present one."""
    month, year = make_export(retention="30d"), make_export(retention="29d")
    world.journal().record_unavailable(month, WINDOW, "a", by_retention=True)
    world.journal().record_unavailable(year, WINDOW, "b", by_retention=True)
    assert world.journal().unavailable(year) == [Unavailable(WINDOW, "b")]


def test_lost_time_is_forgotten_where_it_overlaps(world: World) -> None:
    """Only what has a tick in common with the span is tried again."""
    hours = [between(f"{hour:02}:00", f"{hour + 1:02}:00") for hour in range(8, 12)]
    for hour in hours:
        world.journal().record_unavailable(world.exports[0], hour, "why", by_retention=False)
    world.journal().forget_unavailable("events", Window(hours[1].end - SECOND, hours[2].end))
    assert [lost.window for lost in world.journal().unavailable(world.exports[0])] == [hours[0], hours[3]]


def test_backfills_round_trip(world: World) -> None:
    """Oldest request first, each with what was asked for, until it is ended; ending twice is no error."""
    asked = []
    for force, allow_shrink in ((True, False), (False, False), (True, True)):
        asked.append(world.journal().add_backfill("events", WINDOW, force=force, allow_shrink=allow_shrink))
        world.clock.sleep(0.0000001)
    assert world.journal().backfills("events") == asked
    assert asked[2] == Backfill(asked[2].id, WINDOW, True, True, asked[0].requested_at + 2)
    world.journal().change_backfill("events", asked[0], "done")
    world.journal().change_backfill("events", asked[1], "ended")
    assert [each.state for each in world.journal().backfills("events")] == ["done", "ended", "active"]
    for _ in range(2):
        world.journal().forget_backfill("events", asked[1])
    assert world.journal().backfills("events") == [replace(asked[0], state="done"), asked[2]]
    with pytest.raises(ConflictError):
        world.journal().change_backfill("events", asked[1], "done")


def test_a_recheck_is_recorded_whole(world: World) -> None:
    """Its document says, window by window, what was stored, what was counted, and what came of it."""
    found = RecheckedWindow("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", 6, 7, "added")
    world.journal().record_recheck("events", WINDOW, "digest", [found], world.clock.now())
    assert world.journal().rechecks("events", [WINDOW], LENGTHS) == [Recheck(WINDOW, world.clock.now())]
    (blob,) = world.documents.list("events/rechecks/")
    document = world.documents.read(blob.name)
    assert document is not None
    assert msgspec.json.decode(document.data) == {
        "checked_at": "2026-11-21T12:20:00.0000000Z",
        "config": "digest",
        "windows": [
            {
                "start": "2026-11-21T10:00:00Z",
                "end": "2026-11-21T11:00:00Z",
                "stored": 6,
                "counted": 7,
                "outcome": "added",
            }
        ],
    }


def test_a_redo_is_told_from_a_recheck(world: World) -> None:
    """Both compared the window with its source, but only one of them stored it again."""
    world.journal().record_recheck("events", WINDOW, "digest", [], world.clock.now(), redo=True)
    world.journal().record_recheck("events", WINDOW, "digest", [], world.clock.now())
    found = world.journal().rechecks("events", [WINDOW], LENGTHS)
    assert {(each.window, each.checked_at, each.redo) for each in found} == {
        (WINDOW, world.clock.now(), redo) for redo in (False, True)
    }


def test_a_recheck_is_recorded_once(world: World) -> None:
    """Two workers within a second leave one record; a later recheck has a record of its own."""
    world.journal().record_recheck("events", WINDOW, "digest", [], world.clock.now())
    with pytest.raises(ConflictError):
        world.journal().record_recheck("events", WINDOW, "digest", [], world.clock.now())
    world.clock.advance("1s")
    world.journal().record_recheck("events", WINDOW, "digest", [], world.clock.now())
    assert len(world.journal().rechecks("events", [WINDOW], LENGTHS)) == 2


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-10-31T23:00:00", "2026-11-01T00:00:00"),
        ("2026-10-31T23:00:00", "2026-11-01T01:00:00"),
        ("2026-11-01T00:00:00", "2026-11-01T01:00:00"),
        ("2026-12-31T12:00:00", "2027-01-01T12:00:00"),
        ("2026-02-25T00:00:00", "2026-03-04T00:00:00"),
        ("0001-01-01T00:00:00", "0001-01-01T01:00:00"),
    ],
)
def test_rechecks_are_found_over_the_edges_of_months(world: World, start: str, end: str) -> None:
    """A recheck that begins in one month covers windows of the next one, and they find it."""
    span = Window(parse_instant(start), parse_instant(end))
    world.journal().record_recheck("events", span, "digest", [], world.clock.now())
    for window in (span, Window(span.start, span.start + SECOND), Window(span.end - SECOND, span.end)):
        assert world.journal().rechecks("events", [window], LENGTHS) == [Recheck(span, world.clock.now())]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400 * 24), st.integers(1, 7 * 24), st.integers(0, 7 * 24), st.integers(1, 60 * 24))
def test_a_recheck_is_found_by_every_window_that_it_covers(
    first: int, length: int, inside: int, longer: int
) -> None:
    """Up to the longest span that one may cover, wherever in it a span of windows begins or ends."""
    world = World()
    begin = parse_instant("2025-12-01") + first * HOUR
    span = Window(begin, begin + length * HOUR)
    assert span.end - span.start <= LENGTHS.longest
    world.journal().record_recheck("events", span, "digest", [], world.clock.now())
    start = span.start + min(inside, length - 1) * HOUR
    for window in (Window(start, start + HOUR), Window(start, start + longer * HOUR)):
        assert Recheck(span, world.clock.now()) in world.journal().rechecks("events", [window], LENGTHS)


def test_rechecks_of_other_months_are_not_even_listed(world: World) -> None:
    """A year of records costs a plan nothing."""
    for month in ("2026-01-15", "2026-11-21"):
        start = parse_instant(month)
        world.journal().record_recheck("events", Window(start, start + HOUR), "digest", [], world.clock.now())
    start = parse_instant("2026-11-20")
    assert len(world.journal().rechecks("events", [Window(start, start + 2 * DAY)], LENGTHS)) == 1


def test_two_clocks_leave_two_records(world: World) -> None:
    """What another worker saw a moment later does not replace what this one saw."""
    journal = world.journal()
    first = journal.record_failure(order(world.exports[0], WINDOW), "first")
    later = replace(world, clock=FakeClock(world.clock.now() + MINUTE)).journal()
    second = later.record_failure(order(world.exports[0], WINDOW), "second")
    assert (first.times, second.times) == (1, 2)
    assert second.next_try - first.next_try == 6 * MINUTE
