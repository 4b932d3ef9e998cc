"""Memory that answers took is the system's again when they are gone."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from shared.allocator import give_back_large_blocks

CODE = """
import os, sys
from shared.allocator import give_back_large_blocks
if sys.argv[1] == "told":
    give_back_large_blocks()
for _ in range(3):
    block = bytearray(b"x") * (24 << 20)
    del block
print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


def resident(how: str) -> int:
    """Return the bytes that a process still has after it has freed large blocks, told so or not."""
    argv = [sys.executable, "-c", CODE, how]
    done = subprocess.run(
        argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other library is told anything")
def test_large_blocks_go_back_when_they_are_freed() -> None:
    """A process keeps none of them, which it does without being told."""
    assert resident("untold") - resident("told") > 16 << 20


def test_telling_does_no_harm_anywhere() -> None:
    """On any system, and more than once."""
    give_back_large_blocks()
    give_back_large_blocks()
