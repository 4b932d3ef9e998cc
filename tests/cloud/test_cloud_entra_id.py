"""Entra ID over the wire: token endpoints, their errors, and the managed identity's local endpoint."""

import jwt
import pytest
import requests

from local.cloud.aad_graph import is_of_a_user
from tests.cloud.caller import Caller

GRAPH = "https://graph.microsoft.com"


def form(caller: Caller, **changes: str | None) -> dict[str, str]:
    """A form that gets a token, with changes; None leaves a field out."""
    fields: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_id": caller.cloud.client_id,
        "client_secret": caller.cloud.client_secret,
        "scope": f"{GRAPH}/.default",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def ask(
    caller: Caller, fields: dict[str, str], tenant: str = "", path: str = "oauth2/v2.0/token"
) -> requests.Response:
    """Post a form to a token endpoint."""
    return caller.session.post(f"{caller.cloud.url}/{tenant or caller.cloud.tenant_id}/{path}", data=fields)


def test_the_openid_configuration_names_this_server(shared: Caller) -> None:
    """A client finds the token endpoint by it."""
    url = f"{shared.cloud.url}/{shared.cloud.tenant_id}"
    found = shared.session.get(f"{url}/v2.0/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"{url}/oauth2/v2.0/token"
    assert found["authorization_endpoint"].startswith(shared.cloud.url)


def test_v2_numbers_are_numbers_and_v1_numbers_are_texts(shared: Caller) -> None:
    """The two versions differ as documented."""
    v2 = ask(shared, form(shared)).json()
    assert (v2["token_type"], v2["expires_in"]) == ("Bearer", 3599)
    v1 = ask(shared, form(shared, scope=None, resource=GRAPH), path="oauth2/token").json()
    assert (v1["expires_in"], v1["resource"]) == ("3599", GRAPH)
    assert int(v1["expires_on"]) - int(v1["not_before"]) == 3599


@pytest.mark.parametrize(
    ("changes", "tenant", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, "", 401, "invalid_client", 7000215),
        ({"client_secret": None}, "", 401, "invalid_client", 7000218),
        ({"client_id": "00000000-0000-0000-0000-00000000000f"}, "", 400, "unauthorized_client", 700016),
        ({}, "00000000-0000-0000-0000-00000000000e", 400, "invalid_tenant", 90002),
        ({"scope": GRAPH}, "", 400, "invalid_scope", 70011),
        ({"scope": None}, "", 400, "invalid_scope", 70011),
        ({"scope": "https://example.com/.default"}, "", 400, "invalid_resource", 500011),
        ({"grant_type": "password"}, "", 400, "unsupported_grant_type", 70003),
        ({"grant_type": None}, "", 400, "invalid_request", 900144),
        ({"client_secret": None, "client_assertion": "x.y.z"}, "", 401, "invalid_client", 700027),
    ],
)
def test_refusals_have_the_services_numbers(
    shared: Caller, changes: dict[str, str | None], tenant: str, status: int, error: str, number: int
) -> None:
    """AADSTS errors in the documented shape, which a client shows its user."""
    answer = ask(shared, form(shared, **changes), tenant)
    found = answer.json()
    assert (answer.status_code, found["error"], found["error_codes"]) == (status, error, [number])
    assert found["error_description"].startswith(f"AADSTS{number}: ")
    assert shared.cloud.client_secret not in answer.text


def test_a_user_signs_in_on_another_device(shared: Caller) -> None:
    """The code is pending once, then good for one token of a user's, and for no other client."""
    known = {"client_id": shared.cloud.client_id}
    scope = f"openid {GRAPH}/.default offline_access"
    began = ask(shared, {**known, "scope": scope}, path="oauth2/v2.0/devicecode").json()
    assert began["user_code"] in began["message"]
    fields = {
        **known,
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": began["device_code"],
    }
    stranger = {"client_id": "00000000-0000-0000-0000-00000000000f"}
    assert ask(shared, fields | stranger).json()["error"] == "unauthorized_client"
    assert ask(shared, fields).json()["error"] == "authorization_pending"
    answer = ask(shared, fields).json()
    assert is_of_a_user(f"Bearer {answer['access_token']}")
    assert jwt.decode(answer["id_token"], options={"verify_signature": False})["aud"] == known["client_id"]
    assert ask(shared, fields).json()["error"] == "bad_verification_code"
    assert ask(shared, fields, path="oauth2/token").json()["error"] == "unsupported_grant_type"
    assert ask(shared, {**known, "scope": "openid"}, path="oauth2/v2.0/devicecode").status_code == 400


def test_secrets_stay_out_of_the_request_log(caller: Caller) -> None:
    """What was sent to the token endpoint is not kept, nor any bearer token."""
    token = caller.token(GRAPH)
    caller.audits()
    kept = repr(caller.cloud.requests)
    assert caller.cloud.client_secret not in kept
    assert token not in kept
    assert caller.cloud.requests[-1].headers["authorization"] == "Bearer …"


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        (None, f"api-version=2019-08-01&resource={GRAPH}", 200),
        ("wrong", f"api-version=2019-08-01&resource={GRAPH}", 401),
        (None, f"api-version=2017-09-01&resource={GRAPH}", 400),
        (None, "api-version=2019-08-01", 400),
        (None, "api-version=2019-08-01&resource=https://example.com", 400),
        (None, f"api-version=2019-08-01&resource={GRAPH}&client_id=other", 400),
    ],
)
def test_the_managed_identity_endpoint_checks_what_functions_checks(
    shared: Caller, header: str | None, query: str, status: int
) -> None:
    """Header, version, resource and identity have to be right."""
    settings = shared.cloud.managed_identity_environment()
    answer = shared.session.get(
        f"{settings['IDENTITY_ENDPOINT']}?{query}",
        headers={"X-IDENTITY-HEADER": header or settings["IDENTITY_HEADER"]},
    )
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["expires_on"].isdigit()
        assert "AZURE_CLIENT_SECRET" not in settings
