"""Entra ID: the OpenID configuration, and the token endpoints v2 and v1 for the client credentials grant.

The v2 endpoint also has the device authorization grant. There is no page to open: a user has signed in by the
second time that a client looks.

Sources: "OAuth 2.0 client credentials flow on the Microsoft identity platform" and its v1 twin; "OAuth 2.0
device authorization grant"; "Microsoft Entra authentication and authorization error codes".
"""

import re
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import jwt

from local.cloud.dataset import DOMAIN, PEOPLE
from local.cloud.faults import Fault, phrase, retry_headers
from local.cloud.identity import Identity
from local.cloud.server import Answer, Request, json_answer
from local.cloud.tokens import Tokens, is_known_resource

_PATHS = re.compile(
    r"/(?P<tenant>[^/]+)/(?:v2\.0/)?"
    r"(?P<what>\.well-known/openid-configuration|oauth2/v2\.0/(?:token|devicecode)|oauth2/token"
    r"|discovery/instance)/?"
)
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_OPENID = {"openid", "profile", "offline_access"}

_ERRORS = {
    90002: (
        400,
        "invalid_tenant",
        "Tenant '{}' not found. Check to make sure you have the correct tenant ID.",
    ),
    90033: (503, "temporarily_unavailable", "A transient error has occurred. Please try again. ({})"),
    900144: (400, "invalid_request", "The request body must contain the following parameter: '{}'."),
    900561: (405, "invalid_request", "The endpoint only accepts POST requests. Received a {} request."),
    65001: (
        400,
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{}'.",
    ),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type '{}'."),
    70011: (400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid: '{}'."),
    70016: (
        400,
        "authorization_pending",
        "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    ),
    70020: (
        400,
        "bad_verification_code",
        "The provided value for the input parameter 'device_code' is not valid.",
    ),
    500011: (400, "invalid_resource", "The resource principal named {} was not found in the tenant."),
    700016: (400, "unauthorized_client", "Application with identifier '{}' was not found in the directory."),
    700027: (401, "invalid_client", "The client assertion of app '{}' failed signature validation."),
    7000215: (401, "invalid_client", "Invalid client secret provided for app '{}'."),
    7000218: (
        401,
        "invalid_client",
        "The body must contain 'client_assertion' or 'client_secret' for app '{}'.",
    ),
}
"""AADSTS number -> status, OAuth error, text."""


class _AadstsError(Exception):
    """A refusal, by its AADSTS number."""

    def __init__(self, number: int, value: str = "") -> None:
        self.number = number
        self.status, self.error, text = _ERRORS[number]
        self.text = text.format(value)
        super().__init__(self.text)


class EntraId:
    """The token service of one tenant. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._tokens = tokens
        self._clock = clock
        self._begun: dict[str, str] = {}  # device code -> resource, until a client has looked once
        self._entered: dict[str, str] = {}  # the same from then on, until its token is taken

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of this service's."""
        return _PATHS.fullmatch(unquote(path)) is not None

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """The answer to a request on such a path."""
        try:
            if fault is not None and fault.kind == "missing_consent":
                raise _AadstsError(65001, self._identity.client_id)
            if fault is not None:
                raise _AadstsError(90033, phrase(int(fault.kind)))
            return self._serve(request)
        except _AadstsError as error:
            answer = self._refusal(error)
        if fault is not None and fault.kind.isdigit():
            return Answer(int(fault.kind), answer.body, answer.headers | retry_headers(fault, self._clock()))
        return answer

    def _serve(self, request: Request) -> Answer:
        found = _PATHS.fullmatch(unquote(request.path))
        if found is None:
            return json_answer(404, {})
        if found["tenant"].lower() not in (self._identity.tenant_id, "common", "organizations"):
            raise _AadstsError(90002, found["tenant"])
        if found["what"].startswith("."):
            return json_answer(200, self._configuration(request.base))
        if found["what"].startswith("discovery"):
            return json_answer(200, self._discovery(request.base))
        if request.method != "POST":
            raise _AadstsError(900561, request.method)
        form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if found["what"] == "oauth2/v2.0/devicecode":
            return self._begin_sign_in(form)
        if _field(form, "grant_type") == _DEVICE_CODE and found["what"] == "oauth2/v2.0/token":
            return self._users_token(form, request.base)
        if form["grant_type"] != "client_credentials":
            raise _AadstsError(70003, form["grant_type"])
        self._authenticate(form, request.base)
        return self._token_v1(form) if found["what"] == "oauth2/token" else self._token_v2(form)

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

    def _discovery(self, base: str) -> dict[str, object]:
        host = urlsplit(base).netloc
        endpoint = f"{base}/{self._identity.tenant_id}/v2.0/.well-known/openid-configuration"
        metadata = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
        return {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": metadata}

    def _authenticate(self, form: dict[str, str], base: str) -> None:
        """Check the client's secret or assertion."""
        client_id = self._client(form)
        if assertion := form.get("client_assertion"):

            def is_here(audience: str) -> bool:
                return audience.startswith(f"{base}/") and "/oauth2/" in audience

            if form.get("client_assertion_type") != _ASSERTION or not self._identity.proves(
                assertion, is_here
            ):
                raise _AadstsError(700027, client_id)
        elif not form.get("client_secret"):
            raise _AadstsError(7000218, client_id)
        elif form["client_secret"] != self._identity.client_secret:
            raise _AadstsError(7000215, client_id)

    def _client(self, form: dict[str, str]) -> str:
        """The id of the client that asks, which is the one that is registered."""
        client_id = _field(form, "client_id")
        if client_id.lower() != self._identity.client_id:
            raise _AadstsError(700016, client_id)
        return client_id

    def _begin_sign_in(self, form: dict[str, str]) -> Answer:
        """A code for somebody to enter, and one to look with whether they have."""
        self._client(form)
        resource = _resource(" ".join(set(_field(form, "scope").split()) - _OPENID))
        code, shown = secrets.token_urlsafe(48), secrets.token_hex(4).upper()
        self._begun[code] = resource
        page = "https://microsoft.com/devicelogin"
        answer = {
            "device_code": code,
            "user_code": shown,
            "verification_uri": page,
            "expires_in": 900,
            "interval": 1,  # where Entra ID says 5
            "message": f"To sign in, use a web browser to open the page {page} and enter the code {shown}.",
        }
        return json_answer(200, answer)

    def _users_token(self, form: dict[str, str], base: str) -> Answer:
        """The token of whoever has signed in with a code, which is used up by that."""
        client_id, code = self._client(form), _field(form, "device_code")
        if resource := self._begun.pop(code, None):
            self._entered[code] = resource
            raise _AadstsError(70016)
        resource = self._entered.pop(code, None)
        if resource is None:
            raise _AadstsError(70020)
        token, claims = self._tokens.issue(resource, client_id, scopes="user_impersonation")
        about = {
            "aud": client_id,
            "iss": f"{base}/{claims.tid}/v2.0",
            "iat": claims.iat,
            "exp": claims.exp,
            "sub": "a-user-of-the-stand-in",
            "tid": claims.tid,
            "preferred_username": f"{PEOPLE[0][1]}@{DOMAIN}",
        }
        # Clients read it and, because it comes from here directly, do not check its signature.
        id_token = jwt.encode(about, secrets.token_bytes(32), "HS256")
        return self._answer_v2(token, id_token=id_token)

    def _token_v2(self, form: dict[str, str]) -> Answer:
        token, _ = self._tokens.issue(_resource(form.get("scope", "")), self._identity.client_id)
        return self._answer_v2(token)

    def _answer_v2(self, token: str, **more: str) -> Answer:
        seconds = self._tokens.seconds
        answer = {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token,
            **more,
        }
        return json_answer(200, answer, Cache_Control="no-store, no-cache")

    def _token_v1(self, form: dict[str, str]) -> Answer:
        resource = _known(_field(form, "resource"))
        token, claims = self._tokens.issue(resource, self._identity.client_id)
        answer = {
            "token_type": "Bearer",
            "expires_in": str(self._tokens.seconds),
            "ext_expires_in": str(self._tokens.seconds),
            "expires_on": str(claims.exp),
            "not_before": str(claims.nbf),
            "resource": resource,
            "access_token": token,
        }
        return json_answer(200, answer, Cache_Control="no-store, no-cache")

    def _refusal(self, error: _AadstsError) -> Answer:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d %H:%M:%SZ}"
        ids = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        return json_answer(
            error.status,
            {
                "error": error.error,
                "error_description": f"AADSTS{error.number}: {error.text} {ids}",
                "error_codes": [error.number],
                "timestamp": stamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
            },
        )


def _field(form: dict[str, str], name: str) -> str:
    if name not in form:
        raise _AadstsError(900144, name)
    return form[name]


def _resource(scope: str) -> str:
    """The resource of a scope that asks for all that is granted there."""
    resource, default, rest = scope.partition("/.default")
    if not default or rest:
        raise _AadstsError(70011, scope)
    return _known(resource)


def _known(resource: str) -> str:
    if not is_known_resource(resource):
        raise _AadstsError(500011, resource)
    return resource
