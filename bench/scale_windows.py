"""What planning and auditing cost with 100,000 stored windows of one export: `python -m bench.scale_windows`.

Over containers in memory the app's own work is measured, and its calls of storage are counted. The storage
client adds most of the processor time; that is measured over Azurite, with those blobs that are asked for.
Where everything is listed, the client's part is what it takes there for a name, or for a receipt, times as
many. Those have no target in seconds: the one comes four times a day, the others when somebody asks.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from bench.line import Line, at_most
from local.azurite import Azurite
from shared.auditor import VerifyBody
from shared.blob_store import BlobStore
from shared.layout import compact, parse_blob_name
from shared.model import Blob, Container, Window
from shared.settings import Storage
from shared.windows import DAY, SECOND, parse_instant
from tests.parts.many_windows import PAGE, Asked, asked, copied, world_of_windows
from tests.parts.world import World

_MONTH = Window(parse_instant("2026-10-01"), parse_instant("2026-11-01"))
_A_HANDFUL = 12
_OPEN = 5 * DAY
"""So much of the newest time holds all that a plan may list, and more."""

Deed = Callable[[World], Any]


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Plan and audit over many windows, of an hour and of five minutes."""
    count = 6_000 if tiny else 100_000
    for length in ("5m",) if tiny else ("1h", "5m"):
        stored = world_of_windows(count, length)
        running = _settled(stored)
        stock = f"{count:,} windows of {length}"
        with patch.dict(os.environ, {"NO_PROXY": "127.0.0.1,localhost"}), Azurite.start() as azurite:
            real = _over_azurite(running, azurite.connection_string, month=not tiny)
            yield from _calls(stored, running, stock, _Client.measured(real.data))
            for what in list(_PARTS)[: 1 if tiny else None]:
                seconds = _cpu(partial(_PARTS[what], real))
                own = f"{_measured(running, _PARTS[what])[0]:.2f} s of it the app's own"
                yield at_most(f"{what}, {stock}: processor time", 1.0, seconds, own, " s")


@dataclass(frozen=True, slots=True)
class _Client:
    """The processor seconds that the storage client takes to list a blob by name, or with its receipt."""

    name: float
    receipt: float

    @classmethod
    def measured(cls, data: Container) -> "_Client":
        """Measure it."""
        blobs = sum(1 for _ in data.names(""))
        names = _cpu(lambda: list(data.names("")))
        receipts = _cpu(lambda: list(data.list("", metadata=True)))
        return cls(names / blobs, receipts / blobs)

    def told(self, found: Asked) -> str:
        """Say what it takes for what was asked."""
        names = found.listed - found.receipts
        kinds = ((names, "names", self.name), (found.receipts, "receipts", self.receipt))
        each = ", ".join(f"{count:,} {what} at {took * 1e6:.0f} µs" for count, what, took in kinds if count)
        seconds = sum(count * took for count, _, took in kinds)
        return f"{seconds:.1f} s of the storage client's ({each})"


def _calls(stored: World, running: World, stock: str, client: _Client) -> Iterator[Line]:
    """Count the calls: of what is a handful, and of what is a page for each 5,000 windows."""
    for what, deed in _PARTS.items():
        _, found = _measured(running, deed)
        details = f"{found.listed:,} names or receipts"
        yield at_most(f"{what}, {stock}: calls of storage", _A_HANDFUL, found.calls, details, "")
    wholes: Mapping[str, tuple[World, Deed]] = {
        "the planning tick of each sixth hour": (_later(running), _plan),
        "planning from nothing": (stored, _plan),
        "coverage of everything": (running, lambda world: world.auditor().coverage("events")),
        "verify of everything": (running, lambda world: _verify(world, _everything(world))),
    }
    for what, (begin, deed) in wholes.items():
        seconds, found = _measured(begin, deed)
        own = f"{found.calls} calls in all; {seconds:.2f} s of the app's own processor time"
        details = f"{own}, some {client.told(found)}"
        # Beside everything, a plan lists its open days.
        most = -(-len(begin.stored()) // PAGE) + (3 if "sixth" in what else 0)
        yield at_most(f"{what}, {stock}: listings of the data", most, found.data, details, "")


def _settled(stored: World) -> World:
    """Return the world a little later, when an app has planned and done what was due."""
    world = copied(stored)
    world.work()
    world.clock.advance("5m")
    world.work()
    world.clock.advance("1s")
    asked(world)
    return world


def _everything(world: World) -> Window:
    return Window(world.exports[0].start, world.clock.now() // SECOND * SECOND)


def _measured(begin: World, deed: Deed) -> tuple[float, Asked]:
    """Return the processor seconds of a deed in a world like this one, and what it asked of storage."""
    world = copied(begin)
    return _cpu(partial(deed, world)), asked(world)


def _plan(world: World) -> None:
    world.plan()


def _verify(world: World, span: Window) -> None:
    found = world.auditor().verify("events", span, VerifyBody("", ""))
    if found["complete"] != found["windows"]:
        raise ValueError("not every window is complete")


def _later(world: World) -> World:
    world = copied(world)
    world.clock.advance("6h")
    return world


def _cpu(deed: Callable[[], Any]) -> float:
    # What is stored lies in Azure otherwise, where our garbage collector has no work with it.
    gc.collect()
    gc.freeze()
    try:
        began = time.process_time()
        deed()
        return time.process_time() - began
    finally:
        gc.unfreeze()


_PARTS: Mapping[str, Deed] = {
    "a planning tick": _plan,
    "coverage of a month": lambda world: world.auditor().coverage("events", _MONTH),
    "verify of a month": lambda world: _verify(world, _MONTH),
}


def _over_azurite(world: World, connection_string: str, *, month: bool) -> World:
    """Return the world over real storage, with its newest days and a month of its blobs."""
    store = BlobStore(Storage("EXPORT_STORAGE", connection_string=connection_string), _no_identity)
    newest = world.clock.now() - _OPEN

    def is_asked_for(name: str) -> bool:
        found = parse_blob_name(name)
        start = found[0].start if found else 0
        return start >= newest or (month and _MONTH.start - DAY <= start < _MONTH.end)

    def is_recent(name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return not folder.endswith("/rechecks") or file >= compact(newest)

    return replace(
        world,
        data=_copy(world.data, store.container("exports"), is_asked_for),
        documents=_copy(world.documents, store.container("exports-state"), is_recent),
    )


def _copy(source: Container, target: Container, chosen: Callable[[str], bool]) -> Container:
    def write(blob: Blob) -> None:
        document = source.read(blob.name)
        target.write(blob.name, document.data if document else b"", etag=None, metadata=blob.metadata)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, [blob for blob in source.list("", metadata=True) if chosen(blob.name)]))
    return target


def _no_identity(_credential: object) -> Any:
    raise ValueError("Azurite needs no identity")


def main() -> int:
    """Print what was found."""
    for line in run(tiny="--tiny" in sys.argv):
        print(f"{line.what}: {line.measured} ({line.target}); {line.details}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
