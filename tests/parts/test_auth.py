"""Every credential that can be tried on one machine: azure-identity itself against a stand-in Entra ID."""

import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure import identity
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport

from local.cloud import Cloud, Limits, Options
from local.cloud.aad_graph import is_of_a_user
from shared import auth
from shared.auth import Tokens, build_credential
from shared.clock import SystemClock
from shared.clouds import CLOUDS
from shared.errors import CredentialError, NotGrantedError
from shared.formats import FORMATS
from shared.settings import Credential, load_settings
from shared.sources import SOURCES
from shared.windows import SECOND, parse_instant
from tests.parts.fakes import FakeClock
from tests.processes import write_program

GRAPH = "https://graph.microsoft.com/.default"
LOGS = "https://api.loganalytics.io/.default"
SETTINGS = (
    "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS", "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "REQUESTS_CA_BUNDLE",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Give a stand-in cloud that the tests of this module share."""
    with Cloud(
        Options(events=10, audits=10, limits=Limits(reports=None)), tmp_path_factory.mktemp("cloud")
    ) as running:
        yield running


@pytest.fixture
def cloud(shared_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Give a stand-in cloud with nothing of an earlier test, and an environment without credentials."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    # azure-identity waits between its attempts; a test need not.
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _self, _seconds: None)
    yield shared_cloud
    shared_cloud.clear_faults()
    shared_cloud.clear_requests()


def credential(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Credential:
    """Read a credential from app settings, which azure-identity partly reads for itself too."""
    environ = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", **environ}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return load_settings(environ, Path("no such folder"), SOURCES, FORMATS).credential


def asked(cloud: Cloud) -> list[str]:
    """Return what tokens were asked of, without the discovery around it."""
    return [
        f"{each.api} {each.status}"
        for each in cloud.requests
        if each.path.partition("?")[0].endswith("/token")
    ]


def accepted(cloud: Cloud, token: str) -> bool:
    """Whether the stand-in's Graph takes a token."""
    answer = requests.get(
        f"{cloud.url}/v1.0/auditLogs/directoryAudits?$top=1",
        headers={"Authorization": f"Bearer {token}"},
        verify=str(cloud.ca_file),
        timeout=10,
    )
    return answer.status_code == 200


MODES = ["client_secret", "certificate", "workload_identity", "managed_identity"]


def environment(cloud: Cloud, mode: str) -> dict[str, str]:
    """Return the app settings of a mode."""
    return {
        "client_secret": cloud.environment,
        "certificate": cloud.certificate_environment,
        "workload_identity": cloud.workload_identity_environment,
        "managed_identity": cloud.managed_identity_environment,
    }[mode]()


@pytest.mark.parametrize("mode", MODES)
def test_a_token_is_had_kept_and_renewed(cloud: Cloud, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each credential gives a token that its API takes, and asks for a new one only after a refusal."""
    tokens = Tokens(credential(environment(cloud, mode), monkeypatch), SystemClock())
    first = tokens.token(GRAPH)
    assert tokens.token(GRAPH) == first
    assert accepted(cloud, first)
    assert len(asked(cloud)) == 1
    cloud.expire_tokens()
    assert not accepted(cloud, first)
    tokens.refused(GRAPH, first)
    second = tokens.token(GRAPH)
    assert accepted(cloud, second)
    assert len(asked(cloud)) == 2


def test_each_api_gets_its_own_token(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is for one audience; another API does not take it."""
    tokens = Tokens(credential(cloud.environment(), monkeypatch), SystemClock())
    assert not accepted(cloud, tokens.token(LOGS))
    assert accepted(cloud, tokens.token(GRAPH))


def test_default_takes_the_managed_identity_that_azure_offers(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Azure, with nothing said, the app is its managed identity."""
    settings = cloud.managed_identity_environment() | {"EXPORT_CREDENTIAL": "default"}
    assert accepted(cloud, Tokens(credential(settings, monkeypatch), SystemClock()).token(GRAPH))
    assert asked(cloud) == ["managed_identity 200"]


def test_default_reads_the_environment_elsewhere(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine azure-identity's own chain finds it, and asks no managed identity."""
    settings = cloud.environment()
    del settings["EXPORT_CREDENTIAL"]
    assert accepted(cloud, Tokens(credential(settings, monkeypatch), SystemClock()).token(GRAPH))
    assert asked(cloud) == ["entra_id 200"]


def _fake_az(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program ``az`` on the path."""
    folder.mkdir()
    write_program(folder / "az", body)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(
    os.name == "nt", reason="on Windows az is a batch file, which this test would have to write"
)
def test_azure_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signed-in person's token comes from ``az``, asked for the scope and the tenant."""
    body = (
        "import json, sys\n"
        "print(json.dumps({'accessToken': ' '.join(sys.argv[1:]), 'expires_on': 4102444800}))\n"
    )
    _fake_az(tmp_path / "with space", body, monkeypatch)
    tokens = Tokens(
        credential({"EXPORT_CREDENTIAL": "azure_cli", "AZURE_TENANT_ID": "my-tenant"}, monkeypatch),
        SystemClock(),
    )
    token = tokens.token(GRAPH)
    assert "https://graph.microsoft.com" in token
    assert "my-tenant" in token
    tokens.refused(GRAPH, token)
    assert tokens.token(GRAPH) == token


@pytest.mark.skipif(os.name == "nt", reason="see test_azure_cli")
def test_azure_cli_without_a_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that somebody has to sign in, and how."""
    _fake_az(
        tmp_path / "bin",
        "import sys; sys.exit('ERROR: Please run \"az login\" to setup account.')",
        monkeypatch,
    )
    tokens = Tokens(credential({"EXPORT_CREDENTIAL": "azure_cli"}, monkeypatch), SystemClock())
    with pytest.raises(CredentialError, match="az login"):
        tokens.token(GRAPH)


def test_device_code(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells a person where to sign in and with which code; their token is kept."""
    settings = cloud.environment() | {"EXPORT_CREDENTIAL": "device_code"}
    del settings["AZURE_CLIENT_SECRET"]
    tokens = Tokens(credential(settings, monkeypatch), SystemClock())
    with caplog.at_level(logging.WARNING):
        token = tokens.token(GRAPH)
    assert re.search(r"open https://microsoft\.com/devicelogin and enter the code \w{8}\n", caplog.text)
    assert accepted(cloud, token)
    assert is_of_a_user(f"Bearer {token}")
    assert tokens.token(GRAPH) == token
    assert asked(cloud) == ["entra_id 400", "entra_id 200"], "what is pending is asked for again"


class Fake:
    """A credential that counts, and gives tokens that live for an hour of a fake clock."""

    def __init__(self, clock: FakeClock, numbers: Iterator[int]) -> None:
        self._clock = clock
        self._numbers = numbers
        self.given = 0

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Return the next token."""
        self.given += 1
        now = (self._clock.now() - parse_instant("1970-01-01")) // SECOND
        return AccessToken(f"token {next(self._numbers)}", now + 3600)


def _fake_tokens(monkeypatch: pytest.MonkeyPatch) -> tuple[Tokens, FakeClock, list[Fake]]:
    clock = FakeClock()
    built: list[Fake] = []
    numbers = itertools.count(1)

    def build(_settings: Credential) -> Fake:
        built.append(Fake(clock, numbers))
        return built[-1]

    monkeypatch.setattr(auth, "build_credential", build)
    return Tokens(Credential("client_secret", "https://login.example"), clock), clock, built


def test_a_token_is_refreshed_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes before its end a token is too old to begin anything with."""
    tokens, clock, built = _fake_tokens(monkeypatch)
    assert built == [], "nothing is built before it is used"
    assert tokens.token(GRAPH) == "token 1"
    clock.sleep(3600 - 301)
    assert tokens.token(GRAPH) == "token 1"
    clock.sleep(1)
    assert tokens.token(GRAPH) == "token 2"
    assert len(built) == 1


def test_an_old_refusal_does_not_cost_a_new_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two requests that were refused with one token, the second finds it renewed already."""
    tokens, _, built = _fake_tokens(monkeypatch)
    old = tokens.token(GRAPH)
    tokens.refused(GRAPH, old)
    new = tokens.token(GRAPH)
    tokens.refused(GRAPH, old)
    assert tokens.token(GRAPH) == new
    assert len(built) == 2


def test_threads_share_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads that need a token at the same time ask for it once."""
    tokens, _, built = _fake_tokens(monkeypatch)
    barrier, seen = threading.Barrier(16), []

    def ask() -> None:
        barrier.wait(10)
        seen.append(tokens.token(GRAPH))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["token 1"] * 16
    assert [each.given for each in built] == [1]


def test_a_wrong_secret_says_so_and_shows_none(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entra ID's own words name the cause, no secret is in them, and no retry helps."""
    settings = credential({**cloud.environment(), "AZURE_CLIENT_SECRET": "a-wrong-one"}, monkeypatch)
    with pytest.raises(CredentialError, match="AADSTS7000215") as caught:
        Tokens(settings, SystemClock()).token(GRAPH)
    assert not caught.value.retryable
    for secret in ("a-wrong-one", cloud.client_secret):
        assert secret not in str(caught.value)
        assert secret not in repr(settings)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000009"}, "AADSTS700016"),
        ({"AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000009"}, "AADSTS90002|tenant"),
    ],
)
def test_a_wrong_identity_says_so(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], code: str
) -> None:
    """An unknown app or tenant is an error in Entra ID's words, or at least names what was asked for."""
    tokens = Tokens(credential({**cloud.environment(), **change}, monkeypatch), SystemClock())
    with pytest.raises(CredentialError, match=code) as caught:
        tokens.token(GRAPH)
    assert GRAPH in str(caught.value)
    assert not isinstance(caught.value, NotGrantedError)


def test_a_missing_consent_says_for_which_api_and_what_to_grant(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential is right, so what is refused is that API's token; the others are given."""
    tokens = Tokens(credential(cloud.environment(), monkeypatch), SystemClock())
    assert tokens.token(LOGS)
    cloud.fail("entra_id", "missing_consent", path="/token", count=None)
    with pytest.raises(NotGrantedError, match="AADSTS65001") as caught:
        tokens.token(GRAPH)
    assert not caught.value.retryable
    assert GRAPH in str(caught.value)
    assert "consent to it" in str(caught.value)
    assert tokens.token(LOGS)


def test_an_api_that_the_tenant_lacks_is_not_granted(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its service principal has to come into the tenant first."""
    tokens = Tokens(credential(cloud.environment(), monkeypatch), SystemClock())
    with pytest.raises(NotGrantedError, match=r"AADSTS500011.*service principal"):
        tokens.token("https://example.com/.default")


@pytest.mark.parametrize(
    ("mode", "change", "words"),
    [
        ("certificate", {"AZURE_CLIENT_CERTIFICATE_PATH": "/no/such/file.pem"}, "/no/such/file.pem"),
        ("workload_identity", {"AZURE_FEDERATED_TOKEN_FILE": "/no/such/token"}, "/no/such/token"),
        ("managed_identity", {"IDENTITY_HEADER": "wrong"}, GRAPH),
    ],
)
def test_a_missing_proof_says_which(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, mode: str, change: dict[str, str], words: str
) -> None:
    """A file that is not there, or an endpoint that refuses, is named."""
    tokens = Tokens(credential({**environment(cloud, mode), **change}, monkeypatch), SystemClock())
    with pytest.raises(CredentialError, match=words):
        tokens.token(GRAPH)


def test_a_service_that_is_down_can_be_tried_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Entra ID answers 503 there is nothing to mend: the work is worth repeating."""
    cloud.fail("entra_id", "503", path="/token", count=None)
    tokens = Tokens(credential(cloud.environment(), monkeypatch), SystemClock())
    with pytest.raises(CredentialError) as caught:
        tokens.token(GRAPH)
    assert caught.value.retryable


@pytest.mark.parametrize("code", ["AADSTS90033", "AADSTS50196", "AADSTS90024"])
def test_transient_refusals_can_be_tried_again(code: str) -> None:
    """Some of Entra ID's codes say that it is busy, not that anything is wrong ("AADSTS error codes")."""

    class Busy:
        def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            raise ClientAuthenticationError(f"{code}: A transient error has occurred. Please try again.")

    with pytest.raises(CredentialError) as caught:
        auth._get_token(Busy(), GRAPH)  # azure-identity cannot be made to say each code
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("code", "granted"),
    [
        *((code, False) for code in (65001, 65004, 65005, 90094, 501051)),
        *((code, False) for code in (50001, 500011, 500014, 650052, 650056, 650057)),
        *((code, True) for code in (700016, 7000215, 7000222, 90002, 700027, 70011, 650012)),
    ],
)
def test_only_what_lies_between_the_app_and_an_api_is_not_granted(code: int, *, granted: bool) -> None:
    """A wrong secret, app or tenant is the credential's, and concerns every export ("AADSTS error codes")."""

    class Refused:
        def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            raise ClientAuthenticationError(f"Authentication failed: AADSTS{code}: It is so. Trace ID: 1")

    with pytest.raises(CredentialError) as caught:
        auth._get_token(Refused(), GRAPH)  # the stand-in does not know each code
    assert isinstance(caught.value, NotGrantedError) != granted
    assert not caught.value.retryable


def test_no_one_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority that cannot be reached is an error that a retry can mend."""
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _self, _seconds: None)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    settings = Credential("client_secret", "https://127.0.0.1:1", "tenant", "client", "hidden")
    with pytest.raises(CredentialError) as caught:
        Tokens(settings, SystemClock()).token(GRAPH)
    assert caught.value.retryable
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("authority", [*(each.authority for each in CLOUDS.values()), "https://127.0.0.1:1"])
def test_only_foreign_authorities_skip_instance_discovery(
    authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft vouches for its own authorities, and is not asked about any other."""
    seen: dict[str, object] = {}
    monkeypatch.setattr(
        identity, "ClientSecretCredential", lambda *_positional, **options: seen.update(options)
    )
    build_credential(Credential("client_secret", authority, "tenant", "client", "secret"))
    assert seen == {"authority": authority, "disable_instance_discovery": authority == "https://127.0.0.1:1"}
