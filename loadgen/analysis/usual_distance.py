"""The distance from the median that is usual in a history: farther out is a tenth of its values, rounded up.

A median absolute deviation ignores up to half of the values: with 12 of 20 runs at 100 ms and 8 at 110 ms, it is 0, and
each run at 110 ms seems to be an outlier. Values that are rounded, or that come from two modes of the target, are often
like this. So values within the usual distance are never treated as outliers.
"""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np

from loadgen.analysis.values_to_float_array import Array

__all__ = ["usual_distance"]

_OUTLIERS_IN: Final = 10
"""Of each ten values one may be an outlier, also of the last ones that are fewer: of 14 values two. With one of 14, two
slow runs that were accepted by mistake would hide that the next one is slow as well."""


def usual_distance(apart: Array) -> Array:
    """Return the largest distance of each row that is not among the tenth with the largest ones, shape (rows, 1).

    apart: distances from the median of each row, shape (rows, n), n >= 1.
    """
    n = apart.shape[1]
    place = max(n - 1 - ceil(n / _OUTLIERS_IN), 0)
    usual: Array = np.partition(apart, place, axis=1)[:, [place]]
    return usual
