"""Faults on order: which call of which API goes wrong, and how."""

import threading
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus

from local.cloud.server import Answer

APIS = ("entra_id", "managed_identity", "log_analytics", "graph", "resource_manager", "aad_graph")

STATUSES = ("400", "401", "403", "404", "408", "429", "500", "502", "503", "504")
"""Kinds that are the answer's status; the API gives it the body that it has for such a status."""

KINDS = (
    *STATUSES,
    "drop",
    "truncate",
    "partial",
    "slow",
    "overdue",
    "expired_token",
    "redirect",
    "foreign_next_link",
    "repeated_next_link",
    "invalid_skip_token",
    "null_skip_token",
    "empty_skip_token",
    "unsupported_query",
    "not_premium",
    "missing_consent",
    "search_failed",
    "search_cancelled",
    "unsteady_records",
    "gone",
    "search_error",
    "retired",
    "wrong_content",
)


_ONLY = {
    "partial": ("log_analytics", "resource_manager"),
    "overdue": ("log_analytics", "resource_manager"),
    "expired_token": ("log_analytics", "graph", "resource_manager", "aad_graph"),
    "foreign_next_link": ("graph", "aad_graph"),
    "repeated_next_link": ("graph", "aad_graph"),
    "invalid_skip_token": ("graph", "aad_graph"),
    "null_skip_token": ("graph",),
    "empty_skip_token": ("graph",),
    "unsupported_query": ("graph",),
    "not_premium": ("graph",),
    "missing_consent": ("graph", "entra_id"),
    "search_failed": ("graph",),
    "search_cancelled": ("graph",),
    "unsteady_records": ("graph",),
    "gone": ("resource_manager",),
    "search_error": ("resource_manager",),
    "retired": ("aad_graph",),
}
"""The kinds that only some APIs have."""


@dataclass(frozen=True)
class Fault:
    """One order. The words are those of `Faults.add`; `seen` counts the calls that matched so far."""

    api: str
    kind: str
    path: str = ""
    nth: int = 1
    count: int | None = 1
    retry_after: int | str | None = None
    seconds: float = 0.0
    location: str = ""
    seen: int = 0


class Faults:
    """The orders in force. Safe to use from several threads."""

    def __init__(self) -> None:
        self._orders: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Take an order.

        `api` is one of `APIS`, or "*" for all; `path` a part of the path or query string (any if empty,
        whatever the case). Of the calls that match, the `nth` (from 1) is the first to fail and `count` fail
        in a row (None: all from there). `kind` is one of `KINDS`:

        - a status, with `retry_after` in seconds, or "date" for an HTTP date one second ahead, or None;
        - "drop": no answer; "truncate": half of the body; "wrong_content": a web page with status 200;
        - "slow": the work takes `seconds`; a query that would take longer than it may is a 504 at once;
        - "overdue" (queries): the query takes all the time that it may, and then is a 504;
        - "partial" (queries): status 200, half of the rows and a PartialError;
        - "expired_token": the answer to a token that has expired;
        - "redirect": 307 to the same target at the origin `location`;
        - "foreign_next_link" (Graph): the next link names the origin `location`;
        - "repeated_next_link" (Graph): the next link is the link that was asked;
        - "invalid_skip_token" (Graph): the error of a skip token that the service does not accept;
        - "null_skip_token", "unsupported_query" (Graph): errors that come now and then to any request;
        - "empty_skip_token" (Graph): a next link without the token, which cannot be followed;
        - "not_premium" (Graph): the tenant has no licence, which licensed ones are also told now and then;
        - "missing_consent": the app does not have the log's permission (Graph), or nobody has consented to
          the app (Entra ID);
        - "search_failed", "search_cancelled" (Graph): so ends the audit search that is made or asked for;
        - "unsteady_records" (Graph): a walk through an audit search's records that begins with the call has
          another order, and a tenth of them less;
        - "gone" (Log Search API): the search is not in the cache; "search_error": its status is "Error";
        - "retired" (Azure AD Graph): the API is blocked for the app.

        Raises ValueError for an unknown API or kind, or a kind that this API does not have.
        """
        if fault.api not in (*APIS, "*"):
            raise ValueError(f"no API {fault.api!r}; there are {', '.join(APIS)} and *")
        if fault.kind not in KINDS:
            raise ValueError(f"no fault {fault.kind!r}; there are {', '.join(KINDS)}")
        if fault.api not in _ONLY.get(fault.kind, (*APIS, "*")):
            raise ValueError(
                f"{fault.kind!r} is no fault of {fault.api}; there are {', '.join(_ONLY[fault.kind])}"
            )
        with self._lock:
            self._orders.append(fault)

    def clear(self) -> None:
        """Withdraw every order."""
        with self._lock:
            self._orders.clear()

    def take(self, api: str, target: str) -> Fault | None:
        """The fault of this call, if it has one. Every order that matches counts it; the oldest wins."""
        chosen: Fault | None = None
        with self._lock:
            for place, order in enumerate(self._orders):
                if order.api not in (api, "*") or order.path.lower() not in target.lower():
                    continue
                order = self._orders[place] = replace(order, seen=order.seen + 1)  # noqa: PLW2901 (the order, counted)
                since = order.seen - order.nth
                if chosen is None and since >= 0 and (order.count is None or since < order.count):
                    chosen = order
        return chosen


def retry_headers(fault: Fault, now: float) -> dict[str, str]:
    """The Retry-After header that a fault asks for. An HTTP date has whole seconds, so it is rounded up."""
    if fault.retry_after is None:
        return {}
    date = formatdate(int(now) + 2, usegmt=True)
    return {"Retry-After": date if fault.retry_after == "date" else str(fault.retry_after)}


def general_answer(fault: Fault, target: str) -> Answer | None:
    """The answer of a fault that is the same for every API; None where the API has its own."""
    match fault.kind:
        case "drop":
            return Answer(0, cut=0)
        case "wrong_content":
            page = b"<!DOCTYPE html><html><title>Service</title><body>We will be back.</body></html>"
            return Answer(200, page, {"Content-Type": "text/html"})
        case "redirect":
            return Answer(307, b"", {"Location": fault.location.rstrip("/") + target})
    return None


def phrase(status: int) -> str:
    """The name of a status, as error codes spell it: "ServiceUnavailable"."""
    return HTTPStatus(status).phrase.replace(" ", "")
