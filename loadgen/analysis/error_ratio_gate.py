"""Judges whether new runs have more errors than a history, from the error ratios of whole runs.

    judge_ratios({"POST /cart": Counts([3, 2, 4], [9000, 9000, 9000])}, {"POST /cart": Counts([95], [9000])})

A test over requests assumes that they are independent, but errors come in clusters: an
empty pool fails hundreds of requests in a row. So the unit is the run: the ratios of new
runs are compared with those of the history by Welch's t. The variance of each side is the
largest of three: the variance between its runs, the variance between batches within its
runs, and the variance of independent requests. Without batches, the last one counts four
times.

Outliers are not moved towards the median: if every tenth run has errors, that is a
property of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.gate import holm

__all__ = ["LEAST_EXCESS", "Counts", "RatioEffect", "judge_ratios"]

LEAST_EXCESS: Final = 0.001
"""0.1 percentage points: a smaller increase never fails, however certain it is."""
_BATCHES: Final = 5
_CLUSTERED: Final = 4.0
_DF_OF_CHANCE: Final = 30.0


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

    Source: B. L. Welch, Biometrika 34, 1947; Holm's correction as in `gate.py`.
    """
    names = [name for name in history if name in new]
    sides = {name: (_Side.of(name, history[name]), _Side.of(name, new[name])) for name in names}
    if wrong := [one.wrong for pair in sides.values() for one in pair if one.wrong]:
        raise ValueError("; ".join(wrong))
    tests = [_compared(*sides[name]) for name in names]
    adjusted = holm(np.array([p for p, _ in tests]))
    return tuple(
        RatioEffect(
            name=name,
            before=sides[name][0].ratio,
            after=(after := sides[name][1].ratio),
            low=(difference := after - sides[name][0].ratio) - half,
            high=difference + half,
            p=p,
            p_adjusted=float(holms),
            has_failed=bool(holms < alpha and difference >= least),
        )
        for name, (p, half), holms in zip(names, tests, adjusted, strict=True)
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
        return cls("", n, float(ratios.mean()), variance, df)


def _compared(before: _Side, after: _Side) -> tuple[float, float]:
    """Test whether the ratio has risen: return the one-sided p-value, and half the width of the 95 % interval.

    New runs are assumed to vary at least as much as those of the history.
    """
    variance, df = max((after.variance, after.df), (before.variance, before.df))
    parts = ((before.variance / before.runs, before.df), (variance / after.runs, df))
    error = sqrt(sum(part for part, _ in parts))
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / df for part, df in parts)
    p = float(special.stdtr(freedom, -(after.ratio - before.ratio) / error)) if error else 1.0
    return p, float(special.stdtrit(freedom, 0.975)) * error if error < inf else inf
