"""Makes the virtual environment that everything else runs in.

Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local.locking import locked
from local.progress import StepError, run_step

ROOT = Path(__file__).resolve().parent.parent

RUN = "requirements-local.txt"
"""What `demo` and `start` need."""

TEST = "requirements-dev.txt"
"""What `test` and `lint` need: all of `RUN` and more."""

RUNTIME = "requirements-runtime.txt"
"""Microsoft's runtime library, which asks for Python 3.13; pip needs leave to install it on an older one."""

NETWORK_ADVICE = (
    "What to do: check that this machine reaches PyPI (a proxy is read from HTTPS_PROXY, another index from\n"
    "pip's own configuration), then run the same command again: it carries on where it stopped."
)


@dataclass(frozen=True)
class Interpreter:
    """A Python that virtual environments can be made from."""

    program: Path
    version: tuple[int, int]

    @property
    def name(self) -> str:
        """As people write it, such as `3.11`."""
        return f"{self.version[0]}.{self.version[1]}"


def current_interpreter() -> Interpreter:
    """The Python that runs this, and not the virtual environment it may run in."""
    program = getattr(sys, "_base_executable", sys.executable)
    return Interpreter(Path(program), sys.version_info[:2])


def find_interpreter(version: tuple[int, int]) -> Interpreter | None:
    """A Python of that version: on the PATH, known to the Windows launcher, or among pyenv's."""
    name = f"{version[0]}.{version[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [[f"python{name}"], ["py", f"-{name}"]]
    candidates += [[str(path)] for path in sorted(pyenv.glob(f"versions/{name}.*/bin/python{name}"))]
    for candidate in candidates:
        if shutil.which(candidate[0]) and _answer(candidate, _VERSION) == repr(version):
            return Interpreter(Path(_answer(candidate, "import sys; print(sys.executable)")), version)
    return None


def ensure_environment(folder: Path, interpreter: Interpreter, requirements: str) -> Path:
    """Make `folder` a virtual environment of `interpreter` that holds `requirements`; return its Python.

    At once where a stamp says that it already does. An environment of another Python version is made anew,
    and an interrupted install is repaired. Raises `StepError`.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    digest = requirements_digest(ROOT / requirements, interpreter)
    with locked(ROOT / ".local" / f"{folder.name}.lock"):
        usable = _answer([str(python)], f"import pip; {_VERSION}") == repr(interpreter.version)
        if usable and _read(_stamp(folder, requirements)) == digest:
            return python
        if not usable:
            _create(folder, interpreter)
        _install(folder, python, interpreter, requirements)
        _stamp(folder, requirements).write_text(digest, encoding="ascii")
        if requirements == TEST:
            _stamp(folder, RUN).write_text(requirements_digest(ROOT / RUN, interpreter), encoding="ascii")
    return python


def requirements_digest(file: Path, interpreter: Interpreter) -> str:
    """What the stamp of an installed environment says: the Python version and every file that takes part."""
    digest = hashlib.sha256(interpreter.name.encode())
    for part in (*_included(file), file.parent / RUNTIME):
        digest.update(part.read_bytes())
    return digest.hexdigest()


def _included(file: Path) -> list[Path]:
    """A requirements file and those that its `-r` lines name."""
    files = [file]
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            files += _included(file.parent / line.removeprefix("-r ").strip())
    return files


def _create(folder: Path, interpreter: Interpreter) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise StepError(
            f"{folder} does not work with Python {interpreter.name} and cannot be removed: {error}\n"
            "What to do: end the programs that run from it, or remove it by hand, and run this command again."
        ) from error
    run_step(
        f"Making {folder.name} with Python {interpreter.name}",
        [interpreter.program, "-m", "venv", folder],
        advice="What to do: check that this Python has its venv module (on Debian and Ubuntu\n"
        f"a package of its own: apt install python{interpreter.name}-venv) and may write to {folder.parent}.",
    )


def _install(folder: Path, python: Path, interpreter: Interpreter, requirements: str) -> None:
    advice = NETWORK_ADVICE
    if interpreter.version > (3, 13):
        advice += (
            f"\nPython {interpreter.name} is newer than what this project is tested on: 3.11, 3.12 and 3.13."
        )
    for stamp in (_stamp(folder, RUN), _stamp(folder, TEST)):
        stamp.unlink(missing_ok=True)  # whatever happens from here on, the next run looks again
    pip: list[str | Path] = [
        python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "2",
        "--no-compile",  # half of the time; Python compiles what is imported, once, which is little of it
    ]  # fmt: skip
    title = f"Installing {requirements} for Python {interpreter.name}"
    run_step(title, [*pip, "-r", ROOT / requirements], advice=advice)
    if interpreter.version < (3, 13):
        title = f"Installing {RUNTIME} for Python {interpreter.name}"
        run_step(title, [*pip, "--no-deps", "--ignore-requires-python", "-r", ROOT / RUNTIME], advice=advice)


_VERSION = "import sys; print(sys.version_info[:2])"


def _answer(command: list[str], code: str) -> str:
    """What a Python prints when it runs `code`; empty where it cannot."""
    try:
        answer = subprocess.run(
            [*command, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _stamp(folder: Path, requirements: str) -> Path:
    return folder / f".installed-{requirements}"


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.is_file() else ""
