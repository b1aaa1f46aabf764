"""Sliding windows over due intervals: how many there are, which break an error budget, and which is the worst.

A window is W intervals on end and moves on by one. In it, of what was due, some
share may be bad. What is undecided or missing is counted as good, so a window
that is broken stays broken whatever becomes of them. The other way round nothing
is promised: only the end of a run says which windows held.

A window of few events decides little: where one bad event is more than the budget,
it may be chance. Such a window counts as if good ones filled it up to the least number
of which one may be bad; so it is broken by what would break that many, and never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.due_counts import BAD, GOOD, OVERDUE, UNDECIDED

__all__ = ["Budget", "Sliding", "slide"]

Ints = npt.NDArray[np.int64]
_EXACT: Final = 1 << 62
_UNKNOWN: Final = 1 << 40
"""Events that may be missing where nothing at all was told."""


@dataclass(frozen=True)
class Budget:
    """Which share of what was due may be bad. Compared exactly: 99.9 % of 1,000 are 999.

    is_strict: the share must stay below `allowed` (a ratio), not at most at it (a percentile); none is always kept.
    """

    allowed: Fraction
    is_strict: bool

    @cached_property
    def least(self) -> int:
        """The count from which on a window is judged: one bad event is no more than the budget. 1 where it is 0."""
        return -(-self.allowed.denominator // self.allowed.numerator) if self.allowed else 1

    @cached_property
    def room(self) -> int:
        """The smallest count of which one may be bad; 1 where none ever may be."""
        return self.allowed.denominator // self.allowed.numerator + 1 if self.is_strict else self.least

    def is_kept(self, bad: int | Fraction, count: int | Fraction) -> bool:
        most = count * self.allowed
        return bad == 0 or (bad < most if self.is_strict else bad <= most)

    def broken(self, bad: Ints, count: Ints) -> npt.NDArray[np.bool_]:
        """`not is_kept` of each pair."""
        up, down = self.allowed.numerator, self.allowed.denominator
        most = int(count.max(initial=0))
        kind: type = np.int64 if max(most * down, most * up) < _EXACT else object
        used: npt.NDArray[Any] = bad.astype(kind) * down
        most_used: npt.NDArray[Any] = count.astype(kind) * up
        over = used >= most_used if self.is_strict else used > most_used
        return np.asarray(over, dtype=np.bool_) & (bad > 0)

    def used(self, bad: int, count: int) -> float | None:
        """The share of the budget that is used, above 1 when it is broken; None where there is none to use."""
        if not bad:
            return 0.0
        most = count * self.allowed
        return float(bad / most) if most else None


@dataclass(frozen=True, slots=True)
class Sliding:
    """All full windows, and one of them: the worst, the earliest of equals."""

    full: int
    """Windows of W intervals, whatever is in them."""
    judged: int
    """Those of them with enough events, or broken."""
    broken: int
    most: int
    """Events of the fullest."""
    first: int = -1
    """First interval of the worst window that is judged; -1 where none is."""
    good: int = 0
    bad: int = 0
    """Of the worst: bad or overdue."""
    count: int = 0
    """Of the worst: all that was due."""
    budget: float | None = None
    """Of the worst."""


def slide(counts: Ints, width: int, budget: Budget, missing: npt.NDArray[np.float64] | None = None) -> Sliding:
    """Judge all full windows.

    Cost: 0.10 ms for an hour of intervals of 1 s, 4.7 ms for a day (timeit, least of 7).

    Args:
        counts: (4, n) of consecutive intervals, as `DueTable.counts` gives them.
        width: W, in intervals, > 0.
        missing: (n,) share of each interval's load of which nothing was told, 0 to 1; None: nothing is missing.
    """
    full = counts.shape[1] - width + 1
    if full <= 0:
        return Sliding(0, 0, 0, 0)
    good, bad, overdue, undecided = _sums(counts, width)
    bad = bad + overdue
    due = good + bad + undecided
    could_be = due if missing is None else due + _missing(due, missing, width)
    could_be = np.where(could_be < budget.least, budget.room, could_be)
    broken = budget.broken(bad, could_be)
    judged = (due >= budget.least) | broken
    numbers = full, int(judged.sum()), int(broken.sum()), int(due.max())
    if not judged.any():
        return Sliding(*numbers)
    share = np.where(judged, bad / np.maximum(due, budget.least), -1.0)
    at = int(np.argmax(np.where(broken, share + 2, share)))  # a broken one is worse than any other
    used = budget.used(int(bad[at]), max(int(due[at]), budget.least))
    return Sliding(*numbers, at, int(due[at] - bad[at] - undecided[at]), int(bad[at]), int(due[at]), used)


def _sums(counts: Ints, width: int) -> Ints:
    """(4, n - W + 1): rows in the order of GOOD, BAD, OVERDUE, UNDECIDED."""
    assert (GOOD, BAD, OVERDUE, UNDECIDED) == (0, 1, 2, 3)
    total = np.zeros((4, counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total[:, width:] - total[:, :-width]


def _missing(due: Ints, missing: npt.NDArray[np.float64], width: int) -> Ints:
    """How many events may be missing in each window, if those that were told are as many as their share of the load."""
    total = np.concatenate(([0.0], np.cumsum(missing)))
    share = np.clip((total[width:] - total[:-width]) / width, 0.0, 1.0)
    share[share < 1e-12] = 0.0  # what cumulating leaves of nothing
    told = np.maximum(1.0 - share, 1e-12)
    found = np.ceil(np.maximum(due, share > 0) * share / told)
    return np.minimum(found, _UNKNOWN).astype(np.int64)
