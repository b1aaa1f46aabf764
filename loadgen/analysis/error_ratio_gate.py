"""Judges whether new runs have more errors than a history, from the error ratios of whole runs.

    judge_ratios({"POST /cart": Counts([3, 2, 4], [9000, 9000, 9000])}, {"POST /cart": Counts([95], [9000])})

A test over requests assumes that they are independent, but errors come in bursts: an
empty pool fails hundreds of requests in a row. So the errors are counted in bursts. If a
burst has `d` errors on average, the variance of a run's number of errors is `d` times its
mean. (If bursts differ in size, a burst counts by its errors: with a geometric
distribution `d` is twice the mean size.) `d` is the larger one of two estimates: from the
batches within the runs, and from the differences between runs. Then the number of bursts
in the new runs, errors / d, is compared with that in the history by the exact conditional
test for two Poisson rates. Without bursts (d = 1) this is the test over requests.

A burst larger than all that were seen can be the first one of its size. So one more burst,
as large as the largest one, is added before `d` is estimated from batches. If a new run has
errors and no batches, a single burst could be all of them. Then one burst of 800 errors is
added, and the p-value has Student's t instead of the normal distribution, because few runs
show little about `d`. The same applies if no run with errors has batches. Other runs of the
history that lack batches are left out of the first estimate.

The interval is Welch's, from the ratios of whole runs. The variance of each side is the
largest of three: the variance between its runs, the variance between batches within its
runs, and the variance of independent requests. Without batches, the last one counts four
times.

Outliers are not moved towards the median: if every tenth run has errors, that is a
property of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nan, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.gate import holm
from loadgen.analysis.values_to_float_array import Array

__all__ = ["LEAST_EXCESS", "Counts", "RatioEffect", "judge_ratios"]

LEAST_EXCESS: Final = 0.001
"""0.1 percentage points: a smaller increase never fails, however certain it is."""
_BATCHES: Final = 5
_CLUSTERED: Final = 4.0
_DF_OF_CHANCE: Final = 30.0
_UNSEEN: Final = 800.0
"""The errors of a burst where no batches show them. Bursts with a mean size of 200 count as 400 (see the module). With
400 here, 2.4 % of gates of 60 names failed without a change instead of 1 %."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The errors and requests of one name, one value per run. All have shape (runs,)."""

    errors: npt.ArrayLike
    totals: npt.ArrayLike
    """Requests; above 0."""
    error: npt.ArrayLike = ()
    """The standard error of errors / totals from the batches within each run; nan where unknown, empty if all are."""


@dataclass(frozen=True, slots=True)
class RatioEffect:
    """The comparison of one name. Ratios are 0 to 1."""

    name: str
    before: float
    after: float
    low: float
    high: float
    """low, high: the 95 % interval of after - before."""
    p: float
    """The one-sided p-value of the hypothesis that there are not more errors than before."""
    p_adjusted: float
    """The p-value with Holm's correction over all names."""
    has_failed: bool

    @property
    def excess(self) -> float:
        """Return the increase of the ratio: 0.01 is one percentage point more errors."""
        return self.after - self.before


def judge_ratios(
    history: Mapping[str, Counts], new: Mapping[str, Counts], *, alpha: float = 0.01, least: float = LEAST_EXCESS
) -> tuple[RatioEffect, ...]:
    """Judge for each name in both mappings whether the new runs have more errors; return one effect per name.

    Args:
        history, new: errors and requests by name; at least one run each. The result has the order of the history.
        alpha: the probability that any name fails although nothing has changed.
        least: a smaller increase of the ratio never fails.

    Raises:
        ValueError: counts are missing, invalid or of different lengths. The message lists all errors.

    Source: the test of two Poisson rates: J. Przyborowski, H. Wilenski, Biometrika 31, 1940, here with the dispersion
    of P. McCullagh, J. Nelder, Generalized Linear Models, 1989, 4.5. The interval: B. L. Welch, Biometrika 34, 1947.
    Holm's correction as in `gate.py`. `tools/how_often_wrong/error_ratios.py` simulates how often it is wrong.
    """
    names = [name for name in history if name in new]
    sides = {name: (_Side.of(name, history[name]), _Side.of(name, new[name])) for name in names}
    if wrong := [one.wrong for pair in sides.values() for one in pair if one.wrong]:
        raise ValueError("; ".join(wrong))
    p_values = [_p_of_bursts(*sides[name]) for name in names]
    adjusted = holm(np.array(p_values))
    return tuple(
        RatioEffect(
            name=name,
            before=sides[name][0].ratio,
            after=(after := sides[name][1].ratio),
            low=(difference := after - sides[name][0].ratio) - (half := _half_width(*sides[name])),
            high=difference + half,
            p=p,
            p_adjusted=float(holms),
            has_failed=bool(holms < alpha and difference >= least),
        )
        for name, p, holms in zip(names, p_values, adjusted, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Side:
    wrong: str
    runs: int = 1
    ratio: float = 0.0
    """The mean of the runs' ratios."""
    variance: float = 0.0
    """The variance of one run's ratio."""
    df: float = 1.0
    errors: float = 0.0
    """The number of errors in all runs."""
    requests: float = 0.0
    between: float = 0.0
    """The sum of the variances of the runs' numbers of errors, from the differences between runs; 0 for one run."""
    runs_with_errors: int = 0
    of_batches: Array = field(default_factory=lambda: np.zeros((0, 2)))
    """Two numbers for each run with errors whose batches are known: the errors, and the variance of their number from
    the batches. Shape (runs, 2)."""

    @classmethod
    def of(cls, name: str, counts: Counts) -> _Side:
        errors, totals = (np.asarray(one, dtype=np.float64) for one in (counts.errors, counts.totals))
        within = np.asarray(counts.error, dtype=np.float64)
        if errors.ndim != 1 or errors.shape != totals.shape or within.shape not in ((0,), errors.shape):
            return cls(f"{name} must have one value per run in errors and totals")
        if not len(totals) or not (totals > 0).all() or not ((errors >= 0) & (errors <= totals)).all():
            return cls(f"{name} has a run without requests, or with more errors than requests")
        n = len(totals)
        known = within[np.isfinite(within)]
        likely = (errors.sum() + 1) / (totals.sum() + 2)  # never 0, even if no error was seen
        by_chance = float(likely * (1 - likely) / totals.mean())
        if len(known):
            found = [(float((known**2).mean()), (_BATCHES - 1.0) * len(known)), (by_chance, (_BATCHES - 1.0) * n)]
        else:
            # Errors come in clusters. Without batches nothing shows how much that adds to the variance of independent
            # requests.
            found = [(by_chance * _CLUSTERED, _DF_OF_CHANCE)]
        ratios = errors / totals
        if n > 1:
            # Few runs tell little about their variance. Then the degrees of freedom of the batches are used.
            found.append((float(ratios.var(ddof=1)), n - 1.0 if n > _BATCHES else max(n - 1.0, found[0][1])))
        variance, df = max(found)
        # Runs without errors have no bursts. Their error is not known from batches, and it is not needed.
        has_errors = errors > 0
        of_runs = (within if len(within) else np.full(n, nan)) * totals
        expected = totals * (errors.sum() / totals.sum())
        return cls(
            "",
            n,
            float(ratios.mean()),
            variance,
            df,
            float(errors.sum()),
            float(totals.sum()),
            float(((errors - expected) ** 2).sum()) * n / (n - 1) if n > 1 else 0.0,
            int(has_errors.sum()),
            np.stack((errors, of_runs**2), axis=1)[has_errors & np.isfinite(of_runs)],
        )


def _p_of_bursts(before: _Side, after: _Side) -> float:
    """Return the one-sided p-value of the hypothesis that the ratio has not risen, with errors counted in bursts."""
    if not after.errors:
        return 1.0
    has_batches = len(before.of_batches) + len(after.of_batches) > 0 and len(after.of_batches) == after.runs_with_errors
    each = _errors_of_a_burst(before, after, has_batches)
    old, new = before.errors / each, after.errors / each
    # All requests are equally likely to be hit by a burst. So the number in the new runs is binomial, given the sum.
    # The incomplete beta function is its upper tail, also for numbers that are not whole.
    p = float(special.betainc(new, old + 1, after.requests / (before.requests + after.requests)))
    if has_batches:
        return p
    return float(special.stdtr(max(before.runs + after.runs - 2, 1), special.ndtri(p)))


def _errors_of_a_burst(before: _Side, after: _Side, has_batches: bool) -> float:
    """Return the dispersion: the variance of a run's number of errors, divided by its mean; at least 1.

    has_batches: whether the batches show how large the bursts of the new runs are.
    """
    errors, variances = np.concatenate((before.of_batches, after.of_batches)).T
    several = [side for side in (before, after) if side.runs > 1]
    between, of_several = sum(side.between for side in several), sum(side.errors for side in several)
    estimates = [1.0]
    if len(errors):
        largest = max(1.0, float((variances / errors).max()))
        estimates.append(float((variances.sum() + largest**2) / (errors.sum() + largest)))
    if not has_batches:
        estimates.append((between + _UNSEEN**2) / (of_several + _UNSEEN))
    elif of_several:
        estimates.append(between / of_several)
    return max(estimates)


def _half_width(before: _Side, after: _Side) -> float:
    """Return half the width of the 95 % interval of the difference of the ratios.

    New runs are assumed to vary at least as much as those of the history.
    """
    variance, df = max((after.variance, after.df), (before.variance, before.df))
    parts = ((before.variance / before.runs, before.df), (variance / after.runs, df))
    error = sqrt(sum(part for part, _ in parts))
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / df for part, df in parts)
    return float(special.stdtrit(freedom, 0.975)) * error if error < inf else inf
