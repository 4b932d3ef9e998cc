"""The unified audit log of Microsoft Purview through Microsoft Graph: searches that the service carries out.

A search is begun, looked at until it is over, and its records are then read page by page. Its name says what
it is for, so that another attempt finds it again instead of beginning it twice.

Sources: "Create auditLogQuery", "List auditLogQueries", "auditLogQuery resource type", "List
auditLogRecords", and "Microsoft Graph service-specific throttling limits" (security audit log query).
"""

import ipaddress
import logging
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Literal
from urllib.parse import quote

import msgspec

from shared.audit_queries import (
    Search,
    check_reach,
    check_shown,
    dated,
    ended_badly,
    halves,
    no_room,
    read_search,
    search_body,
    search_name,
    standing,
)
from shared.errors import DeniedError, NoRoomError, NotSettledError, ServiceError
from shared.model import Batch, Clock, Reading, Request, Response, Send, Source, SourceType, Tools, Window
from shared.paging import pages
from shared.polling import Patience, Waiting, poll
from shared.record_log import Cut, read_records, record_tick
from shared.service_errors import retry_after
from shared.tables import record_columns
from shared.windows import HOUR, SECOND, grid_floor, union

_log = logging.getLogger(__name__)

PATIENCE = Patience(first=2.0, most=20.0, total=90.0, again=120.0)
"""Searches take minutes; while one goes on, other exports may have their turn."""

_NO_ROOM_SECONDS = 600.0
_PAGE_SIZE = 999  # clients in the field ask for so many; the most that may be asked for is not documented
_PAGE_WAIT_SECONDS = 300.0
_RECORDS_AT_LEAST = 1_000_000  # that a search shows; a tenant's own limit may be higher
_TOLERANCE = 5 * SECOND  # clocks that are kept in step still differ by some
_NEEDS = (
    "the app needs the application permission AuditLogsQuery.Read.All (or, where one service's records are "
    "enough, that service's own, such as AuditLogsQuery-Entra.Read.All), with an administrator's consent"
)

_COLUMNS = record_columns(
    *("id", "createdDateTime:datetime", "auditLogRecordType", "operation", "service", "userType", "userId"),
    *("userPrincipalName", "objectId", "clientIp", "organizationId"),
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an export of this source is told: which records; without a filter, all that the app may see.

    A list keeps the records that match one of its values; several filters have to match together.
    ``version`` is Graph's: some tenants were reported to have the search in beta only.
    """

    record_types: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None
    operations: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    ip_addresses: tuple[str, ...] | None = None
    object_ids: tuple[str, ...] | None = None
    administrative_units: tuple[str, ...] | None = None
    keyword: str | None = None
    version: Literal["v1.0", "beta"] = "v1.0"


# "Create auditLogQuery" shows one serviceFilter; the resource type, and the description of itself that
# Microsoft's clients for Graph are generated from, have the list.
_FILTERS = {
    "record_types": "recordTypeFilters",
    "services": "serviceFilters",
    "operations": "operationFilters",
    "users": "userPrincipalNameFilters",
    "ip_addresses": "ipAddressFilters",
    "object_ids": "objectIdFilters",
    "administrative_units": "administrativeUnitIdFilters",
    "keyword": "keywordFilter",
}


class AuditSearch:
    """Reads the windows of one export."""

    def __init__(self, options: Options, send: Send, clock: Clock) -> None:
        self._options = options
        self._send = send
        self._clock = clock

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's records, a batch for each page that the service answered.

        All searches are over before the first record is read. Raises NotReadyError while one goes on, or
        does not show as many records as were counted; NoRoomError where none may be begun.
        """
        send = _Counting(self._send)
        patience = HOUR
        if not reading.since:  # who asks for what there is now may have to ask again soon
            reading = replace(reading, since=grid_floor(self._clock.now(), HOUR))
            patience = HOUR // 2  # less than that hour, in which alone the search is found again
        searches = _Searches(self._options, send, self._clock, reading)
        try:
            for window, search in searches.whole(reading.window):
                for batch in searches.records(search, window, patience):
                    yield replace(batch, requests=send.taken())
        except ServiceError as error:
            if error.status in {401, 403}:
                raise DeniedError.of(error, _NEEDS) from error
            raise

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many records each window holds; one search reads all that lie side by side."""
        ticks = sorted(
            record_tick(time)
            for span in union(windows)
            for batch in self.read(Reading(span, deadline))
            for time in batch.times
        )
        return [bisect_left(ticks, each.end) - bisect_left(ticks, each.start) for each in windows]

    def release(self, reading: Reading) -> None:
        """That a search could be deleted is not documented; the service drops it after some weeks."""


class _Searches:
    """The searches that the service holds, as one reading sees them."""

    def __init__(self, options: Options, send: Send, clock: Clock, reading: Reading) -> None:
        self._filters = _filters(options)
        self._path = f"/{options.version}/security/auditLog/queries"
        self._send = send
        self._clock = clock
        self._deadline = reading.deadline
        self._since = reading.since
        self._now = clock.now()
        self._known: dict[str, Search] | None = None

    def whole(self, window: Window) -> list[tuple[Window, Search]]:
        """Return the searches that show all that they found, in order, each with its part of the window.

        Where one finds more records than the service shows, its time is halved; as many as there is room for
        go on at the service together. Raises NotReadyError while one goes on, NoRoomError where none that is
        needed may be begun.
        """
        parts, going = deque([window]), deque[tuple[Window, Search]]()
        found: list[tuple[Window, Search]] = []
        while parts or going:
            while parts and not (going and no_room(self._listed().values(), self._now)):
                going.append((parts[0], self._begun(parts.popleft())))
            part, search = going.popleft()
            search = self._finished(search, part)
            if search.is_cut_off:
                parts += halves(part)
            else:
                found.append((part, search))
        return sorted(found, key=lambda each: each[0].start)

    def _begun(self, window: Window) -> Search:
        """Return the search of a window, begun now if no other attempt has begun it."""
        name = search_name(self._filters, window, self._since)
        return standing(self._listed().values(), name, self._now) or self._begin(name, window)

    def _finished(self, search: Search, window: Window) -> Search:
        """Return a search when it has succeeded. Raises NotReadyError while it goes on."""
        search = poll(lambda: self._look(search), self._clock, self._deadline, PATIENCE)
        if search.has_failed:
            raise ended_badly(search)
        check_reach(search, window)
        return search

    def records(self, search: Search, window: Window, patience: int) -> Iterator[Batch]:
        """Yield the records that a search found in a window.

        Two walks through the records of one search were seen to differ, and its count of them is called
        approximate. So a walk is believed where it shows as many as were counted, and repeated where not.
        Walks that agree on fewer are believed when the search was begun ``patience`` (ticks) ago; until then
        NotReadyError is raised.
        """

        def doubt(shown: int) -> None:
            warning = check_shown(search, shown, self._now, patience)
            if warning:
                _log.warning("%s; that is taken for all, since its count is approximate", warning)

        target = f"{self._path}/{quote(search.id, safe='')}/records?$top={_PAGE_SIZE}"
        first = Request("GET", target, wait=_PAGE_WAIT_SECONDS, deadline=self._deadline)
        is_flagged = search.is_record_count_limit_exceeded is not None
        most = None if is_flagged else search.record_count_limit or _RECORDS_AT_LEAST
        counted = search.approximate_returned_record_count
        cut = Cut("createdDateTime", window, most)
        return read_records(self._send, first, cut, lambda shown: shown == counted, doubt)

    def _listed(self) -> dict[str, Search]:
        """Return all searches of the tenant by their ids; in which order they come is not documented.

        Those that this reading begins are added, and those that it looks at are kept up to date.
        """
        if self._known is None:
            known: dict[str, Search] = {}
            for page in pages(self._send, Request("GET", self._path, deadline=self._deadline)):
                known |= {each.id: each for each in map(read_search, map(bytes, page.records))}
                self._now = page.served_at or self._now
            self._known = known
        return self._known

    def _begin(self, name: str, window: Window) -> Search:
        if self._now < self._since - _TOLERANCE:  # what it finds may not be all yet
            raise NotSettledError(self._since - self._now)
        full = no_room(self._listed().values(), self._now)
        if full is not None:
            raise full
        name = dated(name, self._now)
        request = Request(
            "POST",
            self._path,
            body=search_body(self._filters, window, name),
            headers={"Content-Type": "application/json"},
            deadline=self._deadline,
            final=frozenset({429}),  # it may last for hours, and other exports can go on meanwhile
            once=True,
        )
        try:
            return self._noted(read_search(self._send(request).body), name)
        except ServiceError as error:
            if error.status != 429:
                raise
            wait = ceil(max(PATIENCE.again, error.retry_after or _NO_ROOM_SECONDS)) * SECOND
            raise NoRoomError(wait, f"the tenant has no room for another audit search: {error}") from error

    def _noted(self, search: Search, name: str | None) -> Search:
        """Return a search as the service shows it now, by the name that it was begun with."""
        search = msgspec.structs.replace(search, display_name=name)
        self._listed()[search.id] = search
        return search

    def _look(self, known: Search) -> Search | Waiting:
        id_ = known.id
        request = Request(
            "GET",
            f"{self._path}/{quote(id_, safe='')}",
            deadline=self._deadline,
            doubtful=("BadRequest",),  # a look at a search that went on was seen to be refused so
        )
        try:
            response = self._send(request)
        except ServiceError as error:
            if error.status == 404:
                return Waiting(f"the audit search {id_} is not to be seen yet")
            raise
        search = self._noted(read_search(response.body), known.display_name)
        if search.is_over:
            return search
        wish = retry_after(response.headers, self._clock.now())
        return Waiting(f"the audit search {id_} is {search.status}", wish)


class _Counting:
    """A ``send`` that counts."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._count = 0

    def __call__(self, request: Request, /) -> Response:
        self._count += 1
        return self._send(request)

    def taken(self) -> int:
        """Return how many requests there were since this was last asked."""
        count, self._count = self._count, 0
        return count


def _filters(options: Options) -> Mapping[str, object]:
    return {wire: value for key, wire in _FILTERS.items() if (value := getattr(options, key)) is not None}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_ANY: tuple[Callable[[str], object], str] = (str.strip, "text")
_VALUES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "record_types": (re.compile(r"[A-Za-z][A-Za-z0-9]*").fullmatch, "such as 'azureActiveDirectory'"),
    "users": (re.compile(r"\S+").fullmatch, "a user principal name, such as 'ann@contoso.com'"),
    "ip_addresses": (_is_address, "an IP address, such as '203.0.113.7'"),
    "administrative_units": (
        re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch,
        "the id of an administrative unit",
    ),
}


def _check(options: msgspec.Struct) -> Iterator[tuple[str, str, str]]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this check with these options
    for key in _FILTERS:
        given = getattr(options, key)
        is_right, expected = _VALUES.get(key, _ANY)
        if given == ():
            yield key, "nothing", "one value at least; without the key, all records"
        for value in (given,) if isinstance(given, str) else given or ():
            if not is_right(value):
                yield key, repr(value), expected


def _identity(options: msgspec.Struct, tenant_id: str | None) -> Mapping[str, str]:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    if tenant_id is None:
        raise ValueError(
            "the app setting AZURE_TENANT_ID, so that one name never comes to hold two tenants' records"
        )
    return {"tenant": tenant_id.lower(), "log": "unified audit log"}


def _open(options: msgspec.Struct, tools: Tools) -> Source:
    assert isinstance(options, Options)  # noqa: S101  the registry pairs this with these options
    return AuditSearch(options, tools.connect("graph"), tools.clock)


TYPE = SourceType(
    kind="entra",
    forgets=True,
    union=True,
    retention="180d",
    options=Options,
    check=_check,
    identity=_identity,
    open=_open,
    paged=True,
    columns=lambda _: _COLUMNS,
)
