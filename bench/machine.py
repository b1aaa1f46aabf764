"""On what, and with what, a figure was measured: a figure without that is none."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

__all__ = ["facts", "load_now", "pinned"]

_PACKAGES = ("uvloop", "httptools", "httpx", "numpy", "msgspec", "hdrhistogram")


def facts() -> list[tuple[str, str]]:
    """What a reader needs to judge the figures."""
    return [
        ("machine", f"{_cpu()}, {os.cpu_count()} cores, {_memory_gb():.1f} GB"),
        ("system", f"{_distribution()}, Linux {platform.release()}"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES)),
        ("nginx", _said("/usr/sbin/nginx", "-v").rpartition("/")[2]),
        ("wrk", _said("wrk", "-v").partition("[")[0].removeprefix("wrk").strip()),
        ("commit", _said("git", "describe", "--always", "--dirty")),
    ]


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
    return (done.stdout + done.stderr).strip().splitlines()[0]


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
