"""The cost of tracing for the target: the response time of sampled requests minus that of the others.

The decision whether a request is sampled comes from random bits of its trace id, so this is a randomised experiment:
the groups differ by chance, and by the work that the target does for a trace.

*Estimate.* In each stratum (a request of a region, in a second) with n1 sampled requests and n0 others, the difference
of the two means has the weight n1 n0 / (n1 + n0). The estimate is the weighted mean of all strata. It equals the
coefficient of "sampled" in a regression with a constant for each stratum (F. Yates, 1934), so neither a load that
changes nor a mix that changes moves it. Strata are as short as the intervals after which the share of sampled requests
can change (`Trace(sample="20/s", boost=...)`), so a share that rises in slow seconds does not move it either. With
these weights the sum over the strata is linear in the decisions. So without an effect its expectation is 0, also if all
requests of an iteration share one decision and iterations differ in their number of requests.

*Interval.* Requests of one iteration are not independent, so requests cannot be counted as if they were. Blocks of time
are the clusters: the variance comes from the sums of single blocks (K.-Y. Liang and S. L. Zeger, 1986), with the
quantile of Student's t for the effective number of blocks. A block is a twentieth of the run, but 10 to 30 s long, and
shorter only if the run would have fewer than 5 blocks. Iterations that are longer than a block make the interval too
narrow: iterations of 5 s in blocks of 3 s hold the truth in 90 %, in blocks of 10 s in 95 %
(tests/statistics/test_tracing_cost.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["LEAST_SAMPLED", "DecidedSums", "TracingCost", "tracing_cost"]

LEAST_SAMPLED: Final = 30
"""Fewest sampled requests for an estimate; the sums of fewer are far from normal."""
_LEAST_BLOCKS: Final = 5
_BLOCKS: Final = 20
_LEAST_BLOCK_S: Final = 10.0
_MOST_BLOCK_S: Final = 30.0
_MOST_NUMBERS: Final = 1 << 32
"""More than any run has seconds."""
_LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class DecidedSums:
    """Sums of sampled and of other requests, as columns of equal length, shape (rows,).

    series: number of the request and region. at_s: the time, in s from T0. Sums are response times in ns.
    """

    series: npt.NDArray[np.int64]
    at_s: npt.NDArray[np.float64]
    sampled_n: npt.NDArray[np.int64]
    sampled_sum_ns: npt.NDArray[np.int64]
    others_n: npt.NDArray[np.int64]
    others_sum_ns: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TracingCost:
    """Mean response time of sampled requests minus that of others, ns, with its 95 % interval, and both numbers."""

    ns: float
    low_ns: float
    high_ns: float
    sampled: int
    others: int


def tracing_cost(sums: DecidedSums) -> TracingCost | None:
    """Return what tracing costs; None if there are too few sampled requests, or if nothing can be compared."""
    sampled, others = int(sums.sampled_n.sum()), int(sums.others_n.sum())
    if sampled < LEAST_SAMPLED or not others:
        return None
    seconds = np.floor(sums.at_s - sums.at_s.min()).astype(np.int64)
    strata, stratum = np.unique(sums.series * _MOST_NUMBERS + seconds, return_inverse=True)

    def summed(column: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        found = np.bincount(stratum, weights=column.astype(np.float64), minlength=len(strata))
        return np.asarray(found, dtype=np.float64)

    n1, s1, n0, s0 = map(summed, (sums.sampled_n, sums.sampled_sum_ns, sums.others_n, sums.others_sum_ns))
    block = _blocks(strata % _MOST_NUMBERS)
    weights = np.bincount(block, weights=n1 * n0 / (n1 + n0))
    values = np.bincount(block, weights=(s1 * n0 - s0 * n1) / (n1 + n0))
    values, weights = values[weights > 0], weights[weights > 0]
    count = len(weights)
    if count < _LEAST_BLOCKS:
        return None
    whole = float(weights.sum())
    ns = float(values.sum()) / whole
    deviations = values - ns * weights
    error_ns = sqrt(count / (count - 1) * float(deviations @ deviations)) / whole
    effective = whole**2 / float(weights @ weights)
    reach_ns = error_ns * float(special.stdtrit(max(1.0, effective - 1), 1 - (1 - _LEVEL) / 2))
    return TracingCost(ns, ns - reach_ns, ns + reach_ns, sampled, others)


def _blocks(seconds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of the block of each second, from 0."""
    span = float(seconds.max()) + 1
    length = min(max(span / _BLOCKS, _LEAST_BLOCK_S), _MOST_BLOCK_S, span / _LEAST_BLOCKS)
    numbers: npt.NDArray[np.int64] = (seconds / length).astype(np.int64)
    return numbers
