"""Compute the heatmap's buckets: six per doubling of time.

Their edges are edges of histogram buckets, so no count has to be split.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loadgen.measure.histograms.histogram import SLOTS, Counts, lowest_us, slots_of_ns

__all__ = ["EDGES_MS", "heat_of"]

_PER_DOUBLING: Final = 6
_FIRST: Final = 2**6
_DOUBLINGS: Final = 25
"""Doublings from 64 µs on: up to 36 min."""

_EDGE_SLOTS: Final[Counts] = slots_of_ns(
    np.round(_FIRST * 2 ** (np.arange(_PER_DOUBLING * _DOUBLINGS + 1) / _PER_DOUBLING)).astype(np.int64) * 1_000
)
EDGES_MS: Final = tuple(float(us) / 1_000 for us in lowest_us(_EDGE_SLOTS))
"""Edges in ms: bucket i holds values from [i] to [i + 1]. The first and the last bucket also hold values beyond."""

_BUCKET: Final[Counts] = np.clip(
    np.searchsorted(_EDGE_SLOTS, np.arange(SLOTS), side="right") - 1, 0, len(_EDGE_SLOTS) - 2
)


def heat_of(slots: Counts, counts: Counts) -> list[int]:
    """Return [bucket, count, bucket, count, ...] for the buckets with values, ascending."""
    if not len(slots):
        return []
    sums = np.zeros(len(_EDGE_SLOTS) - 1, dtype=np.int64)
    np.add.at(sums, _BUCKET[slots], counts.astype(np.int64))
    filled = np.flatnonzero(sums)
    return [int(number) for pair in zip(filled, sums[filled], strict=True) for number in pair]
