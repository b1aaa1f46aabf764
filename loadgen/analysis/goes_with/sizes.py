"""Puts an agreement of two series into figures that a reader can check: low and high steps, and the share explained.

The load differs from step to step. So the low and the high steps of a series are chosen among steps for which the load
and time predict about the same value of the objective: four groups of equal size, and of each the lower half and the
top tenth. The figures of these steps are as they were measured; nothing is adjusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.analysis.goes_with.values import Bools, Floats

__all__ = ["Size", "moved", "shared_part", "size_of"]

_GROUPS: Final = 4
_TOP: Final = 0.9
_LEAST_SHARED: Final = 30


@dataclass(frozen=True, slots=True)
class Size:
    """Medians of the series and weighted means of the objective, in low and in high steps, with their numbers."""

    low: float
    high: float
    judged_low: float
    judged_high: float
    n_low: int
    n_high: int


def moved(values: Floats, lag: int) -> Floats:
    """Return values so that step t has that of step t - lag; NaN where that is before or after the run."""
    found = np.full(len(values), np.nan)
    if lag > 0:
        found[lag:] = values[:-lag]
    elif lag < 0:
        found[:lag] = values[-lag:]
    else:
        found[:] = values
    return found


def size_of(values: Floats, judged: Floats, counts: Floats, expected: Floats) -> Size:
    """Return the objective in steps in which the series is low, and in which it is high.

    Args:
        values: the series, moved by its lag. judged, counts: the objective, and its requests. expected: what load and
            time predict of the objective, in any unit. All of shape (n,), NaN where unknown.
    """
    known = np.isfinite(values) & np.isfinite(judged) & (counts > 0)
    places = np.flatnonzero(known)
    low, high = np.zeros(len(values), dtype=np.bool_), np.zeros(len(values), dtype=np.bool_)
    order = places[np.argsort(expected[places], kind="stable")]
    for group in np.array_split(order, _GROUPS):
        if not len(group):
            continue
        middle, top = np.quantile(values[group], (0.5, _TOP))
        is_high = (values[group] >= top) & (values[group] > middle)
        high[group] = is_high
        low[group] = (values[group] <= middle) & ~is_high
    return Size(
        low=_median(values, low),
        high=_median(values, high),
        judged_low=_mean(judged, counts, low),
        judged_high=_mean(judged, counts, high),
        n_low=int(low.sum()),
        n_high=int(high.sum()),
    )


def shared_part(one: Floats, other: Floats) -> float:
    """Return the squared correlation of two residuals: the share of one that goes with the other, 0 to 1."""
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < _LEAST_SHARED:
        return 0.0
    first, second = one[known] - one[known].mean(), other[known] - other[known].mean()
    sizes = float((first**2).sum() * (second**2).sum())
    return float((first * second).sum()) ** 2 / sizes if sizes > 0 else 0.0


def _median(values: Floats, here: Bools) -> float:
    return float(np.median(values[here])) if here.any() else float("nan")


def _mean(values: Floats, counts: Floats, here: Bools) -> float:
    return float(np.average(values[here], weights=counts[here])) if here.any() else float("nan")
