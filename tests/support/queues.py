"""Targets made of numbers, with a knee that is known: what a steered load would see of them, look by look.

A queue is served first come first served by `servers`, each service fixed or exponential; arrivals are spaced evenly,
as our open loads are, or by chance. Where there is a closed form the knee comes from it: the rate at which the share
that takes longer than the limit is what is allowed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import exp, factorial, log

import numpy as np
import numpy.typing as npt

from loadgen.dsl.executors.rate_search import Climb, ClimbTerms, begin, step
from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part
from tests.support.service_times import ServiceTimes, exponential, mg1_knee

__all__ = ["LOOK_S", "Queue", "Targeted", "dm1", "driven", "fixed", "longest_s", "mg1", "mm1", "mmc"]

Floats = npt.NDArray[np.float64]

LOOK_S = 1.0
ALLOWED = 0.01
"""Of a p(99)."""


class Queue:
    """What is in it goes on from look to look."""

    def __init__(
        self,
        servers: int,
        service_s: float,
        limit_s: float,
        seed: int,
        *,
        is_fixed: bool = False,
        is_even: bool = False,
        law: ServiceTimes | None = None,
    ) -> None:
        """law: distribution of the service times, in units of `service_s`; exponential by default."""
        self._servers, self.service_s, self._limit_s = servers, service_s, limit_s
        self._is_fixed, self._is_even = is_fixed, is_even
        self._law = law if law is not None else exponential()
        self._random = np.random.default_rng(seed)
        self._free = np.zeros(servers)
        self._now = 0.0
        self._due, self._end = np.zeros(0), np.zeros(0)
        self._left = 0.0

    def look(self, rate_per_s: float, unfit: tuple[str, ...] = (), reported: int = 1) -> Look:
        """The next interval, at this rate."""
        due = self._arrivals(rate_per_s)
        self._due, self._end = np.concatenate((self._due, due)), np.concatenate((self._end, self._served(due)))
        start_s, self._now = self._now, self._now + LOOK_S
        response = self._end - self._due
        is_decided = np.minimum(self._end, self._due + self._limit_s) < self._now
        good = response[is_decided & (response <= self._limit_s)]
        bad = int(np.count_nonzero(is_decided)) - len(good)
        slower = tuple(int(np.count_nonzero(good > rung * self._limit_s)) for rung in RUNGS)
        self._due, self._end = self._due[~is_decided], self._end[~is_decided]
        parts = (Part(0, "shop", len(good), bad, slower),)
        return Look(start_s, self._now, rate_per_s, len(due), len(due), parts=parts, unfit=unfit, reported=reported)

    def _arrivals(self, rate_per_s: float) -> Floats:
        if not self._is_even:
            count = int(self._random.poisson(rate_per_s * LOOK_S))
            spread: Floats = np.sort(self._random.random(count))
            return self._now + spread * LOOK_S
        area = self._left + rate_per_s * LOOK_S
        count = int(area + 1e-9)
        times: Floats = np.linspace(1, count, count)
        times = (times - self._left) / rate_per_s + self._now
        self._left = area - count
        return times

    def _served(self, due: Floats) -> Floats:
        """When each ends: with fixed services servers take turns, with one server it is Lindley's recursion."""
        n = len(due)
        service: Floats = np.full(n, self.service_s)
        if not self._is_fixed:
            service = self._law.draw(self._random, n) * self.service_s
        if self._servers > 1 and not self._is_fixed:
            return self._of_many(due, service)
        end = np.empty(n)
        order = np.sort(self._free)
        for k in range(min(self._servers, n)):
            of, took = due[k :: self._servers], service[k :: self._servers]
            before = np.cumsum(took) - took
            end[k :: self._servers] = before + took + np.maximum(np.maximum.accumulate(of - before), order[k])
            order[k] = end[k :: self._servers][-1]
        self._free = order
        return end

    def _of_many(self, due: Floats, service: Floats) -> Floats:
        free = self._free.tolist()
        heapq.heapify(free)
        end = []
        for at, took in zip(due.tolist(), service.tolist(), strict=True):
            end.append(max(at, free[0]) + took)
            heapq.heapreplace(free, end[-1])
        self._free = np.array(free)
        return np.array(end)


@dataclass(frozen=True)
class Targeted:
    """A queue with its knee."""

    name: str
    knee_per_s: float
    limit_s: float
    queue: Callable[[int], Queue]
    """By seed."""


def mm1(knee_per_s: float, limit_s: float) -> Targeted:
    """P(response > t) = exp(-(mu - lambda) t)."""
    mu = knee_per_s + log(1 / ALLOWED) / limit_s
    return Targeted(f"M/M/1 {knee_per_s:g}/s", knee_per_s, limit_s, lambda seed: Queue(1, 1 / mu, limit_s, seed))


def dm1(knee_per_s: float, limit_s: float) -> Targeted:
    """P(response > t) = exp(-mu (1 - s) t), where s = exp(-mu (1 - s) / lambda): even arrivals, one server."""
    s = exp(-log(1 / ALLOWED) / (limit_s * knee_per_s))
    mu = log(1 / ALLOWED) / (limit_s * (1 - s))
    return Targeted(
        f"D/M/1 {knee_per_s:g}/s", knee_per_s, limit_s, lambda seed: Queue(1, 1 / mu, limit_s, seed, is_even=True)
    )


def mmc(servers: int, service_s: float, limit_s: float) -> Targeted:
    """By bisection of P(response > t), which Erlang C gives."""
    low, high = 0.0, servers / service_s * (1 - 1e-7)  # not just where the formula below is 0 / 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _slow_of_many(servers, 1 / service_s, middle, limit_s) <= ALLOWED else (low, middle)
        )
    return Targeted(f"M/M/{servers} {low:.3g}/s", low, limit_s, lambda seed: Queue(servers, service_s, limit_s, seed))


def _slow_of_many(servers: int, mu: float, rate_per_s: float, limit_s: float) -> float:
    load = rate_per_s / mu
    last = load**servers / factorial(servers) / (1 - load / servers)
    waits = last / (sum(load**k / factorial(k) for k in range(servers)) + last)
    spare = servers * mu - rate_per_s
    own = exp(-mu * limit_s)
    return own + waits * mu / (spare - mu) * (own - exp(-spare * limit_s))


def mg1(law: ServiceTimes, service_s: float, limit_s: float) -> Targeted:
    """By bisection of P(response > t), which the Pollaczek-Khinchine formula gives. Cost: 1 s."""
    knee = mg1_knee(law, service_s, limit_s, ALLOWED)
    name = f"M/G/1 {law.name} {knee:.3g}/s"
    return Targeted(name, knee, limit_s, lambda seed: Queue(1, service_s, limit_s, seed, law=law))


def fixed(servers: int, service_s: float, limit_s: float) -> Targeted:
    """A hard limit: servers / service. Nothing waits below it, and above it the queue grows without end."""
    knee = servers / service_s
    return Targeted(
        f"D/D/{servers} {knee:g}/s",
        knee,
        limit_s,
        lambda seed: Queue(servers, service_s, limit_s, seed, is_fixed=True, is_even=True),
    )


def driven(
    terms: ClimbTerms, queue: Queue, looks: int, until: Callable[[Climb], bool] = lambda climb: False
) -> tuple[Climb, Floats]:
    """The last state, and the rate of each look. A decision is in force one look after the one that it came of."""
    climb = begin(terms)
    rate, coming, rates = climb.asked_per_s, climb.asked_per_s, []
    for _ in range(looks):
        rates.append(rate)
        climb = step(terms, climb, queue.look(rate))
        if until(climb):
            break
        rate, coming = coming, climb.asked_per_s
    return climb, np.array(rates)


def longest_s(is_so: Iterable[bool]) -> float:
    """The longest row of looks in which it was so."""
    longest = now = 0
    for one in is_so:
        now = now + 1 if one else 0
        longest = max(longest, now)
    return longest * LOOK_S
