"""What a stand-in cloud can be told before it starts, and the limits that can also change while it runs."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """The services' documented limits. None switches a rate or the retention floor off.

    `rows` and `bytes` are of one query's answer, `queries` per `query_seconds`, `running` and `queued` count
    queries at one time, `queue_seconds` is how long one may wait for its turn ("Azure Monitor service
    limits"). `reports` per `report_seconds` is Graph's limit for audit logs ("Microsoft Graph
    service-specific throttling limits"), `page` its largest page, `retention_days` how far back audit logs
    reach. `uneven_pages` makes some pages of a walk short or empty, which Graph documents as possible
    ("Paging Microsoft Graph data").
    """

    rows: int = 500_000
    bytes: int = 64_000_000
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


@dataclass(frozen=True)
class Options:
    """A stand-in cloud before it starts.

    `seed` decides every generated value; `events` is the number of rows of table Event (the other tables have
    a share of it), spread over `days` before `end`; `audits` directory audits lie in the `audit_days` before
    `end`. `end` is an ISO instant, or None for the moment of the start. `token_seconds` is the lifetime of a
    token, `latency` is added to every answer (seconds), `port` 0 takes a free one.
    """

    seed: int = 1
    events: int = 2_000
    days: float = 3.0
    audits: int = 1_500
    audit_days: float = 8.0
    end: str | None = None
    port: int = 0
    limits: Limits = field(default_factory=Limits)
    token_seconds: int = 3_599
    latency: float = 0.0
