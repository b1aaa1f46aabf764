"""Whether the target drifted during a sweep: the trend of control runs, which all ran the same cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from scipy.stats import t as student

__all__ = ["LEAST_CONTROLS", "Drift", "drift_of"]

LEAST_CONTROLS = 3


@dataclass(frozen=True, slots=True)
class Drift:
    """The trend of the control runs, from the first to the last of them."""

    change: float
    """On the scale of the values that were given: for logarithms 0.1 is about +10 %."""
    low: float
    high: float
    """low, high: its interval."""
    n: int

    @property
    def is_found(self) -> bool:
        """Return whether "no drift" is outside the interval."""
        return not self.low <= 0.0 <= self.high


def drift_of(places: Sequence[float], values: Sequence[float], level: float = 0.95) -> Drift | None:
    """Return the least-squares trend of values at these places; None with fewer than 3 different places.

    The interval is Student's t with n - 2 degrees of freedom.

    places: the numbers of the runs in their order. values: logarithms of the response, or the response itself.
    """
    x, y = np.asarray(places, dtype=float), np.asarray(values, dtype=float)
    if len(x) < LEAST_CONTROLS or len(np.unique(x)) < LEAST_CONTROLS:
        return None
    span = float(x.max() - x.min())
    away = (x - x.mean()) / span
    squares = float(away @ away)
    slope = float(away @ y) / squares
    rest = y - y.mean() - slope * away
    error = sqrt(float(rest @ rest) / (len(x) - 2) / squares)
    half = float(student.ppf((1 + level) / 2, len(x) - 2)) * error
    return Drift(slope, slope - half, slope + half, len(x)) if isfinite(half) else None
