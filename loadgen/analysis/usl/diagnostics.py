"""Whether the residuals of a fit look like chance: their runs along the load, and lack of fit against repeats."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats

from loadgen.analysis.values_to_float_array import Array

__all__ = ["LackOfFit", "SignRuns", "lack_of_fit", "sign_runs"]


@dataclass(frozen=True, slots=True)
class LackOfFit:
    """The F test of a law against the scatter of repeats. A small `p`: the law misses the means by more than chance."""

    f: float
    """The mean square of the law's misses, divided by that of the repeats."""
    df: tuple[int, int]
    p: float


@dataclass(frozen=True, slots=True)
class SignRuns:
    """The runs of equal signs of the residuals, along the load. Few runs: the law misses in the same way for long.

    p: the probability of as few runs by chance; None if all residuals have the same sign.
    """

    runs: int
    above: int
    below: int
    expected: float
    p: float | None


def lack_of_fit(load: Array, throughput: Array, fitted: Array, coefficients: int) -> LackOfFit | None:
    """Test a law against repeats; None without repeats, or with as many coefficients as distinct loads.

    load, throughput, fitted: shape (n,).

    Source: Draper and Smith, Applied Regression Analysis, chapter 2.
    """
    distinct, where, count = np.unique(load, return_inverse=True, return_counts=True)
    df = (len(distinct) - coefficients, len(load) - len(distinct))
    if min(df) < 1:
        return None
    means = np.bincount(where, throughput) / count
    within = float(((throughput - means[where]) ** 2).sum())
    missed = float(((means[where] - fitted) ** 2).sum())
    if within <= 1e-24 * float((throughput**2).sum()):
        return None  # repeats without scatter: copies, not measurements
    f = (missed / df[0]) / (within / df[1])
    return LackOfFit(f, df, float(stats.f.sf(f, *df)))


def sign_runs(load: Array, residuals: Array) -> SignRuns:
    """Count the runs of signs of the mean residuals of each load. Residuals of 0 are left out.

    Source: Wald and Wolfowitz, Annals of Mathematical Statistics 11, 1940; exact probabilities for up to 200 loads.
    """
    distinct, where, count = np.unique(load, return_inverse=True, return_counts=True)
    means = np.bincount(where, residuals, len(distinct)) / count
    signs = means[means != 0] > 0
    above, below = int(signs.sum()), int((~signs).sum())
    runs = 1 + int((signs[1:] != signs[:-1]).sum()) if len(signs) else 0
    if not (above and below):
        return SignRuns(runs, above, below, float(bool(above or below)), None)
    both = above + below
    expected = 1 + 2 * above * below / both
    if both <= 200:
        few = sum(_ways(r, above, below) for r in range(2, runs + 1)) / comb(both, above)
    else:
        variance = (expected - 1) * (expected - 2) / (both - 1)
        few = float(stats.norm.cdf((runs + 0.5 - expected) / variance**0.5))
    return SignRuns(runs, above, below, expected, float(few))


def _ways(runs: int, above: int, below: int) -> int:
    """Return the number of orders of signs with this many runs."""
    half = runs // 2
    if runs % 2 == 0:
        return 2 * comb(above - 1, half - 1) * comb(below - 1, half - 1)
    return comb(above - 1, half) * comb(below - 1, half - 1) + comb(above - 1, half - 1) * comb(below - 1, half)
