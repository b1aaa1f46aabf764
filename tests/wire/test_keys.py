"""Keys: made once, kept from others, and each speaks for its own name only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.utils.z85
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import StorageError, UsageError
from loadgen.wire.keys import (
    ANY_AGENT,
    KeyPair,
    check_agent_id,
    load_agent,
    load_controller,
    make_keys,
    may_speak_for,
    throw_away,
    z85,
)


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_written_as_zeromq_writes_them(raw: bytes) -> None:
    assert z85(raw) == zmq.utils.z85.encode(raw)


def test_a_pair_is_one_that_zeromq_would_make() -> None:
    pair = KeyPair.new()
    assert zmq.curve_public(pair.secret) == pair.public
    assert KeyPair.of_secret(pair.secret) == pair
    assert pair.secret.decode() not in repr(pair)


def test_made_keys_are_private_and_fit_together(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = make_keys(folder, ("eu", "us"))
    assert [path.name for path in made] == ["controller.key", "eu.key", "us.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    controller = load_controller(folder)
    eu = load_agent(folder, "eu")
    assert controller.agents[eu.own.public] == "eu"
    assert eu.controller == controller.own.public


def test_making_keys_again_keeps_what_is_there_and_adds_what_is_missing(tmp_path: Path) -> None:
    make_keys(tmp_path, ("eu",))
    before = load_controller(tmp_path)
    assert [path.name for path in make_keys(tmp_path, ("eu", "us"))] == ["us.key"]
    after = load_controller(tmp_path)
    assert after.own == before.own
    assert before.agents.items() < after.agents.items()


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make_keys(tmp_path)
    (tmp_path / "controller.key").chmod(0o640)
    with pytest.raises(UsageError, match=r"others may read it \(mode 0640\)") as caught:
        load_controller(tmp_path)
    assert "chmod 600" in caught.value.hint
    (tmp_path / "agents" / "agent.key").chmod(0o604)
    with pytest.raises(UsageError, match="others may read"):
        load_agent(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_belongs_to_another_user_is_fine_for_root(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = load_controller(tmp_path)
    os.chown(tmp_path / "controller.key", 12345, 12345)
    assert load_controller(tmp_path) == before


def test_missing_and_broken_key_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"controller\.key is not there") as caught:
        load_controller(tmp_path)
    assert caught.value.hint == f"loadgen keys {tmp_path}"
    make_keys(tmp_path)
    for text in (b"", b"nonsense", b"~" * 40, b"#" * 40, b"0" * 41):
        (tmp_path / "controller.pub").write_bytes(text)
        with pytest.raises(UsageError, match=r"controller\.pub is no key"):
            load_agent(tmp_path)
    (tmp_path / "agents" / "agent.pub").unlink()
    with pytest.raises(UsageError, match="no agent key in"):
        load_controller(tmp_path)


def test_a_key_under_two_names_is_refused(tmp_path: Path) -> None:
    make_keys(tmp_path, ("eu",))
    (tmp_path / "agents" / "us.pub").write_bytes((tmp_path / "agents" / "eu.pub").read_bytes())
    with pytest.raises(UsageError, match="same key as that of eu"):
        load_controller(tmp_path)


def test_an_agent_takes_its_own_key_its_groups_or_the_only_one(tmp_path: Path) -> None:
    make_keys(tmp_path, ("eu",))
    assert load_agent(tmp_path).name == load_agent(tmp_path, "whoever").name == "eu"
    make_keys(tmp_path, ("us",))
    assert load_agent(tmp_path, "us").name == load_agent(tmp_path, "us.web-1").name == "us"
    with pytest.raises(UsageError, match="There are eu, us"):
        load_agent(tmp_path)
    with pytest.raises(UsageError, match="which key for agent 'asia'"):
        load_agent(tmp_path, "asia")


def test_a_key_speaks_for_its_name_and_its_group_only() -> None:
    assert may_speak_for("eu", "eu")
    assert may_speak_for("eu", "eu.web-1")
    assert may_speak_for(ANY_AGENT, "whoever")
    assert not may_speak_for("eu", "eu-2")
    assert not may_speak_for("eu", "us")
    assert not may_speak_for("", ".x")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", ".hidden", "a\n", "é", "x" * 129])
def test_a_name_that_is_no_safe_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        check_agent_id(name)
    with pytest.raises(UsageError):
        make_keys(tmp_path, (name,))


def test_throw_away_keys_on_disk_hold_no_secret_of_the_controller(tmp_path: Path) -> None:
    keys = throw_away(tmp_path)
    agent = load_agent(tmp_path, "eu-west-1-1")
    assert keys.agents == {agent.own.public: ANY_AGENT}
    assert agent.controller == keys.own.public
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or keys.own.secret not in path.read_bytes()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        make_keys(tmp_path / "file" / "keys")
