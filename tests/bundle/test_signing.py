"""Agents that have a signing key take only what is signed with its other half (F27)."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loadgen.errors import BundleError, StorageError, UsageError
from loadgen.signed.signatures import PUBLIC_NAME, SECRET_NAME, Signer, Verifier, make

STATEMENT = b'{"format": 1}\n'


def test_what_is_signed_with_the_other_half_is_taken(tmp_path: Path) -> None:
    assert make(tmp_path) == tmp_path / SECRET_NAME
    assert make(tmp_path) is None
    signature = Signer.read(tmp_path / SECRET_NAME).sign(STATEMENT)

    Verifier.read(tmp_path / PUBLIC_NAME).check(STATEMENT, signature)
    assert stat.S_IMODE((tmp_path / SECRET_NAME).stat().st_mode) == 0o600
    assert "ed25519" not in repr(Signer.read(tmp_path / SECRET_NAME))


def test_anything_else_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "ours")
    make(tmp_path / "theirs")
    verifier = Verifier.read(tmp_path / "ours" / PUBLIC_NAME)
    signature = Signer.read(tmp_path / "ours" / SECRET_NAME).sign(STATEMENT)

    with pytest.raises(BundleError, match=r"not signed, .*--sign-with"):
        verifier.check(STATEMENT, b"")
    for statement, wrong in (
        (STATEMENT + b" ", signature),
        (STATEMENT, Signer.read(tmp_path / "theirs" / SECRET_NAME).sign(STATEMENT)),
        (STATEMENT, signature[:-1] + bytes([signature[-1] ^ 1])),
        (STATEMENT, signature[:40]),
        (STATEMENT, b"x" * 10_000),
    ):
        with pytest.raises(BundleError, match="another key"):
            verifier.check(statement, wrong)


def test_a_signature_of_the_old_kind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Until protocol 1.3 the signature covered the hash of the bundle and nothing else."""
    make(tmp_path)
    verifier, sha256 = Verifier.read(tmp_path / PUBLIC_NAME), b"a" * 64
    raw = base64.b64decode((tmp_path / SECRET_NAME).read_bytes().removeprefix(b"ed25519 "))
    old = Ed25519PrivateKey.from_private_bytes(raw).sign(b"loadgen bundle v1 " + sha256)
    with pytest.raises(BundleError, match="old way, which covers only the hash of the bundle: update loadgen"):
        verifier.check(b"", old)
    with pytest.raises(BundleError, match="another key"):
        verifier.check(sha256, old)


def test_a_signature_is_for_statements_and_nothing_else(tmp_path: Path) -> None:
    """What was signed for another purpose with the same key is not a statement's signature."""
    make(tmp_path)
    verifier = Verifier.read(tmp_path / PUBLIC_NAME)
    raw = base64.b64decode((tmp_path / SECRET_NAME).read_bytes().removeprefix(b"ed25519 "))
    bare = Ed25519PrivateKey.from_private_bytes(raw).sign(STATEMENT)
    with pytest.raises(BundleError):
        verifier.check(STATEMENT, bare)


def test_files_that_are_no_keys_or_open_to_others_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    secret = tmp_path / SECRET_NAME
    secret.chmod(0o640)
    with pytest.raises(UsageError, match="others may read it"):
        Signer.read(secret)
    for text in (b"", b"ed25519 ", b"ed25519 !!!", b"rsa " + b"A" * 43 + b"=", b"ed25519 AAAA"):
        (tmp_path / "x").write_bytes(text)
        with pytest.raises(UsageError, match="not a signing key"):
            Verifier.read(tmp_path / "x")
    with pytest.raises(UsageError, match="cannot read"):
        Verifier.read(tmp_path / "none")
    with pytest.raises(StorageError):
        make(tmp_path / "x" / "y")
