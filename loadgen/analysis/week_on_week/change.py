"""Compares two weeks of production by matching hours: the same hour of the same weekday.

    found = change_of_volume(before, after)            # (7, 24) each, requests an hour, nan for gaps
    found.change, found.low, found.high                # 0.04, -0.01, 0.09: 4 % more

Each pair of days gives one figure from the hours that both days have: the log ratio of the two sums. Their mean is the
change. Days resemble their neighbours, so the standard error is that of Newey and West (Econometrica 55, 1987) with
Bartlett's weights, and never below that of independent days. Seven days are few for it: its variance is multiplied by
1 + (11 × lags) / n, with n pairs of days. That was chosen by simulation: 95 % intervals of 5 to 28 days contain the
change in 92 % or more for autocorrelations up to 0.6. If days are independent, they are about twice as wide as needed.

If a day has no events at all, there is no log ratio. The result is then the mean difference, in the unit of the figure.

The interval treats the days as a sample of similar days. The comparison does not show a cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, nan, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.anomalies.hours import Hours
from loadgen.analysis.values_to_float_array import Array

__all__ = ["LEAST_DAYS", "WeekChange", "change_of_share", "change_of_volume", "days_of", "mean_with_interval"]

LEAST_DAYS: Final = 5
_LEAST_HOURS: Final = 12
"""A pair of days with fewer hours in common is left out."""
_WIDER: Final = 11.0


@dataclass(frozen=True, slots=True)
class WeekChange:
    """A change from one week to the next with its 95 % interval; nan without an answer, and `why` has the reason.

    Relative: 0.1 is 10 % more; if `is_difference`, in the unit of the figure (requests an hour, or a share). n_days:
    pairs of days. n_hours: pairs of hours.
    """

    change: float
    low: float
    high: float
    n_days: int
    n_hours: int
    is_difference: bool = False
    why: str = ""


def change_of_volume(before: Array, after: Array) -> WeekChange:
    """Return the change of the volume. before, after: shape (days, 24), events of each hour; nan: a gap.

    Raises:
        ValueError: the shapes differ.
    """
    both, chosen = _pairs(before, after)
    old, new = (np.where(both, one, 0.0).sum(axis=1)[chosen] for one in (before, after))
    hours = both.sum(axis=1)[chosen]
    return _changed(old / np.maximum(hours, 1), new / np.maximum(hours, 1), int(hours.sum()))


def change_of_share(bad_before: Array, before: Array, bad_after: Array, after: Array) -> WeekChange:
    """Return the change of the share of bad requests. All have shape (days, 24); nan: a gap.

    Raises:
        ValueError: the shapes differ.
    """
    both, chosen = _pairs(before + bad_before, after + bad_after)
    wrong_old, old, wrong_new, new = (
        np.where(both, one, 0.0).sum(axis=1) for one in (bad_before, before, bad_after, after)
    )
    chosen &= (old > 0) & (new > 0)
    return _changed(
        wrong_old[chosen] / old[chosen], wrong_new[chosen] / new[chosen], int(both.sum(axis=1)[chosen].sum())
    )


def mean_with_interval(days: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the mean of successive days and the ends of its 95 % interval; see the module. days: shape (n >= 2,)."""
    values = np.asarray(days, np.float64)
    n = len(values)
    rest = values - values.mean()
    lags = min(n - 1, max(1, int(1.5 * n ** (1 / 3))))
    independent = float((rest**2).sum()) / (n - 1)
    covariances = sum(2 * (1 - k / (lags + 1)) * float((rest[k:] * rest[:-k]).sum()) for k in range(1, lags + 1))
    variance = max(independent, independent + covariances / (n - 1)) * (1 + _WIDER * lags / n) / n
    half = float(special.stdtrit(n - 1, 0.975)) * sqrt(variance)
    middle = float(values.mean())
    return middle, middle - half, middle + half


def days_of(hours: Hours, first_slot: int, days: int = 7) -> Array:
    """Return the counts of whole days, shape (days, 24), nan for gaps and for hours outside. first_slot: at 0 h."""
    found = np.full(days * 24, nan)
    at = hours.first + np.arange(len(hours)) - first_slot
    inside = (at >= 0) & (at < len(found))
    found[at[inside]] = hours.count[inside]
    return found.reshape(days, 24)


def _pairs(before: Array, after: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(f"days have the shapes {before.shape} and {after.shape}: both must be (days, 24)")
    both = np.isfinite(before) & np.isfinite(after)
    return both, both.sum(axis=1) >= _LEAST_HOURS


def _changed(old: Array, new: Array, hours: int) -> WeekChange:
    n = len(old)
    if n < LEAST_DAYS:
        pairs = "1 pair of days has" if n == 1 else f"{n} pairs of days have"
        return WeekChange(
            nan, nan, nan, n, hours, why=f"{pairs} {_LEAST_HOURS} hours in common, and {LEAST_DAYS} are needed"
        )
    if (old > 0).all() and (new > 0).all():
        change, low, high = map(expm1, mean_with_interval(np.log(new / old)))
        return WeekChange(change, low, high, n, hours)
    change, low, high = mean_with_interval(new - old)
    return WeekChange(change, low, high, n, hours, is_difference=True)
