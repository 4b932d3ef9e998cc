"""Imports point down only.

The order is held by a test because nothing else holds it: one import upwards, or sideways between two
sources, and a part can no longer be read, tested or replaced without the others. Whoever opens a module can
rely on it: everything that it needs lies below it, services and storage are reached through one module each,
and a cold start loads a library only when a function needs it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = (
    {"function_app"},
    {"shared.wiring", "shared.startup", "shared.openapi"},
    {"shared.query_desk"},
    {"shared.replies"},
    {"shared.query_status"},
    {"shared.planner", "shared.exporter", "shared.auditor", "shared.query", "shared.query_runner"},
    {"shared.agenda", "shared.rechecker", "shared.settled", "shared.query_jobs", "shared.query_audit",
     "shared.query_reader"},
    {"shared.rewriter", "shared.query_results", "shared.question"},
    {"shared.reading"},
    {"shared.coverage", "shared.staging", "shared.openapi_paths"},
    {"shared.attempts", "shared.query_formats"},
    {"shared.state", "shared.journal", "shared.in_flight", "shared.sources", "shared.formats",
     "shared.blob_store", "shared.transport", "shared.auth"},
    {"shared.log_reader", "shared.job_runner", "shared.saved_queries"},
    {"shared.settings", "shared.pacing"},
    {"shared.la_options", "shared.search_job", "shared.job_ledger", "shared.job_tables", "shared.kql_guard",
     "shared.parameters"},
    {"shared.log_search", "shared.window_kql", "shared.audit_queries"},
    {"shared.exports_file", "shared.layout", "shared.kql", "shared.messages", "shared.receipts",
     "shared.events", "shared.clock", "shared.query_api", "shared.http_body", "shared.record_log",
     "shared.polling", "shared.odata", "shared.allocator", "shared.query_statistics"},
    {"shared.paging"},
    {"shared.service_errors", "shared.configs", "shared.problems", "shared.listing", "shared.parquet_file",
     "shared.retention"},
    {"shared.windows", "shared.clouds", "shared.slices",
     "shared.kusto_v1", "shared.arm_ids", "shared.compression", "shared.tables",
     "shared.counting"},
    {"shared.rawjson", "shared.file_format", "shared.callers", "shared.query_settings"},
    {"shared.model", "shared.errors", "shared.time_range", "shared"},
)  # fmt: skip
"""From the top down. A module may import what stands in a later row: nothing earlier, no neighbour."""

SOLE_IMPORTERS = {
    "azure.functions": {"function_app"},
    "azure.identity": {"shared.auth"},
    "azure.storage": {"shared.blob_store"},
    "requests": {"shared.transport"},
    "tomllib": {"shared.exports_file"},
    "isal": {"shared.compression"},
    "backports": {"shared.compression"},
    "pyarrow": {"shared.parquet_file"},
}
"""Who alone may import a library, so that one module knows its ways and its errors."""


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_of(path): path for path in [ROOT / "function_app.py", *sorted((ROOT / "shared").rglob("*.py"))]
}


def imports(module: str) -> Iterator[str]:
    """Yield the full names of what a module imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)
                if node.module == "azure":
                    yield name


def layer(module: str) -> int:
    """Return a module's row; a package's files stand where the package does."""
    for row, names in enumerate(LAYERS):
        if module in names or (module.count(".") == 2 and module.rpartition(".")[0] in names):
            return row
    pytest.fail(f"{module} has no place in the order of layers; give it one")


def is_registry(module: str, imported: str) -> bool:
    """Whether a package imports one of its own files: its ``__init__`` is their registry."""
    return imported.rpartition(".")[0] == module and module != "shared"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """A module imports only from the layers below its own; neighbours do not know one another."""
    for imported in imports(module):
        if imported in MODULES and not is_registry(module, imported):
            assert layer(imported) > layer(module), f"{module} imports {imported}"


def test_every_name_in_the_order_exists() -> None:
    """The order speaks of modules that are there."""
    assert set().union(*LAYERS) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_deployed_knows_nothing_of_development(module: str) -> None:
    """Neither the developers' tools nor the tests are deployed, so nothing that is may import them."""
    assert not {imported.partition(".")[0] for imported in imports(module)} & {
        "local",
        "tests",
        "bench",
        "dev",
    }


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_has_one_importer(library: str) -> None:
    """One module knows a library; the others know that module."""
    importers = {
        module
        for module in MODULES
        if any(imported == library or imported.startswith(f"{library}.") for imported in imports(module))
    }
    assert importers == SOLE_IMPORTERS[library]


def test_the_pure_modules_do_no_io() -> None:
    """Below the parts nothing connects, waits or starts threads."""
    # rawjson draws one random mark at import, so that no data can hold it.
    below = set().union(*LAYERS[layer("shared.settings") :])
    # query_settings names a folder, and problems the statuses of HTTP: their types do nothing by themselves.
    above = {"agenda", "coverage", "reading", "replies", "question", "query_formats"}
    above |= {"openapi", "openapi_paths"}
    pure = (below | {f"shared.{name}" for name in above}) - {
        "shared.clock",
        "shared.exports_file",
        "shared.pacing",
        "shared.problems",
        "shared.query_settings",
        "shared.settings",
        "shared.rawjson",
    }
    forbidden = {
        "os",
        "pathlib",
        "socket",
        "subprocess",
        "threading",
        "time",
        "urllib.request",
        "http",
        "random",
        "uuid",
    }
    for module in sorted(pure):
        assert not forbidden & set(imports(module)), module


def test_a_cold_start_pays_only_for_what_it_uses(tmp_path: Path) -> None:
    """Importing the app loads neither credentials nor storage nor a compressor, and writes nothing."""
    code = (
        "import sys, function_app\n"
        "print([name for name in ('azure.identity', 'azure.storage.blob', 'isal', 'pyarrow', 'duckdb')"
        " if name in sys.modules])\n"
        "print(len(function_app.app.get_functions()))"
    )
    keep = {
        key: value
        for key, value in os.environ.items()
        if key in {"PATH", "SYSTEMROOT", "TEMP", "TMP", "HOME"}
    }
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=keep
        | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
           "AzureWebJobsStorage": "UseDevelopmentStorage=true",
           "LOG_ANALYTICS_WORKSPACE_ID": "12345678-1234-1234-1234-123456789abc", "AZURE_TENANT_ID": "t"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["[]", "16"]
    assert list(tmp_path.iterdir()) == []


def test_import_does_not_need_settings_to_be_right(tmp_path: Path) -> None:
    """Without storage the app says which setting is missing and what to set, not where Python stumbled."""
    env = {
        key: value
        for key, value in os.environ.items()
        if key in {"PATH", "SYSTEMROOT", "TEMP", "TMP", "HOME"}
    }
    run = subprocess.run(
        [sys.executable, "-c", "import function_app"],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "SettingsError" in run.stderr.splitlines()[-2] + run.stderr.splitlines()[-1]
    assert "setting AzureWebJobsStorage: found nothing; expected a connection string" in run.stderr
