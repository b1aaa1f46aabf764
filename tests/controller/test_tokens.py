"""Tokens: who has which, and what becomes of files that are not as they should be."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from loadgen.errors import UsageError
from loadgen_controller.agents.local_processes import clean_environment
from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens, read_token


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api" / "tokens.json"


def test_a_token_is_known_again_and_its_file_cannot_tell_it(path: Path) -> None:
    secret = Tokens(path).add("alice", Role.RUN)
    Tokens(path).add("bob", Role.VIEW)
    tokens = Tokens(path)
    found = tokens.who(secret)
    assert found is not None
    assert (found.name, found.role) == ("alice", Role.RUN)
    assert [token.name for token in tokens] == ["alice", "bob"]
    assert secret not in path.read_text()
    assert secret not in repr(found)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(secret) > 40


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s.upper(), lambda _: "", lambda _: "é"]
)
def test_anything_else_is_nobodys(change: object, path: Path) -> None:
    tokens = Tokens(path)
    secret = tokens.add("alice", Role.ADMIN)
    assert callable(change)
    assert tokens.who(change(secret)) is None
    assert tokens.who("x" * 100_000) is None


def test_a_token_that_was_revoked_elsewhere_is_nobodys_at_once(path: Path) -> None:
    running = Tokens(path)
    secret = Tokens(path).add("alice", Role.VIEW)
    assert running.who(secret) is not None
    Tokens(path).revoke("alice")
    assert running.who(secret) is None
    with pytest.raises(UsageError, match="no token alice"):
        running.revoke("alice")


def test_without_the_file_there_is_nobody(path: Path) -> None:
    tokens = Tokens(path)
    secret = tokens.add("alice", Role.VIEW)
    path.unlink()
    assert tokens.who(secret) is None
    assert len(tokens) == 0


def test_a_name_is_given_once(path: Path) -> None:
    tokens = Tokens(path)
    tokens.add("alice", Role.VIEW)
    with pytest.raises(UsageError, match="already"):
        tokens.add("alice", Role.ADMIN)
    for name in ("", "a b", "../x", "x" * 65, "-x"):
        with pytest.raises(UsageError, match="invalid token name"):
            tokens.add(name, Role.VIEW)
    with pytest.raises(UsageError, match="unknown role"):
        Role.of("root")


def test_a_file_that_others_may_read_or_that_is_damaged_is_refused(path: Path) -> None:
    Tokens(path).add("alice", Role.VIEW)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="others may read it"):
        Tokens(path)
    path.chmod(0o600)
    whole = path.read_bytes()
    for damaged in (b"", b"{", whole[:-10], b"\xff\xfe", json.dumps({"format": 2}).encode()):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="holds no tokens"):
            Tokens(path)


def test_the_file_of_a_client_is_private_and_holds_one_token(tmp_path: Path) -> None:
    file = tmp_path / "alice.token"
    file.write_text("lg_run_abc\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others may read it"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "lg_run_abc"
    for wrong in ("", "\n", "x" * 1000, "a\nb"):
        file.write_text(wrong)
        with pytest.raises(UsageError, match="holds no token"):
            read_token(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_token(tmp_path / "none")


def test_a_certificate_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    files = ApiFiles(tmp_path)
    files.make_certificate(["controller.internal", "10.0.0.7"], 30)
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="already"):
        files.make_certificate([], 30)
    with pytest.raises(UsageError, match="invalid host name"):
        ApiFiles(tmp_path / "other").make_certificate(["a b"], 30)


def test_agents_of_this_machine_do_not_get_the_token() -> None:
    assert clean_environment({"LOADGEN_TOKEN": "x", "LOADGEN_DEBUG": "1"}) == {"LOADGEN_DEBUG": "1"}
