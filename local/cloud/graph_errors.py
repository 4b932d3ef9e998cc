"""What Graph's log endpoints answer when they refuse, and the faults that look like it.

Sources: "Microsoft Graph error responses", "Microsoft Graph throttling guidance", "Known issues with
Microsoft Graph" (licence checks that fail now and then), and public reports, named where they are used.
"""

import uuid
from datetime import UTC, datetime

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.graph_logs import Log
from local.cloud.ticks import SECOND, UNIX_EPOCH


class GraphError(Exception):
    """An error of the service on its way out."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


def bad_request(message: str) -> GraphError:
    """A request that the service understands well enough to say what is wrong with it."""
    return GraphError(400, "BadRequest", message)


def unknown_error(message: str) -> GraphError:
    """400 with the code that the reports use for what they did not expect."""
    return GraphError(400, "UnknownError", message)


def invalid_filter(log: Log, missing: str | None = None) -> GraphError:
    """The refusal of a filter; for a property that the records lack so (MSIdentityTools issue 29)."""
    named = f": Could not find a property named '{missing}' on type '{log.type_name}'." if missing else ""
    return bad_request(f"Invalid filter clause{named}")


def below_floor(log: Log, floor: int) -> GraphError:
    """A filter that names a time before `floor` (ticks, a midnight).

    The words are from msgraph-beta-sdk-dotnet issue 626; a public client that met them in 2026 saw the code
    "UnknownError".
    """
    day = datetime.fromtimestamp((floor - UNIX_EPOCH) // SECOND, UTC)
    shown = f"{day.month}/{day.day}/{day.year} 12:00:00 AM"
    return unknown_error(
        "Specified argument was out of the range of valid values. "
        f"(Parameter 'Minimum allowed time for {log.time} is {shown}')"
    )


def unauthorized(message: str) -> GraphError:
    """A token that the service does not take."""
    return GraphError(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": 'Bearer realm=""'})


def throttled(headers: dict[str, str]) -> GraphError:
    """Too many requests."""
    again = "the value specified in the Retry-After header" if "Retry-After" in headers else "some time"
    return GraphError(
        429,
        "UnknownError",
        f"This request is throttled. Please try again after {again}. CorrelationId: {uuid.uuid4()}",
        headers,
    )


def unlicensed(log: Log) -> GraphError:
    """A tenant without a premium licence; a licensed one is told so too now and then ("Known issues")."""
    if log.family == "identity_protection":
        return GraphError(403, "Forbidden", "Your tenant is not licensed for this feature.")
    return GraphError(
        403,
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
        "Neither tenant is B2C or tenant doesn't have premium license",
    )


def without_consent(log: Log) -> GraphError:
    """An app without the permission (microsoft-graph-explorer-v4 issue 3165; msgraph-beta-sdk-dotnet 723)."""
    if log.family == "identity_protection":
        text = "You cannot perform the requested operation, required scopes are missing in the token."
        return GraphError(403, "Forbidden", text)
    return GraphError(
        403,
        "Authentication_MSGraphPermissionMissing",
        "Calling principal does not have required MSGraph permissions AuditLog.Read.All",
    )


_WORDS = {
    "invalid_skip_token": "Invalid Skip Token",
    # msgraph-sdk-powershell issue 1388.
    "null_skip_token": "Invalid Skip Token, skip token is null",
    # msgraph-beta-sdk-dotnet issue 269; hamilton pull request 108 has the status.
    "unsupported_query": "Unsupported Query",
}


def fault_error(fault: Fault, log: Log, now: float) -> GraphError | None:
    """The error that a fault asks for; None where it asks for none. `now` is in Unix seconds."""
    own = {"not_premium": unlicensed, "missing_consent": without_consent}
    if fault.kind in own:
        return own[fault.kind](log)
    if fault.kind in _WORDS:
        return unknown_error(_WORDS[fault.kind])
    if fault.kind == "expired_token":
        return unauthorized("Lifetime validation failed, the token is expired.")
    if not fault.kind.isdigit():
        return None
    headers = retry_headers(fault, now)
    if fault.kind == "429":
        return throttled(headers)
    status = int(fault.kind)
    return GraphError(status, phrase(status), "The service is temporarily unavailable.", headers)
