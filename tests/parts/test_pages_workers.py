"""Workers, and a sweep, on the pages of one window at once, in every order that their steps can fall."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from shared.errors import ConflictError
from tests.parts.fakes import Crashed, make_export, order
from tests.parts.faulty import Interfere, Steps
from tests.parts.lockstep import Worker, interleavings
from tests.parts.paged import (
    FOLDERS,
    LATE,
    MANIFEST,
    ROWS,
    WINDOW,
    PagedSource,
    added_to,
    ask_again,
    check_clean,
    dies_at,
    first_export,
    held_rows,
    named_pages,
    page_blobs,
    paged_world,
    rows_wanted,
    run,
    source_of,
)
from tests.parts.world import World


def _dead_before(world: World) -> None:
    """Let an attempt on the window die, long ago."""
    with pytest.raises(Crashed):
        run(world, dies_at("commit"))
    world.clock.advance("2h")


_SHARED = (
    "commit",
    "delete",
    "list page_folders/events",
    f"write {FOLDERS}",
    f"list {FOLDERS}",
    f"read {MANIFEST}",
)


def _shared_only(interfere: Interfere) -> Steps:
    """Stop before the steps that another worker may notice, or whose outcome it may change."""
    return Steps(lambda name, act: interfere(name, act) if name.startswith(_SHARED) else act())


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give attempts ids that count up, so that listings, and with them the steps, have one order."""
    numbers = itertools.count()
    monkeypatch.setattr("shared.attempts.uuid", SimpleNamespace(uuid4=lambda: UUID(int=next(numbers))))


def _sweeper(world: World) -> Worker:
    def work(interfere: Interfere) -> object:
        steps = _shared_only(interfere)
        world.attempts(steps.container(world.data), steps.container(world.documents)).sweep()
        return None

    return work


def _worker(world: World, export_format: str, reason: str) -> Worker:
    export = make_export(kind="entra", format_=export_format, start="2026-11-21T10:00:00Z")
    mine = replace(world, exports=[export])

    def work(interfere: Interfere) -> object:
        interfere("begin", lambda: None)
        steps = _shared_only(interfere)
        exporter = mine.exporter(data=steps.container(world.data), documents=steps.container(world.documents))
        message = order(export, WINDOW, "recheck" if reason == "recheck" else "backfill")
        return exporter.run(message)

    return work


@pytest.mark.usefixtures("numbered")
def test_two_workers_on_one_window_in_every_order() -> None:
    """However their steps fall, the one manifest has all its pages, and the other worker's are gone."""
    worlds: list[World] = []

    def begin() -> list[Worker]:
        world = paged_world()
        world.source = PagedSource(size=99)
        world.state().register(world.exports[0])
        worlds.append(world)
        return [_worker(world, "pages", "backfill")] * 2

    for sequence, results in interleavings(begin):
        assert not any(isinstance(result, Exception) for result in results), (sequence, results)
        assert held_rows(worlds[-1]) == sorted(ROWS), sequence
        assert page_blobs(worlds[-1]) == named_pages(worlds[-1]), sequence
        check_clean(worlds[-1])
    assert len(worlds) > 100, "the steps of both really fell in every order"


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("format_", ["pages", "jsonl"])
def test_a_redo_and_a_recheck_in_every_order(format_: str) -> None:
    """Both add the late row, one perhaps in another format: it is there once, and so is every page."""
    worlds: list[World] = []

    def begin() -> list[Worker]:
        world = paged_world()
        world.source = PagedSource(size=99)
        worlds.append(world)
        run(world)
        ask_again(world, format_)
        world.state().register(world.exports[0])
        return [_worker(world, "pages", "recheck"), _worker(world, format_, "redo")]

    for sequence, results in interleavings(begin):
        world = worlds[-1]
        for result in results:
            assert result is None or isinstance(result, ConflictError), (sequence, results)
        world.clock.advance("1m")
        run(world)
        assert held_rows(world) == sorted([*ROWS, LATE]), (sequence, results)
        check_clean(world)
    assert len(worlds) > 100, "the steps of both really fell in every order"


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("begin", [first_export, added_to])
def test_a_sweep_beside_another_attempt_in_every_order(begin: Callable[[], World]) -> None:
    """What a dead attempt left goes, and what one that is alive has in the same place stays."""
    worlds: list[World] = []

    def workers() -> list[Worker]:
        world = begin()
        source_of(world).size = 99
        _dead_before(world)
        worlds.append(world)
        return [_worker(world, "pages", "backfill"), _sweeper(world)]

    for sequence, results in interleavings(workers):
        assert not any(isinstance(result, Exception) for result in results), (sequence, results)
        assert held_rows(worlds[-1]) == rows_wanted(begin), sequence
        check_clean(worlds[-1])
    assert len(worlds) > 100, "the steps of both really fell in every order"
