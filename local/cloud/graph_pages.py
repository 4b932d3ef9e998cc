"""Walks through audit records: pages, and tokens between them ("Paging Microsoft Graph data in your app")."""

import re
import threading
import uuid
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

_TOKEN = re.compile(r"([0-9a-f]{32})_(\d+)_(\d+)")
_KEPT = 1_000


class UnknownTokenError(ValueError):
    """A skip token that no walk has given out, or that was given out long ago."""


@dataclass(frozen=True)
class Page:
    """Some records, and the token of the next page (None after the last)."""

    records: list[Record]
    next_token: str | None


class Walks:
    """The walks under way. One goes on over what it found at its start, whatever is added meanwhile."""

    def __init__(self) -> None:
        self._walks: dict[str, tuple[list[Record], int]] = {}
        self._lock = threading.Lock()

    def start(self, records: list[Record], size: int) -> str:
        """The token of the first page of a walk over `records`, `size` of them a page."""
        name = uuid.uuid4().hex
        with self._lock:
            self._walks[name] = records, size
            while len(self._walks) > _KEPT:
                del self._walks[next(iter(self._walks))]
        return f"{name}_0_0"

    def page(self, token: str, *, uneven: bool) -> Page:
        """The page of a token; asked again, it is the same.

        Where `uneven`, the second of four pages is short and the third empty. Raises UnknownTokenError.
        """
        found = _TOKEN.fullmatch(token)
        with self._lock:
            walk = self._walks.get(found[1]) if found else None
        if found is None or walk is None:
            raise UnknownTokenError(token)
        number, place = int(found[2]), int(found[3])
        records, size = walk
        if uneven and number % 4 == 1:
            size = max(1, size - max(1, size * 6 // 100))
        if uneven and number % 4 == 2:
            size = 0
        after = place + size
        is_last = after >= len(records)
        return Page(records[place:after], None if is_last else f"{found[1]}_{number + 1}_{after}")
