"""One window becomes one blob with its receipt: whatever fails, whenever, and however many try it."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shared import staging as staging_module
from shared.errors import ConflictError, DeadlineError, ServiceError, StorageError, TransportError
from shared.model import Batch, Measured, Reading, Receipt, Window
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.windows import HOUR
from tests.parts.fakes import (
    Crashed,
    FakeSource,
    between,
    make_export,
    order,
    rows_of,
    texts,
)
from tests.parts.faulty import Act, FailsAt, Steps
from tests.parts.memory_container import MemoryContainer
from tests.parts.world import World, read_rows

WINDOW = between("10:00", "11:00")
NAME = "events/window_date=2026-11-21/window_hour=10/20261121T100000Z_20261121T110000Z.jsonl.gz"


def planned_world(**options: Any) -> World:
    """Return a world whose export has begun."""
    world = World([make_export(**options)])
    world.state().origin(world.exports[0])
    return world


def check_stored_once(world: World, window: Window = WINDOW) -> Receipt:
    """Assert that a window has just one blob, with its rows, and a receipt that tells the truth."""
    (blob,) = world.data.list("events/", metadata=True)
    receipt = from_metadata(blob.metadata)
    document = world.data.read(blob.name)
    assert document is not None
    assert receipt.sha256 == hashlib.sha256(document.data).hexdigest()
    assert receipt.window == window
    assert read_rows(world.data, blob.name) == rows_of(window)
    assert receipt.rows == len(rows_of(window))
    return receipt


def test_a_window_becomes_one_blob_with_its_receipt() -> None:
    """The receipt says what was stored, when, with what, and what the source was asked."""
    world = planned_world()
    receipt = world.exporter().run(order(world.exports[0], WINDOW))
    assert receipt == check_stored_once(world)
    assert [blob.name for blob in world.data.list("")] == [NAME]
    assert receipt.config == world.exports[0].digest
    assert (receipt.revision, receipt.source, receipt.exported_at) == (1, "log_analytics", world.clock.now())
    assert (receipt.first_time, receipt.last_time) == (
        "2026-11-21T10:00:00.0000000Z",
        "2026-11-21T10:50:00.0000000Z",
    )
    assert (receipt.slices, receipt.requests, receipt.answer_bytes) == (2, 2, 200)


def test_the_configuration_is_kept_before_the_blob() -> None:
    """Whoever finds a blob finds the configuration that its receipt names, also after a crash between."""
    world = planned_world()
    seen: list[str] = []

    def watch(name: str, act: Act) -> object:
        seen.append(name.partition(".")[0])
        return act()

    steps = Steps(watch)
    exporter = world.exporter(data=steps.container(world.data), documents=steps.container(world.documents))
    exporter.run(order(world.exports[0], WINDOW))
    digest = world.exports[0].digest
    assert seen.index(f"write events/configs/{digest}") < seen.index(f"stage {NAME}".partition(".")[0])


def test_a_rerun_changes_nothing() -> None:
    """A message that arrives again does not even ask the source."""
    world = planned_world()
    world.exporter().run(order(world.exports[0], WINDOW))
    before = world.data.head(NAME)
    source = FakeSource()
    assert world.exporter(source=source).run(order(world.exports[0], WINDOW)) is None
    assert source.read_windows == []
    assert world.data.head(NAME) == before


def test_the_same_rows_give_the_same_bytes() -> None:
    """Two exports of one window, in other batches, have one hash."""
    hashes = set()
    for size in (1, 4, 99):
        world = planned_world()
        receipt = world.exporter(source=FakeSource(size)).run(order(world.exports[0], WINDOW))
        assert receipt is not None
        hashes.add(receipt.sha256)
    assert len(hashes) == 1


@pytest.mark.parametrize(("format_", "empty"), [("jsonl.gz", False), ("jsonl", True)])
def test_a_window_without_rows_is_a_valid_empty_file(format_: str, *, empty: bool) -> None:
    """It is stored like any other, so that it is covered and its receipt says: no rows."""

    class Empty(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:  # noqa: ARG002 - whatever is asked
            yield Batch([])

    world = planned_world(format_=format_)
    receipt = world.exporter(source=Empty()).run(order(world.exports[0], WINDOW))
    (blob,) = world.data.list("events/")
    assert receipt is not None
    assert (receipt.rows, receipt.first_time, receipt.last_time) == (0, None, None)
    assert read_rows(world.data, blob.name) == []
    assert (blob.size == 0) == empty
    assert texts(world.stored()) == ["10:00-11:00"]


def test_a_large_window_is_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """All block ids of a blob have one length, no block is larger than said, and the order is kept."""
    monkeypatch.setattr(staging_module, "BLOCK_BYTES", 17)
    staged: list[tuple[str, int]] = []

    class Noting(MemoryContainer):
        def stage(self, name: str, block: str, data: bytes) -> None:
            staged.append((block, len(data)))
            super().stage(name, block, data)

    world = planned_world(format_="jsonl")
    world.data = Noting()
    world.exporter().run(order(world.exports[0], WINDOW))
    check_stored_once(world)
    assert len(staged) > 10, "or a block's number would have one digit only"
    assert {len(block) for block, _ in staged} == {len(staged[0][0])}
    assert len({block for block, _ in staged}) == len(staged)
    assert {size for _, size in sorted(staged)[:-1]} == {17}, "the last one may come before the one before it"
    assert len(staged[0][0]) <= 64, "Azure's limit for a block id"


def test_the_source_learns_what_its_neighbours_held() -> None:
    """Rows and bytes a tick of the windows near this one, of its own configuration only, are handed on."""
    world = planned_world()
    source = FakeSource()
    for start, end in (("09:00", "10:00"), ("10:00", "11:00")):
        world.exporter(source=source).run(order(world.exports[0], between(start, end)))
    world.exports = [make_export(pipeline="other")]
    world.exporter(source=source).run(order(world.exports[0], between("08:00", "09:00")))
    assert [reading.measured for reading in source.readings] == [
        None,
        Measured(rows=6 / HOUR, answer_bytes=200 / HOUR),
        None,
    ]


def test_an_error_that_a_retry_can_mend_is_raised() -> None:
    """The queue delivers the message again; nothing is recorded, nothing stored."""
    world = planned_world()
    world.source = FakeSource()
    world.source.errors = [TransportError("broken off")]
    with pytest.raises(TransportError):
        world.exporter().run(order(world.exports[0], WINDOW))
    assert world.journal().failures("events") == []
    assert world.stored() == []


def test_an_error_that_no_retry_mends_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """It does not raise, so the message is done; the log has the service's words, the window a next try."""
    world = planned_world()
    world.source = FakeSource()
    world.source.errors = [
        ServiceError(
            "Graph", status=403, code="Forbidden", message="no role", request_id="r-1", retryable=False
        )
    ]
    assert world.exporter().run(order(world.exports[0], WINDOW)) is None
    (failure,) = world.journal().failures("events")
    assert (failure.window, failure.times) == (WINDOW, 1)
    assert "no role" in caplog.text
    assert "r-1" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_poisoned_message_is_recorded() -> None:
    """After too many deliveries the window rests, and each further time for longer."""
    world = planned_world()
    for times in (1, 2):
        world.exporter().give_up(order(world.exports[0], WINDOW))
        (failure,) = world.journal().failures("events")
        assert failure.times == times


def test_two_workers_give_up_at_the_same_time() -> None:
    """One records the failure; the other one leaves it at that."""
    world = planned_world()

    class Contested(MemoryContainer):
        def write(self, *_positional: object, **_named: object) -> None:
            raise ConflictError("somebody else wrote first")

    world.exporter(documents=Contested()).give_up(order(world.exports[0], WINDOW))


def test_a_window_that_takes_too_long_is_given_back() -> None:
    """Past the deadline the worker ends itself, says how to mend it, and stores nothing."""
    world = planned_world()

    class Slow(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:
            assert reading.deadline == world.clock.monotonic() + DEADLINE_SECONDS
            for batch in super().read(reading):
                world.clock.sleep(DEADLINE_SECONDS * 0.6)
                yield batch

    with pytest.raises(DeadlineError, match="events a shorter window"):
        world.exporter(source=Slow()).run(order(world.exports[0], WINDOW))
    assert world.stored() == []


@pytest.mark.parametrize("change", [{"pipeline": "other"}, {"name": "other"}])
def test_a_message_of_another_configuration_is_dropped(change: dict[str, Any]) -> None:
    """A worker stores nothing that the planner would not order now."""
    world = planned_world()
    message = order(make_export(**change), WINDOW)
    assert world.exporter().run(message) is None
    assert world.stored() == []


def _fail_at(world: World, number: int, error: BaseException, *, after: bool) -> str | None:
    """Run the window with a failure at one step; return the step's name, or None if there is none so late."""
    failing = FailsAt(number, error, after=after)
    steps = Steps(failing)
    exporter = world.exporter(
        data=steps.container(world.data),
        documents=steps.container(world.documents),
        source=steps.source(world.source),
    )
    with contextlib.suppress(Crashed, StorageError):
        exporter.run(order(world.exports[0], WINDOW))
    return failing.happened


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash", [False, True], ids=["error", "crash"])
def test_a_failure_at_any_step_costs_nothing(*, after: bool, crash: bool) -> None:
    """A call fails, or its answer is lost, or the process dies there; the next delivery mends it."""
    happened: list[str] = []
    while True:
        world = World()
        error = Crashed() if crash else StorageError("storage failed", retryable=True)
        step = _fail_at(world, len(happened), error, after=after)
        world.exporter().run(order(world.exports[0], WINDOW))
        check_stored_once(world)
        if step is None:
            break
        happened.append(step.partition(" ")[0])
    assert happened == [
        "read", "write", *["list"] * 4, "write", "source", "stage", "commit", "release", *["list"] * 2
    ]  # fmt: skip


def test_a_commit_whose_answer_was_lost_is_recognised() -> None:
    """The client repeats the commit and is refused by its own blob: the receipt shows that it is its own."""

    class Lossy(MemoryContainer):
        def commit(self, *positional: Any, **named: Any) -> str:
            super().commit(*positional, **named)
            return super().commit(*positional, **named)

    world = planned_world()
    world.data = Lossy()
    receipt = world.exporter().run(order(world.exports[0], WINDOW))
    assert receipt is not None
    assert receipt == check_stored_once(world)


def test_a_refused_commit_without_a_blob_is_tried_again() -> None:
    """Where the blob that won is gone again, the message comes back."""

    class Contested(MemoryContainer):
        def commit(self, *_positional: Any, **_named: Any) -> str:
            raise ConflictError("somebody else wrote first")

    world = planned_world()
    world.data = Contested()
    with pytest.raises(ConflictError):
        world.exporter().run(order(world.exports[0], WINDOW))
