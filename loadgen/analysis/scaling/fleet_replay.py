"""Sends a curve of rates through a fleet that a controller scales, second by second. Simulated time; no clock.

Each second: arrivals meet the capacity of the ready instances, what exceeds it becomes backlog and is served later.
The metric is the mean utilisation of each instance over an averaging window that ended `delay_s` ago. A new instance
has the mean since it was ready, and no metric before its first data point. The controller looks at it every
`period_s`. An instance that it adds is ready `start_s` later. An instance that it removes is gone at once; starting
instances are removed first.
Load is spread evenly over ready instances.

The result has a value for each second, but no loop runs each second. While the fleet stays as it is, a decision is a
few sums (`_coast`), and while the controller is quiet, whole hours are one step of numpy (`_jump`). Otherwise, each
period is one step.
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
"""The number of decisions that a jump looks ahead."""


@dataclass(frozen=True, slots=True)
class Instances:
    """The capacity and the start time of one instance.

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

    settle_s: how long after it became ready an instance counts as one without a metric, if longer than `delay_s`. An
    HPA on CPU leaves out new pods until a whole window of the metrics server has passed.
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
        self.summed: list[float] = self.sums.tolist()
        self.highest: dict[int, Floats] = {}
        self._highest: dict[int, list[float]] = {}

    def highest_of(self, period_s: int) -> list[float]:
        """Return the highest rate of each period."""
        if period_s not in self.highest:
            starts = np.arange(0, len(self.rate), period_s)
            self.highest[period_s] = np.maximum.reduceat(self.rate, starts)
            self._highest[period_s] = self.highest[period_s].tolist()
        return self._highest[period_s]

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
    """The result of a replay, by second. All arrays: (seconds,).

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
    Cost: 0.2 s of CPU for 14 days with a peak each day, an HPA and 280 actions (measured).
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
        """[second at which they are ready, count], ascending. The two below are like it: instances whose metric does
        not cover a whole window, by the second at which they are ready, and those that warm up, by the end of that."""
        self._young: deque[list[int]] = deque()
        self._unwarm: deque[list[int]] = deque()
        self._shown_s = max(lag.settle_s, controller.warm_s, lag.delay_s + 1)
        """From being ready to the first data point that counts."""
        self._whole_s = max(self._shown_s, lag.delay_s + lag.average_s)
        """From being ready to a data point of a whole window."""
        self._waiting = 0.0
        self._even_since = 0
        """From here on, the number of ready instances is the present one, and none of them was saturated."""

    def run(self) -> Replay:
        end, period_s = len(self._curve), self._controller.period_s
        at_s = 0
        while at_s < end:
            if self._is_even(at_s) and (at_s := self._coast(at_s)) >= end:
                break
            self._arrive(at_s)
            self._decide(at_s, self._metric(at_s))
            until = min(at_s + period_s, end)
            self._serve(at_s, until)
            at_s = until
        return Replay(self._wanted, self._ready, self._utilisation, self._backlog, tuple(self._actions))

    def _is_even(self, at_s: int) -> bool:
        """Return whether the whole window of the metric, and the present, have one number of ready instances."""
        if not self._jumps or self._starting or self._young or self._unwarm or self._waiting > 0:
            return False
        return self._fleet.ready > 0 and at_s - self._lag.delay_s - self._lag.average_s >= self._even_since

    def _coast(self, at_s: int) -> int:
        """Decide as long as nothing changes and no instance is saturated, and return the time of the next decision.

        The metric is then a mean of rates, so a decision needs no array. The seconds are served together at the end.
        """
        fleet, lag, controller = self._fleet, self._lag, self._controller
        period_s, start = controller.period_s, at_s
        full, sums = fleet.ready * self._full, self._curve.summed
        highest = self._curve.highest_of(period_s)
        per_metric = lag.average_s * full
        end = len(self._curve)
        if self._lost is not None and self._lost.at_s >= at_s:
            end = min(end, self._lost.at_s)
        fleet.measured, fleet.unwarm = fleet.ready, 0
        while at_s + period_s <= end and highest[at_s // period_s] <= full:
            newest = at_s - lag.delay_s
            metric = (sums[newest] - sums[newest - lag.average_s]) / per_metric
            band = controller.quiet(at_s, fleet.wanted)
            if band is not None and band[0] < metric < band[1]:
                at_s = self._jump(at_s, end, band, full)
                continue
            wanted = controller.decide(at_s, fleet, metric)
            if wanted != fleet.wanted:
                self._serve_alike(start, at_s)
                self._act(at_s, wanted)
                self._serve(at_s, at_s + period_s)
                return at_s + period_s
            at_s += period_s
        self._serve_alike(start, at_s)
        return at_s

    def _jump(self, at_s: int, end: int, band: tuple[float, float], full: float) -> int:
        """Return the next decision at which the metric leaves the band, or before which an instance is saturated."""
        lag, period_s = self._lag, self._controller.period_s
        count = min((end - at_s) // period_s, _AHEAD)
        newest = at_s - lag.delay_s
        ends = np.arange(newest, newest + count * period_s, period_s)
        metrics = (self._curve.sums[ends] - self._curve.sums[ends - lag.average_s]) / (lag.average_s * full)
        first = at_s // period_s
        highest = self._curve.highest[period_s][first : first + count]
        loud = np.flatnonzero((metrics <= band[0]) | (metrics >= band[1]) | (highest > full))
        until = at_s + (max(1, int(loud[0])) if len(loud) else count) * period_s
        self._controller.skipped(until - period_s, self._fleet.wanted)
        return until

    def _serve_alike(self, at_s: int, until: int) -> None:
        """Serve seconds with the present instances, none of them saturated."""
        if until > at_s:
            self._utilisation[at_s:until] = self._curve.rate[at_s:until] / (self._fleet.ready * self._full)
            self._ready[at_s:until] = self._fleet.ready
            self._wanted[at_s:until] = self._fleet.wanted

    def _arrive(self, at_s: int) -> None:
        """Count the instances that are ready, measured and warm by now."""
        fleet = self._fleet
        if not (self._starting or self._young or self._unwarm):
            fleet.measured, fleet.unwarm = fleet.ready, 0
            return
        while self._starting and self._starting[0][0] <= at_s:
            fleet.ready += self._starting.popleft()[1]
        while self._young and self._young[0][0] + self._whole_s <= at_s:
            self._young.popleft()
        while self._unwarm and self._unwarm[0][0] <= at_s:
            self._unwarm.popleft()
        starting = sum(count for _, count in self._starting)
        hidden = sum(count for ready_s, count in self._young if at_s < ready_s + self._shown_s)
        fleet.measured = max(0, fleet.ready + starting - hidden)
        fleet.unwarm = sum(count for _, count in self._unwarm)

    def _decide(self, at_s: int, metric: float | None) -> None:
        wanted = self._controller.decide(at_s, self._fleet, metric)
        if wanted != self._fleet.wanted:
            self._act(at_s, wanted)

    def _act(self, at_s: int, wanted: int) -> None:
        before = self._fleet.wanted
        self._actions.append(Action(at_s, before, wanted))
        self._fleet.wanted = wanted
        if wanted > before:
            self._add(at_s, wanted - before, warms=True)
        else:
            self._remove(at_s, before - wanted)

    def _metric(self, at_s: int) -> float | None:
        """Return the mean over instances of each one's mean over the window, or over its part since it is ready."""
        newest = at_s - self._lag.delay_s
        oldest = max(0, newest - self._lag.average_s)
        if newest <= oldest:
            return None
        whole = float(self._utilisation[oldest:newest].sum()) / (newest - oldest)
        young = [
            (ready_s, count)
            for ready_s, count in self._young
            if oldest < ready_s < newest and at_s >= ready_s + self._shown_s
        ]
        measured = self._fleet.measured
        if not young or not measured:
            return whole
        total = whole * max(0, measured - sum(count for _, count in young))
        for ready_s, count in young:
            total += count * float(self._utilisation[ready_s:newest].sum()) / (newest - ready_s)
        return total / max(measured, sum(count for _, count in young))

    def _add(self, at_s: int, count: int, *, warms: bool) -> None:
        ready_s = at_s + self._start_s
        self._starting.append([ready_s, count])
        self._young.append([ready_s, count])
        if warms and self._controller.warm_s:
            self._unwarm.append([ready_s + self._controller.warm_s, count])

    def _remove(self, at_s: int, count: int) -> None:
        """Remove instances: starting ones first, then ready ones, each time the newest."""
        _take(self._unwarm, count)
        _take(self._young, count)
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
