"""What is done to the text of a query before it is parsed. Pure."""

import re
from collections.abc import Iterator

_SET = re.compile(r"\s*set\s+(\w+)\s*(?:=\s*([^;]+?)\s*)?;", re.IGNORECASE)
_WORD = re.compile(
    r"""```.*?```|~~~.*?~~~|@'[^']*'|@"[^"]*"|'(?:[^'\\\n]|\\.)*'"""
    r"""|"(?:[^"\\\n]|\\.)*"|//[^\n]*|\w+|\.\.|\s+|.""",
    re.DOTALL,
)


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
