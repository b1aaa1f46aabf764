"""The usual distance of a history: at most a tenth of its values (rounded up) are farther from its median.

The median absolute deviation can be 0 although almost half of the values differ from the median: with 12 of 20 runs at
100 ms and 8 at 110 ms, each run at 110 ms seems to be an outlier. Rounded values, and targets with two modes, often
have such histories. So a value within the usual distance is never treated as an outlier.
"""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np

from loadgen.analysis.values_to_float_array import Array

__all__ = ["usual_distance"]

_OUTLIERS_IN: Final = 10
"""One outlier for each ten values, and one for the rest that is fewer than ten: two of 14. With one of 14, two slow
runs that were accepted by mistake would count as usual, and the gate would not find that the next one is slow, too."""


def usual_distance(apart: Array) -> Array:
    """Return the largest distance of each row that is not among the tenth with the largest ones, shape (rows, 1).

    apart: distances from the median of each row, shape (rows, n), n >= 1.
    """
    n = apart.shape[1]
    place = max(n - 1 - ceil(n / _OUTLIERS_IN), 0)
    usual: Array = np.partition(apart, place, axis=1)[:, [place]]
    return usual
