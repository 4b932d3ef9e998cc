"""The local endpoint that Functions gives an app with a managed identity, version 2019-08-01.

Source: "How to use managed identities for App Service and Azure Functions".
"""

from collections.abc import Callable

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.identity import Identity
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import Tokens, is_known_resource

PATH = "/msi/token"


class ManagedIdentity:
    """Gives tokens to whoever knows the header. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._clock = clock

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to any request on the endpoint's port."""
        status, message = self._problem(request) or (200, "")
        if fault is not None:
            status, message = int(fault.kind), phrase(int(fault.kind))
        if status != 200:
            headers = {} if fault is None else retry_headers(fault, self._clock())
            return json_answer(status, {"statusCode": status, "message": message}, **headers)
        resource = request.query["resource"]
        token, claims = self._tokens.issue(resource, self._identity.client_id)
        return json_answer(
            200,
            {
                "access_token": token,
                "expires_on": str(claims.exp),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": self._identity.client_id,
            },
        )

    def _problem(self, request: Request) -> tuple[int, str] | None:
        query = request.query
        if request.path != PATH or request.method != "GET":
            return 404, "Not found"
        if request.headers.get("X-IDENTITY-HEADER") != self._identity.identity_header:
            return 401, "The header X-IDENTITY-HEADER is missing or wrong."
        if query.get("api-version") != "2019-08-01" or "resource" not in query:
            return 400, "api-version 2019-08-01 and resource are required."
        if query.get("client_id", self._identity.client_id) != self._identity.client_id:
            return 400, "No User Assigned or Delegated Managed Identity found."
        if not is_known_resource(query["resource"]):
            return (
                400,
                f"AADSTS500011: The resource principal named {query['resource']} was not found.",
            )
        return None
