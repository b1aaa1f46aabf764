"""Operating-system functions of an agent: CPUs, limits, environment. Only this file checks for Linux or macOS."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
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
    "widen_file_table",
    "worker_environment",
]

_PR_SET_PDEATHSIG = 1

_WIDE_FILES = 16_384
"""Descriptors for which a worker's table has room from the start: 128 KiB of the kernel's memory."""

_KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LOADGEN_CA_FILE",
    "LOADGEN_CHROMIUM",
    "LOADGEN_DEBUG_RAW",
)
_KEPT_PREFIXES = ("PYTHON", "LOADGEN_SECRET")
"""Workers get the scenario's secrets by LOADGEN_SECRET_<NAME> and LOADGEN_SECRETS_DIR, and no other secrets."""


def leave_no_core() -> None:
    """Disable core dumps of this process and of its children, because a dump would contain secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. Linux only.

    Elsewhere, and in the instant before this call, the worker ends when its socketpair is closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the agent's environment that scenario code gets: locale, paths and its own secrets."""
    return {name: value for name, value in environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}


def raise_file_limit() -> int:
    """Raise this process's limit of open files to the hard limit, and return the new limit.

    Each user needs a descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports "unlimited" and then refuses more than 10,240.
    wanted = hard if hard != resource.RLIM_INFINITY else 10_240 if sys.platform == "darwin" else 1 << 20
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def widen_file_table() -> None:
    """Make room for many descriptors in this process's table now, so that no connection waits for it later.

    Linux doubles the table when 64, 128, 256 ... descriptors are open. In a process with several threads, the call that
    opens the next one then waits 10 to 20 ms, and so does the event loop.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WIDE_FILES if soft == resource.RLIM_INFINITY else min(soft, _WIDE_FILES)
    with contextlib.suppress(OSError):
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD, most - 1))


def cores() -> tuple[int, ...]:
    """Return the numbers of the CPUs on which this process may run."""
    return tuple(sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else range(os.cpu_count() or 1))


def cpu_count(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use, at least 1. A CPU limit of a container is rounded down."""
    limit = cpu_limit(root)
    return len(cores()) if limit is None else max(1, min(len(cores()), int(limit)))


def pin(pid: int, core: int) -> None:
    """Pin a process to one CPU. No effect outside of Linux, or when the system does not allow it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {core})


def oom_kills(root: Path = Path("/")) -> int:
    """Return the number of processes that the kernel has killed because memory ran out since boot; 0 if unknown.

    It counts kills for the whole machine and for its control groups. `root` is the file system's root.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.partition(" ")[2])
    return 0


def host_name() -> str:
    """Return the host name of this machine."""
    return socket.gethostname()
