"""Log Analytics through its first search API, which Microsoft has retired: for recorded or private endpoints.

Its successor is the source ``log_analytics``.

Windows lie on TimeGenerated. The parts of a window are half-open and each is cut exactly here, so no row is
in two of them; rows that one answer repeats are stored as often as it holds them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from shared import rawjson
from shared.counting import count_by_reading
from shared.errors import ExportError, ProtocolError
from shared.log_search import MAX_TOP, Found, Searches
from shared.model import Batch, Clock, Reading, Send, Source, SourceType, Tools, Window
from shared.record_log import record_tick
from shared.slices import MAX_SLICES
from shared.tables import record_columns
from shared.windows import SECOND, format_second

_RESOURCE = re.compile(
    r"/subscriptions/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/resourceGroups/[\w.()-]{1,90}"
    r"/providers/Microsoft\.OperationalInsights/workspaces/[a-z0-9-]{1,63}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r""""[^"]*"|'[^']*'|\{[^{}]*\}""")  # texts, and searches inside a search
_ROW_WISE = ("where", "select", "extend", "sort")
_COLUMNS = record_columns("id", "TimeGenerated:datetime", "Type", "Computer")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: whose logs (``resource``, the workspace's id on ARM), and which.

    ``query`` is in the search language of 2015, such as ``Type=Event``; ``top`` is how many rows one search
    asks for: windows that hold more are searched in parts.
    """

    resource: str
    query: str = "*"
    top: int = MAX_TOP


class LogAnalyticsSearch:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send, clock: Clock) -> None:
        self._options = options
        self._send = send
        self._clock = clock

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows, a batch for each search; one that was cut off is made in halves."""
        options = self._options
        searches = Searches(
            options.resource, options.query, options.top, self._send, self._clock, reading.deadline
        )
        spans = [reading.window]
        done = 0
        while spans:
            span = spans.pop()
            found = searches.search(span)
            if len(found.rows) >= options.top or (found.total or 0) > len(found.rows):
                spans += reversed(_halves(span, found))
                if done + len(spans) > MAX_SLICES:
                    raise ExportError(
                        f"the window would take more than {MAX_SLICES} searches; give the export a shorter "
                        "window"
                    )
                continue
            done += 1
            yield _batch(found, span, searches.requests())

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows each window holds; a total is of whole seconds and more, so they are read."""
        return count_by_reading(self.read, windows, deadline)

    def release(self, reading: Reading) -> None:
        """The service forgets its searches within minutes."""


class _Row(msgspec.Struct):
    time: str | None = msgspec.field(default=None, name="TimeGenerated")


def _batch(found: Found, span: Window, requests: int) -> Batch:
    """Return the rows that lie in a span, exact to the tick.

    Raises ExportError for rows without a time, and ProtocolError for what is no row.
    """
    rows: list[msgspec.Raw] = []
    times: list[str] = []
    for raw in found.rows:
        try:
            time = msgspec.json.decode(raw, type=_Row).time
            if time is None:
                raise ExportError(
                    "the query answers with rows that have no TimeGenerated, so none of them belongs to a "
                    "window; leave out what makes new rows (measure, distinct), and select TimeGenerated too"
                )
            tick = record_tick(time)
        except (*rawjson.UNREADABLE, ValueError) as error:
            raise ProtocolError(f"a search has a row that cannot be placed: {error}") from error
        if span.start <= tick < span.end:
            rows.append(raw)
            times.append(time)
    return Batch(
        rows,
        times=times,
        requests=requests,
        answer_bytes=found.answer_bytes,
        served_at=found.served_at,
    )


def _halves(span: Window, found: Found) -> list[Window]:
    """Return the two halves of a span, which begin and end on whole seconds. Raises ExportError for one."""
    seconds = (span.end - span.start) // SECOND
    if seconds < 2:
        raise ExportError(
            f"the second {format_second(span.start)}, with those beside it, has {found.total} rows, and one "
            f"search returned {len(found.rows)}: narrow the query, in several exports if need be"
        )
    middle = span.start + seconds // 2 * SECOND
    return [Window(span.start, middle), Window(middle, span.end)]


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    if not _RESOURCE.fullmatch(options.resource):
        shape = "/subscriptions/…/resourceGroups/…/providers/Microsoft.OperationalInsights/workspaces/…"
        yield "resource", repr(options.resource), f"the workspace's resource id, {shape}"
    if not 2 <= options.top <= MAX_TOP:  # of one row nobody could tell whether it is the only one
        yield "top", str(options.top), f"a number from 2 to {MAX_TOP}, the most that one search returns"
    if not options.query.strip():
        yield "query", "nothing", "a search such as 'Type=Event', or '*' for every row"
    for command in _commands(options.query):
        if command.lower() not in _ROW_WISE:
            allowed = ", ".join(_ROW_WISE)
            yield "query", f"the command {command!r}", f"what takes each row for itself: {allowed}"


def _commands(query: str) -> list[str]:
    """Return the commands that a query's filter is piped through."""
    pieces = _QUOTED.sub(" ", query).split("|")[1:]
    return [words[0] if (words := piece.split()) else "" for piece in pieces]


def _identity(options: msgspec.Struct, _tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return {"workspace": options.resource.lower()}


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return LogAnalyticsSearch(options, tools.connect("arm"), tools.clock)


TYPE = SourceType(
    kind="log_analytics",
    forgets=False,
    union=False,
    retention="30d",  # a workspace's default; older time is answered with nothing, not with an error
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
    columns=lambda _: _COLUMNS,
)
