"""Authorization for the page: tokens and roles, as for the API (`api/tokens.py`).

Any page that is open in the same browser can send requests to this address, so the origin of a request proves nothing.
The secret is in the Authorization header, which other pages cannot set. It is never in a cookie, since browsers send
cookies with requests of any page.

If the server has a loopback address, the Host header must name one, too. Otherwise an attacker's host name that
resolves to this machine would make the attacker's page look like ours (DNS rebinding).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError
from loadgen.hostport import is_loopback, split_host_port
from loadgen.secret_files import check_private
from loadgen.wire.sockets import parse_address
from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Token, Tokens

__all__ = ["HEADERS", "Access", "Authorizer", "check_place"]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SECRET_BYTES: Final = 32


def check_place(bind: str, access: Access) -> None:
    """Check that a page at this address requires TLS and tokens, unless the address is a loopback one.

    Raises:
        UsageError: anybody who can reach the address could see the page.
    """
    if is_loopback(parse_address(bind)[0].strip("[]")):
        return
    missing = [text for text, is_there in (("TLS", access.certificate), ("tokens", access.tokens)) if not is_there]
    if missing:
        raise UsageError(
            f"the page at {bind} would have no {' and no '.join(missing)}: anybody who can reach that address could"
            " see it",
            hint="create them for --keys DIR with loadgen api cert DIR and loadgen api token DIR NAME, or use a"
            " loopback address",
        )


@dataclass(frozen=True, slots=True)
class Access:
    """The tokens and the certificate (PEM files) of a controller, from its folder of keys."""

    tokens: Tokens | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, keys: Path | None) -> Access:
        """Read the folder of keys; None: no tokens and no certificate.

        Raises:
            UsageError: a file cannot be read, or other users may read a secret.
        """
        if keys is None:
            return cls()
        files = ApiFiles(keys)
        tokens = Tokens(files.tokens) if files.tokens.exists() else None
        if not files.certificate.exists():
            return cls(tokens)
        check_private(files.key)
        return cls(tokens, files.certificate, files.key)


class Authorizer:
    """Authorizes requests to the page.

    Args:
        bind: HOST:PORT of the server.
        tokens: the controller's tokens; None: a new secret is created that permits everything.
    """

    def __init__(self, bind: str, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self.secret = "" if tokens is not None else secrets.token_urlsafe(_SECRET_BYTES)
        """The secret for the page's URL; empty if there are tokens."""
        self._is_local = is_loopback(parse_address(bind)[0].strip("[]"))
        self._owner = Token("page", Role.ADMIN, "", "")

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Return whether the Host and Origin headers of a request are those of our own page."""
        host = headers.get("host", "")
        if self._is_local and not _is_loopback(host):
            return False
        origin = headers.get("origin")
        return origin is None or origin in (f"http://{host}", f"https://{host}")

    def who(self, headers: Mapping[str, str]) -> Token | None:
        """Return the token of a request; None if it has no valid one.

        Raises:
            UsageError: the tokens cannot be read; then reject every request.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            return None
        if self._tokens is not None:
            return self._tokens.who(secret)
        return self._owner if hmac.compare_digest(secret.encode(), self.secret.encode()) else None


def _is_loopback(host: str) -> bool:
    """Return whether a Host header names a loopback address. Forms that no browser sends give False."""
    try:
        return is_loopback(split_host_port(host).host)
    except ValueError:
        return False
