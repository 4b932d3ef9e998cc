"""How searches of the unified audit log refuse: Graph's envelope, and what is checked before anything else.

Source: "Microsoft Graph error responses and resource types".
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.graph_errors import GraphError, bad_request, throttled, unauthorized
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import Tokens, Verdict

_CONTENT = {"Content-Type": "application/json;odata.metadata=minimal;odata.streaming=true;charset=utf-8"}
_VERDICTS = {
    Verdict.MISSING: "Access token is empty.",
    Verdict.INVALID: "CompactToken validation failed: the signature is invalid.",
    Verdict.EXPIRED: "Lifetime validation failed, the token is expired.",
    Verdict.WRONG_AUDIENCE: "Access token validation failure. Invalid audience.",
}


def answer(request: Request, status: int, document: Any) -> Answer:
    """An answer with the headers by which Microsoft's support finds a request again."""
    return Answer(status, json_answer(status, document).body, _CONTENT | _diagnostics(request))


def refusal(error: GraphError, request: Request, now: float) -> Answer:
    """The answer that an error is; `now` is in Unix seconds."""
    headers = _diagnostics(request)
    inner = {"date": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%S}"} | {
        name: value for name, value in headers.items() if name.endswith("-id")
    }
    document = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
    body = json_answer(error.status, document).body
    return Answer(error.status, body, _CONTENT | headers | error.headers)


def check_fault(fault: Fault | None, now: float) -> None:
    """Raise the GraphError that a fault asks for, if it asks for one; `now` is in Unix seconds."""
    if fault is None:
        return
    if fault.kind == "expired_token":
        raise unauthorized(_VERDICTS[Verdict.EXPIRED])
    if fault.kind == "missing_consent":
        # The status is from a public report (rknightion/graph2otel), the words are made up.
        text = "The application lacks consent to an AuditLogsQuery permission for this request."
        raise GraphError(403, "Forbidden", text)
    if fault.kind == "429":
        raise throttled(retry_headers(fault, now))
    if fault.kind.isdigit():
        status = int(fault.kind)
        text = "The service is temporarily unavailable."
        raise GraphError(status, phrase(status), text, retry_headers(fault, now))


def check_token(tokens: Tokens, request: Request) -> None:
    """Raise the GraphError of a token that does not open Graph."""
    verdict = tokens.check(request.headers.get("Authorization"), "graph")
    if verdict in _VERDICTS:
        raise unauthorized(_VERDICTS[verdict])


def option_not_allowed(name: str) -> GraphError:
    """A query option, such as ``$skip``, that a collection does not take."""
    return bad_request(
        f"Query option '{name.removeprefix('$').title()}' is not allowed. To allow it, set the "
        "'AllowedQueryOptions' property on EnableQueryAttribute or QueryValidationSettings."
    )


def method_not_allowed() -> GraphError:
    """A method that a path does not have."""
    text = "Specified HTTP method is not allowed for the request target."
    return GraphError(405, "Request_BadRequest", text)


def not_found(message: str) -> GraphError:
    """A path or a search that there is not."""
    return GraphError(404, "ResourceNotFound", message)


def _diagnostics(request: Request) -> dict[str, str]:
    return {
        "request-id": str(uuid.uuid4()),
        "client-request-id": request.headers.get("client-request-id") or str(uuid.uuid4()),
        "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Stand-in","Slice":"E","Ring":"5"}}',
    }
