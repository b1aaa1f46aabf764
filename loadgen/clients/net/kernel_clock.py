"""Returns the kernel's time of a read: when its last byte arrived, on the clock of `perf_counter_ns` (decision 085).

All plans use it for streamed answers of AI models. Plans with `Http(clock="kernel")` use it for all answers (decision
148).

The kernel stamps received packets by CLOCK_REALTIME. `recvmsg` returns data together with the stamp of the last byte of
this data (Linux 4.14 and later). CLOCK_REALTIME and `perf_counter_ns` run at the same rate, so their distance is
constant until the system's time is set. The distance is measured in each interval: between two readings of
`perf_counter_ns`, CLOCK_REALTIME is read once. Of several such measurements, the one with the shortest time between its
two readings counts. A read whose lag is not between 0 and 50 µs compares the clocks again. If they have moved apart by
50 µs, stamps are not used until the next interval. A shorter lag needs no comparison: after a jump, it is wrong by less
than the real lag of the read, and so by less than the loop's time would be.

Only TCP on Linux has stamps. Elsewhere, and if the system refuses the option, reads have the loop's time.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter_ns, sleep, time_ns
from typing import Final

from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = ["STAMP_BYTES", "Ancillary", "KernelClock", "kernel_clock"]

_SO_TIMESTAMPING: Final = 37
_SOFTWARE_RX: Final = 1 << 3 | 1 << 4
"""SOF_TIMESTAMPING_RX_SOFTWARE: stamp packets as they arrive. SOF_TIMESTAMPING_SOFTWARE: pass these stamps on."""
_stamp: Final = struct.Struct("@ll").unpack_from
"""Seconds and nanoseconds of the first of three timespecs; the others are for hardware."""
STAMP_BYTES: Final = socket.CMSG_SPACE(3 * struct.calcsize("@ll")) if hasattr(socket, "CMSG_SPACE") else 0
"""Room for ancillary data that `recvmsg` needs for the stamp."""
_JUMP_NS: Final = 50 * NS_PER_US
_BRACKETS: Final = 9
_FIRST_STAMPS: Final = 20
_FIRST_STAMP_S: Final = 0.001
"""How often a packet is sent until one has a stamp, and the wait between two."""

Ancillary = Sequence[tuple[int, int, bytes]]


class KernelClock:
    """Translates the kernel's stamps of one worker's sockets to `perf_counter_ns`.

    Call `start` before the load, and `close` at the end.

    reads: receives the lag of each read. answers: counts all reads, in plans that ask for the kernel's clock; None in
    others. perf, real: the clocks; tests pass their own. jumps: the number of times that the clocks moved apart,
    because the system's time was set.
    """

    __slots__ = (
        "_is_trusted",
        "_offset_ns",
        "_perf",
        "_real",
        "_second",
        "_shift_ns",
        "_warm",
        "answers",
        "jumps",
        "reads",
    )

    def __init__(
        self,
        reads: StreamReads,
        perf: Callable[[], int] = perf_counter_ns,
        real: Callable[[], int] = time_ns,
        answers: AnswerReads | None = None,
    ) -> None:
        self.reads, self.answers = reads, answers
        self._perf, self._real = perf, real
        self._offset_ns = self._measured_ns()
        self._is_trusted = True
        self._second = self._shift_ns = 0
        """The second of the last stamp, by CLOCK_REALTIME, and the distance of the clocks minus this second: in each
        read this saves the arithmetic with three large integers."""
        self.jumps = 0
        self._warm: socket.socket | None = None
        reads.remap = self.measure
        if answers is not None:
            answers.remap = self.measure

    def start(self) -> None:
        """Open a socket that keeps stamps switched on, and return when packets have them.

        The kernel stamps packets only while a socket asks for stamps, and begins some time later. Without this socket,
        the first answer on the first connection had no stamp. Takes 0.1 ms as a rule, and at most 20 ms.
        """
        with suppress(OSError):
            self._warm = warm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            if not self.wants_stamps(warm):
                return
            warm.bind(("127.0.0.1", 0))
            warm.connect(warm.getsockname())  # to itself: nobody else can send to it
            warm.settimeout(_FIRST_STAMP_S)
            for _ in range(_FIRST_STAMPS):
                warm.send(b".")
                if warm.recvmsg(1, STAMP_BYTES)[1]:
                    break
                sleep(_FIRST_STAMP_S)

    @staticmethod
    def wants_stamps(sock: socket.socket) -> bool:
        """Ask the kernel to stamp the packets of this socket. Return False if the system refuses this."""
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
        if abs(measured_ns - self._offset_ns) >= _JUMP_NS and self._is_trusted:
            self._count_jump()
        self._offset_ns, self._is_trusted, self._second = measured_ns, True, 0

    def arrived_ns(self, ancillary: Ancillary, now_ns: int) -> int:
        """HOT, once a read: budget 0.5 µs (bench/llm.py). Return the kernel's time of a read.

        This time is when the last byte of the read arrived. The method also sets `reads.lag_ns` to the read lag.
        Without a usable stamp it returns `now_ns`, and sets the lag to -1.

        Args:
            ancillary: the ancillary data from `recvmsg`. now_ns: our time of the read, `perf_counter_ns`, taken just
                before this call.
        """
        if not ancillary or not self._is_trusted:
            return self._without_stamp(now_ns)
        second, ns = _stamp(ancillary[0][2])
        if second != self._second:
            self._second, self._shift_ns = second, self._offset_ns - second * NS_PER_S
        lag_ns: int = now_ns + self._shift_ns - ns
        if not 0 <= lag_ns < _JUMP_NS:
            apart_ns = self._real() - now_ns - self._offset_ns
            if not -_JUMP_NS < apart_ns < _JUMP_NS and self._has_jumped():
                return self._without_stamp(now_ns)
            if lag_ns < 0:  # by the error of the mapping
                lag_ns = 0
        self.reads.lag_ns = lag_ns
        if self.answers is not None:
            self.answers.lags_ns.append(lag_ns)
        return now_ns - lag_ns

    def _without_stamp(self, now_ns: int) -> int:
        """Note a read that has the loop's time, and return this time."""
        self.reads.lag_ns = -1
        if self.answers is not None:
            self.answers.loop_reads += 1
        return now_ns

    def _count_jump(self) -> None:
        self.jumps += 1
        if self.answers is not None:
            self.answers.jumps += 1

    def _has_jumped(self) -> bool:
        """Measure the distance of the clocks once more, and return whether they have moved apart.

        Call it after one reading that differs. That reading alone can also mean that this process lost the core between
        its two clocks.
        """
        if abs(self._measured_ns() - self._offset_ns) < _JUMP_NS:
            return False
        self._count_jump()
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


def kernel_clock(reads: StreamReads, answers: AnswerReads | None = None) -> KernelClock | None:
    """Return the kernel's clock for a worker; None where the system has no stamps."""
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return KernelClock(reads, answers=answers) if KernelClock.wants_stamps(probe) else None
    except OSError:
        return None
