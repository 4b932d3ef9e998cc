"""Staging: blocks are uploaded while the next are gathered, in order, one at a time, and no error is lost."""

import threading
from collections.abc import Callable

import pytest

from shared import staging as staging_module
from shared.attempts import Attempt
from shared.errors import StorageError
from shared.staging import Staging
from tests.parts.fakes import NOW, between
from tests.parts.memory_container import MemoryContainer

PATIENCE = 10.0
"""Seconds after which something is taken to hang."""


class Gate(MemoryContainer):
    """A container whose uploads wait until they are let through, or fail."""

    def __init__(self, *, wide_open: bool = False) -> None:
        super().__init__()
        self.open = threading.Semaphore(1000 if wide_open else 0)
        self.begun = threading.Semaphore(0)
        self.staged: list[bytes] = []
        self.under_way = self.most_under_way = 0
        self.fails: Callable[[], None] = lambda: None

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Wait, then keep the block aside."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.begun.release()
        assert self.open.acquire(timeout=PATIENCE), "nobody opened"
        self.under_way -= 1
        self.fails()
        super().stage(name, block, data)
        self.staged.append(data)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "BLOCK_BYTES", 4)


def begin(container: MemoryContainer) -> Staging:
    """Begin to stage a blob."""
    attempt = Attempt("events", between("10:00", "11:00"), container, container, NOW)
    return Staging(container, "events/a.jsonl", attempt)


def refuse() -> None:
    """Fail as storage does for good."""
    raise StorageError("staging failed", retryable=True)


def test_a_block_is_uploaded_while_the_next_is_gathered() -> None:
    """Who adds bytes goes on at once; the block is on its way meanwhile."""
    gate = Gate()
    with begin(gate) as staging:
        staging.add(b"abcdef")
        assert gate.begun.acquire(timeout=PATIENCE), "nothing is uploaded before the end"
        staging.add(b"g")
        assert gate.staged == []
        gate.open.release(2)
        staging.finish()
    assert sorted(gate.staged) == [b"abcd", b"efg"]  # the last one does not wait for the one before


def test_full_blocks_one_at_a_time_and_in_order() -> None:
    """However fast bytes come, one upload is under way at most, and the blocks are those of the bytes."""
    gate = Gate(wide_open=True)
    data = bytes(range(250))
    with begin(gate) as staging:
        for first in range(0, len(data), 7):
            staging.add(data[first : first + 7])
        most = gate.most_under_way
        staging.finish()
        assert staging.commit({}, "text/plain", None)
    document = gate.read("events/a.jsonl")
    assert document is not None
    assert document.data == data
    assert {len(block) for block in gate.staged} == {4, len(data) % 4}
    assert (most, gate.most_under_way <= 2) == (1, True)


@pytest.mark.parametrize("then", [lambda staging: staging.add(b"efgh"), lambda staging: staging.finish()])
def test_an_upload_that_failed_fails_what_comes_next(then: Callable[[Staging], object]) -> None:
    """Whether that is another block or the end: a window with a block missing is never committed."""
    gate = Gate(wide_open=True)
    gate.fails = refuse
    with begin(gate) as staging:
        staging.add(b"abcd")
        with pytest.raises(StorageError):
            then(staging)


def test_nothing_is_sent_after_the_end() -> None:
    """An attempt that is given up waits for the block that is on its way."""
    gate = Gate()

    def give_up() -> None:
        with begin(gate) as staging:
            staging.add(b"abcd")
            assert gate.begun.acquire(timeout=PATIENCE)
            gate.open.release()
            refuse()

    with pytest.raises(StorageError):
        give_up()
    assert gate.under_way == 0
    assert not [each.name for each in threading.enumerate() if each.name.startswith("upload")]


def test_what_is_small_is_uploaded_by_the_caller() -> None:
    """A window of less than a block needs no thread."""
    gate = Gate(wide_open=True)
    threads: list[str] = []
    gate.fails = lambda: threads.append(threading.current_thread().name)
    with begin(gate) as staging:
        staging.add(b"abc")
        staging.finish()
    assert threads == [threading.current_thread().name]
