"""Checks that a text is one OData filter and nothing else, so that it can be joined to ours. Pure."""

import re

_TOKEN = re.compile(r"\s+|'(?:[^']|'')*'|[A-Za-z0-9_$.:/@+-]+|(?P<open>\()|(?P<close>\))|,")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def problem(filter_: str) -> str | None:
    """Return what is wrong with a filter; None for one that stays itself inside parentheses.

    Only its outer form is checked: strings end, parentheses pair, and no character stands outside of them
    that OData's filters do not have. What its names mean the service knows.
    """
    depth = at = 0
    while at < len(filter_):
        token = _TOKEN.match(filter_, at)
        if token is None:
            return f"{filter_[at : at + 20]!r} at character {at + 1}"
        depth += bool(token["open"]) - bool(token["close"])
        if depth < 0:
            return f"a parenthesis that closes nothing, at character {at + 1}"
        at = token.end()
    if depth:
        return "a parenthesis that does not close"
    return None if filter_.strip() else "nothing"


def names(filter_: str) -> set[str]:
    """Return the words outside strings: properties, operators and functions."""
    return set(_WORD.findall(re.sub(r"'(?:[^']|'')*'", "''", filter_)))
