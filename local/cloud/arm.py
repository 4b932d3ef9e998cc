"""What every route of Resource Manager has in common: tokens, versions, errors, and headers."""

import itertools
import uuid
from collections.abc import Collection

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import Tokens, Verdict
from local.cloud.workspaces import Workspace, Workspaces

_READS, _WRITES, _DELETES = 12_000, 1_200, 15_000
"""Requests left to a subscription at the start, as recorded; how fast they come back is left out."""

AUDIENCES = "'https://management.core.windows.net/','https://management.azure.com/'"


class ArmError(Exception):
    """A refusal in Resource Manager's words: status, code, message, and headers beside it."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self._answer = json_answer(status, {"error": {"code": code, "message": message}})
        self._headers = headers or {}

    def answer(self) -> Answer:
        """It as an answer."""
        return Answer(self._answer.status, self._answer.body, self._answer.headers | self._headers)


class Headers:
    """The headers that Resource Manager adds to every answer, with what is left to the subscription."""

    def __init__(self) -> None:
        self._left = {
            "reads": itertools.count(_READS - 1, -1),
            "writes": itertools.count(_WRITES - 1, -1),
            "deletes": itertools.count(_DELETES - 1, -1),
        }

    def added_to(self, answer: Answer, request: Request) -> Answer:
        """The answer to a request with these headers. A query counts as a read, though it is a POST."""
        kind = {"PUT": "writes", "PATCH": "writes", "DELETE": "deletes"}.get(request.method, "reads")
        own = {
            f"x-ms-ratelimit-remaining-subscription-{kind}": str(next(self._left[kind])),
            "x-ms-request-id": str(uuid.uuid4()),
            "x-ms-correlation-request-id": str(uuid.uuid4()),
        }
        return Answer(answer.status, answer.body, answer.headers | own, answer.cut)


def check_token(tokens: Tokens, request: Request) -> None:
    """Check a request's token. Raises ArmError."""
    match tokens.check(request.headers.get("Authorization"), "resource_manager"):
        case Verdict.MISSING:
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ArmError(401, "AuthenticationFailed", message, {"WWW-Authenticate": "Bearer"})
        case Verdict.EXPIRED:
            raise expired_token()
        case Verdict.INVALID:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        case Verdict.WRONG_AUDIENCE:
            # "Azure Monitor Log Analytics API errors" has the words, and this status.
            message = (
                "The access token has been obtained from wrong audience or resource. It should exactly match "
                f"(including forward slash) with one of the allowed audiences {AUDIENCES}."
            )
            raise ArmError(403, "InvalidAuthenticationTokenAudience", message)


def expired_token() -> ArmError:
    """The answer to a token whose time is over."""
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="The token is expired"'}
    return ArmError(401, "ExpiredAuthenticationToken", "The access token expiry has passed.", headers)


def check_version(request: Request, known: Collection[str]) -> None:
    """Check a request's ``api-version``. Raises ArmError."""
    version = request.query.get("api-version")
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    if version not in known:
        message = f"The api-version '{version}' is invalid. The supported versions are '{','.join(known)}'."
        raise ArmError(400, "InvalidApiVersionParameter", message)


def raise_fault(fault: Fault | None, now: float, client_id: str, request: Request) -> None:
    """Raise the error that a fault asks for, if that is what it asks for; `now` is in Unix seconds."""
    if fault is None:
        return
    headers = retry_headers(fault, now)
    if fault.kind == "expired_token":
        raise expired_token()
    if fault.kind == "403":
        kind = "locations/operationstatuses" if "/operationstatuses/" in request.path else "workspaces/tables"
        action = f"Microsoft.OperationalInsights/{kind}/{'read' if request.method == 'GET' else 'write'}"
        message = (
            f"The client '{client_id}' with object id '{client_id}' does not have authorization to perform "
            f"action '{action}' over scope '{request.path}' or the scope is invalid. If access was recently "
            "granted, please refresh your credentials."
        )
        raise ArmError(403, "AuthorizationFailed", message, headers)
    if fault.kind == "429":
        message = "Number of requests for the subscription exceeded the limit. Please try again later."
        raise ArmError(429, "SubscriptionRequestsThrottled", message, headers)
    if fault.kind.isdigit():
        status = int(fault.kind)
        raise ArmError(status, phrase(status), "The service is temporarily unable to answer.", headers)


def workspace_at(workspaces: Workspaces, resource: str) -> Workspace:
    """The workspace with an ARM id, in any case. Raises ArmError for one that does not exist."""
    for each in workspaces.all:
        if each.resource_id.lower() == resource.lower():
            return each
    _, _, _, _, group, *_, name = resource.split("/")
    message = (
        f"The Resource 'Microsoft.OperationalInsights/workspaces/{name}' under resource group '{group}' was "
        "not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    raise ArmError(404, "ResourceNotFound", message)
