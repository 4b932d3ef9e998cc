"""The query API's errors, in its own words and nesting ("Azure Monitor Log Analytics API errors")."""

import re
import uuid
from typing import Any

import duckdb
from duckdb_kql.errors import KqlSchemaError, KqlSyntaxError

from local.cloud.kql import Incomparable, UnresolvedName
from local.cloud.server import Answer, json_answer

_TOO_LARGE = "-2133196797"
"""0x80DA0003, E_QUERY_RESULT_SET_TOO_LARGE, as a signed number."""

Details = dict[str, Any]


def error(
    status: int, code: str, message: str, inner: Details | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """An error answer with a correlation id."""
    document: Details = {"message": message, "code": code, "correlationId": str(uuid.uuid4())}
    if inner is not None:
        document["innererror"] = inner
    answer = json_answer(status, {"error": document})
    return Answer(status, answer.body, answer.headers | (headers or {}))


def no_token() -> Answer:
    """No Authorization header with a bearer token."""
    return error(
        401,
        "AuthenticationFailed",
        "Authentication failed. The 'Authorization' header is missing.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def expired_token() -> Answer:
    """A token whose time is over."""
    return error(
        401,
        "ExpiredAuthenticationToken",
        "The access token has expired.",
        headers={
            "WWW-Authenticate": 'Bearer error="invalid_token", error_description="The token is expired"'
        },
    )


def invalid_token() -> Answer:
    """A token that is none of the tenant's."""
    return error(403, "InvalidAuthenticationToken", "The access token is invalid.")


def wrong_audience() -> Answer:
    """A token for another API."""
    return error(
        403,
        "InvalidAuthenticationTokenAudience",
        "The access token has been obtained from wrong audience or resource. It should exactly match (including forward "
        "slash) with one of the allowed audiences 'https://api.loganalytics.io'.",
    )


def insufficient_access() -> Answer:
    """A workspace on which the app has no role."""
    return error(
        403,
        "InsufficientAccessError",
        "The provided credentials have insufficient access to perform the requested operation",
    )


def not_found() -> Answer:
    """A path, or a workspace, that does not exist."""
    return error(404, "PathNotFoundError", "The requested path does not exist")


def throttled(headers: dict[str, str]) -> Answer:
    """Too many requests, running or waiting queries."""
    return error(
        429,
        "ThrottledError",
        "Too many requests: the rate or concurrency limit of queries is reached.",
        headers=headers,
    )


def gateway_timeout(message: str, headers: dict[str, str]) -> Answer:
    """A query that ran longer than it may."""
    return error(
        504, "GatewayTimeout", "Gateway timeout", {"code": "GatewayTimeout", "message": message}, headers
    )


def bad_argument(message: str) -> Answer:
    """A request that is wrong apart from its KQL."""
    return _bad_request({"code": "QueryValidationError", "message": message})


def query_error(problem: Exception) -> Answer:
    """A query that does not parse, names what does not exist, or needs what the stand-in's engine cannot do."""
    if isinstance(problem, KqlSyntaxError):
        return _bad_request(
            {
                "code": "SyntaxError",
                "message": "A syntax error occurred.",
                "innererror": {
                    "code": "SYN0002",
                    "message": "A recognition error occurred in the query.",
                    **_position(problem),
                },
            }
        )
    code, message = _semantic(problem)
    inner = {"code": code, "message": message}
    return _bad_request(
        {"code": "SemanticError", "message": "A semantic error occurred.", "innererror": inner}
    )


def too_many_rows(limit: int) -> Details:
    """The partial error of an answer that was cut at a number of rows."""
    return _partial(f"the set limit of {limit} records")


def too_many_bytes(limit: int) -> Details:
    """The partial error of an answer that was cut at a number of bytes."""
    return _partial(f"the set limit of {limit} bytes")


def _partial(limit: str) -> Details:
    message = (
        f"The results of this query exceed {limit}, so not all records were returned "
        "(E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See https://aka.ms/kustoquerylimits for more information and "
        "possible solutions."
    )
    return {
        "code": "PartialError",
        "message": "There were some errors when processing your query.",
        "details": [
            {
                "code": "EngineError",
                "message": "Something went wrong processing your query on the server.",
                "innererror": {
                    "code": _TOO_LARGE,
                    "message": message,
                    "severity": 2,
                    "severityName": "Error",
                },
            }
        ],
    }


def _bad_request(inner: Details) -> Answer:
    return error(400, "BadArgumentError", "The request had some invalid properties", inner)


def _position(problem: KqlSyntaxError) -> Details:
    """Line and place of the first mistake, and the token there."""
    if not problem.diagnostics:
        return {}
    first = problem.diagnostics[0]
    token = re.search(r"'([^']*)'", first.message)
    return {"line": first.span.line, "pos": first.span.column, "token": token[1] if token else ""}


def _semantic(problem: Exception) -> tuple[str, str]:
    if isinstance(problem, UnresolvedName):
        return "SEM0100", problem.text
    if isinstance(problem, Incomparable):
        return "SEM0064", str(problem)
    if isinstance(problem, KqlSchemaError):
        return "SEM0100", f"Failed to resolve '{problem.name}'"
    if isinstance(problem, duckdb.BinderException) and (
        found := re.search(r'column "([^"]+)" not found', str(problem))
    ):
        return "SEM0100", f"'' operator: Failed to resolve column or scalar expression named '{found[1]}'"
    return "STANDIN", f"The stand-in's query engine cannot run this; the service may: {problem}"
