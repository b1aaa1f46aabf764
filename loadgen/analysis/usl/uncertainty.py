"""How uncertain a fit is: the covariance of its coefficients, and intervals by the delta method and by a bootstrap.

The bootstrap adds residuals to the fitted values and fits again. With fewer than 10 points, it draws residuals with
repetition, multiplied by sqrt(n / (n - 3)), because a fit makes residuals smaller than the noise. From 10 points on,
each point keeps its own residual, with a random sign and divided by 1 - leverage. This is the wild bootstrap with HC3
(Davidson and Flachaire, Journal of Econometrics 146, 2008). It allows scatter that grows with the throughput, for which
drawn residuals would give an interval of the peak's throughput that holds the truth in 85 % only.

The quantiles of the draws are then moved away from the estimate by t / z, because few points show their own scatter
badly. Without it, intervals of the peak hold the truth in 86 % instead of 95 % with 7 points, and in 91 % with 16
(`tests/statistics/test_usl_coverage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt
from typing import Final

import numpy as np
from scipy import stats

from loadgen.analysis.usl.curve import Coefficients, throughput_at, throughput_slopes
from loadgen.analysis.usl.least_squares import Scaled
from loadgen.analysis.values_to_float_array import Array

__all__ = ["LEVEL", "Draws", "Interval", "Scatter", "bootstrap", "delta_interval", "scatter_of"]

Interval = tuple[float, float]

LEVEL: Final = 0.95
_REFITTED: Final = 500
"""Larger data sets draw from the normal distribution of the estimate: refits would take minutes and change little."""
_WILD_FROM: Final = 10
"""Points from which each residual is the measure of the scatter at its own point."""
_LOADS_AT_ONCE: Final = 2_000
_CHUNK: Final = 400_000
"""Values of residuals that one call of the solver gets: some 100 MB."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """The scatter around a fit. covariance: of alpha, beta, gamma, shape (3, 3). leverage: of each point, 0 to 1.

    robust: the covariance for scatter that differs from point to point (HC3), shape (3, 3).

    All values of both covariances are inf if the loads do not determine the coefficients.
    """

    residuals: Array
    sd: float
    df: int
    covariance: Array
    leverage: Array
    robust: Array

    @property
    def t(self) -> float:
        """Return the quantile of Student's t for an interval of 95 %."""
        return float(stats.t.ppf((1 + LEVEL) / 2, self.df))


def scatter_of(load: Array, throughput: Array, fit: Coefficients) -> Scatter:
    """Return the scatter of a data set with more than 3 points around its fit."""
    residuals = throughput - throughput_at(load, *fit)
    df = len(load) - 3
    sd = sqrt(float((residuals**2).sum()) / df)
    slopes = throughput_slopes(load, *fit)
    size = np.linalg.norm(slopes, axis=0)
    whole, triangle = np.linalg.qr(slopes / np.where(size > 0, size, 1.0))
    leverage = np.clip((whole**2).sum(axis=1), 0.0, 0.99)
    if not (size > 0).all() or np.linalg.cond(triangle) > 1e12:
        unknown = np.full((3, 3), inf)
        return Scatter(residuals, sd, df, unknown, leverage, unknown)
    inverse = np.linalg.inv(triangle)
    moves = inverse @ whole.T / size[:, None]  # of each coefficient by each residual
    robust = (moves * (residuals / (1 - leverage)) ** 2) @ moves.T
    return Scatter(residuals, sd, df, sd**2 * (inverse @ inverse.T) / np.outer(size, size), leverage, robust)


def delta_interval(value: float, slopes: Array, scatter: Scatter) -> Interval:
    """Return the interval of a function of the coefficients, from its value and its slopes by them, shape (3,)."""
    variance = float(slopes @ scatter.covariance @ slopes) if np.isfinite(scatter.covariance).all() else inf
    half = scatter.t * sqrt(max(variance, 0.0))
    return (value - half, value + half)


@dataclass(frozen=True, slots=True)
class Draws:
    """The coefficients of each draw of a bootstrap, shape (draws, 3), and what follows from them."""

    fit: Coefficients
    coefficients: Array
    stretch: float
    """t / z: quantiles are moved away from the estimate by this factor. 1 gives the plain quantiles."""

    def share_with_peak_above(self, load: float) -> float:
        """Return the share of draws whose peak is above a load, or that have no peak."""
        alpha, beta = self.coefficients[:, 0], self.coefficients[:, 1]
        return float(((1 - alpha) > beta * load**2).mean())

    @property
    def plain(self) -> Draws:
        """Return the same draws with plain quantiles, as other programs print them. Plain quantiles are too narrow."""
        return replace(self, stretch=1.0)

    def of(self, name: str) -> Interval:
        """Return the interval of alpha, beta or gamma; alpha ends at 0 and 1, beta at 0."""
        place = Coefficients._fields.index(name)
        low, high = self._stretched(self.coefficients[:, place], self.fit[place])
        return (max(low, 0.0), min(high, 1.0) if name == "alpha" else high)

    def peak_load(self) -> Interval:
        """Return the interval of the load of the peak. It ends at inf if too many draws have no peak."""
        alpha, beta = self.coefficients[:, 0], self.coefficients[:, 1]
        peaks = np.full(len(beta), np.inf)
        has = beta > 0
        peaks[has] = np.sqrt((1 - alpha[has]) / beta[has])
        return self._of_positive(peaks, self.fit.peak_load)

    def _of_positive(self, draws: Array, middle: float) -> Interval:
        """Return the interval of a value above 0. Its lower end is stretched by the logarithm, so it stays above 0."""
        low, _ = self._stretched(np.log(np.maximum(draws, 1e-300)), float(np.log(middle)))
        _, high = self._stretched(draws, middle)
        return (float(np.exp(low)), high)

    def peak_throughput(self) -> Interval:
        """Return the interval of the throughput at the peak."""
        tops = np.array([Coefficients(*one).peak_throughput for one in self.coefficients.tolist()])
        low, high = self._stretched(tops, self.fit.peak_throughput)
        return (max(low, 0.0), high)

    def amdahl_limit(self) -> Interval:
        """Return the interval of gamma / alpha; it ends at inf if too many draws have no contention."""
        return self._ratio(self.coefficients[:, 2], self.fit.amdahl_limit)

    def optimal_load(self) -> Interval:
        """Return the interval of 1 / alpha; it ends at inf if too many draws have no contention."""
        return self._ratio(np.ones(len(self.coefficients)), self.fit.optimal_load)

    def _ratio(self, over: Array, middle: float) -> Interval:
        """Return the interval of over / alpha."""
        alpha = self.coefficients[:, 0]
        found = np.full(len(alpha), np.inf)
        found[alpha > 0] = over[alpha > 0] / alpha[alpha > 0]
        if not isfinite(middle):
            return (float(np.quantile(found, (1 - LEVEL) / 2, method="inverted_cdf")), inf)
        return self._of_positive(found, middle)

    def throughput(self, load: Array) -> tuple[Array, Array]:
        """Return the lower and upper ends for the throughput at loads, shape (n,) each."""
        middle = throughput_at(load, *self.fit)
        ends = []
        for first in range(0, len(load), _LOADS_AT_ONCE):
            part = load[first : first + _LOADS_AT_ONCE]
            found = np.array([throughput_at(part, *one) for one in self.coefficients.tolist()])
            found[np.isnan(found)] = np.inf  # below load 1 the law may have no value
            ends.append(np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf"))
        low, high = np.concatenate(ends, axis=1)
        return (
            np.maximum(middle - np.maximum(middle - low, 0.0) * self.stretch, 0.0),
            middle + np.maximum(high - middle, 0.0) * self.stretch,
        )

    def _stretched(self, draws: Array, middle: float) -> Interval:
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
        below, above = max(middle - float(low), 0.0), max(float(high) - middle, 0.0)
        return (middle - below * self.stretch, middle + above * self.stretch)


def bootstrap(scaled: Scaled, fitted: Array, fit: Coefficients, scatter: Scatter, *, draws: int, seed: int) -> Draws:
    """Draw residuals and fit again. fitted: the fitted throughputs, shape (n,). The same seed gives the same draws."""
    rng = np.random.default_rng(seed)
    stretch = scatter.t / float(stats.norm.ppf((1 + LEVEL) / 2))
    count = len(fitted)
    if count > _REFITTED and np.isfinite(scatter.covariance).all():
        found = np.maximum(rng.multivariate_normal(np.array(fit), scatter.robust, size=draws, method="eigh"), 0.0)
        found[:, 0], found[:, 2] = np.minimum(found[:, 0], 1.0), np.maximum(found[:, 2], 1e-9 * fit.gamma)
        return Draws(fit, found, stretch)
    noise = _wild if count >= _WILD_FROM else _drawn
    rows = max(_CHUNK // count, 1)
    refits = [
        scaled.refit(fitted + noise(scatter, rng, min(rows, draws - first)), fit) for first in range(0, draws, rows)
    ]
    return Draws(fit, np.concatenate(refits), stretch)


def _drawn(scatter: Scatter, rng: np.random.Generator, rows: int) -> Array:
    """Return residuals drawn with repetition, corrected for the degrees of freedom, shape (rows, n)."""
    count = len(scatter.residuals)
    residuals = (scatter.residuals - scatter.residuals.mean()) * sqrt(count / scatter.df)
    return rng.choice(residuals, (rows, count))


def _wild(scatter: Scatter, rng: np.random.Generator, rows: int) -> Array:
    """Return the residual of each point with a random sign, divided by 1 - leverage, shape (rows, n)."""
    signs = rng.integers(0, 2, (rows, len(scatter.residuals))) * 2 - 1
    return scatter.residuals / (1 - scatter.leverage) * signs
