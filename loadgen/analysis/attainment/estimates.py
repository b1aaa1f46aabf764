"""How far the counts of a source that samples may be from the truth: the 95 % interval of its sampling.

    bad_range(bad, 0.1)       # (fewest, most) bad requests, if the source keeps a tenth of the requests

The source keeps each request with the same chance, whatever its result, and scales the counts up. So the number of bad
requests that it keeps has a binomial distribution: all bad requests, each with the probability `kept`. The exact test
of that number gives an interval for all bad requests. At `kept` 1 its ends are equal.

The interval is that of bad requests, divided by the scaled total. The total is from the same sample, and errs in the
same direction. So the interval of the share is a little too wide where many requests are bad, and never too narrow.

Source: C. Clopper, E. Pearson, Biometrika 26, 1934. `tests/statistics/test_estimates.py` counts the coverage.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.attainment.slices import CountedBy, Slices
from loadgen.analysis.values_to_float_array import Array

__all__ = ["bad_range", "sampling_spread", "widened"]

_TAIL = 0.025


def bad_range(bad: npt.ArrayLike, kept: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the 95 % interval of the true number of bad requests: (fewest, most), of the shape of `bad`.

    Args:
        bad: the scaled-up number, at least 0. kept: the part that the source keeps, above 0 and at most 1.
    """
    scaled, part = np.broadcast_arrays(np.asarray(bad, np.float64), np.asarray(kept, np.float64))
    seen, is_sampled = scaled * part, part < 1
    share = np.where(is_sampled, part, 0.5)  # of a valid argument; the result is not used
    most = seen + special.btdtria(_TAIL, seen + 1, 1 - share)
    fewest = seen + special.btdtrib(np.where(seen > 0, seen, 1.0), _TAIL, share) - 1
    fewest = np.where(seen > 0, np.minimum(fewest, scaled), 0.0)
    return np.where(is_sampled, fewest, scaled), np.where(is_sampled, np.maximum(most, scaled), scaled)


def widened(slices: Slices) -> Slices:
    """Return the slices with the sampling error of each slice in `low` and `high`."""
    fewest, most = bad_range(slices.bad, slices.kept)
    return replace(
        slices,
        low=np.maximum(slices.low - (most - slices.bad), 0.0),
        high=np.minimum(slices.high + (slices.bad - fewest), slices.total),
    )


def sampling_spread(slices: Slices, method: CountedBy) -> tuple[float, float]:
    """Return how much smaller and how much larger the good count may be by sampling, in the unit of
    the budgeting method.

    The estimate is a sum of sampled bad requests, each with a weight: the requests for which it stands, and for
    RatioTimeslices that number divided by all requests of its slice. Such a sum is treated as one sample with the same
    mean and variance, and the largest weight is added once for its upper end. With equal weights this is the exact
    interval. For Timeslices the result is (0, 0): use `widened`.

    Source: M. Fay, E. Feuer, Statistics in Medicine 16, 1997.
    """
    sampled = slices.take((slices.kept < 1) & (slices.total > 0))
    if method is CountedBy.TIMESLICES or not len(sampled):
        return 0.0, 0.0
    of = 1.0 if method is CountedBy.OCCURRENCES else sampled.total
    weight, seen = 1 / (sampled.kept * of), sampled.bad * sampled.kept
    kept, largest = float(sampled.kept.min()), float(weight.max())
    mean, variance = float((weight * seen).sum()), float((weight**2 * seen).sum())
    fewest = 0.0
    if mean:
        fewest = float(bad_range(mean**2 / variance / kept, kept)[0]) * kept * variance / mean
    mean_up, variance_up = mean + largest, variance + largest**2
    alike = mean_up**2 / variance_up - 1
    most = float(bad_range(alike / kept, kept)[1]) * kept * variance_up / mean_up
    return max(most - mean, 0.0), max(mean - fewest, 0.0)
