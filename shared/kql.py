"""Just enough of KQL's lexical grammar to write it safely and to see what a text is made of. Pure.

Source: the Kusto documentation's "Scalar data types: string" and "Entity names".
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.windows import SECOND, format_instant

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>//[^\r\n]*)
    | (?P<string>
          [hH]?(?:```.*?```|~~~.*?~~~)
        | [hH]?@"(?:[^"\r\n]|"")*" | [hH]?@'(?:[^'\r\n]|'')*'
        | [hH]?"(?:[^"\\\r\n]|\\.)*" | [hH]?'(?:[^'\\\r\n]|\\.)*'
      )
    | (?P<guid>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})
    | (?P<word>[A-Za-z_$][A-Za-z0-9_]*)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[A-Za-z0-9_]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LOOKING = {"in", "has_any", "has_all"}
_FENCES = ("```", "~~~")
_ESCAPE = re.compile(
    r"""\\(?:
          (?P<plain>['"\\abfnrtv])
        | u(?P<hex4>[0-9a-fA-F]{4}) | U(?P<hex8>[0-9a-fA-F]{8}) | x(?P<hex2>[0-9a-fA-F]{2})
        | (?P<octal>[0-3][0-7]{2} | [0-7]{1,2})
        )?  # what follows the backslash when it is no escape
    """,
    re.VERBOSE,
)
_PLAIN_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")  # no word of the language begins with a capital


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``kind`` is ``string``, ``guid``, ``word``, ``number`` or ``mark``.

    Spaces and comments are none. A word that begins with digits, as ``1st_CL``, is a number here.
    """

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


def steps(pipeline: str) -> list[tuple[str, str]]:
    """Return a pipeline's steps, each as its operator and its text: ``("where", "where a == 1")``.

    Raises ValueError for a text that is not one pipeline: a ``;``, unbalanced brackets, an empty step.
    """
    found: list[list[Token]] = [[]]
    depth = 0
    for token in tokens(pipeline):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth < 0:
                raise ValueError(f"unbalanced {token.text!r} at character {token.start + 1}")
            if token.text == ";":
                raise ValueError("a pipeline is one statement and holds no ';'")
            if token.text == "|" and depth == 0:
                found.append([])
                continue
        found[-1].append(token)
    if depth:
        raise ValueError("a bracket is not closed")
    return [(_operator(step), pipeline[step[0].start : step[-1].end]) for step in found]


def operators(pipeline: str) -> list[str]:
    """Return the names of a pipeline's operators. Raises ValueError as ``steps``."""
    return [name for name, _ in steps(pipeline)]


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


def looks_up(pipeline: str, known: Collection[str | None]) -> bool:
    """Whether a pipeline looks for values in what may be another table: ``where a in (b)``.

    ``known`` are the words that are none there: types, constants.
    """
    looking = False
    for token in tokens(pipeline):
        if looking and token.kind == "word" and token.text not in known:
            return True
        looking = token.text in _LOOKING or (looking and token.text in {"~", "("})
    return False


def uses(text: str, name: str) -> bool:
    """Whether a KQL text uses a name (in code, not in a string or a comment)."""
    return any(token.kind == "word" and token.text == name for token in tokens(text))


def statements(text: str) -> list[str]:
    """Return a text's statements, each from its first token to its last. Raises ValueError as ``tokens``."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in tokens(text):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text == ";" and depth == 0:
                found.append([])
                continue
        found[-1].append(token)
    return [text[each[0].start : each[-1].end] for each in found if each]


def without_render(text: str) -> str:
    """Return a query without a last ``render``, which is about a chart, and which nothing may follow."""
    depth, step = 0, None
    found = list(tokens(text))
    for token, after in pairwise(found):
        if token.kind == "mark":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text in "|;" and depth == 0:
                step = token.start if token.text == "|" and after.text == "render" else None
    return text if step is None else text[:step].rstrip()


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
    """Return a string literal, of one line whatever the value holds."""
    return "'" + escaped(value, "'") + "'"


def escaped(value: str, quote: str) -> str:
    """Return what stands for a text between two quotes of a kind, in KQL and in JSON alike."""
    text = value.replace("\\", "\\\\").replace(quote, "\\" + quote)
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def string_value(literal: str) -> str:
    """Return what a string literal means; ``literal`` is the text of a ``string`` token.

    Raises ValueError for an escape that Kusto does not know.
    """
    literal = literal.lstrip("hH")
    if literal.startswith(_FENCES):
        return literal[3:-3]
    if literal.startswith("@"):
        return literal[2:-1].replace(literal[1] * 2, literal[1])
    text = _ESCAPE.sub(_unescaped, literal[1:-1])
    # Two escaped surrogates are one character, as in the UTF-16 of .NET.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _unescaped(match: re.Match[str]) -> str:
    if match["plain"]:
        return _PLAIN_ESCAPES.get(match["plain"], match["plain"])
    if match["octal"]:
        return chr(int(match["octal"], 8))
    code = int(match["hex4"] or match["hex8"] or match["hex2"] or "-1", 16)
    if not 0 <= code <= 0x10FFFF:
        raise ValueError(f"{match.string[match.start() :][:10]!r} begins with no escape of Kusto's")
    return chr(code)


def duration(ticks: int) -> str:
    """Return a timespan literal, exact to the tick."""
    seconds, rest = divmod(ticks, SECOND)
    minutes, hours = seconds // 60, seconds // 3600
    return f"time({hours // 24}.{hours % 24:02}:{minutes % 60:02}:{seconds % 60:02}.{rest:07})"


def instant(ticks: int) -> str:
    """Return a datetime literal, exact to the tick."""
    return f"datetime({format_instant(ticks)})"
