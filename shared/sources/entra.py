"""Entra ID's directory audit log, through Microsoft Graph v1.0 ("List directoryAudits").

Graph's comparison is not documented to the tick, so each window is asked for a second wider on both sides,
with ``ge`` and ``le``, and cut exactly here.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from shared import rawjson
from shared.errors import ProtocolError
from shared.model import Batch, Measured, Request, Send, Source, SourceType, Tools, Window
from shared.paging import Page, pages
from shared.windows import SECOND, format_second, parse_instant

PAGE_SIZE = 1000
WAIT_SECONDS = 300.0
"""Answers of several minutes are seen in the field, and end well."""

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

    def read(self, window: Window, deadline: float, measured: Measured | None) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the window's records, a batch for each page that the service answered.

        A record that one walk shows twice, as pages that move under it may, is yielded once; records that
        share an id but not their content are all kept.
        """
        seen: set[bytes] = set()
        first = Request("GET", first_page(self._options.log, window), wait=WAIT_SECONDS, deadline=deadline)
        for number, page in enumerate(pages(self._send, first)):
            yield replace(_cut(page, window, seen), slices=1 if number == 0 else 0)


def first_page(log: str, window: Window) -> str:
    """Return the path and query of a window's first page, a second wider than the window on both sides."""
    start = format_second(max(0, window.start - SECOND))
    end = format_second(window.end + SECOND)
    query = {
        "$filter": f"activityDateTime ge {start} and activityDateTime le {end}",
        "$top": str(PAGE_SIZE),
    }
    return f"/v1.0/auditLogs/{log}?{urlencode(query, quote_via=quote, safe='$:')}"


def _cut(page: Page, window: Window, seen: set[bytes]) -> Batch:
    """Return the page's records that belong to the window and were not seen before."""
    rows: list[msgspec.Raw] = []
    times: list[str] = []
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
            seen.add(digest)
            rows.append(raw)
            times.append(record.time)
    return Batch(rows=rows, times=times, answer_bytes=len(page.body))


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


TYPE = SourceType("entra", True, Options, _check, _identity, _open)
