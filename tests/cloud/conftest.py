"""What the tests of the stand-in cloud share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import Cloud, Options
from tests.cloud.caller import END, NO_RATES, Caller


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A stand-in with few rows and no rate limits, for one test."""
    with Cloud(Options(events=20, audits=20, end=END, limits=NO_RATES), tmp_path / "with space") as running:
        yield running


@pytest.fixture
def caller(cloud: Cloud) -> Iterator[Caller]:
    """A plain client of `cloud`."""
    client = Caller(cloud)
    yield client
    client.session.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A plain client of a stand-in that the tests of a module only read."""
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud(Options(events=300, audits=300, end=END, limits=NO_RATES), folder) as running:
        client = Caller(running)
        yield client
        client.session.close()
