"""The performance budget: how much slower a journey may become than its pinned release.

    spent_by_decisions([1.02] * 5).spent        # 1.039: five accepted +2 % spend 103.9 % of 10 %

Two numbers stand side by side. *Measured* compares the latest accepted group of
runs with the pinned one. *By decisions* adds up what was accepted. Their
difference is drift that nobody accepted. All sums are of logarithms, because
+2 % five times is +10.4 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Final

__all__ = ["GIVEN_BACK", "ByDecisions", "Drift", "Measured", "drift", "measured", "spent_by_decisions"]

DEFAULT_LIMIT: Final = 0.10
GIVEN_BACK: Final = 0.5
"""The part of an improvement that is given back to the budget."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The budget by measurement. spent, low, high: 1 is all of it; negative if the journey became faster."""

    ratio: float
    """Latest / pinned: 1.06 is 6 % slower."""
    spent: float
    low: float
    high: float

    @property
    def is_within(self) -> bool:
        """Return whether even the upper bound is within the budget."""
        return self.high <= 1

    @property
    def is_beyond(self) -> bool:
        """Return whether even the lower bound is beyond the budget."""
        return self.low > 1


@dataclass(frozen=True, slots=True)
class ByDecisions:
    """The budget by accepted changes. spent: 1 is all of it."""

    log_ratio: float
    """Sum of the logarithms of accepted regressions, less half of those of improvements."""
    net_log_ratio: float
    """Sum of the logarithms of all accepted changes: where the journey should be."""
    spent: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The change that nobody accepted. ratio, low, high: measured / accepted; 1.03 is 3 % slower than accepted."""

    ratio: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Return whether the interval excludes "no drift"."""
        return self.low > 1 or self.high < 1


def measured(log_ratio: float, low: float, high: float, *, limit: float = DEFAULT_LIMIT) -> Measured:
    """Return the spent budget from the comparison of the latest accepted group with the pinned one.

    Args:
        log_ratio, low, high: natural logarithm of latest / pinned with its interval, low <= log_ratio <= high.
        limit: the largest allowed slow-down, above 0: 0.10 is 10 %.

    Raises:
        ValueError: values that are not finite, in the wrong order, or a limit that is not above 0.
    """
    whole = _whole(limit)
    if not (all(map(isfinite, (log_ratio, low, high))) and low <= log_ratio <= high):
        raise ValueError("the log ratio must be finite and within its interval")
    return Measured(exp(log_ratio), log_ratio / whole, low / whole, high / whole)


def spent_by_decisions(ratios: Iterable[float], *, limit: float = DEFAULT_LIMIT) -> ByDecisions:
    """Return the spent budget from accepted changes, in any order.

    Args:
        ratios: after / before of each accepted change, above 0: 1.02 is 2 % slower, 0.9 is faster.
        limit: the largest allowed slow-down, above 0.

    Raises:
        ValueError: a ratio or the limit is not above 0, or not finite.
    """
    whole, changes = _whole(limit), list(ratios)
    if not all(isfinite(ratio) and ratio > 0 for ratio in changes):
        raise ValueError("each accepted change must be a finite ratio above 0")
    logs = [log(ratio) for ratio in changes]
    spent = sum(one if one > 0 else GIVEN_BACK * one for one in logs)
    return ByDecisions(spent, sum(logs), spent / whole)


def drift(latest: Measured, accepted: ByDecisions, *, limit: float = DEFAULT_LIMIT) -> Drift:
    """Return the part of the measured change that no decision explains.

    Improvements count in full here: an accepted improvement that is still there is no drift.
    """
    whole = _whole(limit)
    return Drift(
        *(exp(spent * whole - accepted.net_log_ratio) for spent in (latest.spent, latest.low, latest.high)),
    )


def _whole(limit: float) -> float:
    if not (isfinite(limit) and limit > 0):
        raise ValueError(f"limit is {limit:g}, but must be above 0")
    return log(1 + limit)
