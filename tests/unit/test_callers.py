"""Who asks: whom App Service names, else which key, and never the key."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callers import Caller, read_caller

PRINCIPAL = {"x-ms-client-principal-id": "oid-1", "x-ms-client-principal-name": "ann@example.com"}
KEY = "pT9vYx0aSecretSecretSecret=="


def test_the_principal_is_whom_app_service_names() -> None:
    """Signed in, a caller is known by the object id, whatever key came along."""
    headers = {**PRINCIPAL, "x-functions-key": KEY}
    assert read_caller(headers, {}, signed_in=True) == Caller("principal", "oid-1", "ann@example.com")
    nameless = {"x-ms-client-principal-id": "oid-1"}
    assert read_caller(nameless, {}, signed_in=True) == Caller("principal", "oid-1")


def test_nobody_makes_themselves_a_principal() -> None:
    """Where App Service does not authenticate callers, its headers are words that anybody can send."""
    assert read_caller(PRINCIPAL, {}, signed_in=False) == Caller("anonymous")
    keyed = read_caller({**PRINCIPAL, "x-functions-key": KEY}, {}, signed_in=False)
    assert (keyed.kind, keyed.name) == ("key", "")


@pytest.mark.parametrize(
    "headers", [{}, {"x-ms-client-principal-id": ""}, {"x-ms-client-principal-name": "ann"}]
)
def test_signed_in_is_nobody_without_an_id(headers: dict[str, str]) -> None:
    """A name alone is no principal; without a key it is nobody."""
    assert read_caller(headers, {}, signed_in=True) == Caller("anonymous")
    assert read_caller(headers, {"code": KEY}, signed_in=True).kind == "key"


def test_a_key_is_known_by_its_hash() -> None:
    """The same key, as a header or in the URL, is the same caller; its owner can find it by the hash."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()[:12]
    assert read_caller({"x-functions-key": KEY}, {}, signed_in=False) == Caller("key", digest)
    assert read_caller({}, {"code": KEY}, signed_in=False) == Caller("key", digest)
    assert read_caller({"x-functions-key": ""}, {"code": ""}, signed_in=False) == Caller("anonymous")


@given(st.text(min_size=20), st.booleans())
def test_a_key_is_never_kept(key: str, signed_in: bool) -> None:
    """No part of what is stored of a caller is the key, or a piece of it that helps to find it."""
    caller = read_caller({"x-functions-key": key}, {"code": key}, signed_in=signed_in)
    assert key not in msgspec.json.decode(msgspec.json.encode(caller)).values()
    assert len(caller.id) == 12
    assert caller.name == ""
