"""The files of the API in the controller's folder of keys, and the creation of a self-signed certificate.

    api/tokens.json   the tokens (`tokens.py`)
    api/server.crt    the certificate; clients give a copy of it with --ca
    api/server.key    its private key

A certificate from another authority works as well: put it in this folder.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loadgen.errors import UsageError
from loadgen.secret_files import write_new

__all__ = ["ApiFiles"]

_EARLY = timedelta(hours=1)
"""A new certificate is valid from this long before its creation, since clocks differ."""


@dataclass(frozen=True, slots=True)
class ApiFiles:
    """The paths of the API's files in a folder of keys."""

    keys: Path

    @property
    def tokens(self) -> Path:
        return self.keys / "api" / "tokens.json"

    @property
    def certificate(self) -> Path:
        return self.keys / "api" / "server.crt"

    @property
    def key(self) -> Path:
        return self.keys / "api" / "server.key"

    def make_certificate(self, hosts: Sequence[str], days: int, now: datetime | None = None) -> None:
        """Write a new key and a self-signed certificate, valid for `days` days.

        hosts: host names and addresses of the controller; localhost is added.

        Raises:
            UsageError: key or certificate exists already, or a host name is invalid.
            StorageError: a file cannot be written.
        """
        if self.key.exists() or self.certificate.exists():
            raise UsageError(f"{self.certificate} is there already", hint="move it away to make another one")
        names = [_name(host) for host in dict.fromkeys((*hosts, "localhost", "127.0.0.1", "::1"))]
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loadgen controller")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLY)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_new(self.key, pem, 0o600)
        write_new(self.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        is_name = host.isascii() and host.replace("-", "").replace(".", "").isalnum()
    if not is_name:
        raise UsageError(f"invalid host name {host!r}", hint="use a name such as controller.internal, or an address")
    return x509.DNSName(host)
