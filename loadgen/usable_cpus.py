"""The number of CPUs that this process may use."""

from __future__ import annotations

import os

__all__ = ["usable_cpus"]


def usable_cpus() -> int:
    """Return the number of CPUs in this process's affinity mask (`taskset`, cpusets), or of the machine where there is
    none. A limit of CPU time, such as a container's quota, does not count.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
