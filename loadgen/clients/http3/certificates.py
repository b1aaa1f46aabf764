"""Certificates for HTTP/3: the trusted roots, the check of a target's certificate, and the client's certificate.

QUIC has TLS inside, so Python's `ssl` is not used. This module takes the same roots from the plan's TLS context, so a
certificate is trusted over QUIC exactly if it is trusted over TCP.

aioquic would read all roots for each handshake: 17 ms with the usual 146 roots, beside 5 ms for the handshake
itself. So the roots are read once, and a certificate is checked here, before anything else is sent.
"""

from __future__ import annotations

import os
import re
import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

import service_identity
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import crypto
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import pem_of

__all__ = ["OwnCertificate", "Trust", "own_certificate"]

_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL)

OwnCertificate = tuple[Any, list[Any], Any]
"""(the client's certificate, its chain, its private key), as objects of cryptography."""


class Trust:
    """The trusted roots of a plan. Costs about 15 ms: make only one.

    context: the plan's TLS context. Without verification (`verify=False`) every certificate is accepted.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.verifies = context.verify_mode != ssl.CERT_NONE
        self._store = crypto.X509Store()
        if not self.verifies:
            return
        for der in context.get_ca_certs(binary_form=True):
            self._store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
        # A context that was given a folder reads it during handshakes, so it lists none of its certificates.
        if not os.environ.get("SSL_CERT_FILE") and (folder := os.environ.get("SSL_CERT_DIR")):
            self._store.load_locations(None, folder)

    def why_not(self, certificate: Any, chain: list[Any], host: str) -> str:
        """Return why a target's certificate is not valid for `host`; "" if it is. Both arguments are objects of
        cryptography.
        """
        if not self.verifies:
            return ""
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return "the certificate has expired, or is not valid yet"
        try:
            if _is_address(host):
                verify_certificate_ip_address(certificate, host)
            else:
                verify_certificate_hostname(certificate, host)
        except (ValueError, service_identity.VerificationError, service_identity.CertificateError):
            return f"the certificate is not valid for {host}"
        found = [crypto.X509.from_cryptography(one) for one in (certificate, *chain)]
        try:
            crypto.X509StoreContext(self._store, found[0], found[1:]).verify_certificate()
        except crypto.X509StoreContextError as error:
            return str(error.args[0])
        return ""


def own_certificate(http: Http) -> OwnCertificate | None:
    """Return the client's certificate that a plan's settings name; None without one. Its files are already checked
    (`tls_context`).
    """
    if http.cert is None:
        return None
    own, *key = http.cert if isinstance(http.cert, tuple) else (http.cert,)
    own_pem = pem_of(own)
    first, *chain = load_pem_x509_certificates(own_pem)
    # A single file has both, and cryptography accepts a key only if nothing else comes first.
    found = _KEY.search(pem_of(key[0]) if key else own_pem)
    assert found is not None
    return first, chain, load_pem_private_key(found[0], None)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
