"""`dev.py run`: one export, once, from a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from local.cloud import Cloud, Limits, Options
from local.environment import ROOT
from local.run import Options as RunOptions
from local.run import _joined, _show, _window
from shared.model import Batch
from shared.windows import DAY, HOUR, parse_instant

END = "2026-11-21T12:00:00Z"
EXPORTS = """
[[export]]
name = "events"
source = "log_analytics"
workspace = "%LOG_ANALYTICS_WORKSPACE_ID%"
table = "Event"

[[export]]
name = "audits"
source = "entra"
log = "directoryAudits"

[[export]]
name = "verbatim"
source = "entra"
log = "directoryAudits"
format = "pages"

[[export]]
name = "search"
source = "log_analytics_search"
resource = "%WORKSPACE_RESOURCE%"
query = "Type=Event"

[[export]]
name = "archive"
source = "search_jobs"
resource = "%WORKSPACE_RESOURCE%"
table = "Event"
lag = "0s"

[[export]]
name = "unified"
source = "audit_search"

[[export]]
name = "activities"
source = "aad_graph"
tenant = "%AZURE_TENANT_ID%"

[[export]]
name = "paused"
source = "entra"
log = "directoryAudits"
enabled = false

[[export]]
name = "wrong"
source = "entra"
log = "nothing"
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A stand-in with a day of data."""
    limits = Limits(reports=None, retention_days=None, uneven_pages=False, legacy_rate=None, legacy_polls=0)
    options = Options(events=150, days=1.0, audits=70, audit_days=1.0, end=END, limits=limits)
    with Cloud(options, tmp_path_factory.mktemp("cloud with space")) as running:
        yield running


def begin(
    cloud: Cloud, folder: Path, *arguments: str, exports: str = EXPORTS, **settings: str
) -> subprocess.Popen[str]:
    """Begin the command in a folder, with settings in a file and nothing else."""
    (folder / "exports.toml").write_text(exports, encoding="utf-8")
    values = {
        **cloud.environment(),
        "WORKSPACE_RESOURCE": cloud.workspace_resource_ids[0],
        "EXPORTS_FILE": str(folder / "exports.toml"),
        "EXPORT_GRAPH_REQUESTS": "999",
        **settings,
    }
    file = folder / "settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}), encoding="utf-8")
    kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "HOME", "LANG")
    return subprocess.Popen(
        [sys.executable, "-m", "local.run", *arguments, "--settings", str(file)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **{name: os.environ[name] for name in kept if name in os.environ}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for a command to end."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    return Done(process.returncode, stdout, stderr)


def run(cloud: Cloud, folder: Path, *arguments: str, exports: str = EXPORTS, **settings: str) -> Done:
    """Run the command to its end, as `begin` begins it."""
    return end(begin(cloud, folder, *arguments, exports=exports, **settings))


def rows(lines: str) -> list[dict[str, object]]:
    """The rows on standard output."""
    return [json.loads(line) for line in lines.splitlines()]


def test_rows_go_to_standard_output_and_the_rest_beside(cloud: Cloud, tmp_path: Path) -> None:
    """What is piped on is rows and nothing else; the summary says how many there were."""
    done = run(cloud, tmp_path, "audits", "--start", "2026-11-20T12:00:00Z", "--end", END)
    assert done.returncode == 0, done.stderr
    found = sorted(str(row["id"]) for row in rows(done.stdout))
    assert found == sorted(str(record["id"]) for record in cloud.audits())
    assert "Total records: 70\nReturned: 70" in done.stderr
    assert "requests in" in done.stderr


def test_top_shows_so_many_and_counts_the_rest(cloud: Cloud, tmp_path: Path) -> None:
    """As the original script said it: the total, and how many of them were returned."""
    span = ("--start", "2026-11-20T00:00:00Z", "--end", "2026-11-22T00:00:00Z")
    done = run(cloud, tmp_path, "events", *span, "--top", "10")
    assert done.returncode == 0, done.stderr
    assert len(rows(done.stdout)) == 10
    total = len(cloud.rows("Event"))
    assert f"Total records: {total}\nReturned: 10" in done.stderr


def test_rows_that_came_with_those_shown_are_counted(cloud: Cloud, tmp_path: Path) -> None:
    """The total is exact where there is no further page, and otherwise says that it is not."""
    span = ("--start", "2026-11-20T12:00:00Z", "--end", END)
    whole = run(cloud, tmp_path, "audits", *span, "--top", "10")
    assert len(rows(whole.stdout)) == 10
    assert "Total records: 70\nReturned: 10" in whole.stderr
    cloud.set_limits(activity_page=30)
    try:
        partial = run(cloud, tmp_path, "activities", *span, "--top", "10")
    finally:
        cloud.set_limits(activity_page=1_000)
    assert len(rows(partial.stdout)) == 10
    assert "Total records: at least 60\nReturned: 10" in partial.stderr


def test_the_search_apis_rows_are_all_counted(cloud: Cloud, tmp_path: Path) -> None:
    """Its script printed the total, also of searches that hold more than one answer returns."""
    cloud.set_limits(legacy_rows=60)
    try:
        done = run(cloud, tmp_path, "search", "--start", "2026-11-20", "--end", "2026-11-22", "--top", "10")
    finally:
        cloud.set_limits(legacy_rows=5_000)
    assert len(rows(done.stdout)) == 10, done.stderr
    assert f"Total records: {len(cloud.rows('Event'))}\nReturned: 10" in done.stderr


def batch(count: int, total: int | None = None) -> Batch:
    """A batch of so many rows."""
    return Batch([msgspec.Raw(b'{"n":1}')] * count, times=["2026-11-21T10:00:00Z"] * count, total=total)


@pytest.mark.parametrize(
    ("counts", "read_on", "rows", "whole", "unread"),
    [
        ([3], False, 3, True, 0),
        ([2], False, 2, True, 0),
        ([3, 0], False, 3, True, 0),
        ([1, 0, 3, 0, 2, 4], False, 6, False, 1),
        ([1, 0, 3, 0, 2, 4], True, 10, True, 0),
    ],
)
def test_no_more_is_read_than_tells_whether_there_is_more(
    capsysbinary: pytest.CaptureFixture[bytes],
    counts: Sequence[int],
    read_on: bool,
    rows: int,
    whole: bool,
    unread: int,
) -> None:
    """Batches without rows, as of pages beside the window, are no rows that were left out."""
    batches = iter([batch(each, total=99) for each in counts])
    summary = _show(batches, 2, read_on=read_on)
    assert (summary.rows, summary.shown, summary.whole, summary.total) == (rows, 2, whole, 99)
    assert len(list(batches)) == unread
    assert capsysbinary.readouterr().out == b'{"n":1}\n' * 2


def test_files_are_stored_in_the_exports_format(cloud: Cloud, tmp_path: Path) -> None:
    """Pages come as audit0.json and so on, byte for byte as Graph answered them."""
    folder = tmp_path / "out put"
    done = run(cloud, tmp_path, "verbatim", "--start", "2026-11-20", "--end", END, "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    pages = sorted(folder.glob("audit*.json"))
    records = [each for page in pages for each in json.loads(page.read_bytes())["value"]]
    assert sorted(each["id"] for each in records) == sorted(str(each["id"]) for each in cloud.audits())
    assert (folder / "audit0.json").exists()


def test_pages_of_another_window_are_not_overwritten(cloud: Cloud, tmp_path: Path) -> None:
    """All windows' pages have the same names, so a folder is one window's, which may be read again."""
    folder = tmp_path / "pages"
    output = ("--output", str(folder))
    first = ("--start", "2026-11-20T12:00:00Z", "--end", "2026-11-21T00:00:00Z")
    assert run(cloud, tmp_path, "verbatim", *first, *output).returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    cloud.clear_requests()
    done = run(cloud, tmp_path, "verbatim", "--start", "2026-11-21", "--end", END, *output)
    assert done.returncode == 1
    assert "has the pages of verbatim_20261120T120000Z_20261121T000000Z" in done.stderr
    assert "another folder" in done.stderr
    assert cloud.requests == []
    assert run(cloud, tmp_path, "verbatim", *first, *output).returncode == 0
    assert run(cloud, tmp_path, "audits", *first, *output).returncode == 0
    assert before.items() <= {path.name: path.read_bytes() for path in folder.iterdir()}.items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], ["There is no export 'nobody'", "events, audits, verbatim", "export 'wrong': log"]),
        (["paused"], ["There is no export 'paused'"]),
        (["audits", "--start", "yesterday"], ["--start", "2026-11-21T10:00:00Z, or -7d"]),
        (["audits", "--start", "-1h", "--end", "-2h"], ["--start must lie before --end"]),
    ],
)
def test_mistakes_say_what_to_do(
    cloud: Cloud, tmp_path: Path, arguments: Sequence[str], words: Sequence[str]
) -> None:
    """Exit code 1 and what was expected; nothing on standard output."""
    done = run(cloud, tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert all(word in done.stderr for word in words), done.stderr


def test_a_refusal_is_told_in_the_services_words(cloud: Cloud, tmp_path: Path) -> None:
    """And with what to grant."""
    cloud.fail("graph", "missing_consent", count=None)
    try:
        done = run(cloud, tmp_path, "audits", "--start", "-1d")
    finally:
        cloud.clear_faults()
    assert done.returncode == 1
    assert "AuditLog.Read.All" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_apps_are_refused_a_user_reads(cloud: Cloud, tmp_path: Path) -> None:
    """Azure AD Graph's known issue: an app is told to use a person's identity, with which it then works."""
    span = ("activities", "--start", "2026-11-20T12:00:00Z", "--end", END)
    cloud.set_limits(aad_graph_app_tokens=False)
    try:
        refused = run(cloud, tmp_path, *span)
        done = run(cloud, tmp_path, *span, EXPORT_CREDENTIAL="device_code")
    finally:
        cloud.set_limits(aad_graph_app_tokens=True)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "run with a user's identity: EXPORT_CREDENTIAL = azure_cli or device_code" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert "to sign in, open https://microsoft.com/devicelogin and enter the code " in done.stderr
    found = sorted(str(row["id"]) for row in rows(done.stdout))
    assert found == sorted(str(record["id"]) for record in cloud.activities("audit"))


def test_times_are_instants_or_relative_to_now() -> None:
    """The defaults are the last 24 hours."""
    now = parse_instant("2026-11-21T12:00:00.5Z")

    def window(start: str, end: str) -> tuple[int, int]:
        found = _window(RunOptions("x", start, end, None, None, Path()), now)
        return found.start, found.end

    noon = parse_instant("2026-11-21T12:00:00Z")
    assert window("-24h", "-0s") == (noon - DAY, noon)
    assert window("2026-11-21T11:00:00Z", "-0s") == (noon - HOUR, noon)
    assert window("-7d", "-1d") == (noon - 7 * DAY, noon - DAY)


def test_relative_times_may_stand_by_themselves() -> None:
    """`--start -7d` reads as people write it."""
    assert _joined(["a", "--start", "-7d", "--top", "3"]) == ["a", "--start=-7d", "--top", "3"]
