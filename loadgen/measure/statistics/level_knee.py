"""The knee of a load with levels: the level above which the throughput no longer grows.

A segmented fit on the scale of logarithms: up to the knee the throughput grows like level^b with 0 <= b <= 1, because
users and rates can at most be served in proportion. Above the knee it is constant or falls, like level^c with
-1 <= c <= 0. A fall needs at least two levels above the knee: with only one, growth up to any point and a steep fall
after it would fit as well, with a throughput at the knee that no level had.
For each possible knee the least squares of the levels are computed, each level weighted by its error. The 95 % interval
contains all knees whose sum of squares is within 3.84 of the least one. 3.84 is the quantile of chi square with one
degree of freedom. If even the best fit is worse than the errors explain, the throughput bends slowly, and this limit is
wider by the same factor.

A knee is found only if the interval excludes the lowest and the highest level. Otherwise the result is "still growing",
"never grew" or "not decided".

The error of a level comes from five parts of its time (`LevelRate.error`). Source of the method: G. A. F. Seber and
C. J. Wild, "Nonlinear Regression", ch. 9 (join points by the profile of the sum of squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Final, Literal

import numpy as np

from loadgen.measure.statistics.mean_of_batches import T_QUANTILE

__all__ = ["LEAST_LEVELS", "LevelKnee", "LevelRate", "find_level_knee", "rate_of_parts"]

KneeVerdict = Literal["found", "still growing", "never grew", "not decided"]
LEAST_LEVELS: Final = 3
PARTS: Final = 5
_LEAST_ERROR: Final = 0.01
"""The least standard error of a logarithm. Smaller errors would make the bend of any real curve a misfit."""
_CHI_95: Final = 3.84
_Z: Final = 1.96
_GRID: Final = 121
_SURE_GROWTH: Final = 0.1
"""Less growth, as a power of the level, does not count as growing."""


@dataclass(frozen=True, slots=True)
class LevelRate:
    """The throughput of one level. value: users or iterations/s. error: standard error of its logarithm, or None."""

    value: float
    per_s: float
    error: float | None


@dataclass(frozen=True, slots=True)
class LevelKnee:
    """The result of the fit. value, low, high: the knee with its 95 % interval, of a found one. why: of another."""

    verdict: KneeVerdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    per_s: float | None = None
    """The throughput at the knee."""
    why: str = ""


def rate_of_parts(value: float, counts: Sequence[float], interval_s: float) -> LevelRate | None:
    """Return the throughput of a level from the counts of its intervals; None without intervals.

    Its error comes from the spread of five parts, and is None with fewer than five intervals or an empty part.
    """
    if not counts:
        return None
    per_s = sum(counts) / len(counts) / interval_s
    error = None
    if len(counts) >= PARTS and per_s > 0:
        means = np.array([part.mean() for part in np.array_split(np.asarray(counts, dtype=float), PARTS)])
        # Widened, because five values show their own spread only roughly.
        error = float(means.std(ddof=1) / means.mean() / sqrt(PARTS)) * T_QUANTILE / _Z
    return LevelRate(value, per_s, error)


def find_level_knee(rates: Sequence[LevelRate]) -> LevelKnee:
    """Return the level above which the throughput no longer grows. rates: of the levels, in any order.

    Cost: 30 to 100 ms.
    """
    known = sorted((one for one in rates if one.per_s > 0), key=lambda one: one.value)
    if len(known) < LEAST_LEVELS:
        return LevelKnee("not decided", why=f"fewer than {LEAST_LEVELS} levels have a throughput")
    errors = [one.error for one in known]
    if any(error is None or not isfinite(error) for error in errors):
        return LevelKnee("not decided", why=f"a level was measured for fewer than {PARTS} intervals")
    x = np.log([one.value for one in known])
    y = np.log([one.per_s for one in known])
    sigma = np.maximum([error or 0.0 for error in errors], _LEAST_ERROR)
    knees = np.linspace(x[0], x[-1], _GRID)
    fits = [_fit(x, y, sigma, float(knee)) for knee in knees]
    squares = np.array([one for one, _ in fits])
    best = int(squares.argmin())
    misfit = max(1.0, float(squares[best]) / max(1, len(known) - 4))
    inside = np.flatnonzero(squares <= squares[best] + _CHI_95 * misfit)
    first, last = int(inside[0]), int(inside[-1])
    if first == 0 and last == _GRID - 1:
        if _most_growth(x, y, sigma) < _SURE_GROWTH:
            return LevelKnee("never grew")
        return LevelKnee("not decided", why="the throughput varies too much")
    if last == _GRID - 1:
        step = float(x[-1] - x[-2])
        growth, error = float(y[-1] - y[-2]) / step, sqrt(float(sigma[-1] ** 2 + sigma[-2] ** 2)) / step
        if growth - _Z * error > _SURE_GROWTH:
            return LevelKnee("still growing")
        return LevelKnee("not decided", why="it is not clear whether the throughput still grows at the highest level")
    if first == 0:
        return LevelKnee("never grew")
    low, value, high = (float(np.exp(knees[k])) for k in (first, best, last))
    return LevelKnee("found", value, low, high, float(np.exp(fits[best][1])))


def _most_growth(x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> float:
    """Return the upper end of the 95 % interval of the power with which the throughput grows over all levels."""
    weights = 1 / sigma**2
    away = x - (weights * x).sum() / weights.sum()
    spread = float((weights * away**2).sum())
    return float((weights * away * y).sum()) / spread + _Z / sqrt(spread)


def _fit(x: np.ndarray, y: np.ndarray, sigma: np.ndarray, knee: float) -> tuple[float, float]:
    """Return (weighted sum of squares, logarithm of the throughput at the knee) of the best fit with this knee.

    x, y, sigma: (n,) float64, logarithms of levels and throughputs, and the errors of the latter.
    """
    below, above = np.minimum(x, knee) - knee, np.maximum(x, knee) - knee
    best = (float("inf"), 0.0)
    # The slopes are bounded, and the solution is free or at a bound for each of them.
    slopes_above = (None, 0.0, -1.0) if (x > knee).sum() > 1 else (0.0,)
    for b in (None, 0.0, 1.0):
        for c in slopes_above:
            rest = y - (0.0 if b is None else b) * below - (0.0 if c is None else c) * above
            columns = [np.ones_like(x), *([below] if b is None else []), *([above] if c is None else [])]
            of = np.stack(columns, axis=1) / sigma[:, None]
            found, *_ = np.linalg.lstsq(of, rest / sigma, rcond=None)
            free = iter(found[1:].tolist())
            slope_below, slope_above = (next(free) if b is None else b), (next(free) if c is None else c)
            if not (0 <= slope_below <= 1 and -1 <= slope_above <= 0):
                continue
            squares = float((((of @ found) - rest / sigma) ** 2).sum())
            best = min(best, (squares, float(found[0])))
    return best
