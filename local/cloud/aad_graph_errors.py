"""How Azure AD Graph refuses.

Sources: "Error codes and error handling" (Azure AD Graph) for the envelope and most codes, public clients of
the API for the codes about its versions, and public reports for what it says since it was retired.
"""

import uuid
from datetime import UTC, datetime

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import Tokens, Verdict

_TOKENS = {
    Verdict.MISSING: ("Authentication_MissingOrMalformed", "Access Token missing or malformed."),
    Verdict.INVALID: ("Authentication_MissingOrMalformed", "Access Token missing or malformed."),
    Verdict.EXPIRED: ("Authentication_ExpiredToken", "Your access token has expired. Please renew it."),
    Verdict.WRONG_AUDIENCE: (
        "Authentication_MissingOrMalformed",
        "Access Token missing or malformed: the audience is invalid.",
    ),
}


class AadGraphError(Exception):
    """An error of the service on its way out."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def answer(self, request: Request, now: float) -> Answer:
        """The answer that it is; `now` is in Unix seconds."""
        id_ = str(uuid.uuid4())
        error = {
            "code": self.code,
            "message": {"lang": "en", "value": self.message},
            "requestId": id_,
            "date": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%S}",
        }
        answer = json_answer(self.status, {"odata.error": error})
        client = request.headers.get("client-request-id") or str(uuid.uuid4())
        headers = {"request-id": id_, "client-request-id": client}
        return Answer(self.status, answer.body, answer.headers | headers | self.headers)


def bad_request(message: str) -> AadGraphError:
    """A query that the service cannot read."""
    return AadGraphError(400, "Request_BadRequest", message)


def version_missing() -> AadGraphError:
    """A request without its `api-version`."""
    text = "The specified api-version is missing. Include it in the query string of the request."
    return AadGraphError(400, "Request_DataContractVersionMissing", text)


def version_wrong() -> AadGraphError:
    """A request with an `api-version` that does not have the reports."""
    text = "The specified api-version is invalid. The value must exactly match a supported version."
    return AadGraphError(400, "Request_InvalidDataContractVersion", text)


def expired_page() -> AadGraphError:
    """A skip token that the service does not know, or no more."""
    return AadGraphError(400, "Directory_ExpiredPageToken", "The specified page token value has expired.")


def not_found() -> AadGraphError:
    """Another tenant's path."""
    return AadGraphError(404, "Request_ResourceNotFound", "The tenant of the request does not exist.")


def not_allowed() -> AadGraphError:
    """A method that a report does not have."""
    return AadGraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")


def denied() -> AadGraphError:
    """A token of an app where only a user's is taken."""
    text = "Insufficient privileges to complete the operation."
    return AadGraphError(403, "Authorization_RequestDenied", text)


def check_fault(fault: Fault | None, now: float) -> None:
    """Raise the error that a fault asks for, if it asks for one; `now` is in Unix seconds."""
    if fault is None:
        return
    if fault.kind == "expired_token":
        raise AadGraphError(401, *_TOKENS[Verdict.EXPIRED])
    if fault.kind == "403":
        raise denied()
    if fault.kind == "retired":
        text = "Access blocked to AAD Graph API for this application. https://aka.ms/AzureADGraphMigration."
        raise AadGraphError(403, "Authentication_Unauthorized", text)
    headers = retry_headers(fault, now)
    if fault.kind == "429":
        text = "Your request is throttled temporarily. Please try after the time that the header names."
        raise AadGraphError(429, "Request_ThrottledTemporarily", text, headers)
    if fault.kind.isdigit():
        status = int(fault.kind)
        text = "The service is temporarily unable to answer."
        raise AadGraphError(status, f"Service_{phrase(status)}", text, headers)


def check_token(tokens: Tokens, request: Request) -> None:
    """Raise the error of a token that does not open the API."""
    verdict = tokens.check(request.headers.get("Authorization"), "aad_graph")
    if verdict in _TOKENS:
        raise AadGraphError(401, *_TOKENS[verdict])
