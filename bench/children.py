"""Run programs under measurement and return their output and their CPU time.

No program is started with preexec_fn: Python then forks, and the fork handlers of grpcio end the child.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any

import msgspec

from bench.machine import pinned

__all__ = ["ATTACKER_CORE", "TARGET_CORE", "Ended", "more_files", "next_line", "python_server", "run_python", "timed"]

ATTACKER_CORE, TARGET_CORE = 0, 1
FILES = 65_536
"""The limit of open files, if the machine allows it: 10,000 users need 10,000 connections."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended without error. `cpu_s` is user and system time, including children that it waited for."""

    said: str
    cpu_s: float


def timed(*command: str, timeout_s: float = 120, environment: dict[str, str] | None = None) -> Ended:
    """Run a command on the attacker's core.

    Raises:
        RuntimeError: it failed, or did not end within `timeout_s`; the error has its output.
    """
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            pinned(ATTACKER_CORE, *command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        alarm = Timer(timeout_s, process.kill)
        alarm.start()
        _, status, used = os.wait4(process.pid, 0)
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{said[-2000:]}")
    return Ended(said, used.ru_utime + used.ru_stime)


def run_python(
    module: str,
    *arguments: str,
    timeout_s: float = 300,
    environment: dict[str, str] | None = None,
    python: str = sys.executable,
) -> dict[str, Any]:
    """Run `python -m module` on the attacker's core and return the JSON figures that it prints."""
    command = pinned(ATTACKER_CORE, python, "-m", module, *arguments)
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        check=True,
        timeout=timeout_s,
        env={**os.environ, **(environment or {})},
    )
    figures: dict[str, Any] = msgspec.json.decode(done.stdout)
    return figures


def next_line(process: subprocess.Popen[bytes], within_s: float, what: str) -> bytes:
    """Return the next line that a program prints, and end the program if it prints none in time.

    Raises:
        RuntimeError: the program ended, or printed no line within `within_s`; `what` names what is missing.
    """
    assert process.stdout is not None
    alarm = Timer(within_s, process.kill)
    alarm.start()
    try:
        line = process.stdout.readline()
    finally:
        alarm.cancel()
    if not line:
        raise RuntimeError(f"{what}: the program ended or printed nothing for {within_s:g} s")
    return line


@contextmanager
def python_server(text: str) -> Iterator[int]:
    """Run a server that is given as the text of a program, and yield its port, which the program must print first."""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def more_files() -> None:
    """Raise the limit of open files for this process and for the processes that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
