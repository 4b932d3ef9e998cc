"""One on-demand question, as a caller's HTTP request puts it. Pure."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

import msgspec

from shared import kql, kql_guard, parameters
from shared.errors import BadRequestError, RefusedError
from shared.http_body import read_mended, span_of
from shared.model import Window
from shared.query_formats import FORMATS, FormatName, accepted, available, named
from shared.query_settings import QuerySettings
from shared.saved_queries import SavedQuery
from shared.windows import DAY, END_OF_TIME, HOUR, MINUTE, SECOND, format_instant, parse_instant

DEFAULT_TIMESPAN = "PT24H"
DEFAULT_WAIT = 30
MAX_WAIT = 200
"""Seconds; the load balancer before a function cuts at 230."""
MAX_TOP = 450_000
"""Rows; one more is asked for, and the service takes an answer of 500,000 for one that was cut off."""
MAX_BODY = 1 << 20
"""Bytes of a request's body."""
MAX_QUERY = 100_000
"""Characters of a caller's KQL, which the guard reads before any other cap applies."""

Destination = Literal["inline", "blob"]

_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d{1,9}(?:\.\d{1,9})?)W)?(?:(?P<days>\d{1,9}(?:\.\d{1,9})?)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9}(?:\.\d{1,9})?)H)?(?:(?P<minutes>\d{1,9}(?:\.\d{1,9})?)M)?"
    r"(?:(?P<seconds>\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_UNITS = {"weeks": 7 * DAY, "days": DAY, "hours": HOUR, "minutes": MINUTE, "seconds": SECOND}


# Constraints are ``extra_json_schema``: they are checked below, so that all mistakes are told at once.
class SavedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename=None):
    """What is asked beside the query itself."""

    timespan: Annotated[
        str | None,
        msgspec.Meta(
            description="ISO 8601 duration in weeks, days, hours, minutes and seconds (PT24H, P7D) or "
            f"interval (start/end, start/duration, duration/end); {DEFAULT_TIMESPAN} where no time is given",
            extra_json_schema={"pattern": "^(P|[0-9]{4}-).+$"},
        ),
    ] = None
    start: Annotated[str | None, msgspec.Meta(description="an instant, with end, instead of timespan")] = None
    end: Annotated[str | None, msgspec.Meta(description="an instant after start")] = None
    top: Annotated[
        int | None,
        msgspec.Meta(description="at most so many rows; the answer has the total"),
    ] = None
    workspace: Annotated[
        str | None, msgspec.Meta(description="the name or the ID of one of the app's workspaces")
    ] = None
    format: Annotated[
        str | None,
        msgspec.Meta(description="the answer's form or media type, instead of Accept"),
    ] = None
    destination: Annotated[
        Destination, msgspec.Meta(description="blob: keep the whole result, and answer where it is")
    ] = "inline"
    wait: Annotated[
        int | None,
        msgspec.Meta(
            description=f"seconds to wait for the answer ({DEFAULT_WAIT} where it is not given)",
            extra_json_schema={"minimum": 0, "maximum": MAX_WAIT},
        ),
    ] = None
    parameters: Annotated[
        dict[str, Any],
        msgspec.Meta(description="values that are declared to the query as constants, by name"),
    ] = {}


class Body(SavedBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of a question in KQL of the caller's own."""

    query: Annotated[
        str,
        msgspec.Meta(
            description="KQL with one result",
            extra_json_schema={
                "minLength": 1,
                "maxLength": MAX_QUERY,
                "examples": ["Event | summarize count() by Computer"],
            },
        ),
    ]


class Question(msgspec.Struct, frozen=True):
    """A question that was understood.

    ``query`` is KQL, which ``constants``, the `let` statements of its parameters, precede. It is asked with
    ``timespan``, of which ``start`` and ``end`` (ticks) are the bounds when the question was put. ``top`` is
    how many rows are wanted at most (None: all), ``workspace`` an ID. The caller waits ``wait`` seconds.
    ``saved`` names a saved query.
    """

    query: str
    start: int
    end: int
    workspace: str
    top: int | None = None
    format: FormatName = "json"
    destination: Destination = "inline"
    wait: int = DEFAULT_WAIT
    saved: str | None = None
    constants: str = ""

    @property
    def text(self) -> str:
        """The whole KQL."""
        return self.constants + self.query

    @property
    def span(self) -> Window:
        """The time that is asked for."""
        return Window(self.start, self.end)

    @property
    def timespan(self) -> str:
        """The same time, as the service understands it whenever it is asked."""
        return f"{format_instant(self.start)}/{format_instant(self.end)}"


def read_question(
    body: bytes,
    headers: Mapping[str, str],
    settings: QuerySettings,
    now: int,
    saved: SavedQuery | None = None,
) -> Question:
    """Read a request; ``headers`` have lower-case names, and ``now`` is in ticks.

    Without ``workspace`` the first of the app's is asked. Raises BadRequestError, which names every field
    that is wrong, and RefusedError for what HTTP has a status of its own for.
    """
    _check_headers(body, headers)
    fields: SavedBody
    if saved:
        fields, mistakes = read_mended(body or b"{}", SavedBody)
    else:
        fields, mistakes = read_mended(body, Body, query="")
    reader = _Reader(fields, settings, now)
    constants, query = reader.saved(saved) if saved else reader.free()
    span = reader.span()
    question = Question(
        query=query,
        start=span.start,
        end=span.end,
        workspace=reader.workspace(),
        top=reader.top(),
        format=reader.format(headers.get("accept", "")),
        destination=fields.destination,
        wait=reader.wait(headers.get("prefer", "")),
        saved=saved.name if saved else None,
        constants=constants,
    )
    told = {field for field, _ in mistakes}
    mistakes += [mistake for mistake in reader.mistakes if mistake[0] not in told]
    if mistakes:
        raise BadRequestError.of(mistakes)
    return question


def preferences(prefer: str) -> dict[str, str]:
    """Return the preferences of a ``Prefer`` header (RFC 7240): ``{"respond-async": "", "wait": "10"}``."""
    found: dict[str, str] = {}
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip():
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def _check_headers(body: bytes, headers: Mapping[str, str]) -> None:
    if len(body) > MAX_BODY:
        raise RefusedError(413, f"the request's body has {len(body)} bytes; {MAX_BODY} are the most")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and media_type != "application/json":
        raise RefusedError(
            415,
            f"the body's media type is {repr(media_type) if media_type else 'not given'}; "
            "send Content-Type: application/json",
        )


class _Reader:
    """Reads the fields one by one and gathers what is wrong with them."""

    def __init__(self, fields: SavedBody, settings: QuerySettings, now: int) -> None:
        self._fields = fields
        self._settings = settings
        self._now = now
        self.mistakes: list[tuple[str, str]] = []

    def free(self) -> tuple[str, str]:
        """Return the parameters as constants, and the caller's KQL, which the guard has let pass."""
        assert isinstance(self._fields, Body)  # noqa: S101  the caller chose it
        text, length = "", len(self._fields.query)
        if length > MAX_QUERY:
            self._wrong(
                "query",
                f"has {length} characters; expected {MAX_QUERY} at most, with long lists in parameters",
            )
            return "", ""
        try:
            text = kql.without_end(self._fields.query)
            if not text:
                self._wrong("query", "is empty; expected KQL such as 'Event | take 10'")
            else:
                kql_guard.check(text, self._settings.allowed)
        except ValueError as error:
            self._wrong("query", str(error))
        except BadRequestError as error:
            self.mistakes += error.mistakes
        try:
            return parameters.declare(parameters.read(self._fields.parameters)), text
        except BadRequestError as error:
            self.mistakes += error.mistakes
            return "", ""

    def saved(self, query: SavedQuery) -> tuple[str, str]:
        """Return a saved query's parameters as constants, and its KQL."""
        try:
            return query.constants(self._fields.parameters), kql.without_end(query.text)
        except BadRequestError as error:
            self.mistakes += error.mistakes
            return "", ""

    def span(self) -> Window:
        """Return the time that is asked for: checked, because the service takes a wrong one for no rows."""
        try:
            span = _timespan(self._fields, self._now)
        except BadRequestError as error:
            self.mistakes += error.mistakes
            return Window(0, 1)
        if span.end - span.start > self._settings.days * DAY:
            field = "start" if self._fields.start is not None else "timespan"
            self._wrong(field, f"asks for more than {self._settings.days} days (QUERY_MAX_DAYS)")
        return span

    def workspace(self) -> str:
        """Return the ID of one of the app's workspaces."""
        wanted, known = self._fields.workspace, self._settings.workspaces
        if not known:
            self._wrong("workspace", "none is configured; set the app setting LOG_ANALYTICS_WORKSPACE_ID")
            return ""
        if wanted is None:
            return next(iter(known.values()))
        for name, workspace in known.items():
            if wanted.lower() in {name.lower(), workspace.lower()}:
                return workspace
        self._wrong("workspace", f"{_short(wanted)} is not one of this app's workspaces")
        return ""

    def top(self) -> int | None:
        """Return how many rows are wanted."""
        top, most = self._fields.top, min(MAX_TOP, self._settings.rows)
        if top is not None and not 1 <= top <= most:
            self._wrong("top", f"is {top}; expected 1 to {most}")
        return top

    def format(self, accept: str) -> FormatName:
        """Return the form of the answer. Raises RefusedError where the caller accepts none that there is."""
        text = self._fields.format
        name = named(text) if text is not None else accepted(accept)
        if name is None and text is None:
            there = ", ".join(dict.fromkeys(available().values()))
            raise RefusedError(406, f"Accept is {_short(accept)}; answers are {there}")
        if name is None:
            self._wrong("format", f"{_short(text)} is not known; expected one of {', '.join(available())}")
            return "json"
        if missing := FORMATS[name].plain.missing:
            self._wrong("format", missing)
        return name

    def wait(self, prefer: str) -> int:
        """Return how long the caller waits: by the body, else by the preferences, where they can be met."""
        wait = self._fields.wait
        if wait is None:
            wanted = preferences(prefer)
            if re.fullmatch(r"[0-9]{1,9}", text := wanted.get("wait", "")):
                return min(int(text), MAX_WAIT)
            return 0 if "respond-async" in wanted else DEFAULT_WAIT
        if not 0 <= wait <= MAX_WAIT:
            self._wrong("wait", f"is {wait}; expected 0 to {MAX_WAIT} seconds")
        return wait

    def _wrong(self, field: str, message: str) -> None:
        self.mistakes.append((field, message))


def _timespan(fields: SavedBody, now: int) -> Window:
    """Return the time that is asked for, in whatever form."""
    if fields.start is None and fields.end is None:
        text = DEFAULT_TIMESPAN if fields.timespan is None else fields.timespan
        return _span(text, now)
    if fields.timespan is not None:
        raise BadRequestError("timespan", "was given beside start or end; give one or the other")
    return span_of(fields.start, fields.end)


def _span(text: str, now: int) -> Window:
    first, slash, second = text.partition("/")
    if not slash:
        return Window(max(0, now - _ticks(first)), now)
    if first.startswith("P"):
        end = _instant(second)
        start = end - _ticks(first)
    else:
        start = _instant(first)
        end = start + _ticks(second) if second.startswith("P") else _instant(second)
    if not 0 <= start < end < END_OF_TIME:
        raise BadRequestError(
            "timespan", "does not end after it starts, or not within the years 1 to 9999"
        )
    return Window(start, end)


def _ticks(duration: str) -> int:
    match = _DURATION.fullmatch(duration)
    if not match:
        raise BadRequestError(
            "timespan",
            f"{_short(duration)} is no ISO 8601 duration in weeks, days, hours, minutes and seconds such as "
            "PT24H, nor an interval start/end",
        )
    ticks = round(sum(Fraction(number) * _UNITS[unit] for unit, number in match.groupdict("0").items()))
    if not ticks:
        raise BadRequestError("timespan", f"{duration!r} is no time at all")
    return ticks


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise BadRequestError("timespan", str(error)[:200]) from error


def _short(text: str | None) -> str:
    """Return a caller's text as it is told back, cut off where it is long."""
    shown = repr(text)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
