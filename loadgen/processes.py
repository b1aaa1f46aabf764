"""The processes of this machine, as /proc lists them. Linux only; elsewhere none are found."""

from __future__ import annotations

import contextlib
import os

__all__ = ["children_of"]


def children_of(parent: int) -> dict[int, str]:
    """The state of each process whose parent has this number, by its own number: "S" sleeps, "Z" is a zombie.

    Reads all of /proc (3.3 ms for 102 processes) because `/proc/PID/task/*/children` is not in every kernel.
    """
    found: dict[int, str] = {}
    if not os.path.isdir("/proc/self"):  # noqa: PTH112  # as below
        return found
    wanted = str(parent).encode()
    for folder in os.listdir("/proc"):  # noqa: PTH208  # ten times as fast as a Path each
        if folder.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{folder}/stat", "rb") as file:  # noqa: PTH123  # as above
                # "4711 (any name) S 42 ...": the name may hold anything, also ")".
                state, its_parent = file.read().rpartition(b")")[2].split()[:2]
                if its_parent == wanted:
                    found[int(folder)] = state.decode()
    return found
