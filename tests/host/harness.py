"""Starts the local host as a user would, in a process of its own, and reads its console."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import requests

ROOT = Path(__file__).resolve().parents[2]

_STARTED = re.compile(r"Host started \(\d+ms\) on (http://localhost:\d+)")


class HostProcess:
    """A running host; `lines` is its console so far. Use as a context manager, which ends it in any case."""

    def __init__(
        self, app_dir: Path, *arguments: str, settings: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        """Start the host of `app_dir` with `settings` in its environment; does not wait until it is up."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AzureWebJobs")}
        command = [sys.executable, "-m", "local.host", "--app", str(app_dir), "--port", str(port), *arguments]
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ | {"PYTHONUTF8": "1"} | dict(settings or {}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def started(self) -> Self:
        """Wait until the host serves; returns itself."""
        self.wait_for("Host started")
        return self

    @property
    def url(self) -> str:
        """Where the host listens."""
        found = (_STARTED.search(line) for line in self.lines)
        return next(match[1] for match in found if match)

    @property
    def text(self) -> str:
        """The whole console so far."""
        with self._changed:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1, seconds: float = 60.0) -> list[str]:
        """Wait until `count` lines hold the regular expression; return these lines."""

        def found() -> list[str]:
            return [line for line in self.lines if re.search(pattern, line)]

        self.wait_until(lambda: len(found()) >= count, f"{count} lines with {pattern!r}", seconds)
        return found()

    def wait_until(
        self, condition: Callable[[], bool], what: str = "a condition", seconds: float = 60.0
    ) -> None:
        """Wait until a condition holds. Raises AssertionError with the console if it never does."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                alive = self._reader.is_alive()
                if left <= 0 or not alive:
                    console = "\n".join(self.lines)
                    raise AssertionError(
                        f"no {what} ({'time is up' if alive else 'the host ended'}):\n{console}"
                    )
                self._changed.wait(min(left, 0.2))

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return what the app logged as `name {json}`."""
        with self._changed:
            found = (re.search(rf"INFO {name} (\{{.*)", line) for line in self.lines)
            return [json.loads(match[1]) for match in found if match]

    def wait_for_records(self, name: str, count: int = 1, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Wait for what the app logs as `name {json}`; return all of it."""
        self.wait_for(rf"INFO {name} \{{", count, seconds)
        return self.records(name)

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET request."""
        return requests.get(self.url + path, timeout=30, **options)

    def run_by_hand(self, function: str, text: str = "") -> requests.Response:
        """Run a function through the admin address."""
        return requests.post(f"{self.url}/admin/functions/{function}", json={"input": text}, timeout=30)

    def stop(self, seconds: float = 20.0) -> int:
        """End the host as Ctrl-C or a supervisor would; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
        return self.wait(seconds)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for the host to end by itself; return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def kill(self) -> None:
        """End the host without notice, as a power cut would."""
        self.process.kill()
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._reader.join(10)
        if self.process.stdout:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()


def write_app(folder: Path, code: str, host: Mapping[str, Any] | None = None) -> Path:
    """Write a function app with this code into `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "host.json").write_text(json.dumps({"version": "2.0", **(host or {})}), encoding="utf-8")
    (folder / "function_app.py").write_text(code, encoding="utf-8")
    return folder
