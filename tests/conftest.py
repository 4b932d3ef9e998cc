"""Fixtures that every kind of test may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from local.environment import ROOT
from tests.processes import free_port


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A real Azurite with data in memory, one for each test process: tests use containers of their own."""
    with Azurite.start() as running:
        yield running


@pytest.fixture
def demo_port() -> Iterator[int]:
    """A free port, and with it a folder of the demo's own, which is removed afterwards."""
    number = free_port()
    yield number
    shutil.rmtree(ROOT / ".local" / f"demo-{number}", ignore_errors=True)
