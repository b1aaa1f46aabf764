"""A control group: processes of it together have only so much of a core, or so much memory.

    with group() as small:
        small.take(process.pid, *children)            # what runs already, and what it starts from then on
        small.cpu(0.2)                                # of a core; None: as much as there is
        small.memory(200 * 2**20)                     # of what is asked for from when they are in it

Version 1 or 2, whichever the machine has. Needs Linux and root; a test skips, and says why, without.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

__all__ = ["Group", "group"]

ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 100_000


class Group:
    """Use `group`."""

    def __init__(self, cpu: Path, memory: Path, is_first: bool) -> None:
        """is_first: of version 1, which has a folder for each of the two."""
        self._cpu, self._memory, self._is_first = cpu, memory, is_first

    def take(self, *pids: int) -> None:
        for folder in {self._cpu, self._memory}:
            for pid in pids:
                (folder / "cgroup.procs").write_text(str(pid))

    def cpu(self, share: float | None) -> None:
        quota = None if share is None else round(share * _PERIOD_US)
        if self._is_first:
            (self._cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (self._cpu / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))
        else:
            (self._cpu / "cpu.max").write_text(f"{'max' if quota is None else quota} {_PERIOD_US}")

    def memory(self, size_bytes: int) -> None:
        name = "memory.limit_in_bytes" if self._is_first else "memory.max"
        (self._memory / name).write_text(str(size_bytes))

    def _make(self) -> None:
        for folder in {self._cpu, self._memory}:
            folder.mkdir()
        self.cpu(None)

    def _unmake(self) -> None:
        """Whoever is still in it has been killed, and is gone in an instant."""
        deadline = time.monotonic() + 60
        for folder in {self._cpu, self._memory}:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


@contextlib.contextmanager
def group() -> Iterator[Group]:
    """Gone when the block is left; by then its processes have to be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("control groups need Linux and root")
    made = _group(f"loadgen-{os.getpid()}-{time.monotonic_ns()}")
    try:
        made._make()
    except OSError as error:
        with contextlib.suppress(OSError):
            made._unmake()
        pytest.skip(f"no control groups here: {error}")
    try:
        yield made
    finally:
        made._unmake()


def _group(name: str) -> Group:
    """Below the one that this process is in: what limits us limits it, too."""
    mine = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    parts = {part: ROOT / part / mine[part].lstrip("/") for part in ("cpu", "memory") if part in mine}
    if len(parts) == 2:
        return Group(parts["cpu"] / name, parts["memory"] / name, is_first=True)
    with contextlib.suppress(OSError):
        (ROOT / "cgroup.subtree_control").write_text("+cpu +memory")
    return Group(ROOT / name, ROOT / name, is_first=False)
