"""The usual number of requests of each hour of the week, from whole hours of a ledger."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.attainment.slices import HOURS_OF_WEEK, Slices
from loadgen.analysis.values_to_float_array import Array

__all__ = ["volume_per_second"]

_HOUR_S: Final = 3600
_SMALLEST_PART: Final = 0.5
"""An hour of which less than this part was observed is left out: its volume is too uncertain."""


def volume_per_second(history: Slices, at: Array) -> Array:
    """Return the median volume of the same hour of the week, requests/s; nan if `history` has no observed hour.

    Hours that were never observed get the median of the same hour of other days, or else of all hours. Hours are those
    of UTC. A median of slices would be 0 where requests are rarer than slices, so slices are added up to hours first.

    Args:
        at: start of slices, s since the epoch, shape (n,). The result has the same shape.
    """
    seen = history.take(history.missing < history.width)
    hours, where = np.unique(np.floor(seen.start / _HOUR_S).astype(np.int64), return_inverse=True)
    length = np.bincount(where, weights=seen.width, minlength=len(hours))
    observed = np.bincount(where, weights=seen.width - seen.missing, minlength=len(hours))
    requests = np.bincount(where, weights=seen.total, minlength=len(hours))
    is_usable = observed >= _SMALLEST_PART * np.maximum(length, 1e-9)
    hours, rates = hours[is_usable], requests[is_usable] / observed[is_usable]
    of_hour = np.full(HOURS_OF_WEEK, np.nan)
    if len(rates):
        of_hour[:] = np.median(rates)
        for modulus in (24, HOURS_OF_WEEK):
            medians = _medians_of(rates, hours % modulus, modulus)
            of_hour = np.where(np.isnan(medians), of_hour.reshape(-1, modulus), medians).reshape(-1)
    wanted: Array = of_hour[np.floor(at / _HOUR_S).astype(np.int64) % HOURS_OF_WEEK]
    return wanted


def _medians_of(values: Array, classes: npt.NDArray[np.int64], count: int) -> Array:
    """Return the median of the values of each class from 0 on, shape (count,); nan for a class without values.

    One sort instead of a call for each of 168 classes: 0.2 ms instead of 6 ms for four weeks.
    """
    found = np.full(count, np.nan)
    order = np.lexsort((values, classes))
    number = np.bincount(classes, minlength=count)
    first = np.cumsum(number) - number
    has_any = number > 0
    lower, upper = (order[(first + (number - 1 + up) // 2)[has_any]] for up in (0, 1))
    found[has_any] = (values[lower] + values[upper]) / 2
    return found
