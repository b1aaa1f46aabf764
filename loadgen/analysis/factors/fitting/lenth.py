"""Estimates the error of a two-level design without repeats from its own contrasts: Lenth's pseudo standard error.

Most contrasts of a design with many factors are chance alone. Their median size shows how large chance is, because a
few real effects do not move it. The test statistic, contrast / pseudo standard error, has no simple distribution; its
tail is simulated once per number of contrasts with a fixed seed. Its only error is that of the simulation.

Source: R. Lenth, Technometrics 31, 1989. Simulated tail: K. Ye, M. Hamada, Journal of Quality Technology 32, 2000.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_CONTRASTS", "Null", "contrasts", "null_of", "pseudo_error"]

Floats = npt.NDArray[np.float64]
LEAST_CONTRASTS: Final = 7
"""With 3 contrasts (2 factors) one real effect is a third of them, and nothing can be found."""
_VALUES: Final = 600_000
_SEED: Final = 1989


def pseudo_error(contrasts: Floats) -> Floats:
    """Return the standard error of a contrast from all contrasts of the design, shape (..., contrasts) -> (...)."""
    size = np.sort(np.abs(contrasts), axis=-1)
    count = size.shape[-1]
    first = 1.5 * (size[..., (count - 1) // 2] + size[..., count // 2]) / 2
    chance = (size <= 2.5 * first[..., None]).sum(axis=-1)  # At least half of them.
    middle = np.stack(((chance - 1) // 2, chance // 2), axis=-1)
    middle_two: Floats = np.take_along_axis(size, middle, axis=-1)
    return 0.75 * (middle_two[..., 0] + middle_two[..., 1])


class Null:
    """The distribution of |contrast| / pseudo error where nothing has an effect."""

    def __init__(self, contrasts: int) -> None:
        rows = max(1_000, _VALUES // contrasts)
        drawn = np.random.default_rng(_SEED).standard_normal((rows, contrasts))
        self._sorted = np.sort((np.abs(drawn) / pseudo_error(drawn)[:, None]).ravel())

    def tail(self, value: npt.ArrayLike) -> Floats:
        """Return the two-sided p-value of statistics of this size."""
        above = len(self._sorted) - np.searchsorted(self._sorted, np.abs(value), side="left")
        return np.asarray((above + 1.0) / (len(self._sorted) + 1.0), dtype=np.float64)

    def quantile(self, tail: float) -> float:
        """Return the value that the statistic exceeds with this probability."""
        return float(np.quantile(self._sorted, 1.0 - tail))


@lru_cache(maxsize=8)
def null_of(contrasts: int) -> Null:
    """Return the distribution for this number of contrasts; 50 ms the first time."""
    return Null(contrasts)


def contrasts(signs: Floats) -> Floats | None:
    """Return all orthogonal contrasts of a two-level design, low orders first; None if the design has fewer.

    signs: -1 or +1 of each factor in each cell, shape (cells, factors). The result has shape (cells, cells - 1).
    """
    cells, factors = signs.shape
    columns: dict[bytes, Floats] = {}
    for order in range(1, factors + 1):
        for some in combinations(range(factors), order):
            column = signs[:, some].prod(axis=1)
            if abs(column.sum()) < 0.5:
                columns.setdefault((column * column[0]).astype(np.int8).tobytes(), column)
        if len(columns) >= cells - 1:
            break
    if len(columns) != cells - 1:
        return None
    whole = np.stack(list(columns.values()), axis=1)
    is_orthogonal = np.abs(whole.T @ whole - cells * np.eye(cells - 1)).max() < 0.5
    return whole if is_orthogonal else None
