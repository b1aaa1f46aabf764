"""Decides how often agents report: less often while the controller cannot keep up.

Agents merge their deltas into one for each requested interval. So no measurement is lost, only the
time resolution gets coarser. Every acknowledgement carries the requested interval. Before the load
starts, the controller sends one without a delta, so that the first delta already follows it.

The first interval follows from the number of agents. With the plan's interval, thousands of agents
send more deltas in the first seconds than the controller can process, and the backlog lasts a
minute. Later, the interval follows from the load of the controller: it grows
at most once per `HOLD_NS`, so that the effect of a step shows before the next one. It shrinks only
after `CALM_NS` of low load. Pure: the caller passes times.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_S, format_count

__all__ = [
    "BUSY_SHARE",
    "CALM_NS",
    "DELTA_NS",
    "HOLD_NS",
    "LATE_NS",
    "STEPS",
    "ReportInterval",
    "busy_ns",
    "first_step",
]

STEPS: Final = (1, 2, 4)
"""The possible intervals, as multiples of the plan's interval. An agent of a busy controller sends a heartbeat each
2 s, inside a delta if one is due then. With 3 s it would send more messages than with 2 s (2 in 3 s instead of 1 in
2 s). With 4 s it sends as many, but half of them are heartbeats, which cost half of a delta. Longer intervals save
little more.
"""
BUSY_SHARE: Final = 0.80
"""If the event loop's thread is busy for more than this share of the time, the interval grows."""
_FULL_SHARE: Final = 0.95
"""The interval also grows if all threads together are busy for more than this share of their CPUs. This limit is
reached first where the loop and ZeroMQ's thread share one CPU."""
DELTA_NS: Final = 285_000
"""The CPU time that a delta of 46 series costs: 0.15 to 0.27 ms in one process, 0.29 to 0.4 ms with the sockets' thread
(docs/decisions/162-a-controllers-time-and-what-was-not-taken.md). An estimate that is too low costs only a step later
on; one that is too high costs time resolution that the controller could have had."""
LATE_NS: Final = 3 * NS_PER_S
"""If a delta waits longer than this for its acknowledgement, the interval grows."""
_CALM_SHARE: Final = 0.38
"""Below this share the interval may shrink. Twice as many deltas cost about twice as much CPU, and twice 40 % is
the limit at which the interval grows again."""
_CALM_LATE_NS: Final = 1 * NS_PER_S
HOLD_NS: Final = 10 * NS_PER_S
CALM_NS: Final = 30 * NS_PER_S
_SPAN_NS: Final = 2 * NS_PER_S
"""The least time over which the CPU share is measured. It is never less than the requested interval: all agents report
at the same moment, so a part of an interval would have all of its work or none."""


def first_step(agents: int, interval_ns: int) -> int:
    """Return the index in `STEPS` of the shortest interval at which deltas of this many agents take at most BUSY_SHARE.

    Return the last index if even the longest interval is too short.

    Args:
        agents: number of agents with a share of the load.
        interval_ns: the plan's interval.
    """
    fits = (step for step, times in enumerate(STEPS) if _share(agents, interval_ns * times) <= BUSY_SHARE)
    return next(fits, len(STEPS) - 1)


def _share(agents: int, interval_ns: int) -> float:
    """Return the share of one CPU that the deltas of this many agents cost."""
    return agents * DELTA_NS / interval_ns


def busy_ns(loop_ns: int, all_ns: int, cpus: int) -> int:
    """Return the larger of two CPU times: that of the event loop's thread, and that of all threads, scaled so that 95 %
    of all CPUs counts as 80 %.
    """
    return max(loop_ns, int(all_ns * BUSY_SHARE / (_FULL_SHARE * cpus)))


class ReportInterval:
    """The requested report interval of one run, and the load figures behind it."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._step = self._expected_step = 0
        self._before: tuple[int, int] | None = None
        self._share = 0.0
        self._stepped_ns: int | None = None
        self._calm_since_ns: int | None = None

    @property
    def asked_ns(self) -> int:
        """Return the interval that agents are requested to use, in ns; 0 for the plan's own interval."""
        return self._interval_ns * STEPS[self._step] if self._step else 0

    def expect(self, now_ns: int, agents: int) -> str:
        """Request a longer interval if the deltas of this many agents would keep the controller busy.

        Call it before the agents send deltas. The load of the first seconds says little about the time after them,
        since the first delta of an agent also declares its series; so the interval does not grow in these seconds. A
        later call for as many or fewer agents changes nothing: it does not undo an interval that `look` has shortened.

        Returns:
            The reason for a change of `asked_ns`; empty if it stays.
        """
        step = first_step(agents, self._interval_ns)
        if step <= self._expected_step:
            return ""
        self._expected_step = step
        if step <= self._step:
            return ""
        share = _share(agents, self._interval_ns * STEPS[self._step])
        interval_s = self._interval_ns * STEPS[self._step] / NS_PER_S
        self._step, self._stepped_ns = step, now_ns
        return f"{format_count(agents)} agents that report every {interval_s:g} s would take {share:.0%} of a CPU"

    def look(self, now_ns: int, used_ns: int, late_ns: int) -> str:
        """Decide whether agents report in a longer or shorter interval from now on, because the controller is busy or
        calm.

        Args:
            used_ns: CPU time of the controller so far, from `busy_ns`.
            late_ns: for how long the oldest unacknowledged delta has waited.

        Returns:
            The reason for a change of `asked_ns`; empty if it stays.
        """
        if self._before is None:
            self._before = now_ns, used_ns
        elif now_ns - self._before[0] >= max(_SPAN_NS, self.asked_ns):
            self._share = (used_ns - self._before[1]) / (now_ns - self._before[0])
            self._before = now_ns, used_ns
        is_calm = self._share < _CALM_SHARE and late_ns < _CALM_LATE_NS
        if not is_calm:
            self._calm_since_ns = None
        elif self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        return self._up(now_ns, late_ns) or self._down(now_ns)

    def _up(self, now_ns: int, late_ns: int) -> str:
        holds = self._stepped_ns is not None and now_ns - self._stepped_ns < HOLD_NS
        if holds or self._step == len(STEPS) - 1 or (self._share <= BUSY_SHARE and late_ns <= LATE_NS):
            return ""
        self._step, self._stepped_ns = self._step + 1, now_ns
        if self._share > BUSY_SHARE:
            return f"the controller's CPU load is {self._share / BUSY_SHARE:.0%} of its limit"
        return f"acknowledgements are {late_ns / NS_PER_S:.1f} s late"

    def _down(self, now_ns: int) -> str:
        if not self._step or self._calm_since_ns is None or now_ns - self._calm_since_ns < CALM_NS:
            return ""
        self._step, self._stepped_ns, self._calm_since_ns = self._step - 1, now_ns, now_ns
        return f"the controller's CPU load is only {self._share / BUSY_SHARE:.0%} of its limit"
