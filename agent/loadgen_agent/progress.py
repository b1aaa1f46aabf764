"""How far a worker has got, in memory that outlives it: so that the process after it goes on behind it.

What is due at a time needs no mark: whoever drives then drives it. Iterations of
a counted load follow one upon another, and which of them were begun only the worker knows.
So it writes their number, before each of them, into a few bytes that its
supervisor holds open; an iteration costs 30 ns more by that. Nothing is on a disk.
"""

from __future__ import annotations

import mmap
import os
import tempfile

from loadgen.dsl.plans.loads import MAX_LOADS

__all__ = ["Progress", "progress_at"]

_BYTES = 8 * MAX_LOADS


class Progress:
    """Of one worker's place; `fd` is inherited by each process that has it."""

    def __init__(self) -> None:
        """
        Raises:
            OSError: no memory for it.
        """
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("loadgen-marks")
        else:  # macOS
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, _BYTES)

    def close(self) -> None:
        """Safe to call again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def progress_at(fd: int) -> memoryview[int]:
    """In the worker: of each load, how many of its iterations were begun. Closes `fd`."""
    try:
        found = memoryview(mmap.mmap(fd, _BYTES))
    finally:
        os.close(fd)
    return found.cast("q")
