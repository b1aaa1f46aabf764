"""The demo shop as a process of its own, for tests that need real sockets and a second clock."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["RunningTarget", "running_target"]


@dataclass(frozen=True, slots=True)
class RunningTarget:
    url: str
    pid: int

    def stats(self) -> dict[str, Any]:
        """What the shop has counted and served so far; asking is not counted."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=60) as reply:
            stats: dict[str, Any] = msgspec.json.decode(reply.read())
        return stats

    def reset(self) -> None:
        """Forget all counts; the next request is the first."""
        urllib.request.urlopen(f"{self.url}/stats/reset", data=b"", timeout=60).close()


@contextlib.contextmanager
def running_target(*options: str) -> Iterator[RunningTarget]:
    """Start `python -m loadgen.target` with these options on a free port; it is gone when the block is left.

    It also goes when this process dies, however that happens.
    """
    command = [sys.executable, "-m", "loadgen.target", "--exit-with-stdin", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), f"the demo shop did not start: {' '.join(command)}"
            yield RunningTarget(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
