"""Counts of a ledger by hours of the wall clock, with gaps as gaps. Pure.

Traffic follows the wall clock, so hours are numbered by it: slot 24 is the first hour of 1970-01-02 in the zone of the
offsets. When clocks go forward, an hour is missing, and it is a gap. When they go back, two hours share a slot, and
their mean rate counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.values_to_float_array import Array

__all__ = ["HOUR_S", "LEAST_OBSERVED", "Hours", "hours_of"]

HOUR_S: Final = 3_600
LEAST_OBSERVED: Final = 0.5
"""An hour of which a smaller part was observed is a gap."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Successive hours of the wall clock. All arrays have shape (hours,).

    first: the number of the first slot. count: events of a whole hour at the observed rate; nan: a gap. observed: the
    observed time in hours, 0 to 2. start, end: Unix time in s; 0 in gaps.
    """

    first: int
    count: Array
    observed: Array
    start: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.count)

    @property
    def is_gap(self) -> npt.NDArray[np.bool_]:
        """Return which hours are gaps."""
        gaps: npt.NDArray[np.bool_] = np.isnan(self.count)
        return gaps


def hours_of(
    start: npt.ArrayLike, width: npt.ArrayLike, count: npt.ArrayLike, missing: npt.ArrayLike, offset: npt.ArrayLike = 0
) -> Hours:
    """Return the hours of slices.

    Args:
        start: Unix time, s, shape (slices,). width, missing: s. count: events in the observed part of each slice.
        offset: of the wall clock from UTC at the start of each slice, s.
    Raises:
        ValueError: slices are longer than an hour, or columns have different lengths.
    """
    begin = np.atleast_1d(np.asarray(start, np.int64))
    try:
        wide, events, lacking, ahead = (
            np.broadcast_to(np.asarray(one, np.float64), begin.shape) for one in (width, count, missing, offset)
        )
    except ValueError:
        raise ValueError("each column of the slices must have one number per slice") from None
    if not len(begin):
        return Hours(0, np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    if wide.max() > HOUR_S:
        raise ValueError(f"slices of {wide.max():.0f} s are longer than an hour")
    shift = ahead.astype(np.int64)
    slot = (begin + shift) // HOUR_S
    first = int(slot.min())
    place, length = slot - first, int(slot.max()) - first + 1
    seen = np.bincount(place, weights=wide - lacking, minlength=length) / HOUR_S
    events_of = np.bincount(place, weights=np.where(lacking < wide, events, 0.0), minlength=length)
    is_known = seen >= LEAST_OBSERVED
    rate = np.full(length, np.nan)
    rate[is_known] = events_of[is_known] / seen[is_known]
    hour = slot * HOUR_S - shift
    since, until = np.full(length, np.iinfo(np.int64).max), np.zeros(length, np.int64)
    np.minimum.at(since, place, hour)
    np.maximum.at(until, place, hour + HOUR_S)
    return Hours(first, rate, seen, np.where(is_known, since, 0), np.where(is_known, until, 0))
