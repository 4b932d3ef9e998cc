"""Processes and ports, for tests that promise that nothing is left behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie that its parent has yet to collect."""
    if os.name == "nt":
        command = ["tasklist", "/FI", f"PID eq {pid}", "/NH"]
        return str(pid) in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    status = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_until_gone(pid: int, seconds: float = 20.0) -> None:
    """Wait until a process has ended. Raises AssertionError if it has not within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still running after {seconds} s"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started; not for Windows."""
    if sys.platform == "linux":
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for file in threads for child in file.read_text(encoding="ascii").split()]
    answer = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in answer.stdout.split()]


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_program(path: Path, code: str) -> None:
    """Write a program of Python code that is found by name, also where Python's own path has a space."""
    script = path.with_suffix(".py")
    script.write_text(code, encoding="utf-8")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
