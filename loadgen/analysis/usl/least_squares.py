"""Least squares for the Universal Scalability Law, for one data set or for a thousand at once.

The law is solved in the form X(N) = N / (a + b N + c N (N - 1)). With gamma = 1 / (a + b), alpha = b / (a + b) and
beta = c / (a + b), the limits 0 <= alpha <= 1 and beta >= 0 are a, b, c >= 0, and N / X is linear in a, b, c. So a
weighted linear fit is a good start, and the peak is at sqrt(a / c). Loads and throughputs are divided by their largest
value first: loads of 10^6 and throughputs of 10^-3 are as easy as others.

Steps are Levenberg-Marquardt's, with Marquardt's scaling. A coefficient at 0 whose slope points below 0 is held there
(active set), and steps are cut at 0. The solver takes the best of several starts: linear fits with two weights, the
best shapes of a coarse grid, and each law with fewer coefficients.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from scipy import optimize

from loadgen.analysis.usl.curve import Coefficients
from loadgen.analysis.values_to_float_array import Array

__all__ = ["AMDAHL", "FULL", "LINEAR", "Scaled"]

FULL: Final = (True, True, True)
AMDAHL: Final = (True, True, False)
LINEAR: Final = (True, False, False)
"""Which of a, b, c a law has."""

Free = tuple[bool, bool, bool]
_STEPS: Final = 200
_FINE, _ROUGH = 1e-13, 1e-7
"""A fit ends when a step makes the sum of squares smaller by less than this share."""
_GRID_STARTS: Final = 6
_PEAKS: Final = tuple(np.geomspace(0.02, 50, 18))
_ALPHAS: Final = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99)


class Scaled:
    """A data set whose loads and throughputs are divided by their largest values.

    load, throughput: shape (n,), finite, above 0.
    """

    def __init__(self, load: Array, throughput: Array) -> None:
        self._load_unit, self._unit = float(load.max()), float(throughput.max())
        self._u = load / self._load_unit
        self._y = throughput / self._unit
        self._columns = np.column_stack([np.ones_like(self._u), self._u, self._u * (self._u - 1 / self._load_unit)])
        self._solved: dict[Free, Coefficients] = {}

    def fit(self, free: Free = FULL) -> Coefficients:
        """Return the coefficients with the least sum of squares; the same law is solved only once."""
        if free not in self._solved:
            self._solved[free] = self._best(free)
        return self._solved[free]

    def _best(self, free: Free) -> Coefficients:
        starts = self._starts(free)
        found, squares = self._solve(np.repeat(self._y[None], len(starts), axis=0), starts, free)
        return self._coefficients(found[int(np.argmin(squares))])

    def refit(self, throughputs: Array, start: Coefficients) -> Array:
        """Return alpha, beta and gamma for other throughputs at the same loads.

        throughputs: shape (draws, n). Returns: shape (draws, 3). Cost: some 60 ms for 1,000 draws of 16 points.
        """
        y = throughputs / self._unit
        near = np.array(self._abc(start))
        without_peak = self._abc(self.fit(AMDAHL))
        best, least = self._solve(y, np.repeat(near[None], len(y), axis=0), FULL, _ROUGH)
        for other in (without_peak,):
            found, squares = self._solve(y, np.repeat(np.array(other)[None], len(y), axis=0), FULL, _ROUGH)
            is_better = squares < least * (1 - 1e-12)
            best[is_better], least[is_better] = found[is_better], squares[is_better]
        return np.array([self._coefficients(row) for row in best])

    def _coefficients(self, abc: Array) -> Coefficients:
        unit = self._unit / self._load_unit
        a, b, c = float(abc[0]), float(abc[1]) / self._load_unit, float(abc[2]) / self._load_unit**2
        return Coefficients(b / (a + b), c / (a + b), unit / (a + b))

    def _abc(self, of: Coefficients) -> tuple[float, float, float]:
        scale = self._unit / self._load_unit / of.gamma
        return (
            scale * (1 - of.alpha),
            scale * of.alpha * self._load_unit,
            scale * of.beta * self._load_unit**2,
        )

    def _starts(self, free: Free) -> Array:
        has = np.array(free)
        found = [self._linear(weights, has) for weights in (self._y**2 / self._u, self._y / self._u, self._u)]
        if free == FULL:
            grid = np.array([self._shape(peak, alpha) for peak, alpha in product(_PEAKS, _ALPHAS)])
            divisor = grid @ self._columns.T
            shape = np.where(divisor > 0, self._u / np.where(divisor > 0, divisor, 1.0), 0.0)
            height = (shape @ self._y) / np.maximum((shape**2).sum(axis=1), 1e-300)
            squares = ((self._y - height[:, None] * shape) ** 2).sum(axis=1)
            squares[(divisor <= 0).any(axis=1) | (height <= 0)] = np.inf
            best = np.argsort(squares, kind="stable")[:_GRID_STARTS]
            found += [grid[i] / height[i] for i in best if np.isfinite(squares[i])]
            found += [
                self._linear(self._y**2 / self._u, np.array(part)) for part in (AMDAHL, LINEAR, (True, False, True))
            ]
        return np.array(found)

    def _shape(self, peak: float, alpha: float) -> tuple[float, float, float]:
        """Return a, b, c of a peak, in units of the largest load, without their common scale."""
        return ((1 - alpha) / self._load_unit, alpha, (1 - alpha) / self._load_unit / peak**2)

    def _linear(self, weights: Array, has: np.ndarray) -> Array:
        """Return a, b, c of a weighted linear fit to N / X, all at least 0 and not all 0."""
        columns = self._columns[:, has] * weights[:, None]
        size = np.linalg.norm(columns, axis=0)
        size[size == 0] = 1.0
        solved, _ = optimize.nnls(columns / size, self._u / self._y * weights)
        abc = np.zeros(3)
        abc[has] = solved / size
        return (
            abc if self._is_valid(abc) else np.array([float((self._u**2).sum() / (self._u * self._y).sum()), 0.0, 0.0])
        )

    def _is_valid(self, abc: Array) -> bool:
        return bool((self._columns @ abc > 0).all() and abc[0] + abc[1] / self._load_unit > 0)

    def _solve(self, y: Array, start: Array, free: Free, precision: float = _FINE) -> tuple[Array, Array]:
        """Return a, b, c of each row of y and the sums of squares. y: shape (rows, n); start: shape (rows, 3)."""
        now = start.astype(np.float64).copy()
        has = np.array(free)
        damping = np.full(len(y), 1e-3)
        values, squares = self._values(now, y)
        running = np.isfinite(squares)
        for _ in range(_STEPS):
            rows = np.flatnonzero(running)
            if not len(rows):
                break
            divisor = now[rows] @ self._columns.T
            slopes = -(self._u / divisor**2)[:, :, None] * self._columns[None]
            residual = y[rows] - values[rows]
            downhill = np.einsum("rnk,rn->rk", slopes, residual)
            held = ((now[rows] <= 0) & (downhill <= 0)) | ~has
            normal = np.einsum("rnk,rnl->rkl", slopes, slopes)
            size = np.sqrt(np.maximum(np.einsum("rkk->rk", normal), 1e-300))
            normal = normal / size[:, :, None] / size[:, None, :]
            normal[held[:, :, None] | held[:, None, :]] = 0.0
            diagonal = np.arange(3)
            normal[:, diagonal, diagonal] = np.where(held, 1.0, 1.0 + damping[rows][:, None])
            step = np.linalg.solve(normal, np.where(held, 0.0, downhill / size)[:, :, None])[:, :, 0] / size
            tried = np.maximum(now[rows] + step, 0.0)
            new_values, new_squares = self._values(tried, y[rows])
            is_better = new_squares < squares[rows]
            gain = np.where(is_better, squares[rows] - new_squares, np.inf)
            moved = np.abs(tried - now[rows]).max(axis=1) / np.maximum(now[rows].max(axis=1), 1e-300)
            kept = rows[is_better]
            ended = is_better & (gain <= precision * squares[rows]) & (moved < 1e-9 + precision)
            ended |= (moved < 1e-14) | (damping[rows] > 1e12)
            now[kept], values[kept], squares[kept] = tried[is_better], new_values[is_better], new_squares[is_better]
            damping[rows] = np.where(is_better, np.maximum(damping[rows] / 10, 1e-12), damping[rows] * 10)
            running[rows[ended]] = False
        return now, squares

    def _values(self, abc: Array, y: Array) -> tuple[Array, Array]:
        """Return the law's values and the sum of squares of each row; inf where a divisor is not above 0."""
        divisor = abc @ self._columns.T
        is_valid = (divisor > 0).all(axis=1) & (abc[:, 0] + abc[:, 1] / self._load_unit > 0)
        values = self._u / np.where(divisor > 0, divisor, 1.0)
        with np.errstate(over="ignore"):
            squares = ((y - values) ** 2).sum(axis=1)
        return values, np.where(is_valid & np.isfinite(squares), squares, np.inf)
