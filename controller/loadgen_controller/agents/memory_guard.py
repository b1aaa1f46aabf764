"""Keeps the controller within its memory, also while a peer with a good key sends a message that never ends.

ZeroMQ hands over a message when its last part is here; until then its parts lie in
memory that no limit of a socket bounds (RELIABILITY P9), and nobody can tell whose
they are. What helps is to hang up on everybody: that frees them, and sound agents
are back within a second, with all that was not acknowledged. If it does not help,
or has to be done again and again, the runs are ended while there is still memory to seal them.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from enum import Enum
from pathlib import Path

from loadgen.engine.health.process_health import memory_limits
from loadgen.units import NS_PER_S

__all__ = ["Memory", "Relief", "give_back", "limit_bytes", "used_bytes"]

_SHARE = 0.8
_OFTEN = 3
_WITHIN_NS = 60 * NS_PER_S


class Relief(Enum):
    """What is to be done about memory."""

    NONE = "none"
    DROP = "drop all connections"
    END = "end the runs"


class Memory:
    """Times are handed in, and how much is in use."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._dropped_ns: deque[int] = deque(maxlen=_OFTEN)
        self._was_above = False

    def check(self, used_bytes: int, now_ns: int) -> Relief:
        """Call it often: a flood brings 10 MB in 50 ms."""
        was_above, self._was_above = self._was_above, used_bytes > self.limit_bytes
        if not self._was_above:
            return Relief.NONE
        if was_above:  # all connections were dropped at the last look, and it did not help
            return Relief.END
        self._dropped_ns.append(now_ns)
        often = len(self._dropped_ns) == _OFTEN and now_ns - self._dropped_ns[0] < _WITHIN_NS
        return Relief.END if often else Relief.DROP


def used_bytes() -> int:
    """What of this process is in memory; 0 where that cannot be known."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def limit_bytes(root: Path = Path("/")) -> int:
    """Four fifths of what this process may have: of the machine's memory, or of the least limit of its cgroups."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(_SHARE * min([machine, *(group.limit_bytes for group in memory_limits(root))]))


def give_back() -> None:
    """Have the C library return what is free: it keeps it otherwise (measured: 459 MB, afterwards 76)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
