"""Options for long runs: ``pytest tests/model --seed 1000 --cases 20000``."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they are known only where this folder is named on the command line."""
    parser.addoption("--seed", type=int, default=None, help="the first case's seed")
    parser.addoption("--cases", type=int, default=None, help="how many cases, of seeds that follow")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of the cases to be run."""
    first: int | None = request.config.getoption("seed", None)
    count: int | None = request.config.getoption("cases", None)
    start = 0 if first is None else first
    return range(start, start + (300 if count is None else count))
