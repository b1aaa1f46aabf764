"""The kernel's time of a read: when the last byte of it arrived, on the clock of `perf_counter_ns` (decision 085).

The kernel stamps received packets by CLOCK_REALTIME, and `recvmsg` returns the stamp of the last byte that it returns
(Linux 4.14 and later). Both clocks run at the same rate, so their distance is constant until somebody sets the time.
It is measured in each interval, as the tightest of several brackets. Each read compares it again: where the clocks
have moved apart by 50 µs, no stamp is used until the next interval.

Stamps are for TCP on Linux. Elsewhere, and where the system refuses the option, reads have the loop's time.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter_ns, time_ns
from typing import Final

from loadgen.engine.health.stream_reads import StreamReads
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = ["STAMP_BYTES", "KernelClock", "kernel_clock"]

_SO_TIMESTAMPING: Final = 37
_SOFTWARE_RX: Final = 1 << 3 | 1 << 4
"""SOF_TIMESTAMPING_RX_SOFTWARE: stamp packets as they arrive. SOF_TIMESTAMPING_SOFTWARE: pass these stamps on."""
_stamp: Final = struct.Struct("@ll").unpack_from
"""Seconds and nanoseconds of the first of three timespecs; the others are for hardware."""
STAMP_BYTES: Final = socket.CMSG_SPACE(3 * struct.calcsize("@ll")) if hasattr(socket, "CMSG_SPACE") else 0
"""Room for ancillary data that `recvmsg` needs for the stamp."""
_JUMP_NS: Final = 50 * NS_PER_US
_BRACKETS: Final = 9

Ancillary = Sequence[tuple[int, int, bytes]]


class KernelClock:
    """Maps the stamps of one worker's sockets. `start` it before the load, and `close` it at the end.

    reads: receives the lag of each read. perf, real: the clocks; tests pass their own.
    jumps: how often somebody set the system's time.
    """

    __slots__ = ("_is_trusted", "_offset_ns", "_perf", "_real", "_warm", "jumps", "reads")

    def __init__(
        self, reads: StreamReads, perf: Callable[[], int] = perf_counter_ns, real: Callable[[], int] = time_ns
    ) -> None:
        self.reads = reads
        self._perf, self._real = perf, real
        self._offset_ns = self._measured_ns()
        self._is_trusted = True
        self.jumps = 0
        self._warm: socket.socket | None = None
        reads.remap = self.measure

    def start(self) -> None:
        """Switch stamps on. The kernel stamps packets only while a socket wants that, and needs some time to begin.

        Without this socket, the first answer on the first connection had no stamp.
        """
        with suppress(OSError):
            self._warm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.wants_stamps(self._warm)

    @staticmethod
    def wants_stamps(sock: socket.socket) -> bool:
        """Ask the kernel to stamp what this socket receives. Return False if the system refuses it."""
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _SOFTWARE_RX)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket that keeps stamps switched on."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def measure(self) -> None:
        """Measure the distance of the clocks; call it once an interval. Takes 2 µs."""
        measured_ns = self._measured_ns()
        if abs(measured_ns - self._offset_ns) >= _JUMP_NS:
            self.jumps += 1
        self._offset_ns, self._is_trusted = measured_ns, True

    def arrived_ns(self, ancillary: Ancillary, now_ns: int) -> int:
        """HOT, once a read: budget 0.5 µs (bench/llm.py). Return when a read's last byte arrived, and set its lag.

        Without a stamp that can be used, the result is `now_ns` and the lag -1.

        Args:
            ancillary: what `recvmsg` returned. now_ns: our time, `perf_counter_ns`, read just before this call.
        """
        if not ancillary or not self._is_trusted:
            self.reads.lag_ns = -1
            return now_ns
        offset_ns = self._offset_ns
        if not -_JUMP_NS < self._real() - now_ns - offset_ns < _JUMP_NS and self._has_jumped():
            self.reads.lag_ns = -1
            return now_ns
        stamp: tuple[int, int] = _stamp(ancillary[0][2])
        lag_ns = now_ns + offset_ns - stamp[0] * NS_PER_S - stamp[1]
        if lag_ns < 0:  # by the error of the mapping
            lag_ns = 0
        self.reads.lag_ns = lag_ns
        return now_ns - lag_ns

    def _has_jumped(self) -> bool:
        """Return whether the clocks have moved apart, after a reading that may also mean that we lost the core."""
        if abs(self._measured_ns() - self._offset_ns) < _JUMP_NS:
            return False
        self.jumps += 1
        self._is_trusted = False
        return True

    def _measured_ns(self) -> int:
        """Return CLOCK_REALTIME minus `perf_counter_ns`."""
        perf, real = self._perf, self._real
        width_ns, offset_ns = sys.maxsize, 0
        for _ in range(_BRACKETS):
            before_ns = perf()
            real_ns = real()
            after_ns = perf()
            if after_ns - before_ns < width_ns:
                width_ns, offset_ns = after_ns - before_ns, real_ns - (before_ns + after_ns) // 2
        return offset_ns


def kernel_clock(reads: StreamReads) -> KernelClock | None:
    """Return the kernel's clock for a worker; None where the system has no stamps."""
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return KernelClock(reads) if KernelClock.wants_stamps(probe) else None
    except OSError:
        return None
