"""Agents that know a signing key take only what is signed with it (F27)."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loadgen.errors import BundleError, StorageError, UsageError
from loadgen.signing import PUBLIC_NAME, SECRET_NAME, Signer, Verifier, make

SHA = "a" * 64


def test_what_is_signed_with_the_other_half_is_taken(tmp_path: Path) -> None:
    assert make(tmp_path) == tmp_path / SECRET_NAME
    assert make(tmp_path) is None
    signature = Signer.read(tmp_path / SECRET_NAME).sign(SHA)

    Verifier.read(tmp_path / PUBLIC_NAME).check(SHA, signature)
    assert stat.S_IMODE((tmp_path / SECRET_NAME).stat().st_mode) == 0o600
    assert "ed25519" not in repr(Signer.read(tmp_path / SECRET_NAME))


def test_anything_else_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "ours")
    make(tmp_path / "theirs")
    verifier = Verifier.read(tmp_path / "ours" / PUBLIC_NAME)
    signature = Signer.read(tmp_path / "ours" / SECRET_NAME).sign(SHA)

    with pytest.raises(BundleError, match="not signed"):
        verifier.check(SHA, b"")
    for sha, wrong in (
        ("b" * 64, signature),
        (SHA, Signer.read(tmp_path / "theirs" / SECRET_NAME).sign(SHA)),
        (SHA, signature[:-1] + bytes([signature[-1] ^ 1])),
        (SHA, signature[:40]),
        (SHA, b"x" * 10_000),
        ("nonsense\udc80", signature),
    ):
        with pytest.raises(BundleError, match="not of the key"):
            verifier.check(sha, wrong)


def test_a_signature_is_for_bundles_and_nothing_else(tmp_path: Path) -> None:
    """What was signed for another purpose with the same key is no bundle's signature."""
    make(tmp_path)
    verifier = Verifier.read(tmp_path / PUBLIC_NAME)
    raw = base64.b64decode((tmp_path / SECRET_NAME).read_bytes().removeprefix(b"ed25519 "))
    bare = Ed25519PrivateKey.from_private_bytes(raw).sign(SHA.encode())
    with pytest.raises(BundleError):
        verifier.check(SHA, bare)


def test_files_that_are_no_keys_or_open_to_others_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    secret = tmp_path / SECRET_NAME
    secret.chmod(0o640)
    with pytest.raises(UsageError, match="others may read it"):
        Signer.read(secret)
    for text in (b"", b"ed25519 ", b"ed25519 !!!", b"rsa " + b"A" * 43 + b"=", b"ed25519 AAAA"):
        (tmp_path / "x").write_bytes(text)
        with pytest.raises(UsageError, match="no signing key"):
            Verifier.read(tmp_path / "x")
    with pytest.raises(UsageError, match="cannot read"):
        Verifier.read(tmp_path / "none")
    with pytest.raises(StorageError):
        make(tmp_path / "x" / "y")
