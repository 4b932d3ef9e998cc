"""What is done to the text of a query before it is parsed. Pure."""

import re
from collections.abc import Iterator

_SET = re.compile(r"\s*set\s+(\w+)\s*(?:=\s*([^;]+?)\s*)?;", re.IGNORECASE)
_WORD = re.compile(
    r"""```.*?```|~~~.*?~~~|@'[^']*'|@"[^"]*"|'(?:[^'\\\n]|\\.)*'"""
    r"""|"(?:[^"\\\n]|\\.)*"|//[^\n]*|\w+|\.\.|\s+|.""",
    re.DOTALL,
)

_ESCAPE = re.compile(
    r"\\(?:(?P<hex>u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2}|[0-7]{1,2})|(?P<other>.))"
)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPED = {"'": r"\'", '"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}  # which it does know


def split_options(query: str) -> tuple[dict[str, str], str]:
    """Leading ``set name[=value];`` statements (names in lower case), and the query without them."""
    options: dict[str, str] = {}
    while found := _SET.match(query):
        options[found[1].lower()] = found[2] or ""
        query = query[found.end() :]
    return options, query


def words(query: str) -> Iterator[tuple[str, int]]:
    """The words of a query, whole strings among them, and where each begins; no comments, no blanks."""
    for found in _WORD.finditer(query):
        if not found[0].isspace() and not found[0].startswith("//"):
            yield found[0], found.start()


def plain_strings(query: str) -> str:
    """The query with the escapes in its strings that the library does not know as what they mean.

    Source: the Kusto documentation's "String literals".
    """
    text = _WORD.sub(lambda word: _ESCAPE.sub(_meant, word[0]) if word[0][0] in "\"'" else word[0], query)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs of escapes as one


def _meant(escape: re.Match[str]) -> str:
    code, octal, other = escape["hex"], escape["octal"], escape["other"]
    if other is not None:
        return _CONTROLS.get(other, escape[0])
    character = chr(int(code[1:], 16) if code else int(octal, 8))
    return _ESCAPED.get(character, character)


def bracket_bounds(query: str) -> str:
    """The query with ``between (a - 1d .. b)`` as ``between ((a - 1d) .. (b))``.

    The library's grammar wants the brackets; Kusto's does not.
    """
    parts: list[str] = []
    of_between: list[bool] = []  # for each bracket that is open
    after_between = False
    for word in _WORD.findall(query):
        if word == "(":
            of_between.append(after_between)
            parts.append("((" if after_between else "(")
        elif word == ")" and of_between:
            parts.append("))" if of_between.pop() else ")")
        elif word == ".." and of_between and of_between[-1]:
            parts.append(")..(")
        else:
            parts.append(word)
        if word.strip():
            after_between = word.lower() == "between"
    return "".join(parts)
