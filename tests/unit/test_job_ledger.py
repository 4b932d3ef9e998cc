"""The ledger of search jobs: what was started when, and what is to be swept."""

from __future__ import annotations

import pytest

from shared.errors import ConflictError, ProtocolError
from shared.job_ledger import JobLedger, State, started_today, swept
from shared.model import Window
from shared.windows import parse_instant
from tests.parts.fakes import FakeClock
from tests.parts.memory_container import MemoryContainer
from tests.unit.test_arm_ids import WORKSPACE

WINDOW = Window(parse_instant("2022-01-01"), parse_instant("2022-01-02"))


def ledger(
    documents: MemoryContainer | None = None, clock: FakeClock | None = None, workspace: str = WORKSPACE
) -> JobLedger:
    """Return a workspace's ledger."""
    return JobLedger(documents or MemoryContainer(), workspace, clock or FakeClock())


def test_a_job_is_written_down_before_and_after() -> None:
    """What it is for, when it was begun, what became of it since, and where to ask about it."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    jobs.begin("A_SRCH", WINDOW)
    clock.advance("5m")
    jobs.mark("A_SRCH", "running", "/operation")
    clock.advance("5m")
    jobs.mark("A_SRCH", "running", "/other")
    jobs.mark("B_SRCH", "done")
    entry = jobs.get("A_SRCH")
    assert entry is not None
    assert (entry.state, entry.operation, entry.since - entry.started) == (
        "running",
        "/operation",
        3_000_000_000,
    )
    assert (entry.window_start, entry.window_end) == (
        "2022-01-01T00:00:00.0000000Z",
        "2022-01-02T00:00:00.0000000Z",
    )
    assert jobs.all() == [entry]
    jobs.forget("A_SRCH")
    assert jobs.all() == []


def test_workspaces_have_ledgers_of_their_own() -> None:
    """The limits are of one workspace, whatever the letter case of its id."""
    documents = MemoryContainer()
    ledger(documents).begin("A_SRCH", WINDOW)
    assert len(ledger(documents, workspace=WORKSPACE.upper()).all()) == 1
    assert ledger(documents, workspace=f"{WORKSPACE}2").all() == []
    (name,) = [blob.name for blob in documents.list("")]
    assert name.startswith("search_jobs/")


def test_of_two_workers_that_begin_a_job_one_is_told() -> None:
    """A conditional write lets only one of them go on."""
    documents = MemoryContainer()

    class Quicker(MemoryContainer):
        """A container in which somebody else is always quicker."""

        def read(self, name: str) -> None:
            """Find nothing, for just then there was nothing."""
            documents.write(name, b"{}", etag=None)

        write = documents.write

    with pytest.raises(ConflictError):
        ledger(Quicker()).begin("A_SRCH", WINDOW)


def test_a_document_that_cannot_be_read_is_an_error() -> None:
    """A ledger that is wrong must not be taken for an empty one."""
    documents = MemoryContainer()
    ledger(documents).begin("A_SRCH", WINDOW)
    (blob,) = documents.list("")
    documents.write(blob.name, b"{", etag=blob.etag)
    with pytest.raises(ProtocolError, match="cannot be read"):
        ledger(documents).all()


@pytest.mark.parametrize(
    ("state", "has_table", "age", "gone"),
    [
        ("done", True, "47h", False),
        ("done", True, "49h", True),
        ("split", True, "49h", True),
        ("dropped", False, "23h", False),
        ("dropped", False, "25h", True),
        ("starting", False, "25h", True),
        ("split", False, "49h", False),
        ("split", False, "169h", True),
        ("refused", False, "2159h", False),
        ("refused", False, "2161h", True),
    ],
)
def test_what_is_swept(state: State, has_table: bool, age: str, gone: bool) -> None:
    """Tables after two days, what has none after one; that a job found too much, or many did, later."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    jobs.begin("A_SRCH", WINDOW)
    jobs.mark("A_SRCH", state)
    clock.advance(age)
    tables = {"a_srch"} if has_table else {"other_srch"}
    assert [entry.table for entry in swept(jobs.all(), tables, clock.now())] == (["A_SRCH"] if gone else [])


def test_a_window_is_swept_as_a_whole() -> None:
    """What is done, and what is known of it, stays until no job was started for any part for two days."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    begun: list[tuple[str, str | None, State]] = [
        ("O_SRCH", None, "done"),
        ("W_SRCH", "W_SRCH", "split"),
        ("A_SRCH", "W_SRCH", "done"),
        ("B_SRCH", "W_SRCH", "done"),
    ]
    for table, whole, state in begun:
        jobs.begin(table, WINDOW, whole)
        jobs.mark(table, state)
        clock.advance("40h")
    tables = {"o_srch", "a_srch", "b_srch"}
    assert [entry.table for entry in swept(jobs.all(), tables, clock.now())] == ["O_SRCH"]
    clock.advance("9h")
    assert [entry.table for entry in swept(jobs.all(), tables, clock.now())] == ["A_SRCH", "B_SRCH", "O_SRCH"]


def test_failures_are_kept_for_a_day() -> None:
    """By the name, also where another job was begun since; the sweep spares them as long as they count."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    jobs.fail("B_SRCH")
    jobs.begin("A_SRCH", WINDOW)
    clock.advance("20h")
    jobs.fail("A_SRCH")
    failed = clock.now()
    clock.advance("5h")
    assert list(swept(jobs.all(), (), clock.now())) == []
    jobs.begin("A_SRCH", WINDOW)
    (entry,) = jobs.all()
    assert (entry.state, entry.failures(clock.now())) == ("starting", [failed])
    clock.advance("20h")
    assert entry.failures(clock.now()) == []


def test_what_was_not_started_is_undone() -> None:
    """What was known before is known again, which may be nothing."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    jobs.begin("A_SRCH", WINDOW)
    jobs.undo("A_SRCH", None)
    assert jobs.all() == []
    jobs.begin("A_SRCH", WINDOW)
    jobs.fail("A_SRCH")
    before = jobs.get("A_SRCH")
    clock.advance("5m")
    jobs.begin("A_SRCH", WINDOW)
    jobs.undo("A_SRCH", before)
    assert jobs.all() == [before]


def test_todays_jobs_are_those_of_24_hours() -> None:
    """Also those whose tables are gone count."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    jobs.begin("A_SRCH", WINDOW)
    jobs.mark("A_SRCH", "dropped")
    clock.advance("23h")
    jobs.begin("B_SRCH", WINDOW)
    assert started_today(jobs.all(), clock.now()) == 2
    clock.advance("2h")
    assert started_today(jobs.all(), clock.now()) == 1


def test_todays_jobs_are_all_that_were_started_by_one_name() -> None:
    """What failed, or was thrown away, is a job each time that it is started; what never began is none."""
    clock = FakeClock()
    jobs = ledger(clock=clock)
    for _ in range(2):
        jobs.begin("A_SRCH", WINDOW)
        jobs.mark("A_SRCH", "running")
        clock.advance("1h")
        jobs.fail("A_SRCH")
    jobs.begin("A_SRCH", WINDOW)
    clock.advance("1h")
    jobs.begin("A_SRCH", WINDOW)
    jobs.mark("A_SRCH", "dropped")
    clock.advance("1h")
    jobs.begin("A_SRCH", WINDOW)
    assert started_today(jobs.all(), clock.now()) == 4
    clock.advance("20h")
    assert started_today(jobs.all(), clock.now()) == 3
    jobs.begin("A_SRCH", WINDOW)
    (entry,) = jobs.all()
    assert len(entry.started_before) == 2
