"""What Microsoft's own KQL parser says of a text: npm's @kusto/language-service-next, run by Node."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from local.node import find_node, install_packages

HERE = Path(__file__).resolve().parent

Tables = Mapping[str, Mapping[str, str]]
"""Table name -> column name -> Kusto type (`string`, `long`, `datetime`, `dynamic` …)."""


def diagnostics(kql: str, tables: Tables | None = None) -> list[str]:
    """Every syntax error, unknown name, type error and warning in a query, in the parser's words.

    Only the given tables exist for the query.
    """
    schemas = {name: _schema(columns) for name, columns in (tables or {}).items()}
    answer = _server().ask({"kql": kql, "tables": schemas})
    return [str(line) for line in answer]


@dataclass(frozen=True)
class Structure:
    """What the parser makes of a text, whether or not it is right.

    `tokens` are (start, end, kind) in UTF-16 units, without trivia; `nodes` are (kind, name or "") of the
    whole syntax tree, as `("FunctionCallExpression", "strcat")` and `("LetStatement", "x")`; `errors` says
    whether the parser had to guess, for its syntax is wrong.
    """

    tokens: list[tuple[int, int, str]]
    nodes: list[tuple[str, str]]
    errors: bool


def structures(texts: Sequence[str]) -> list[Structure]:
    """What the parser makes of each of many texts, in one question: no names are resolved."""
    answer = cast("list[dict[str, Any]]", _server().ask({"texts": list(texts)}))
    return [
        Structure(
            [(start, end, kind) for start, end, kind in each["tokens"]],
            [(kind, name) for kind, name in each["nodes"]],
            each["errors"],
        )
        for each in answer
    ]


def plugins() -> list[str]:
    """The names of the plugins that `evaluate` takes."""
    return [str(name) for name in _server().ask({"list": "plugins"})]


def keywords() -> list[str]:
    """The words and marks of the language, in the spelling that is theirs."""
    return [str(name) for name in _server().ask({"list": "keywords"})]


def _schema(columns: Mapping[str, str]) -> str:
    return "(" + ", ".join(f"['{name}']:{kind}" for name, kind in columns.items()) + ")"


class _Server:
    """One Node for the whole test process: loading the parser takes longer than a thousand questions."""

    def __init__(self) -> None:
        modules = install_packages(HERE / "npm", "the tests' JavaScript packages")
        self._process = subprocess.Popen(
            [find_node().program, HERE / "kusto_parser.js", modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, request: Mapping[str, object]) -> list[object]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the KQL parser ended; its reason is on standard error")
        answer = json.loads(line)
        assert isinstance(answer, list)
        return answer

    def close(self) -> None:
        with self._process:  # closes the pipes, at which Node ends, and waits
            pass


@functools.cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.close)
    return server
