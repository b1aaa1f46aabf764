"""Lists processes of this machine from /proc. Linux only; on other systems the list is empty."""

from __future__ import annotations

import contextlib
import os

__all__ = ["children_of"]


def children_of(parent: int) -> dict[int, str]:
    """Return the state of each child process of the process `parent`, by process id: "S" for sleeping, "Z" for a
    zombie.

    Reads all of /proc (3.3 ms for 102 processes), because not every kernel has `/proc/PID/task/*/children`.
    """
    found: dict[int, str] = {}
    if not os.path.isdir("/proc/self"):  # noqa: PTH112  # as below
        return found
    wanted = str(parent).encode()
    for folder in os.listdir("/proc"):  # noqa: PTH208  # ten times as fast as pathlib
        if folder.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{folder}/stat", "rb") as file:  # noqa: PTH123  # as above
                # "4711 (any name) S 42 ...": the name may contain any character, also ")".
                state, its_parent = file.read().rpartition(b")")[2].split()[:2]
                if its_parent == wanted:
                    found[int(folder)] = state.decode()
    return found
