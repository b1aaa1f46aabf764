"""Percentiles interpolated within a slot, for comparisons between parts of a run.

The report shows the highest value of a slot (`histogram.py`). Between parts of one run, steps of
0.1 % would be noise that the histogram itself adds, so this module interpolates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.measure.histograms.histogram import Histogram, highest_us, lowest_us, percentiles

__all__ = ["Ranked", "all_values", "mean_us", "percentiles_us"]


def mean_us(observed: Histogram, censored: Histogram) -> float | None:
    """Return the mean of the observed values in µs; None without observed or with any censored values."""
    return observed.sum_ns / observed.total / 1_000 if observed.total and not censored.total else None


class Ranked:
    """The values of a histogram in order, interpolated as if the values of a slot were spread evenly."""

    __slots__ = ("_counts", "_cumulated", "_slots", "total")

    def __init__(self, histogram: Histogram) -> None:
        self._slots, self._counts = histogram.sparse()
        self._cumulated = np.cumsum(self._counts)
        self.total = histogram.total

    def at_us(self, rank: float) -> float:
        """Return the time in µs below which `rank` values lie, interpolated within its slot (0 < rank <= total)."""
        at = min(int(np.searchsorted(self._cumulated, rank)), len(self._slots) - 1)
        slot, count = int(self._slots[at]), int(self._counts[at])
        before = int(self._cumulated[at]) - count
        low, high = lowest_us(slot), highest_us(slot) + 1
        # Values were rounded to whole µs, so the values of a slot begin half a µs below its lowest.
        return low - 0.5 + (high - low) * min(1.0, max(0.0, (rank - before) / count))

    def rank_of(self, us: float) -> float:
        """Return how many values lie below a time in µs, interpolated within its slot: the inverse of `at_us`."""
        at = int(np.searchsorted(lowest_us(self._slots) - 0.5, us, side="right")) - 1
        if at < 0:
            return 0.0
        slot, count = int(self._slots[at]), int(self._counts[at])
        before = int(self._cumulated[at]) - count
        low, high = lowest_us(slot), highest_us(slot) + 1
        return before + count * min(1.0, (us - low + 0.5) / (high - low))


def all_values(observed: Histogram, censored: Histogram) -> Histogram:
    """Return one histogram of both: the observed values, and the bounds of the censored ones."""
    if not censored.total:
        return observed
    both = Histogram()
    both.add_histogram(observed)
    both.add_histogram(censored)
    return both


def percentiles_us(observed: Histogram, censored: Histogram, qs: Sequence[float]) -> list[float | None]:
    """Return percentiles `qs` (0 to 100) in µs, interpolated within their slots.

    A percentile is None if there are no values, or if it falls among censored values, of which only a bound is known.
    """
    ranked = Ranked(all_values(observed, censored))
    return [
        None if value is None or value.is_bound else ranked.at_us(q * ranked.total / 100)
        for q, value in zip(qs, percentiles(observed, censored, qs), strict=True)
    ]
