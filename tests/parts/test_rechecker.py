"""Stored windows are compared with their source again, and what is found is added and recorded."""

from collections.abc import Sequence

import msgspec
import pytest

from shared.errors import ExportError, TransportError
from shared.journal import RecheckedWindow
from shared.model import Kind, Message, Window
from shared.windows import format_second
from tests.parts.fakes import LENGTHS, FakeSource, between, make_export, order, row_at, rows_of, texts
from tests.parts.faulty import FailsAt, Steps
from tests.parts.world import World

KINDS: Sequence[Kind] = ("log_analytics", "entra")
SPAN = between("10:00", "13:00")
HOURS = [between(f"{hour}:00", f"{hour + 1}:00") for hour in (10, 11, 12)]
LATE = row_at("11:05:00", late=True)


def stored_world(kind: Kind = "log_analytics", *, pipeline: str = "") -> World:
    """Return a world that holds three hours, at a time when they are long over."""
    world = World([make_export(kind=kind, pipeline=pipeline)])
    world.state().origin(world.exports[0])
    world.clock.advance("6h")
    for hour in HOURS:
        world.exporter().run(order(world.exports[0], hour))
    world.clock.advance("1m")
    world.fake.readings.clear()
    world.opened.clear()
    return world


def recheck(world: World, span: Window = SPAN, config: str | None = None) -> None:
    """Carry out a recheck of a span, of windows of the first configuration."""
    digest = world.exports[0].digest if config is None else config
    world.exporter().run(Message("events", span, "recheck", digest, "id"))


def records(world: World) -> list[RecheckedWindow]:
    """Return what the rechecks found, in the order of their records' names."""
    found: list[RecheckedWindow] = []
    for blob in world.documents.list("events/rechecks/"):
        document = world.documents.read(blob.name)
        assert document is not None
        content = msgspec.json.decode(document.data)
        found += msgspec.convert(content["windows"], list[RecheckedWindow])
    return found


def record(hour: Window, stored: int, counted: int, outcome: str) -> RecheckedWindow:
    """Return what a recheck found for an hour."""
    return RecheckedWindow(format_second(hour.start), format_second(hour.end), stored, counted, outcome)


@pytest.mark.parametrize("kind", KINDS)
def test_what_became_visible_since_is_added(kind: Kind) -> None:
    """A row that arrived after its window was read is found, and its window alone is stored again."""
    world = stored_world(kind)
    world.fake.late = [LATE]
    recheck(world)
    assert world.stored_rows() == sorted([*rows_of(SPAN), LATE])
    assert [receipt.revision for receipt in world.receipts()] == [1, 2, 1]
    assert records(world) == [
        record(HOURS[0], 6, 6, "unchanged"),
        record(HOURS[1], 6, 7, "added"),
        record(HOURS[2], 6, 6, "unchanged"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_recheck_leaves_a_record_also_when_nothing_changed(kind: Kind) -> None:
    """Three windows, one record, no blob touched."""
    world = stored_world(kind)
    before = list(world.data.list(""))
    recheck(world)
    assert records(world) == [record(hour, 6, 6, "unchanged") for hour in HOURS]
    (done,) = world.journal().rechecks("events", [SPAN], LENGTHS)
    assert (done.window, done.checked_at) == (SPAN, world.clock.now())
    assert list(world.data.list("")) == before


def test_one_count_covers_many_windows() -> None:
    """Where the source counts, one question is enough, and nothing is read where the counts agree."""
    world = stored_world()
    recheck(world)
    assert world.fake.counted == [HOURS]
    assert world.fake.read_windows == []


def test_where_records_may_change_windows_are_read_again() -> None:
    """A count would not show that a record has another body."""
    world = stored_world("entra")
    world.fake.gone = {rows_of(HOURS[1])[0]}
    world.fake.late = [row_at("11:00:00", result="failure")]
    recheck(world)
    assert texts(world.fake.read_windows) == ["10:00-11:00", "11:00-12:00", "12:00-13:00"]
    assert len(world.stored_rows()) == 19
    assert records(world)[1] == record(HOURS[1], 6, 6, "added")


def test_rows_outside_the_usual_bounds_are_found() -> None:
    """The count looks more widely than the first reading did, and so does the second reading."""
    world = stored_world()
    world.fake.far = [LATE]
    recheck(world)
    assert LATE in world.stored_rows()
    assert records(world)[1] == record(HOURS[1], 6, 7, "added")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_shrank_is_said_and_nothing_removed(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored rows stay; a source that counts fewer has a record that says so."""
    world = stored_world(kind)
    world.fake.gone = {rows_of(HOURS[1])[0]}
    with caplog.at_level("INFO"):
        recheck(world)
    assert world.stored_rows() == rows_of(SPAN)
    expected = "source_shrank" if kind == "log_analytics" else "unchanged"
    assert records(world)[1] == record(HOURS[1], 6, 5, expected)
    assert f"source_shrank={int(kind == 'log_analytics')}" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_source_forgot_is_said_and_the_rest_rechecked(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that refuses the oldest windows would else fail the recheck for ever."""
    world = stored_world(kind)
    world.fake.forgets = HOURS[1].start
    world.fake.late = [LATE]
    recheck(world)
    assert world.stored_rows() == sorted([*rows_of(SPAN), LATE])
    assert records(world) == [
        record(HOURS[0], 6, 0, "source_shrank"),
        record(HOURS[1], 6, 7, "added"),
        record(HOURS[2], 6, 6, "unchanged"),
    ]
    assert "forgot it" in caplog.text
    assert world.journal().failures("events") == []


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_rechecked_with_the_configuration_that_they_were_stored_with(kind: Kind) -> None:
    """After the export was changed, the old question is asked again, and the old form written again."""
    world = stored_world(kind, pipeline="old")
    old = world.exports[0]
    world.exports = [make_export(kind=kind, pipeline="new", window="2h", format_="jsonl")]
    world.fake.late = [LATE]
    recheck(world, config=old.digest)
    assert {each.config for each in world.opened} == {old.config}
    assert {receipt.config for receipt in world.receipts()} == {old.digest}
    assert world.stored() == HOURS
    assert all(blob.name.endswith(".jsonl.gz") for blob in world.data.list(""))
    assert LATE in world.stored_rows()


def test_windows_of_another_configuration_are_not_touched() -> None:
    """A span may hold windows that were stored with another one; they have a recheck of their own."""
    world = stored_world(pipeline="old")
    old = world.exports[0].digest
    (hour,) = [blob for blob in world.data.list("") if "window_hour=11" in blob.name]
    world.data.delete(hour.name)
    world.exports = [make_export(pipeline="new")]
    world.exporter().run(order(world.exports[0], HOURS[1]))
    recheck(world, config=old)
    assert [(each.start[11:13], each.outcome) for each in records(world)] == [
        ("10", "unchanged"),
        ("12", "unchanged"),
    ]


def test_a_recheck_of_nothing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """What was to be rechecked is gone, or was stored anew: nothing is asked, nothing recorded."""
    world = stored_world()
    with caplog.at_level("INFO"):
        recheck(world, between("10:30", "11:30"))
        recheck(world, config="unknown")
    assert caplog.text.count("recheck dropped") == 2
    assert world.opened == []
    assert records(world) == []


def test_a_lost_configuration_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Without it nobody knows what was asked: the recheck is given up, and names what is missing."""
    world = stored_world()
    digest = world.exports[0].digest
    world.documents.delete(f"events/configs/{digest}.json")
    recheck(world)
    (failure,) = world.journal().failures("events")
    assert (failure.window, failure.reason) == (SPAN, "recheck")
    assert f"the configuration {digest} of events is not kept" in caplog.text


def test_a_configuration_of_another_version_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """One that this version cannot read is no reason to guess."""
    world = stored_world()
    name = f"events/configs/{world.exports[0].digest}.json"
    world.documents.delete(name)
    world.documents.write(name, b'{"source":"gone"}', etag=None, metadata={"window_seconds": "3600"})
    recheck(world)
    assert len(world.journal().failures("events")) == 1
    assert "cannot be read" in caplog.text


def test_an_error_that_a_retry_can_mend_is_raised() -> None:
    """The queue delivers the recheck again; nothing is recorded."""
    world = stored_world()
    world.fake.errors = [TransportError("broken off")]
    with pytest.raises(TransportError):
        recheck(world)
    assert records(world) == []
    assert world.journal().failures("events") == []


def test_an_error_that_no_retry_mends_is_recorded_as_a_recheck() -> None:
    """It backs off by itself, beside the exports of the same time."""
    world = stored_world()
    world.fake.errors = [ExportError("no such column")]
    recheck(world)
    assert [(each.reason, each.window) for each in world.journal().failures("events")] == [("recheck", SPAN)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_failure_at_any_step_costs_nothing(kind: Kind, *, after: bool) -> None:
    """Whichever call fails: delivered again, what was late is there once, and the recheck is recorded."""
    number = 0
    while True:
        world = stored_world(kind)
        world.fake.late = [LATE]
        failing = FailsAt(number, TransportError("broken off"), after=after)
        steps = Steps(failing)
        exporter = world.exporter(
            data=steps.container(world.data),
            documents=steps.container(world.documents),
            source=steps.source(world.source),
        )
        message = Message("events", SPAN, "recheck", world.exports[0].digest, "id")
        try:
            exporter.run(message)
        except TransportError:
            world.clock.advance("1m")
            world.exporter().run(message)
        assert world.stored_rows() == sorted([*rows_of(SPAN), LATE]), failing.happened
        assert world.journal().rechecks("events", [SPAN], LENGTHS) != []
        if failing.happened is None:
            break
        number += 1
    assert number > 10


def test_a_recheck_says_how_long_it_may_take() -> None:
    """Counting and reading have one deadline between them."""
    world = stored_world()
    world.clock.advance("1h")
    began, deadlines = world.clock.monotonic(), []

    class Noting(FakeSource):
        def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
            deadlines.append(deadline)
            return super().count(windows, deadline)

    world.source = Noting()
    recheck(world)
    assert deadlines == [began + 540]
