"""On what, and with what, a figure was measured: a figure without that is none."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.peers import known
from bench.peers import version as version_of

__all__ = ["facts", "load_now", "pinned", "stamp"]

_PACKAGES = ("uvloop", "httptools", "httpx", "numpy", "msgspec", "hdrhistogram")


def facts() -> list[tuple[str, str]]:
    """What a reader needs to judge the figures."""
    return [
        ("machine", f"{_machine()}, {_memory_gb():.1f} GB"),
        ("system", f"{_distribution()}, Linux {platform.release()}"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES)),
    ]


def stamp(command: str, tools: Sequence[str], load_before: str) -> str:
    """One line: the command of a section, its run, the versions of what it was measured with, the machine."""
    return ", ".join(
        [
            f"`{command}`",
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"commit {_said('git', 'describe', '--always', '--dirty')}",
            f"Python {platform.python_version()}",
            *(f"{name} {tool_version(name)}" for name in tools),
            _machine(),
            f"load average before it {load_before}",
        ]
    )


def tool_version(name: str) -> str:
    """Of a program that a section is measured with, as far as it says."""
    match name:
        case "nginx":
            return _said("/usr/sbin/nginx", "-v").rpartition("/")[2]
        case "wrk":
            return _said("wrk", "-v").partition("[")[0].removeprefix("wrk").strip().removeprefix("debian/")
        case "hey":  # it has no word for it
            return _said("dpkg-query", "-W", "-f", "${Version}", "hey") if shutil.which("hey") else "not installed"
        case "h2load":
            return _said("h2load", "--version").rpartition("/")[2]
        case _:
            found = known(name)
            return version_of(found).split()[1].removeprefix("v") if found is not None else "not installed"


def load_now() -> str:
    """The load average of the last minute: figures from a busy machine are worse than they are."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def pinned(core: int, *command: str) -> list[str]:
    """The command on one core."""
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
