"""The program: what it refuses, with which exit code, and that a real one joins and leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.engine.health.interpreter import this_build
from loadgen.wire.curve_keys import load_controller
from loadgen.wire.key_folder_changes import add_agent, init_keys
from loadgen.wire.messages import Bye, Hello, Rejected
from loadgen_agent.cli import main
from tests.support.fake_controller import FakeController
from tests.support.wire import serving, until


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "loadgen-agent --controller 10.0.0.7:5557" in text
    assert "exit codes:" in text


def made_keys(folder: Path) -> Path:
    """What goes to the host of the agent eu."""
    init_keys(folder)
    out = add_agent(folder, "eu")
    assert out is not None
    return out


def test_wrong_arguments_and_keys_end_with_2_and_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--region", "eu", "--keys", str(tmp_path)]
    assert "--controller" in refused(capsys, *usual)
    assert "loadgen keys" in refused(capsys, *usual, "--controller", "127.0.0.1:1")
    keys = made_keys(tmp_path)
    usual = ["--region", "eu", "--keys", str(keys)]
    assert "has no port" in refused(capsys, *usual, "--controller", "nonsense")
    assert "invalid agent name" in refused(capsys, *usual, "--controller", "127.0.0.1:1", "--id", "a/b")
    assert "must be a printable name" in refused(capsys, "--region", " ", *usual[2:], "--controller", "127.0.0.1:1")
    assert "invalid number of seconds" in refused(capsys, *usual, "--controller", "127.0.0.1:1", "--give-up", "nan")
    for many in ("0", "two", "257"):
        assert "must be an integer" in refused(capsys, *usual, "--controller", "127.0.0.1:1", "--workers", many)
    assert "--fleet, --leave-early: only allowed with --aws" in refused(
        capsys, *usual, "--controller", "127.0.0.1:1", "--fleet", "shop", "--leave-early"
    )
    assert "--aws needs --bucket" in refused(capsys, "--aws")
    (keys / "agents" / "eu.key").chmod(0o644)
    assert "chmod 600" in refused(capsys, *usual, "--controller", "127.0.0.1:1")


async def spawn(controller: FakeController, keys: Path, *more: str) -> asyncio.subprocess.Process:
    argv = ["--controller", controller.address, "--region", "eu-west-1", "--keys", str(keys), *more]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen_agent.cli", *argv, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("how", ["bye", "rejected", "sigterm"])
async def test_a_real_agent_joins_and_leaves_with_the_right_code(tmp_path: Path, how: str) -> None:
    keys = made_keys(tmp_path)
    controller = FakeController(load_controller(tmp_path))
    async with serving(controller):
        agent = await spawn(controller, keys)
        hello = await controller.hear(Hello)
        assert hello.instance_type == "", "of an agent that was not told to look, none is said"
        assert hello.python == str(this_build())
        assert hello.agent.startswith("eu.")
        assert (hello.region, hello.pid, hello.epoch) == ("eu-west-1", agent.pid, -1)
        match how:
            case "bye":
                controller.say(Bye("", leave=True))
            case "rejected":
                controller.say(Rejected("not today"))
            case _:
                agent.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, said = await agent.communicate()
    assert agent.returncode == (5 if how == "rejected" else 0)
    assert b"leaving:" in said
    assert str(this_build()) in said.decode().splitlines()[0]


async def test_an_agent_whose_parent_is_gone_leaves(tmp_path: Path) -> None:
    keys = made_keys(tmp_path)
    controller = FakeController(load_controller(tmp_path))
    argv = ["--controller", controller.address, "--region", "eu", "--keys", str(keys), "--with-parent"]
    command = [sys.executable, "-m", "loadgen_agent.cli", *argv]
    parent = f"import subprocess, time; subprocess.Popen({command!r}, start_new_session=True); time.sleep(60)"
    async with serving(controller):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stderr=subprocess.PIPE)
        hello = await controller.hear(Hello)
        process.kill()
        await process.wait()
        await until(lambda: is_zombie(hello.pid))
    assert is_zombie(hello.pid)


def is_zombie(pid: int) -> bool:
    """Dead, and not reaped by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_allow_list_with_errors_is_refused_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, path = made_keys(tmp_path / "keys"), tmp_path / "own.toml"
    path.write_text('[[allow]]\nhost = "shop.internal"\n')
    usual = ("--controller", "127.0.0.1:1", "--region", "eu", "--keys", str(keys), "--allow")
    for given, said in ((path, "owner"), (tmp_path / "none.toml", "cannot be read")):
        assert said in refused(capsys, *usual, str(given))
