"""Adds deltas up the slow way, bucket by bucket, to hold the quick ways against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import SLOTS

__all__ = ["counts_of"]


def counts_of(deltas: Iterable[Delta]) -> Counter[tuple[SeriesKey, int]]:
    """(series, slot) -> count, added up over the deltas of one agent."""
    keys: list[SeriesKey] = []
    total: Counter[tuple[SeriesKey, int]] = Counter()
    for delta in deltas:
        keys.extend(delta.new_series)
        index, count = np.frombuffer(delta.index, "<u4"), np.frombuffer(delta.count, "<u4")
        for i, c in zip(index.tolist(), count.tolist(), strict=True):
            total[keys[i // SLOTS], i % SLOTS] += c
    return total
