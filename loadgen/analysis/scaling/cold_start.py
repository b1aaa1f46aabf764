"""How long a fleet takes after a scaling event: until p95 is back within 10 % of its warm level. Pure.

Inputs are p95 values by second, each of a window that begins in its second. The warm level is the p95 of all requests
in the last third of the time up to the next event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOLD_LEAST", "HOLD_S", "LEAST_WARM_S", "WITHIN", "MeanTime", "Settled", "mean_time", "settled", "warm_from"]

WITHIN: Final = 0.1
"""p95 counts as warm up to this share above its warm level."""
HOLD_S: Final = 10
HOLD_LEAST: Final = 8
"""p95 counts as back if at least this many windows of the next `HOLD_S` are warm: single windows rise by chance."""
LEAST_WARM_S: Final = 20
_NOISY: Final = 0.05
_T_975: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5 %, for 1 to 10 degrees of freedom; Fisher and Yates. Beyond, 2.228 is kept: a little too wide."""


@dataclass(frozen=True, slots=True)
class Settled:
    """When p95 was warm again.

    after_s: seconds after the event, lower and upper bound; None if it never was, or if it cannot be told.
    why: the reason, if it is None. worst: the highest p95 before that. is_seen: p95 left the warm range at all.
    """

    after_s: tuple[float, float] | None
    worst: float | None
    is_seen: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class MeanTime:
    """The mean of several events with its 95 % interval; of a single event, the interval is that of its clock only."""

    count: int
    mean_s: float
    low_s: float
    high_s: float
    is_single: bool


def warm_from(event_s: int, end_s: int) -> int | None:
    """Return where the warm part of the time [event, end) begins; None if it would be shorter than 20 s."""
    length = (end_s - event_s) // 3
    return end_s - length if length >= LEAST_WARM_S else None


def settled(
    p95: NDArray[np.float64], event_s: float, warm_s: int, end_s: int, warm: float, *, window_s: int, error_s: float
) -> Settled:
    """Return when p95 was warm again after an event.

    p95: (seconds,) of the windows that begin in each second; NaN without requests. event_s: when the fleet was scaled.
    [warm_s, end_s): the warm part. warm: its p95, > 0. window_s: the length of the windows. error_s: of the event.
    """
    limit = warm * (1 + WITHIN)
    last = max(warm_s + 1, end_s - window_s + 1)
    steady = p95[warm_s:last]
    steady = steady[~np.isnan(steady)]
    if not len(steady):
        return Settled(None, None, False, "no requests in the warm part")
    if np.mean(steady > limit) > _NOISY:
        return Settled(
            None, None, False, "p95 varies by more than 10 % even when warm: the load is too small or uneven"
        )
    first = int(event_s)
    after = p95[first:last]
    known = after[~np.isnan(after)]
    if not len(known):
        return Settled(None, None, False, "no requests after the event")
    above = np.flatnonzero(after > limit)
    if not len(above):
        return Settled((0.0, 0.0), float(known.max()), False)
    back = _first_hold(after, limit, int(above[0]))
    worst = float(np.nanmax(after[: back or None]))
    if back is None:
        return Settled(None, worst, True, "p95 did not come back before the next event or the end")
    # a window that begins here is warm, and the one before it was not
    at = first + back
    low = max(0.0, at - 1 - event_s - error_s)
    return Settled((low, max(low, at + window_s - event_s + error_s)), worst, True)


def _first_hold(after: NDArray[np.float64], limit: float, start: int) -> int | None:
    """Return the first index from `start` on that is at most `limit`, with `HOLD_LEAST` of the `HOLD_S` from it."""
    with np.errstate(invalid="ignore"):
        fine = after <= limit
    for index in range(start, len(after) - HOLD_S + 1):
        if fine[index] and np.count_nonzero(fine[index : index + HOLD_S]) >= HOLD_LEAST:
            return index
    return None


def mean_time(bounds: Sequence[tuple[float, float]]) -> MeanTime | None:
    """Return the mean of times that are known as lower and upper bounds; None without any.

    The interval is Student's, of the middles, widened by the mean half width of the bounds.
    """
    if not bounds:
        return None
    middles = np.array([(low + high) / 2 for low, high in bounds])
    half = float(np.mean([(high - low) / 2 for low, high in bounds]))
    mean, count = float(middles.mean()), len(bounds)
    if count == 1:
        return MeanTime(1, mean, max(0.0, mean - half), mean + half, True)
    reach = _T_975[min(count - 1, len(_T_975)) - 1] * float(middles.std(ddof=1)) / sqrt(count) + half
    return MeanTime(count, mean, max(0.0, mean - reach), mean + reach, False)
