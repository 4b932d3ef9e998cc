"""The three original scripts, as `dev.py run` does them: README's commands with the documented entries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from local.cloud import Cloud, Limits, Options
from local.cloud.tables import TABLES
from local.compare import SECOND, ticks
from local.environment import ROOT
from tests.completeness.truth import (
    Row,
    Timed,
    audits_at_source,
    decode,
    multiset,
    rows_at_source,
    searched_at_source,
)
from tests.test_run import Done, run


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A stand-in whose data reaches until now, and farther back than the scripts look."""
    limits = Limits(reports=None, activity_page=50, legacy_polls=1)
    options = Options(events=2_000, days=2.0, audits=300, limits=limits)
    with Cloud(options, tmp_path_factory.mktemp("cloud")) as running:
        yield running


def commands(script: str) -> list[list[str]]:
    """The arguments of README's two commands for a script: on the same API, and on that of today."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith("|") and script in line)
    return [command.split() for command in re.findall(r"`dev\.py run ([^`]+)`", row)]


def do(cloud: Cloud, folder: Path, arguments: Sequence[str]) -> Done:
    """Run a command with the shipped exports and the documented ones, of the stand-in's workspace."""
    shipped = (ROOT / "exports.toml").read_text(encoding="utf-8")
    documented = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    retired = documented.partition("## The original APIs")[2]
    entries = "\n".join(re.findall(r"```toml\n(.*?)```", retired, re.DOTALL))
    entries, count = re.subn(r'"/subscriptions/.*"', f'"{cloud.workspace_resource_ids[0]}"', entries)
    assert count == 1
    done = run(cloud, folder, *arguments, exports=f"{shipped}\n{entries}")
    assert done.returncode == 0, done.stderr
    return done


def printed(done: Done) -> list[Row]:
    """The rows that a run printed."""
    return [decode(line) for line in done.stdout.splitlines()]


def wanted(done: Done, source: Iterable[Timed], days: int) -> list[Row]:
    """The rows of the last days, newest first, as of the moment that a run says it reads up to."""
    said = re.search(r" from (\S+Z) to (\S+Z)\n", done.stderr)
    assert said is not None, done.stderr
    start, end = map(ticks, said.groups())
    assert end - start == days * 86_400 * SECOND
    newest_first = sorted(source, key=lambda each: each[0], reverse=True)
    rows = [row for time, row in newest_first if start <= time < end]
    assert len(rows) > 20
    return rows


def activities(records: Iterable[Row]) -> list[Timed]:
    """Records of the audit report, with their time."""
    return [(ticks(str(each["activityDate"])), each) for each in records]


def test_the_search_of_the_last_24_hours(cloud: Cloud, tmp_path: Path) -> None:
    """100 rows, and how many there are: of the search API the newest, as the script printed them."""
    old, new = commands("Log Analytics search of the last 24 hours")
    done = do(cloud, tmp_path, old)
    found = wanted(done, searched_at_source(cloud, "Event"), days=1)
    assert f"Total records: {len(found)}\nReturned: 100" in done.stderr
    assert [row["TimeGenerated"] for row in printed(done)] == [row["TimeGenerated"] for row in found[:100]]
    assert multiset(printed(done)) < multiset(found)

    def errors(row: Row) -> Row | None:
        columns = ("TimeGenerated", "Computer", "EventID", "RenderedDescription")
        return {name: row[name] for name in columns} if row["EventLevelName"] == "Error" else None

    done = do(cloud, tmp_path, new)
    found = wanted(done, rows_at_source(cloud, TABLES["Event"], shaped=errors), days=1)
    assert f"Total records: {len(found)}\nReturned: 100" in done.stderr
    assert len(printed(done)) == 100
    assert multiset(printed(done)) < multiset(found)


def test_the_audit_report_of_the_last_7_days_in_files(cloud: Cloud, tmp_path: Path) -> None:
    """Each page is in a file that is called as the script called it; together they are the report."""
    old, new = commands("audit report of the last 7 days")
    done = do(cloud, tmp_path, old)
    found = wanted(done, activities(cloud.activities("audit")), days=7)
    assert f"Total records: {len(found)}\nReturned: {len(found)}" in done.stderr
    files = sorted(tmp_path.glob("audit?.json"))
    assert [file.name for file in files] == [f"audit{number}.json" for number in range(len(files))]
    pages = [decode(file.read_bytes())["value"] for file in files]
    assert len(pages) > 2
    records = [record for page in pages for record in page]  # a page may have some of a second before
    assert multiset(wanted(done, activities(records), days=7)) == multiset(found)

    done = do(cloud, tmp_path, new)
    assert multiset(printed(done)) == multiset(wanted(done, audits_at_source(cloud), days=7))


def test_the_audit_report_since_yesterday(cloud: Cloud, tmp_path: Path) -> None:
    """Its records on the terminal, also where the entry's format is pages."""
    old, new = commands("audit report since yesterday")
    done = do(cloud, tmp_path, old)
    found = wanted(done, activities(cloud.activities("audit")), days=1)
    assert multiset(printed(done)) == multiset(found)
    done = do(cloud, tmp_path, new)
    assert multiset(printed(done)) == multiset(wanted(done, audits_at_source(cloud), days=1))
