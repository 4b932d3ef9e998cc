"""Fixtures that every kind of test may use."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from local.environment import ROOT
from tests.processes import free_port

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What the tests start would inherit that, and not hear Ctrl-C: so it is where they run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
