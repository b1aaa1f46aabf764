"""The usual number of requests of each hour of the week, from whole hours of a ledger."""

from __future__ import annotations

from typing import Final

import numpy as np

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
            classes = hours % modulus
            for one in np.unique(classes):
                of_hour[np.arange(one, HOURS_OF_WEEK, modulus)] = np.median(rates[classes == one])
    wanted: Array = of_hour[np.floor(at / _HOUR_S).astype(np.int64) % HOURS_OF_WEEK]
    return wanted
