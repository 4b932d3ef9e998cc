"""The exports file: right entries are read, every mistake is reported, neighbours survive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Problem
from shared.exports_file import read_exports
from shared.formats import FORMATS
from shared.la_options import Options
from shared.model import Export
from shared.sources import SOURCES
from shared.windows import DAY, HOUR, MINUTE, SECOND, parse_instant
from tests.unit.strategies import texts

WORKSPACE = "12345678-1234-1234-1234-123456789abc"
TABLE = {"name": "events", "source": "log_analytics", "workspace": WORKSPACE, "table": "Event"}
AUDITS = {"name": "audits", "source": "entra", "log": "directoryAudits"}
KQL = "Event | where TimeGenerated between (window_start .. window_end)"
FREE = {"name": "free", "source": "log_analytics", "workspace": WORKSPACE, "kql": KQL}


class Read(Protocol):
    """Writes entries as an exports file and reads it."""

    def __call__(
        self, *entries: dict[str, Any], more: str = "", **environ: str
    ) -> tuple[list[Export], list[Problem]]:
        """Return the exports and the problems."""


def toml(entries: tuple[dict[str, Any], ...]) -> str:
    """Write entries as TOML; for the values used here its literals are JSON's."""
    return "\n".join(
        "\n".join(
            [
                "[[export]]",
                *(
                    f"{json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}"
                    for key, value in entry.items()
                ),
            ]
        )
        for entry in entries
    ).replace("\x7f", "\\u007f")


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read entries from a file in a folder of its own, in tenant T."""

    def read(*entries: dict[str, Any], more: str = "", **environ: str) -> tuple[list[Export], list[Problem]]:
        path = tmp_path / "exports.toml"
        path.write_text(f"{more}\n{toml(entries)}", "utf-8")
        return read_exports(path, environ, cloud="public", tenant_id="T", sources=SOURCES, formats=FORMATS)

    return read


def only(read: Read, entry: dict[str, Any], **environ: str) -> Export:
    """Read a file of one right entry."""
    (export,), problems = read(entry, **environ)
    assert problems == []
    return export


def test_defaults(read: Read) -> None:
    """An entry needs a name, a source and what to read; the rest has defaults."""
    export = only(read, TABLE)
    assert (export.name, export.source, export.kind) == ("events", "log_analytics", "log_analytics")
    assert (export.window, export.offset, export.lag, export.start) == (HOUR, 0, 15 * MINUTE, -24 * HOUR)
    assert export.format == "jsonl.gz"
    assert export.options == Options(workspace=WORKSPACE, table="Event")
    assert export.identity == {"cloud": "public", "workspace": WORKSPACE, "table": "Event"}


def test_every_key_is_read(read: Read) -> None:
    """Durations become ticks, an instant its tick, and an offset its place within the window."""
    export = only(
        read,
        AUDITS
        | {"window": "6h", "offset": "8h", "lag": "90s", "start": "2026-11-21T10:00:00Z", "format": "jsonl"},
    )
    assert (export.window, export.offset, export.lag) == (6 * HOUR, 2 * HOUR, 90 * SECOND)
    assert export.start == parse_instant("2026-11-21T10:00:00Z")
    assert (export.kind, export.format) == ("entra", "jsonl")
    assert export.identity == {"cloud": "public", "tenant": "t", "log": "directoryAudits"}


def test_an_app_setting_stands_for_a_value(read: Read) -> None:
    """``%NAME%`` as a whole value is the app setting; inside a longer text it is text."""
    export = only(
        read,
        TABLE | {"workspace": "%WORKSPACE%", "pipeline": "where a == '%WORKSPACE%'"},
        WORKSPACE=WORKSPACE,
    )
    assert export.identity["workspace"] == WORKSPACE
    assert isinstance(export.options, Options)
    assert export.options.pipeline == "where a == '%WORKSPACE%'"


def test_a_file_stands_for_a_text(read: Read, tmp_path: Path) -> None:
    """``kql_file`` reads what ``kql`` would hold, from a file beside the exports file."""
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "a b.kql").write_text(KQL, "utf-8")
    entry = {key: value for key, value in FREE.items() if key != "kql"}
    from_file = only(read, entry | {"kql_file": "queries/a b.kql"})
    assert from_file.config == only(read, FREE).config


def test_a_paused_export_is_left_out_quietly(read: Read) -> None:
    """``enabled = false`` is no mistake."""
    exports, problems = read(TABLE | {"enabled": False}, AUDITS)
    assert ([export.name for export in exports], problems) == (["audits"], [])


def test_a_paused_export_is_checked_all_the_same(read: Read) -> None:
    """What will fail when it is resumed is said now."""
    _, problems = read(TABLE | {"enabled": False, "window": "x"})
    assert problems


@pytest.mark.parametrize(
    ("changes", "key", "found"),
    [
        ({"name": ""}, "name", "''"),
        ({"name": "Events"}, "name", "'Events'"),
        ({"name": "a/b"}, "name", "'a/b'"),
        ({"name": "-a"}, "name", "'-a'"),
        ({"name": "a" * 64}, "name", "aaa"),
        ({"name": "in_flight"}, "name", "'in_flight'"),
        ({"name": 5}, "name", "5"),
        ({"source": "loganalytics"}, "source", "'loganalytics'"),
        ({"source": 5}, "source", "5"),
        ({"format": "xml"}, "format", "'xml'"),
        ({"window": "0s"}, "window", "'0s'"),
        ({"window": "8d"}, "window", "'8d'"),
        ({"window": "1 hour"}, "window", "'1 hour'"),
        ({"window": 3600}, "window", "3600"),
        ({"offset": "-1h"}, "offset", "'-1h'"),
        ({"lag": "soon"}, "lag", "'soon'"),
        ({"lag": "999999999d"}, "lag", "'999999999d'"),
        ({"start": "yesterday"}, "start", "'yesterday'"),
        ({"start": "-1"}, "start", "'-1'"),
        ({"start": "-999999999d"}, "start", "'-999999999d'"),
        ({"start": "2026-11-21T10:00:00.5Z"}, "start", "'2026-11-21T10:00:00.5Z'"),
        ({"enabled": "yes"}, "enabled", "'yes'"),
        ({"workspace": "x"}, "workspace", "'x'"),
        ({"workspace": "%NOT_SET%"}, "workspace", "%NOT_SET%"),
        ({"table": ["Event"]}, "table", "['Event']"),
        ({"pipeline": "take 5"}, "pipeline", "'take'"),
        ({"window_column": "When"}, "window_column", "'When'"),
        ({"tabel": "Event"}, "tabel", "an unknown key"),
        ({"log": "directoryAudits"}, "log", "an unknown key"),
        ({"pipeline_file": "missing.kql"}, "pipeline_file", "missing.kql"),
        ({"pipeline_file": "../secrets.txt"}, "pipeline_file", "outside"),
        ({"pipeline_file": 5}, "pipeline_file", "5"),
        ({"pipeline_file": "\x00"}, "pipeline_file", "x00"),
    ],
)
def test_a_wrong_value_is_reported_and_spares_the_neighbours(
    read: Read, changes: dict[str, Any], key: str, found: str
) -> None:
    """A mistake names entry and key, says what was found, and disables this export only."""
    exports, problems = read(AUDITS, TABLE | changes, FREE)
    assert [export.name for export in exports] == ["audits", "free"]
    reported = [problem for problem in problems if problem.where.endswith(f": {key}")]
    assert reported, problems
    assert reported[0].where.startswith("exports.toml: export ")
    assert found in reported[0].found
    assert reported[0].expected


@pytest.mark.parametrize("key", ["name", "source", "workspace", "table"])
def test_a_missing_key_is_reported(read: Read, key: str) -> None:
    """What must be there and is not is asked for by name."""
    exports, problems = read({name: value for name, value in TABLE.items() if name != key})
    assert exports == []
    assert [problem.where.rpartition(": ")[2] for problem in problems] == [key]


def test_all_mistakes_are_reported_at_once(read: Read) -> None:
    """Whoever mends the file mends it in one go."""
    _, problems = read(
        {"name": "A", "source": "log_analytics", "workspace": "x", "table": "1", "window": "w", "lag": "l",
         "start": "s", "offset": "o", "format": "f", "pipeline": "take 5"},
        AUDITS | {"log": "riskyUsers", "enabled": 1, "colour": "red", "shape": "round"},
    )  # fmt: skip
    assert sorted(problem.where.rpartition(": ")[2] for problem in problems) == sorted(
        ["name", "workspace", "table", "window", "lag", "start", "offset", "format", "pipeline",
         "log", "enabled", "colour", "shape"]
    )  # fmt: skip


def test_mistakes_come_in_the_same_order_every_time(read: Read) -> None:
    """Unknown keys are reported in the order of the file, so that two runs can be compared."""
    keys = [f"key{number}" for number in range(20)]
    _, problems = read(TABLE | dict.fromkeys(keys, "x"))
    assert [problem.where.rpartition(": ")[2] for problem in problems] == keys


@pytest.mark.parametrize("second", [{}, {"source": "entra"}, {"enabled": False}, {"name": "EVENTS"}])
def test_a_name_given_twice_disables_both(read: Read, second: dict[str, Any]) -> None:
    """One name is one export's data: which entry is meant is not guessed."""
    exports, problems = read(TABLE, AUDITS, TABLE | second)
    assert [export.name for export in exports] == ["audits"]
    assert sum("same name" in problem.found for problem in problems) == 2


def test_entries_without_a_name_are_not_called_alike(read: Read) -> None:
    """Two entries that lack a name lack a name; neither has the other's."""
    _, problems = read(
        {"source": "entra", "log": "directoryAudits"}, {"source": "entra", "log": "directoryAudits"}
    )
    assert [(problem.where, problem.found) for problem in problems] == [
        ("exports.toml: export number 1: name", "nothing"),
        ("exports.toml: export number 2: name", "nothing"),
    ]


def test_a_text_and_a_file_at_once(read: Read, tmp_path: Path) -> None:
    """``kql`` beside ``kql_file`` is refused: one would silently win."""
    (tmp_path / "a.kql").write_text(KQL)
    exports, problems = read(FREE | {"kql_file": "a.kql"})
    assert exports == []
    assert "not both" in str(problems[0])


def test_without_a_tenant_the_setting_is_named(tmp_path: Path) -> None:
    """Entra's logs belong to a tenant; the mistake says which app setting tells it."""
    path = tmp_path / "exports.toml"
    path.write_text(toml((AUDITS, TABLE)))
    exports, problems = read_exports(
        path, {}, cloud="public", tenant_id=None, sources=SOURCES, formats=FORMATS
    )
    assert [export.name for export in exports] == ["events"]
    assert "AZURE_TENANT_ID" in str(problems[0])


@pytest.mark.parametrize(
    "text",
    ["[[export", "export = 5", "export = [5]", "[export]\nname = 'a'", "[[exports]]\nname = 'a'", "x = 1"],
)
def test_a_file_of_another_form_is_reported(tmp_path: Path, text: str) -> None:
    """A file that is not TOML, or holds something else, is one clear mistake."""
    path = tmp_path / "exports.toml"
    path.write_text(text)
    exports, problems = read_exports(path, {}, cloud="c", tenant_id=None, sources=SOURCES, formats=FORMATS)
    assert (exports, len(problems)) == ([], 1)


@pytest.mark.parametrize("make", [str, Path.mkdir, lambda path: path.write_bytes(b"\xff")])
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, make: Any) -> None:
    """A missing file, a folder, and bytes that are no text say which file it was."""
    path = tmp_path / "exports.toml"
    make(path)
    exports, (problem,) = read_exports(path, {}, cloud="c", tenant_id=None, sources=SOURCES, formats=FORMATS)
    assert exports == []
    assert str(path) in problem.where


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Windows editors begin a UTF-8 file with one; the file means the same."""
    path = tmp_path / "exports.toml"
    path.write_text(toml((TABLE,)), "utf-8-sig")
    exports, problems = read_exports(path, {}, cloud="c", tenant_id=None, sources=SOURCES, formats=FORMATS)
    assert (len(exports), problems) == (1, [])


keys = st.sampled_from(
    ["name", "source", "window", "offset", "lag", "start", "format", "enabled", "workspace", "table",
     "pipeline", "kql", "kql_file", "splittable", "window_column", "log", "more"]
)  # fmt: skip
values = (
    st.sampled_from([*TABLE.values(), *AUDITS.values(), KQL, "1h", "-1h", "%X%", "2026-11-21", "9999-12-31"])
    | texts | st.booleans() | st.integers(-9, 9) | st.lists(st.integers(0, 9), max_size=2)
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.dictionaries(keys, values), max_size=4))
def test_every_file_is_read_or_reported(read: Read, entries: list[dict[str, Any]]) -> None:
    """Whatever an entry holds, it is an export, paused, or a mistake, and nothing is raised."""
    exports, problems = read(*entries)
    paused = sum(entry.get("enabled") is False for entry in entries)
    assert len(exports) + paused + len(problems) >= len(entries)


SAME = [
    (TABLE, TABLE | {"lag": "1h"}),
    (TABLE, TABLE | {"start": "-7d"}),
    (TABLE, TABLE | {"window": "1h", "format": "jsonl.gz", "offset": "0s"}),
    (TABLE, TABLE | {"window": "60m"}),
    (TABLE, TABLE | {"offset": "0m"}),
    (TABLE, TABLE | {"offset": "1h"}),
    (TABLE, TABLE | {"workspace": WORKSPACE.upper()}),
    (TABLE, dict(reversed(TABLE.items()))),
    (TABLE, TABLE | {"name": "other"}),
]
DIFFERENT = [
    (TABLE, TABLE | {"window": "2h"}),
    (TABLE, TABLE | {"offset": "10m"}),
    (TABLE, TABLE | {"format": "jsonl"}),
    (TABLE, TABLE | {"table": "Heartbeat"}),
    (TABLE, TABLE | {"pipeline": "where a"}),
    (TABLE | {"pipeline": "where a"}, TABLE | {"pipeline": "where b"}),
    (TABLE, TABLE | {"window_column": "TimeGenerated"}),
    (TABLE, TABLE | {"workspace": WORKSPACE.replace("1", "2")}),
    (TABLE, FREE),
    (FREE, FREE | {"kql": KQL + " "}),
    (TABLE, AUDITS),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_digest_stays_while_the_same_is_stored(
    read: Read, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Another spelling, lag or start stores the same rows in the same windows: messages stay valid."""
    assert only(read, one).digest == only(read, other).digest


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_the_digest_changes_with_what_is_stored(
    read: Read, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whatever changes rows, windows or bytes changes the digest."""
    assert only(read, one).digest != only(read, other).digest


def test_the_digest_knows_tenant_and_cloud(tmp_path: Path) -> None:
    """The same entry in another tenant or cloud is another configuration."""
    path = tmp_path / "exports.toml"
    path.write_text(toml((AUDITS,)))
    digests = {
        read_exports(path, {}, cloud=cloud, tenant_id=tenant, sources=SOURCES, formats=FORMATS)[0][0].digest
        for cloud, tenant in [("public", "a"), ("public", "b"), ("china", "a")]
    }
    assert len(digests) == 3


def test_the_configuration_is_plain_json(read: Read) -> None:
    """What is kept under the digest can be read by people years later."""
    export = only(read, TABLE | {"pipeline": "where a == 'é'"})
    document = json.loads(export.config)
    assert document["options"]["pipeline"] == "where a == 'é'"
    assert document["source"] == "log_analytics"
    assert len(export.digest) == 16


def test_a_week_is_the_longest_window(read: Read) -> None:
    """Seven days pass, which eight do not."""
    assert only(read, TABLE | {"window": "7d"}).window == 7 * DAY
