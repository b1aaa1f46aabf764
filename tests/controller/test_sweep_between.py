"""The command of `loadgen sweep --between`: what it gets, how its failure is reported, and what is ended with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from loadgen_controller.commands.sweep_parts.between_command import variables_of
from loadgen_controller.commands.user_command import UserCommand

pytestmark = pytest.mark.process


def between(code: str, timeout_s: float = 20) -> UserCommand:
    return UserCommand((sys.executable, "-c", code), timeout_s)


def test_command_gets_the_levels_in_its_environment_and_no_shell_reads_them(tmp_path: Path) -> None:
    log = tmp_path / "between" / "1.log"
    command = between("import os; print(os.environ['LOADGEN_SWEEP_SETTLE'])")

    assert command.run(log, variables_of({"settle": "8; touch hacked $(touch hacked)"})) == ""
    assert log.read_text() == "8; touch hacked $(touch hacked)\n"


def test_failed_command_is_reported_with_its_exit_code_and_the_end_of_its_output(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(99): print('line', n)\nprint('\\x1b[31mno port', file=sys.stderr)\nsys.exit(3)"

    why = between(code).run(tmp_path / "b" / "log")

    assert why.startswith("exit code 3\n")
    assert "\\x1b[31mno port" in why
    assert "line 98" in why
    assert "line 1\n" not in why


def test_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )

    why = between(code, timeout_s=1.5).run(tmp_path / "b" / "log")

    assert why.startswith("it took longer than 1.50 s")
    child = int(pid_file.read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child of the command is still alive")


def test_server_that_the_command_leaves_in_the_background_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)"
    )

    assert between(code).run(tmp_path / "b" / "log") == ""
    os.kill(int((tmp_path / "b" / "log").read_text()), signal.SIGKILL)


def test_only_the_end_of_a_large_output_is_kept(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(300_000): print('line', n)\nsys.exit(3)"

    why = between(code).run(tmp_path / "b" / "log")

    assert "line 299999" in why
    kept = (tmp_path / "b" / "log").read_text()
    assert kept.startswith("[the first ")
    assert kept.endswith("line 299999\n")
    assert len(kept) < 1_100_000
