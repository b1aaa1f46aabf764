"""Shared memory with a worker's progress in counted loads, so that a replacement process continues there.

An arrival with a due time needs no such counter: the process that drives at that time starts it. The iterations of
a counted load follow each other, and only the worker knows how many it has started. Before each of them the worker
therefore writes their number into a few bytes that its supervisor keeps open. This costs 30 ns per iteration.
Nothing is written to a disk.
"""

from __future__ import annotations

import mmap
import os

from loadgen.dsl.plans.plan_loads import MAX_LOADS
from loadgen_agent.shared_memory import allocate

__all__ = ["Progress", "progress_at"]

_BYTES = 8 * MAX_LOADS


class Progress:
    """The supervisor's side of the progress memory of one worker slot.

    Each process of the slot inherits `fd` and maps it with `progress_at`.
    """

    def __init__(self) -> None:
        """Allocate the shared memory.

        Raises:
            OSError: the memory cannot be allocated.
        """
        self.fd = allocate("loadgen-progress", _BYTES)

    def close(self) -> None:
        """Close the memory's descriptor. A second call has no effect."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def progress_at(fd: int) -> memoryview[int]:
    """Map the progress memory with descriptor `fd` into this worker, and close `fd`.

    The result has one number for each load: its iterations that were started.
    """
    try:
        found = memoryview(mmap.mmap(fd, _BYTES))
    finally:
        os.close(fd)
    return found.cast("q")
