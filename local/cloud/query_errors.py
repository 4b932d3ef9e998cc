"""The query API's errors, in its own words and nesting ("Azure Monitor Log Analytics API errors")."""

import re
import uuid
from typing import Any, Literal

import duckdb
from duckdb_kql.errors import KqlError, KqlSchemaError, KqlSyntaxError

from local.cloud.kql import IncomparableError, UnresolvedNameError
from local.cloud.server import Answer, json_answer

_TOO_LARGE = "-2133196797"
"""0x80DA0003, E_QUERY_RESULT_SET_TOO_LARGE, as a signed number."""

_WRONG_ARGUMENTS = re.compile(r"\w+\(\): function expects [\d.]+ argument\(s\)")
"""What the library says of a call with too few or too many, in the service's words."""

Details = dict[str, Any]
Headers = dict[str, str]


class QueryApiError(Exception):
    """A refusal: status, code and message, what is within it, and headers beside it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        inner: Details | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self._status = status
        self._error: Details = {"message": message, "code": code}
        self._inner = inner
        self._headers = headers or {}

    def answer(self) -> Answer:
        """It as an answer, with a correlation id."""
        error = self._error | {"correlationId": str(uuid.uuid4())}
        if self._inner is not None:
            error["innererror"] = self._inner
        answer = json_answer(self._status, {"error": error})
        return Answer(answer.status, answer.body, answer.headers | self._headers)


def no_token() -> QueryApiError:
    """No Authorization header with a bearer token."""
    message = "Authentication failed. The 'Authorization' header is missing."
    return QueryApiError(401, "AuthenticationFailed", message, headers={"WWW-Authenticate": "Bearer"})


def expired_token() -> QueryApiError:
    """A token whose time is over."""
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="The token is expired"'}
    return QueryApiError(401, "ExpiredAuthenticationToken", "The access token has expired.", headers=headers)


def invalid_token() -> QueryApiError:
    """A token that is none of the tenant's."""
    return QueryApiError(403, "InvalidAuthenticationToken", "The access token is invalid.")


def wrong_audience() -> QueryApiError:
    """A token for another API."""
    return QueryApiError(
        403,
        "InvalidAuthenticationTokenAudience",
        "The access token has been obtained from wrong audience or resource. It should exactly match "
        "(including forward slash) with one of the allowed audiences 'https://api.loganalytics.io'.",
    )


def insufficient_access() -> QueryApiError:
    """A workspace on which the app has no role."""
    message = "The provided credentials have insufficient access to perform the requested operation"
    return QueryApiError(403, "InsufficientAccessError", message)


def no_access_to_resource(user: str) -> QueryApiError:
    """An Azure resource whose logs the app may not read ("Querying logs for Azure resources")."""
    message = "The provided credentials have insufficient access to perform the requested operation"
    reason = f"User '{user}' does not have access to read logs for this resource"
    inner = {"code": "AuthorizationFailedError", "message": reason}
    return QueryApiError(403, "InsufficientAccessError", message, inner)


def resource_not_found(resource: str) -> QueryApiError:
    """An Azure resource that does not exist (same page)."""
    return QueryApiError(404, "ResourceNotFoundError", f"The resource {resource} was not found")


def unresolved_resource(resource: str) -> QueryApiError:
    """A path that is no resource id. That this is the case the code is for, is inferred."""
    return QueryApiError(400, "FailedToResolveResource", f"Failed to resolve the resource {resource!r}")


def not_found() -> QueryApiError:
    """A path, or a workspace, that does not exist."""
    return QueryApiError(404, "PathNotFoundError", "The requested path does not exist")


def throttled(headers: Headers) -> QueryApiError:
    """Too many requests, running or waiting queries."""
    return QueryApiError(
        429, "ThrottledError", "Too many requests: the rate of queries is limited.", headers=headers
    )


def gateway_timeout(headers: Headers) -> QueryApiError:
    """A query that ran longer than it may."""
    inner = {"code": "GatewayTimeout", "message": "Kusto query timed out"}
    return QueryApiError(504, "GatewayTimeout", "Gateway timeout", inner, headers)


def bad_argument(message: str) -> QueryApiError:
    """A request that is wrong apart from its KQL."""
    return _bad_request({"code": "QueryValidationError", "message": message})


def unsupported_plan(plan: str, asked: str, instead: str) -> QueryApiError:
    """A table asked for by the way of other plans' tables.

    The words are the service's for a Basic table and ``/query`` (grafana/grafana issue 89818); for Auxiliary
    tables, and for an Analytics table and ``/search``, they are inferred.
    """
    url = "https://api.loganalytics.io/v1/workspaces/{workspaceId}"
    message = (
        f"Query of {plan} Logs table is not supported with the API '{url}/{asked}'.\n"
        f"You can use '{url}/{instead}' instead.\n"
        "To learn more on queries on Basic Logs table, read here: https://aka.ms/basicLogsQueryAPI."
    )
    return _bad_request({"code": "UnsupportedApiQueryValidationError", "message": message})


def query_error(problem: KqlError | duckdb.Error | ValueError | RecursionError) -> QueryApiError:
    """A query that does not parse, names what does not exist, or is beyond the stand-in's engine."""
    if isinstance(problem, KqlSyntaxError):
        kind, message = "SyntaxError", "A syntax error occurred."
        inner = {"code": "SYN0002", "message": "A recognition error occurred in the query."} | _place(problem)
    else:
        kind, message = "SemanticError", "A semantic error occurred."
        code, text = _semantic(problem)
        inner = {"code": code, "message": text}
    return _bad_request({"code": kind, "message": message, "innererror": inner})


def too_many(limit: int, unit: str) -> Details:
    """What the engine says of an answer with more than a number of "records" or "bytes"."""
    message = (
        f"The results of this query exceed the set limit of {limit} {unit}, so not all records were returned "
        "(E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See https://aka.ms/kustoquerylimits for more "
        "information and possible solutions."
    )
    return {
        "code": "EngineError",
        "message": "Something went wrong processing your query on the server.",
        "innererror": {"code": _TOO_LARGE, "message": message, "severity": 2, "severityName": "Error"},
    }


def partial(engine: Details) -> Details:
    """The error beside the rows of an answer that does not hold them all."""
    text = "There were some errors when processing your query."
    return {"code": "PartialError", "message": text, "details": [engine]}


def refused_for_size(status: Literal["400", "413", "504"], engine: Details) -> QueryApiError:
    """The refusal of an answer that is too large, where the service sends no part of it."""
    if status == "504":
        return gateway_timeout({})
    if status == "400":
        return _bad_request(engine)
    return QueryApiError(413, "PayloadTooLarge", "The response is too large.", engine)


def _bad_request(inner: Details) -> QueryApiError:
    return QueryApiError(400, "BadArgumentError", "The request had some invalid properties", inner)


def _place(problem: KqlSyntaxError) -> Details:
    """Line and place of the first mistake, and the token there."""
    if not problem.diagnostics:
        return {}
    first = problem.diagnostics[0]
    token = re.search(r"'([^']*)'", first.message)
    return {"line": first.span.line, "pos": first.span.column, "token": token[1] if token else ""}


def _semantic(problem: KqlError | duckdb.Error | ValueError | RecursionError) -> tuple[str, str]:
    if arguments := _WRONG_ARGUMENTS.search(str(problem)):
        return "SEM0219", arguments[0]
    match problem:
        case UnresolvedNameError():
            return "SEM0100", str(problem)
        case IncomparableError():
            return "SEM0064", str(problem)
        case KqlSchemaError():
            return "SEM0100", f"Failed to resolve '{problem.name}'"
    return "STANDIN", f"The stand-in's query engine cannot run this; the service may. {problem}"
