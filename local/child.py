"""A program that this process runs beside itself and that never outlives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from local.progress import KEPT_LINES


class Child:
    """A running program; use as a context manager or call `stop()`.

    The program must end when its standard input closes: `npm/exit_with_parent.js` and `local.tethered` see to
    that. This process holds the other end, and the operating system closes it however this process ends: by
    itself, by Ctrl-C or by SIGKILL, and alike on Linux, macOS and Windows.

    Ctrl-C in a terminal does not reach the program: this process decides in which order its children end.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str | None], None] | None = None,
    ) -> None:
        """Start it. `on_line` gets each line of its output, in another thread, and None after the last."""
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        """The last lines of its output, for an error message."""
        self._on_line = on_line
        self._process = subprocess.Popen(
            [str(part) for part in argv],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def stop(self, grace: float = 10.0) -> None:
        """Ask it to end, kill it after `grace` seconds, and return once it is gone; safe to call twice."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    def last_words(self) -> str:
        """Its last lines, indented for an error message."""
        return "\n".join(f"    {line}" for line in self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        """Keep reading as long as it lives: a full pipe would stop it."""
        for line in self._process.stdout or ():
            text = line.rstrip()
            self.lines.append(text)
            if self._on_line:
                self._on_line(text)
        if self._on_line:
            self._on_line(None)
