"""Runs one case: a storm of random steps, then calm, then judgement. And makes a failing case small."""

import json
import logging
import random
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from shared.model import KINDS, Window
from shared.windows import HOUR, MINUTE, SECOND
from tests.model.scenario import GRACE, Scenario, scenario
from tests.model.workers import CALM, Weather
from tests.model.world import World

POSITION_EXPIRES = 7 * HOUR
ROUNDS = 60
"""Rounds of timers after which an app that still has something to do is taken to be stuck."""

_T = TypeVar("_T")
_Step = Callable[[World, random.Random, str], None]


class CaseFailedError(AssertionError):
    """What went wrong in a case, and all that happened before."""

    def __init__(self, error: BaseException, log: Sequence[str]) -> None:
        self.error = error
        self.log = log
        self.kind = re.sub(r"\S*\d\S*|[\[{].*", "", str(error))
        super().__init__(f"{type(error).__name__}: {error}")


def run_case(story: Scenario, folder: Path, steps: Collection[int] | None = None) -> World:
    """Run a case, or only some of its steps (by number). Raises CaseFailedError."""
    with _in_miniature(story):
        world = World(story, folder)
        try:
            for number in range(story.steps) if steps is None else sorted(steps):
                seed = f"{story.seed}/{number}"
                rng = random.Random(seed)  # noqa: S311 - chances, not secrets
                world.note(f"[{number}]")
                rng.choices(list(_STEPS), list(_STEPS.values()))[0](world, rng, seed)
            world.quieten(random.Random(story.seed))  # noqa: S311
            _settle(world)
            world.witness.judge(world)
        except Exception as error:
            raise CaseFailedError(error, world.log) from error
    return world


@contextmanager
def _in_miniature(story: Scenario) -> Iterator[None]:
    """Set the service's row limit to the model's, ids to ones that recur, and the log to silence."""
    ids = random.Random(f"{story.seed}/ids")  # noqa: S311
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            patch("shared.query_api.MAX_ROWS", story.limits.rows),
            patch("shared.log_reader.MAX_ROWS", story.limits.rows),
            patch("shared.log_reader.COUNTED_AT_ONCE", 4),  # its answer has as many rows
            patch("shared.log_reader.RUN_AT_ONCE", 4),
            patch("uuid.uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4)),
        ):
            yield
    finally:
        logging.disable(disabled)


def _weather(rng: random.Random, *, pause: bool = True) -> Weather:
    return rng.choice(
        [
            CALM,
            CALM,
            CALM,
            Weather(storage=0.01, service=0.1, crash=0.005),
            Weather(storage=0.05),
            Weather(service=0.3),
            Weather(crash=0.06),
            Weather(pause=0.15) if pause else CALM,
            Weather(pause=0.1, storage=0.02, service=0.1, crash=0.01) if pause else CALM,
        ]
    )


def _tick(world: World, rng: random.Random, seed: str) -> None:
    world.timer(rng.choice(world.hosts), rng.choice(KINDS), seed, _weather(rng))


def _deliver(world: World, rng: random.Random, seed: str) -> None:
    if waiting := world.visible():
        envelope = waiting[0] if rng.random() < 0.7 else rng.choice(waiting)
        twice = rng.random() < 0.05
        world.deliver(envelope, rng.choice(world.hosts), seed, _weather(rng), twice=twice)


def _work(world: World, rng: random.Random, seed: str) -> None:
    """Let timers and workers run for a while, mostly undisturbed."""
    for kind in KINDS:
        world.timer(rng.choice(world.hosts), kind, f"{seed}/{kind}", _weather(rng, pause=False))
    for number in range(rng.randrange(1, 12)):
        _deliver(world, rng, f"{seed}/{number}")


def _resume(world: World, rng: random.Random, _seed: str) -> None:
    world.resume(rng)


def _pass_time(world: World, rng: random.Random, _seed: str) -> None:
    world.pass_time(rng)


def _pass_and_work(world: World, rng: random.Random, seed: str) -> None:
    world.pass_time(rng)
    _work(world, rng, seed)


def _reconfigure(world: World, rng: random.Random, _seed: str) -> None:
    world.reconfigure(rng)


def _deploy(world: World, rng: random.Random, _seed: str) -> None:
    host = rng.choice(world.hosts)
    world.note(f"restart {host.name}")
    world.deploy(host)


def _backfill(world: World, rng: random.Random, seed: str) -> None:
    host = rng.choice(world.hosts)
    if entries := world.enabled(host):
        force = rng.random() < 0.6
        world.backfill(host, rng.choice(entries), _range(world, rng), seed, _weather(rng), force=force)


def _end_backfills(world: World, rng: random.Random, seed: str) -> None:
    host = rng.choice(world.hosts)
    if entries := world.enabled(host):
        world.end_backfills(host, rng.choice(entries), seed, _weather(rng, pause=False))


def _verify(world: World, rng: random.Random, seed: str) -> None:
    host = rng.choice(world.hosts)
    if entries := world.enabled(host):
        world.verify(host, rng.choice(entries), _range(world, rng), seed, _weather(rng))


def _skew(world: World, rng: random.Random, _seed: str) -> None:
    world.skew(rng)


def _lose_cache(world: World, rng: random.Random, _seed: str) -> None:
    world.lose_cache(rng)


def _lose_blob(world: World, rng: random.Random, _seed: str) -> None:
    world.lose_blob(rng)


_STEPS: dict[_Step, int] = {
    _pass_and_work: 30,
    _pass_time: 10,
    _tick: 8,
    _work: 10,
    _deliver: 20,
    _resume: 12,
    _reconfigure: 7,
    _deploy: 3,
    _backfill: 6,
    _end_backfills: 1,
    _verify: 2,
    _skew: 4,
    _lose_cache: 4,
    _lose_blob: 2,
}


def _range(world: World, rng: random.Random) -> Window:
    """Return a range in the time of the case, which lies on no grid."""
    story = world.scenario
    start = story.begins + rng.randrange(-5 * HOUR, 6 * HOUR)
    ticks = [each.ingested for each in story.rows] + [each.tick for each in story.records]
    if ticks and rng.random() < 0.5:  # an edge beside a row
        start = rng.choice(ticks) + rng.choice([0, SECOND])
    start = start // SECOND * SECOND
    return Window(start, start + rng.randrange(MINUTE, 4 * HOUR) // SECOND * SECOND)


def _settle(world: World) -> None:
    """Let so much calm time pass that everything is due, and work until nothing is left to do."""
    story = world.scenario
    until = world.now + story.lag + max(story.recheck, default=0) + POSITION_EXPIRES + 6 * HOUR + GRACE
    step = (until - world.now) // 12
    while world.now < until:
        world.now += step
        _drain(world)
    for _ in range(ROUNDS):
        if not _drain(world):
            break
        world.now += 61 * MINUTE // 60
    else:
        raise AssertionError("the app does not come to rest")
    left = [
        blob.name
        for blob in world.documents.list("")
        if "/failures/" in blob.name or ("/backfills/" in blob.name and not _is_done(world, blob.name))
    ]
    assert not left, f"the app left {left}"


def _is_done(world: World, backfill: str) -> bool:
    """Whether nothing is left to do for a backfill, which is kept as a record."""
    document = world.documents.read(backfill)
    assert document is not None
    done: bool = json.loads(document.data)["state"] != "active"
    return done


def _drain(world: World) -> int:
    """Run the timers and deliver all messages; return how many there were."""
    for kind in KINDS:
        world.timer(world.hosts[0], kind, "calm", CALM)
    delivered = 0
    while world.queue:
        assert delivered < 2_000, "messages without end"
        waiting = world.visible()
        if not waiting:
            world.now = min(each.visible for each in world.queue)
            continue
        world.deliver(waiting[0], world.hosts[delivered % 2], "calm", CALM)
        delivered += 1
    return delivered


def shrunk(story: Scenario, folder: Path, attempts: int = 400) -> tuple[Scenario, list[int], CaseFailedError]:
    """Return a failing case with as few steps, rows and records as it still fails with."""
    kind = ""

    def failure(candidate: Scenario, steps: Sequence[int]) -> CaseFailedError | None:
        nonlocal attempts
        attempts -= 1
        try:
            run_case(candidate, folder, steps)
        except CaseFailedError as failed:
            return failed if kind in {"", failed.kind} else None
        return None

    first = failure(story, range(story.steps))
    assert first is not None, "the case does not fail again"
    kind = first.kind

    def reduced(things: Sequence[_T], fails: Callable[[Sequence[_T]], bool]) -> list[_T]:
        kept, size = list(things), max(1, len(things) // 2)
        while attempts > 0:
            for at in range(0, len(kept), size):
                fewer = kept[:at] + kept[at + size :]
                if len(fewer) < len(kept) and attempts > 0 and fails(fewer):
                    kept = fewer
                    break
            else:
                if size == 1:
                    break
                size //= 2
        return kept

    steps = reduced(range(story.steps), lambda some: failure(story, some) is not None)
    rows = reduced(story.rows, lambda some: failure(replace(story, rows=tuple(some)), steps) is not None)
    story = replace(story, rows=tuple(rows))
    records = reduced(
        story.records, lambda some: failure(replace(story, records=tuple(some)), steps) is not None
    )
    story = replace(story, records=tuple(records))
    failed = failure(story, steps)
    assert failed is not None
    return story, steps, failed


def case(seed: int) -> Scenario:
    """Return the case of a seed."""
    return scenario(seed)
