"""Rows that a source purged while others became visible late: kept, and never at the price of doubling."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from shared.formats import FORMATS
from shared.model import Batch, Column, Reading, Window
from shared.rewriter import _Held, _Remembering, digests_of

HELD = [msgspec.Raw(b'{"n":1,"t":"a"}'), msgspec.Raw(b'{"n":1,"t":"a"}'), msgspec.Raw(b'{"n":2,"t":"b"}')]
SAME = (Column("n", "long"), Column("t", "string"))


class Answers:
    """A source that answers once."""

    def __init__(self, columns: tuple[Column, ...], rows: Sequence[bytes]) -> None:
        self._batch = Batch(rows=[msgspec.Raw(row) for row in rows], columns=columns)

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the one answer."""
        _ = reading
        yield self._batch

    def release(self, reading: Reading) -> None:
        """Nothing is kept."""

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return the size of the one answer."""
        _ = windows, deadline
        return [len(self._batch.rows)]


def appended(columns: tuple[Column, ...], *rows: bytes) -> list[bytes]:
    """Return the stored rows that are added to an answer."""
    held = _Held(b"", lambda: HELD, digests_of(HELD))
    source = _Remembering(Answers(columns, rows), held, [], FORMATS["jsonl"])
    _, *added = source.read(Reading(Window(0, 1), 0.0))
    assert source.rows == len(rows)
    return [bytes(row) for batch in added for row in batch.rows]


def test_what_was_purged_is_kept_once() -> None:
    """One of two equal rows and a late row came: the other of the two, and no more, is added."""
    assert appended(SAME, b'[1,"a"]', b'[2,"b"]', b'[3,"late"]', b'[4,"late"]') == [bytes(HELD[0])]


def test_what_is_still_there_is_not_added() -> None:
    """A late row alone adds nothing that is stored."""
    assert appended(SAME, b'[2,"b"]', b'[1,"a"]', b'[3,"late"]', b'[1,"a"]') == []


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ((*SAME, Column("added", "string")), b',""'),
        ((Column("n", "real"), Column("t", "string")), b""),
        ((Column("n", "long"), Column("t", "dynamic")), b""),
        ((Column("m", "long"), Column("t", "string")), b""),
    ],
    ids=["a column more", "real", "dynamic", "another name"],
)
def test_rows_that_may_read_otherwise_are_not_doubled(columns: tuple[Column, ...], cells: bytes) -> None:
    """Where every row may look like another one, nothing stored is taken for purged."""
    rows = [
        b'[1,"a"' + cells + b"]",
        b'[1,"a"' + cells + b"]",
        b'[2,"B"' + cells + b"]",
        b'[3,"c"' + cells + b"]",
    ]
    assert appended(columns, *rows) == []
