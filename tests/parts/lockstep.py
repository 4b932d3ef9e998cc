"""Runs workers one step at a time, in every order that their steps can have.

Of orders that differ only in which of two neighbouring steps comes first, neither of which can tell, one is
enough: both read, or they are about different blobs.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.parts.faulty import Act, Interfere

Worker = Callable[[Interfere], object]
"""What one worker does; it passes each of its steps through the ``interfere`` that it is given."""

PATIENCE = 10.0
"""Seconds after which a step is taken to hang."""

_READS = {"head", "read", "list", "names"}
_OF_ONE_BLOB = {"head", "read", "stage", "commit", "write", "delete"}


class _Thread:
    """A worker on a thread of its own that stops before every step until it is let go."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self.done = False
        self.next = ""
        """The name of the step before which it stops."""
        self.result: object = None
        threading.Thread(target=self._run, daemon=True).start()
        self._await()

    def advance(self) -> None:
        """Let the worker do its next step, and wait until it stops before another one or ends."""
        self._go.release()
        self._await()

    def _await(self) -> None:
        assert self._parked.acquire(timeout=PATIENCE), "a step hangs"

    def _run(self) -> None:
        try:
            self.result = self._worker(self._step)
        except Exception as error:  # noqa: BLE001 - how a worker ends is its result
            self.result = error
        finally:
            self.done = True
            self._parked.release()

    def _step(self, name: str, act: Act) -> Any:
        self.next = name
        self._parked.release()
        assert self._go.acquire(timeout=PATIENCE), "nobody lets this worker go on"
        return act()


def interleavings(begin: Callable[[], Sequence[Worker]]) -> Iterator[tuple[str, list[object]]]:
    """Run workers in every order of their steps; yield each order (``"AABAB"``) and the workers' results.

    ``begin`` makes a new world and returns its workers. A worker's result is what it returned or raised.
    """
    unexplored: list[list[int]] = [[]]
    while unexplored:
        prefix = unexplored.pop()
        threads = [_Thread(worker) for worker in begin()]
        order: list[int] = []
        last, done = 0, ""
        while running := [number for number, thread in enumerate(threads) if not thread.done]:
            if len(order) < len(prefix):
                chosen = prefix[len(order)]
            else:
                # Who might as well have gone before the last step does so in an order that comes up anyway.
                told = [each for each in running if each >= last or not _commute(threads[each].next, done)]
                chosen, *others = told or running
                unexplored += [[*order, other] for other in others]
            last, done = chosen, threads[chosen].next
            order.append(chosen)
            threads[chosen].advance()
        yield "".join("AB"[number] for number in order), [thread.result for thread in threads]


def _commute(one: str, other: str) -> bool:
    """Whether it makes no difference which of two steps comes first, by their names."""
    (first, _, what), (second, _, where) = one.partition(" "), other.partition(" ")
    if {first, second} <= _READS:
        return True
    return {first, second} <= _OF_ONE_BLOB and what != where
