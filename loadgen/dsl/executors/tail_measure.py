"""Measures the tail of the response times: how strongly slow results cluster, and how fast their share falls with time.

Both depend on the target. The clusters come from the windows themselves: the number of slow results varies from window
to window at one rate, and the variance of these counts is divided by that of independent results (index of dispersion).
Slow results at the limit are rare, so the variation is measured at half of the percentile, where there are some ten
times as many, and is scaled. In simulated queues (M/M/1, M/G/1 with lognormal, hyperexponential, gamma, Pareto and
two-point service times, loads of 0.3 to 0.97) the dispersion above 1 grew with the 0.3th to 0.7th power of the time.

Source: Cox and Lewis, "The statistical analysis of series of events", 1966, for the index of dispersion; the variance
of an M/M/1 queue in heavy traffic, about (rate * percentile)^2 / 4, for the value without data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.dsl.executors.rate_results import Aim, RateTally, Stay
from loadgen.measure.objectives.steering_observation import RUNGS

__all__ = ["RATIO_IN_FLIGHT", "Tail", "measure_tail"]

Floats = npt.NDArray[np.float64]

RATIO_IN_FLIGHT: Final = 5.0
"""For objectives on no time, or on gaps between tokens, clusters are calculated with this number in flight."""
_PRIOR: Final = 0.25
"""Clusters of an M/M/1 queue in heavy traffic."""
_PRIOR_WINDOWS: Final = 8.0
"""The value without data counts as much as this many windows."""
_PRIOR_ABOVE: Final = 50.0
"""The slope of an exponential tail counts as much as this many results above the percentile."""
_GUESS: Final = 10.0
"""Without data the clusters are right up to this factor."""
_POWER: Final = 0.55
"""The dispersion above 1 grows with this power of the time."""
_LONGER: Final = 1.2
"""The dispersion of long stays, as a multiple of that of windows, which cut clusters in two (simulated: 1.0 to 1.3)."""
_MOST: Final = 0.5
"""No queue that was tried had more; a backlog that remains from a higher rate looks like more."""
_MOST_GUESS: Final = 1.0
_BEND: Final = 0.471
"""The slope grows by the same factor from half of the percentile to it as in the halving before, to this power. It is
exact for an exponential tail: the mean slopes are ln 10 / ln 2 and half of that, and ln 100 is the slope at its end.
"""
_LEAST_SLOPE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tail:
    """The measured properties of the tail."""

    clusters: float = _PRIOR
    """The dispersion of the count of results above the percentile, less 1, divided by (rate * percentile)^2."""
    slope: float | None = None
    """By how much ln(share of slower results) falls per unit of ln(time) at the percentile; None without data."""
    windows: int = 0
    """Windows from which the clusters were measured; they are a guess while this is 0."""

    @property
    def possible_clusters(self) -> tuple[float, float, float]:
        """Return a low, a middle and a high value of the clusters, closer together the more windows were measured.

        Without windows they are 0.025, 0.25 and 1.
        """
        factor = _GUESS ** (_PRIOR_WINDOWS / (_PRIOR_WINDOWS + self.windows))
        return self.clusters / factor, self.clusters, max(self.clusters, min(self.clusters * factor, _MOST_GUESS))


def measure_tail(rates: Iterable[tuple[Sequence[Stay], Stay]], aims: Sequence[Aim]) -> Tail:
    """Return the clusters and the slope of the tail.

    Args:
        rates: for each rate the stays at about this rate, and the sum of their results (`rate_results.pooled`).
        aims: the objectives.
    """
    excess, windows = 0.0, 0
    falls, above, exponential = np.zeros(2), 0.0, 0.0
    for group, whole in rates:
        worst = whole.worst(aims)
        if worst is None:
            continue
        aim = aims[worst.objective]
        if (fall := _falls(worst, aim)) is not None:
            weight = worst.count * aim.allowed
            falls, above, exponential = falls + weight * fall, above + weight, aim.slope
        if (excesses := _excess(group, whole.rate_per_s, worst, aim)) is not None:
            excess, windows = excess + excesses[0], windows + excesses[1]
    clusters = _PRIOR
    if windows > 0:
        measured = min(max(0.0, excess / windows) * _LONGER, _MOST)
        clusters = (measured * windows + _PRIOR * _PRIOR_WINDOWS) / (windows + _PRIOR_WINDOWS)
    slope = None
    if falls[1] > 0:
        measured = max(_LEAST_SLOPE, falls[1] / above * max(1.0, falls[1] / max(falls[0], 1e-9)) ** _BEND)
        slope = float((min(measured, exponential) * above + exponential * _PRIOR_ABOVE) / (above + _PRIOR_ABOVE))
    return Tail(clusters, slope, windows)


def _excess(group: Sequence[Stay], rate_per_s: float, worst: RateTally, aim: Aim) -> tuple[float, int] | None:
    """Return the sum of the clusters of all windows at one rate, and how many windows count; None if none does.

    The clusters of a window are the dispersion of its count of slow results, less 1, in units of (rate * percentile)^2.
    """
    rung, unit = None, RATIO_IN_FLIGHT**2
    if aim.limit_s is not None:
        of_limit = exp(worst.distance(aim))
        rung = _rung(max(of_limit / 2, RUNGS[-1]))
        in_flight = RATIO_IN_FLIGHT if aim.is_of_gaps else rate_per_s * aim.limit_s
        unit = (in_flight * of_limit) ** 2 * (RUNGS[rung] / of_limit) ** _POWER
        # With part of the time the same for all, most results are above half of the percentile. A longer time then
        # shows that they do not cluster.
        while rung is not None and _slow(worst, rung) > worst.count / 2:
            rung = rung - 1 if rung > 0 else None
    share = _slow(worst, rung) / worst.count
    counts = [
        (_slow(one, rung), one.count)
        for stay in group
        for one in stay.tallies
        if (one.objective, one.journey) == (worst.objective, worst.journey) and one.count > 0
    ]
    if len(counts) < 2 or share >= 0.5:
        return None
    if share == 0:
        return 0.0, len(counts) - 1
    squares = sum((slow - share * count) ** 2 / (share * count) for slow, count in counts)
    return (squares - (len(counts) - 1)) / unit, len(counts) - 1


def _falls(worst: RateTally, aim: Aim) -> Floats | None:
    """Return how steeply the share of slower results falls: from a quarter of the percentile to half, and from there.

    The result is two values of -d ln(share) / d ln(time), or None if the times are too short for the counts of agents.
    """
    of_limit = exp(worst.distance(aim))
    if aim.limit_s is None or of_limit / 4 < RUNGS[-1]:
        return None
    half, quarter = _rung(of_limit / 2), _rung(of_limit / 4)
    slow, above = _slow(worst, half), aim.allowed * worst.count
    if slow <= above:
        return None
    first = log(_slow(worst, quarter) / slow) / log(RUNGS[half] / RUNGS[quarter])
    return np.array([first, log(slow / above) / log(of_limit / RUNGS[half])])


def _rung(of_limit: float) -> int:
    """Return the index of the time limit that is nearest to the share `of_limit`."""
    return min(max(round(log(of_limit) / log(RUNGS[0])) - 1, 0), len(RUNGS) - 1)


def _slow(one: RateTally, rung: int | None) -> float:
    """Return how many results took longer than a share of the limit, given its index; None: than the limit."""
    return one.bad + (one.slower[rung] if rung is not None and one.slower else 0.0)
