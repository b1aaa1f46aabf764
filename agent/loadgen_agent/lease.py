"""Until when a worker may start anything, in memory that it shares with its supervisor.

The supervisor writes it as the controller acknowledges its heartbeats; a thread of the
worker reads it (`watchdog.py`), and the drive's stop does. So a load ends with
its lease also where the supervisor is frozen, or the scenario blocks the loop that its messages come by.
A lease that has lapsed stays lapsed, although the supervisor renews it a moment later: whoever sees the lapse first
stores it here, so that drive, watchdog and supervisor end the load for the same reason.
The other way goes one text: where the scenario is, when it blocks the loop.

Times are ns of `perf_counter_ns`, which on one machine is one clock for all processes. Nothing is on a disk.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from time import perf_counter_ns
from typing import Final

__all__ = ["Lease", "Leased", "leased_at"]

_NUMBERS: Final = 24
_TEXT_BYTES: Final = 255
_BYTES: Final = _NUMBERS + 1 + _TEXT_BYTES


class Lease:
    """The supervisor's side, of one worker's place; `fd` is inherited by each process that has it."""

    def __init__(self) -> None:
        """
        Raises:
            OSError: no memory for it.
        """
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("loadgen-lease")
        else:  # macOS
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, _BYTES)
        self._memory = mmap.mmap(self.fd, _BYTES)
        self._numbers = memoryview(self._memory)[:_NUMBERS].cast("q")

    def grant(self, until_ns: int, length_ns: int) -> None:
        """It may start what is due before `until_ns`. 0: there is no load, and nothing to watch."""
        self._numbers[1] = length_ns
        self._numbers[0] = until_ns

    @property
    def lapsed_ns(self) -> int:
        """When the lease ended that the worker found lapsed; 0: none did."""
        return self._numbers[2]

    @property
    def said(self) -> str:
        """Where the scenario blocks the worker's loop, or blocked it when the worker ended itself; empty: nowhere."""
        length = self._memory[_NUMBERS]
        return self._memory[_NUMBERS + 1 : _NUMBERS + 1 + length].decode("utf-8", "ignore")

    def clear(self) -> None:
        """For the next process."""
        self.grant(0, 0)
        self._numbers[2] = 0
        self._memory[_NUMBERS] = 0

    def close(self) -> None:
        """Safe to call again."""
        if self.fd >= 0:
            self._numbers.release()
            self._memory.close()
            os.close(self.fd)
            self.fd = -1


class Leased:
    """The worker's side."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory)[:_NUMBERS].cast("q")

    @property
    def until_ns(self) -> int:
        """When it ends, or ended when it lapsed; 0: there is none."""
        return self._numbers[2] or self._numbers[0]

    @property
    def length_ns(self) -> int:
        return self._numbers[1]

    def is_over(self) -> bool:
        """HOT, once a wake-up of the drive: 0.1 µs. Once it has returned True, it does so for good."""
        numbers = self._numbers
        if numbers[2]:
            return True
        until_ns = numbers[0]
        if not 0 < until_ns < perf_counter_ns():
            return False
        numbers[2] = until_ns
        return True

    def say(self, text: str) -> None:
        data = text.encode("utf-8", "replace")[:_TEXT_BYTES]
        self._memory[_NUMBERS] = 0
        self._memory[_NUMBERS + 1 : _NUMBERS + 1 + len(data)] = data
        self._memory[_NUMBERS] = len(data)


def leased_at(fd: int) -> Leased:
    """In the worker. Closes `fd`."""
    try:
        return Leased(mmap.mmap(fd, _BYTES))
    finally:
        os.close(fd)
