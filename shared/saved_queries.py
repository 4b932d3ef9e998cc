"""Queries that are deployed with the app, one in each file ``queries/NAME.kql``. Reads files, nothing else.

A file may begin with ``//`` lines, which describe the query, and with Kusto's
``declare query_parameters(name:type [= literal], …);``. Log Analytics does not know that statement, so it is
taken out here, and the parameters become `let` constants. What is deployed is trusted: no guard reads it.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared import kql, parameters
from shared.errors import BadRequestError, Problem
from shared.kql import Token
from shared.parameters import Parameter

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_QUERY_ID = re.compile(r"[0-9a-f]{32}")
_FORM = "declare query_parameters(name:type [= literal], …);"


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter that a saved query declares.

    ``default_text`` is its default as the file has it, ``literal`` the same as the query is given it; both
    are None for a parameter that each caller must give.
    """

    name: str
    type: str
    default_text: str | None = None
    literal: str | None = None


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """A query of the deployment: its name, what its first comment says, and its KQL without parameters."""

    name: str
    description: str
    parameters: tuple[Declared, ...]
    text: str

    def constants(self, values: Mapping[str, Any]) -> str:
        """Return the parameters as `let` constants, which are to precede the KQL.

        A value may be plain JSON: its type is known. Raises BadRequestError, which names each parameter that
        is missing, not declared, or no value of its type.
        """
        known = {each.name for each in self.parameters}
        reading = [functools.partial(self._given, each, values) for each in self.parameters]
        reading += [functools.partial(self._unknown, name) for name in values if name not in known]
        return parameters.declare(parameters.all_of(reading))

    def _unknown(self, name: str) -> Parameter:
        there = ", ".join(each.name for each in self.parameters) or "none"
        raise BadRequestError(
            f"parameters.{name[:64]}", f"{self.name} has no such parameter; it has: {there}"
        )

    def _given(self, declared: Declared, values: Mapping[str, Any]) -> Parameter:
        if declared.name in values:
            value = values[declared.name]
            if parameters.is_typed(value):
                if value["type"] != declared.type:
                    raise BadRequestError(
                        f"parameters.{declared.name}",
                        f"{self.name} declares the type {declared.type}, not {str(value['type'])[:64]!r}",
                    )
                value = value["value"]
            return parameters.parameter(declared.name, declared.type, value)
        if declared.literal is None:
            raise BadRequestError(f"parameters.{declared.name}", f"{self.name} needs a {declared.type} here")
        return Parameter(declared.name, declared.type, declared.literal)


@dataclass(frozen=True, slots=True)
class SavedQueries:
    """The saved queries by name, and what is wrong with the files that are none."""

    queries: Mapping[str, SavedQuery]
    problems: tuple[Problem, ...]


def load(folder: Path) -> SavedQueries:
    """Read a folder's ``.kql`` files. A wrong one disables itself only; no folder is no saved queries."""
    queries: dict[str, SavedQuery] = {}
    problems: list[Problem] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() != ".kql":
            continue
        try:
            queries[path.stem] = _read(path)
        except _MistakeError as mistake:
            problems.append(Problem(f"{folder.name}/{path.name}", mistake.found, mistake.expected))
    return SavedQueries(queries, tuple(problems))


class _MistakeError(Exception):
    """What is wrong with one file."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(found)


def _read(path: Path) -> SavedQuery:
    if path.suffix != ".kql" or not _NAME.fullmatch(path.stem) or _QUERY_ID.fullmatch(path.stem):
        raise _MistakeError(
            f"the name {path.name!r}",
            "1 to 63 lower-case letters, digits and hyphens before .kql, no hyphen first, "
            "and not 32 hexadecimal digits, which are the id of a running query",
        )
    try:
        text = path.read_text("utf-8-sig")
        found = list(kql.tokens(text))
    except OSError as error:
        raise _MistakeError(error.strerror or "an error", "a readable file") from error
    except ValueError as error:  # UnicodeDecodeError, and a string that does not end
        raise _MistakeError(str(error), "KQL in UTF-8") from error
    declared, end = _declaration(text, found)
    rest = [token for token in found if token.start >= end]
    if not any(token.text != ";" for token in rest):
        raise _MistakeError("no query", "a query in KQL")
    if any(_declares(pair) for pair in pairwise(rest)):
        raise _MistakeError(
            "a second declare query_parameters, or one after the query's begin", _FORM + " first"
        )
    return SavedQuery(path.stem, _description(text), declared, text[rest[0].start :].rstrip())


def _description(text: str) -> str:
    """Return the first lines of a text that are comments, without their slashes."""
    lines = []
    for line in text.lstrip().split("\n"):
        if not line.lstrip().startswith("//"):
            break
        lines.append(line.lstrip().removeprefix("//").strip())
    return "\n".join(lines).strip()


def _declares(tokens: Sequence[Token]) -> bool:
    return [token.text for token in tokens] == ["declare", "query_parameters"]


def _declaration(text: str, found: list[Token]) -> tuple[tuple[Declared, ...], int]:
    """Return the parameters that a file declares first, and where what follows begins."""
    if not _declares(found[:2]):
        return (), 0
    end = next((at for at, token in enumerate(found) if token.text == ";"), None)
    if end is None or [found[2].text, found[end - 1].text] != ["(", ")"]:
        raise _MistakeError("a declaration of another form", _FORM)
    declared = tuple(_declared(text, part) for part in _parts(found[3 : end - 1]))
    names = [each.name for each in declared]
    if len(set(names)) < len(names):
        raise _MistakeError("a parameter declared twice", "each parameter once")
    if len(names) > parameters.MOST:
        raise _MistakeError(f"{len(names)} parameters", f"{parameters.MOST} at most")
    return declared, found[end].end


def _parts(tokens: list[Token]) -> Iterator[list[Token]]:
    """Cut tokens at the commas that stand in no brackets."""
    part: list[Token] = []
    depth = 0
    for token in tokens:
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text == "," and depth == 0:
                yield part
                part = []
                continue
        part.append(token)
    yield part


def _declared(text: str, part: list[Token]) -> Declared:
    """Return one parameter, ``name:type`` or ``name:type = literal``."""
    said = repr(text[part[0].start : part[-1].end]) if part else "nothing between commas"
    marks = [token.text for token in part[1:4:2]]
    if len(part) not in {3, *range(5, len(part) + 1)} or marks != [":", "="][: len(marks)]:
        raise _MistakeError(said, "name:type or name:type = literal")
    name, type_, default = part[0].text, part[2].text, part[4:]
    try:
        if not default:
            parameters.parameter(name, type_, "" if type_ == "string" else None)
            return Declared(name, type_)
        literal = parameters.parameter(name, type_, _default(text, type_, default)).literal
    except (BadRequestError, ValueError) as error:
        raise _MistakeError(said, str(error)) from error
    return Declared(name, type_, text[default[0].start : default[-1].end], literal)


def _default(text: str, type_: str, tokens: list[Token]) -> Any:
    """Return a default's value as callers would give it. Raises ValueError for what is no literal."""
    inner = text[tokens[0].start : tokens[-1].end]
    if len(tokens) > 2 and [tokens[0].text, tokens[1].text, tokens[-1].text] == [type_, "(", ")"]:
        inner = text[tokens[1].end : tokens[-1].start].strip()
        if inner == "null":
            return None
        if type_ == "dynamic":
            return json.loads(inner)
    if type_ == "string" and len(tokens) == 1 and tokens[0].kind == "string":
        return kql.string_value(inner)
    if type_ in {"string", "dynamic"}:
        raise ValueError("a default is a literal, such as 'text' or dynamic([1, 2])")
    return {"true": True, "false": False}.get(inner, inner) if type_ == "bool" else inner
