"""Searches of the unified audit log: what one asks for, how far it is, and what it found.

Sources: "Create auditLogQuery" and "auditLogQuery resource type"; "Security audit log query service limits".
"""

import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from local.cloud.audit_records import Record
from local.cloud.options import Limits
from local.cloud.search_limits import Ends
from local.cloud.ticks import SECOND, format_instant, parse_instant

Outcome = Literal["succeeded", "failed", "cancelled"]
Dated = tuple[int, Record]
"""When a record was created (ticks), and the record."""

_TEXTS = ("displayName", "filterStartDateTime", "filterEndDateTime", "keywordFilter", "serviceFilter")
_LISTS = (
    "recordTypeFilters",
    "serviceFilters",
    "operationFilters",
    "userPrincipalNameFilters",
    "ipAddressFilters",
    "objectIdFilters",
    "administrativeUnitIdFilters",
)
_ZONED = re.compile(r"T.*(?:Z|[+-]\d{2}:\d{2})$")
_IGNORED = ("@odata.type", "status")
_INDEXED = frozenset(
    {
        *("Id", "CreationTime", "Operation", "OrganizationId", "RecordType", "ResultStatus", "UserKey"),
        *("UserType", "Version", "Workload", "ClientIP", "ObjectId", "UserId"),
    }
)
"""Where the keyword is not looked for: in what all workloads have, for which there are other filters."""


@dataclass
class Search:
    """One search. Times are Unix seconds; `found` is None until it is over."""

    id: str
    asked: dict[str, Any]
    created: float
    runs_from: float
    over_from: float
    limit: int
    bounds: Ends
    miscount: int
    outcome: Outcome = "succeeded"
    found: list[Record] | None = None
    exceeded: bool = False
    matches: Callable[[Dated], bool] = field(init=False)

    def __post_init__(self) -> None:
        self.matches = _matcher(self.asked, self.bounds)

    @classmethod
    def make(cls, id_: str, asked: dict[str, Any], now: float, limits: Limits) -> "Search":
        """A new search, from the body of the request for it.

        Raises ValueError for a property that a search does not have, or a value of another type.
        """
        start, seconds = limits.audit_search_start, limits.audit_search_seconds
        most, bounds = limits.audit_search_records, limits.audit_search_ends
        off = limits.audit_search_miscount
        return cls(id_, _checked(asked), now, now + start, now + seconds, most, bounds, off)

    def status(self, now: float) -> str:
        """The search's status, as the service spells it."""
        if now < self.over_from:
            return "notStarted" if now < self.runs_from else "running"
        return self.outcome

    def settle(self, records: Iterable[Dated], now: float) -> None:
        """Find what there is, once, when the time has come; beyond the limit the rest is left out."""
        if self.found is None and now >= self.over_from:
            everything = self.find(records)
            self.found, self.exceeded = everything[: self.limit], len(everything) > self.limit

    def find(self, records: Iterable[Dated]) -> list[Record]:
        """What the search finds among `records`. No order is documented, so they come in none."""
        return sorted((each[1] for each in records if self.matches(each)), key=_shuffled)

    def document(self, now: float) -> dict[str, Any]:
        """The search as the service shows it.

        The count is "approximate" and may lie on either side of the truth: only `isRecordCountLimitExceeded`
        is authoritative. Before the end, and after a failure, it says nothing.
        """
        is_over = self.status(now) == "succeeded" and self.found is not None
        count = len(self.found or ()) + zlib.crc32(self.id.encode()) % (2 * self.miscount + 1) - self.miscount
        return {
            "id": self.id,
            **self.asked,
            "status": self.status(now),
            "approximateReturnedRecordCount": max(count, 0) if is_over else None,
            "isRecordCountLimitExceeded": is_over and self.exceeded,
            "recordCountLimit": self.limit,
        }


def _shuffled(record: Record) -> int:
    return zlib.crc32(str(record["id"]).encode())


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked, with every property of a search; instants in whole seconds, as in the records."""
    for name, value in asked.items():
        if name not in (*_TEXTS, *_LISTS, *_IGNORED):
            raise ValueError(
                f"The property '{name}' does not exist on type 'microsoft.graph.security.auditLogQuery'."
            )
        is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if value is not None and not (is_list if name in _LISTS else isinstance(value, str)):
            raise ValueError(f"Cannot read the value of the property '{name}'.")
    document = {name: asked.get(name) for name in _TEXTS} | {name: asked.get(name) or [] for name in _LISTS}
    bounds = []
    for name in ("filterStartDateTime", "filterEndDateTime"):
        if document[name] is not None:
            if not _ZONED.search(document[name]):
                raise ValueError(f"Cannot convert '{document[name]}' to the type 'Edm.DateTimeOffset'.")
            bounds.append(parse_instant(document[name]))
            document[name] = format_instant(bounds[-1] - bounds[-1] % SECOND)
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        raise ValueError("filterStartDateTime must be earlier than filterEndDateTime.")
    return document


def _matcher(asked: dict[str, Any], bounds: Ends) -> Callable[[Dated], bool]:
    """A test for records; `bounds` says which of the two ends of the time belong to it."""
    start, end = (
        None if asked[name] is None else parse_instant(asked[name])
        for name in ("filterStartDateTime", "filterEndDateTime")
    )
    types, services, operations, users = (
        _folded(asked[name])
        for name in ("recordTypeFilters", "serviceFilters", "operationFilters", "userPrincipalNameFilters")
    )
    services |= _folded([asked["serviceFilter"]] if asked["serviceFilter"] else [])
    addresses, objects, units = (
        frozenset(asked[name])
        for name in ("ipAddressFilters", "objectIdFilters", "administrativeUnitIdFilters")
    )
    keyword = (asked["keywordFilter"] or "").casefold()

    def matches(dated: Dated) -> bool:
        created, record = dated
        data = record["auditData"]
        return (
            (start is None or created > start or (created == start and bounds in ("start", "both")))
            and (end is None or created < end or (created == end and bounds in ("end", "both")))
            and _among(record["auditLogRecordType"], types)
            and _among(record["service"], services)
            and _among(record["operation"], operations)
            and _among(record["userPrincipalName"], users)
            and (not addresses or bool(addresses & {record["clientIp"], data.get("ClientIP")}))
            and (not objects or record["objectId"] in objects)
            and (not units or bool(units & set(record["administrativeUnits"])))
            and (not keyword or keyword in _free_text(data))
        )

    return matches


def _folded(values: Iterable[str]) -> frozenset[str]:
    return frozenset(each.casefold() for each in values)


def _among(value: str | None, wanted: frozenset[str]) -> bool:
    """Whether a value is wanted, whatever its case: filters are documented in another case than records."""
    return not wanted or (value or "").casefold() in wanted


def _free_text(data: Record) -> str:
    free = {name: data[name] for name in data if name.partition("@")[0] not in {"", *_INDEXED}}
    return msgspec.json.encode(free).decode().casefold()
