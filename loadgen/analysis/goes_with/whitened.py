"""Makes series comparable: soft values, residuals on load and time, and what the series' own past does not predict.

Two series that drift, or that follow the same load, correlate without any relation (G. U. Yule, J. R. Stat. Soc. 89,
1926). So three things are taken out of each series:

1. its shape: asinh of the values, so a single huge value counts little (ranks were tried: they turn the noise between
   bursts into the larger part of the series);
2. the load and time: a linear regression on splines of the load, its last values and its slow means;
3. its past: an autoregression whose order AICc chooses (C. Hurvich, C.-L. Tsai, Biometrika 76, 1989).

The rests of unrelated series do not correlate at any lag (L. Haugh, J. Am. Stat. Assoc. 71, 1976).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.goes_with.values import Bools, Floats

__all__ = ["innovations", "load_columns", "residuals", "softened", "standardised"]

Ints = npt.NDArray[np.int64]

_KNOTS: Final = (0.25, 0.5, 0.75)
"""Quantiles of a load at which its straight line may bend: response times grow faster near saturation."""
_LAGS: Final = (1, 2)
_SLOW: Final = (5.0, 20.0)
"""Time constants in steps: a machine's load average follows the offered rate slowly."""
_LEAST_FOR_LAGS: Final = 300
_MOST_ORDER: Final = 10
_ROUNDS: Final = 3
_NORMAL: Final = 1.4826
"""The standard deviation of a normal distribution in units of its median distance from the median."""
_MOSTLY_EQUAL: Final = 0.05
_MOST_SCORE: Final = 5.0
_SMALL: Final = 1e-9


def softened(rows: Floats) -> Floats:
    """Return asinh of each row's distance from its median in units of its spread, with mean 0 and variance 1.

    Small differences stay as they are, and large ones count by their logarithm. The spread is that of the median
    distance; of the mean one if most values are equal.
    """
    known = np.isfinite(rows)
    filled = np.where(known.any(axis=1, keepdims=True), rows, 0.0)
    middle = np.nanmedian(filled, axis=1, keepdims=True)
    away = np.abs(filled - middle)
    usual = _NORMAL * np.nanmedian(away, axis=1, keepdims=True)
    mean = np.nanmean(away, axis=1, keepdims=True)
    spread = np.where(usual > _MOSTLY_EQUAL * mean, usual, mean)
    soft = np.arcsinh((filled - middle) / np.where(spread > 0, spread, 1.0))
    return standardised(np.where(known, soft, np.nan))


def standardised(rows: Floats) -> Floats:
    """Return rows with mean 0 and variance 1 of the known values; a constant row becomes 0."""
    known = np.isfinite(rows)
    counts = np.maximum(1, known.sum(axis=1, keepdims=True))
    filled = np.where(known, rows, 0.0)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / counts, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    scaled = centred / np.where(spread > _SMALL, spread, np.inf)
    return np.where(known, scaled, np.nan)


def load_columns(loads: Sequence[Floats], n: int) -> Floats:
    """Return the columns of the regression: a constant, time, and for each load that varies its splines and past.

    Shape of the result: (n, columns), columns orthonormal.
    """
    columns = [np.ones(n), np.linspace(-1.0, 1.0, n)]
    for values in loads:
        spread = float(values.std())
        if spread <= _SMALL * max(1.0, float(np.abs(values).max())):
            continue
        scaled = (values - values.mean()) / spread
        columns.append(scaled)
        columns += [np.maximum(scaled - np.quantile(scaled, knot), 0.0) for knot in _KNOTS]
        if n >= _LEAST_FOR_LAGS:
            columns += [_before(scaled, lag) for lag in _LAGS]
            columns += [_slow_mean(scaled, steps) for steps in _SLOW]
    left, sizes, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    independent: Floats = left[:, sizes > _SMALL * sizes[0]]
    return independent


def residuals(rows: Floats, columns: Floats) -> Floats:
    """Return what is left of each row after a regression on `columns`, which are orthonormal over all steps."""
    known = np.isfinite(rows)
    left = np.full(rows.shape, np.nan)
    whole = known.all(axis=1)
    left[whole] = rows[whole] - (rows[whole] @ columns) @ columns.T
    for at in np.flatnonzero(~whole):
        here = known[at]
        base, sizes, _ = np.linalg.svd(columns[here], full_matrices=False)
        base = base[:, sizes > _SMALL * sizes[0]]
        left[at, here] = rows[at, here] - base @ (base.T @ rows[at, here])
    return left


def innovations(rows: Floats, columns: Floats) -> Floats:
    """Return what neither the load nor its own past predicts of each row, with mean 0 and variance 1.

    Args:
        rows: soft values, shape (rows, n). columns: those of `load_columns`, shape (n, columns).

    Both parts are estimated in turn (D. Cochrane, G. Orcutt, J. Am. Stat. Assoc. 44, 1949): the weights of the past
    from the residuals, then the weights of the load from rows and columns without their past. A single regression
    before that was tried: it takes a random part of the load's noise out of each drifting series, which all of them
    then share.

    The first values of a row, as many as the order, are unknown. A gap is filled with its prediction, only to predict
    the next values; its own innovation stays unknown.

    Cost: 0.3 s for 200 rows of 1,800 steps; several times as much with gaps (`python -m bench goes_with`).
    """
    if not len(rows):
        return rows
    known = np.isfinite(rows)
    most = min(_MOST_ORDER, rows.shape[1] // 20)
    rest = residuals(rows, columns)
    weights = np.zeros((len(rows), most))
    for _ in range(_ROUNDS):
        filled = _filled(rest, known, weights)
        weights, orders = _autoregressions(filled, known, most)
        filled = _filled(rest, known, weights)
        is_used = known & (np.arange(rows.shape[1]) >= orders[:, None])
        rest = rest - _load_left(filled, columns, weights, is_used)
    left = _without_past(_filled(rest, known, weights), weights)
    left[~is_used] = np.nan
    return np.clip(standardised(left), -_MOST_SCORE, _MOST_SCORE)


def _load_left(filled: Floats, columns: Floats, weights: Floats, is_used: Bools) -> Floats:
    """Return the part of each row's residual that the load still explains, shape (rows, n)."""
    found = np.empty(filled.shape)
    ours = np.where(is_used, _without_past(filled, weights), 0.0)
    for at, (row, used) in enumerate(zip(weights, is_used, strict=True)):
        theirs = _without_past(columns.T, np.broadcast_to(row, (columns.shape[1], len(row))))[:, used]
        products = theirs @ theirs.T
        products += np.eye(len(products)) * _SMALL * (float(np.trace(products)) + _SMALL)
        found[at] = columns @ np.linalg.solve(products, theirs @ ours[at, used])
    return found


def _without_past(rows: Floats, weights: Floats) -> Floats:
    """Return each row minus the prediction from its own past."""
    left = rows.copy()
    for lag in range(1, weights.shape[1] + 1):
        if weights[:, lag - 1].any():
            left[:, lag:] -= weights[:, lag - 1 : lag] * rows[:, :-lag]
    return left


def _autoregressions(filled: Floats, known: Bools, most: int) -> tuple[Floats, Ints]:
    """Return the weights of each row's past, shape (rows, most), by least squares, and its order, by AICc."""
    rows, n = filled.shape
    lagged = np.stack([filled[:, most - lag : n - lag] for lag in (*range(1, most + 1), 0)], axis=1)
    here = known[:, most:].astype(np.float64)
    products = np.matmul(lagged * here[:, None, :], lagged.transpose(0, 2, 1))
    scale = products[:, -1, -1]
    products += np.eye(most + 1) * _SMALL * (scale[:, None, None] + _SMALL)
    # The last row of the Cholesky factor has the gain of each further lag.
    gains = np.linalg.cholesky(products)[:, -1, :-1] ** 2
    rests = scale[:, None] - np.concatenate((np.zeros((rows, 1)), np.cumsum(gains, axis=1)), axis=1)
    rests = np.maximum(rests, 1e-12 * scale[:, None] + 1e-300)
    count, free = here.sum(axis=1, keepdims=True), np.arange(most + 1) + 2.0
    penalty = 2 * free * count / np.maximum(count - free - 1, 1.0)
    orders = (count * np.log(rests / np.maximum(count, 1.0)) + penalty).argmin(axis=1)
    weights = np.zeros((rows, most))
    for order in np.unique(orders[orders > 0]):
        at = np.flatnonzero(orders == order)
        solved = np.linalg.solve(products[at, :order, :order], products[at, :order, -1][..., None])
        weights[at, :order] = solved[..., 0]
    return weights, orders


def _filled(rows: Floats, known: Bools, weights: Floats) -> Floats:
    """Return the rows with a prediction in each gap."""
    filled = np.where(known, rows, 0.0)
    most = weights.shape[1]
    if not weights.any():
        return filled
    for step in np.flatnonzero(~known.all(axis=0)):
        missing = np.flatnonzero(~known[:, step])
        first = max(0, step - most)
        past = filled[missing, first:step][:, ::-1]
        filled[missing, step] = (weights[missing, : step - first] * past).sum(axis=1)
    return filled


def _before(values: Floats, lag: int) -> Floats:
    return np.concatenate((np.repeat(values[:1], lag), values[:-lag]))


def _slow_mean(values: Floats, steps: float) -> Floats:
    mean, found = float(values[0]), np.empty(len(values))
    for at, value in enumerate(values.tolist()):
        mean += (value - mean) / steps
        found[at] = mean
    return found
