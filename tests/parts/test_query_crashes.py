"""Wherever a worker dies, storage fails, or a caller cancels: one result with every row once, or none."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shared import staging
from shared.callers import Caller
from shared.errors import ExportError, StorageError
from shared.model import Request, Response
from tests.parts.fakes import Crashed, FakeClock
from tests.parts.faulty import FailsAt, Steps
from tests.parts.memory_container import MemoryContainer
from tests.parts.query_world import ANN, QueryWorld, Table

ROWS = 60


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a result of a few hundred bytes staged in several blocks."""
    monkeypatch.setattr(staging, "BLOCK_BYTES", 100)


class Story:
    """A question in the queue of one container, and workers that take it up, one after another."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.container = MemoryContainer()
        self.calm = self.worker(lambda _name, act: act())
        self.query_id = self.calm.queue(query="Event | where n >= 0", timespan="PT1H", format="ndjson")

    def worker(self, interfere: Callable[[str, Callable[[], Any]], Any]) -> QueryWorld:
        """Return the parts of another process, whose calls of storage and service go through a hook."""
        table = Table(self.clock, ROWS, most=20, seconds=3)

        def send(request: Request, /) -> Response:
            answer: Response = interfere("service", lambda: table(request))
            return answer

        container: Any = Steps(interfere).container(self.container)
        return QueryWorld(send, clock=self.clock, container=container, result_days=1)

    def deliver(self, worker: QueryWorld) -> bool:
        """Have a worker take up the message; return whether the host takes it for done."""
        try:
            worker.runner.run(self.query_id)
        except (ExportError, Crashed):
            return False
        return True

    def check_succeeded(self) -> None:
        """Check that there is one result, which is whole, and that its document and its record say so."""
        job = self.calm.job(self.query_id)
        assert (job.status, job.total) == ("succeeded", ROWS), job.error
        assert [row["n"] for row in self.calm.rows(self.query_id)] == list(range(ROWS))

    def check_forgotten(self) -> None:
        """Check that after its time neither a result nor a document is left; the record is."""
        self.clock.advance("1d")
        self.clock.advance("2h")
        assert self.calm.statuses.tend() == []
        assert (self.calm.names("results"), self.calm.names("jobs")) == ([], [])
        assert len(self.calm.names("audit")) == 1


FAULTS = [
    pytest.param(error, after, id=f"{type(error).__name__} {'after' if after else 'before'}")
    for error, after in itertools.product([Crashed(), StorageError("down", retryable=True)], [False, True])
]


@pytest.mark.parametrize(("error", "after"), FAULTS)
def test_a_fault_at_any_step_costs_no_row(error: BaseException, after: bool) -> None:
    """The message comes again, and in the end there is exactly one result."""
    for number in itertools.count():
        story = Story()
        fault = FailsAt(number, error, after=after)
        if not story.deliver(story.worker(fault)):
            assert story.deliver(story.calm), fault.happened
        story.check_succeeded()
        job = story.calm.job(story.query_id)
        assert job.result is not None
        assert story.calm.names("results") == [job.result.name], fault.happened
        story.check_forgotten()
        if fault.happened is None:
            assert number >= 20, "the sweep is of every call"
            return


@pytest.mark.parametrize("second", range(0, 40, 3))
def test_two_faults_leave_nothing_behind_for_ever(second: int) -> None:
    """What workers leave that die one after another goes when the result would have expired."""
    for number in itertools.count():
        story = Story()
        fault = FailsAt(number, Crashed(), after=True)
        deliveries = [fault, FailsAt(second, Crashed(), after=True)]
        if not any(story.deliver(story.worker(each)) for each in deliveries):
            assert story.deliver(story.calm)
        story.check_succeeded()
        story.check_forgotten()
        if fault.happened is None:
            return


def test_a_cancellation_at_any_step_is_the_end() -> None:
    """Whenever it comes, no result is left that nobody wants, and no row of it either."""
    outcomes: set[str] = set()
    for number in itertools.count():
        story = Story()
        cancel = _Once(number, partial(story.calm.statuses.cancel, story.query_id, ANN))
        assert story.deliver(story.worker(cancel))
        if not cancel.happened:
            story.check_succeeded()
            assert outcomes == {"cancelled", "complete"}
            return
        (record,) = story.calm.records()
        outcomes.add(record["outcome"])
        assert story.calm.names("results") == []
        if record["outcome"] == "cancelled":
            assert story.calm.job(story.query_id).status == "cancelled"
        else:
            assert story.calm.names("jobs") == [], "it was finished, and so it was forgotten"
        assert story.deliver(story.calm), "the message may come again"
        assert story.calm.names("results") == []


def test_another_worker_at_any_step_changes_nothing() -> None:
    """Two messages for one query may run beside one another; the document is about the file that is there."""
    for number in itertools.count():
        story = Story()
        other = _Once(number, partial(story.deliver, story.calm))
        story.deliver(story.worker(other))
        story.check_succeeded()
        job = story.calm.job(story.query_id)
        assert job.result is not None
        assert story.calm.names("results") == [job.result.name]
        (record,) = story.calm.records()
        assert (record["outcome"], record["bytes"]) == ("complete", job.result.bytes)
        if not other.happened:
            return


class _Once:
    """Does something else before the ``number``-th step (from 0)."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self._left = number
        self._act = act
        self.happened = False

    def __call__(self, _name: str, step: Callable[[], Any]) -> Any:
        """Take a step."""
        self._left -= 1
        if self._left == -1:
            self.happened = True
            self._act()
        return step()


def test_whoever_cancels_after_all_forgets_the_result() -> None:
    """A cancellation that comes too late is a deletion: document and result go, the record stays."""
    story = Story()
    assert story.deliver(story.calm)
    story.calm.statuses.cancel(story.query_id, Caller("principal", ANN.id))
    assert (story.calm.names("results"), story.calm.names("jobs")) == ([], [])
    assert story.calm.records()[0]["outcome"] == "complete"
