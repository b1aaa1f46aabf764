"""The buckets of times in live outputs: 68 edges, each of them the end of an HdrHistogram slot.

No slot lies across an edge, so each count is exact. From 100 µs to 100 s the edges follow the ten preferred numbers of
a decade (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8). So a bucket is at most 28 % wide, and the error of interpolation
in it is smaller. Fewer values are expected outside this range, so the steps there are larger.

An edge is the highest value of the slot that contains a round number. For example, it is 0.100031 s instead of 0.1 s;
the difference is at most 0.1 %. Values are µs, rounded as everywhere.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loadgen.measure.deltas.series_key import CLS_NS
from loadgen.measure.histograms.histogram import SLOTS, Counts, Histogram, highest_us, slots_of_ns
from loadgen.units import NS_PER_US

__all__ = ["BUCKETS", "EDGES_CLS", "EDGES_S", "EDGES_US", "buckets_of", "in_buckets"]

_DECADE: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
_ROUND_US: Final = (
    *(10, 20, 50),
    *(round(step * 10**power) for power in range(2, 8) for step in _DECADE),
    *(100_000_000, 200_000_000, 500_000_000, 1_000_000_000, 3_600_000_000),
)
_EDGE_SLOTS: Final[Counts] = slots_of_ns(np.array(_ROUND_US, dtype=np.int64) * 1_000)

EDGES_US: Final = tuple(highest_us(_EDGE_SLOTS).tolist())
"""Upper ends, inclusive, ascending."""
EDGES_S: Final = tuple(us / 1e6 for us in EDGES_US)
EDGES_CLS: Final = tuple(us * NS_PER_US / CLS_NS for us in EDGES_US)
"""The same edges for `cls`, whose scores are stored as times."""
BUCKETS: Final = len(EDGES_US) + 1
"""The last one has no end: what is censored is in it."""

_BUCKET_OF_SLOT: Final[Counts] = np.searchsorted(_EDGE_SLOTS, np.arange(SLOTS))


def buckets_of(slots: Counts) -> Counts:
    """Return the bucket of each histogram slot, as indices from 0 to BUCKETS - 1."""
    return _BUCKET_OF_SLOT[slots]


def in_buckets(observed: Histogram, censored: int = 0) -> Counts:
    """Convert a histogram to counts a bucket, and return them with the shape (BUCKETS,). Cost: about 20 µs.

    Args:
        censored: the number of values with only a known lower bound (time-outs, missed, cut off). Their true time
            is longer, so they are counted above every edge: otherwise they could count as fast enough.
    """
    slots, counts = observed.sparse()
    counted = np.bincount(_BUCKET_OF_SLOT[slots], weights=counts, minlength=BUCKETS).astype(np.int64)
    counted[-1] += censored
    return counted
