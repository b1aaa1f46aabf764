"""The dead-man switch within a worker: a thread that watches the event loop which runs the scenario.

It stops the load when the lease is over. It kills the process when the loop is too blocked to notice that, or is
blocked for longer than the lease. A process that is frozen as a whole, as on a suspended machine, does not count as
blocked: the thread only counts time during which it ran itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import Enum
from time import perf_counter_ns, sleep
from types import FrameType
from typing import Final

from loadgen.units import NS_PER_S, format_duration
from loadgen_agent.worker_lease import Leased

__all__ = ["BLOCKED_NS", "DEAF_NS", "GRACE_NS", "Finding", "Watch", "Watchdog"]

LOOK_S: Final = 0.1
_MOST_NS: Final = 300_000_000
"""Most time between two looks that counts as blocked; more means that the thread itself was frozen."""
BLOCKED_NS: Final = 2 * NS_PER_S
"""Blocked time after which the thread reports the scenario's line to the supervisor."""
DEAF_NS: Final = 1 * NS_PER_S
"""Blocked time after which the loop is too late to end its load by itself when the lease is over."""
GRACE_NS: Final = 5 * NS_PER_S
"""Time after the lease for iterations in flight."""


class Finding(Enum):
    """Action of the watchdog after a look."""

    FINE = "fine"
    BLOCKED = "blocked"
    """Report the line that blocks the loop."""
    STOP = "stop"
    """Stop starting iterations."""
    CUT = "cut"
    """Also interrupt the iterations in flight."""
    KILL = "kill"
    """Kill the process."""


class Watch:
    """Decides from the lease and the loop's progress what the watchdog does. No clock, no I/O."""

    def __init__(self) -> None:
        self._looked_ns: int | None = None
        self._turns = -1
        self.blocked_ns = 0
        """Time for which the loop has been blocked, as far as it was observed."""

    def look(self, now_ns: int, turns: int, until_ns: int, length_ns: int) -> Finding:
        """Return what the watchdog must do now, by how long the loop is blocked and whether the lease is over.

        the loop is blocked  | no lease | lease runs | lease is over | over for the grace, too
        not, or shortly      | fine     | fine       | stop          | cut
        for DEAF_NS          | fine     | fine       | kill          | kill
        for BLOCKED_NS       | fine     | blocked    | kill          | kill
        longer than a lease  | fine     | kill       | kill          | kill

        Args:
            now_ns: the time of the look.
            turns: a counter that the loop increases while it runs.
            until_ns, length_ns: end and length of the lease; an end of 0 means that there is no load.
        """
        before_ns, self._looked_ns = self._looked_ns, now_ns
        if turns != self._turns or not until_ns:
            self._turns, self.blocked_ns = turns, 0
        elif before_ns is not None:
            self.blocked_ns += min(now_ns - before_ns, _MOST_NS)
        if not until_ns:
            return Finding.FINE
        over_ns = now_ns - until_ns
        if self.blocked_ns > length_ns or (over_ns > 0 and self.blocked_ns > DEAF_NS):
            return Finding.KILL
        if over_ns > 0:
            return Finding.CUT if over_ns > GRACE_NS else Finding.STOP
        return Finding.BLOCKED if self.blocked_ns > BLOCKED_NS else Finding.FINE


class Watchdog:
    """The watchdog thread of a worker under load.

    Args:
        where: returns the scenario's line in which a frame of the loop's thread is, or "".
        stop: stops the load; called on the loop, repeatedly. Its argument is True to interrupt iterations in flight.
    """

    def __init__(self, leased: Leased, where: Callable[[FrameType | None], str], stop: Callable[[bool], None]) -> None:
        self._leased, self._where, self._stop = leased, where, stop
        self._turns = 0
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the watching thread. Call this within the event loop that it must watch."""
        self._loop = asyncio.get_running_loop()
        self._turn()
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching. The thread ends after its present check."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._turns += 1
        # Twice per look, so that each look at a loop that is not blocked finds another count.
        self._timer = self._loop.call_later(LOOK_S / 2, self._turn)

    def _watch(self, loop_thread: int) -> None:
        watch, has_said = Watch(), False
        while not self._is_over:
            self._leased.is_over()  # stores a lapse, so that the drive ends for the same reason
            finding = watch.look(perf_counter_ns(), self._turns, self._leased.until_ns, self._leased.length_ns)
            match finding:
                case Finding.KILL:
                    self._say(loop_thread, watch.blocked_ns)
                    os.kill(os.getpid(), signal.SIGKILL)
                case Finding.BLOCKED:
                    self._say(loop_thread, watch.blocked_ns)
                    has_said = True
                case Finding.STOP | Finding.CUT:
                    self._loop.call_soon_threadsafe(self._stop, finding is Finding.CUT)
                case Finding.FINE if has_said:
                    self._leased.say("")
                    has_said = False
            sleep(LOOK_S)

    def _say(self, loop_thread: int, blocked_ns: int) -> None:
        where = self._where(sys._current_frames().get(loop_thread)) or "code outside the scenario (loadgen, a library)"
        self._leased.say(f"{where} blocked its loop for {format_duration(blocked_ns)}")
