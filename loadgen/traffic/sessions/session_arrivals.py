"""The starts of sessions: counts for each minute, and how much they bunch within a minute, relative to chance."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BIN_S", "MOST_MINUTES", "SessionArrivals", "session_arrivals"]

BIN_S: Final = 60
"""Longer bins hide bursts: from counts of 5 minutes, no spacing keeps the bunching at 1, 10 and 60 s within 15 %."""
MOST_MINUTES: Final = 109_440
"""76 days. A scenario replays at most 110,000 bins."""
_WINDOW: Final = 10
"""Minutes within which counts are smoothed."""
_LEAST_BINS: Final = 2
_RANDOM: Final = 0.1
_LEAST_CV: Final = 0.05
_SLOW_PER_S: Final = 0.5
_REST_S: Final = 6


@dataclass(frozen=True)
class SessionArrivals:
    """Starts of sessions.

    dispersion: the variance of counts within a minute, divided by that of a Poisson process. 1: random starts; above 1:
    bursts; below 1: more even starts. step_s: the length of a count, in s.
    """

    begin_s: int
    """Seconds since 1970 at which the first bin begins."""
    counts: tuple[int, ...]
    """Sessions that start in each minute."""
    dispersion: float
    step_s: int
    tolerance: float = 0.1
    """Starts are random if the dispersion differs from 1 by at most this: 0.1, or 3 standard errors in a short log."""

    @property
    def smoothed(self) -> tuple[int, ...]:
        """Counts for a load with random spacing, with the same sum.

        Random spacing makes the number of starts in a minute vary. The counts of the log vary by chance, too, so with
        these counts the variance would be too large: twice that of the log, if its starts are random. So each count is
        moved towards the mean of its 10 minutes. Then counts and spacing together have the dispersion of the log.
        """
        # The log begins and ends within a minute, so the first and the last count are lower than the rate.
        counts = np.array(self.counts[1:-1], np.float64)
        whole = len(counts) // _WINDOW * _WINDOW
        if not counts.any():
            return self.counts
        first = np.arange(0, len(counts), _WINDOW)
        sizes = np.diff(np.append(first, len(counts)))
        mean = np.repeat(np.add.reduceat(counts, first) / sizes, sizes)
        own = 1.0 if self.cv is None else self.cv**2
        kept = 0.0
        if counts[:whole].any():
            squares = ((counts - mean)[:whole] ** 2).sum() * _WINDOW / (_WINDOW - 1)
            dispersion = squares / counts[:whole].sum()
            kept = sqrt(max(0.0, dispersion - own) / dispersion) if dispersion else 0.0
        # Whole numbers whose sums are right at every minute.
        sums = np.rint(np.cumsum(mean + kept * (counts - mean)))
        return (self.counts[0], *(int(n) for n in np.diff(sums, prepend=0)), self.counts[-1])

    @property
    def cv(self) -> float | None:
        """Coefficient of variation for `gamma(cv=)`; None if the starts are random, so that `poisson()` fits."""
        is_random = abs(self.dispersion - 1) <= self.tolerance
        return None if is_random else max(_LEAST_CV, sqrt(self.dispersion))


def session_arrivals(starts_us: NDArray[np.int64], within_us: tuple[int, int] | None = None) -> SessionArrivals:
    """Return the arrivals of sessions.

    starts_us: at least one, sorted, µs since 1970. within_us: the first and the last start of any session; the bins
    cover the time between. Default: those of `starts_us`.

    Minutes count from the first start, so that the load is as long as the log. A rest of a few seconds at the end
    counts in the minute before.
    """
    second = starts_us // 1_000_000
    first_s, last_s = (us // 1_000_000 for us in within_us or (int(starts_us[0]), int(starts_us[-1])))
    begin = first_s
    bins = max(1, -(-(last_s - begin + 1 - _REST_S) // BIN_S))
    counts = np.bincount(np.minimum((second - begin) // BIN_S, bins - 1), minlength=bins)
    span_s = len(counts) * BIN_S
    step_s = 1 if len(starts_us) / span_s >= _SLOW_PER_S else 10
    per_bin = BIN_S // step_s
    steps = np.bincount(np.minimum((second - begin) // step_s, span_s // step_s - 1), minlength=span_s // step_s)
    # Starts begin and end within a minute: there, the time without any would look like a burst in the rest.
    inner = slice(1, -1) if len(counts) > _LEAST_BINS and counts[1:-1].any() else slice(None)
    steps, expected = steps.reshape(-1, per_bin)[inner], counts[inner, None] / per_bin
    # The mean of the minute is estimated from the same counts, which takes one of its degrees of freedom.
    total = float(counts[inner].sum()) * (per_bin - 1) / per_bin
    dispersion = float(((steps - expected) ** 2).sum()) / total
    # Counts of random starts have the variance of their mean: its estimate from n of them has the error sqrt(2 / n).
    tolerance = max(_RANDOM, 3 * sqrt(2 / steps.size))
    return SessionArrivals(begin, tuple(int(n) for n in counts), dispersion, step_s, tolerance)
