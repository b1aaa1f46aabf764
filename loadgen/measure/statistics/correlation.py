"""How much alike neighbouring batches of a run are: the question on which an interval from batches stands or falls.

Latencies of one second resemble those of the next. A batch must be long beside
the time for which they do, or its neighbour repeats what it said, and the spread
of the batches is less than the error. Measured is therefore the correlation rho
of neighbouring batches. It cannot be seen in five batches, so it comes from the
series of short intervals, modelled as a slow part that decays exponentially (an
AR(1) process) under white noise (each interval has but a few values), as the
mean of rho over all decay times and noise shares on a grid, weighted by Whittle's
likelihood (so the posterior mean with a flat prior; its .8 quantile is given, too).

For an AR(1) without noise and batches of 3 integrated autocorrelation times,
which is the rule of thumb, rho is 0.094. An estimate of the autocorrelation time
from the series itself was tried and is no use: noise hides the slow part, and
the time comes out as that of the noise.

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
"""Of the slow part in the variance; narrow near 1, where little noise decides whether the decay is seen at all."""


class Rho(NamedTuple):
    """From 0 to below 1."""

    mean: float
    upper: float
    """Not less than what is true with 80 %, as far as the series tells."""


def neighbours_rho(series: Floats, batches: int) -> Rho:
    """Correlation of neighbouring ones of so many batches.

    Args:
        series: (n,) float64; n intervals, evenly spaced, n >= 2 * batches. Any unit. One of only zeros says
            no more than white noise.
    Cost: 0.1 ms for 300 intervals, after the first of a length (20 ms).
    """
    inverse, log_sums, rho = _grid(len(series), batches)
    power = np.abs(np.fft.rfft(series - series.mean())[1:]) ** 2
    n = len(power)
    mean = float(power.mean())
    fits = inverse @ (power / mean if mean > 0 else np.ones(n)) / n
    log_likelihood = -n * np.log(fits) - log_sums
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    upper = int(np.searchsorted(np.cumsum(weights), _UPPER))
    return Rho(float(weights @ rho), float(rho[min(upper, len(rho) - 1)]))


@lru_cache(maxsize=16)
def _grid(n: int, batches: int) -> tuple[Floats, Floats, Floats]:
    """Of each model, in the order of rho: 1 / spectral density (models, n // 2), sum of its logarithm, rho."""
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
    """Correlation of the means of two neighbouring batches of `length` intervals."""
    lags = np.arange(1, length)
    variance = length + 2 * share * float(np.sum((length - lags) * phi**lags))
    offsets = np.arange(1 - length, length)
    return share * float(np.sum((length - np.abs(offsets)) * phi ** (length + offsets))) / variance
