"""Follows next links until there is none. Does no I/O but through the ``send`` it is given."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from shared import rawjson
from shared.errors import ProtocolError, ServiceError
from shared.model import Request, Send
from shared.service_errors import served_at

MAX_PAGES = 100_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its records undecoded, its body as it came, and the service's own time (ticks)."""

    records: list[msgspec.Raw]
    body: bytes
    served_at: int | None = None


class _Body(msgspec.Struct):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    next_link_before_v4: str | None = msgspec.field(default=None, name="odata.nextLink")


def pages(send: Send, first: Request) -> Iterator[Page]:
    """Yield every page from the first request on.

    A next link is followed whole, never taken apart, and pages may be empty: only its absence ends the walk
    ("Paging Microsoft Graph data in your app"), by the name that OData has for it, or had before version 4.
    Raises ProtocolError for a page that is not one, and for a link that was followed before, which would
    never end. A link that the service itself refuses is an error that beginning the walk again can mend.
    """
    request, seen = first, {first.target}
    for number in range(1, MAX_PAGES + 1):
        try:
            response = send(request)
        except ServiceError as error:
            if number > 1 and 400 <= error.status < 500:
                error.retryable = True
            raise
        try:
            page = rawjson.decode(response.body, _Body)
        except rawjson.UNREADABLE as error:
            raise ProtocolError(f"page {number} is not a page of records: {error}") from error
        yield Page(page.value, response.body, served_at(response.headers))
        link = page.next_link if page.next_link is not None else page.next_link_before_v4
        if link is None:
            return
        if link in seen:
            raise ProtocolError(
                f"page {number} points back to a page that was read before; nothing was stored"
            )
        seen.add(link)
        # What a link is refused with is met by a new walk, which asks for a new link.
        request = replace(request, target=link, doubtful=())
    raise ProtocolError(f"the walk did not end after {MAX_PAGES} pages; ask for a shorter window")
