"""The demo runs the real job, says what landed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from local.demo_report import curl
from local.environment import ROOT
from tests.processes import children_of, wait_until_gone

QUESTION = {"query": "Event | where Computer == 'it''s' | take 1", "timespan": "P1D"}


def test_once_exports_everything_and_shows_it(demo_port: int) -> None:
    """`demo --once` ends with 0, a table of what landed, rows, an answer and a verdict for each export."""
    argv = [sys.executable, "-m", "local.demo", "--once", "--port", str(demo_port), "--rows", "600"]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for export in ("windows-events", "directory-audits"):
        verdict = re.search(rf"{export}: ([\d,]+) rows in (\d+) windows, each once", answer.stdout)
        assert verdict is not None
        assert int(verdict[1].replace(",", "")) > 0
        assert int(verdict[2]) >= 22
        assert re.search(
            rf"{export} +20[\d-]+T[\d:]+ to [\d:]+ +[\d,]+ +[\d,]+ +{export}/window_date=", answer.stdout
        )
    assert '{"TimeGenerated":"20' in answer.stdout
    assert '"activityDateTime":"20' in answer.stdout or '{"id":' in answer.stdout
    assert "EventLevelName" in answer.stdout
    assert f"curl -s http://localhost:{demo_port}/api/query" in answer.stdout


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_killing_it_leaves_no_process(demo_port: int) -> None:
    """Being killed outright leaves neither Azurite nor the host (see test_demo_client.py for Ctrl-C)."""
    argv = [sys.executable, "-m", "local.demo", "--port", str(demo_port)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Exporting what is due"):
                break
        children = children_of(demo.pid)
        assert len(children) == 2
        demo.kill()
        demo.stdout.read()
    for pid in children:
        wait_until_gone(pid)


def test_the_curl_line_is_right_for_a_posix_shell() -> None:
    """The shell gives curl the very question, quotes included."""
    words = shlex.split(curl(QUESTION, 7071, windows=False))
    assert words[:3] == ["curl", "-s", "http://localhost:7071/api/query"]
    assert json.loads(words[-1]) == QUESTION


def test_the_curl_line_is_right_for_windows() -> None:
    """Under the rules by which Windows programs read their command line, curl gets the very question."""
    line = curl(QUESTION, 7071, windows=True)
    quoted = line[line.index(' -d "') + 5 : -1]
    assert json.loads(quoted.replace('\\"', '"')) == QUESTION
    assert not re.search(r'(?<!\\)"', quoted)
