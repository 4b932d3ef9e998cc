"""The promise of the project, against a model of everything around it."""

from pathlib import Path

import pytest

from tests.model.case import CaseFailedError, case, run_case, shrunk


@pytest.mark.timeout(0)
def test_whatever_happens_the_blobs_hold_every_row_once(seeds: range, tmp_path: Path) -> None:
    """Faults, crashes, late rows and changes of the configuration neither lose nor double a row."""
    for seed in seeds:
        try:
            run_case(case(seed), tmp_path)
        except CaseFailedError:
            story, steps, failed = shrunk(case(seed), tmp_path)
            shown = [f"seed {seed}, steps {steps}: {failed}", f"{story}", *failed.log]
            pytest.fail("\n".join(shown), pytrace=False)
