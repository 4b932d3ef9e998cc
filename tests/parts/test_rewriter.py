"""A stored window is stored again: rows are added, never lost, and never there twice."""

import contextlib
import gzip
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shared.coverage import Stored, stored_near
from shared.errors import ConflictError, ExportError, StorageError, UnavailableError
from shared.model import Batch, Export, Kind, Measured, Reading, Receipt, Source
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.rewriter import Rewrite
from shared.windows import HOUR
from tests.parts.fakes import (
    LENGTHS,
    Crashed,
    FakeSource,
    between,
    make_export,
    order,
    row_at,
    rows_of,
    time_of,
)
from tests.parts.faulty import Act, FailsAt, Steps
from tests.parts.world import World, read_rows

WINDOW = between("10:00", "11:00")
ROWS = rows_of(WINDOW)
LATE = row_at("10:05:00.0000001", late=True)


def stored_world(kind: Kind = "log_analytics", **options: Any) -> World:
    """Return a world that holds one window."""
    world = World([make_export(kind=kind, **options)])
    world.exporter().run(order(world.exports[0], WINDOW))
    assert world.stored_rows() == ROWS
    return world


def stored(world: World) -> Stored:
    """Return the one window that is stored."""
    (found,) = stored_near(world.data, "events", WINDOW, LENGTHS)
    return found


def rewrite(world: World, export: Export | None = None, **options: Any) -> Rewrite:
    """Store the window again, a minute later."""
    world.clock.advance("1m")
    message = order(world.exports[0], WINDOW, "backfill")
    deadline = world.clock.monotonic() + DEADLINE_SECONDS
    return world.rewriter(data=options.pop("data", None)).rewrite(
        export or world.exports[0], stored(world), message, deadline, 0, **options
    )


def test_what_the_window_holds_says_how_it_is_cut() -> None:
    """Its own receipt is the best measure of it, unless another configuration made it."""
    world = stored_world()
    rewrite(world, force=True)
    held = from_metadata(stored(world).blob.metadata)
    measured = Measured(len(ROWS) / HOUR, held.answer_bytes / HOUR)
    assert world.fake.readings[-1].measured == held.measured == measured
    rewrite(world, make_export(pipeline="where n > 1"), force=True)
    assert world.fake.readings[-1].measured is None


def check(world: World, rows: list[str], revision: int) -> Receipt:
    """Assert that the one blob holds just these rows, and that its receipt tells the truth."""
    blob = stored(world).blob
    document = world.data.read(blob.name)
    assert document is not None
    receipt = from_metadata(blob.metadata)
    assert receipt.sha256 == hashlib.sha256(document.data).hexdigest()
    assert sorted(read_rows(world.data, blob.name)) == sorted(rows)
    assert (receipt.rows, receipt.revision, receipt.window) == (len(rows), revision, WINDOW)
    return receipt


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_what_became_visible_since_is_added(kind: Kind) -> None:
    """The blob holds the old rows and the new one, as revision 2, with a receipt of its own."""
    world = stored_world(kind)
    world.fake.late = [LATE]
    assert rewrite(world) == Rewrite("added", 7)
    receipt = check(world, [*ROWS, LATE], revision=2)
    assert receipt.exported_at == world.clock.now()


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_a_window_is_read_as_widely_as_the_source_can(kind: Kind) -> None:
    """A row outside of what a first reading looks at is found."""
    world = stored_world(kind)
    world.fake.far = [LATE]
    assert rewrite(world) == Rewrite("added", 7)
    check(world, [*ROWS, LATE], revision=2)


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_where_nothing_changed_nothing_is_written(kind: Kind) -> None:
    """The blob stays the same one, with its ETag."""
    world = stored_world(kind)
    before = stored(world)
    assert rewrite(world) == Rewrite("unchanged", 6)
    assert stored(world) == before


def test_the_time_range_widens_with_what_is_added() -> None:
    """First and last time of the receipt cover the kept records, which are not read again, and new ones."""
    world = stored_world("entra")
    early, late = row_at("10:00:00", z=1), row_at("10:59:59.9999999")
    world.fake.late = [early, late]
    world.fake.gone = set(ROWS)
    rewrite(world)
    receipt = check(world, [*ROWS, early, late], revision=2)
    assert (receipt.first_time, receipt.last_time) == (
        "2026-11-21T10:00:00.0000000Z",
        "2026-11-21T10:59:59.9999999Z",
    )


def test_the_time_range_does_not_shrink_with_what_is_added() -> None:
    """Kept records still count for it, although the source no longer shows them."""
    world = stored_world("entra")
    world.fake.late = [LATE]
    world.fake.gone = set(ROWS)
    rewrite(world)
    receipt = check(world, [*ROWS, LATE], revision=2)
    assert (receipt.first_time, receipt.last_time) == (time_of(ROWS[0]), time_of(ROWS[-1]))


def test_records_that_the_source_forgot_are_kept() -> None:
    """Where records may change or vanish, what was stored stays, and only what is new is added."""
    world = stored_world("entra")
    world.fake.gone = set(ROWS[:4])
    assert rewrite(world) == Rewrite("unchanged", 2)
    world.fake.late = [LATE]
    assert rewrite(world) == Rewrite("added", 3)
    check(world, [*ROWS, LATE], revision=2)


def test_a_record_whose_body_changed_is_kept_in_both_forms() -> None:
    """Which of the two is right is not ours to decide; and reading again does not add it again."""
    world = stored_world("entra")
    changed = row_at("10:10:00", result="failure")
    world.fake.gone = {ROWS[1]}
    world.fake.late = [changed]
    for outcome in ("added", "unchanged", "unchanged"):
        assert rewrite(world).outcome == outcome
    check(world, [*ROWS, changed], revision=2)


class Verbatim(FakeSource):
    """Gives records byte for byte as they are told, whatever is in them."""

    def __init__(self, *records: bytes) -> None:
        super().__init__()
        self.records = records

    def read(self, reading: Reading) -> Iterator[Batch]:  # noqa: ARG002 - whatever is asked
        """Yield the records."""
        rows = [msgspec.Raw(record) for record in self.records]
        yield Batch(rows, times=["2026-11-21T10:00:00Z"] * len(rows))


@pytest.mark.parametrize(
    "record",
    [
        b'{"text":"a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d"}',
        b'{\n  "id": "x",\r\n  "text": "y"\n}',
        b'{"text":"\\ud83d alone", "pair":"\\ud83d\\ude00"}',
        b'{"text":"\\u2028 written as an escape","n":1.10,"big":12345678901234567890}',
        '{"text":"é 😀 \x7f"}'.encode(),
    ],
    ids=["line ends", "pretty", "lone surrogate", "escaped", "beyond ASCII"],
)
def test_a_record_is_recognised_however_it_is_written(record: bytes) -> None:
    """What the file writes otherwise than the service (line ends, white space) is not added a second time."""
    world = World([make_export(kind="entra")], source=Verbatim(record))
    world.exporter().run(order(world.exports[0], WINDOW))
    assert rewrite(world) == Rewrite("unchanged", 1)
    world.source = Verbatim(record, b'{"new":1}')
    assert rewrite(world) == Rewrite("added", 2)
    assert rewrite(world) == Rewrite("unchanged", 2)
    assert from_metadata(stored(world).blob.metadata).rows == 2


def test_a_window_that_shrank_is_kept_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """Fewer rows at the source never take the place of more that are stored."""
    world = stored_world()
    before = stored(world)
    world.fake.gone = {ROWS[0]}
    for force in (False, True):
        assert rewrite(world, force=force) == Rewrite("source_shrank", 5)
        assert stored(world) == before
    assert "its source shrank" in caplog.text
    assert "5 rows there, 6 stored" in caplog.text


def test_a_window_that_its_source_forgot_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """The service refuses: what is stored stays, and that is said."""
    world = stored_world("entra")
    before = stored(world)
    world.fake.errors = [UnavailableError(WINDOW.end, "nothing older is kept")]
    assert rewrite(world, force=True) == Rewrite("source_shrank", 0)
    assert stored(world) == before
    assert "nothing older is kept" in caplog.text


def test_only_allow_shrink_stores_fewer_rows() -> None:
    """Whoever asks for it gets what the source holds now."""
    world = stored_world()
    world.fake.gone = set(ROWS[:2])
    assert rewrite(world, force=True, allow_shrink=True) == Rewrite("added", 4)
    check(world, ROWS[2:], revision=2)


def test_allow_shrink_removes_nothing_from_a_union() -> None:
    """Records that were stored stay even then, because the source is known to lose them."""
    world = stored_world("entra")
    world.fake.gone = set(ROWS[:2])
    rewrite(world, force=True, allow_shrink=True)
    check(world, ROWS, revision=2)


@pytest.mark.parametrize("damaged", [b"damaged", gzip.compress(b'{"at":"never"}\n')], ids=["torn", "swapped"])
@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_force_replaces_a_damaged_blob(kind: Kind, damaged: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are not those of the receipt are no records to keep; the source's rows take their place."""
    world = stored_world(kind)
    blob = stored(world).blob
    world.data.write(blob.name, damaged, etag=blob.etag, metadata=blob.metadata)
    assert rewrite(world, force=True) == Rewrite("added", 6)
    check(world, ROWS, revision=2)
    assert "stored window damaged" in caplog.text


def test_a_damaged_blob_is_not_replaced_by_less() -> None:
    """Where the source has lost rows since, somebody may yet mend the damaged blob."""
    world = stored_world("entra")
    blob = stored(world).blob
    world.data.write(blob.name, b"damaged", etag=blob.etag, metadata=blob.metadata)
    world.fake.gone = {ROWS[0]}
    assert rewrite(world, force=True) == Rewrite("source_shrank", 5)
    document = world.data.read(blob.name)
    assert document is not None
    assert document.data == b"damaged"


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
def test_another_format_supersedes(kind: Kind) -> None:
    """The rows move to the new name, and the old blob is gone."""
    world = stored_world(kind)
    assert rewrite(world, make_export(kind=kind, format_="jsonl"), force=True) == Rewrite("added", 6)
    receipt = check(world, ROWS, revision=2)
    assert stored(world).extension == "jsonl"
    assert receipt.config == make_export(kind=kind, format_="jsonl").digest


def test_the_new_configuration_is_kept_before_the_blob() -> None:
    """Whoever finds the new blob finds its configuration too."""
    world = stored_world()
    new = make_export(pipeline="new")
    rewrite(world, new, force=True)
    assert check(world, ROWS, revision=2).config == new.digest
    assert world.state().config("events", new.digest) == new.config


def meanwhile(world: World, act: Any, step: str) -> Any:
    """Return the data container, in which ``act`` happens once, just before a step."""
    happened: list[str] = []

    def interfere(name: str, call: Act) -> Any:
        if name.startswith(step) and not happened:
            happened.append(name)
            act()
        return call()

    return Steps(interfere).container(world.data)


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "deleted"])
@pytest.mark.parametrize("step", ["stage", "commit"])
def test_a_blob_that_changed_meanwhile_is_left_alone(step: str, *, gone: bool) -> None:
    """The commit is bound to the blob that was looked at: another one is not overwritten, nor revived."""
    world = stored_world()
    world.fake.late = [LATE]
    name = stored(world).blob.name

    def act() -> None:
        if gone:
            world.data.delete(name)
        else:
            assert rewrite(world, force=True) == Rewrite("added", 7)

    data = meanwhile(world, act, step)
    with pytest.raises(ConflictError):
        rewrite(world, data=data, force=True)
    if gone:
        assert world.stored() == []
    else:
        check(world, [*ROWS, LATE], revision=2)


def test_a_window_that_is_gone_is_not_stored_again() -> None:
    """Another worker replaces it, or it is a gap by now: the message comes back and sees which."""
    world = stored_world()
    found = stored(world)
    world.data.delete(found.blob.name)
    message = order(world.exports[0], WINDOW, "backfill")
    with pytest.raises(ConflictError):
        world.rewriter().rewrite(world.exports[0], found, message, 99.0, 0, force=True)
    assert world.stored() == []


def test_an_old_blob_that_changed_while_it_was_superseded_is_not_deleted() -> None:
    """What nobody looked at is not thrown away: the message comes back and looks."""
    world = stored_world()
    found = stored(world)

    def act() -> None:
        world.data.write(found.blob.name, b"", etag=found.blob.etag, metadata=found.blob.metadata)

    data = meanwhile(world, act, "delete")
    with pytest.raises(ConflictError):
        rewrite(world, make_export(format_="jsonl"), force=True, data=data)
    names = [each.extension for each in stored_near(world.data, "events", WINDOW, LENGTHS)]
    assert names == ["jsonl", "jsonl.gz"]


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_two_blobs_of_a_window_the_newest_is_kept(*, newest_first: bool) -> None:
    """A redo in another format was interrupted before it deleted the old blob: whoever comes next does."""
    formats = ["jsonl", "jsonl.gz"] if newest_first else ["jsonl.gz", "jsonl"]
    world = stored_world(format_=formats[1])
    new = make_export(format_=formats[0])
    with pytest.raises(Crashed):
        rewrite(world, new, force=True, data=meanwhile(world, _crash, "delete"))
    both = stored_near(world.data, "events", WINDOW, LENGTHS)
    assert len(both) == 2
    kept = world.rewriter().keep_newest(both)
    assert kept == stored(world)
    assert kept.extension == formats[0]
    check(world, ROWS, revision=2)


def _crash() -> None:
    raise Crashed


def _orders(world: World, *, shrink: bool = False) -> tuple[Export, Any]:
    """Ask for a redo in another format; return the new export and its message."""
    new = make_export(kind=world.exports[0].kind, format_="jsonl")
    world.exports = [new]
    world.clock.advance("1m")
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=shrink)
    world.clock.advance("1m")
    return new, order(new, WINDOW, "backfill")


@pytest.mark.parametrize("kind", ["log_analytics", "entra"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash", [False, True], ids=["error", "crash"])
def test_a_failure_at_any_step_of_a_redo_costs_nothing(kind: Kind, *, after: bool, crash: bool) -> None:
    """Whichever call fails or dies, before or after its effect: delivered again, every row is there once.

    And at no moment between was a row of the window not stored.
    """
    steps_seen: list[str] = []
    while True:
        world = stored_world(kind)
        world.fake.late = [LATE]
        _, message = _orders(world)
        error = Crashed() if crash else StorageError("storage failed", retryable=True)
        failing = FailsAt(len(steps_seen), error, after=after)
        steps = Steps(failing)
        exporter = world.exporter(
            data=steps.container(world.data),
            documents=steps.container(world.documents),
            source=steps.source(world.source),
        )
        with contextlib.suppress(Crashed, ExportError):
            exporter.run(message)
        assert set(ROWS) <= set(world.stored_rows()), failing.happened
        world.exporter().run(message)
        check(world, [*ROWS, LATE], revision=from_metadata(stored(world).blob.metadata).revision)
        assert stored(world).extension == "jsonl"
        assert len(world.journal().rechecks("events", [WINDOW], LENGTHS)) >= 1
        if failing.happened is None:
            break
        steps_seen.append(failing.happened.partition(" ")[0])
    assert "delete" in steps_seen
    assert {"source", "stage", "commit", "head", "write"} <= set(steps_seen)


def test_a_commit_whose_answer_was_lost_is_recognised() -> None:
    """The repeated commit is refused by the attempt's own blob."""
    world = stored_world()
    world.fake.late = [LATE]

    def twice(name: str, act: Act) -> Any:
        result = act()
        return act() if name.startswith("commit") else result

    assert rewrite(world, data=Steps(twice).container(world.data)) == Rewrite("added", 7)
    check(world, [*ROWS, LATE], revision=2)


def test_a_source_that_breaks_off_changes_nothing() -> None:
    """Half an answer is thrown away; the stored rows stay."""
    world = stored_world()
    before = stored(world)

    class Breaking(FakeSource):
        def read(self, reading: Reading) -> Iterator[Batch]:
            yield next(super().read(reading))
            raise StorageError("broken off", retryable=True)

    breaking: Source = Breaking()
    with pytest.raises(StorageError):
        world.rewriter(source=breaking).rewrite(
            world.exports[0], before, order(world.exports[0], WINDOW), 99.0, 0, force=True
        )
    assert stored(world) == before
    assert time_of(ROWS[0]).endswith("Z")
