"""The demo runs the real job, says what landed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.demo_report import curl
from local.environment import ROOT
from tests.processes import free_port, wait_until_gone

QUESTION = {"query": "Event | where Computer == 'it''s' | take 1", "timespan": "P1D"}


@pytest.fixture
def port() -> Iterator[int]:
    """A free port, and with it a folder of the demo's own, which is removed afterwards."""
    number = free_port()
    yield number
    shutil.rmtree(ROOT / ".local" / f"demo-{number}", ignore_errors=True)


def test_once_exports_everything_and_shows_it(port: int) -> None:
    """`demo --once` ends with 0, a table of what landed, rows, an answer and a verdict for each export."""
    argv = [sys.executable, "-m", "local.demo", "--once", "--port", str(port), "--rows", "600"]
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
    assert f"curl -s http://localhost:{port}/api/query" in answer.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one process alone")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_ending_it_early_leaves_no_process(port: int, signal_name: str) -> None:
    """Ctrl-C stops Azurite and the host in order; being killed outright leaves neither of them either."""
    argv = [sys.executable, "-m", "local.demo", "--port", str(port)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Exporting what is due"):
                break
        children = _children(demo.pid)
        assert len(children) == 2
        demo.send_signal(getattr(signal, signal_name))
        rest = demo.stdout.read()
    for pid in children:
        wait_until_gone(pid)
    if signal_name == "SIGINT":
        assert "Stopped; nothing is left running." in rest
        assert "Traceback" not in rest


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


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    if sys.platform == "linux":
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for file in threads for child in file.read_text(encoding="ascii").split()]
    answer = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in answer.stdout.split()]
