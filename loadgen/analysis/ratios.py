"""Did more go wrong than before? Error ratios of runs, which come in clusters.

    judge_ratios({"POST /cart": Counts([3, 2, 4], [9000, 9000, 9000])}, {"POST /cart": Counts([95], [9000])})

A test over requests takes them as independent, and errors are not: a pool that runs dry
fails hundreds in a row. So the unit is the run here, too: ratios of new runs against
those of the history, by Welch's t. Of each side the variance is the largest of what was seen
between its runs, what batches within its runs say, and what chance alone would do; where
there are no batches, four times the latter.

Nothing is drawn in: that every tenth run has errors is how this target is.
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
"""0.1 points: with less nothing fails, however certain."""
_BATCHES: Final = 5
_CLUSTERED: Final = 4.0
_DF_OF_CHANCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """One name, one value a run each. Shapes (runs,)."""

    errors: npt.ArrayLike
    totals: npt.ArrayLike
    """Above 0."""
    error: npt.ArrayLike = ()
    """Standard error of errors / totals from the batches within the run; nan where there is none, empty: nowhere."""


@dataclass(frozen=True, slots=True)
class RatioEffect:
    """One name. Ratios are 0 to 1."""

    name: str
    before: float
    after: float
    low: float
    high: float
    """The 95 % interval of after - before."""
    p: float
    """One-sided, that there are no more errors than before."""
    p_adjusted: float
    """Holm's, over all names."""
    has_failed: bool

    @property
    def excess(self) -> float:
        return self.after - self.before


def judge_ratios(
    history: Mapping[str, Counts], new: Mapping[str, Counts], *, alpha: float = 0.01, least: float = LEAST_EXCESS
) -> tuple[RatioEffect, ...]:
    """Judge the names that both have, in the order of the history. One run on either side is enough to be compared.

    Args:
        alpha: of all names together, the chance of a failure where nothing has changed.
        least: an excess below it is none.

    Raises:
        ValueError: counts of different lengths, or of nothing; all faults.

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
    """Mean of the runs'."""
    variance: float = 0.0
    """Of one run."""
    df: float = 1.0

    @classmethod
    def of(cls, name: str, counts: Counts) -> _Side:
        errors, totals = (np.asarray(one, dtype=np.float64) for one in (counts.errors, counts.totals))
        within = np.asarray(counts.error, dtype=np.float64)
        if errors.ndim != 1 or errors.shape != totals.shape or within.shape not in ((0,), errors.shape):
            return cls(f"{name} has not as many errors as totals")
        if not len(totals) or not (totals > 0).all() or not ((errors >= 0) & (errors <= totals)).all():
            return cls(f"{name} has no requests, or more errors than requests")
        n = len(totals)
        known = within[np.isfinite(within)]
        likely = (errors.sum() + 1) / (totals.sum() + 2)  # rather than none where none was seen
        by_chance = float(likely * (1 - likely) / totals.mean())
        if len(known):
            found = [(float((known**2).mean()), (_BATCHES - 1.0) * len(known)), (by_chance, (_BATCHES - 1.0) * n)]
        else:
            found = [(by_chance * _CLUSTERED, _DF_OF_CHANCE)]
        ratios = errors / totals
        if n > 1:
            # Of few runs the spread is hardly known; what their batches say of the errors is as good here.
            found.append((float(ratios.var(ddof=1)), n - 1.0 if n > _BATCHES else max(n - 1.0, found[0][1])))
        variance, df = max(found)
        return cls("", n, float(ratios.mean()), variance, df)


def _compared(before: _Side, after: _Side) -> tuple[float, float]:
    """p, and half of the 95 % interval. A new run differs from others at least as much as those of the history."""
    variance, df = max((after.variance, after.df), (before.variance, before.df))
    parts = ((before.variance / before.runs, before.df), (variance / after.runs, df))
    error = sqrt(sum(part for part, _ in parts))
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / df for part, df in parts)
    p = float(special.stdtr(freedom, -(after.ratio - before.ratio) / error)) if error else 1.0
    return p, float(special.stdtrit(freedom, 0.975)) * error if error < inf else inf
