"""Whatever fails or dies, and whenever: no page is missing that is named, and none stays that is not."""

import contextlib
from collections.abc import Callable

import pytest

from shared.attempts import ABANDONED
from shared.errors import ExportError, StorageError
from shared.windows import MINUTE
from tests.parts.fakes import Crashed
from tests.parts.faulty import Act, FailsAt, Steps
from tests.parts.paged import (
    FOLDERS,
    MANIFEST,
    ROWS,
    added_to,
    check_clean,
    content,
    dies_at,
    first_export,
    held_rows,
    markers,
    mended,
    named_pages,
    page_blobs,
    paged_world,
    rows_wanted,
    run,
    source_of,
    stored_world,
    to_lines,
    to_pages,
)
from tests.parts.world import World

BEGINNINGS = pytest.mark.parametrize("begin", [first_export, added_to, mended, to_lines, to_pages])


@BEGINNINGS
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crash", [False, True], ids=["error", "crash"])
def test_a_failure_at_any_step_loses_no_page_and_leaves_none(
    begin: Callable[[], World], *, after: bool, crash: bool
) -> None:
    """Whichever call fails or dies, before or after its effect: what is named is there, then and later."""
    seen: list[str] = []
    while True:
        world = begin()
        error = Crashed() if crash else StorageError("storage failed", retryable=True)
        failing = FailsAt(len(seen), error, after=after)
        with contextlib.suppress(Crashed, ExportError):
            run(world, failing)
        if begin is not mended:
            kept = held_rows(world)
            assert begin is first_export or set(ROWS) <= set(kept), failing.happened
        world.attempts().sweep()
        world.clock.advance("1m")
        run(world)
        assert held_rows(world) == rows_wanted(begin), failing.happened
        check_clean(world)
        if failing.happened is None:
            break
        seen.append(failing.happened)
    assert any(step.startswith("write page_folders/") for step in seen)
    assert any(step.startswith("delete page_folders/") for step in seen)
    assert any(step.startswith(f"delete {FOLDERS}") for step in seen) == (begin in {mended, to_lines})
    assert any(step.startswith(f"write {FOLDERS}") for step in seen) == (begin is not to_lines)


def test_what_a_dead_attempt_left_is_swept_when_it_is_old() -> None:
    """Nobody delivers its message again: the sweep alone removes its folder, and not before its time."""
    world = paged_world()
    with pytest.raises(Crashed):
        run(world, dies_at("commit"))
    left = page_blobs(world)
    assert len(left) == 2
    world.clock.advance("59m")
    world.attempts().sweep()
    assert page_blobs(world) == left
    world.clock.advance("2m")
    world.attempts().sweep()
    assert (page_blobs(world), markers(world)) == ([], [])


@pytest.mark.parametrize("begin", [first_export, mended])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sweep_that_fails_stops_nothing_and_the_next_one_finishes(
    begin: Callable[[], World], caplog: pytest.LogCaptureFixture, *, after: bool
) -> None:
    """Whichever of its calls fails: it does not raise, and deletes nothing that is named."""
    seen: list[str] = []
    while True:
        world = begin()
        with pytest.raises(Crashed):
            run(world, dies_at("commit"))
        if begin is mended:  # the one that died left pages too, beside those of the manifest
            run(world)
        world.clock.advance("2h")
        before = named_pages(world)
        failing = FailsAt(len(seen), StorageError("storage failed", retryable=True), after=after)
        steps = Steps(failing)
        world.attempts(steps.container(world.data), steps.container(world.documents)).sweep()
        assert set(before) <= set(page_blobs(world)), failing.happened
        check_clean(world)
        if failing.happened is None:
            break
        seen.append(failing.happened.partition(" ")[0])
    assert {"list", "read", "head", "delete"} <= set(seen)
    assert "swept" in caplog.text


@BEGINNINGS
def test_a_sweep_at_any_step_of_a_live_attempt_takes_nothing_of_it(begin: Callable[[], World]) -> None:
    """Not its pages, which no manifest names yet; and not those that the manifest it replaces still names."""
    world = begin()
    swept: list[str] = []

    def sweeping(name: str, act: Act) -> object:
        world.attempts().sweep()
        swept.append(name)
        return act()

    run(world, sweeping)
    assert held_rows(world) == rows_wanted(begin)
    check_clean(world)
    assert any(name.startswith("commit") for name in swept)


def test_a_slow_attempt_is_not_swept_while_it_may_yet_commit() -> None:
    """A window may take nine minutes; even one that takes an hour but a minute is left alone."""
    world = paged_world()

    def slow(name: str, act: Act) -> object:
        if name.startswith("commit"):
            world.clock.advance(f"{ABANDONED // MINUTE - 1}m")
            world.attempts().sweep()
        return act()

    run(world, slow)
    assert held_rows(world) == sorted(ROWS)
    check_clean(world)


def test_a_removed_export_is_swept_too() -> None:
    """What it left is found although no entry of the exports file speaks of it."""
    world = paged_world()
    with pytest.raises(Crashed):
        run(world, dies_at("commit"))
    world.exports = []
    check_clean(world)
    assert page_blobs(world) == []


def test_a_sweep_without_markers_is_one_listing() -> None:
    """It runs with every timer, for apps that have never heard of pages too."""
    seen: list[str] = []

    def watch(name: str, act: Act) -> object:
        seen.append(name)
        return act()

    world = stored_world()
    steps = Steps(watch)
    world.attempts(steps.container(world.data), steps.container(world.documents)).sweep()
    assert seen == ["list page_folders/"]


def test_a_document_that_is_no_marker_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's is no reason to stop, nor to delete anything."""
    world = paged_world()
    for name in ("page_folders/notes.txt", "page_folders/events/notes.txt", "page_folders/a/b/c_d_e.json"):
        world.documents.write(name, b"", etag=None)
    world.clock.advance("2h")
    world.attempts().sweep()
    assert len(markers(world)) == 3
    assert "no marker" in caplog.text


def test_json_lines_leave_no_marker() -> None:
    """Only attempts that keep files beside the window's blob need one."""
    world = paged_world("jsonl")
    written: list[str] = []

    def watch(name: str, act: Act) -> object:
        written.append(name)
        return act()

    run(world, watch)
    assert not [name for name in written if "_pages" in name or "page_folders" in name]


def test_a_page_whose_answer_was_lost_is_stored_once() -> None:
    """The storage client repeats the write, which is refused because it went through before."""
    world = paged_world()

    def repeated(name: str, act: Act) -> object:
        result = act()
        return act() if name.startswith((f"write {FOLDERS}", "write page_folders")) else result

    run(world, repeated)
    assert held_rows(world) == sorted(ROWS)
    assert [content(world, name) for name in page_blobs(world)] == source_of(world).pages


def test_who_comes_second_leaves_nothing() -> None:
    """Another worker stored the window first: this one takes its own pages away, at once."""
    world = paged_world()

    def meanwhile(name: str, act: Act) -> object:
        if name.startswith("commit"):
            run(world)
        return act()

    run(world, meanwhile)
    assert page_blobs(world) == named_pages(world)
    assert held_rows(world) == sorted(ROWS)
    check_clean(world)


def test_a_manifest_that_is_replaced_just_now_is_not_taken_for_damaged() -> None:
    """Bytes and receipt are read one after the other: where they do not belong together, all stays."""
    world = added_to()
    raced: list[str] = []

    def racing(name: str, act: Act) -> object:
        if name == f"head {MANIFEST}" and len(markers(world)) and not raced:
            raced.append(name)
            world.clock.advance("1m")
            world.rewriter()  # a process of its own
            blob = world.data.head(MANIFEST)
            assert blob is not None
            world.data.write(MANIFEST, content(world, MANIFEST), etag=blob.etag, metadata=blob.metadata)
        return act()

    run(world, racing)
    assert raced
    assert len(markers(world)) == 1
    assert held_rows(world) == rows_wanted(added_to)
    check_clean(world)
