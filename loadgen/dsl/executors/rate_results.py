"""The measurements of a steered load at one rate: counts of results for each objective and journey.

A `Stay` is a period at one rate. A stay has a `RateTally` for each objective and journey, with the number of good, bad
and slower results. `RateTally.distance` is the distance of the percentile of these results from the objective's limit.

Rates are iterations/s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Final

from loadgen.measure.objectives.steering_observation import RUNGS, Part

__all__ = ["FARTHEST", "HALF", "Aim", "RateTally", "Stay", "pooled", "same_rate"]

FARTHEST: Final = 1.0
"""Percentiles are capped at e times the limit; beyond that they depend more on the queue than on the rate."""
HALF: Final = 0.5
"""Added to counts before taking the logarithm, so that a count of 0 works."""
_BIN: Final = 0.0125
"""Rates closer than this (in the logarithm) are treated as one."""


@dataclass(frozen=True, slots=True)
class Aim:
    """The properties of an objective that the estimate needs."""

    text: str
    allowed: float
    """Allowed share of bad results, 0 to 1."""
    limit_s: float | None
    """Time limit in seconds; None for an error ratio and for goodput."""
    waits_s: float = 0.0
    """For goodput, the longest limit on a time to a token, in seconds. A rate shows its effect only after this time."""
    is_late: bool = False
    """Whether it judges streams: a good one counts only when its answer ends, which can be long after the limit."""
    is_of_gaps: bool = False
    """Whether it limits gaps between tokens, so that limit times rate is not the number of requests in flight."""
    events: str = ""
    """The events that an answer has many of: "tokens" or "reads"; empty for one result a request."""

    @property
    def least(self) -> float:
        """Return the number of results needed for any statement about the objective: 300 for a p99."""
        return 3 / self.allowed

    @property
    def slope(self) -> float:
        """Return by how much ln(share of results slower than a time) falls per unit of ln(time).

        The tail is taken to be exponential. The slope of an error ratio is 1.
        """
        return log(1 / self.allowed) if self.limit_s is not None else 1.0


@dataclass(frozen=True, slots=True)
class RateTally:
    """Results of one objective and journey at one rate. Fractional, because older results weigh less."""

    objective: int
    journey: str
    good: float = 0.0
    bad: float = 0.0
    slower: tuple[float, ...] = ()

    @property
    def count(self) -> float:
        return self.good + self.bad

    def plus(self, good: float, bad: float, slower: Sequence[float], weight: float = 1.0) -> RateTally:
        added = tuple(a + weight * b for a, b in zip(self.slower or (0.0,) * len(slower), slower, strict=True))
        return replace(self, good=self.good + weight * good, bad=self.bad + weight * bad, slower=added)

    def distance(self, aim: Aim, slope: float | None = None) -> float:
        """Return how far the measured percentile is from its limit: ln(percentile / limit), above 0 if it is missed.

        The percentile is interpolated between the time limits at which agents count. For an error ratio, return
        ln(share of errors / allowed share).

        slope: the measured slope of the tail, to be used above the limit; by default that of an exponential tail.
        """
        above = aim.allowed * self.count
        if aim.limit_s is None or not self.slower:
            return log((self.bad + HALF) / (above + HALF))
        if self.bad > above:
            return min(FARTHEST, log(self.bad / above) / (slope or aim.slope))
        upper, upper_at = max(self.bad, 0.5), 0.0
        for rung, more in zip(RUNGS, self.slower, strict=True):
            at, lower = log(rung), more + self.bad
            if lower > above:
                within = log(lower / max(above, 1e-9)) / max(log(lower / upper), 1e-9)
                return at + (upper_at - at) * min(1.0, within)
            upper, upper_at = max(lower, 0.5), at
        return log(RUNGS[-1])


@dataclass(frozen=True, slots=True)
class Stay:
    """A period at one rate, with its results."""

    rate_per_s: float
    length_s: float = 0.0
    tallies: tuple[RateTally, ...] = ()
    weight: float = 1.0

    def plus(self, parts: Iterable[Part], length_s: float, weights: Sequence[float] = ()) -> Stay:
        """Return the stay with further results. weights: of one result, by objective; (): 1."""
        tallies = {(one.objective, one.journey): one for one in self.tallies}
        for part in parts:
            key = part.objective, part.journey
            weight = weights[part.objective] if weights else 1.0
            tallies[key] = tallies.get(key, RateTally(*key)).plus(part.good, part.bad, part.slower, weight)
        return replace(self, length_s=self.length_s + length_s, tallies=tuple(tallies.values()))

    def count(self, objective: int) -> float:
        """Return the number of results counted for one objective, all journeys together. objective: its index."""
        return sum(one.count for one in self.tallies if one.objective == objective)

    def worst(self, aims: Sequence[Aim]) -> RateTally | None:
        """Return the results of the objective and journey that is closest to its limit or furthest beyond it.

        Only those with enough results compete. If none has enough, return the one with the largest share of the results
        that it needs. Returns None if there are no results at all.
        """
        some = [one for one in self.tallies if one.count > 0]
        enough = [one for one in some if one.count >= aims[one.objective].least]
        if enough:
            return max(enough, key=lambda one: one.distance(aims[one.objective]))
        return max(some, key=lambda one: one.count / aims[one.objective].least, default=None)


def same_rate(stays: Iterable[Stay]) -> list[list[Stay]]:
    """Return the stays in groups of about the same rate, at most 1.25 % apart."""
    bins: dict[int, list[Stay]] = {}
    for stay in stays:
        bins.setdefault(round(log(stay.rate_per_s) / _BIN), []).append(stay)
    return list(bins.values())


def pooled(group: Sequence[Stay]) -> Stay | None:
    """Return the results of all stays as one stay at their mean rate, each with its weight; None without results."""
    tallies: dict[tuple[int, str], RateTally] = {}
    rates, weights = 0.0, 0.0
    for stay in group:
        for one in stay.tallies:
            key = one.objective, one.journey
            tallies[key] = tallies.get(key, RateTally(*key)).plus(one.good, one.bad, one.slower, stay.weight)
            rates += log(stay.rate_per_s) * one.count * stay.weight
            weights += one.count * stay.weight
    if weights <= 0:
        return None
    return Stay(exp(rates / weights), sum(stay.length_s for stay in group), tuple(tallies.values()))
