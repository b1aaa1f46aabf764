"""Memory that the supervisor shares with the processes of one worker slot: they inherit its descriptor and map it."""

from __future__ import annotations

import os
import tempfile

__all__ = ["allocate"]


def allocate(name: str, size_bytes: int) -> int:
    """Return the descriptor of new shared memory, filled with zeros. name: shown in /proc on Linux.

    The memory has no name in the file system, so only processes that inherit the descriptor can reach it.

    Raises:
        OSError: the memory cannot be allocated.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
    else:  # macOS
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size_bytes)
    return fd
