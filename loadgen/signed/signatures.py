"""Keys and signatures of signed runs: an agent with a public key accepts only orders signed with its secret key.

    signing.key   secret, for the operator who launches runs
    signing.pub   on every agent, which then refuses every run that is not signed with signing.key

Both files contain one line: `ed25519 ` and the 32 bytes of the key as base64. The signature covers the bytes of the
run's statement (`launch_statement.py`), which names the bundle and everything else that the launcher decides. An agent
checks the signature and the statement before it fetches anything. A controller whose CURVE keys were stolen can
therefore change neither the code nor the targets, limits and settings of a run.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loadgen.errors import BundleError, UsageError
from loadgen.secret_files import check_private, write_new

__all__ = ["PUBLIC_NAME", "SECRET_NAME", "Signer", "Verifier", "make"]

SECRET_NAME, PUBLIC_NAME = "signing.key", "signing.pub"
_PREFIX = b"ed25519 "
_CONTEXT = b"loadgen statement v1 "
"""Before 1.4 it was "loadgen bundle v1 " and the bundle's sha256; a signature of one kind is invalid as the other."""


class Signer:
    """Signs statements with the secret key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Return a Signer with the secret key in the file `path`.

        Raises:
            UsageError: the file is missing, readable by others, or not a key.
        """
        check_private(path)
        return cls(Ed25519PrivateKey.from_private_bytes(_read(path)))

    def sign(self, statement: bytes) -> bytes:
        """Return the signature (64 bytes) of a run's statement, which is given as bytes."""
        return self._key.sign(_CONTEXT + statement)

    def __repr__(self) -> str:
        return "<Signer>"


class Verifier:
    """Checks signatures with the public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Verifier:
        """Return a Verifier with the public key in the file `path`.

        Raises:
            UsageError: the file is missing, or not a key.
        """
        return cls(Ed25519PublicKey.from_public_bytes(_read(path)))

    def check(self, statement: bytes, signature: bytes) -> None:
        """Raise unless `signature` is a signature of `statement` by the trusted key.

        Raises:
            BundleError: the signature or the statement is missing, or another key made the signature.
        """
        if not signature:
            raise BundleError(
                "the run is not signed, and this agent accepts only signed runs:"
                " start it with loadgen run --sign-with keys/signing.key"
            )
        if not statement:
            raise BundleError(
                "the run is signed in the old way, which covers only the hash of the bundle:"
                " update loadgen where the run is started and at the controller, and start the run again"
            )
        try:
            self._key.verify(signature, _CONTEXT + statement)
        except InvalidSignature:
            raise BundleError(
                "the run is signed with another key than the one that this agent trusts:"
                " --sign-with needs the signing.key that belongs to the agent's signing.pub"
            ) from None


def make(folder: Path) -> Path | None:
    """Make a new key pair in the folder, and return the path of the secret key. If the folder contains a secret key
    already, change nothing and return None.

    Raises:
        StorageError: the files cannot be written.
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
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    except binascii.Error:
        raw = b""
    if len(raw) != 32 or not text.startswith(_PREFIX):
        raise UsageError(
            f"{path} is not a signing key",
            hint="pass a file made by loadgen keys: it has one line, ed25519 and 32 bytes as base64",
        )
    return raw
