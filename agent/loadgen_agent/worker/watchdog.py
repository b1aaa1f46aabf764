"""The dead-man switch within a worker: a thread apart from the loop that runs the scenario.

It stops the load when the lease is over, and ends the process when the loop cannot
hear that, or stands still for longer than the lease. Who is frozen with all of
the process (a stopped machine) is not blocked: only time that the thread itself saw pass counts.
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
from loadgen_agent.lease import Leased

__all__ = ["BLOCKED_NS", "DEAF_NS", "GRACE_NS", "Finding", "Watch", "Watchdog"]

LOOK_S: Final = 0.1
_MOST_NS: Final = 300_000_000
"""Of the time between two looks so much counts as seen."""
BLOCKED_NS: Final = 2 * NS_PER_S
"""Of a loop that stands still for so long, the supervisor hears where."""
DEAF_NS: Final = 1 * NS_PER_S
"""A loop that stands still for so long does not hear that its lease is over."""
GRACE_NS: Final = 5 * NS_PER_S
"""After the lease, for what is in flight."""


class Finding(Enum):
    FINE = "fine"
    BLOCKED = "blocked"
    """To be said."""
    STOP = "stop"
    CUT = "cut"
    """What is in flight, too."""
    KILL = "kill"


class Watch:
    """What a look means. No clock, no I/O."""

    def __init__(self) -> None:
        self._looked_ns: int | None = None
        self._turns = -1
        self.blocked_ns = 0
        """For how long, as far as it was seen, the loop has stood still."""

    def look(self, now_ns: int, turns: int, until_ns: int, length_ns: int) -> Finding:
        """
        the loop stood still | no lease | lease runs | lease is over | over for the grace, too
        not, or shortly      | fine     | fine       | stop          | cut
        for DEAF_NS          | fine     | fine       | kill          | kill
        for BLOCKED_NS       | fine     | blocked    | kill          | kill
        longer than a lease  | fine     | kill       | kill          | kill

        Args:
            turns: how often the loop has turned so far.
            until_ns, length_ns: of the lease; 0: there is none.
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
    """Of a worker under load.

    Args:
        where: the scenario's line that a frame of the loop's thread is in, or "".
        stop: called on the loop, again and again; `now`: cut off what is in flight.
    """

    def __init__(self, leased: Leased, where: Callable[[FrameType | None], str], stop: Callable[[bool], None]) -> None:
        self._leased, self._where, self._stop = leased, where, stop
        self._turns = 0
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Within the loop that is to be watched."""
        self._loop = asyncio.get_running_loop()
        self._turn()
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._turns += 1
        self._timer = self._loop.call_later(LOOK_S / 2, self._turn)

    def _watch(self, loop_thread: int) -> None:
        watch, has_said = Watch(), False
        while not self._is_over:
            self._leased.is_over()  # a lapse that this thread sees is one for the drive, too
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
