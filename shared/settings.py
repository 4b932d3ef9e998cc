"""App settings -> one frozen ``Settings``. The exports file is read by ``exports_file``.

All mistakes are found in one go. A mistake in the environment stops the app; a wrong export disables
itself and is reported in ``Settings.problems``, while its neighbours run.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from shared.clouds import CLOUDS, Cloud
from shared.errors import Problem, SettingsError
from shared.exports_file import read_exports
from shared.file_format import Format
from shared.kql_guard import ALLOWABLE
from shared.model import KINDS, Export, Kind, SourceType
from shared.query_settings import QuerySettings

CREDENTIALS = (
    "default",
    "managed_identity",
    "client_secret",
    "certificate",
    "workload_identity",
    "azure_cli",
    "device_code",
)
DEFAULT_SCHEDULE = "0 */5 * * * *"

_CONTAINER_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,}")
_CONTAINER_LENGTH = 55  # leaves room for "-queries" in the 63 characters that a container's name may have
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORKSPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class Credential:
    """How to get tokens; ``mode`` is one of CREDENTIALS, the rest are azure-identity's own settings."""

    mode: str
    authority: str
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    certificate_path: str | None = None
    certificate_password: str | None = field(default=None, repr=False)
    token_file: str | None = None
    managed_identity_offered: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """Where data goes: a connection string, or an account URL that is reached with an identity."""

    setting: str
    connection_string: str | None = field(default=None, repr=False)
    account_url: str | None = None
    credential: Credential | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the app is told from outside, checked.

    ``graph_requests`` is how many requests in 10 s the app sends to Microsoft Graph's report endpoints.
    """

    cloud: Cloud
    credential: Credential
    storage: Storage
    container: str
    workspace_id: str | None
    schedules: Mapping[Kind, str]
    max_in_flight: Mapping[Kind, int]
    parallel_slices: int
    answer_bytes: int
    graph_requests: int
    queries: QuerySettings
    exports: tuple[Export, ...]
    problems: tuple[Problem, ...]


def load_settings(
    environ: Mapping[str, str],
    root: Path,
    sources: Mapping[str, SourceType],
    formats: Mapping[str, Format],
) -> Settings:
    """Read the settings from an environment and the exports file that it names.

    ``root`` is the folder that a relative EXPORTS_FILE starts from. Raises SettingsError with every mistake
    in the environment at once; mistakes in the exports file are returned in ``Settings.problems``.
    """
    env = _Environment(environ)
    cloud = env.cloud()
    credential = env.credential(cloud.authority)
    storage = env.storage(credential, cloud.storage_suffix)
    workspace_id = env.workspace_id()
    container = env.text("EXPORT_CONTAINER") or "exports"
    if not (_CONTAINER_NAME.fullmatch(container) and len(container) <= _CONTAINER_LENGTH):
        env.wrong("EXPORT_CONTAINER", container, "3 to 55 lower-case letters, digits and single hyphens")
    schedules = {kind: env.schedule(f"EXPORT_{kind.upper()}_SCHEDULE") for kind in KINDS}
    in_flight = {
        kind: env.positive(f"EXPORT_{kind.upper()}_MAX_IN_FLIGHT", default)
        for kind, default in zip(KINDS, (2, 1), strict=True)
    }
    parallel_slices = env.positive("EXPORT_PARALLEL_SLICES", 2)
    answer_bytes = env.positive("EXPORT_ANSWER_MB", 32) << 20
    graph_requests = env.positive("EXPORT_GRAPH_REQUESTS", 5)
    queries = env.queries(workspace_id, root / "queries")
    if env.problems:
        raise SettingsError(env.problems)
    path = root / (env.text("EXPORTS_FILE") or "exports.toml")
    exports, problems = read_exports(
        path,
        environ,
        cloud=cloud.name,
        tenant_id=credential.tenant_id,
        sources=sources,
        formats=formats,
    )
    return Settings(
        cloud=cloud,
        credential=credential,
        storage=storage,
        container=container,
        workspace_id=workspace_id,
        schedules=schedules,
        max_in_flight=in_flight,
        parallel_slices=parallel_slices,
        answer_bytes=answer_bytes,
        graph_requests=graph_requests,
        queries=replace(queries, workspaces={**queries.workspaces, **_exported(exports)}),
        exports=tuple(exports),
        problems=tuple(problems),
    )


class _Environment:
    """Reads app settings one by one and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def wrong(self, name: str, found: str, expected: str) -> None:
        self.problems.append(Problem(f"setting {name}", found, expected))

    def workspace_id(self) -> str | None:
        name = "LOG_ANALYTICS_WORKSPACE_ID"
        text = self.text(name)
        if text is not None and not _GUID.fullmatch(text):
            self.wrong(name, repr(text), "the workspace ID, a GUID, not the workspace's name")
        return text

    def schedule(self, name: str) -> str:
        """Return the binding expression; the host itself resolves ``%NAME%``, and checks the schedule."""
        return f"%{name}%" if self.text(name) else DEFAULT_SCHEDULE

    def positive(self, name: str, default: int, most: int = 999) -> int:
        text = self.text(name) or str(default)
        if not re.fullmatch(r"[1-9][0-9]{0,11}", text) or int(text) > most:
            self.wrong(name, repr(text), f"a whole number from 1 to {most}")
            return default
        return int(text)

    def flag(self, name: str, *, default: bool) -> bool:
        text = (self.text(name) or str(default)).lower()
        if text not in {"true", "false"}:
            self.wrong(name, repr(text), "true or false")
        return text == "true"

    def queries(self, workspace_id: str | None, folder: Path) -> QuerySettings:
        """Return what on-demand queries may do."""
        default = QuerySettings()
        return QuerySettings(
            folder=folder,
            enabled=self.flag("QUERY_ENABLED", default=True),
            free_text=self.flag("QUERY_FREE_TEXT", default=True),
            signed_in=(self.text("WEBSITE_AUTH_ENABLED") or "").lower() == "true",  # App Service's own
            allowed=self._allowed("QUERY_ALLOW"),
            workspaces={**({"default": workspace_id} if workspace_id else {}), **self._named_workspaces()},
            inline_rows=self.positive("QUERY_INLINE_ROWS", default.inline_rows, 500_000),
            inline_bytes=self.positive("QUERY_INLINE_MB", default.inline_bytes >> 20, 64) << 20,
            concurrent=self.positive("QUERY_MAX_CONCURRENT", default.concurrent),
            pending=self.positive("QUERY_MAX_PENDING", default.pending),
            rows=self.positive("QUERY_MAX_ROWS", default.rows, 10**9),
            bytes=self.positive("QUERY_MAX_MB", default.bytes >> 20, 100_000) << 20,
            days=self.positive("QUERY_MAX_DAYS", default.days, 36_500),
            seconds=self.positive("QUERY_MAX_SECONDS", default.seconds, default.seconds),
            result_days=self.positive("QUERY_RESULT_DAYS", default.result_days),
        )

    def _allowed(self, name: str) -> frozenset[str]:
        names = frozenset(part.strip().lower() for part in (self.text(name) or "").split(",") if part.strip())
        if unknown := names - ALLOWABLE:
            self.wrong(name, ", ".join(sorted(unknown)), "some of " + ", ".join(sorted(ALLOWABLE)))
        return names

    def _named_workspaces(self) -> dict[str, str]:
        name = "QUERY_WORKSPACES"
        named: dict[str, str] = {}
        for part in (self.text(name) or "").split(","):
            if not part.strip():
                continue
            key, _, workspace = (each.strip() for each in part.partition("="))
            taken = {"default", *(each.lower() for each in named)}  # callers may write a name in any case
            right = _WORKSPACE_NAME.fullmatch(key) and _GUID.fullmatch(workspace)
            if not right or key.lower() in taken:
                self.wrong(
                    name, repr(part.strip()), "NAME=workspace ID, … with each name once, not 'default'"
                )
            named[key] = workspace
        return named

    def cloud(self) -> Cloud:
        name = self.text("AZURE_CLOUD") or "public"
        cloud = CLOUDS.get(name)
        if cloud is None:
            self.wrong("AZURE_CLOUD", repr(name), "one of " + ", ".join(CLOUDS))
            cloud = CLOUDS["public"]
        return replace(
            cloud,
            authority=self._origin("AZURE_AUTHORITY_HOST", cloud.authority),
            log_analytics=replace(
                cloud.log_analytics, origin=self._origin("LOG_ANALYTICS_ENDPOINT", cloud.log_analytics.origin)
            ),
            graph=replace(cloud.graph, origin=self._origin("GRAPH_ENDPOINT", cloud.graph.origin)),
            arm=replace(cloud.arm, origin=self._origin("ARM_ENDPOINT", cloud.arm.origin)),
            aad_graph=replace(
                cloud.aad_graph, origin=self._origin("AAD_GRAPH_ENDPOINT", cloud.aad_graph.origin)
            ),
        )

    def _origin(self, name: str, default: str) -> str:
        text = self.text(name)
        if text is None:
            return default
        origin = _read_origin(text if "://" in text else f"https://{text}")
        if origin is None:  # its text is not repeated: it may hold a user's password or a key
            expected = "an origin such as https://host (http only on loopback), without path, query or user"
            self.wrong(name, "something else", expected)
        return origin or default

    def credential(self, authority: str) -> Credential:
        mode = self.text("EXPORT_CREDENTIAL") or "default"
        if mode not in CREDENTIALS:
            self.wrong("EXPORT_CREDENTIAL", repr(mode), "one of " + ", ".join(CREDENTIALS))
        needed = {
            "client_secret": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
            "certificate": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH"),
            "workload_identity": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
        }.get(mode, ())
        for name in needed:
            if self.text(name) is None:
                self.wrong(name, "nothing", f"a value, because EXPORT_CREDENTIAL is {mode}")
        return Credential(
            mode=mode,
            authority=authority,
            tenant_id=self.text("AZURE_TENANT_ID"),
            client_id=self.text("AZURE_CLIENT_ID"),
            client_secret=self.text("AZURE_CLIENT_SECRET"),
            certificate_path=self.text("AZURE_CLIENT_CERTIFICATE_PATH"),
            certificate_password=self.text("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
            token_file=self.text("AZURE_FEDERATED_TOKEN_FILE"),
            managed_identity_offered=self.text("IDENTITY_ENDPOINT") is not None,
        )

    def storage(self, credential: Credential, storage_suffix: str) -> Storage:
        """Choose EXPORT_STORAGE where it is set in any form, else AzureWebJobsStorage.

        The ``__`` suffixes are those of identity-based connections in Azure Functions.
        """
        for prefix in ("EXPORT_STORAGE", "AzureWebJobsStorage"):
            connection_string = self.text(prefix)
            if connection_string:
                return Storage(prefix, connection_string=connection_string)
            url = self.text(f"{prefix}__blobServiceUri")
            if url is None and (account := self.text(f"{prefix}__accountName")):
                url = f"https://{account}.blob.{storage_suffix}"
            if url:
                url = self._storage_url(f"{prefix}__blobServiceUri", url)
                managed = self.text(f"{prefix}__credential") == "managedidentity"
                identity = replace(
                    credential,
                    mode="managed_identity" if managed else credential.mode,
                    client_id=self.text(f"{prefix}__clientId") if managed else credential.client_id,
                )
                return Storage(prefix, account_url=url, credential=identity)
        self.wrong(
            "AzureWebJobsStorage",
            "nothing",
            "a connection string, or AzureWebJobsStorage__blobServiceUri for a connection with an identity "
            "(UseDevelopmentStorage=true is Azurite on this machine)",
        )
        return Storage("AzureWebJobsStorage")

    def _storage_url(self, name: str, text: str) -> str:
        expected = "https://{account}.blob.core.windows.net, without a SAS"
        try:
            url = urlsplit(text)
            right = url.scheme == "https" and url.hostname and not url.query and "@" not in text
            _ = url.port
        except ValueError:
            right = False
        if not right:
            self.wrong(name, "a URL that cannot be used", expected)
        return text.rstrip("/")


def _exported(exports: Iterable[Export]) -> dict[str, str]:
    """Return the workspaces of exports, whose names here are their IDs."""
    listed = (export.identity.get("workspace", "").split(",") for export in exports)
    return {each: each for each in chain.from_iterable(listed) if _GUID.fullmatch(each)}


def _read_origin(text: str) -> str | None:
    """Return a URL's scheme, host and port, or None when it is more, or less, than an origin."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        return None
    plain = url.path in {"", "/"} and not (url.query or url.fragment or "@" in url.netloc)
    secure = url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))
    if not (plain and secure and _HOST.fullmatch(host)):
        return None
    return f"{url.scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
