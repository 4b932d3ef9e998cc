"""Who asks: the signed-in user or app that App Service names, else the function key. Pure.

Source: "Work with user identities in Azure App Service authentication" (``X-MS-CLIENT-PRINCIPAL-*``).
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec


class Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who asks; ``id`` is a principal's object id, or the beginning of the SHA-256 of a key.

    The key itself, which is random and long, cannot be found from that.
    """

    kind: Literal["principal", "key", "anonymous"]
    id: str = ""
    name: str = ""


def read_caller(headers: Mapping[str, str], query: Mapping[str, str], *, signed_in: bool) -> Caller:
    """Return who sends a request with these headers (names in lower case) and query parameters.

    ``signed_in`` says that App Service authenticates callers: elsewhere anybody could send its headers.
    """
    if signed_in and (principal := headers.get("x-ms-client-principal-id")):
        return Caller("principal", principal, headers.get("x-ms-client-principal-name", ""))
    key = headers.get("x-functions-key") or query.get("code")
    if key:
        return Caller("key", hashlib.sha256(key.encode()).hexdigest()[:12])
    return Caller("anonymous")
