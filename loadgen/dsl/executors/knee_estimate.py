"""Estimates the knee, the highest rate at which an objective is met, as a distribution over rates.

The knee K is a threshold like those of psychophysics (how loud must a tone be for half of
the listeners to hear it?), and is estimated in the same way. Each candidate K is weighted
by its likelihood, given the measurements at all rates tried so far. Two nuisance parameters
are estimated together with K: how steep the rise to the knee is, and how much of the limit
is used without load.

The data of a window is the distance of its percentile from the limit. Whether the window
met the objective carries no information far below the knee. The model is local: the
percentile is `base + (1 - base) / (1 + steep * (1 - rate / K))` of the limit. This is exact
for an M/M/1 queue (base 0) and follows Kingman's formula, wait ~ rho / (1 - rho),
elsewhere. A target with a hard limit is the case of a large `steep`.

Four corrections keep the estimate honest if results are few or come in clusters:
- Counts of nearby rates are summed before their percentile is calculated. The mean of percentiles of short windows
  would be far below the percentile of all results (by 26 % at 300 results of an M/M/1 queue at its knee).
- Slow results come in clusters. `tail_measure.py` measures from the windows how much more their count varies than
  that of independent results, and how fast the tail falls. With few windows, three values are possible.
- The count is assumed lognormal with the right mean, so its logarithm is biased by minus half of its variance.
- The interval is at least that of the counts near the knee (`_spread`). The distribution takes some noise for
  steepness, and is then too narrow; a search that ends when it is narrow would end in just these cases. With the
  distribution alone, 62 % of the intervals of M/G/1 queues with a coefficient of variation of 1.5 held the knee.

Rates are iterations/s. This module reads no clock and draws no random numbers.

docs/how-often-wrong.md has the error rates (`python -m tools.how_often_wrong search`). The constants below were chosen
on simulated M/M/1, D/M/1, M/M/4, D/D/n, and M/G/1 queues with lognormal and hyperexponential services.

Source: Watson and Pelli, "QUEST: a Bayesian adaptive psychometric method", 1983; Kontsevich and Tyler, "Bayesian
adaptive estimation of psychometric slope and threshold", 1999, for the nuisance parameters; Kingman, "The single server
queue in heavy traffic", 1961; the relaxation time of M/M/1, 1 / (mu (1 - sqrt(rho))^2), for the clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.dsl.executors.rate_results import FARTHEST, HALF, Aim, Stay, pooled, same_rate
from loadgen.dsl.executors.tail_measure import RATIO_IN_FLIGHT, Tail, measure_tail

__all__ = ["Knee", "find_knee"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MODELS: Final = np.array(
    [(steep, base, k) for steep in (0.5, 2.0, 6.0, 20.0, 80.0) for base in (0.0, 0.4, 0.8) for k in range(3)]
)
"""Columns: steep, base, index of the possible clusters."""
_LEAST_WEIGHT: Final = 1e-3
"""Models with a smaller share of the likelihood of the best one are not calculated on the finer grid."""
_NEAR: Final = 2.5
"""Rates that differ from the newest by more than this factor are ignored."""
_BEYOND: Final = 1.5
"""Factor below the lowest and above the highest tried rate up to which the knee is searched."""
_TAILS: Final = 20.0
"""Degrees of freedom of the likelihood: sometimes a window is worse than any queueing model explains."""
_BELOW: Final = (0.03, 0.6)
"""The steepness is measured at rates that are below the knee by these shares."""
_LEAST_STEEP: Final = 0.3
_SURE_STEEP: Final = 0.7
"""The error of the knee is calculated with this share of the measured steepness, which is itself uncertain."""
_SURE_FITTED: Final = 0.5
"""This share of the steepness under the model counts instead if it is larger. That is so if part of the time does not
depend on the rate, as for a target with several servers.
"""
_HARD_LIMIT: Final = 30.0
"""From this steepness under the model on, the target has a hard limit, and the model counts."""
_LEAST_BROKEN: Final = 2
"""A hard limit must show in this many stays. One cluster far below the knee looks like a hard limit, too."""
_HEAVY_TRAFFIC: Final = 0.9
"""In heavy traffic the steepness is this times clusters * rate * limit, since both follow from the variance of the work
that arrives; at low loads it is less. An early chance value of the steepness cannot exceed it.
"""
_NEAR_KNEE: Final = 0.06
"""Slow results count for the error of the knee at rates that differ by at most this much (in the logarithm)."""
_NORMAL_90: Final = 1.645
_POINTS: Final = (41, 61)
"""Points of the first grid of rates, and of the second, finer grid."""


@dataclass(frozen=True, slots=True)
class Knee:
    """The probability distribution of the knee over rates, and its error from counts."""

    log_rates: Floats
    cumulated: Floats
    counted: float = 0.0
    """The knee from the sum of all results near it, iterations/s. For M/G/1 its error is smaller than the median's."""
    steep: float = 0.0
    """By what share the inverse of the percentile grows when the rate falls from the knee by a share: 9 for M/M/1 with
    a load of 0.9.
    """
    spread: float = 0.0
    """Half of the width of the 90 % interval of ln(counted) that follows from the number of slow results alone."""

    def rate(self, quantile: float) -> float:
        """Return the rate, iterations/s, that is above the knee with probability `quantile` (0 to 1).

        The knee is the highest rate at which the objectives are met; 0.5 gives its median.
        """
        return exp(float(np.interp(quantile, self.cumulated, self.log_rates)))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 90 % interval of the knee, iterations/s: of the distribution, or wider by the error of counts.

        The distribution alone is too narrow in some searches: it also estimates the steepness, and it is narrow
        if noise makes the rise look steep. A search ends when its interval is narrow, so it would pick these cases.
        """
        low, high = self.counted * exp(-self.spread), self.counted * exp(self.spread)
        return min(self.rate(0.05), low), max(self.rate(0.95), high)

    @property
    def width(self) -> float:
        """Return the relative uncertainty of the knee, the highest rate that meets the objectives: 0.05 means ±5 %.

        The uncertainty is half of the width of `interval`.
        """
        low, high = self.interval
        return log(high / low) / 2


@dataclass(frozen=True, slots=True)
class _Measured:
    """The measurements at each rate: arrays with one value per rate."""

    rates: Floats
    distance: Floats
    above: Floats
    """Results that may be slower than the limit; at least 0.3."""
    slope: Floats
    in_flight: Floats
    is_ratio: Bools
    tail: Tail
    broken: int
    """Number of stays that missed an objective."""

    def dispersion(self, of_limit: Floats, clusters: Floats | None = None) -> Floats:
        """Return the index of dispersion of the counts, given the percentiles as shares of the limit.

        clusters: by default those of the tail.
        """
        strength = self.tail.clusters if clusters is None else clusters
        of_counts: Floats = 1 + strength * (self.in_flight * np.minimum(of_limit, 2.0)) ** 2
        return of_counts


def find_knee(stays: Sequence[Stay], aims: Sequence[Aim]) -> Knee:
    """Estimate the knee, the highest rate that meets the objectives, as a probability distribution over rates.

    Args:
        stays: results of all periods at one rate, oldest first; the last one must have results.
        aims: the objectives.

    Cost: 9 ms in the middle of a search with 110 windows (cProfile).
    """
    measured = _measured(stays, aims)
    low, high = log(measured.rates.min() / _BEYOND), log(measured.rates.max() * _BEYOND)
    models = _MODELS
    for points in _POINTS:
        log_rates = np.linspace(low, high, points)
        log_likelihood = _log_likelihood(log_rates, models, measured)
        likelihood = np.exp(log_likelihood - log_likelihood.max())
        density = likelihood.sum(axis=0)
        cumulated = np.cumsum(density)
        # A point counts with half of its own weight, so the median of a symmetric density is its middle.
        cumulated = (cumulated - density / 2) / cumulated[-1]
        step = log_rates[1] - log_rates[0]
        low = float(np.interp(0.003, cumulated, log_rates)) - step
        high = float(np.interp(0.997, cumulated, log_rates)) + step
        weight = likelihood.sum(axis=1)
        is_possible = weight > _LEAST_WEIGHT * weight.max()
        models, weight = models[is_possible], weight[is_possible]
    distribution = Knee(log_rates, cumulated)
    steep = _steepness(distribution.rate(0.5), measured)
    counted = _counted(distribution, steep, stays, aims, float(measured.slope.min()))
    fitted = _fitted_steepness(models, weight)
    return replace(distribution, counted=counted, steep=steep, spread=_spread(counted, steep, fitted, measured))


def _measured(stays: Sequence[Stay], aims: Sequence[Aim]) -> _Measured:
    newest = stays[-1].rate_per_s
    groups = same_rate(one for one in stays if newest / _NEAR < one.rate_per_s < newest * _NEAR)
    sums = [(group, whole) for group in groups if (whole := pooled(group)) is not None]
    tail = measure_tail(sums, aims)
    seen = [(whole, worst) for _, whole in sums if (worst := whole.worst(aims)) is not None]
    of = [aims[worst.objective] for _, worst in seen]
    slopes = [aim.slope if aim.limit_s is None else min(aim.slope, tail.slope or aim.slope) for aim in of]
    in_flight = [
        RATIO_IN_FLIGHT if aim.limit_s is None or aim.is_of_gaps else stay.rate_per_s * aim.limit_s
        for (stay, _), aim in zip(seen, of, strict=True)
    ]
    return _Measured(
        rates=np.array([stay.rate_per_s for stay, _ in seen]),
        distance=np.array([worst.distance(aim, one) for (_, worst), aim, one in zip(seen, of, slopes, strict=True)]),
        above=np.array([max(worst.count * aim.allowed, 0.3) for (_, worst), aim in zip(seen, of, strict=True)]),
        slope=np.array(slopes),
        in_flight=np.array(in_flight),
        is_ratio=np.array([aim.limit_s is None for aim in of]),
        tail=tail,
        broken=sum(
            one.bad > one.count * aims[one.objective].allowed
            for group in groups
            for stay in group
            if (one := stay.worst(aims)) is not None
        ),
    )


def _log_likelihood(log_rates: Floats, models: Floats, measured: _Measured) -> Floats:
    """Return the log-likelihood of each candidate knee under each model: (n_models, n_rates) float64.

    log_rates: logarithms of the candidate knees.
    models: (n_models, 3) float64, as in `_MODELS`.
    """
    steep, base, choice = (models[:, k, None, None] for k in range(3))
    clusters = np.array(measured.tail.possible_clusters)[choice.astype(np.intp)]
    room = 1 + steep * (1 - measured.rates / np.exp(log_rates)[:, None])
    of_limit = np.minimum(base + (1 - base) / np.maximum(room, exp(-FARTHEST)), exp(FARTHEST))
    # For a percentile, the count above it is `above` by definition; for a ratio, the count itself is the measurement.
    above, is_ratio = measured.above, measured.is_ratio
    count = np.where(is_ratio, above * of_limit, above)
    seen = np.where(is_ratio, np.log((count + HALF) / (above + HALF)), np.log(of_limit))
    # Of the logarithm of the count.
    variance = np.log1p((measured.dispersion(of_limit, clusters) * count + HALF**2) / (count + HALF) ** 2)
    away = measured.distance - seen + variance / (2 * measured.slope)
    variance = variance / measured.slope**2
    # The logarithm of Student's t density with `_TAILS` degrees of freedom, without its constant factors.
    fit = -(_TAILS + 1) / 2 * np.log1p(away**2 / variance / _TAILS) - np.log(variance) / 2
    total: Floats = fit.sum(axis=2)
    return total


def _steepness(knee_per_s: float, measured: _Measured) -> float:
    """Return how steeply the percentile rises to the knee: d ln(percentile) / d ln(rate) there.

    It is the weighted mean over the rates below the knee of (limit / percentile - 1) / (1 - rate / knee). This value is
    the same at all rates for M/M/1, and nearly so for the M/G/1 queues with lognormal service times that were tried.
    """
    below = 1 - measured.rates / knee_per_s
    is_used = (below > _BELOW[0]) & (below < _BELOW[1])
    if not is_used.any():
        return _LEAST_STEEP
    variance = np.log1p(measured.dispersion(np.exp(measured.distance)) / measured.above)
    of_limit = np.exp(measured.distance + variance / (2 * measured.slope))
    weight = np.where(is_used, (below * of_limit * measured.slope) ** 2 / variance, 0.0)
    steep = np.where(is_used, (1 / of_limit - 1) / np.where(is_used, below, 1.0), 0.0)
    return max(_LEAST_STEEP, float((weight * steep).sum() / weight.sum()))


def _fitted_steepness(models: Floats, weight: Floats) -> float:
    """Return the 5 % quantile of the steepness under the models, given the weight of each: (n_models,) float64."""
    steep = models[:, 0] * (1 - models[:, 1])
    order = np.argsort(steep)
    cumulated = np.cumsum(weight[order])
    return float(steep[order][np.searchsorted(cumulated, 0.05 * cumulated[-1])])


def _counted(knee: Knee, steep: float, stays: Sequence[Stay], aims: Sequence[Aim], slope: float) -> float:
    """Return the knee from the sum of all results near it, iterations/s; at most at the ends of its 90 % interval.

    The distribution weighs each rate by its own, and takes some noise for steepness. The sum does neither: with it the
    error of a search was 2.5 % instead of 3.0 % for M/G/1 with a load of 0.83, and 3.2 instead of 4.0 % with 0.53.
    """
    middle, low, high = knee.rate(0.5), knee.rate(0.05), knee.rate(0.95)
    whole = pooled([one for one in stays if abs(log(one.rate_per_s / middle)) < _NEAR_KNEE])
    worst = whole.worst(aims) if whole is not None else None
    if whole is None or worst is None:
        return middle
    short = 1 - (exp(-worst.distance(aims[worst.objective], slope)) - 1) / steep
    return min(max(whole.rate_per_s / max(short, 0.1), low), high)


def _spread(knee_per_s: float, steep: float, fitted: float, measured: _Measured) -> float:
    """Return half of the width of the 90 % interval of ln(knee), from the number of slow results near the knee alone.

    The error of the number is translated to the percentile by the slope of the tail, and to the rate by `steep`.
    """
    is_near = np.abs(np.log(measured.rates / knee_per_s)) < _NEAR_KNEE
    if not is_near.any():
        return log(_NEAR)
    above = measured.above[is_near]
    of_one = measured.dispersion(np.ones_like(measured.rates))[is_near] / measured.slope[is_near] ** 2
    error = sqrt(float((above * of_one).sum())) / float(above.sum())
    if fitted >= _HARD_LIMIT and steep >= _HARD_LIMIT / 4 and measured.broken >= _LEAST_BROKEN:
        return min(_NORMAL_90 * error / fitted, log(_NEAR))
    of_clusters = _HEAVY_TRAFFIC * measured.tail.clusters * float(measured.in_flight[is_near].mean())
    sure = max(_SURE_STEEP * steep, _SURE_FITTED * fitted)
    return min(_NORMAL_90 * error / max(_LEAST_STEEP, min(sure, of_clusters)), log(_NEAR))
