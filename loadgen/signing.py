"""Signed bundles: agents run the code of whoever holds the signing key, and of nobody else.

    signing.key   secret, of the one who releases scenarios; the controller signs with it
    signing.pub   at every agent, which then refuses what is not signed with the other

Both hold one line, `ed25519 ` and the 32 bytes of the key as base64. What is signed is the sha256 of the
archive, which the agent checks against the archive before it unpacks anything. A controller whose CURVE keys were
stolen can so give orders, within what the allow-list says, but no code.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loadgen.errors import BundleError, UsageError
from loadgen.private import check_private, write_new

__all__ = ["PUBLIC_NAME", "SECRET_NAME", "Signer", "Verifier", "make"]

SECRET_NAME, PUBLIC_NAME = "signing.key", "signing.pub"
_PREFIX = b"ed25519 "
_CONTEXT = b"loadgen bundle v1 "


class Signer:
    """The secret half."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Signer:
        """
        Raises:
            UsageError: not there, open to others, or no key.
        """
        check_private(path)
        return cls(Ed25519PrivateKey.from_private_bytes(_read(path)))

    def sign(self, sha256: str) -> bytes:
        """Of the bundle with this sha256 (hex); 64 bytes."""
        return self._key.sign(_CONTEXT + sha256.encode("ascii"))

    def __repr__(self) -> str:
        return "<Signer>"


class Verifier:
    """The public half."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Verifier:
        """
        Raises:
            UsageError: not there, or no key.
        """
        return cls(Ed25519PublicKey.from_public_bytes(_read(path)))

    def check(self, sha256: str, signature: bytes) -> None:
        """
        Raises:
            BundleError: not signed, or not by the one that is trusted here.
        """
        if not signature:
            raise BundleError(
                "the bundle is not signed, and this agent takes only signed ones",
                hint="give the controller the signing key: loadgen run --sign-with keys/signing.key",
            )
        try:
            self._key.verify(signature, _CONTEXT + sha256.encode("ascii", "replace"))
        except InvalidSignature:
            raise BundleError(
                "the bundle's signature is not of the key that this agent trusts",
                hint="the controller's signing.key and the agent's signing.pub have to be one pair",
            ) from None


def make(folder: Path) -> Path | None:
    """A new pair in the folder; None where there is one already, which stays.

    Raises:
        StorageError: it cannot be written.
    """
    secret, public = folder / SECRET_NAME, folder / PUBLIC_NAME
    if secret.exists():
        return None
    key = Ed25519PrivateKey.generate()
    write_new(secret, _line(key.private_bytes_raw()), 0o600)
    write_new(public, _line(key.public_key().public_bytes_raw()), 0o644)
    return secret


def _line(raw: bytes) -> bytes:
    return _PREFIX + base64.b64encode(raw) + b"\n"


def _read(path: Path) -> bytes:
    try:
        text = path.read_bytes()[:200].strip()
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except binascii.Error:
        raw = b""
    if len(raw) != 32 or not text.startswith(_PREFIX):
        raise UsageError(f"{path} is no signing key", hint="one line: ed25519 and 32 bytes as base64")
    return raw
