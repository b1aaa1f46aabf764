"""Keys: made once, kept from others, and each speaks for its own name only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zmq
import zmq.utils.z85
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.wire.curve_keys import (
    ANY_AGENT,
    KeyPair,
    check_agent_id,
    check_key_name,
    fingerprint,
    load_agent,
    load_controller,
    may_speak_for,
    throw_away,
    z85,
)
from loadgen.wire.key_folder_changes import add_agent, init_keys


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_written_as_zeromq_writes_them(raw: bytes) -> None:
    assert z85(raw) == zmq.utils.z85.encode(raw)


def test_a_pair_is_one_that_zeromq_would_make() -> None:
    pair = KeyPair.new()
    assert zmq.curve_public(pair.secret) == pair.public
    assert KeyPair.of_secret(pair.secret) == pair
    assert pair.secret.decode() not in repr(pair)


def folder_of(folder: Path, *names: str) -> Path:
    """What goes to the host of the last of them."""
    init_keys(folder)
    made = [add_agent(folder, name) for name in names or ("agent",)]
    assert made[-1] is not None
    return made[-1]


def test_a_fingerprint_is_of_the_raw_key() -> None:
    raw = bytes(range(32))
    assert fingerprint(z85(raw)) == "630dcd2966c43366"  # printf of the bytes | sha256sum


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    out = folder_of(tmp_path)
    (tmp_path / "controller.key").chmod(0o640)
    with pytest.raises(UsageError, match=r"others may read it \(mode 0640\)") as caught:
        load_controller(tmp_path)
    assert "chmod 600" in caught.value.hint
    (out / "agents" / "agent.key").chmod(0o604)
    with pytest.raises(UsageError, match="others may read"):
        load_agent(out)


@pytest.mark.parametrize("where", [".", "agents", "agents/agent.pub"])
def test_a_folder_that_others_may_write_is_refused(where: str, tmp_path: Path) -> None:
    folder_of(tmp_path)
    path = tmp_path / where
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(UsageError, match="and so decide which keys are valid") as caught:
        load_controller(tmp_path)
    assert "chmod go-w" in caught.value.hint


def test_a_controllers_key_that_others_may_swap_is_not_trusted_by_an_agent(tmp_path: Path) -> None:
    out = folder_of(tmp_path)
    (out / "controller.pub").chmod(0o666)
    with pytest.raises(UsageError, match="other users may write"):
        load_agent(out)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_belongs_to_another_user_is_fine_for_root(tmp_path: Path) -> None:
    folder_of(tmp_path)
    before = load_controller(tmp_path)
    os.chown(tmp_path / "controller.key", 12345, 12345)
    assert load_controller(tmp_path) == before


def test_missing_and_broken_key_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"controller\.key is missing") as caught:
        load_controller(tmp_path)
    assert caught.value.hint == f"run loadgen keys init {tmp_path}"
    out = folder_of(tmp_path)
    for text in (b"", b"nonsense", b"~" * 40, b"#" * 40, b"0" * 41):
        (out / "controller.pub").write_bytes(text)
        with pytest.raises(UsageError, match=r"controller\.pub is not a valid key"):
            load_agent(out)
    (tmp_path / "agents" / "agent.pub").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match=r"agent\.pub is not a valid key"):
        load_controller(tmp_path)
    (tmp_path / "agents" / "agent.pub").unlink()
    with pytest.raises(UsageError, match="no agent key in"):
        load_controller(tmp_path)


def test_a_key_under_two_names_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, "eu")
    (tmp_path / "agents" / "us.pub").write_bytes((tmp_path / "agents" / "eu.pub").read_bytes())
    with pytest.raises(UsageError, match="same key as eu"):
        load_controller(tmp_path)


def test_an_agent_takes_its_own_key_its_groups_or_the_only_one(tmp_path: Path) -> None:
    eu, us = folder_of(tmp_path, "eu"), folder_of(tmp_path, "us")
    assert load_agent(eu).name == load_agent(eu, "whoever").name == "eu"
    (eu / "agents" / "us.key").hardlink_to(us / "agents" / "us.key")
    assert load_agent(eu, "us").name == load_agent(eu, "us.web-1").name == "us"
    with pytest.raises(UsageError, match="several keys"):
        load_agent(eu)
    with pytest.raises(UsageError, match="none of them is valid for agent 'asia'"):
        load_agent(eu, "asia")


def test_a_key_speaks_for_its_name_and_its_group_only() -> None:
    assert may_speak_for("eu", "eu")
    assert may_speak_for("eu", "eu.web-1")
    assert may_speak_for(ANY_AGENT, "whoever")
    assert not may_speak_for("eu", "eu-2")
    assert not may_speak_for("eu", "us")
    assert not may_speak_for("", ".x")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", ".hidden", "a\n", "é", "x" * 129])
def test_a_name_that_is_no_safe_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_agent_id(name)
    with pytest.raises(UsageError):
        check_key_name(name)


def test_throw_away_keys_on_disk_hold_no_secret_of_the_controller(tmp_path: Path) -> None:
    keys = throw_away(tmp_path)
    agent = load_agent(tmp_path, "eu-west-1-1")
    assert keys.agents == {agent.own.public: ANY_AGENT}
    assert agent.controller == keys.own.public
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or keys.own.secret not in path.read_bytes()
