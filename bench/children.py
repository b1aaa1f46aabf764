"""Programs under measurement: what they say, and the CPU time that the kernel counted for them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec

from bench.machine import pinned

__all__ = ["ATTACKER_CORE", "TARGET_CORE", "run_python", "run_wrk"]

ATTACKER_CORE, TARGET_CORE = 0, 1


def run_python(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m module` on the attacker's core; it prints its figures as JSON."""
    command = pinned(ATTACKER_CORE, sys.executable, "-m", module, *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
    figures: dict[str, Any] = msgspec.json.decode(done.stdout)
    return figures


def run_wrk(url: str, seconds: float, *options: str, connections: int = 64) -> dict[str, float]:
    """Run wrk with one thread on the attacker's core. CPU is of the whole process, user and system."""
    command = pinned(ATTACKER_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", *options, url)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk failed:\n{said}")
    requests = int(said.partition(" requests in ")[0].split()[-1])
    return {"cpu_s": used.ru_utime + used.ru_stime, "requests": requests, "took_s": seconds}
