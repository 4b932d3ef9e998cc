"""Several workers on the same time at once, in every order that their steps can fall."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.model import Export, Receipt, Window
from tests.parts.fakes import FakeSource, between, make_export, order, rows_of, texts, tiles
from tests.parts.faulty import Act, Interfere, Steps
from tests.parts.lockstep import Worker, interleavings
from tests.parts.world import World

WINDOW = between("10:00", "11:00")


def begun_world() -> World:
    """Return a world whose export has begun."""
    world = World()
    world.state().origin(world.exports[0])
    return world


def check_stored_once(world: World) -> Receipt:
    """Assert that the window has just one blob, with its rows."""
    (receipt,) = world.receipts()
    assert receipt.window == WINDOW
    assert world.stored_rows() == rows_of(WINDOW)
    return receipt


class Lossy:
    """Commits, loses the answer, and commits again, as the storage client does."""

    def __init__(self, inner: Interfere) -> None:
        self._inner = inner

    def __call__(self, name: str, act: Act) -> object:
        """Pass a step on; a commit happens twice."""
        result = self._inner(name, act)
        return act() if name.startswith("commit") else result


def _workers(world: World, jobs: Sequence[tuple[Export, Window]], *, lossy: bool) -> list[Worker]:
    """Return one worker a job, each with its own configuration; the first may lose its commit's answer."""

    def worker(number: int, export: Export, window: Window) -> Worker:
        mine = replace(world, exports=[export])
        mine.state().register(export)

        def run(interfere: Interfere) -> object:
            # The documents are left out: they are written create-only and before the steps that matter.
            steps = Steps(Lossy(interfere) if lossy and number == 0 else interfere)
            exporter = mine.exporter(
                data=steps.container(world.data), source=steps.source(FakeSource(size=99))
            )
            return exporter.run(order(export, window))

        return run

    return [worker(number, *job) for number, job in enumerate(jobs)]


@pytest.mark.parametrize("lossy", [False, True], ids=["answered", "answer lost"])
def test_two_workers_on_one_window_in_every_order(*, lossy: bool) -> None:
    """However their steps fall, one blob is there, and just one worker takes it for its own."""
    worlds: list[World] = []

    def begin() -> list[Worker]:
        worlds.append(begun_world())
        export = worlds[-1].exports[0]
        return _workers(worlds[-1], [(export, WINDOW)] * 2, lossy=lossy)

    orders = set()
    for sequence, results in interleavings(begin):
        receipt = check_stored_once(worlds[-1])
        assert [result for result in results if result is not None] == [receipt], (sequence, results)
        orders.add(sequence)
    assert len(orders) == len(worlds) > 200, "the steps of both really fell in every order"


def test_two_workers_of_two_configurations_in_every_order() -> None:
    """Before and after a change of the window length, at the same time: in the end no row is stored twice.

    The list of what is in flight keeps this from happening, but it is a cache that may be lost.
    """
    worlds: list[World] = []
    old, new = (make_export(window=length, start="2026-11-21T10:00:00Z") for length in ("1h", "2h"))

    def begin() -> list[Worker]:
        worlds.append(World([old]))
        worlds[-1].state().origin(old)
        return _workers(worlds[-1], [(old, WINDOW), (new, between("10:00", "12:00"))], lossy=False)

    for sequence, _ in interleavings(begin):
        world = worlds[-1]
        world.exports = [new]
        world.plan()
        world.drain()
        assert tiles(world.stored(), between("10:00", "12:00")), (sequence, texts(world.stored()))
        assert world.stored_rows() == rows_of(between("10:00", "12:00"))


def test_a_withdrawn_window_is_a_gap_that_somebody_fills() -> None:
    """A plan that is made while two windows overlap does not take for covered what one of them gives up."""
    old, new = (make_export(window=length, start="2026-11-21T10:00:00Z") for length in ("1h", "2h"))
    world = World([old])
    world.state().origin(old)
    changed = replace(world, exports=[new])

    def meanwhile(name: str, act: Act) -> object:
        if name == "source":
            world.exporter().run(order(old, WINDOW))
        result = act()
        if name.startswith("commit"):
            changed.plan()
        return result

    steps = Steps(meanwhile)
    exporter = changed.exporter(data=steps.container(world.data), source=steps.source(world.source))
    exporter.run(order(new, between("10:00", "12:00")))
    world.exports = [new]
    world.clock.advance("25h")
    for _ in range(3):
        world.plan()
        world.drain()
    assert tiles(world.stored(), Window(WINDOW.start, world.stored()[-1].end)), texts(world.stored())


def test_two_workers_of_two_formats_in_every_order() -> None:
    """Before and after a change of the format, at the same time: in the end each row is stored once."""
    worlds: list[World] = []
    formats = ("jsonl.gz", "jsonl")
    old, new = (make_export(format_=each, start="2026-11-21T10:00:00Z") for each in formats)

    def begin() -> list[Worker]:
        worlds.append(World([old]))
        worlds[-1].state().origin(old)
        return _workers(worlds[-1], [(old, WINDOW), (new, WINDOW)], lossy=False)

    for sequence, _ in interleavings(begin):
        world = worlds[-1]
        assert set(world.stored_rows()) == set(rows_of(WINDOW)), sequence
        world.exports = [new]
        world.work()
        assert tiles(world.stored(), between("10:00", "12:00")), (sequence, texts(world.stored()))
        assert world.stored_rows() == rows_of(between("10:00", "12:00"))


def test_a_redo_and_a_recheck_of_one_window_in_every_order() -> None:
    """The one changes the format while the other adds a late row: the row is there once in the end."""
    worlds: list[World] = []
    late = '{"at":"2026-11-21T10:05:00.0000000Z"}'
    old, new = (make_export(format_=each, start="2026-11-21T10:00:00Z") for each in ("jsonl.gz", "jsonl"))

    def begin() -> list[Worker]:
        world = World([old])
        worlds.append(world)
        world.exporter().run(order(old, WINDOW))
        world.clock.advance("1m")
        world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=False)
        world.clock.advance("1m")
        world.fake.late = [late]
        world.state().register(new)

        def worker(export: Export, reason: str) -> Worker:
            mine = replace(world, exports=[export])

            def run(interfere: Interfere) -> object:
                exporter = mine.exporter(data=Steps(interfere).container(world.data))
                return exporter.run(order(export, WINDOW, "recheck" if reason == "recheck" else "backfill"))

            return run

        return [worker(old, "recheck"), worker(new, "redo")]

    for sequence, _ in interleavings(begin):
        world = worlds[-1]
        world.exports = [new]
        world.clock.advance("1m")
        world.work()
        assert tiles(world.stored(), between("10:00", "12:00")), (sequence, texts(world.stored()))
        assert world.stored_rows() == sorted([*rows_of(between("10:00", "12:00")), late]), sequence
