"""dev.py makes its environment once, repairs it when it must, and says clearly what is wrong."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from local import commands, environment, node, progress
from local.child import Child
from local.environment import ROOT, RUN, RUNTIME, TEST, Interpreter, current_interpreter, ensure_environment
from local.progress import Step, StepError, run_step
from tests.processes import free_port, is_running, wait_until_gone

HERE = current_interpreter()
NO_SIGNALS_ON_WINDOWS = pytest.mark.skipif(os.name == "nt", reason="Windows interrupts without a signal")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space in its path whose requirements are empty: installing them needs no network."""
    root = tmp_path / "a check out"
    root.mkdir()
    for name in (RUN, RUNTIME):
        (root / name).write_text("# nothing\n", encoding="utf-8")
    (root / TEST).write_text(f"-r {RUN}\n", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", root)
    return root


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the steps that were really run."""
    titles: list[str] = []

    def record(title: str, argv: Sequence[str | Path], *, advice: str) -> None:
        titles.append(title)
        run_step(title, argv, advice=advice)

    monkeypatch.setattr(environment, "run_step", record)
    return titles


def test_the_environment_is_made_once(checkout: Path, steps: list[str]) -> None:
    """A second run installs nothing; changed requirements are installed; the tests' set covers the app's."""
    folder = checkout / ".venv"
    python = ensure_environment(folder, HERE, RUN)
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(f"Python {HERE.name}.")
    assert steps[0].startswith("Making .venv")
    made = len(steps)

    assert ensure_environment(folder, HERE, RUN) == python
    assert len(steps) == made

    ensure_environment(folder, HERE, TEST)
    assert steps[made].startswith(f"Installing {TEST}")
    made = len(steps)
    ensure_environment(folder, HERE, RUN)
    assert len(steps) == made

    (checkout / RUN).write_text("# changed\n", encoding="utf-8")
    ensure_environment(folder, HERE, RUN)
    assert steps[made].startswith(f"Installing {RUN}")


def test_an_environment_that_does_not_fit_is_made_anew(checkout: Path, steps: list[str]) -> None:
    """One whose Python does not run, as after an interrupted start, or is of another version, is replaced."""
    folder = checkout / ".venv"
    python = ensure_environment(folder, HERE, RUN)
    python.unlink()
    (folder / "stray").touch()
    ensure_environment(folder, HERE, RUN)
    assert [title.split(" ")[0] for title in steps].count("Making") == 2
    assert not (folder / "stray").exists()

    ensure_environment(folder, Interpreter(HERE.program, (3, 99)), RUN)
    assert [title.split(" ")[0] for title in steps].count("Making") == 3


def test_a_failed_install_says_what_to_do_and_is_repaired(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network the error has pip's words and advice; the next run carries on."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    folder = checkout / ".venv"
    ensure_environment(folder, HERE, RUN)
    (checkout / RUN).write_text("a-package-that-is-not-installed==1\n", encoding="utf-8")
    with pytest.raises(
        StepError, match=r"(?s)a-package-that-is-not-installed.*What to do: check that this machine"
    ):
        ensure_environment(folder, HERE, RUN)
    (checkout / RUN).write_text("# nothing\n", encoding="utf-8")
    assert ensure_environment(folder, HERE, RUN).exists()


def test_missing_settings_are_a_clear_error(tmp_path: Path) -> None:
    """`start` without its settings file names the file and the example to copy, and installs nothing."""
    missing = tmp_path / "no such.json"
    answer = _dev("start", "--settings", str(missing))
    assert answer.returncode == 1
    assert str(missing) in answer.stderr
    assert "local.settings.example.json" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_old_python_is_told_what_is_wrong() -> None:
    """An older Python gets a sentence and not a syntax error."""
    code = f"import runpy, sys; sys.version_info = (3, 10, 9); runpy.run_path({str(ROOT / 'dev.py')!r})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "needs Python 3.11 or newer; this is Python 3.10" in answer.stderr


def test_an_old_python_can_read_dev_py() -> None:
    """Nothing in dev.py is newer than Python 2.7: ASCII text, no f-string, no annotation, no walrus."""
    source = (ROOT / "dev.py").read_text(encoding="ascii")
    modern = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.FunctionDef, ast.Match)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, modern)]


def test_a_taken_port_is_a_clear_error() -> None:
    """The demo names the port and another that can be asked for, before it starts anything."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        answer = subprocess.run(
            [sys.executable, "-m", "local.demo", "--once", "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert answer.returncode == 1
    assert f"Port {port} of this machine cannot be used" in answer.stderr
    assert f"--port {port + 1}" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_old_node_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no Node, or one too old, pip installs one; where that fails, the error says what to do."""
    _program(tmp_path / "node", "echo v18.20.0")
    _program(tmp_path / "npm", "exit 1")
    asked: list[str] = []

    def fail(title: str, argv: Sequence[str | Path], *, advice: str) -> None:
        asked.append(" ".join(map(str, argv)))
        raise StepError(f"{title} failed\n{advice}")

    monkeypatch.setattr(node, "run_step", fail)
    monkeypatch.setattr(node, "_wheel_node", lambda: None)
    for path in (tmp_path, tmp_path / "empty"):
        monkeypatch.setenv("PATH", str(path))
        with pytest.raises(
            StepError, match=r"(?s)this machine has none from 20 on.*install Node 20 or newer"
        ):
            node.find_node()
    assert ["requirements-node.txt" in line for line in asked] == [True, True]


def test_an_interrupted_npm_install_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a stamp of this very lock file counts as installed."""
    folder = tmp_path / "npm"
    folder.mkdir()
    lock = folder / "package-lock.json"
    lock.write_text("{}", encoding="utf-8")
    runs: list[Path] = []

    def install(_title: str, _argv: Sequence[str | Path], *, cwd: Path, **_others: object) -> None:
        runs.append(cwd)
        (cwd / "node_modules").mkdir(exist_ok=True)
        if len(runs) == 1:
            raise StepError("interrupted")

    monkeypatch.setattr(node, "run_step", install)
    monkeypatch.setattr(node, "ROOT", tmp_path)
    with pytest.raises(StepError, match="interrupted"):
        node.install_packages(folder, "something")
    for _ in range(3):
        assert node.install_packages(folder, "something") == folder / "node_modules"
    assert len(runs) == 2
    lock.write_text('{"changed": true}', encoding="utf-8")
    node.install_packages(folder, "something")
    assert len(runs) == 3


def test_a_lock_file_names_no_download_address() -> None:
    """Locked packages come from whatever registry npm is configured with, and are checked by their digest."""
    for folder in ("local/npm", "tests/npm"):
        text = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert '"integrity"' in text


def test_a_failing_step_shows_the_last_lines_and_the_advice() -> None:
    """A command's output is kept back until it fails, and then its end is what is shown."""
    code = "print('\\n'.join(f'line {n}' for n in range(100))); raise SystemExit(3)"
    with pytest.raises(StepError, match=r"(?s)exit code 3.*line 99\nWhat to do: this") as caught:
        run_step("Trying", [sys.executable, "-c", code], advice="What to do: this")
    assert "line 50" not in str(caught.value)


def test_a_long_step_gives_signs_of_life(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where output is not a terminal, a step prints what it is doing and for how long, line by line."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.01)
    with Step("Working") as step:
        step.detail = "3 of 7"
        deadline = time.monotonic() + 20
        while "3 of 7" not in (shown := capsys.readouterr().out):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "Working …" in shown
    assert "Working: done after" in capsys.readouterr().out


def test_what_is_imported_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers often have Python keep nothing compiled; what a command starts keeps it all the same."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with pytest.raises(SystemExit):
        commands.main(["--help"])
    kept = "import sys; print(not sys.dont_write_bytecode)"
    child = subprocess.run([sys.executable, "-c", kept], capture_output=True, text=True, check=True)
    assert child.stdout == "True\n"


@pytest.mark.parametrize(
    "signal_is",
    ["heard", *(pytest.param(each, marks=NO_SIGNALS_ON_WINDOWS) for each in ("unnoticed", "ignored"))],
)
def test_a_child_ends_when_its_parent_closes_the_pipe(tmp_path: Path, signal_is: str) -> None:
    """A tethered module gets what Ctrl-C would give it and can tidy up.

    Also where the signal finds it just before it waits, which is as if another thread had taken the signal,
    and where a shell has it ignore the signal, as what runs in the background does.
    """
    masked = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    (tmp_path / "sleeper.py").write_text(
        (masked if signal_is == "unnoticed" else "") + "import time\n"
        "try:\n    print('up', flush=True)\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('tidy')\n",
        encoding="utf-8",
    )
    seen: list[str | None] = []
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if signal_is == "ignored" else []
    argv = [*shell, sys.executable, "-m", "local.tethered", "sleeper"]
    with Child(argv, cwd=tmp_path, env=environ, on_line=seen.append) as child:
        deadline = time.monotonic() + 20
        while "up" not in seen:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert is_running(child.pid)
    assert seen == ["up", "tidy", None]
    assert child.exit_code() == 0
    wait_until_gone(child.pid)


def _dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "dev.py", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def _program(path: Path, command: str) -> None:
    if os.name == "nt":
        path.with_suffix(".cmd").write_text(f"@{command}\n", encoding="ascii")
    else:
        shell = shutil.which("sh") or "/bin/sh"
        path.write_text(f"#!{shell}\n{command}\n", encoding="ascii")
        path.chmod(0o755)
