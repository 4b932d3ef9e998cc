"""Fixtures that every kind of test may use, and how Hypothesis runs.

It makes up the same examples in every run, keeps none on disk, and knows no time limit that a busy machine
could break. `--hypothesis-profile=search` makes up others each time.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from local.azurite import Azurite
from local.environment import ROOT
from tests.processes import free_port

# Here, because a test takes the profile that is loaded when its module is imported.
_SLOW = [HealthCheck.too_slow]
settings.register_profile("search", deadline=None, database=None, suppress_health_check=_SLOW)
settings.register_profile("check", settings.get_profile("search"), derandomize=True)
settings.load_profile("check")

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
