"""The lease of a worker slot: until when its worker may start iterations, in memory shared with the supervisor.

The supervisor extends the lease when the controller acknowledges a heartbeat. A thread of the worker (`watchdog.py`)
and the drive of the load read it. So a load ends with its lease even if the supervisor is frozen, or if the scenario
blocks the loop that receives messages.
A lapsed lease stays lapsed, even if the supervisor renews it a moment later. The first reader that sees the lapse
stores it here, so that drive, watchdog and supervisor end the load for the same reason.
The worker writes one text for the supervisor: the line of the scenario that blocks its loop.

Times are ns of `perf_counter_ns`, which on one machine is one clock for all processes. Nothing is on a disk.
"""

from __future__ import annotations

import mmap
import os
from time import perf_counter_ns
from typing import Final

from loadgen_agent.shared_memory import allocate

__all__ = ["Lease", "Leased", "leased_at"]

_NUMBERS: Final = 24
_TEXT_BYTES: Final = 255
_BYTES: Final = _NUMBERS + 1 + _TEXT_BYTES


class Lease:
    """The supervisor's side of the lease of one worker slot.

    Each process of the slot inherits `fd` and maps it with `leased_at`.
    """

    def __init__(self) -> None:
        """Allocate the shared memory.

        Raises:
            OSError: the memory cannot be allocated.
        """
        self.fd = allocate("loadgen-lease", _BYTES)
        self._memory = mmap.mmap(self.fd, _BYTES)
        self._numbers = memoryview(self._memory)[:_NUMBERS].cast("q")

    def grant(self, until_ns: int, length_ns: int) -> None:
        """Set the lease that the worker reads: it may start arrivals that are due before `until_ns`.

        Args:
            until_ns: end of the lease; 0 ends the watch, because there is no load.
            length_ns: the lease's length, which the watchdog compares with the silence of the loop.
        """
        # The length goes first: with a new end and the old length (at first 0), the watchdog could take a short silence
        # of the loop for one that is longer than the lease, and kill the process.
        self._numbers[1] = length_ns
        self._numbers[0] = until_ns

    @property
    def lapsed_ns(self) -> int:
        """End of the lease that the worker stored when it found it over; 0 if it has found none.

        On `perf_counter_ns`.
        """
        return self._numbers[2]

    @property
    def said(self) -> str:
        """Text of the worker's watchdog: which scenario line blocks the loop, and for how long; empty if none does.

        The text stays when the worker kills itself because of a blocked loop.
        """
        length = self._memory[_NUMBERS]
        # "ignore", because the limit of 255 bytes may cut a character in two.
        return self._memory[_NUMBERS + 1 : _NUMBERS + 1 + length].decode("utf-8", "ignore")

    def clear(self) -> None:
        """Reset the memory for the slot's next process."""
        self.grant(0, 0)
        self._numbers[2] = 0
        self._memory[_NUMBERS] = 0

    def close(self) -> None:
        """Release the shared memory and close its descriptor. A second call has no effect."""
        if self.fd >= 0:
            # A mapping cannot be closed while a view of it exists (BufferError).
            self._numbers.release()
            self._memory.close()
            os.close(self.fd)
            self.fd = -1


class Leased:
    """The worker's side of the lease. Made by `leased_at`."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory)[:_NUMBERS].cast("q")

    @property
    def until_ns(self) -> int:
        """End of the lease on `perf_counter_ns`, also after the lease is over; 0 when there is no load."""
        return self._numbers[2] or self._numbers[0]

    @property
    def length_ns(self) -> int:
        return self._numbers[1]

    def is_over(self) -> bool:
        """Whether the lease is over, so that the worker must start no more load.

        After the first True it always returns True. HOT, once per wake-up of the drive: 0.1 µs.
        """
        numbers = self._numbers
        if numbers[2]:
            return True
        # Read once: the supervisor may write a new end between the comparison and the store below.
        until_ns = numbers[0]
        if not 0 < until_ns < perf_counter_ns():
            return False
        numbers[2] = until_ns
        return True

    def say(self, text: str) -> None:
        """Store for the supervisor which scenario line blocks the loop, or "". At most 255 bytes of UTF-8 are kept."""
        data = text.encode("utf-8", "replace")[:_TEXT_BYTES]
        # The length is 0 while the text changes, so the supervisor never reads half of the old and half of the new
        # text.
        self._memory[_NUMBERS] = 0
        self._memory[_NUMBERS + 1 : _NUMBERS + 1 + len(data)] = data
        self._memory[_NUMBERS] = len(data)


def leased_at(fd: int) -> Leased:
    """Map the lease memory with descriptor `fd` into this worker, return the worker's side of it, and close `fd`."""
    try:
        return Leased(mmap.mmap(fd, _BYTES))
    finally:
        os.close(fd)
