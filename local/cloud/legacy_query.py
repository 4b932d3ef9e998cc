"""A small part of the Log Search API's own query language, and rows as that API has them. Pure.

Understood are ``*`` and ``Field=value`` or ``Field="value"``, joined by AND or by a blank ("Log Analytics
search reference", which Microsoft has taken down). Everything else of the language is refused, so that no
query is answered in part. Values are compared as text, to the letter.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from local.cloud.tables import TIME

Row = dict[str, Any]

_TERM = re.compile(r'\*|(?P<field>[A-Za-z_]\w*)\s*=\s*(?:"(?P<text>[^"]*)"|(?P<word>[\w.:@\\/-]+))')
_AND = re.compile(r"\s+(?:AND\s+)?", re.IGNORECASE)
_ITEM = "_ItemId"


def parse_conditions(query: str) -> list[tuple[str, str]]:
    """The fields and the values that a query names, all of which a row must have.

    Raises ValueError for what is not understood.
    """
    conditions: list[tuple[str, str]] = []
    place, query = 0, query.strip()
    while True:
        found = _TERM.match(query, place)
        if found is None:
            raise ValueError(f"The query cannot be read at position {place}: {query[place : place + 40]!r}.")
        if found["field"]:
            conditions.append((found["field"], found["text"] if found["word"] is None else found["word"]))
        place = found.end()
        if place == len(query):
            return conditions
        between = _AND.match(query, place)
        if between is None:
            raise ValueError(f"The query cannot be read at position {place}: {query[place : place + 40]!r}.")
        place = between.end()


def meets(row: Row, conditions: list[tuple[str, str]]) -> bool:
    """Whether a row has every field with its value."""
    return all(_words(row.get(field)) == value for field, value in conditions)


def sparse(row: Mapping[str, Any]) -> Row:
    """A row as the API has it: only what has a value, an `id` of its own, and what was found in it."""
    shown: Row = {name: value for name, value in row.items() if value not in (None, "") and name != _ITEM}
    own = {"Type": row["Type"], TIME: row[TIME], "highlighting": {}}
    return shown | {"id": row.get(_ITEM) or str(uuid.uuid4()), "__metadata": own}


def _words(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
