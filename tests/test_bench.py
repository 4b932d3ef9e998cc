"""The benchmarks run, and what they find is written down. Nothing here says how long anything may take."""

from __future__ import annotations

import pytest

from bench.__main__ import BENCHMARKS, benchmark, page
from bench.line import Line, at_least, at_most, reported
from bench.questions import SPIKES

HELD = {"questions"}
"""Those whose figures do not depend on the machine, so that they must be met at any size."""


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str) -> None:
    """At a tiny size each finds a figure for each of its targets; they check that every row was stored."""
    lines = list(benchmark(name)(tiny=True))
    assert lines
    for line in lines:
        assert line.what
        assert line.measured
        assert line.met or name not in HELD or SPIKES in line.what


@pytest.mark.parametrize(("measured", "met"), [(1.9, False), (2.0, True), (2.1, True)])
def test_a_target_from_below(measured: float, met: bool) -> None:
    """What is to be at least so much is met from there on."""
    assert at_least("x", 2, measured).met == met


@pytest.mark.parametrize(("measured", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_target_from_above(measured: float, met: bool) -> None:
    """What is to be at most so much is met up to there."""
    assert at_most("x", 2, measured, unit=" MB") == Line("x", "≤ 2 MB", f"{measured:.2f} MB", met)


def test_the_page_says_what_was_missed() -> None:
    """Targets, figures and the machine are in it, and a target that was missed stands out."""
    lines = [at_least("speed", 2, 3.0, "6 s, 2 s"), at_most("size", 1, 1.5), reported("files", "3")]
    text = page({"questions": lines})
    assert "targets met: 1 of 2" in text
    assert "| speed | ≥ 2x | 3.00x | yes | 6 s, 2 s |" in text
    assert "| size | ≤ 1x | 1.50x | **no** |" in text
    assert "| files | – | 3 |  |  |" in text
    assert "cores" in text
