"""Entra ID: the OpenID configuration, token endpoints v2 and v1, and a managed identity's local endpoint.

Sources: "OAuth 2.0 client credentials flow on the Microsoft identity platform", its v1 twin, "Microsoft Entra
authentication error codes" and, for the managed identity, "How to use managed identities for App Service".
"""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.identity import Identity
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import AUDIENCES, Tokens

_PATHS = re.compile(
    r"/(?P<tenant>[^/]+)/(?:(?P<v2>v2\.0)/)?"
    r"(?P<what>\.well-known/openid-configuration|oauth2/v2\.0/token|oauth2/token|discovery/instance)/?"
)
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Refusal(Exception):
    """An AADSTS error on its way out."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.status, self.error, self.number, self.text = status, error, number, text


class EntraId:
    """The token service of one tenant. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._clock = clock

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of this service's."""
        return _PATHS.fullmatch(unquote(path)) is not None

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to a request on such a path."""
        if fault is not None:
            return self._failure(int(fault.kind), retry_headers(fault, self._clock()))
        found = _PATHS.fullmatch(unquote(request.path))
        if found is None:
            return json_answer(404, {})
        try:
            self._known_tenant(found["tenant"])
            if found["what"].startswith("."):
                return json_answer(200, self._configuration(request.base))
            if found["what"] == "discovery/instance":
                return json_answer(200, self._discovery(request))
            if request.method != "POST":
                raise _Refusal(405, "invalid_request", 900561, "The endpoint only accepts POST requests.")
            return self._token(request, v1=found["what"] == "oauth2/token")
        except _Refusal as refusal:
            return self._error(refusal)

    def _known_tenant(self, tenant: str) -> None:
        if tenant.lower() not in (self._identity.tenant_id, "common", "organizations"):
            raise _Refusal(
                400,
                "invalid_tenant",
                90002,
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
                "the correct cloud.",
            )

    def _configuration(self, base: str) -> dict[str, object]:
        root = f"{base}/{self._identity.tenant_id}"
        return {
            "token_endpoint": f"{root}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "jwks_uri": f"{root}/discovery/v2.0/keys",
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
            "issuer": f"{root}/v2.0",
            "response_types_supported": ["code", "id_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
        }

    def _discovery(self, request: Request) -> dict[str, object]:
        host = urlsplit(request.base).netloc
        return {
            "tenant_discovery_endpoint": f"{request.base}/{self._identity.tenant_id}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }

    def _token(self, request: Request, *, v1: bool) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if "grant_type" not in form:
            raise _Refusal(
                400,
                "invalid_request",
                900144,
                "The request body must contain the following parameter: 'grant_type'.",
            )
        if form["grant_type"] != "client_credentials":
            raise _Refusal(
                400,
                "unsupported_grant_type",
                70003,
                f"The app requested an unsupported grant type '{form['grant_type']}'.",
            )
        self._known_client(form, request.base)
        audience = self._resource(form) if v1 else self._scope(form)
        token, claims = self._tokens.issue(audience, self._identity.client_id)
        if v1:
            times = {"expires_in": str(self._tokens.seconds), "ext_expires_in": str(self._tokens.seconds)}
            times |= {"expires_on": str(claims.exp), "not_before": str(claims.nbf)}
            answer = {"token_type": "Bearer", **times, "resource": audience, "access_token": token}
            return json_answer(200, answer, Cache_Control="no-store, no-cache")
        return json_answer(
            200,
            {
                "token_type": "Bearer",
                "expires_in": self._tokens.seconds,
                "ext_expires_in": self._tokens.seconds,
                "access_token": token,
            },
            Cache_Control="no-store, no-cache",
        )

    def _known_client(self, form: dict[str, str], base: str) -> None:
        client_id = form.get("client_id", "")
        if client_id.lower() != self._identity.client_id:
            raise _Refusal(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory 'Stand-in'. This can happen "
                "if the application has not been installed by the administrator of the tenant.",
            )
        if "client_assertion" in form:
            ours = lambda aud: urlsplit(aud).netloc == urlsplit(base).netloc and "/oauth2/" in aud  # noqa: E731 (one use)
            if form.get("client_assertion_type") != _ASSERTION or not self._identity.proves(
                form["client_assertion"], ours
            ):
                raise _Refusal(
                    401,
                    "invalid_client",
                    700027,
                    "The certificate with identifier used to sign the client assertion is "
                    "not registered on application, or the assertion failed signature validation.",
                )
        elif not form.get("client_secret"):
            raise _Refusal(
                401,
                "invalid_client",
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )
        elif form["client_secret"] != self._identity.client_secret:
            raise _Refusal(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
                f"not the client secret ID, for a secret added to app '{client_id}'.",
            )

    def _scope(self, form: dict[str, str]) -> str:
        scope = form.get("scope", "")
        resource, default, rest = scope.partition("/.default")
        if not default or rest.strip():
            raise _Refusal(
                400,
                "invalid_scope",
                70011,
                "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
                f"'scope' is not valid. The scope {scope} is not valid.",
            )
        return self._known_resource(resource)

    def _resource(self, form: dict[str, str]) -> str:
        if "resource" not in form:
            raise _Refusal(
                400,
                "invalid_request",
                900144,
                "The request body must contain the following parameter: 'resource'.",
            )
        return self._known_resource(form["resource"])

    def _known_resource(self, resource: str) -> str:
        if not any(resource.rstrip("/") in audiences for audiences in AUDIENCES.values()):
            raise _Refusal(
                400,
                "invalid_resource",
                500011,
                f"The resource principal named {resource} was not found in the tenant named Stand-in. This can happen if "
                "the application has not been installed by the administrator of the tenant or consented to by any user "
                "in the tenant.",
            )
        return resource

    def _error(self, refusal: _Refusal) -> Answer:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d %H:%M:%SZ}"
        text = f"AADSTS{refusal.number}: {refusal.text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        return json_answer(
            refusal.status,
            {
                "error": refusal.error,
                "error_description": text,
                "error_codes": [refusal.number],
                "timestamp": stamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={refusal.number}",
            },
        )

    def _failure(self, status: int, headers: dict[str, str]) -> Answer:
        answer = self._error(
            _Refusal(status, "temporarily_unavailable", 90033, f"{phrase(status)}: a transient error.")
        )
        return Answer(status, answer.body, answer.headers | headers)

    def managed_identity(self, request: Request, fault: Fault | None) -> Answer:
        """The answer of the local endpoint that Functions gives an app with a managed identity (2019-08-01)."""
        if fault is not None:
            status = int(fault.kind)
            return json_answer(
                status,
                {"statusCode": status, "message": phrase(status)},
                **retry_headers(fault, self._clock()),
            )
        query = request.query
        if request.path != "/msi/token" or request.method != "GET":
            return json_answer(404, {"statusCode": 404, "message": "Not found"})
        if request.headers.get("X-IDENTITY-HEADER") != self._identity.identity_header:
            return json_answer(
                401, {"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or wrong."}
            )
        if query.get("api-version") != "2019-08-01" or "resource" not in query:
            return json_answer(
                400, {"statusCode": 400, "message": "api-version 2019-08-01 and resource are required."}
            )
        if query.get("client_id", self._identity.client_id) != self._identity.client_id:
            return json_answer(
                400, {"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found."}
            )
        try:
            audience = self._known_resource(query["resource"])
        except _Refusal as refusal:
            return json_answer(400, {"statusCode": 400, "message": f"AADSTS{refusal.number}: {refusal.text}"})
        token, claims = self._tokens.issue(audience, self._identity.client_id)
        return json_answer(
            200,
            {
                "access_token": token,
                "expires_on": str(claims.exp),
                "resource": audience,
                "token_type": "Bearer",
                "client_id": self._identity.client_id,
            },
        )
