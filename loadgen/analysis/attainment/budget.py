"""Error budgets: how many bad requests (or slices) a target allows, and how much of that is spent.

A budget may be overspent; it is never cut off at 0. All functions take counts in the units of a method: use
`counted` for Timeslices and RatioTimeslices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.slices import Slices
from loadgen.analysis.attainment.volume import volume_per_second

__all__ = ["Budget", "CalendarBudget", "budget_of", "calendar_budget"]

_WEEK_S = 7 * 86_400
_WEEKS = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of some time. Budgets of windows that do not overlap add up to the budget of both."""

    allowed: float
    """(1 - target) * total; not a whole number in general."""
    bad: float

    def __add__(self, other: Budget) -> Budget:
        return Budget(self.allowed + other.allowed, self.bad + other.bad)

    @property
    def spent(self) -> float | None:
        """Return the part that is spent: 1 is all of it, more is overspent; None without traffic."""
        return self.bad / self.allowed if self.allowed else None

    @property
    def left(self) -> float | None:
        """Return 1 - spent, which is negative if more than all is spent; None without traffic."""
        return None if self.spent is None else 1 - self.spent


@dataclass(frozen=True, slots=True)
class CalendarBudget:
    """The budget of a calendar window that is not over. The two shares answer different questions."""

    earned: Budget
    """Of the requests so far. Its `spent` above 1: the promise would be broken if the window ended now."""
    projected: Budget
    """Of all requests of the window, at the usual volume. Its `spent` is the part of the whole budget that is gone."""
    spent_low: float | None
    spent_high: float | None
    """The range of `projected.spent`, by the busiest and the quietest of the last 4 weeks; None without one."""


def budget_of(units: Slices, target: object) -> Budget:
    """Return the budget of slices: rolling windows pass the slices of their window.

    Raises:
        ValueError: the target is not above 0 and below 1.
    """
    return Budget(float(1 - exact_share(target)) * float(units.total.sum()), float(units.bad.sum()))


def calendar_budget(
    units: Slices, target: object, *, window: tuple[float, float], now: float, step_s: float = 3600.0
) -> CalendarBudget:
    """Return both budgets of a calendar window.

    Args:
        units: slices of the window and of the 4 weeks before `now`, in the units of the method.
        window: start (included) and end (excluded), s since the epoch.
        now: the time up to which slices are known, s since the epoch, within the window.
        step_s: the step in which the rest of the window is added up, s.

    Raises:
        ValueError: an invalid target, or `now` outside of the window.
    """
    begin, end = window
    if not begin <= now <= end:
        raise ValueError("now must be within the calendar window")
    inside = units.take((units.start >= begin) & (units.start < now))
    earned = budget_of(inside, target)
    steps = np.arange(now, end, step_s)
    past = units.take((units.start >= now - _WEEKS * _WEEK_S) & (units.start < now))
    rest = volume_per_second(past, steps) * np.diff(np.append(steps, end))
    to_come = float(rest.sum()) if len(rest) and np.isfinite(rest).all() else 0.0
    share = float(1 - exact_share(target))
    projected = Budget(earned.allowed + share * to_come, earned.bad)
    low = high = None
    weeks = _weeks_before(past, now)
    if weeks and projected.allowed:
        usual = float(np.median(weeks))
        budgets = [earned.allowed + share * to_come * one / usual for one in (max(weeks), min(weeks))] if usual else []
        if budgets and min(budgets) > 0:
            low, high = (earned.bad / one for one in budgets)
    return CalendarBudget(earned, projected, low, high)


def _weeks_before(past: Slices, now: float) -> list[float]:
    """Return the requests of each of the last weeks that was observed as a whole, the latest first."""
    found = []
    for back in range(1, _WEEKS + 1):
        week = past.take((past.start >= now - back * _WEEK_S) & (past.start < now - (back - 1) * _WEEK_S))
        if float((week.width - week.missing).sum()) >= _WEEK_S * (1 - 1e-9):
            found.append(float(week.total.sum()))
    return found
