"""What searches of the unified audit log are called, and what is to be made of those there are. Pure.

The service does not say when a search was begun, so its name does.
"""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from shared import rawjson
from shared.errors import ExportError, NoRoomError, NotReadyError, ProtocolError, ServiceError
from shared.layout import compact, expand, window_id
from shared.model import Window
from shared.windows import DAY, HOUR, MINUTE, SECOND, format_second, parse_instant

AT_ONCE = 10
"""Unfinished searches of this app; all apps of a tenant may have 50 or more together."""

A_DAY = 150
"""Searches of this app begun within 24 hours; a tenant may have 200 or more, and people need some of them."""

AGAIN = 2 * MINUTE
"""After how long (ticks) it is worth asking again."""

_OURS = "azure-log-exports"
_FAILED = ("failed", "cancelled")
_FAILURES_A_DAY = 3  # of one search; a tenant has 200 or more submissions in 24 hours


class Search(msgspec.Struct, frozen=True, rename="camel"):
    """A search as the service shows it ("auditLogQuery resource type"); it shows those of others as well."""

    id: str
    display_name: str | None = None
    status: str | None = None
    filter_start_date_time: str | None = None
    filter_end_date_time: str | None = None
    is_record_count_limit_exceeded: bool | None = None
    approximate_returned_record_count: int | None = None
    record_count_limit: int | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without records."""
        return self.status in _FAILED

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or badly; a status that is not documented is no end."""
        return self.status == "succeeded" or self.has_failed

    @property
    def is_cut_off(self) -> bool:
        """Whether it found more than it shows: it has then succeeded all the same."""
        count, limit = self.approximate_returned_record_count, self.record_count_limit
        if self.is_record_count_limit_exceeded is None and count is not None and limit is not None:
            return count >= limit
        return self.is_record_count_limit_exceeded is True


def read_search(body: bytes) -> Search:
    """Read a search. Raises ProtocolError."""
    try:
        return rawjson.decode(body, Search)
    except rawjson.UNREADABLE as error:
        raise ProtocolError(f"an audit search cannot be read: {error}") from error


def search_name(filters: Mapping[str, object], window: Window, since: int) -> str:
    """Return what the names of a window's searches begin with: the same for the same records, and only then.

    ``since`` (ticks) sets readings of the same window apart.
    """
    terms = msgspec.json.encode([sorted(filters.items()), since])
    return f"{_OURS} {window_id(window)} {hashlib.sha256(terms).hexdigest()[:24]}"


def dated(name: str, now: int) -> str:
    """Return the whole name of a search that is begun ``now`` (ticks)."""
    return f"{name} {compact(now)}"


def search_body(filters: Mapping[str, object], window: Window, name: str) -> bytes:
    """Return the body that begins a search by its whole name, of whole seconds and one more on both sides.

    Whether the ends of its time belong to it is not documented.
    """
    return msgspec.json.encode(
        {
            "displayName": name,
            "filterStartDateTime": format_second(max(0, window.start - SECOND)),
            "filterEndDateTime": format_second(window.end + SECOND),
            **filters,
        }
    )


def standing(listed: Iterable[Search], name: str, now: int) -> Search | None:
    """Return the search by a name that succeeded or still goes on; None where one has to be begun.

    One that has gone on for a day is given up. Raises ServiceError when too many have failed within a day.
    """
    mine = [(begun, each) for each in listed if (begun := _begun(each, name)) is not None]
    recent = [each for begun, each in mine if begun > now - DAY]
    good = [each for _, each in mine if each.status == "succeeded"]
    good += [each for each in recent if not each.is_over]
    if good:
        return good[0]
    failed = [each for each in recent if each.has_failed]
    if len(failed) >= _FAILURES_A_DAY:
        raise ended_badly(failed[-1], f" as {len(failed)} did within a day")
    return None


def unfinished(listed: Iterable[Search], now: int) -> int:
    """Return how many searches of this app go on, but those that have done so for a day."""
    return len(_begun_within_a_day((each for each in listed if not each.is_over), now))


def no_room(listed: Iterable[Search], now: int) -> NoRoomError | None:
    """Return why this app may begin no other search ``now`` (ticks), and for how long; None where it may."""
    known = list(listed)
    if unfinished(known, now) >= AT_ONCE:
        return NoRoomError(AGAIN, f"{AT_ONCE} audit searches of this app are not over yet")
    begun = _begun_within_a_day(known, now)
    if len(begun) >= A_DAY:
        wait = begun[-A_DAY] + DAY - now
        why = f"this app has begun {len(begun)} audit searches within a day, and leaves the rest to others"
        return NoRoomError(min(HOUR, wait), why)
    return None


def check_shown(search: Search, shown: int, now: int, patience: int) -> str | None:
    """Return what to warn of where walks agree on ``shown`` records, and the service counted more.

    Its count is called approximate, so it does not keep a window out for ever; but walks may also agree on
    too few while records are still on their way to them. Raises NotReadyError until the search was begun
    ``patience`` (ticks) ago.
    """
    counted = search.approximate_returned_record_count
    if counted is None or shown >= counted:
        return None
    what = f"the audit search {search.id} shows {shown} records, and the service counted about {counted}"
    begun = _begun(search, _OURS)
    if begun is not None and now < begun + patience:
        raise NotReadyError(AGAIN, what)
    return what


def ended_badly(search: Search, like: str = "") -> ServiceError:
    """Return the error that a search which failed or was cancelled is.

    Another one is not begun at once, because each counts against what the tenant may have.
    """
    return ServiceError(
        "Microsoft Graph",
        status=200,
        code=search.status or "",
        message=f"the audit search {search.id} ended as {search.status}{like}; see Audit in Purview",
        request_id=None,
        retryable=False,
    )


def check_reach(search: Search, window: Window) -> None:
    """Raise ProtocolError for a search that says itself that it looked at less time than the window."""
    start, end = search.filter_start_date_time, search.filter_end_date_time
    try:
        late = start is not None and parse_instant(start) > window.start
        early = end is not None and parse_instant(end) < window.end
    except ValueError as error:
        raise ProtocolError(f"the audit search {search.id} has a time that is none: {error}") from error
    if late or early:
        raise ProtocolError(f"the audit search {search.id} only reaches from {start} to {end}")


def halves(window: Window) -> tuple[Window, Window]:
    """Cut a window in two on a whole second. Raises ExportError for a second."""
    seconds = (window.end - window.start) // SECOND
    if seconds < 2:
        raise ExportError(
            f"more records than an audit search shows lie about the second {format_second(window.start)}; "
            "give the export a filter, such as record_types, and what that leaves out to further exports"
        )
    middle = window.start + seconds // 2 * SECOND
    return Window(window.start, middle), Window(middle, window.end)


def _begun_within_a_day(listed: Iterable[Search], now: int) -> list[int]:
    """Return when this app began its searches (ticks), those of the last 24 hours, in order."""
    begun = (_begun(each, _OURS) for each in listed)
    return sorted(at for at in begun if at is not None and at > now - DAY)


def _begun(search: Search, name: str) -> int | None:
    """Return when a search was begun (ticks), from its name; None where that does not begin so."""
    shown = search.display_name or ""
    if not shown.startswith(f"{name} "):
        return None
    try:
        return expand(shown.rpartition(" ")[2])
    except ValueError:
        return None
