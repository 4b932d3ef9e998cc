"""What an auditor is told: what is covered, and whether it is what the source holds."""

from typing import Any

import pytest

from shared.auditor import ANSWER_SECONDS, BackfillBody, VerifyBody, read_span
from shared.errors import (
    BadRequestError,
    DeadlineError,
    ExportError,
    NotFoundError,
    OriginError,
    UnavailableError,
)
from shared.model import Kind, Window
from shared.windows import DAY, HOUR
from tests.parts.fakes import between, make_export, order, row_at, rows_of, texts
from tests.parts.world import World

SPAN = between("08:00", "12:00")
EIGHT, NINE, TEN, ELEVEN, TWELVE = (f"2026-11-21T{hour:02}:00:00Z" for hour in range(8, 13))


def settled_world(kind: Kind = "log_analytics", **options: Any) -> World:
    """Return a world that has stored four hours."""
    world = World([make_export(kind=kind, start=EIGHT, **options)])
    world.work(kind)
    assert world.stored_rows() == rows_of(SPAN)
    return world


def verify(world: World, span: Window = SPAN, **options: Any) -> dict[str, Any]:
    """Verify a range."""
    return world.auditor().verify("events", span, VerifyBody("", "", **options))


def delete(world: World, hour: str) -> None:
    """Delete the blobs of the windows that begin in an hour."""
    for blob in list(world.data.list("events/")):
        if f"window_hour={hour}" in blob.name:
            world.data.delete(blob.name)


def damage(world: World, hour: str, data: bytes) -> str:
    """Replace the bytes of a window's blob, under its receipt; return its name."""
    (blob,) = [each for each in world.data.list("", metadata=True) if f"window_hour={hour}" in each.name]
    world.data.write(blob.name, data, etag=blob.etag, metadata=blob.metadata)
    return blob.name


def test_coverage_of_a_settled_export() -> None:
    """One covered range from the origin to what is due, and nothing else to tell."""
    assert settled_world().auditor().coverage("events") == {
        "export": "events",
        "origin": EIGHT,
        "due_until": TWELVE,
        "covered": [{"start": EIGHT, "end": TWELVE}],
        "gaps": [],
        "unavailable": [],
        "in_flight": [],
        "failures": [],
        "denied": None,
        "backfills": [],
    }


def test_coverage_of_a_span() -> None:
    """What is covered, missing and lost is cut to it; a window that reaches into it counts with its share."""
    world = settled_world()
    (blob,) = [each for each in world.data.list("") if "window_hour=09" in each.name]
    world.data.delete(blob.name)
    span = read_span({"start": "2026-11-21T08:30:00Z", "end": "2026-11-21T10:30:00Z"})
    found = world.auditor().coverage("events", span)
    half_past = "2026-11-21T08:30:00Z"
    assert found["covered"] == [
        {"start": half_past, "end": NINE},
        {"start": TEN, "end": "2026-11-21T10:30:00Z"},
    ]
    assert found["gaps"] == [{"start": NINE, "end": TEN}]
    assert (found["origin"], found["due_until"]) == (EIGHT, TWELVE), "the rest is the export's"
    assert world.auditor().coverage("events")["gaps"] == [{"start": NINE, "end": TEN}]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"start": EIGHT}, "^end: is missing; give both or neither$"),
        ({"end": EIGHT}, "^start: is missing; give both or neither$"),
        ({"start": EIGHT, "end": "soon"}, "^end: "),
        ({"start": "now", "end": "soon"}, "^start: .*; end: "),
        ({"start": NINE, "end": EIGHT}, "^end: "),
        ({"start": "2026-11-21T08:00:00.5Z", "end": NINE}, "^start: "),
    ],
)
def test_a_span_that_is_none_is_refused(parameters: dict[str, str], said: str) -> None:
    """Half a span, or one the wrong way round, is named and not guessed at."""
    with pytest.raises(BadRequestError, match=said):
        read_span(parameters)
    assert read_span({"code": "a key"}) is None


def test_coverage_tells_everything_that_is_not_covered() -> None:
    """Gaps, what is queued, what failed and when it is tried again, what is lost, and what is asked for."""
    world = World([make_export(start=EIGHT)])
    first, _ = world.plan()
    world.fake.errors = [ExportError("no such table")]
    world.queue.remove(first)
    world.deliver(first)
    world.deliver(world.queue.pop(0))
    world.journal().record_unavailable(
        world.exports[0], between("08:00", "09:00"), "forgotten", by_retention=False
    )
    asked = world.journal().add_backfill("events", between("05:00", "06:00"), force=True, allow_shrink=False)
    found = world.auditor().coverage("events")
    assert found["covered"] == [{"start": TEN, "end": ELEVEN}]
    assert found["unavailable"] == [{"start": EIGHT, "end": NINE, "reason": "forgotten"}]
    assert {"start": "2026-11-21T05:00:00Z", "end": "2026-11-21T06:00:00Z"} in found["gaps"]
    assert found["gaps"][-1]["end"] == TWELVE
    assert {each["reason"] for each in found["in_flight"]} == {"schedule"}
    (failure,) = found["failures"]
    assert failure == {
        "start": ELEVEN, "end": TWELVE, "reason": "schedule", "times": 1, "next_try": "2026-11-21T12:25:00Z"
    }  # fmt: skip
    assert found["backfills"] == [
        {"id": asked.id, "start": "2026-11-21T05:00:00Z", "end": "2026-11-21T06:00:00Z", "force": True}
    ]


def test_coverage_of_others_is_not_shown() -> None:
    """What other exports of the kind have in flight is theirs."""
    world = World([make_export("events"), make_export("other")])
    world.plan()
    flights = world.flights().load("log_analytics").flights
    own = [each for each in flights if each.export == "events"]
    shown = world.auditor().coverage("events")["in_flight"]
    assert shown == [{"start": each.start, "end": each.end, "reason": "schedule"} for each in own]
    assert len(own) < len(flights)


def test_coverage_before_anything_was_done() -> None:
    """An export that begins in the future has nothing due and no gaps."""
    world = World([make_export(start="2026-11-22T00:00:00Z")])
    found = world.auditor().coverage("events")
    assert (found["covered"], found["gaps"]) == ([], [])
    assert found["due_until"] == found["origin"] == "2026-11-22T00:00:00Z"


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_what_is_complete_is_said_to_be(kind: Kind, *, deep: bool) -> None:
    """Every window counted at the source, no more and no less."""
    assert verify(settled_world(kind), deep=deep) == {
        "export": "events",
        "start": EIGHT,
        "end": TWELVE,
        "windows": 4,
        "rows": 24,
        "complete": 4,
        "not_compared": 0,
        "missing": [],
        "differing": [],
        "damaged": [],
        "unavailable": [],
        "deep": deep,
        "repair": False,
    }


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_a_row_more_or_less_at_the_source_differs(kind: Kind) -> None:
    """With both numbers; but where records vanish and the stored ones stay, fewer at the source are right."""
    world = settled_world(kind)
    world.fake.late = [row_at("09:05:00")]
    world.fake.gone = set(rows_of(between("10:00", "10:20")))
    found = verify(world)
    more = {"start": NINE, "end": TEN, "stored": 6, "source": 7}
    fewer = {"start": TEN, "end": ELEVEN, "stored": 6, "source": 4}
    assert found["differing"] == ([more, fewer] if kind == "log_analytics" else [more])
    assert (found["windows"], found["complete"]) == (4, 4 - len(found["differing"]))


@pytest.mark.parametrize("retention", ["140m", "150m"])
def test_time_beyond_the_retention_is_not_compared(retention: str) -> None:
    """What is stored stays; that the source counts nothing there any more is no difference.

    Nor is it of what the source may forget before it has counted: 140 minutes ago it was 10:00.
    """
    world = settled_world()
    world.exports = [make_export(start=EIGHT, retention=retention)]
    found = verify(world, repair=True)
    gone = [(EIGHT, NINE), (NINE, TEN), (TEN, ELEVEN)][: 3 if retention == "140m" else 2]
    assert [(each["start"], each["end"]) for each in found["unavailable"]] == gone
    assert (found["complete"], found["differing"], found["repair"]) == (4 - len(gone), [], False)


def test_a_deleted_blob_is_missing() -> None:
    """Time that is neither stored nor lost is missing, also if only half of a window was asked about."""
    world = settled_world()
    delete(world, "10")
    assert verify(world)["missing"] == [{"start": TEN, "end": ELEVEN}]
    half = verify(world, between("10:30", "12:00"))
    assert half["missing"] == [{"start": "2026-11-21T10:30:00Z", "end": ELEVEN}]
    assert (half["windows"], half["complete"]) == (1, 1)


def test_lost_time_is_not_missing_but_unavailable() -> None:
    """With its reason; nobody can repair it."""
    world = settled_world()
    delete(world, "08")
    world.journal().record_unavailable(
        world.exports[0], between("08:00", "09:00"), "forgotten", by_retention=False
    )
    found = verify(world, repair=True)
    assert found["unavailable"] == [{"start": EIGHT, "end": NINE, "reason": "forgotten"}]
    assert (found["missing"], found["repair"]) == ([], False)
    assert verify(world, between("09:00", "12:00"))["unavailable"] == []


def test_windows_are_counted_with_the_configuration_that_they_were_stored_with() -> None:
    """After a change of the export the old windows are compared with the old question."""
    world = settled_world(pipeline="old")
    old = world.exports[0].digest
    world.exports = [make_export(start=EIGHT, pipeline="new")]
    delete(world, "11")
    world.exporter().run(order(world.exports[0], between("11:00", "12:00")))
    world.opened.clear()
    world.fake.counted.clear()
    assert verify(world)["complete"] == 4
    assert [each.digest for each in world.opened] == [old, world.exports[0].digest]
    assert [len(each) for each in world.fake.counted] == [3, 1]


@pytest.mark.parametrize(
    ("data", "why"), [(b"no gzip", "its bytes are not those of its receipt"), (b"", "its bytes")]
)
def test_a_damaged_blob_is_found_by_reading_it(data: bytes, why: str) -> None:
    """The count at the source cannot tell; the hash can."""
    world = settled_world()
    name = damage(world, "09", data)
    assert verify(world)["complete"] == 4
    found = verify(world, deep=True)
    (damaged,) = found["damaged"]
    assert (damaged["start"], damaged["end"]) == (NINE, TEN)
    assert damaged["why"].startswith(f"{name}: {why}")
    assert found["complete"] == 3


def test_a_receipt_that_lies_about_its_rows_is_found() -> None:
    """The bytes are right, but the number of lines is not the receipt's."""
    world = settled_world()
    (blob,) = [each for each in world.data.list("", metadata=True) if "window_hour=09" in each.name]
    document = world.data.read(blob.name)
    assert document is not None
    world.data.write(blob.name, document.data, etag=blob.etag, metadata={**blob.metadata, "rows": "7"})
    found = verify(world, deep=True)
    assert found["damaged"][0]["why"] == f"{blob.name}: it holds 6 rows, its receipt says 7"
    assert verify(world)["differing"] == [{"start": NINE, "end": TEN, "stored": 7, "source": 6}]
    assert found["complete"] == 3


def test_a_blob_that_lost_its_receipt_is_damaged() -> None:
    """Somebody copied it without its metadata: verify says so instead of failing as a whole."""
    world = settled_world()
    (blob,) = [each for each in world.data.list("") if "window_hour=09" in each.name]
    world.data.write(blob.name, b"", etag=blob.etag)
    found = verify(world, deep=True)
    assert [each["start"] for each in found["damaged"]] == [NINE]
    assert found["complete"] == 3


def test_windows_that_the_source_forgot_do_not_end_a_verification() -> None:
    """What is stored cannot be compared any more there; the rest of the range can."""
    world = settled_world("entra")
    world.fake.errors = [UnavailableError(between("09:00", "10:00").start, "nothing older is kept")]
    found = verify(world)
    assert (found["windows"], found["complete"], found["unavailable"]) == (4, 4, [])
    world.fake.forgets = between("09:00", "10:00").end
    found = verify(world)
    assert [(each["start"], each["end"]) for each in found["unavailable"]] == [(EIGHT, NINE), (NINE, TEN)]
    assert (found["windows"], found["complete"], found["missing"]) == (4, 2, [])


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_repair_mends_what_is_wrong(kind: Kind) -> None:
    """What is missing, differs or is damaged is stored again by the plans that follow."""
    world = settled_world(kind)
    delete(world, "08")
    damage(world, "10", b"no gzip")
    world.fake.late = [row_at("09:05:00")]
    world.clock.advance("1s")
    found = verify(world, deep=True, repair=True)
    assert (found["complete"], found["repair"]) == (1, True)
    world.clock.advance("1s")
    world.work(kind)
    assert verify(world, deep=True)["complete"] == 4
    assert world.stored_rows() == sorted([*rows_of(SPAN), row_at("09:05:00")])
    assert world.backfills() == []


def test_repair_asks_for_no_more_than_is_wrong() -> None:
    """Windows that are complete are not stored again, and neighbours are one request."""
    world = settled_world()
    delete(world, "08")
    world.fake.late = [row_at("09:05:00"), row_at("11:05:00")]
    verify(world, repair=True)
    asked = world.backfills()
    assert sorted(texts(each.window for each in asked)) == ["08:00-10:00", "11:00-12:00"]
    assert {each.allow_shrink for each in asked} == {False}


def test_repair_of_what_is_right_asks_for_nothing() -> None:
    """And says that it did not."""
    world = settled_world()
    assert verify(world, repair=True)["repair"] is False
    assert world.backfills() == []


def test_without_repair_nothing_is_changed() -> None:
    """A verification only looks."""
    world = settled_world()
    delete(world, "08")
    before = [list(container.list("")) for container in (world.data, world.documents)]
    verify(world, deep=True)
    assert [list(container.list("")) for container in (world.data, world.documents)] == before


def test_only_what_is_due_is_verified() -> None:
    """The range is cut at what is due, and one that lies wholly after it is the caller's mistake."""
    world = settled_world()
    assert verify(world, Window(SPAN.start, SPAN.end + 9 * DAY))["end"] == TWELVE
    with pytest.raises(BadRequestError, match="nothing after 2026-11-21T12:00:00Z is due yet") as caught:
        verify(world, Window(SPAN.end, SPAN.end + HOUR))
    assert caught.value.field == "start"


def test_a_verification_has_a_deadline() -> None:
    """It ends before the load balancer in front of a function does."""
    world = settled_world()
    world.clock.advance("1h")
    deadlines: list[float] = []
    count = world.fake.count

    def noting(windows: Any, deadline: float) -> list[int]:
        deadlines.append(deadline - world.clock.monotonic())
        return count(windows, deadline)

    world.fake.count = noting  # type: ignore[method-assign]
    verify(world)
    assert deadlines == [ANSWER_SECONDS]
    assert ANSWER_SECONDS < 230


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        (0, "no window was compared in that time; ask for a shorter range"),
        (3, f"3 of 4 windows were compared in that time; verify {EIGHT} to {ELEVEN}, and then as much again"),
    ],
)
def test_a_verification_that_takes_too_long_says_how_far_it_came(counted: int, told: str) -> None:
    """And what to ask for instead; nothing is asked for again."""
    world = settled_world()
    world.fake.errors = [DeadlineError("no time was left", counted)]
    with pytest.raises(DeadlineError, match=told) as caught:
        verify(world, repair=True)
    assert str(caught.value).startswith("a verification may take 200 s, and ")
    assert world.backfills() == []


def test_windows_of_an_earlier_configuration_count_as_compared() -> None:
    """They are counted first, by a question of their own."""
    world = settled_world(pipeline="old")
    world.exports = [make_export(start=EIGHT, pipeline="new")]
    delete(world, "11")
    world.exporter().run(order(world.exports[0], between("11:00", "12:00")))
    count = world.fake.count

    def slow(windows: Any, deadline: float) -> list[int]:
        if len(windows) == 1:
            raise DeadlineError("no time was left")
        return count(windows, deadline)

    world.fake.count = slow  # type: ignore[method-assign]
    with pytest.raises(DeadlineError, match=f"3 of 4 windows .* verify {EIGHT} to {ELEVEN}"):
        verify(world)


@pytest.mark.parametrize("call", ["coverage", "verify", "backfill", "end_backfills"])
def test_an_unknown_export_is_not_found(call: str) -> None:
    """Its name is in the answer."""
    auditor = World().auditor()
    calls = {
        "coverage": lambda: auditor.coverage("nobody"),
        "verify": lambda: auditor.verify("nobody", SPAN, VerifyBody("", "")),
        "backfill": lambda: auditor.backfill("nobody", SPAN, BackfillBody("", "")),
        "end_backfills": lambda: auditor.end_backfills("nobody"),
    }
    with pytest.raises(NotFoundError, match="'nobody'"):
        calls[call]()


def test_an_export_whose_name_belongs_to_other_data_is_refused() -> None:
    """Neither its coverage nor a backfill may mix two sources."""
    world = World()
    world.state().origin(make_export(identity={"table": "Other"}))
    with pytest.raises(OriginError):
        world.auditor().coverage("events")
    with pytest.raises(OriginError):
        world.auditor().backfill("events", SPAN, BackfillBody("", ""))
    assert world.backfills() == []


def test_a_backfill_is_stored_and_can_be_ended() -> None:
    """The answer has its id; ending says which ones were ended."""
    world = settled_world()
    answer = world.auditor().backfill("events", SPAN, BackfillBody("", "", force=True, allow_shrink=True))
    (stored,) = world.backfills()
    assert answer == {"id": stored.id, "start": EIGHT, "end": TWELVE, "force": True}
    assert (stored.window, stored.force, stored.allow_shrink) == (SPAN, True, True)
    assert world.auditor().end_backfills("events") == {"ended": [stored.id]}
    assert world.auditor().end_backfills("events") == {"ended": []}
    assert world.backfills() == []


@pytest.mark.parametrize("force", [False, True])
def test_force_asks_for_lost_time_again(*, force: bool) -> None:
    """Whoever knows better than the record has it tried once more."""
    world = settled_world()
    lost = between("05:00", "06:00")
    world.journal().record_unavailable(world.exports[0], lost, "forgotten", by_retention=False)
    world.clock.advance("1s")
    world.auditor().backfill("events", lost, BackfillBody("", "", force=force))
    world.work()
    assert (texts(world.stored())[0] == "05:00-06:00") == force
    assert (world.journal().unavailable(world.exports[0]) == []) == force
