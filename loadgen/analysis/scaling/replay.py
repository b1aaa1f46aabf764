"""Sends a curve of rates through a fleet that a controller scales, second by second. Simulated time; no clock.

Each second: arrivals meet the capacity of the ready instances, what exceeds it becomes backlog and is served later.
The metric is the mean utilisation of ready instances over an averaging window that ended `delay_s` ago. The controller
looks at it every `period_s`. An instance that it adds is ready `start_s` later; one that it removes is gone at once,
starting ones first. Load is spread evenly over ready instances.

Nothing is simulated second by second in Python: between two changes of the fleet, numpy computes whole periods, and
while the controller is quiet, whole hours (`_Replay._jump`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.scaling.controllers import Controller, Fleet

__all__ = ["Action", "Curve", "Instances", "Lag", "Replay", "ZoneLoss", "replay"]

Floats = NDArray[np.float64]
_AHEAD: Final = 512
"""How many decisions a jump looks ahead."""


@dataclass(frozen=True, slots=True)
class Instances:
    """What one instance does.

    per_s: requests/s that it serves within the promise (`low` of a capacity). at: its utilisation then, in (0, 1].
    start_s: from the decision to the first request that it can answer.
    """

    per_s: float
    at: float
    start_s: int

    @property
    def full_per_s(self) -> float:
        """Return the requests/s at 100 % utilisation: more than that waits."""
        return self.per_s / self.at


@dataclass(frozen=True, slots=True)
class Lag:
    """How old the metric is: a mean over `average_s` (>= 1) that ended `delay_s` (>= 0) ago.

    settle_s: how long after it became ready an instance still counts as one without a metric. An HPA on CPU leaves out
    new pods until a whole window of the metrics server has passed, in the first five minutes after their start.
    """

    delay_s: int
    average_s: int
    settle_s: int = 0


@dataclass(frozen=True, slots=True)
class ZoneLoss:
    """At `at_s`, one of `zones` fails. Its instances stop at once, and others start in their place."""

    at_s: int
    zones: int


class Curve:
    """Arrivals per second, from second 0. rate: (seconds,) float64, >= 0."""

    def __init__(self, rate: Floats) -> None:
        self.rate = np.ascontiguousarray(rate, dtype=np.float64)
        self.sums = np.concatenate(([0.0], np.cumsum(self.rate)))

    def __len__(self) -> int:
        return len(self.rate)


@dataclass(frozen=True, slots=True)
class Action:
    """One change of the wanted number of instances."""

    at_s: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened, by second. All arrays: (seconds,).

    utilisation: of the ready instances, 0 to 1. backlog: requests that wait at the end of the second.
    """

    wanted: NDArray[np.int64]
    ready: NDArray[np.int64]
    utilisation: Floats
    backlog: Floats
    actions: tuple[Action, ...]


def replay(
    curve: Curve,
    controller: Controller,
    instances: Instances,
    lag: Lag,
    *,
    first: int,
    lost: ZoneLoss | None = None,
    jumps: bool = True,
) -> Replay:
    """Return what a controller does with a curve.

    first: instances that are ready at second 0, >= 1.
    jumps: False simulates every decision, for tests; the result is the same.
    Cost: 14 days of a daily curve take about 0.1 s with an HPA, and about 15 µs for each decision that counts.
    """
    return _Replay(curve, controller, instances, lag, first, lost, jumps).run()


class _Replay:
    def __init__(
        self,
        curve: Curve,
        controller: Controller,
        instances: Instances,
        lag: Lag,
        first: int,
        lost: ZoneLoss | None,
        jumps: bool,
    ) -> None:
        self._curve, self._controller, self._lag, self._lost, self._jumps = curve, controller, lag, lost, jumps
        self._full, self._start_s = instances.full_per_s, instances.start_s
        seconds = len(curve)
        self._wanted = np.empty(seconds, dtype=np.int64)
        self._ready = np.empty(seconds, dtype=np.int64)
        self._utilisation = np.empty(seconds)
        self._backlog = np.zeros(seconds)
        self._actions: list[Action] = []
        self._fleet = Fleet(first, first, first)
        self._starting: deque[list[int]] = deque()
        """[second at which they are ready, count], ascending; so are the two below."""
        self._unmeasured: deque[list[int]] = deque()
        self._unwarm: deque[list[int]] = deque()
        self._waiting = 0.0
        self._even_since = 0
        """From here on, the number of ready instances is the present one, and none of them was saturated."""

    def run(self) -> Replay:
        end, period_s = len(self._curve), self._controller.period_s
        at_s = 0
        while at_s < end:
            if (at_s := self._jump(at_s)) >= end:
                break
            self._arrive(at_s)
            self._decide(at_s)
            until = min(at_s + period_s, end)
            self._serve(at_s, until)
            at_s = until
        return Replay(self._wanted, self._ready, self._utilisation, self._backlog, tuple(self._actions))

    def _jump(self, at_s: int) -> int:
        """Serve up to the next decision that can change something, and return its time: `at_s` if it is this one."""
        lag, fleet, period_s = self._lag, self._fleet, self._controller.period_s
        newest = at_s - lag.delay_s
        if not self._jumps or self._starting or self._unmeasured or self._unwarm or self._waiting > 0:
            return at_s
        if newest - lag.average_s < self._even_since or fleet.ready == 0:
            return at_s
        if (band := self._controller.quiet(at_s, fleet.wanted)) is None:
            return at_s
        if self._lost is not None and self._lost.at_s >= at_s:
            end = min(len(self._curve), self._lost.at_s)
        else:
            end = len(self._curve)
        full, sums = fleet.ready * self._full, self._curve.sums
        ends = np.arange(newest, min(end, at_s + _AHEAD * period_s) - lag.delay_s, period_s)
        metrics = (sums[ends] - sums[ends - lag.average_s]) / (lag.average_s * full)
        loud = np.flatnonzero((metrics <= band[0]) | (metrics >= band[1]))
        until = at_s + (int(loud[0]) if len(loud) else len(ends)) * period_s
        until = min(until, at_s + (end - at_s) // period_s * period_s)
        rate = self._curve.rate[at_s:until]
        saturated = np.flatnonzero(rate > full)
        if len(saturated):
            until = at_s + int(saturated[0]) // period_s * period_s
            rate = rate[: until - at_s]
        if until > at_s:
            self._utilisation[at_s:until] = rate / full
            self._ready[at_s:until] = fleet.ready
            self._wanted[at_s:until] = fleet.wanted
            self._controller.skipped(until - period_s, fleet.wanted)
        return until

    def _arrive(self, at_s: int) -> None:
        """Count the instances that are ready, measured and warm by now."""
        fleet = self._fleet
        if not (self._starting or self._unmeasured or self._unwarm):
            fleet.measured, fleet.unwarm = fleet.ready, 0
            return
        while self._starting and self._starting[0][0] <= at_s:
            fleet.ready += self._starting.popleft()[1]
        while self._unmeasured and self._unmeasured[0][0] <= at_s:
            self._unmeasured.popleft()
        while self._unwarm and self._unwarm[0][0] <= at_s:
            self._unwarm.popleft()
        starting = sum(count for _, count in self._starting)
        fleet.measured = max(0, fleet.ready + starting - sum(count for _, count in self._unmeasured))
        fleet.unwarm = sum(count for _, count in self._unwarm)

    def _decide(self, at_s: int) -> None:
        fleet = self._fleet
        newest = at_s - self._lag.delay_s
        oldest = max(0, newest - self._lag.average_s)
        metric = float(self._utilisation[oldest:newest].sum()) / (newest - oldest) if newest > oldest else None
        before, wanted = fleet.wanted, self._controller.decide(at_s, fleet, metric)
        if wanted == before:
            return
        self._actions.append(Action(at_s, before, wanted))
        fleet.wanted = wanted
        if wanted > before:
            self._add(at_s, wanted - before, warms=True)
        else:
            self._remove(at_s, before - wanted)

    def _add(self, at_s: int, count: int, *, warms: bool) -> None:
        ready_s = at_s + self._start_s
        self._starting.append([ready_s, count])
        self._unmeasured.append([ready_s + self._lag.settle_s, count])
        if warms and self._controller.warm_s:
            self._unwarm.append([ready_s + self._controller.warm_s, count])

    def _remove(self, at_s: int, count: int) -> None:
        """Remove instances: starting ones first, then ready ones, each time the newest."""
        _take(self._unwarm, count)
        _take(self._unmeasured, count)
        count -= _take(self._starting, count)
        if count:
            self._fleet.ready -= count
            self._even_since = at_s

    def _lose_zone(self, loss: ZoneLoss) -> None:
        gone = -(-self._fleet.ready // loss.zones)
        self._fleet.ready -= gone
        self._even_since = loss.at_s
        self._add(loss.at_s, gone, warms=False)

    def _serve(self, at_s: int, until: int) -> None:
        """Serve the seconds [at_s, until), cut where instances become ready or are lost."""
        while at_s < until:
            self._arrive(at_s)
            if self._lost is not None and self._lost.at_s == at_s:
                self._lose_zone(self._lost)
                self._arrive(at_s)
            cut = until
            if self._starting:
                cut = min(cut, self._starting[0][0])
            if self._lost is not None and at_s < self._lost.at_s:
                cut = min(cut, self._lost.at_s)
            self._serve_evenly(at_s, cut)
            at_s = cut
            if self._starting and self._starting[0][0] == at_s:
                self._even_since = at_s

    def _serve_evenly(self, at_s: int, until: int) -> None:
        rate = self._curve.rate[at_s:until]
        ready = self._fleet.ready
        full = ready * self._full
        self._ready[at_s:until] = ready
        self._wanted[at_s:until] = self._fleet.wanted
        if self._waiting == 0.0 and full > 0 and rate.max() <= full:
            self._utilisation[at_s:until] = rate / full
            return
        # Lindley's recursion, backlog' = max(0, backlog + arrivals - capacity), as a running sum and its minimum
        sums = self._waiting + np.cumsum(rate - full)
        backlog = sums - np.minimum(np.minimum.accumulate(sums), 0.0)
        before = np.concatenate(([self._waiting], backlog[:-1]))
        self._backlog[at_s:until] = backlog
        served = rate + before - backlog
        self._utilisation[at_s:until] = np.minimum(1.0, served / full) if full > 0 else 1.0
        self._waiting = float(backlog[-1])
        self._even_since = until


def _take(queue: deque[list[int]], count: int) -> int:
    """Take up to `count` from the newest entries, and return how many there were."""
    taken = 0
    while queue and taken < count:
        part = min(queue[-1][1], count - taken)
        queue[-1][1] -= part
        taken += part
        if not queue[-1][1]:
            queue.pop()
    return taken
