"""Counts times between requests in bins that are 2.2 % wide: memory is bounded, and the order of times is irrelevant.

Bin k holds times from 2^(k/32) ms to 2^((k+1)/32) ms. Times below 1 ms are in bin 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.data.quantile_file import QUANTILES

__all__ = ["BINS", "EDGES_S", "Think", "bin_of", "fitted", "shares_below"]

BINS: Final = 705
"""The last one holds everything from 2^22 ms (70 minutes) on."""
_PER_DOUBLING: Final = 32
EDGES_S: Final[NDArray[np.float64]] = 2.0 ** (np.arange(BINS + 1) / _PER_DOUBLING) / 1_000
"""The bounds of the bins, one more than there are bins, in s."""
_LOG_ENDS: Final = np.array([log(edge) for edge in EDGES_S[1:].tolist()])


@dataclass(frozen=True)
class Think:
    """Times between requests as a distribution. Times are in s."""

    count: int
    mu: float
    sigma: float
    """Mean and standard deviation of the logarithm: the parameters of `lognormal`."""
    distance: float
    """Largest difference between the measured distribution and this lognormal one (Kolmogorov and Smirnov), 0 to 1."""
    quantiles: tuple[float, ...]
    """The values below which 0, 2.5 ... 100 % of the times are, with an error of at most 2.2 %, the width of a bin."""

    @property
    def median(self) -> float:
        """The median, from the quantiles."""
        return self.quantiles[QUANTILES // 2]


def bin_of(gap_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bin of each time between requests."""
    doublings = np.log2(np.maximum(gap_us, 1_000) / 1_000.0)
    return np.minimum((doublings * _PER_DOUBLING).astype(np.int64), BINS - 1)


def fitted(counts: NDArray[np.int64], *, whole_seconds: bool = False) -> Think | None:
    """Return the distribution of times that are counted in bins; None if all counts are 0.

    whole_seconds: the log has stamps of whole seconds, so a measured difference of k s can be any time from k - 1 to
    k + 1 s. The count is spread over these times by a triangular distribution with its peak at k s: that of the
    difference of two times which are uniform within their seconds. Results below 2 s then depend on this assumption.
    """
    total = int(counts.sum())
    if not total:
        return None
    return _fitted(_spread(counts) if whole_seconds else counts.astype(np.float64), total)


def shares_below(counts: NDArray[np.int64], *, whole_seconds: bool = False) -> NDArray[np.float64]:
    """Return the share of the times below each of `EDGES_S`. counts: at least one is above 0.

    whole_seconds: as in `fitted`.
    """
    spread = _spread(counts) if whole_seconds else counts.astype(np.float64)
    below: NDArray[np.float64] = np.append(0.0, np.cumsum(spread)) / spread.sum()
    return below


def _spread(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.zeros(BINS)
    seconds = np.rint(np.sqrt(EDGES_S[:-1] * EDGES_S[1:]))
    for at in np.flatnonzero(counts):
        k = float(seconds[at])
        # The distribution of k + (difference of two uniform times), at the edges; for k = 0 of its absolute value.
        x = np.clip(EDGES_S - k, -1, 1)
        below = np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)
        if not k:
            below = 2 * below - 1
        below[0], below[-1] = 0.0, 1.0
        found += counts[at] * np.diff(below)
    return found


def _fitted(counts: NDArray[np.float64], total: int) -> Think:
    middles = (np.log(EDGES_S[:-1]) + np.log(EDGES_S[1:])) / 2
    mu = float((counts * middles).sum() / total)
    sigma = sqrt(max(0.0, float((counts * (middles - mu) ** 2).sum() / total)))
    below = np.cumsum(counts) / total
    expected = _lognormal_below(mu, sigma)
    distance = float(np.abs(below - expected).max())
    return Think(total, mu, sigma, distance, _quantiles(counts, below))


def _lognormal_below(mu: float, sigma: float) -> NDArray[np.float64]:
    """Return the share of a lognormal distribution below the end of each bin."""
    if not sigma:
        return (mu <= _LOG_ENDS).astype(np.float64)
    below = NormalDist(mu, sigma).cdf
    return np.array([below(end) for end in _LOG_ENDS.tolist()])


def _quantiles(counts: NDArray[np.float64], below: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the quantiles, with the times of a bin spread evenly over the logarithm of its width."""
    used = np.flatnonzero(counts)
    found = []
    for n in range(QUANTILES):
        share = n / (QUANTILES - 1)
        at = int(np.searchsorted(below, share, side="left")) if n else int(used[0])
        at = min(at, int(used[-1]))
        before = float(below[at - 1]) if at else 0.0
        part = min(max((share - before) / (float(below[at]) - before), 0.0), 1.0) if counts[at] else 0.0
        found.append(exp(log(EDGES_S[at]) + part * log(EDGES_S[at + 1] / EDGES_S[at])))
    return tuple(found)
