"""Tokens for Azure's APIs. The only module that imports azure-identity, and only when a token is needed."""

import logging
import re
import threading
from typing import TYPE_CHECKING, Any

from shared.clouds import AUTHORITIES
from shared.errors import CredentialError, NotGrantedError
from shared.model import Clock
from shared.settings import Credential
from shared.windows import SECOND, parse_instant

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_log = logging.getLogger(__name__)
_EPOCH = parse_instant("1970-01-01")
_REFRESH_BEFORE = 300  # seconds; Entra ID tokens live for an hour or more, requests for minutes
_BUSY = ("AADSTS90033", "AADSTS50196", "AADSTS90024")  # Entra ID's codes for "later" ("AADSTS error codes")
_AADSTS = re.compile(r"AADSTS([0-9]+)")
_OF_THE_API = frozenset(
    {
        *("65001", "65004", "90094"),  # nobody, or no administrator, has consented
        *("65005", "650056", "650057"),  # the app registration does not ask for the API's permissions
        "501051",  # the app has no role of an API that gives tokens only to apps with one
        *("50001", "500011", "500014", "650052"),  # the API is unknown in the tenant, or disabled there
    }
)
"""Entra ID's codes for what is missing between the app and an API ("AADSTS error codes", and public reports).

The others say that something is wrong with the credential, the app (700016) or the tenant (90002)."""
_INTERACTIVE = {"azure_cli", "device_code"}
_AZURE_CLI_APP = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"  # the public client that azure-identity defaults to


class Tokens:
    """Gives bearer tokens by scope, from one credential that is built on first use. Thread-safe."""

    def __init__(self, credential: Credential, clock: Clock) -> None:
        self._settings = credential
        self._clock = clock
        self._lock = threading.Lock()
        self._credential: TokenCredential | None = None
        self._tokens: dict[str, tuple[str, int]] = {}

    def token(self, scope: str) -> str:
        """Return a token that is valid for minutes at least.

        Raises NotGrantedError where the app may have none for that scope, and CredentialError.
        """
        with self._lock:
            token, expires = self._tokens.get(scope, ("", 0))
            if expires - self._now() <= _REFRESH_BEFORE:
                if self._credential is None:
                    self._credential = build_credential(self._settings)
                token, expires = _get_token(self._credential, scope)
                self._tokens[scope] = (token, expires)
            return token

    def refused(self, scope: str, token: str) -> None:
        """Forget a token that its API answered with 401, so that the next one is new.

        azure-identity keeps tokens of its own, which only a new credential forgets; a person's sign-in is
        kept all the same.
        """
        with self._lock:
            if self._tokens.get(scope, ("", 0))[0] == token:
                del self._tokens[scope]
                if self._settings.mode not in _INTERACTIVE:
                    self._credential = None

    def _now(self) -> int:
        return (self._clock.now() - _EPOCH) // SECOND


def _get_token(credential: "TokenCredential", scope: str) -> tuple[str, int]:
    """Ask the credential for a token; returns it and when it expires, in seconds since 1970."""
    from azure.core.exceptions import AzureError

    try:
        answer = credential.get_token(scope)
    except (AzureError, ValueError, OSError) as error:
        # azure-identity words what is wrong and which setting to look at; Entra ID's own refusals carry an
        # AADSTS code and stay as they are until somebody changes something.
        said = f"no token for {scope}: {error}"
        if _OF_THE_API.intersection(_AADSTS.findall(said)):
            raise NotGrantedError(
                f"{said} To mend it: an administrator has to grant the app the permission on the API of that "
                "scope which README.md names for the export's source, and consent to it; an API that is not "
                "found, or not enabled, in the tenant needs its service principal there first"
            ) from error
        failure = CredentialError(said)
        failure.retryable = "AADSTS" not in said or any(code in said for code in _BUSY)
        raise failure from error
    return answer.token, answer.expires_on


def build_credential(settings: Credential) -> "TokenCredential":  # noqa: PLR0911  a return for each mode
    """Build the azure-identity credential that the settings name.

    An authority that is not Microsoft's gets ``disable_instance_discovery``: azure-identity would otherwise
    ask Microsoft whether to trust it. Raises CredentialError when azure-identity refuses the settings.
    """
    from azure import identity

    authority: dict[str, Any] = {
        "authority": settings.authority,
        "disable_instance_discovery": settings.authority not in AUTHORITIES,
    }
    tenant, client = settings.tenant_id or "", settings.client_id or ""
    mode = settings.mode
    if mode == "default" and settings.managed_identity_offered:
        mode = "managed_identity"
    try:
        match mode:
            case "managed_identity":
                return identity.ManagedIdentityCredential(client_id=settings.client_id)
            case "client_secret":
                return identity.ClientSecretCredential(
                    tenant, client, settings.client_secret or "", **authority
                )
            case "certificate":
                return identity.CertificateCredential(
                    tenant,
                    client,
                    settings.certificate_path,
                    password=settings.certificate_password,
                    **authority,
                )
            case "workload_identity":
                return identity.WorkloadIdentityCredential(
                    tenant_id=tenant,
                    client_id=client,
                    token_file_path=settings.token_file,
                    **authority,
                )
            case "azure_cli":
                return identity.AzureCliCredential(tenant_id=tenant)
            case "device_code":
                return identity.DeviceCodeCredential(
                    client_id=settings.client_id or _AZURE_CLI_APP,
                    tenant_id=settings.tenant_id,
                    prompt_callback=_prompt,
                    **authority,
                )
            case _:
                return identity.DefaultAzureCredential(exclude_managed_identity_credential=True, **authority)
    except (ValueError, OSError) as error:
        failure = CredentialError(f"EXPORT_CREDENTIAL {mode} cannot be used: {error}")
        failure.retryable = False
        raise failure from error


def _prompt(address: str, code: str, _expires: object) -> None:
    """Show a person where to sign in; the log is what they see in a terminal."""
    _log.warning("to sign in, open %s and enter the code %s", address, code)
