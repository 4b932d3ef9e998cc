"""Logs of whole records that come in pages: walked, cut to a window exactly, every record once.

A service's comparison of times is not documented to the tick, so each window is asked for a second wider on
both sides, and cut here.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from shared import rawjson
from shared.errors import ExportError, IncompleteAnswerError, ProtocolError, ServiceError
from shared.model import Batch, Request, Send, Window
from shared.paging import Page, pages
from shared.windows import parse_instant

_log = logging.getLogger(__name__)

_BROKEN_WALKS = 4
_DIFFERING_WALKS = 8
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,7}))?Z")


@dataclass(frozen=True, slots=True)
class Cut:
    """What puts a record into a window: the name of its time's member, and the window.

    ``most`` is how many records the service shows in one walk, where it breaks off without a word after so
    many; None where it shows all.
    """

    time_field: str
    window: Window
    most: int | None = None


def _believed(_shown: int) -> bool:
    return True


def _undoubted(_shown: int) -> None:
    return None


def read_records(
    send: Send,
    first: Request,
    cut: Cut,
    is_whole: Callable[[int], bool] = _believed,
    doubt: Callable[[int], None] = _undoubted,
) -> Iterator[Batch]:
    """Yield the window's records, a batch for each page that the service answered.

    A record that is shown twice, as pages that move under a walk may show it, is yielded once; records that
    share an id but not their content are all kept. Where the service refuses its own next link the walk
    begins again, and yields what it had not yet.

    ``is_whole`` says whether so many different records, inside the window or not, are known to be all. Where
    they are not, walks go on until one shows nothing new; ``doubt`` is then told their number, and raises
    where they are not to be taken for all.

    Raises ServiceError when walks break too often, IncompleteAnswerError when each shows more than those
    before it, ProtocolError for records that cannot be placed, and ExportError for a walk that shows as many
    as the service shows at most.
    """
    cutter = _Cutter(cut)
    slices, broken, finished = 1, 0, 0
    while finished < _DIFFERING_WALKS:
        before = cutter.shown
        try:
            for batch in _walk(send, first, cutter, cut.most):
                is_repeated = broken + finished > 0 and not batch.rows
                yield replace(batch, slices=slices, page=None if is_repeated else batch.page)
                slices = 0
        except ServiceError as error:
            broken += 1
            broken_link = error.retryable and 400 <= error.status < 500 and error.status != 429 and not slices
            if not broken_link or broken == _BROKEN_WALKS:
                raise
            _log.warning("a walk through pages broke off and begins again: %s", error)
        else:
            finished += 1
            if is_whole(cutter.shown):
                return
            if finished > 1 and cutter.shown == before:
                doubt(cutter.shown)
                return
    raise IncompleteAnswerError(
        "The service",
        status=200,
        code="DifferingWalks",
        message=f"each of {finished} walks through the same records showed some that those before did not",
        request_id=None,
        retryable=True,
    )


def _walk(send: Send, first: Request, cutter: "_Cutter", most: int | None) -> Iterator[Batch]:
    shown = 0
    for page in pages(send, first):
        shown += len(page.records)
        if most is not None and shown >= most:
            raise ExportError(
                f"the window shows {shown} records, and no walk shows more than {most}, so "
                "others may be missing; give the export a shorter window"
            )
        yield cutter.batch(page)


class _Cutter:
    """Takes from pages what belongs to a window and was not seen before."""

    def __init__(self, cut: Cut) -> None:
        self._window = cut.window
        self._type: type[Any] = msgspec.defstruct(
            "Record", [("id", str), ("time", str)], rename={"time": cut.time_field}
        )
        self._seen: set[bytes] = set()
        self._ids: set[str] = set()

    @property
    def shown(self) -> int:
        """How many different records there were, inside the window or not."""
        return len(self._seen)

    def batch(self, page: Page) -> Batch:
        """Return a page's records."""
        rows: list[msgspec.Raw] = []
        times: list[str] = []
        repeated = 0
        for raw in page.records:
            try:
                record = msgspec.json.decode(raw, type=self._type)
                tick = record_tick(record.time)
            except (*rawjson.UNREADABLE, ValueError) as error:
                raise ProtocolError(f"a page has a record that cannot be placed: {error}") from error
            digest = hashlib.sha256(raw).digest()
            if digest in self._seen:
                continue
            self._seen.add(digest)
            if not self._window.start <= tick < self._window.end:
                continue
            repeated += record.id in self._ids
            self._ids.add(record.id)
            rows.append(raw)
            times.append(record.time)
        return Batch(
            rows=rows,
            times=times,
            answer_bytes=len(page.body),
            repeated_ids=repeated,
            served_at=page.served_at,
            page=page.body,
        )


def record_tick(text: str) -> int:
    """Return the tick of a record's time, whose fraction has up to seven digits, zeros at its end cut off.

    Raises ValueError for any other form: a record that is misread would be in no window, or in two.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time such as 2026-11-21T10:00:00.1234567Z")
    return parse_instant(text)
