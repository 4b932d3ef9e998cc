"""A small cloud and a world for each end-to-end test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.cloud import Cloud, Limits, Options
from tests.e2e.harness import World
from tests.host.harness import ROOT

# Six hours of data; Graph's limit of 5 requests in 10 seconds would make every test wait for it.
SMALL = Options(
    events=240,
    days=0.25,
    audits=120,
    audit_days=0.25,
    limits=Limits(reports=None, identity_protection=None, retention_days=None, audit_search_miscount=0),
)

_OF_AZURE = ("AZURE_", "EXPORT", "LOG_ANALYTICS_", "GRAPH_", "ARM_", "IDENTITY_", "MSI_", "REQUESTS_CA")


@pytest.fixture(autouse=True, scope="module")
def _nothing_from_the_shell() -> Iterator[None]:
    """Keep what a developer has set for the real Azure away from the hosts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(_OF_AZURE):
                patch.delenv(name)
        yield


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A stand-in cloud with little data."""
    with Cloud(SMALL, folder=tmp_path / "cloud") as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, azurite: Azurite, cloud: Cloud) -> Iterator[World]:
    """A deployment of the app, in a path with a space, checked for secrets when the test is over."""
    folder = tmp_path / "a world"
    folder.mkdir()
    made = World(folder, azurite, cloud)
    yield made
    made.close()


@pytest.fixture
def dying_app(tmp_path: Path) -> Path:
    """A folder with an app that dies as `tests.e2e.dying_app` says."""
    folder = tmp_path / "dying app"
    folder.mkdir()
    shutil.copy(ROOT / "host.json", folder)
    (folder / "function_app.py").write_text("from tests.e2e.dying_app import app\n", encoding="utf-8")
    return folder


@pytest.fixture
def worlds(tmp_path: Path, azurite: Azurite, cloud: Cloud) -> Iterator[Iterator[World]]:
    """Any number of deployments, one after the other."""
    made: list[World] = []

    def fresh() -> Iterator[World]:
        while True:
            folder = tmp_path / f"world {len(made)}"
            folder.mkdir()
            made.append(World(folder, azurite, cloud))
            yield made[-1]

    yield fresh()
    for world in made:
        world.close()
