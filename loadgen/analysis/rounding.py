"""Notices the rounding of a series: how large its unit is, as a share of the values.

    rounding_share(np.log([33.0, 34.0, 33.0, 35.0]))      # 0.03: whole numbers, and 1 is 3 % of 33

The median of rounded values moves in whole units. A level that rises by 0.1 % can then move its median by 3 %. So a
step between rounded values is measured by `middle_mean`, and it counts only if rounding cannot explain it.
"""

from __future__ import annotations

from math import floor, log10
from typing import Final

import numpy as np

from loadgen.analysis.values_to_float_array import Array

__all__ = ["middle_mean", "rounding_share"]

_LARGEST: Final = 300.0
"""Logarithms beyond this, and differences of them, are not searched for rounding: `exp` of 710 overflows."""
_PLACES: Final = 3
"""The number of decimal places that are tried. Units below 1 / 1,000 of the smallest value do not matter."""
_EXACT: Final = 1e-4
"""The largest distance from a whole number of units. The relative error of `exp(log(x))` is some 1e-15."""
_MIXED: Final = 0.1
"""The minimum share of values that differ from their neighbour, for the smallest distance of values to be a unit.
Levels without noise have a smallest distance, too, and rarely differ from their neighbours."""


def rounding_share(values: Array) -> float:
    """Return the unit to which values were rounded, as a share of their median; 0 if no rounding is noticed.

    The unit is the larger one of two. The first is the highest decimal place of which all values are whole multiples.
    The second is the smallest distance of two different values if all distances are whole multiples of it. It shows
    rounding of values that were divided later, and clocks with a resolution such as 4 ms.

    Args:
        values: shape (n,), natural logarithms, finite, in any order; n may be 0.
    """
    if not len(values) or np.abs(values).max() > _LARGEST:
        return 0.0
    middle = float(np.median(values))
    return max(_decimal_unit(values, middle), _smallest_distance(values, middle))


def middle_mean(values: Array) -> float:
    """Return the mean of the middle half of the values, at least one. It moves evenly where a median moves in units."""
    quarter = len(values) // 4
    return float(np.sort(values)[quarter : len(values) - quarter].mean())


def _decimal_unit(values: Array, middle: float) -> float:
    linear = np.unique(np.exp(values))
    highest = floor(log10(linear[0]) + _EXACT)
    for place in range(highest, highest - _PLACES, -1):
        unit = 10.0**place
        if _is_whole(linear / unit):
            return float(unit / np.exp(middle))
    return 0.0


def _smallest_distance(values: Array, middle: float) -> float:
    if np.count_nonzero(np.diff(values)) <= _MIXED * len(values):
        return 0.0
    distances = np.diff(np.unique(np.exp(values - middle)))
    has_ties = 2 * len(distances) <= len(values)
    if not has_ties or not distances.size:
        return 0.0
    smallest = float(distances.min())
    return smallest if _is_whole(distances / smallest) else 0.0


def _is_whole(counts: Array) -> bool:
    return bool((np.abs(counts - np.round(counts)) < _EXACT).all())
