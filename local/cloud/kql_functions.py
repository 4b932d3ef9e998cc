"""Functions with a tabular body that a query defines, ``let f = (a: long) { T | where x > a };``.

`duckdb-kql` runs such functions only when they are stored in the database, where each call becomes a table
of its own. So here a query's definitions are taken out of its text and handed over as stored ones.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from duckdb_kql.stored_functions import StoredFunction, parse_functions

from local.cloud.kql_text import words

Functions = dict[str | None, dict[str, StoredFunction]]
"""As `duckdb_kql.lower.lower` takes them: database (None: the query's) -> name -> function."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class _Definition:
    """One statement: `name`, its parameters and body as written, and where in the text it is."""

    name: str
    parameters: str
    body: str
    start: int
    end: int


def lift(query: str) -> tuple[str, Functions]:
    """A query with blanks where its functions with a tabular body were, and these functions.

    Every other place keeps its line and column. What the library can run itself, a scalar function or one
    with a tabular parameter, stays; so does what it cannot parse, and it says where when it parses the rest.
    """
    functions: dict[str, StoredFunction] = {}
    staying: set[str] = set()
    for each in definitions(query):
        parsed = None if each.name in functions or _first_name(each.body) in staying else _parsed(each)
        if parsed is None:
            staying.add(each.name)
            continue
        functions[each.name] = parsed
        blank = re.sub(r"[^\n]", " ", query[each.start : each.end])
        query = query[: each.start] + blank + query[each.end :]
    return query, {None: functions}


def _parsed(definition: _Definition) -> StoredFunction | None:
    text = f"function {definition.name}{definition.parameters} {definition.body}"
    try:
        parsed = parse_functions([text])
    except ValueError:
        return None
    return parsed[None][definition.name] if parsed else None


def _first_name(body: str) -> str:
    found = _NAME.search(body)
    return found[0] if found else ""


def definitions(query: str) -> Iterator[_Definition]:
    """The statements ``let name = (…) {…};`` of a query, in their order."""
    for statement in _statements(query):
        match [query[start:end] for start, end in statement]:
            case ["let", name, "=", parameters, body, *_] if parameters[0] == "(" and body[0] == "{":
                yield _Definition(name, parameters, body, statement[0][0], statement[-1][1])


def _statements(query: str) -> Iterator[list[tuple[int, int]]]:
    """Each statement that ends in ``;``, as the bounds of its words; what is in brackets is one word."""
    statement: list[tuple[int, int]] = []
    awaited: list[str] = []
    opened = 0
    for word, start in words(query):
        if word in _CLOSING:
            if not awaited:
                opened = start
            awaited.append(_CLOSING[word])
            continue
        if awaited:
            if word == awaited[-1]:
                awaited.pop()
                if not awaited:
                    statement.append((opened, start + 1))
            continue
        statement.append((start, start + len(word)))
        if word == ";":
            yield statement
            statement = []
