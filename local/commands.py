"""The commands of dev.py: each makes the virtual environment and then runs inside it.

Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local.environment import (
    ROOT,
    RUN,
    TEST,
    Interpreter,
    current_interpreter,
    ensure_environment,
    find_interpreter,
)
from local.progress import StepError, say

SECOND_VERSION = (3, 13)
"""The Python that the app's production runtime is made for; the tests run on it too, where there is one."""

ABOUT_RULES = (
    *("tests/cloud", "tests/completeness", "tests/e2e", "tests/model", "tests/parts"),
    *("tests/test_bench.py", "tests/test_scale_model.py", "tests/test_demo_client.py"),
    *("tests/test_run.py", "tests/test_run_prepared.py", "tests/test_run_scripts.py"),
    *("tests/unit/test_generated_kql.py", "tests/unit/test_kql_guard.py"),
)
"""Long tests of what the services and our rules are rather than of Python: of two Pythons, the second runs
them."""

ABOUT_TOOLS = (
    "tests/host",
    *("tests/test_azurite.py", "tests/test_demo.py", "tests/test_dev.py", "tests/test_kusto_parser.py"),
)
"""Long tests of what runs on a developer's machine only: of two Pythons, the first runs them."""

TEST_WORKERS = 3
"""Test processes, each with an Azurite and hosts of its own. Two leave a fifth of two cores idle, because
they wait for what they started."""


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    # Where it is set, as in many containers, each process would compile anew all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    own, rest = argv, argv[:0]
    if argv[:1] == ["run"] or (argv[:1] == ["test"] and argv[1:2] not in (["-h"], ["--help"])):
        own, rest = argv[:1], argv[1:]  # pytest's own options, or those of `local.run`, are not ours
    options = _parser().parse_args(own)
    try:
        match options.command:
            case "demo":
                code = _demo(options)
            case "start":
                code = _start(options)
            case "run":
                code = _become([_environment(RUN), "-m", "local.run", *rest])
            case "bench":
                code = _become([_environment(TEST), "-m", "bench", *options.names])
            case "lint":
                code = _lint(_environment(TEST))
            case _:
                code = _test(rest)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py", description="Runs, tries and tests the app on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser("demo", help="the real job against a stand-in cloud, and what landed")
    demo.add_argument(
        "--once", action="store_true", help="end after the export, with 0 only if every row landed once"
    )
    demo.add_argument("--port", type=_port, default=7071, help="where the app answers HTTP (default: 7071)")
    demo.add_argument("--rows", type=_count, metavar="N", help="about how many rows the stand-in cloud holds")

    start = commands.add_parser("start", help="only the app, against whatever the settings point to")
    start.add_argument(
        "--settings", type=Path, metavar="FILE", help="default: local.settings.json beside dev.py"
    )
    start.add_argument(
        "--port", type=_port, help="where the app answers HTTP (default: as the settings say, or 7071)"
    )

    commands.add_parser("run", help="one export once, its rows on the terminal; run --help says more",
                        add_help=False)  # fmt: skip
    commands.add_parser("test", help="lint and all tests; what follows is passed on to pytest", add_help=True,
                        usage="dev.py test [pytest's arguments …]")  # fmt: skip
    commands.add_parser("lint", help="ruff and mypy --strict")
    bench = commands.add_parser("bench", help="how fast and how small it is, beside what it is compared with")
    bench.add_argument("names", nargs="*", metavar="NAME", help="only these benchmarks (default: all)")
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows")
    return number


def _demo(options: argparse.Namespace) -> int:
    arguments = ["--port", str(options.port)]
    if options.once:
        arguments.append("--once")
    if options.rows is not None:
        arguments += ["--rows", str(options.rows)]
    return _become([_environment(RUN), "-m", "local.demo", *arguments])


def _start(options: argparse.Namespace) -> int:
    settings = (options.settings or ROOT / "local.settings.json").resolve()
    if not settings.is_file():
        raise StepError(
            f"The settings file {settings} does not exist.\n"
            f"What to do: copy local.settings.example.json (in {ROOT}) to local.settings.json,\n"
            "fill it in, and run the same command again; or name another file with --settings."
        )
    arguments = ["--app", ROOT, "--settings", settings]
    if options.port is not None:
        arguments += ["--port", str(options.port)]
    return _become([_environment(RUN), "-m", "local.host", *arguments])


def _lint(python: Path) -> int:
    """Ruff and mypy, both in any case: 0 only if neither has anything to say."""
    failed = [title for title, arguments in (("ruff", ["ruff", "check", "."]), ("mypy", ["mypy"]))
              if _section(title, [python, "-m", *arguments]) != 0]  # fmt: skip
    return 1 if failed else 0


def _test(arguments: Sequence[str]) -> int:
    """Lint, the tests on this Python, and the tests on `SECOND_VERSION`; all of them in any case.

    Without arguments of pytest's, the first of two Pythons leaves out `ABOUT_RULES`, and the second
    `ABOUT_TOOLS`.
    """
    python = _environment(TEST)
    _install_npm_packages(python)
    here = current_interpreter()
    second = find_interpreter(SECOND_VERSION) if here.version != SECOND_VERSION else None
    mine, others = ([f"--ignore={each}" for each in left_out] for left_out in (ABOUT_RULES, ABOUT_TOOLS))
    if second is None or arguments:
        mine = others = []
    if "-n" not in arguments:
        arguments = ["-n", str(TEST_WORKERS), *arguments]
    results = {"lint": _lint(python)}

    def test(interpreter: Interpreter, path: Path, left_out: Sequence[str]) -> None:
        title = f"pytest on Python {interpreter.name}"
        results[title] = _section(title, [path, "-m", "pytest", *arguments, *left_out])

    test(here, python, mine)
    if second is not None:
        test(second, ensure_environment(ROOT / f".venv-{second.name}", second, TEST), others)
    failed = [name for name, code in results.items() if code != 0]
    if failed:
        say(f"\nFAILED: {', '.join(failed)}")
    return 1 if failed else 0


def _install_npm_packages(python: Path) -> None:
    """Before the tests and not within them, so that the progress shows and no test's time limit counts it."""
    code = subprocess.run(
        [python, "-m", "local.node", "local/npm", "tests/npm"], cwd=ROOT, check=False
    ).returncode
    if code != 0:
        raise StepError("The tests' npm packages could not be installed; the reason is above.")


def _environment(requirements: str) -> Path:
    return ensure_environment(ROOT / ".venv", current_interpreter(), requirements)


def _section(title: str, argv: Sequence[str | Path]) -> int:
    """Run a command in the checkout under a heading; return its exit code."""
    say(f"\n── {title} " + "─" * max(4, 100 - len(title)))
    started = time.monotonic()
    code = _wait(subprocess.Popen([str(part) for part in argv], cwd=ROOT))
    if code != 0:
        say(f"{title}: failed (exit code {code}) after {time.monotonic() - started:.0f} s")
    return code


def _become(argv: Sequence[str | Path]) -> int:
    """Run a command in this process's place, so that whoever ends dev.py ends it."""
    command = [str(part) for part in argv]
    os.chdir(ROOT)
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    return _wait(subprocess.Popen(command))  # Windows cannot replace a process


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command that the terminal's Ctrl-C reaches too, so that it can tidy up; its exit code.

    Ctrl-C is passed on once the command has ended; a second one ends it at once.
    """
    interrupted = False
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            if interrupted:
                process.kill()
            interrupted = True
            continue
        if interrupted:
            raise KeyboardInterrupt
        return code
