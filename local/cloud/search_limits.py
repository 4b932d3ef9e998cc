"""The limits of the services that search on their own time, and of the two that Microsoft has retired."""

from dataclasses import dataclass
from typing import Literal, get_args

Early = Literal["some", "none", "400"]
"""What the records of an audit search are before it has succeeded."""

Ends = Literal["none", "start", "end", "both"]
"""Which of its bounds belong to the time of an audit search."""

Verbs = Literal["both", "post", "get"]
"""How the Log Search API is asked about a search that is pending."""

SearchIds = Literal["pipes", "path", "bare"]
"""How the Log Search API names a search."""

_CHOICES = {
    "audit_search_early": get_args(Early),
    "audit_search_ends": get_args(Ends),
    "legacy_verbs": get_args(Verbs),
    "legacy_ids": get_args(SearchIds),
}


@dataclass(frozen=True)
class SearchLimits:
    """The limits of audit searches, of Azure AD Graph's reports and of the Log Search API.

    Audit searches: `audit_searches` may be submitted in 24 hours, and `audit_searches_running` be unfinished;
    one finds at most `audit_search_records` ("Security audit log query service limits"). It is running after
    `audit_search_start` seconds and over after `audit_search_seconds`, and is there for `audit_search_days`.
    `audit_search_page` and `audit_searches_page` are the pages of its records (seen in the field) and of the
    list of searches (made up). Not documented: `audit_search_ends`, which of its bounds, cut to whole
    seconds, belong to it; the "approximate" count of a search lies up to `audit_search_miscount` beside the
    truth; `audit_search_early`, what its records are before it has succeeded: "some" of them
    as if they were all, "none", or status 400.

    Azure AD Graph: a page has at most `activity_page` records, and a walk through sign-ins at most
    `signin_events` ("sign-in activity report API reference"). Where `aad_graph_app_tokens` is false, tokens
    that are not a user's are refused, as in tenants of the EU (known issue in "audit API samples").

    Log Search API: a search is over at poll number `legacy_polls` (0: at once), and kept for `legacy_seconds`
    from its start; it returns at most `legacy_rows` ("Log Analytics log search REST API"). `legacy_rate`
    searches may begin in `legacy_rate_seconds` (None: any number); the service's headers name the first
    number, and nothing names the second. `legacy_verbs` says with which methods a search can be polled:
    documented is POST, the original script used GET. `legacy_ids` is how a search is named: by a path that
    ends with a GUID, an address and a time, divided by pipes, as seen last ("pipes"), or with a GUID, as
    recorded ("path"); or by a GUID alone, as documented ("bare").

    Raises ValueError for a word that is not among those named here.
    """

    audit_searches: int = 200
    audit_searches_running: int = 50
    audit_search_records: int = 1_000_000
    audit_search_start: float = 0.2
    audit_search_seconds: float = 0.5
    audit_search_days: float = 30.0
    audit_search_page: int = 150
    audit_searches_page: int = 50
    audit_search_ends: Ends = "none"
    audit_search_early: Early = "some"
    audit_search_miscount: int = 3
    activity_page: int = 1_000
    signin_events: int = 1_000_000
    aad_graph_app_tokens: bool = True
    legacy_polls: int = 2
    legacy_seconds: float = 360.0
    legacy_rows: int = 5_000
    legacy_rate: int | None = 10
    legacy_rate_seconds: float = 1.0
    legacy_verbs: Verbs = "both"
    legacy_ids: SearchIds = "pipes"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"the limit {name} cannot be {getattr(self, name)!r}; there are {', '.join(known)}"
                )
