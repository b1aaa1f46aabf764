"""The good ratio of one run, as a sample of what the target does under this load, with its interval.

    interval_of_run(good, total, target=0.995)       # one value per slice, such as 1 s

A run is a sample, unlike a closed window of production. Its requests are not
independent: a slow second spoils many of them. So the run is cut into five
batches of whole slices. The variance of the batches, divided by that of
independent requests, is the design effect: with a design effect of 8, 8,000
requests say as much as 1,000 independent ones. The interval is Wilson's for
that number, with Student's t of 4 degrees of freedom instead of the normal
distribution, because five batches show little about their variance.

The design effect is never below 1, and never below that of ten half batches:
five batches alone are too similar by chance in one of twenty runs. If slices
that are a batch apart still depend on each other, batches do, too. Then the
run is too short for an interval.

Simulated coverage of the 95 % interval, `tests/statistics/test_run_sample.py`:
.96 for 600 s at 50/s with an autocorrelation of .9 from second to second. An
interval over requests covers .55 there, and one over minutes .89.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.values_to_float_array import Array, read_values

__all__ = ["BATCHES", "RunSample", "SampleState", "interval_of_run"]

BATCHES: Final = 5
_T: Final = 2.7764451051977987
"""Student's t with 4 degrees of freedom, 97.5 %."""
_FEW_BAD: Final = 10.0
"""With fewer expected bad requests, Wilson's interval is replaced by the exact one."""
_LEAST_SLICES: Final = 2 * BATCHES
_LAGS: Final = 6
"""Correlation is compared over this part of a batch: 1/6 of it, and the next 1/6."""
_REACH: Final = 0.01
"""The autocorrelation at the length of a batch that makes a run too short."""
_SURE: Final = 3.0
"""Standard errors of white noise: smaller correlations are noise. With 2, 1 in 20 quiet runs would be too short."""

SampleState = Literal["kept", "not kept", "undecided", "too short", "no traffic"]


@dataclass(frozen=True, slots=True)
class RunSample:
    """The answer for one run. Ratios are of good requests, 0 to 1."""

    state: SampleState
    ratio: float | None
    low: float | None
    high: float | None
    """low, high: the 95 % interval; None if the run is too short or has no traffic."""
    requests: float
    bad: float
    design_effect: float
    """At least 1: `requests` / `design_effect` independent requests would say as much."""
    method: Literal["Wilson", "Clopper-Pearson", ""]


def interval_of_run(good: npt.ArrayLike, total: npt.ArrayLike, *, target: object) -> RunSample:
    """Return the good ratio of a run with its interval, and whether the run keeps a target.

    Args:
        good, total: shape (slices,) each, requests per slice in order of time. Slices have the same width, and warm-up
            is left out. Interpolated counts may be fractions.
        target: the good ratio to keep, above 0 and below 1.

    Raises:
        ValueError: invalid counts or an invalid target.

    Source: design effect and effective sample: L. Kish, Survey Sampling, 1965, 8.2. Wilson: JASA 22, 1927.
    """
    of, right = read_values(total, "total"), read_values(good, "good")
    if of.shape != right.shape or (right < 0).any() or (right > of).any():
        raise ValueError("good and total must have one value per slice, with 0 <= good <= total")
    allowed = float(1 - exact_share(target))
    requests, bad = float(of.sum()), float((of - right).sum())
    if not requests:
        return RunSample("no traffic", None, None, None, 0.0, 0.0, 1.0, "")
    share = bad / requests
    if len(of) < _LEAST_SLICES:
        return RunSample("too short", 1 - share, None, None, requests, bad, 1.0, "")
    residual = (of - right) - share * of
    effect = max(1.0, _design_effect(residual, of, share, BATCHES), _design_effect(residual, of, share, 2 * BATCHES))
    if _reaches_beyond_a_batch(residual):
        return RunSample("too short", 1 - share, None, None, requests, bad, effect, "")
    n = requests / effect
    is_exact = n * allowed < _FEW_BAD
    low, high = _exact(share * n, n) if is_exact else _wilson(share, n)
    state: SampleState = "undecided"
    if high <= allowed:
        state = "kept"
    elif low > allowed:
        state = "not kept"
    method: Literal["Wilson", "Clopper-Pearson"] = "Clopper-Pearson" if is_exact else "Wilson"
    return RunSample(state, 1 - share, 1 - high, 1 - low, requests, bad, effect, method)


def _design_effect(residual: Array, of: Array, share: float, batches: int) -> float:
    """Return the variance of the share from batches, divided by that of independent requests; 1 without bad ones."""
    requests = float(of.sum())
    independent = share * (1 - share) * requests
    if independent <= 0:
        return 1.0
    edges = np.linspace(0, len(of), batches + 1).round().astype(np.intp)
    sums = np.add.reduceat(residual, edges[:-1])
    return float((sums**2).sum()) * batches / (batches - 1) / independent


def _reaches_beyond_a_batch(residual: Array) -> bool:
    """Return whether slices that are a batch apart still depend on each other.

    The correlation at the distance of a batch is too small to be seen in one run. So it is extrapolated, as if it fell
    by the same factor over each sixth of a batch.
    """
    n = len(residual)
    lags = max(n // BATCHES // _LAGS, 1)
    covariance = np.array([residual[: n - lag] @ residual[lag:] for lag in range(2 * lags + 1)]) / n
    near, far = float(covariance[1 : lags + 1].sum()), float(covariance[lags + 1 :].sum())
    if near <= _SURE * float(covariance[0]) * sqrt(lags / n):
        return False
    return bool(far / near > _REACH ** (lags * BATCHES / n))


def _wilson(share: float, n: float) -> tuple[float, float]:
    square = _T * _T
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _T / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _exact(bad: float, n: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson at the level of t(4); `bad` and `n` may be fractions."""
    tail = float(special.ndtr(-_T))
    low = float(special.betaincinv(bad, n - bad + 1, tail)) if bad > 0 else 0.0
    high = float(special.betaincinv(bad + 1, n - bad, 1 - tail)) if bad < n else 1.0
    return low, high
