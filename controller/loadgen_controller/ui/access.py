"""Who may look at the page, and who may ask for what: tokens and roles, as at the API (`api/tokens.py`).

A browser is not to be trusted to come from our page: any page that a person has open
can send requests to this address. So nothing is let in by where it comes from. A
secret travels in the Authorization header, which no other page can set, and never in
a cookie, which goes along with whatever page asks. Where the address is a
loopback one, its Host must be, too: a name that an attacker points to this machine
would make his page one of ours.
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
from loadgen_controller.api.files import ApiFiles
from loadgen_controller.api.tokens import Role, Token, Tokens

__all__ = ["HEADERS", "Access", "Doors", "check_place"]

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
    """
    Raises:
        UsageError: it would be a page for everybody who can reach that address.
    """
    if is_loopback(parse_address(bind)[0].strip("[]")):
        return
    missing = [text for text, is_there in (("TLS", access.certificate), ("tokens", access.tokens)) if not is_there]
    if missing:
        raise UsageError(
            f"the page at {bind} would have no {' and no '.join(missing)}: whoever reaches that address could see it",
            hint="loadgen api cert DIR and loadgen api token DIR NAME make them, for --keys DIR; or a loopback address",
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come, and under which certificate (PEM files): what a controller's folder of keys says."""

    tokens: Tokens | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, keys: Path | None) -> Access:
        """
        Raises:
            UsageError: others may read what is secret, or it cannot be read.
        """
        if keys is None:
            return cls()
        files = ApiFiles(keys)
        tokens = Tokens(files.tokens) if files.tokens.exists() else None
        if not files.certificate.exists():
            return cls(tokens)
        check_private(files.key)
        return cls(tokens, files.certificate, files.key)


class Doors:
    """Who is who.

    Args:
        tokens: of the controller; without them there is one secret, made now, that may do everything.
    """

    def __init__(self, bind: str, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self.secret = "" if tokens is not None else secrets.token_urlsafe(_SECRET_BYTES)
        """For the page's address; empty where people have tokens of their own."""
        self._is_local = is_loopback(parse_address(bind)[0].strip("[]"))
        self._owner = Token("page", Role.ADMIN, "", "")

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Whether Host and Origin are such as our own page has."""
        host = headers.get("host", "")
        if self._is_local and not _is_loopback(host):
            return False
        origin = headers.get("origin")
        return origin is None or origin in (f"http://{host}", f"https://{host}")

    def who(self, headers: Mapping[str, str]) -> Token | None:
        """None: nobody that is known.

        Raises:
            UsageError: the tokens cannot be read; then nobody is let in.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            return None
        if self._tokens is not None:
            return self._tokens.who(secret)
        return self._owner if hmac.compare_digest(secret.encode(), self.secret.encode()) else None


def _is_loopback(host: str) -> bool:
    """Of a Host header: a form that a browser does not send is not ours."""
    try:
        return is_loopback(split_host_port(host).host)
    except ValueError:
        return False
