"""What a stand-in cloud can be told before it starts, and the limits that can also change while it runs."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from local.cloud.search_limits import SearchLimits
from local.cloud.table_limits import TableLimits

TooLarge = Literal["partial", "400", "413", "504", "silent"]
"""How the query service answers where an answer would exceed its limits."""

FloorError = Literal["named", "invalid_filter"]
"""How Graph refuses a time that is too long ago for sign-ins and provisioning."""


@dataclass(frozen=True)
class Limits(TableLimits, SearchLimits):
    """The services' documented limits. None switches a rate or the retention floor off.

    Those of tables and search jobs are in `TableLimits`, those of searches and the retired APIs in
    `SearchLimits`.

    `rows` and `bytes` are of one query's answer, `queries` per `query_seconds`, `running` and `queued` count
    queries at one time, `queue_seconds` is how long one may wait for its turn ("Azure Monitor service
    limits"). `reports` per `report_seconds` is Graph's limit for audit logs ("Microsoft Graph
    service-specific throttling limits"), `page` its largest page, `retention_days` how far back audit logs
    reach (None: for ever). `uneven_pages` makes some pages of a walk short or empty, which Graph documents as
    possible ("Paging Microsoft Graph data"). `identity_protection` per `identity_protection_seconds` is the
    limit for risk detections, and `risk_retention_days` how far those reach. A tenant that is not `premium`
    has directory audits only, and seven days of them. `floor_error` says how a time before the retention
    floor is refused for sign-ins and provisioning: by an error that names the floor, as for directory audits,
    or as an invalid filter (microsoft-graph-docs issue 5676).

    `too_large` says what becomes of an answer beyond `rows` or `bytes`: "partial" is documented, status 200
    with some rows and a PartialError; "400" and "413" refuse it with E_QUERY_RESULT_SET_TOO_LARGE, "504" as
    timed out; "silent" leaves rows out without a word, and only the statistics tell how many there were.

    Raises ValueError for another `too_large` or `floor_error`.
    """

    rows: int = 500_000
    bytes: int = 64_000_000
    too_large: TooLarge = "partial"
    queries: int | None = 200
    query_seconds: float = 30.0
    running: int = 5
    queued: int = 200
    queue_seconds: float = 180.0
    reports: int | None = 5
    report_seconds: float = 10.0
    page: int = 1000
    uneven_pages: bool = True
    retention_days: int | None = 30
    identity_protection: int | None = 1
    identity_protection_seconds: float = 1.0
    risk_retention_days: int | None = 90
    premium: bool = True
    floor_error: FloorError = "named"

    def __post_init__(self) -> None:
        TableLimits.__post_init__(self)
        SearchLimits.__post_init__(self)
        if self.too_large not in get_args(TooLarge):
            known = ", ".join(get_args(TooLarge))
            raise ValueError(f"an answer that is too large cannot be {self.too_large!r}; there are {known}")
        if self.floor_error not in get_args(FloorError):
            known = ", ".join(get_args(FloorError))
            raise ValueError(f"a time that is too long ago cannot be {self.floor_error!r}; there are {known}")


@dataclass(frozen=True)
class Options:
    """A stand-in cloud before it starts.

    `seed` decides every generated value; `events` is the number of rows of table Event (the other tables have
    a share of it), spread over `days` before `end`; `audits` directory audits, and so many `sign_ins` of all
    kinds, `provisionings` and `risk_detections`, lie in the `audit_days` before `end`. `end` is an ISO
    instant, or None for the moment of the start. `token_seconds` is the lifetime of a token, `latency` is
    added to every answer (seconds), `port` 0 takes a free one. `date_offset` is how far the services' Date
    headers are ahead of this machine's clock (seconds; negative: behind).

    `search_records` records of the unified audit log, and `activities` in each of Azure AD Graph's reports,
    lie in the same days.

    There are `workspaces` of them, each with rows of its own. `basic` and `auxiliary` are the rows of the
    Basic table ContainerLogV2 and of the Auxiliary table Firewall_CL (None: no such table).
    """

    seed: int = 1
    events: int = 2_000
    days: float = 3.0
    audits: int = 1_500
    sign_ins: int = 400
    provisionings: int = 100
    risk_detections: int = 100
    search_records: int = 300
    activities: int = 200
    audit_days: float = 8.0
    end: str | None = None
    port: int = 0
    limits: Limits = field(default_factory=Limits)
    token_seconds: int = 3_599
    latency: float = 0.0
    date_offset: float = 0.0
    workspaces: int = 1
    basic: int | None = None
    auxiliary: int | None = None
