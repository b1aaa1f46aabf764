"""Describe the machine and the programs of a measurement. Figures without this are useless."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.peers import known
from bench.peers import version as version_of
from loadgen.engine.health.interpreter import this_build

__all__ = ["facts", "load_now", "pinned", "run_first", "stamp"]

_PACKAGES = ("uvloop", "httptools", "httpx", "numpy", "msgspec", "hdrhistogram")


def facts() -> list[tuple[str, str]]:
    """The facts about the machine that a reader needs to judge the figures."""
    return [
        ("machine", f"{_machine()}, {_memory_gb():.1f} GB"),
        ("system", f"{_distribution()}, Linux {platform.release()}"),
        ("python", str(this_build())),
        ("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES)),
    ]


def stamp(command: str, tools: Sequence[str], load_before: str) -> str:
    """Return one line with the command of a section, its run, the versions of the programs, and the machine."""
    return ", ".join(
        [
            f"`{command}`",
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"commit {_said('git', 'describe', '--always', '--dirty')}",
            str(this_build()),
            *(f"{name} {tool_version(name)}" for name in tools),
            _machine(),
            f"load average before it {load_before}",
        ]
    )


def tool_version(name: str) -> str:
    """Return the version of a program, if the program reports one."""
    match name:
        case "nginx":
            return _said("/usr/sbin/nginx", "-v").rpartition("/")[2]
        case "wrk":
            return _said("wrk", "-v").partition("[")[0].removeprefix("wrk").strip().removeprefix("debian/")
        case "hey":  # it has no version option
            return _said("dpkg-query", "-W", "-f", "${Version}", "hey") if shutil.which("hey") else "not installed"
        case "goaccess":  # "GoAccess - 1.9.3."
            return _said("goaccess", "--version").partition("\n")[0].rpartition(" ")[2].rstrip(".")
        case "h2load":
            return _said("h2load", "--version").rpartition("/")[2]
        case _:
            found = known(name)
            return version_of(found).split()[1].removeprefix("v") if found is not None else "not installed"


def load_now() -> str:
    """Return the load average of the last minute, because a busy machine makes figures worse."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def run_first() -> None:
    """Give this process the highest priority of usual programs, in a session of its own, if the system allows it."""
    with suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text("-20")
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def pinned(core: int, *command: str) -> list[str]:
    """Return the command with a prefix that binds it to one core."""
    return ["taskset", "-c", str(core), *command]


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not installed"
    said = (done.stdout + done.stderr).strip().splitlines()
    return said[0] if said else "unknown"


def _machine() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return f"{found[1] if found else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
