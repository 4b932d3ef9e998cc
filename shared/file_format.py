"""What every file format is: the protocols that the files in ``formats`` implement, and what most share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from shared.model import Batch, Column, Document
from shared.time_range import TimeRange

ReadBlob = Callable[[str], Document | None]
"""Gives a blob by its name, or None where there is none."""


class Writer(Protocol):
    """Encodes one window's batches. Pure: it does no I/O."""

    @property
    def rows(self) -> int:
        """How many rows the file holds."""

    @property
    def first_time(self) -> str | None:
        """The earliest row time as the service wrote it; None where no row carries one."""

    @property
    def last_time(self) -> str | None:
        """The latest row time as the service wrote it; None where no row carries one."""

    def write(self, batch: Batch) -> bytes:
        """Return the bytes that are ready to be stored; the writer may hold some back."""

    def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the files beside this one, each once: their names in the folder, and what is in them.

        They must be stored before this file is.
        """

    def finish(self) -> bytes:
        """Return the remaining bytes."""


class Format(Protocol):
    """A file format. The same rows give the same bytes, but for the name of the folder."""

    @property
    def extension(self) -> str:
        """The file name's ending, without its dot."""

    @property
    def content_type(self) -> str:
        """The file's media type."""

    @property
    def verbatim(self) -> bool:
        """Whether it stores the pages of a source as they came, so that it needs a source that pages."""

    @property
    def comparable(self) -> bool:
        """Whether ``records`` gives the rows of tables too, just as JSON lines have them."""

    @property
    def missing(self) -> str | None:
        """What has to be installed before it can be used; None where nothing is missing."""

    def writer(self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()) -> Writer:
        """Begin one file; ``folder`` is where the files beside it will be.

        ``before`` is the same window's file from before, where what it names is to stay: what is ``verbatim``
        has its rows then, and is not given them again. ``columns`` are those that a file with columns has in
        any case; its writer raises ColumnsChangedError for a batch that the columns of what it gave out
        already do not fit.
        """

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:
        """Return how many rows a whole file has. Raises ValueError for a damaged file."""

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:
        """Yield the records of a whole file, each a JSON object on one line; few are in memory at a time.

        ``read`` is for the files beside it. Raises ValueError for a damaged file, which may show only after
        its last record, and for one that does not have its rows as JSON objects: one of tables, in a format
        that is not ``comparable``.
        """


class SingleFile:
    """What formats have in common whose rows are all in one file, and not as the service wrote them."""

    verbatim = False
    comparable = False

    @property
    def missing(self) -> str | None:
        """Nothing is missing."""
        return None


class Counting:
    """What writers have in common: they keep count of the rows and of their times. Nothing lies beside."""

    def __init__(self) -> None:
        self._rows = 0
        self._times = TimeRange()

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return self._rows

    @property
    def first_time(self) -> str | None:
        """The earliest row time, as the service wrote it."""
        return self._times.first

    @property
    def last_time(self) -> str | None:
        """The latest row time, as the service wrote it."""
        return self._times.last

    def files(self) -> Sequence[tuple[str, bytes]]:
        """Return nothing: all is in one file."""
        return ()
