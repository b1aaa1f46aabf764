"""Estimates the knee, the highest rate at which an objective is met, as a distribution over rates.

The knee K is a threshold like those of psychophysics (how loud must a tone be for half of
the listeners to hear it?), and is estimated in the same way. Each candidate K is weighted
by its likelihood, given the measurements at all rates tried so far. Two nuisance parameters
are estimated together with K: how steep the rise to the knee is, and how much of the limit
is used without load.

The data of a window is not whether it met the objective, which far below the knee says
nothing, but the distance of its percentile from the limit. The model is local: the
percentile is `base + (1 - base) / (1 + steep * (1 - rate / K))` of the limit. This is exact
for an M/M/1 queue (base 0) and follows Kingman's formula, wait ~ rho / (1 - rho),
elsewhere. A server with a hard limit is the case of a large `steep`.

Three corrections keep the estimate honest if results are few or come in clusters:
- Counts of nearby rates are summed before their percentile is calculated. The mean of percentiles of short windows
  would be far below the percentile of all results (by 26 % at 300 results of an M/M/1 queue at its knee).
- Slow results come in clusters. In heavy traffic, the variance of their count is about (rate * percentile)^2 / 4 times
  that of independent results, and less with a hard limit. This factor is a third nuisance parameter.
- The count is assumed lognormal with the right mean, so its logarithm is biased by minus half of its variance.

Rates are iterations/s. This module reads no clock and draws no random numbers.

Source: Watson and Pelli, "QUEST: a Bayesian adaptive psychometric method", 1983; Kontsevich and Tyler, "Bayesian
adaptive estimation of psychometric slope and threshold", 1999, for the nuisance parameters; Kingman, "The single server
queue in heavy traffic", 1961; the relaxation time of M/M/1, 1 / (mu (1 - sqrt(rho))^2), for the clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.objectives.steering_observation import RUNGS, Part

__all__ = ["Aim", "Knee", "RateTally", "Stay", "find_knee"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_STEEP: Final = np.array([0.5, 2.0, 6.0, 20.0, 80.0])
_BASE: Final = np.array([0.0, 0.4, 0.8])
_CLUSTERS: Final = np.array([0.025, 0.25, 1.0])
_SHAPE: Final = (
    _STEEP[:, None, None, None, None],
    _BASE[None, :, None, None, None],
    _CLUSTERS[None, None, :, None, None],
)
_MOST: Final = 1.0
"""Percentiles are capped at e times the limit; beyond that they depend more on the queue than on the rate."""
_NEAR: Final = 2.5
"""Rates that differ from the newest by more than this factor are ignored."""
_BEYOND: Final = 1.5
"""Factor below the lowest and above the highest tried rate up to which the knee is searched."""
_BIN: Final = 0.0125
"""Rates closer than this (in the logarithm) are treated as one."""
_TAILS: Final = 20.0
"""Degrees of freedom of the likelihood: sometimes a window is worse than any queueing model explains."""
_RATIO_IN_FLIGHT: Final = 5.0
"""For objectives without a time limit, clusters are calculated with this number of iterations in flight."""
_HALF: Final = 0.5
"""Added to counts before taking the logarithm, so that a count of 0 works."""
_POINTS: Final = (41, 81)
"""Points of the first grid of rates, and of the second, finer grid."""


@dataclass(frozen=True, slots=True)
class Aim:
    """The properties of an objective that the estimate needs."""

    text: str
    allowed: float
    """Allowed share of bad results, 0 to 1."""
    limit_s: float | None
    """Time limit in seconds; None for an error ratio."""

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

    def distance(self, aim: Aim) -> float:
        """Return how far the measured percentile is from its limit: ln(percentile / limit), above 0 if it is missed.

        The percentile is interpolated between the time limits at which agents count. For an error ratio, return
        ln(share of errors / allowed share).
        """
        above = aim.allowed * self.count
        if aim.limit_s is None or not self.slower:
            return log((self.bad + _HALF) / (above + _HALF))
        if self.bad > above:
            return min(_MOST, log(self.bad / above) / aim.slope)
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

    def plus(self, parts: Iterable[Part], length_s: float) -> Stay:
        tallies = {(one.objective, one.journey): one for one in self.tallies}
        for part in parts:
            key = part.objective, part.journey
            tallies[key] = tallies.get(key, RateTally(*key)).plus(part.good, part.bad, part.slower)
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


@dataclass(frozen=True, slots=True)
class Knee:
    """The probability distribution of the knee over rates."""

    log_rates: Floats
    cumulated: Floats

    def rate(self, quantile: float) -> float:
        """Return the rate, iterations/s, that is above the knee with probability `quantile` (0 to 1).

        The knee is the highest rate at which the objectives are met; 0.5 gives its median.
        """
        return exp(float(np.interp(quantile, self.cumulated, self.log_rates)))

    @property
    def width(self) -> float:
        """Return the relative uncertainty of the knee, the highest rate that meets the objectives: 0.05 means ±5 %.

        It is half of the range from the distribution's 5 % quantile to its 95 % quantile.
        """
        return log(self.rate(0.95) / self.rate(0.05)) / 2


def find_knee(stays: Sequence[Stay], aims: Sequence[Aim]) -> Knee:
    """Estimate the knee, the highest rate that meets the objectives, as a probability distribution over rates.

    Args:
        stays: results of all periods at one rate, oldest first; the last one must have results.
        aims: the objectives.

    Cost: 4 ms after 100 stays at 20 rates (timeit).
    """
    newest = stays[-1].rate_per_s
    near = [one for one in stays if newest / _NEAR < one.rate_per_s < newest * _NEAR]
    seen = [(stay, worst) for stay in _pooled(near) if (worst := stay.worst(aims)) is not None]
    of = [aims[worst.objective] for _, worst in seen]
    rates = np.array([stay.rate_per_s for stay, _ in seen])
    distance = np.array([worst.distance(aim) for (_, worst), aim in zip(seen, of, strict=True)])
    above = np.array([max(worst.count * aim.allowed, 0.3) for (_, worst), aim in zip(seen, of, strict=True)])
    slope = np.array([aim.slope for aim in of])
    in_flight = np.array(
        [
            _RATIO_IN_FLIGHT if aim.limit_s is None else stay.rate_per_s * aim.limit_s
            for (stay, _), aim in zip(seen, of, strict=True)
        ]
    )
    is_ratio = np.array([aim.limit_s is None for aim in of])
    low, high = log(rates.min() / _BEYOND), log(rates.max() * _BEYOND)
    for points in _POINTS:
        log_rates = np.linspace(low, high, points)
        likelihood = _log_likelihood(log_rates, rates, distance, above, slope, in_flight, is_ratio)
        density = np.exp(likelihood - likelihood.max()).sum(axis=(0, 1, 2))
        cumulated = np.cumsum(density)
        # A point counts with half of its own weight, so the median of a symmetric density is its middle.
        cumulated = (cumulated - density / 2) / cumulated[-1]
        step = log_rates[1] - log_rates[0]
        low = float(np.interp(0.003, cumulated, log_rates)) - step
        high = float(np.interp(0.997, cumulated, log_rates)) + step
    return Knee(log_rates, cumulated)


def _log_likelihood(
    log_rates: Floats, rates: Floats, distance: Floats, above: Floats, slope: Floats, in_flight: Floats, is_ratio: Bools
) -> Floats:
    """Return the log-likelihood of each candidate knee, as an array with the axes (steep, base, clusters, knee).

    Args:
        log_rates: logarithms of the candidate knees.
        rates, distance, above, slope, in_flight, is_ratio: one value per stay, summed over in the result.
    """
    steep, base, clusters = _SHAPE
    rates, distance, above, slope, in_flight = (a[:, None] for a in (rates, distance, above, slope, in_flight))
    room = 1 + steep * (1 - rates / np.exp(log_rates))
    of_limit = np.minimum(base + (1 - base) / np.maximum(room, exp(-_MOST)), exp(_MOST))
    dispersion = 1 + clusters * (in_flight * np.minimum(of_limit, 2.0)) ** 2
    # For a percentile, the count above it is `above` by definition; for a ratio, the count itself is the measurement.
    count = np.where(is_ratio[:, None], above * of_limit, above)
    seen = np.where(is_ratio[:, None], np.log((count + _HALF) / (above + _HALF)), np.log(of_limit))
    variance = np.log1p((dispersion * count + _HALF**2) / (count + _HALF) ** 2)  # of the logarithm of the count
    away = distance - seen + variance / (2 * slope)
    variance = variance / slope**2
    # The logarithm of Student's t density with `_TAILS` degrees of freedom, without its constant factors.
    fit = -(_TAILS + 1) / 2 * np.log1p(away**2 / variance / _TAILS) - np.log(variance) / 2
    total: Floats = fit.sum(axis=3)
    return total


def _pooled(stays: Iterable[Stay]) -> list[Stay]:
    """Return the results with those at about the same rate combined into one, in which each counts with its weight."""
    bins: dict[int, list[Stay]] = {}
    for stay in stays:
        bins.setdefault(round(log(stay.rate_per_s) / _BIN), []).append(stay)
    return [one for group in bins.values() if (one := _one_of(group)) is not None]


def _one_of(group: Sequence[Stay]) -> Stay | None:
    tallies: dict[tuple[int, str], RateTally] = {}
    rates, weights = 0.0, 0.0
    for stay in group:
        for one in stay.tallies:
            key = one.objective, one.journey
            tallies[key] = tallies.get(key, RateTally(*key)).plus(one.good, one.bad, one.slower, stay.weight)
            rates += log(stay.rate_per_s) * one.count * stay.weight
            weights += one.count * stay.weight
    return Stay(exp(rates / weights), tallies=tuple(tallies.values())) if weights > 0 else None
