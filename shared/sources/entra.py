"""Entra ID's directory audit log, through Microsoft Graph v1.0 ("List directoryAudits").

Graph's comparison is not documented to the tick, so each window is asked for a second wider on both sides,
with ``ge`` and ``le``, and cut exactly here.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from shared import rawjson
from shared.errors import ProtocolError, ServiceError, UnavailableError
from shared.model import Batch, Measured, Request, Send, Source, SourceType, Tools, Window
from shared.paging import Page, pages
from shared.windows import SECOND, format_second, from_datetime, parse_instant

PAGE_SIZE = 1000
WAIT_SECONDS = 300.0
"""Answers of several minutes are seen in the field, and end well."""

_MINIMUM = re.compile(r"Minimum allowed time for \w+ is ([0-9/]+ [0-9:]+ [AP]M)")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,7}))?Z")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: which log."""

    log: Literal["directoryAudits"]


class _Record(msgspec.Struct):
    id: str
    time: str = msgspec.field(name="activityDateTime")


class Entra:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send) -> None:
        self._options = options
        self._send = send

    def read(
        self, window: Window, deadline: float, measured: Measured | None, *, wide: bool = False
    ) -> Iterator[Batch]:
        """Yield the window's records, a batch for each page that the service answered.

        A record that one walk shows twice, as pages that move under it may, is yielded once; records that
        share an id but not their content are all kept. A walk needs no sizing, and its bounds leave nothing
        out.
        """
        _ = measured, wide
        seen: dict[bytes, str] = {}
        for number, page in enumerate(self._walk(window, deadline)):
            yield replace(_cut(page, window, seen), slices=1 if number == 0 else 0)

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many records each window holds; Graph cannot count them, so they are read."""
        return [sum(len(batch.rows) for batch in self.read(each, deadline, None)) for each in windows]

    def _walk(self, window: Window, deadline: float) -> Iterator[Page]:
        """Walk the window's pages, from a second before it where the log reaches so far back."""
        try:
            yield from self._pages(max(0, window.start - SECOND), window.end, deadline)
        except ServiceError as error:
            floor = _floor(error)
            if floor is None:
                raise
            if floor > window.start:
                raise UnavailableError(floor, f"Entra ID keeps nothing older: {error}") from error
        else:
            return
        yield from self._pages(window.start, window.end, deadline)

    def _pages(self, start: int, end: int, deadline: float) -> Iterator[Page]:
        target = first_page(self._options.log, start, end)
        return pages(self._send, Request("GET", target, wait=WAIT_SECONDS, deadline=deadline))


def first_page(log: str, start: int, end: int) -> str:
    """Return the path and query of the first page from one whole second to a second after another."""
    first, last = format_second(start), format_second(end + SECOND)
    query = {
        "$filter": f"activityDateTime ge {first} and activityDateTime le {last}",
        "$top": str(PAGE_SIZE),
    }
    return f"/v1.0/auditLogs/{log}?{urlencode(query, quote_via=quote, safe='$:')}"


def _floor(error: ServiceError) -> int | None:
    """Return the oldest time (ticks) that Graph still answers for, from its refusal; None from any other.

    "Specified argument was out of the range of valid values. (Parameter 'Minimum allowed time for
    activityDateTime is 2/5/2023 12:00:00 AM')": written as a US date, cut to midnight UTC.
    """
    match = _MINIMUM.search(error.message) if error.status == 400 else None
    if not match:
        return None
    return from_datetime(datetime.strptime(match[1], "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC))


def _cut(page: Page, window: Window, seen: dict[bytes, str]) -> Batch:
    """Return the page's records that belong to the window and were not seen before; ``seen`` grows."""
    rows: list[msgspec.Raw] = []
    times: list[str] = []
    ids = set(seen.values())
    repeated = 0
    for raw in page.records:
        try:
            record = msgspec.json.decode(raw, type=_Record)
            tick = record_tick(record.time)
        except (*rawjson.UNREADABLE, ValueError) as error:
            raise ProtocolError(
                f"Microsoft Graph answered a record that cannot be placed: {error}"
            ) from error
        if not window.start <= tick < window.end:
            continue
        digest = hashlib.sha256(raw).digest()
        if digest not in seen:
            repeated += record.id in ids
            ids.add(record.id)
            seen[digest] = record.id
            rows.append(raw)
            times.append(record.time)
    return Batch(
        rows=rows,
        times=times,
        answer_bytes=len(page.body),
        repeated_ids=repeated,
        served_at=page.served_at,
    )


def record_tick(text: str) -> int:
    """Return the tick of a record's time, whose fraction has up to seven digits, zeros at its end cut off.

    Raises ValueError for any other form: a record that is misread would be in no window, or in two.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time such as 2026-11-21T10:00:00.1234567Z")
    return parse_instant(text)


def _check(_options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    return iter(())


def _identity(options: msgspec.Struct, tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    if tenant_id is None:
        raise ValueError(
            "the app setting AZURE_TENANT_ID, so that one name never comes to hold two tenants' records"
        )
    return {"tenant": tenant_id.lower(), "log": options.log}


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return Entra(options, tools.connect("graph"))


TYPE = SourceType(
    kind="entra",
    forgets=True,
    union=True,
    retention=None,
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
)
