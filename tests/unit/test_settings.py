"""App settings: the right ones are understood, the wrong ones all reported, no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.clouds import CLOUDS
from shared.errors import SettingsError
from shared.formats import FORMATS
from shared.model import KINDS
from shared.settings import CREDENTIALS, DEFAULT_SCHEDULE, Settings, load_settings
from shared.sources import SOURCES

SECRET = "s3cret/Key+=="
CONNECTION = (
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"
)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Load settings beside an empty exports file; storage is set unless the test says otherwise."""
    (tmp_path / "exports.toml").write_text("")

    def load(**environ: str | None) -> Settings:
        given: dict[str, str | None] = {"AzureWebJobsStorage": CONNECTION, **environ}
        set_ = {key: value for key, value in given.items() if value is not None}
        return load_settings(set_, tmp_path, SOURCES, FORMATS)

    return load


def problems(load: Any, **environ: str | None) -> dict[str, str]:
    """Return what is wrong, by the setting's name."""
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    return {problem.where.removeprefix("setting "): str(problem) for problem in caught.value.problems}


def test_defaults(load: Any) -> None:
    """Only storage must be set; everything else has a default that works in Azure."""
    settings = load()
    assert settings.cloud == CLOUDS["public"]
    assert settings.credential.mode == "default"
    assert settings.container == "exports"
    assert settings.workspace_id is None
    assert settings.schedules == dict.fromkeys(KINDS, DEFAULT_SCHEDULE)
    assert settings.max_in_flight == {"log_analytics": 2, "entra": 1}
    assert (settings.exports, settings.problems) == ((), ())


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_is_chosen(load: Any, name: str) -> None:
    """Every cloud brings its own endpoints and authority."""
    settings = load(AZURE_CLOUD=name)
    assert settings.cloud == CLOUDS[name]
    assert settings.credential.authority == CLOUDS[name].authority


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://host.example", "https://host.example"),
        ("https://Host.Example/", "https://host.example"),
        ("host.example:8443", "https://host.example:8443"),
        ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
        ("http://localhost:8443/", "http://localhost:8443"),
        ("http://[::1]:8443", "http://[::1]:8443"),
        (" https://host.example ", "https://host.example"),
    ],
)
def test_an_endpoint_override(load: Any, text: str, origin: str) -> None:
    """An origin may be given in any usual spelling; audiences stay the cloud's."""
    settings = load(
        LOG_ANALYTICS_ENDPOINT=text, GRAPH_ENDPOINT=text, ARM_ENDPOINT=text, AZURE_AUTHORITY_HOST=text
    )
    cloud = settings.cloud
    assert {cloud.log_analytics.origin, cloud.graph.origin, cloud.arm.origin, cloud.authority} == {origin}
    assert settings.credential.authority == origin
    assert cloud.log_analytics.scope == CLOUDS["public"].log_analytics.scope


@pytest.mark.parametrize(
    "name", ["LOG_ANALYTICS_ENDPOINT", "GRAPH_ENDPOINT", "ARM_ENDPOINT", "AZURE_AUTHORITY_HOST"]
)
@pytest.mark.parametrize(
    "text",
    ["http://host.example", "http://localhost.evil.example", "http://128.0.0.1", "ftp://host", "https://",
     "https://host/path", "https://host?a=b", "https://host#a", "https://host:99999", "https://host:x",
     "https://[::1", f"https://me:{SECRET}@host", "https://ho st.example", "//host"],
)  # fmt: skip
def test_a_wrong_endpoint(load: Any, name: str, text: str) -> None:
    """What is no origin is refused under the setting's name: a token must not go just anywhere."""
    found = problems(load, **{name: text})
    assert list(found) == [name]
    assert "https://host" in found[name]


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"AzureWebJobsStorage": None}, ["AzureWebJobsStorage"]),
        ({"AzureWebJobsStorage": "  "}, ["AzureWebJobsStorage"]),
        ({"AZURE_CLOUD": "germany"}, ["AZURE_CLOUD"]),
        ({"EXPORT_CREDENTIAL": "password"}, ["EXPORT_CREDENTIAL"]),
        ({"EXPORT_CREDENTIAL": "client_secret"},
         ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]),
        ({"EXPORT_CREDENTIAL": "client_secret", "AZURE_CLIENT_ID": "c"},
         ["AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"]),
        ({"EXPORT_CREDENTIAL": "certificate", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"},
         ["AZURE_CLIENT_CERTIFICATE_PATH"]),
        ({"EXPORT_CREDENTIAL": "workload_identity", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"},
         ["AZURE_FEDERATED_TOKEN_FILE"]),
        ({"EXPORT_CONTAINER": "Exports"}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "ab"}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "a--b"}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "-ab"}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "abc-"}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "a" * 56}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_CONTAINER": "a" + "-a" * 28}, ["EXPORT_CONTAINER"]),
        ({"EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": "0"}, ["EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT"]),
        ({"EXPORT_ENTRA_MAX_IN_FLIGHT": "many"}, ["EXPORT_ENTRA_MAX_IN_FLIGHT"]),
        ({"EXPORT_ENTRA_MAX_IN_FLIGHT": "1.5"}, ["EXPORT_ENTRA_MAX_IN_FLIGHT"]),
        ({"EXPORT_ENTRA_MAX_IN_FLIGHT": "1000"}, ["EXPORT_ENTRA_MAX_IN_FLIGHT"]),
        ({"EXPORT_STORAGE__blobServiceUri": "http://a.blob.core.windows.net"},
         ["EXPORT_STORAGE__blobServiceUri"]),
        ({"EXPORT_STORAGE__blobServiceUri": f"https://a.blob.core.windows.net?sig={SECRET}"},
         ["EXPORT_STORAGE__blobServiceUri"]),
        ({"EXPORT_STORAGE__blobServiceUri": f"https://me:{SECRET}@a.example"},
         ["EXPORT_STORAGE__blobServiceUri"]),
        ({"EXPORT_STORAGE__blobServiceUri": "https://[::1"}, ["EXPORT_STORAGE__blobServiceUri"]),
        ({"EXPORT_STORAGE__blobServiceUri": "a.blob.core.windows.net"}, ["EXPORT_STORAGE__blobServiceUri"]),
        ({"AzureWebJobsStorage": None, "AZURE_CLOUD": "x", "EXPORT_CONTAINER": "X", "GRAPH_ENDPOINT": "ftp://x",
          "EXPORT_ENTRA_MAX_IN_FLIGHT": "x", "EXPORT_CREDENTIAL": "x"},
         ["AZURE_CLOUD", "GRAPH_ENDPOINT", "EXPORT_CREDENTIAL", "AzureWebJobsStorage", "EXPORT_CONTAINER",
          "EXPORT_ENTRA_MAX_IN_FLIGHT"]),
    ],
)  # fmt: skip
def test_wrong_settings_are_reported_all_at_once(
    load: Any, environ: dict[str, str | None], names: list[str]
) -> None:
    """Each mistake is named with what was found and what was expected, and none hides another."""
    found = problems(load, **environ)
    assert list(found) == names
    assert all("found " in text and "; expected " in text for text in found.values())


@pytest.mark.parametrize("name", ["exports", "abc", "a" * 55, "logs-2026", "0-1-2"])
def test_container_names(load: Any, name: str) -> None:
    """A container's name leaves room for the names of the state and query containers beside it."""
    assert load(EXPORT_CONTAINER=name).container == name


@pytest.mark.parametrize("mode", CREDENTIALS)
def test_credentials(load: Any, mode: str) -> None:
    """Every mode is accepted when azure-identity's own settings for it are there."""
    credential = load(
        EXPORT_CREDENTIAL=mode,
        AZURE_TENANT_ID="t",
        AZURE_CLIENT_ID="c",
        AZURE_CLIENT_SECRET=SECRET,
        AZURE_CLIENT_CERTIFICATE_PATH="c.pem",
        AZURE_CLIENT_CERTIFICATE_PASSWORD=SECRET,
        AZURE_FEDERATED_TOKEN_FILE="token",
        IDENTITY_ENDPOINT="http://169.254.1.1",
    ).credential
    assert (credential.mode, credential.tenant_id, credential.client_id) == (mode, "t", "c")
    assert (credential.client_secret, credential.certificate_password) == (SECRET, SECRET)
    assert (credential.certificate_path, credential.token_file) == ("c.pem", "token")
    assert credential.managed_identity_offered


@pytest.mark.parametrize(
    ("environ", "setting", "connection", "url"),
    [
        ({}, "AzureWebJobsStorage", CONNECTION, None),
        ({"EXPORT_STORAGE": "UseDevelopmentStorage=true"}, "EXPORT_STORAGE",
         "UseDevelopmentStorage=true", None),
        ({"EXPORT_STORAGE__blobServiceUri": "https://b.example/"}, "EXPORT_STORAGE", None, "https://b.example"),
        ({"EXPORT_STORAGE__accountName": "b"}, "EXPORT_STORAGE", None, "https://b.blob.core.windows.net"),
        ({"AzureWebJobsStorage": None, "AzureWebJobsStorage__accountName": "b"}, "AzureWebJobsStorage", None,
         "https://b.blob.core.windows.net"),
    ],
)  # fmt: skip
def test_storage(
    load: Any, environ: dict[str, str | None], setting: str, connection: str | None, url: str
) -> None:
    """EXPORT_STORAGE in any of its forms goes before the host's own storage."""
    storage = load(**environ).storage
    assert (storage.setting, storage.connection_string, storage.account_url) == (setting, connection, url)


def test_storage_may_have_an_identity_of_its_own(load: Any) -> None:
    """``__credential`` and ``__clientId`` choose a user-assigned identity, as for bindings."""
    storage = load(
        EXPORT_CREDENTIAL="azure_cli",
        AZURE_CLIENT_ID="app",
        EXPORT_STORAGE__blobServiceUri="https://b.example",
        EXPORT_STORAGE__credential="managedidentity",
        EXPORT_STORAGE__clientId="own",
    ).storage
    assert (storage.credential.mode, storage.credential.client_id) == ("managed_identity", "own")


def test_a_schedule_is_left_to_the_host(load: Any) -> None:
    """The binding expression is passed on, so that the host reads, checks and shows the setting."""
    settings = load(EXPORT_ENTRA_SCHEDULE="0 0 * * * *")
    assert settings.schedules == {"entra": "%EXPORT_ENTRA_SCHEDULE%", "log_analytics": DEFAULT_SCHEDULE}


def test_secrets_are_not_shown(load: Any) -> None:
    """Neither settings nor their parts can be logged with a secret in them."""
    settings = load(
        AZURE_CLIENT_SECRET=SECRET,
        AZURE_CLIENT_CERTIFICATE_PASSWORD=SECRET,
        EXPORT_STORAGE__blobServiceUri="https://b.example",
    )
    hidden = load(AZURE_CLIENT_SECRET=SECRET)
    assert SECRET not in repr(settings) + repr(hidden) + str(hidden.storage) + str(settings.storage)


@pytest.mark.parametrize(
    "environ",
    [
        {"EXPORT_STORAGE__blobServiceUri": f"https://a.blob.core.windows.net/?sv=1&sig={SECRET}"},
        {"AzureWebJobsStorage": CONNECTION, "AZURE_CLOUD": "x"},
        {"AZURE_CLIENT_SECRET": SECRET, "EXPORT_CREDENTIAL": "client_secret"},
        {"GRAPH_ENDPOINT": f"https://me:{SECRET}@graph.example"},
        {"AZURE_AUTHORITY_HOST": f"https://login.example?key={SECRET}"},
    ],
    ids=["sas", "connection string", "client secret", "password in url", "key in url"],
)
def test_errors_show_no_secret(load: Any, environ: dict[str, str]) -> None:
    """A mistake in or beside a secret is reported without it."""
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(caught.value.problems)


def test_wrong_exports_do_not_stop_the_app(load: Any, tmp_path: Path) -> None:
    """A mistake in the exports file is reported beside what is right, not raised."""
    (tmp_path / "other.toml").write_text('[[export]]\nname = "a"\nsource = "b"\n')
    settings = load(EXPORTS_FILE="other.toml")
    assert [problem.where for problem in settings.problems] == ["other.toml: export 'a': source"]
