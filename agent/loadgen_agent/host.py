"""What an agent asks of its operating system; the only file here that knows which one it is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from loadgen.engine.health.process_health import cpu_limit

__all__ = [
    "cores",
    "cpu_count",
    "die_with_parent",
    "host_name",
    "leave_no_core",
    "oom_kills",
    "pin",
    "raise_file_limit",
    "worker_environment",
]

_PR_SET_PDEATHSIG = 1

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LOADGEN_CA_FILE", "LOADGEN_DEBUG_RAW")
_KEPT_PREFIXES = ("PYTHON", "LOADGEN_SECRET")
"""Secrets of the scenario's own are given to an agent for its workers: LOADGEN_SECRET_<NAME>, LOADGEN_SECRETS_DIR."""


def leave_no_core() -> None:
    """A crash writes no image of memory, in which secrets would be; nor does one of a process started from here."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. Linux only.

    Elsewhere, and in the instant before this call, the end of the socketpair has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What scenario code may see of the agent's environment: how to run, and no secrets but its own."""
    return {name: value for name, value in environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}


def raise_file_limit() -> int:
    """Every user needs a descriptor: take all that the hard limit allows. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "unlimited" and then refuses more than this.
    wanted = hard if hard != resource.RLIM_INFINITY else 10_240 if sys.platform == "darwin" else 1 << 20
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def cores() -> tuple[int, ...]:
    """The CPUs that this process may run on, by number."""
    return tuple(sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else range(os.cpu_count() or 1))


def cpu_count(root: Path = Path("/")) -> int:
    """CPUs that this process may use: those that it may run on, and of a CPU limit the whole ones. At least 1."""
    limit = cpu_limit(root)
    return len(cores()) if limit is None else max(1, min(len(cores()), int(limit)))


def pin(pid: int, core: int) -> None:
    """Keep a process on one CPU. Linux only; elsewhere, or where it is not allowed, the scheduler goes on choosing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {core})


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes the kernel has killed for want of memory, of the machine's or a group's; 0 where unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.partition(" ")[2])
    return 0


def host_name() -> str:
    return socket.gethostname()
