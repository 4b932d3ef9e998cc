"""Just enough of KQL's lexical grammar to write it safely and to see what a text is made of. Pure.

Source: the Kusto documentation's "Scalar data types: string" and "Entity names".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.windows import format_instant

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>//[^\r\n]*)
    | (?P<string>
          [hH]?(?:```.*?```|~~~.*?~~~)
        | [hH]?@"(?:[^"\r\n]|"")*" | [hH]?@'(?:[^'\r\n]|'')*'
        | [hH]?"(?:[^"\\\r\n]|\\.)*" | [hH]?'(?:[^'\\\r\n]|\\.)*'
      )
    | (?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
    | (?P<number>[0-9][A-Za-z0-9_.]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_FENCES = ("```", "~~~")
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")  # no word of the language begins with a capital


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``kind`` is ``string``, ``word``, ``number`` or ``mark``. Spaces and comments are none."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a KQL text. Raises ValueError for a string that does not end."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind in {"space", "comment"}:
            continue
        if kind == "mark" and (match[0] in "\"'" or text.startswith(_FENCES, match.start())):
            raise ValueError(f"the string that begins at character {match.start() + 1} does not end")
        yield Token(kind, match[0], match.start(), match.end())


def operators(pipeline: str) -> list[str]:
    """Return the names of a pipeline's operators: ``["where", "project-away"]``.

    Raises ValueError for a text that is not one pipeline: a ``;``, unbalanced brackets, an empty step.
    """
    steps: list[list[Token]] = [[]]
    depth = 0
    for token in tokens(pipeline):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth < 0:
                raise ValueError(f"unbalanced {token.text!r} at character {token.start + 1}")
            if token.text == ";":
                raise ValueError("a pipeline is one statement and holds no ';'")
            if token.text == "|" and depth == 0:
                steps.append([])
                continue
        steps[-1].append(token)
    if depth:
        raise ValueError("a bracket is not closed")
    return [_operator(step) for step in steps]


def _operator(step: list[Token]) -> str:
    """Return a step's first word with what hyphens join to it (``project-away``)."""
    if not step or step[0].kind != "word":
        raise ValueError("each step of a pipeline begins with an operator such as 'where'")
    name, end = step[0].text, step[0].end
    for token in step[1:]:
        joined = token.text == "-" or (token.kind == "word" and name.endswith("-"))
        if not joined or token.start != end:
            break
        name, end = name + token.text, token.end
    return name


def calls(text: str) -> set[str]:
    """Return the names of the functions that a KQL text calls."""
    found = list(tokens(text))
    return {word.text for word, mark in pairwise(found) if word.kind == "word" and mark.text == "("}


def reads_tables(pipeline: str) -> bool:
    """Whether a pipeline holds a query of its own in brackets, as ``where a in ((T | project b))`` does."""
    depth = 0
    for token in tokens(pipeline):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text == "|" and depth:
                return True
    return False


def uses(text: str, name: str) -> bool:
    """Whether a KQL text uses a name (in code, not in a string or a comment)."""
    return any(token.kind == "word" and token.text == name for token in tokens(text))


def without_end(text: str) -> str:
    """Return a query without what may follow its last statement: ``;``, spaces, comments."""
    end = 0
    for token in tokens(text):
        if token.text != ";":
            end = token.end
    return text[:end]


def name(identifier: str) -> str:
    """Return an entity name as KQL, quoted where it must be: ``Event``, ``['my table']``."""
    return identifier if _NAME.fullmatch(identifier) else f"[{string(identifier)}]"


def string(value: str) -> str:
    """Return a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return (
        "'" + re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + "'"
    )


def instant(ticks: int) -> str:
    """Return a datetime literal, exact to the tick."""
    return f"datetime({format_instant(ticks)})"
