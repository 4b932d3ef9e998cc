"""Says what a long step is doing and for how long. Standard library only: nothing is installed yet."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

KEPT_LINES = 30
"""How many of a command's last output lines an error shows."""

PLAIN_INTERVAL = 15.0
"""Seconds between two signs of life where output is not a terminal."""

TERMINAL_INTERVAL = 0.2
"""Seconds between two redraws of the line where output is a terminal."""


class StepError(Exception):
    """A step did not succeed; the message says what happened, where, and what to do next."""


class Step:
    """One long step. `detail` may be set while it runs; a terminal shows it beside the elapsed time.

    In a terminal it is one line that is redrawn; elsewhere (a log file, CI) it is a line at the start, one
    every `PLAIN_INTERVAL` seconds and one at the end.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._terminal = sys.stdout.isatty()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if not self._terminal:
            say(f"{self.title} …")
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._ticker.join()
        outcome = "done" if kind is None else "stopped" if kind is KeyboardInterrupt else "failed"
        self._show(f"{self.title}: {outcome} after {self._elapsed()}", last=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"

    def _tick(self) -> None:
        interval = TERMINAL_INTERVAL if self._terminal else PLAIN_INTERVAL
        while not self._ended.wait(interval):
            detail = f" · {self.detail}" if self.detail else ""
            self._show(f"{self.title} … {self._elapsed()}{detail}", last=False)

    def _show(self, text: str, *, last: bool) -> None:
        if not self._terminal:
            say(text)
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r" + text[:width].ljust(width) + ("\n" if last else ""))
        sys.stdout.flush()


def say(text: str = "") -> None:
    """Print a line at once, also where output is piped or the console lacks some of its characters."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def run_step(
    title: str,
    argv: Sequence[str | Path],
    *,
    advice: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command as a `Step`, keeping its output back unless it fails; never leave it running.

    Raises `StepError` with the command's last lines and `advice` where it fails or cannot be started.
    """
    command = [str(part) for part in argv]
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    with Step(title) as step:
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise StepError(f"{title}: cannot start {command[0]}: {error}\n{advice}") from error
        with _ended_with(process):
            for line in process.stdout or ():
                if text := line.strip():
                    lines.append(text)
                    step.detail = text
            code = process.wait()
        if code != 0:
            output = "\n".join(f"    {line}" for line in lines)
            raise StepError(f"{title} failed (exit code {code}). Its last lines were:\n{output}\n{advice}")


@contextlib.contextmanager
def _ended_with(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
