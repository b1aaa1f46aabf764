"""Compute a percentile spectrum: the value of each percentile, five for each halving of the share of greater values."""

from __future__ import annotations

from math import log2
from typing import Final

from loadgen.measure.histograms.histogram import Histogram, percentiles

__all__ = ["spectrum_of"]

_PER_HALVING: Final = 5
"""Points of a spectrum for each halving of the share of greater values."""


def spectrum_of(observed: Histogram, censored: Histogram) -> list[list[float]]:
    """Return [percentile, ms, number of values up to it], up to the first percentile that is only a lower bound."""
    total = observed.total + censored.total
    if not total:
        return []
    halvings = max(1, round(log2(total) * _PER_HALVING))
    qs = [100 * (1 - 2 ** (-n / _PER_HALVING)) for n in range(halvings + 1)] + [100.0]
    found = []
    for q, value in zip(qs, percentiles(observed, censored, qs), strict=True):
        if value is None or value.is_bound:
            break
        found.append([round(q, 6), round(value.ms, 3), round(total * q / 100)])
    return found
