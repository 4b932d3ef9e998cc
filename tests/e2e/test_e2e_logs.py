"""The console of a running app: one line an event, with what a person on call wants to know."""

from __future__ import annotations

import re

from tests.e2e.harness import World

EVENT = re.compile(
    r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] INFO window exported export=(?P<export>\S+) "
    r"window=(?P<start>\S+)/(?P<end>\S+) reason=schedule rows=(?P<rows>\d+) bytes=(?P<bytes>\d+) "
    r"seconds=\d+\.\d attempt=(?P<attempt>\d+)"
)


def test_each_exported_window_is_one_line(world: World) -> None:
    """With export, window, rows, bytes, seconds and attempt, as the receipt and the blob have them."""
    world.write_exports(world.table())
    with world.running() as app:
        app.export()
        told = [EVENT.fullmatch(line) for line in app.lines("window exported")]
    found = [one.group("start", "end", "rows", "bytes", "attempt") for one in told if one]
    assert sorted(found) == [
        (
            blob.metadata["window_start"], blob.metadata["window_end"], blob.metadata["rows"],
            str(len(blob.content)), "1",
        )
        for blob in world.landed()
    ]  # fmt: skip


def test_an_export_is_told_in_lines_of_its_own_and_no_others(world: World) -> None:
    """Between start and stop the console has the host's lines and the app's events, and no library's."""
    world.write_exports(world.table(), world.audits())
    with world.running() as app:
        app.export("log_analytics", "entra")
        lines = app.console.partition("Host started")[2].splitlines()[1:]
    known = re.compile(
        r"\[\S+Z\] INFO (Executing |Executed |Trigger Details|started seconds=|window (queued|exported) )"
    )
    others = [line for line in lines if not known.match(line)]
    assert others == []


def test_a_window_that_needs_a_second_try_says_so(world: World) -> None:
    """The failure is an error with its attempt and what happened; the success tells which attempt it was."""
    world.cloud.fail("log_analytics", "wrong_content")
    world.write_exports(world.table(start=world.at(-1)))
    with world.running() as app:
        app.export()
        (failed,) = app.lines("window failed")
        (exported,) = app.lines("window exported")
    assert " ERROR " in failed
    assert "attempt=1" in failed
    assert "Log Analytics" in failed
    assert "attempt=2" in exported
