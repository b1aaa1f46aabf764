"""The number of instances that carry a peak, without and with the loss of a zone.

    instances_needed(2000, 0.2, 1.25, 230)     # 14
    with_zone_loss(14, 3)                      # 21: each zone has 7, and any two of them have 14

One instance more than needed (15) is not enough: three zones with 5 each have 10 left when one of them is lost.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["all_whole_up", "instances_needed", "left_after_zone_loss", "whole_up", "with_zone_loss"]

_ROUNDING: Final = 1e-9
"""2000 * 1.1 / 220 is 10.000000000000002 in binary floating point, and needs 10 instances."""


def instances_needed(peak: float, growth: float, headroom: float, per_instance: float) -> int:
    """Return ceil(peak * (1 + growth) * headroom / per_instance), at least 1.

    Args:
        peak: 1/s, above 0.
        growth: a share above -1: 0.2 is 20 % more.
        headroom: a factor of at least 1.
        per_instance: what one instance serves at the promise, 1/s, above 0; plan with the low end of its interval.

    Raises:
        ValueError: an argument is out of range.
    """
    if not (peak > 0 and growth > -1 and headroom >= 1 and per_instance > 0):
        raise ValueError(
            "peak and per_instance must be above 0, growth above -1 and headroom at least 1:"
            f" peak={peak:g}, growth={growth:g}, headroom={headroom:g}, per_instance={per_instance:g}"
        )
    return max(whole_up(peak * (1 + growth) * headroom / per_instance), 1)


def with_zone_loss(need: int, zones: int) -> int:
    """Return how many instances, spread evenly over zones, leave `need` after any one zone is lost.

    zones: at least 2; with one zone, nothing is left.
    """
    if zones < 2:
        raise ValueError(f"{zones} zones: with fewer than 2, nothing is left after the loss of one")
    return -(-need // (zones - 1)) * zones


def left_after_zone_loss(instances: int, zones: int) -> int:
    """Return how many instances are left after the loss of the largest of `zones`, spread as evenly as possible."""
    return instances - -(-instances // zones)


def whole_up(value: float) -> int:
    """Return the smallest whole number that is not below `value`, apart from the rounding of floats."""
    near = floor(value + 0.5)
    return near if abs(value - near) <= _ROUNDING * max(abs(value), 1.0) else ceil(value)


def all_whole_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `whole_up` of each value, as floats."""
    near = np.floor(values + 0.5)
    is_near = np.abs(values - near) <= _ROUNDING * np.maximum(np.abs(values), 1.0)
    result: npt.NDArray[np.float64] = np.where(is_near, near, np.ceil(values))
    return result
