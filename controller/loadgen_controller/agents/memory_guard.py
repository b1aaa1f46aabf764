"""Keeps the controller within its memory, even if a peer with a valid key sends an endless message.

ZeroMQ delivers a message when its last part has arrived. Until then the parts occupy
memory that no socket limit bounds, and the controller cannot find out who sends them.
The remedy is to drop all connections: that frees the parts. Sound agents reconnect
within a second and send their unacknowledged deltas again. If that does not help, or
is necessary again and again, the runs end while there is enough memory to seal them.
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
"""The part of the available memory that the controller may use."""
_OFTEN = 3
_WITHIN_NS = 60 * NS_PER_S
"""If connections must be dropped `_OFTEN` times within this time, the runs end."""


class Relief(Enum):
    """The action that the controller must take because of its memory."""

    NONE = "none"
    DROP = "drop all connections"
    END = "end the runs"


class Memory:
    """Decides from the memory in use whether to drop connections or to end the runs. The caller passes all figures."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._dropped_ns: deque[int] = deque(maxlen=_OFTEN)
        self._was_above = False

    def check(self, used_bytes: int, now_ns: int) -> Relief:
        """Return what must be done about the memory in use: nothing, drop all connections, or end the runs.

        Call it every 50 ms: a flood of messages adds 10 MB in that time.
        """
        was_above, self._was_above = self._was_above, used_bytes > self.limit_bytes
        if not self._was_above:
            return Relief.NONE
        if was_above:  # the last call dropped all connections, and that did not help
            return Relief.END
        self._dropped_ns.append(now_ns)
        often = len(self._dropped_ns) == _OFTEN and now_ns - self._dropped_ns[0] < _WITHIN_NS
        return Relief.END if often else Relief.DROP


def used_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not provide it."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def limit_bytes(root: Path = Path("/")) -> int:
    """Return four fifths of the memory available to this process: of the machine, or of its smallest cgroup limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(_SHARE * min([machine, *(group.limit_bytes for group in memory_limits(root))]))


def give_back() -> None:
    """Return free memory of the C library to the operating system.

    The library keeps it otherwise (measured: 459 MB before, 76 MB after).
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
