"""The app does what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import azure.functions as func
import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local.azurite import Azurite
from local.cloud import Cloud
from tests.e2e.conftest import SMALL
from tests.e2e.harness import Running, World
from tests.host.harness import ROOT

CONFIG = ROOT / "tests" / "e2e" / "schemathesis.toml"

WORDS = st.sampled_from(
    """
    Event Heartbeat nosuch | where take summarize count() by let = == 'text' "text" ( ) [ ] { } , ; . .. let x
    1; 42 1h datetime(2026-01-01) dynamic({}) and or not in union join kind=inner on print extend project sort
    desc parse_json( ago( bin(TimeGenerated, // @'\\' h'x' ``` $left.a set .show
    """.split()  # noqa: SIM905 (a list of quoted words would be twice as long)
)
"""What KQL is made of, and what it is not."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Running]:
    """One host, with an export that has stored three windows; it takes as many queries as come."""
    folder = tmp_path_factory.mktemp("openapi")
    unlimited = replace(SMALL, limits=replace(SMALL.limits, queries=None))
    with Cloud(unlimited, folder=folder / "cloud") as cloud:
        world = World(folder, azurite, cloud)
        world.settings["QUERY_MAX_PENDING"] = "999"
        world.write_exports(world.table("events"))
        with world.running() as running:
            running.export()
            yield running
        world.close()


def test_schemathesis_finds_nothing(app: Running, tmp_path: Path) -> None:
    """Requests made up from the document, right and wrong, are answered as the document says."""
    found = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
            "run", f"{app.process.url}/api/openapi.json", "--no-color",
        ],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}, timeout=240, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip
    assert found.returncode == 0, found.stdout
    paths = app.get("/api/openapi.json").json()["paths"].values()
    operations = sum(method in path for path in paths for method in ("get", "post", "delete"))
    tested = operations - 1  # not the one that gave it the document
    assert f"Tested: {tested}\n" in found.stdout, found.stdout


def test_methods_that_are_not_documented_are_refused(app: Running) -> None:
    """405, which names those that are, of every path; TRACE and QUERY are known to few."""
    known = {*map(str, func.HttpMethod), "QUERY", "TRACE"}
    for path, item in app.get("/api/openapi.json").json()["paths"].items():
        documented = {method.upper() for method in item} & known
        assert documented
        for method in known - documented:
            answer = app.send(method, re.sub(r"\{\w+\}", "any", path))
            assert answer.status_code == 405, (method, path)
            assert answer.headers["Allow"].split(", ") == sorted(documented)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert method == "HEAD" or answer.json()["status"] == 405


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(WORDS, min_size=1, max_size=12).map(" ".join) | st.text(min_size=1, max_size=40))
@example("Event | where a == '\x00'")
@example("Event | take 1; Event | take 2")
@example("print " + "(" * 400 + "1" + ")" * 400)
def test_any_text_is_answered_or_refused_as_a_query(app: Running, text: str) -> None:
    """Text that is no KQL is the caller's mistake, and a problem document says so; nothing fails."""
    question = {"query": text, "timespan": "PT1H", "top": 3}
    answer = requests.post(app.process.url + "/api/query", json=question, timeout=60)
    if answer.status_code == 200:
        assert answer.json()["status"] == "complete"
        return
    assert answer.status_code == 400, (text, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 400
