"""Options for long runs: ``pytest tests/model --seed 1000 --cases 20000``."""

import pytest

AT_ONCE = 50
"""Cases in one test, so that several processes can share them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they are known only where this folder is named on the command line."""
    parser.addoption("--seed", type=int, default=None, help="the first case's seed")
    parser.addoption("--cases", type=int, default=None, help="how many cases, of seeds that follow")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Share the seeds of the cases to be run among tests."""
    if "seeds" in metafunc.fixturenames:
        first: int = metafunc.config.getoption("seed", None) or 0
        given: int | None = metafunc.config.getoption("cases", None)
        end = first + (200 if given is None else given)
        parts = [range(start, min(start + AT_ONCE, end)) for start in range(first, end, AT_ONCE)]
        metafunc.parametrize("seeds", parts, ids=[f"from {part.start}" for part in parts])
