"""Decides whether a level was saturated: the requests in flight and the time to the first token both grew in it.

A service that receives more requests than it can serve has a queue that grows, and each request waits longer than the
request before it. So both signals have a slope. The slope is that of a line through their means over 5 s. A level is
saturated if the 95 % intervals of both slopes are above 0. Both are needed: requests in flight also grow if answers
become longer, and times to the first token also grow if prompts become longer.

Neighbouring means are correlated, because a queue at one time depends on the queue before. Plain least squares would
find a significant slope in up to 30 % of the steady levels. So the error of the slope is that of an AR(1) process whose
correlation is estimated from the residuals. A fitted line lowers a correlation r of n residuals by about (2 + 4r)/n,
and the estimate corrects this. `tests/statistics/test_saturation.py` counts how often a steady level is marked:
docs/llm-sweeps.md has the results.

A slope must also be large enough: over the level, both signals must grow by at least a tenth of their mean. On a target
without noise, any small drift would be significant.

In a closed load (users) the requests in flight cannot grow while a level lasts, so its levels are never saturated.
For closed loads, the knee shows the limit (`level_knee.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.statistics.mean_of_batches import t_quantile

__all__ = ["LEAST_POINTS", "POINT_S", "Slope", "is_saturated", "means_of_parts", "slope_of"]

POINT_S: Final = 5.0
"""Length of the means, s."""
LEAST_POINTS: Final = 6
"""The slope of fewer means (30 s) is unknown, because their correlation cannot be estimated."""
_TAIL: Final = 0.025
_MOST_RHO: Final = 0.9
_LEAST_GROWTH: Final = 0.1


@dataclass(frozen=True, slots=True)
class Slope:
    """How a signal changed: its slope per second with its 95 % interval, and its growth over the level."""

    per_s: float
    low: float
    high: float
    growth: float
    """Change from begin to end of the level, as a share of the mean."""

    @property
    def is_up(self) -> bool:
        """Return whether the signal grew significantly, and by at least a tenth of its mean."""
        return self.low > 0 and self.growth >= _LEAST_GROWTH


def is_saturated(in_flight: Slope | None, ttft: Slope | None) -> bool | None:
    """Return whether both signals grew; None if one of them is unknown."""
    return None if in_flight is None or ttft is None else in_flight.is_up and ttft.is_up


def means_of_parts(sums: Sequence[float], counts: Sequence[float], interval_s: float) -> list[float]:
    """Return the means over 5 s of a signal, from its sums and counts by interval; NaN where a part has no count.

    Intervals that do not fill the last part are left out.
    """
    size = max(1, round(POINT_S / interval_s))
    found = []
    for k in range(0, len(sums) - size + 1, size):
        n = sum(counts[k : k + size])
        found.append(sum(sums[k : k + size]) / n if n else float("nan"))
    return found


def slope_of(means: Sequence[float], step_s: float = POINT_S) -> Slope | None:
    """Return the slope of a signal from its means over parts of `step_s`; None if fewer than six means are known.

    means: in order; NaN for an unknown mean. Cost: 0.1 ms.
    """
    y = np.asarray(means, dtype=float)
    known = np.flatnonzero(~np.isnan(y))
    n = len(known)
    if n < LEAST_POINTS:
        return None
    y, t = y[known], known * step_s
    mean, t = float(y.mean()), t - t.mean()
    squares = float(t @ t)
    per_s = float(t @ y) / squares
    rest = y - mean - per_s * t
    left = float(rest @ rest)
    rho = _correlation(rest, left)
    # Under AR(1): the variance of the slope, and the share of the variance that the residuals of the line have.
    likeness = rho ** np.abs(np.subtract.outer(known, known))
    of_slope = float(t @ likeness @ t) / squares**2
    columns = np.column_stack([np.ones(n), t])
    hat = columns @ np.linalg.pinv(columns)
    freedom = float(np.trace((np.eye(n) - hat) @ likeness))
    error = float(np.sqrt(left / freedom * of_slope))
    half = t_quantile(_TAIL, max(2.0, n * (1 - rho) / (1 + rho) - 2)) * error
    growth = per_s * float(t[-1] - t[0]) / mean if mean > 0 else 0.0
    return Slope(per_s, per_s - half, per_s + half, growth)


def _correlation(rest: np.ndarray, squares: float) -> float:
    """Return the correlation of neighbouring residuals of a line, corrected for their number; from 0 to 0.9.

    rest: the residuals. squares: the sum of their squares.
    """
    n = len(rest)
    raw = float(rest[1:] @ rest[:-1]) / squares if squares > 0 else 0.0
    # The residuals of a line through n points of an AR(1) have a correlation of about rho - (2 + 4 rho) / n.
    return min(max((n * raw + 2) / (n - 4), 0.0), _MOST_RHO)
