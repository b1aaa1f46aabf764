"""A first value for the target of automatic scaling, from the growth of the load during the lag of the scaler.

    target = at / (growth * (1 + tolerance))

`at` is the utilisation at the capacity that keeps the promise, `growth` the largest ratio of the rate one lag later to
the rate now, and `tolerance` the excess that the controller ignores. Without the tolerance the value is too high: an
HPA does nothing until the utilisation is 10 % above its target. The formula is a start for the grid of replays, and no
proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Growth", "largest_growth", "starting_target"]


@dataclass(frozen=True, slots=True)
class Growth:
    """The largest growth of a curve within a time: `ratio` >= 1, from second `at_s` on."""

    ratio: float
    at_s: int


def largest_growth(rate: NDArray[np.float64], lag_s: int, *, floor: float = 0.0) -> Growth:
    """Return the largest rate(t + lag) / rate(t) of a curve.

    rate: (seconds,) float64, >= 0. lag_s >= 1; a curve that is not longer than it has the growth from any second to its
    largest later one within its length.
    floor: rates below it count as it. Use what the least number of instances serves: growth below that needs no action.
    A rate of 0 without a floor gives infinity if the load grows from it.
    """
    seen = np.maximum(rate, floor)
    lag_s = min(lag_s, len(seen) - 1)
    if lag_s < 1:
        return Growth(1.0, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(seen[lag_s:] > 0, seen[lag_s:] / seen[:-lag_s], 1.0)
    best = int(np.argmax(ratios))
    return Growth(max(1.0, float(ratios[best])), best)


def starting_target(at: float, growth: float, tolerance: float) -> float:
    """Return the target utilisation that leaves room for one lag of growth and for the tolerance."""
    return at / (growth * (1 + tolerance))
