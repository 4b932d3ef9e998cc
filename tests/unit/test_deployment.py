"""The files that Azure Functions and its tools read."""

from __future__ import annotations

import json
import re
from collections import UserDict
from pathlib import Path
from typing import Any

import jsonschema
import pathspec
import pytest

from local.node import install_packages
from shared.formats import FORMATS
from shared.settings import load_settings
from shared.sources import SOURCES

ROOT = Path(__file__).resolve().parents[2]
GUID = "12345678-1234-1234-1234-123456789abc"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The published schema of host.json, version 2."""
    modules = install_packages(ROOT / "tests" / "npm", "the tests' JavaScript packages")
    whole = json.loads((modules / "schemastore" / "schemas" / "json" / "host.json").read_text("utf-8"))
    return {
        "$schema": whole["$schema"],
        "definitions": whole["definitions"],
        "$ref": "#/definitions/version-2",
    }


def host() -> dict[str, Any]:
    """Return host.json."""
    document = json.loads((ROOT / "host.json").read_text("utf-8"))
    assert isinstance(document, dict)
    return document


def test_host_json_is_valid(schema: dict[str, Any]) -> None:
    """host.json has only what the published schema knows, in the forms that it knows."""
    jsonschema.Draft4Validator(schema).validate(host())


@pytest.mark.parametrize(
    "mistake",
    [{"functionTimeOut": "00:10:00"}, {"extensions": {"queues": {"batchSize": "1"}}}, {"version": 2}],
)
def test_the_schema_finds_mistakes(schema: dict[str, Any], mistake: dict[str, Any]) -> None:
    """A misspelt key, a wrong type and a wrong version would be found."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(host() | mistake)


def test_one_window_an_instance() -> None:
    """One window at a time bounds memory and the load on services; a failed one comes back."""
    queues = host()["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)
    assert queues["maxDequeueCount"] > 1


def test_the_apps_deadline_lies_below_the_hosts() -> None:
    """The app ends a long window itself, with an error that says so, before the host kills it."""
    from shared.reading import DEADLINE_SECONDS

    assert _function_timeout() >= DEADLINE_SECONDS + 30


def test_no_reading_outlives_its_margin_above_what_is_forgotten() -> None:
    """The host ends every reading before the source can have forgotten where it begins."""
    from shared.retention import A_READING
    from shared.windows import SECOND

    assert _function_timeout() * SECOND <= A_READING


def _function_timeout() -> int:
    hours, minutes, seconds = map(int, host()["functionTimeout"].split(":"))
    return hours * 3600 + minutes * 60 + seconds


def example() -> dict[str, str]:
    """Return the example's values."""
    document = json.loads((ROOT / "local.settings.example.json").read_text("utf-8"))
    assert document["IsEncrypted"] is False
    values = document["Values"]
    assert all(isinstance(value, str) for value in values.values()), "core tools take only text"
    return dict(values)


def test_the_example_settings_work_once_filled_in() -> None:
    """With its placeholders filled, the example runs the shipped exports without a complaint."""
    values = {key: re.sub(r"^<.*>$", GUID, value) for key, value in example().items()}
    settings = load_settings(values, ROOT, SOURCES, FORMATS)
    assert settings.problems == ()
    assert {export.kind for export in settings.exports} == {"log_analytics", "entra"}


def test_the_example_names_what_the_shipped_exports_need() -> None:
    """Each placeholder is needed: without it something is reported that names it."""
    for name in [key for key, value in example().items() if value.startswith("<")]:
        values = {
            key: GUID if value.startswith("<") else value for key, value in example().items() if key != name
        }
        settings = load_settings(values, ROOT, SOURCES, FORMATS)
        assert name in "".join(map(str, settings.problems))


def test_the_example_is_for_python_and_this_machine() -> None:
    """Core tools need the worker's language, and Azurite is where a first run stores."""
    assert example()["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert example()["AzureWebJobsStorage"] == "UseDevelopmentStorage=true"


def deployed() -> set[str]:
    """What a deployment uploads: .funcignore has .gitignore's syntax."""
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text("utf-8").splitlines())
    skipped = {".git", ".venv", ".local", "node_modules"}  # also to save the walk
    found = set()
    for top in ROOT.iterdir():
        if ignored.match_file(f"{top.name}/" if top.is_dir() else top.name):
            continue
        assert top.name not in skipped
        files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
        found |= {path.relative_to(ROOT).as_posix() for path in files}
    return {path for path in found if not ignored.match_file(path)}


def test_only_what_runs_is_deployed() -> None:
    """The app, its parts, requirements, exports file and saved queries; no tests, tools, secrets or docs."""
    files = {path for path in deployed() if not re.fullmatch(r"queries/[^/]+\.kql", path)}
    shared = {path.relative_to(ROOT).as_posix() for path in (ROOT / "shared").rglob("*.py")}
    assert {path for path in files if not path.startswith("shared/")} == {
        "exports.toml",
        "function_app.py",
        "host.json",
        "requirements-parquet.txt",
        "requirements.txt",
    }
    assert {path for path in files if path.startswith("shared/")} == shared


@pytest.mark.parametrize(
    "secret", ["local.settings.json", ".env", ".local/x", ".venv/x", "local.settings.production.json"]
)
def test_secrets_stay_at_home(secret: str) -> None:
    """A developer's own settings are never uploaded, whether or not they are there now."""
    lines = (ROOT / ".funcignore").read_text("utf-8").splitlines()
    assert pathspec.GitIgnoreSpec.from_lines(lines).match_file(secret)


def test_a_query_file_is_deployed() -> None:
    """What ``kql_file`` names lies beside the exports file and goes with it."""
    lines = (ROOT / ".funcignore").read_text("utf-8").splitlines()
    assert not pathspec.GitIgnoreSpec.from_lines(lines).match_file("queries/errors.kql")


def test_requirements_are_pinned() -> None:
    """What is deployed today is what was tested, and nothing that only developers need."""
    lines = [
        line
        for name in ("requirements.txt", "requirements-parquet.txt")
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if line[:1] not in {"", "#"} and line != "-r requirements-parquet.txt"
    ]
    assert all(re.match(r"[a-z0-9.-]+==[0-9.]+(; python_version .*)?$", line) for line in lines)
    assert not {"pytest", "duckdb", "trustme"} & {line.partition("==")[0] for line in lines}


class Asked(UserDict[str, str]):
    """An environment that takes down which settings were looked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting, and remember that it was asked for."""
        self.names.add(key)
        return super().get(key, default)


def test_readme_lists_just_the_settings_that_are_read() -> None:
    """Every setting in README's table is read, and every one that is read is in it (platform's own aside)."""
    environ = Asked({"AzureWebJobsStorage": "UseDevelopmentStorage=true"})
    load_settings(environ, ROOT, SOURCES, FORMATS)
    chapter = (ROOT / "README.md").read_text("utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = [line for line in chapter.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Za-z_]+)`", row.split("|")[1])}
    read = {name for name in environ.names if "__" not in name} - {"IDENTITY_ENDPOINT"}
    assert read - {"AzureWebJobsStorage"} == listed - {"AzureWebJobsStorage"}
