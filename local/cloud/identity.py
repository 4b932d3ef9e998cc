"""Who may ask for tokens: the made-up tenant, its app registration, and how the app proves itself."""

import functools
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import jwt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa


def made_up_uuid(random: Random) -> str:
    """A version 4 UUID that the random generator's seed decides."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


@dataclass(frozen=True)
class Certificates:
    """An authority, and the certificates it has issued: to the stand-in's server, and to the app."""

    authority: trustme.CA
    of_server: trustme.LeafCert
    of_app: trustme.LeafCert


@functools.cache
def certificates() -> Certificates:
    """The certificates of all clouds in this process: an RSA key takes longer to make than all else."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    app = authority.issue_cert("exporter.stand-in.local", key_type=trustme.KeyType.RSA)
    return Certificates(authority, server, app)


@dataclass(frozen=True)
class Identity:
    """The tenant and its one app registration; ids follow from the seed, secrets are new at every start."""

    tenant_id: str
    client_id: str
    workspace_id: str
    workspace_resource_id: str
    foreign_workspace_id: str
    """A workspace that exists and on which the app has no role."""
    certificate_file: Path
    """PEM with the private key and the certificate registered for the app."""
    federated_token_file: Path
    """The assertion that workload identity federation trusts."""
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    identity_header: str = field(default_factory=lambda: secrets.token_hex(16))

    @classmethod
    def make(cls, seed: int, folder: Path) -> "Identity":
        """Make the ids, and write the files that prove the app's identity to `folder`."""
        random = Random(f"identity {seed}")  # noqa: S311 (made-up ids, not secrets)
        tenant_id, client_id, workspace_id, foreign, subscription = (made_up_uuid(random) for _ in range(5))
        certificate_file, federated_token_file = folder / "client.pem", folder / "federated_token"
        certificates().of_app.private_key_and_cert_chain_pem.write_to_path(certificate_file)
        federated_token_file.write_text(secrets.token_urlsafe(48), encoding="ascii")
        group = f"/subscriptions/{subscription}/resourceGroups/monitoring"
        return cls(
            tenant_id=tenant_id,
            client_id=client_id,
            workspace_id=workspace_id,
            workspace_resource_id=f"{group}/providers/Microsoft.OperationalInsights/workspaces/stand-in",
            foreign_workspace_id=foreign,
            certificate_file=certificate_file,
            federated_token_file=federated_token_file,
        )

    def proves(self, assertion: str, audience: Callable[[str], bool]) -> bool:
        """Whether a client assertion is the federated token, or is signed with the registered certificate.

        `audience` says whether the assertion's `aud` is this token endpoint.
        """
        if secrets.compare_digest(assertion.encode(), self.federated_token_file.read_bytes()):
            return True
        certificate = x509.load_pem_x509_certificates(self.certificate_file.read_bytes())[0]
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("the certificate made at the start has another kind of key than was asked for")
        try:
            header = jwt.get_unverified_header(assertion)
            claims: dict[str, Any] = jwt.decode(
                assertion,
                key,
                algorithms=["RS256", "PS256"],
                options={"verify_aud": False, "require": ["exp", "aud"]},
            )
        except jwt.PyJWTError:
            return False
        thumbprints = {
            _thumbprint(certificate.fingerprint(algorithm))
            for algorithm in (hashes.SHA1(), hashes.SHA256())  # noqa: S303 (the header x5t is a SHA-1 by definition)
        }
        named = str(header.get("x5t#S256") or header.get("x5t") or "").rstrip("=")
        return (
            named in thumbprints
            and claims.get("iss") == claims.get("sub") == self.client_id
            and audience(str(claims["aud"]))
        )


def _thumbprint(digest: bytes) -> str:
    return jwt.utils.base64url_encode(digest).decode()
