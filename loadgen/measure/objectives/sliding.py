"""Sliding windows over due intervals: their number, the windows that break an error budget, and the worst window.

A window is W consecutive intervals and moves on by one. An *event* is an iteration or request that was due in
the window; a share of the events may be bad. Undecided and missing events count as good, so a window that
is broken stays broken whatever becomes of them. The reverse does not hold: only the end of a run shows
which windows were met.

A window of few events decides little: if one bad event is more than the budget, it may be chance.
Such a window counts as if good events filled it up to the least number of which one may be bad. So
it is broken only by a number of bad events that would break the larger window, and never met.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.outcomes_by_due_interval import BAD, GOOD, OVERDUE, UNDECIDED

__all__ = ["Budget", "Sliding", "slide", "slide_each"]

Ints = npt.NDArray[np.int64]
_EXACT: Final = 1 << 62
_UNKNOWN: Final = 1 << 40
"""Events that may be missing if nothing at all was reported."""


@dataclass(frozen=True)
class Budget:
    """The share of events that may be bad. Compared exactly: 99.9 % of 1,000 are 999.

    is_strict: the share must stay below `allowed` (a ratio), rather than at most reach it (a percentile). A window
    without bad events always meets the budget.
    """

    allowed: Fraction
    is_strict: bool

    @cached_property
    def least(self) -> int:
        """Return the least number of events with which a window is judged.

        With that number, one bad event does not exceed the budget. The result is 1 for a budget of 0.
        """
        return -(-self.allowed.denominator // self.allowed.numerator) if self.allowed else 1

    @cached_property
    def room(self) -> int:
        """Return the smallest number of events of which one may be bad within the budget; 1 if none may ever be bad."""
        return self.allowed.denominator // self.allowed.numerator + 1 if self.is_strict else self.least

    def is_kept(self, bad: int | Fraction, count: int | Fraction) -> bool:
        """Return whether `bad` bad ones of `count` events are within the budget."""
        most = count * self.allowed
        return bad == 0 or (bad < most if self.is_strict else bad <= most)

    def broken(self, bad: Ints, count: Ints) -> npt.NDArray[np.bool_]:
        """Return for each element of two arrays whether `bad` of `count` events exceed the budget."""
        up, down = self.allowed.numerator, self.allowed.denominator
        most = int(count.max(initial=0))
        # Python integers where a product could overflow int64.
        kind: type = np.int64 if max(most * down, most * up) < _EXACT else object
        used: npt.NDArray[Any] = bad.astype(kind) * down
        most_used: npt.NDArray[Any] = count.astype(kind) * up
        over = used >= most_used if self.is_strict else used > most_used
        return np.asarray(over, dtype=np.bool_) & (bad > 0)

    def used(self, bad: int, count: int) -> float | None:
        """Return the used share of the budget: 0 if no event is bad, above 1 if the budget is broken.

        None if the budget is 0 and any event is bad.
        """
        if not bad:
            return 0.0
        most = count * self.allowed
        return float(bad / most) if most else None


@dataclass(frozen=True, slots=True)
class Sliding:
    """Numbers of all full windows, and figures of the worst window, which is the earliest of equals."""

    full: int
    """Windows of W intervals, whatever they contain."""
    judged: int
    """Windows with enough events, or broken."""
    broken: int
    most: int
    """Events of the fullest window."""
    first: int = -1
    """First interval of the worst judged window; -1 if no window is judged."""
    good: int = 0
    bad: int = 0
    """Bad or overdue events in the worst window."""
    count: int = 0
    """All events in the worst window."""
    budget: float | None = None
    """Used share of the budget in the worst window."""


def slide(counts: Ints, width: int, budget: Budget, missing: npt.NDArray[np.float64] | None = None) -> Sliding:
    """Judge every full window of `width` intervals, and return how many are broken and the figures of the worst one.

    Cost: 0.10 ms for an hour of intervals of 1 s, 4.7 ms for a day (timeit, least of 7).

    Args:
        counts: (4, n) counts of consecutive intervals, from `DueTable.counts`.
        width: W, length of a window in intervals, > 0.
        missing: (n,) share of each interval's load that was not reported, 0 to 1; None: nothing is missing.
    """
    full = counts.shape[1] - width + 1
    if full <= 0:
        return Sliding(0, 0, 0, 0)
    bad, undecided, due, judged, broken = _windows(counts, width, budget, missing)
    numbers = full, int(judged.sum()), int(broken.sum()), int(due.max())
    if not judged.any():
        return Sliding(*numbers)
    share = np.where(judged, bad / np.maximum(due, budget.least), -1.0)
    at = int(np.argmax(np.where(broken, share + 2, share)))  # a broken window is worse than any other
    used = budget.used(int(bad[at]), max(int(due[at]), budget.least))
    return Sliding(*numbers, at, int(due[at] - bad[at] - undecided[at]), int(bad[at]), int(due[at]), used)


def slide_each(
    counts: Ints, width: int, budget: Budget, missing: npt.NDArray[np.float64] | None = None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return for each full window whether it has enough events to be judged, and whether it is broken; see `slide`.

    There must be at least one full window.
    """
    _, _, _, judged, broken = _windows(counts, width, budget, missing)
    return judged, broken


def _windows(
    counts: Ints, width: int, budget: Budget, missing: npt.NDArray[np.float64] | None
) -> tuple[Ints, Ints, Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return for each full window: bad events, undecided ones, all events, whether it is judged, and whether broken."""
    good, bad, overdue, undecided = _sums(counts, width)
    bad = bad + overdue
    due = good + bad + undecided
    could_be = due if missing is None else due + _missing(due, missing, width)
    # Few events: judge as if good ones filled the window up to the least number of which one may be bad.
    could_be = np.where(could_be < budget.least, budget.room, could_be)
    broken = budget.broken(bad, could_be)
    return bad, undecided, due, (due >= budget.least) | broken, broken


def _sums(counts: Ints, width: int) -> Ints:
    """Return the summed counts of each window of `width` intervals as an array of shape (4, n - width + 1).

    Its rows are those of `counts`: GOOD, BAD, OVERDUE, UNDECIDED.
    """
    assert (GOOD, BAD, OVERDUE, UNDECIDED) == (0, 1, 2, 3)
    total = np.zeros((4, counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total[:, width:] - total[:, :-width]


def _missing(due: Ints, missing: npt.NDArray[np.float64], width: int) -> Ints:
    """Return for each window the number of unreported events, estimated from its reported events and its missing share.

    due: reported events of each window. missing: share of each interval's load that was not reported.
    """
    total = np.concatenate(([0.0], np.cumsum(missing)))
    share = np.clip((total[width:] - total[:-width]) / width, 0.0, 1.0)
    share[share < 1e-12] = 0.0  # rounding errors of the running sums
    reported = np.maximum(1.0 - share, 1e-12)
    found = np.ceil(np.maximum(due, share > 0) * share / reported)
    return np.minimum(found, _UNKNOWN).astype(np.int64)
