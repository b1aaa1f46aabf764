"""Makes the delta of each interval of a share, in parts that do not delay the load.

Folding the values of a second takes some milliseconds. In one piece it would delay each arrival that is due meanwhile,
and the reading of answers. So it is done in parts: each begins where no start is near, and between two parts the loop
rests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns

from loadgen.engine.health.selfcheck import SelfCheck
from loadgen.engine.load.clock import Clock
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.units import NS_PER_MS

__all__ = ["IntervalDeltas"]

_REST_S = 0.001
"""Least pause between two parts of a fold, so that they do not add up to one long pause."""
_FOLD_NS = 150 * NS_PER_MS
"""Time during which the fold of an interval yields to other tasks; after it, the fold finishes without a break."""


class IntervalDeltas:
    """Makes the deltas of one share, passes each to `emit`, and adds them up.

    Args:
        interval_ns: length of an interval.
        emit: receives each delta; must not block.
        next_start_ns: returns when the next arrival is due in any load, on `perf_counter_ns`; 0 if no start loop waits.
    """

    def __init__(
        self,
        recorder: Recorder,
        self_check: SelfCheck,
        interval_ns: int,
        emit: Callable[[Delta], None],
        next_start_ns: Callable[[], int],
    ) -> None:
        self._recorder, self._self_check = recorder, self_check
        self._interval_ns, self._emit, self._next_start_ns = interval_ns, emit, next_start_ns
        self._end_ns = 0
        """Up to then, time after T0, all is in deltas."""
        self.last_seq = -1
        self.recorded = 0
        """Sum of all bucket counts."""
        self.totals = Counters()

    def begin(self, from_ns: int) -> None:
        """Let the first delta begin with the interval of `from_ns` after T0. Call it before `run`."""
        self._end_ns = from_ns // self._interval_ns * self._interval_ns

    async def run(self, clock: Clock) -> None:
        """Make a delta at the end of each interval, until cancelled.

        After a blocked loop one delta covers all passed intervals. No other task may sleep by this clock.
        """
        while True:
            end_ns = self._end_ns + self._interval_ns
            self._recorder.interval_ends_ns = self._recorder.t0_ns + end_ns
            # By the clock's own timer, because timers of uvloop are up to 1 ms late: arrivals due by then would count
            # in this interval.
            await clock.sleep_until(end_ns)
            await self._make_in_parts(clock.elapsed_ns() // self._interval_ns * self._interval_ns)

    def finish(self, clock: Clock) -> None:
        """Make the last delta, of all that was recorded since the one before, without a break."""
        # At least 1 ns: a delta without time is one that only reports a lost worker (`epochs.Next.has_time`).
        end_ns = max(clock.elapsed_ns(), self._end_ns + 1)
        self._hand_over(self._recorder.flip(self._end_ns, end_ns, self._health))

    async def _make_in_parts(self, end_ns: int) -> None:
        """Make the delta up to `end_ns` after T0 in parts.

        A delta that was begun is always finished, even when the task is cancelled. After `_FOLD_NS` the remaining parts
        run without a break: if the scenario blocks the loop, each break would cost one more block.
        """
        break_until_ns = perf_counter_ns() + _FOLD_NS
        parts = self._recorder.flip_in_parts(self._end_ns, end_ns, self._health)
        next(parts)  # takes the values of all series at the same instant
        self._self_check.begin_look()
        stopped: asyncio.CancelledError | None = None
        took_ns = 0
        while True:
            if stopped is None and perf_counter_ns() < break_until_ns:
                try:
                    await self._until_there_is_time(took_ns, break_until_ns)
                except asyncio.CancelledError as error:
                    stopped = error
            began_ns = perf_counter_ns()
            try:
                next(parts)
            except StopIteration as done:
                self._hand_over(done.value)
                break
            took_ns = perf_counter_ns() - began_ns
        if stopped is not None:
            raise stopped

    async def _until_there_is_time(self, need_ns: int, until_ns: int) -> None:
        """Wait for a moment in which work of `need_ns` delays no start, or right after a start if there is none.

        Wait at least `_REST_S`, so that other tasks run, and until the figures of the process (`begin_look`) are read,
        which the last part needs. Return at `until_ns` at the latest.
        """
        await asyncio.sleep(_REST_S)
        while self._self_check.is_looking and perf_counter_ns() < until_ns:  # noqa: ASYNC110  # set by a thread
            await asyncio.sleep(_REST_S)  # its thread needs the interpreter, and perhaps this core
        first_ns = self._next_start_ns()
        while (now_ns := perf_counter_ns()) < until_ns:
            next_ns = self._next_start_ns()
            if next_ns != first_ns or not now_ns < next_ns < now_ns + need_ns:
                return
            await asyncio.sleep(0)

    def _health(self, lag_p99_ns: int | None, response_p99_ns: int) -> Health:
        return self._self_check.health(lag_p99_ns, response_p99_ns, self._recorder.take_notes())

    def _hand_over(self, delta: Delta) -> None:
        self._end_ns, self.last_seq = delta.end_ns, delta.seq
        self.totals += delta.counters
        self.recorded += sum(stats.n for stats in delta.stats)
        self._emit(delta)
