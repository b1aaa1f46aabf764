"""What Ctrl-C and SIGTERM ask the conductor for."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from loadgen_controller.launch.signals import DRAINING, Stopping


def stopping() -> tuple[Stopping, list[tuple[str, bool]]]:
    asked: list[tuple[str, bool]] = []
    return Stopping(lambda reason, now: asked.append((reason, now))), asked


INTERRUPTED_WHILE_IMPORTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Person:
    def find_spec(self, name, path, target=None):
        if name in sys.argv[1:]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Person())
import typer.main
import loadgen_controller.cli
typer.main.get_command(loadgen_controller.cli.app).get_command(None, "stop")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize("module", ["loadgen.errors", "loadgen_controller.commands.stop"])
def test_an_interrupt_while_the_program_or_a_command_is_imported_ends_it_without_a_traceback(module: str) -> None:
    line = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTED]
    ended = subprocess.run([*line, module], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_once_everything_is_imported_an_interrupt_is_pythons_own_again() -> None:
    line = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTED]
    whole = subprocess.run(line, capture_output=True, text=True, check=False)
    assert whole.stdout == "True\n"


def test_first_interrupt_drains_and_the_second_stops_at_once() -> None:
    stop, asked = stopping()

    stop.interrupt()
    assert [now for _, now in asked] == [False]
    assert stop.notices == (DRAINING,)

    stop.interrupt()
    assert [now for _, now in asked] == [False, True]
    assert stop.notices == ("stopping at once",)


def test_sigterm_is_a_first_interrupt_and_never_a_second() -> None:
    stop, asked = stopping()

    stop.terminate()
    stop.terminate()
    assert [now for _, now in asked] == [False]

    stop.interrupt()
    assert [now for _, now in asked] == [False, True]
