"""The controller's folder of keys: what is made, where it lies, and what a revocation leaves."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from loadgen.errors import StorageError, UsageError
from loadgen.wire.curve_keys import fingerprint, load_agent, load_controller, read_agents
from loadgen.wire.key_folder_changes import add_agent, init_keys, list_keys, revoke


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")}


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_made_keys_are_private_and_fit_together(umask: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "keys"
    before = os.umask(umask)
    request.addfinalizer(lambda: os.umask(before))
    assert init_keys(folder)
    out = add_agent(folder, "eu")
    assert out == folder / "copy-to" / "eu"
    controller, eu = load_controller(folder), load_agent(out)
    assert controller.agents == {eu.own.public: "eu"}
    assert eu.controller == controller.own.public
    found = modes(folder)
    assert {name: mode for name, mode in found.items() if name.endswith(".key")} == {
        "controller.key": 0o600,
        "copy-to/eu/agents/eu.key": 0o600,
    }
    assert {mode for name, mode in found.items() if "." not in name} == {0o700}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_goes_to_an_agent_holds_no_secret_but_its_own(tmp_path: Path) -> None:
    init_keys(tmp_path)
    secrets = [load_controller_secret(tmp_path)]
    for name in ("eu", "us"):
        out = add_agent(tmp_path, name)
        assert out is not None
        secrets.append(load_agent(out).own.secret)
    held = b"".join(p.read_bytes() for p in (tmp_path / "copy-to" / "us").rglob("*") if p.is_file())
    assert [secret in held for secret in secrets] == [False, False, True]


def load_controller_secret(folder: Path) -> bytes:
    return (folder / "controller.key").read_bytes().strip()


def test_making_keys_again_keeps_what_is_there_and_adds_what_is_missing(tmp_path: Path) -> None:
    init_keys(tmp_path)
    add_agent(tmp_path, "eu")
    before = load_controller(tmp_path)
    assert not init_keys(tmp_path)
    assert add_agent(tmp_path, "eu") is None
    assert add_agent(tmp_path, "us") is not None
    after = load_controller(tmp_path)
    assert after.own == before.own
    assert before.agents.items() < after.agents.items()


def test_a_revoked_key_is_out_also_where_a_copy_of_it_comes_back(tmp_path: Path) -> None:
    init_keys(tmp_path)
    for name in ("eu", "us"):
        add_agent(tmp_path, name)
    copy = (tmp_path / "agents" / "eu.pub").read_bytes()
    assert revoke(tmp_path, "eu") == fingerprint(copy.strip())
    assert set(load_controller(tmp_path).agents.values()) == {"us"}
    assert not (tmp_path / "copy-to" / "eu").exists(), "its secret is of no more use"
    (tmp_path / "agents" / "eu.pub").write_bytes(copy)
    assert set(load_controller(tmp_path).agents.values()) == {"us"}


def test_a_name_whose_key_was_revoked_can_have_a_new_one(tmp_path: Path) -> None:
    init_keys(tmp_path)
    for _ in range(3):
        add_agent(tmp_path, "eu")
        revoke(tmp_path, "eu")
    add_agent(tmp_path, "eu")
    known = list_keys(tmp_path)
    assert [one.is_revoked for one in known] == [False, True, True, True]
    assert len({one.fingerprint for one in known}) == 4


def test_a_key_that_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    init_keys(tmp_path)
    add_agent(tmp_path, "eu")
    with pytest.raises(UsageError, match="key 'us' not found") as caught:
        revoke(tmp_path, "us")
    assert caught.value.hint == "choose one of: eu"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a.b", "-x", "a\n"])
def test_a_name_that_is_no_safe_file_name_is_refused(name: str, tmp_path: Path) -> None:
    init_keys(tmp_path)
    for act in (add_agent, revoke):
        with pytest.raises(UsageError, match="invalid key name"):
            act(tmp_path, name)


def test_a_file_that_is_wrong_lets_in_nobody_and_harms_no_other(tmp_path: Path) -> None:
    init_keys(tmp_path)
    add_agent(tmp_path, "eu")
    (tmp_path / "agents" / "us.pub").write_bytes(b"half of a k")
    agents, wrong = read_agents(tmp_path)
    assert set(agents.values()) == {"eu"}
    assert ["us.pub is not a valid key" in error.message for error in wrong] == [True]


def test_a_folder_that_others_may_write_gets_no_secret(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(UsageError, match="other users may write"):
        init_keys(tmp_path)
    assert not list(tmp_path.rglob("*.key"))


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        init_keys(tmp_path / "file" / "keys")
