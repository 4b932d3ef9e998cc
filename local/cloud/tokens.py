"""Access tokens: issued by Entra ID here, checked by the APIs here. Nobody else can read or make one."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import Enum

import msgspec

AUDIENCES: dict[str, frozenset[str]] = {
    "log_analytics": frozenset(
        {"https://api.loganalytics.io", "https://api.loganalytics.us", "https://api.loganalytics.azure.cn"}
    ),
    "graph": frozenset(
        {
            "https://graph.microsoft.com",
            "https://graph.microsoft.us",
            "https://dod-graph.microsoft.us",
            "https://microsoftgraph.chinacloudapi.cn",
        }
    ),
    "resource_manager": frozenset(
        {
            "https://management.azure.com",
            "https://management.core.windows.net",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net",
            "https://management.chinacloudapi.cn",
            "https://management.core.chinacloudapi.cn",
        }
    ),
    "aad_graph": frozenset(
        {
            "https://graph.windows.net",
            "https://graph.microsoftazure.us",
            "https://graph.chinacloudapi.cn",
        }
    ),
    "storage": frozenset({"https://storage.azure.com"}),
}
"""API -> the audiences whose tokens it takes, in every cloud, without a slash at the end."""


def is_known_resource(resource: str) -> bool:
    """Whether Entra ID would issue a token for a resource."""
    return any(resource.rstrip("/") in audiences for audiences in AUDIENCES.values())


class Verdict(Enum):
    """What an API finds in the Authorization header."""

    GOOD = "good"
    MISSING = "missing"
    INVALID = "invalid"
    EXPIRED = "expired"
    WRONG_AUDIENCE = "wrong audience"


class Claims(msgspec.Struct, frozen=True):
    """What a token says; times in Unix seconds. Only a user's has scopes (`scp`)."""

    aud: str
    iss: str
    tid: str
    appid: str
    iat: int
    nbf: int
    exp: int
    uti: str
    ver: str = "1.0"
    scp: str | msgspec.UnsetType = msgspec.UNSET


class Tokens:
    """Issues and checks tokens of one tenant. `clock` gives Unix seconds."""

    def __init__(self, tenant_id: str, seconds: int, clock: Callable[[], float]) -> None:
        self.tenant_id = tenant_id
        self.seconds = seconds
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._valid: set[str] = set()

    def issue(
        self, audience: str, client_id: str, scopes: str | msgspec.UnsetType = msgspec.UNSET
    ) -> tuple[str, Claims]:
        """A new token for `audience`: the app's own or, with scopes, that of a user who signed in to it."""
        now = int(self._clock())
        issuer = f"https://sts.windows.net/{self.tenant_id}/"
        uti = secrets.token_urlsafe(16)
        expires = now + self.seconds
        claims = Claims(audience, issuer, self.tenant_id, client_id, now, now, expires, uti, scp=scopes)
        self._valid.add(uti)
        signed = f"{_HEADER}.{_encoded(msgspec.json.encode(claims))}"
        return f"{signed}.{self._signature(signed)}", claims

    def expire_all(self) -> None:
        """Make every token issued so far an expired one."""
        self._valid.clear()

    def check(self, authorization: str | None, api: str) -> Verdict:
        """Whether an Authorization header's bearer token opens `api`."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return Verdict.MISSING
        signed, _, signature = token.strip().rpartition(".")
        if not hmac.compare_digest(self._signature(signed), signature):
            return Verdict.INVALID
        claims = msgspec.json.decode(_decoded(signed.partition(".")[2]), type=Claims)
        if claims.tid != self.tenant_id:
            return Verdict.INVALID
        if claims.uti not in self._valid or claims.exp <= self._clock():
            return Verdict.EXPIRED
        return Verdict.GOOD if claims.aud.rstrip("/") in AUDIENCES[api] else Verdict.WRONG_AUDIENCE

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.digest(self._key, signed.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEADER = _encoded(b'{"typ":"JWT","alg":"HS256"}')


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
