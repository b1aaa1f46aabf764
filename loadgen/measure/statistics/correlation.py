"""The correlation of neighbouring batches of a run. An interval from batch means is valid only if it is small.

Response times of one second resemble those of the next. A batch must be long compared with the time
over which they do. Otherwise its neighbour repeats it, and the spread of the batches is smaller than
the error. This module therefore estimates the correlation rho of neighbouring batches. Five
batches cannot show it, so it is estimated from the series of short intervals. The model is a slow
part that decays exponentially (an AR(1) process) under white noise (each interval has few values).
The estimate is the mean of rho over all decay times and noise shares on a grid, weighted by
Whittle's likelihood. That is the posterior mean with a flat prior; its .8 quantile is returned, too.

For an AR(1) without noise and batches of 3 integrated autocorrelation times, the rule of thumb, rho
is 0.094. Estimating the autocorrelation time from the series itself was tried and does not work:
noise hides the slow part, and the estimate is that of the noise.

Source: P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2 (1953).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

__all__ = ["Rho", "neighbours_rho"]

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_DECAYS: Final = 22
_UPPER: Final = 0.8
_SHARES: Final = np.array([0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1])
"""Shares of the slow part in the variance. Close together near 1, where a little noise decides whether the decay shows.
"""


class Rho(NamedTuple):
    """An estimated correlation, from 0 to below 1."""

    mean: float
    upper: float
    """The true correlation is at most this with a probability of 80 %, as far as the series shows."""


def neighbours_rho(series: Floats, batches: int) -> Rho:
    """Return the estimated correlation of neighbouring batches, if the series is cut into `batches` batches.

    Args:
        series: (n,) float64; n intervals, evenly spaced, n >= 2 * batches. Any unit. A series of zeros counts as white
            noise.

    Cost: 0.1 ms for 300 intervals, after the first call with a length (20 ms).
    """
    inverse, log_sums, rho = _grid(len(series), batches)
    # Without frequency 0, which is the mean that was subtracted.
    power = np.abs(np.fft.rfft(series - series.mean())[1:]) ** 2
    n = len(power)
    mean = float(power.mean())
    fits = inverse @ (power / mean if mean > 0 else np.ones(n)) / n
    # The likelihood at the most likely variance, which is `fits`: the variance itself is of no interest.
    log_likelihood = -n * np.log(fits) - log_sums
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    upper = int(np.searchsorted(np.cumsum(weights), _UPPER))
    return Rho(float(weights @ rho), float(rho[min(upper, len(rho) - 1)]))


@lru_cache(maxsize=16)
def _grid(n: int, batches: int) -> tuple[Floats, Floats, Floats]:
    """Return three arrays that describe all models of the noise, sorted by their correlation of neighbouring batches.

    The arrays are 1 / spectral density (models, n // 2), the sum of the density's logarithms, and the correlation. A
    model is an AR(1) process with some decay time and share of the variance, under white noise. n: number of intervals.
    """
    omega = 2 * np.pi * np.arange(1, n // 2 + 1) / n
    densities, rho = [], []
    for decay in np.geomspace(0.7, n / 2, _DECAYS):
        phi = float(np.exp(-1 / decay))
        slow = (1 - phi * phi) / (1 - 2 * phi * np.cos(omega) + phi * phi)
        for share in _SHARES.tolist():
            densities.append(share * slow + (1 - share))
            rho.append(_rho(phi, share, max(1, n // batches)))
    order = np.argsort(rho, kind="stable")
    found = np.array(densities)[order]
    return 1 / found, np.log(found).sum(axis=1), np.array(rho)[order]


def _rho(phi: float, share: float, length: int) -> float:
    """Return the correlation of the means of two neighbouring batches of `length` intervals under one model.

    phi: correlation of the slow (AR(1)) part from interval to interval. share: its share of the variance.
    """
    lags = np.arange(1, length)
    variance = length + 2 * share * float(np.sum((length - lags) * phi**lags))
    offsets = np.arange(1 - length, length)
    return share * float(np.sum((length - np.abs(offsets)) * phi ** (length + offsets))) / variance
