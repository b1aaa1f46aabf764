"""A program that starts as a fork (tests/support/warm_commands.py) is as one that starts as a new interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.quiet import undisturbed
from tests.support.warm_commands import WarmPopen, programs_grow

TARGET = [sys.executable, "-m", "loadgen.target", "--exit-with-stdin", "--no-latency"]
SEED = "tests.support.warm_commands"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo shop in a folder of its own, with a variable of its own."""
    env = {**os.environ, "SHOP": "mine"}
    with subprocess.Popen(
        TARGET, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http")
        yield process
        process.kill()


def test_a_fork_is_a_child_with_the_command_environment_and_folder_that_it_was_given(
    shop: subprocess.Popen[str], tmp_path: Path
) -> None:
    seen = psutil.Process(shop.pid)

    assert seen.ppid() == os.getpid()
    assert [word for word in seen.cmdline() if word] == TARGET
    assert (seen.environ()["SHOP"], seen.environ()["PATH"]) == ("mine", os.environ["PATH"])
    assert seen.cwd() == str(tmp_path)
    assert [SEED in one.cmdline() for one in psutil.Process().children() if SEED in one.cmdline()] == [True]


def test_a_fork_has_no_open_file_of_others(shop: subprocess.Popen[str], tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w"):
        other = subprocess.run([*TARGET, "--port", "x"], capture_output=True, text=True, check=False)
        names = {one.path for one in psutil.Process(shop.pid).open_files()}

    assert not names & {str(tmp_path / "ours")}
    assert (other.returncode, "invalid int value: 'x'" in other.stderr, other.stdout) == (2, True, "")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGINT, 0)])
def test_a_fork_ends_by_a_signal_as_the_program_does(shop: subprocess.Popen[str], sent: int, code: int) -> None:
    shop.send_signal(sent)

    assert shop.wait(60) == code


def test_a_fork_ends_with_its_standard_input(shop: subprocess.Popen[str]) -> None:
    assert shop.stdin is not None
    shop.stdin.close()

    assert shop.wait(60) == 0


def test_what_python_reads_at_its_start_makes_a_new_interpreter() -> None:
    env = {**os.environ, "PYTHONVERBOSE": "1"}

    said = subprocess.run([*TARGET, "--port", "x"], capture_output=True, text=True, check=False, env=env)

    assert "import 'loadgen'" in said.stderr


def test_a_test_about_times_starts_its_program_with_its_own_priority_and_fleets_cold() -> None:
    before = programs_grow()
    with undisturbed(), WarmPopen(TARGET, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shop:
        assert shop.stdout is not None
        shop.stdout.readline()

        assert os.sched_getscheduler(shop.pid) == os.sched_getscheduler(0)
        assert os.sched_getparam(shop.pid) == os.sched_getparam(0)
        assert not programs_grow()
        shop.kill()
    assert programs_grow() == before
