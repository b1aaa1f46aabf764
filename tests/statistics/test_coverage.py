"""Intervals of a simulated queue, whose p99 is known exactly. For other traffic see test_how_often_wrong.py."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log

import numpy as np
import pytest

from loadgen.units import NS_PER_S
from tests.support.simulated import ROW, quick_batches_of

RUNS = 2_000
Seen = Callable[[str, object], None]


def queue(rng: np.random.Generator, measured_s: int, mu: float = 1_000.0, lam: float = 800.0) -> list[np.ndarray]:
    """Response times, ns, of an M/M/1 queue by the half second in which they ended; a second of warm-up is left out."""
    n = round((measured_s + 1) * lam * 1.1) + 100
    arrivals = np.cumsum(rng.exponential(1 / lam, n))
    done = np.empty(n)
    free = 0.0
    for i, (at, service) in enumerate(zip(arrivals.tolist(), rng.exponential(1 / mu, n).tolist(), strict=True)):
        free = max(free, at) + service
        done[i] = free
    bins = np.floor((done - 1) * 2).astype(int)
    ns = ((done - arrivals) * 1e9).astype(np.int64)
    edges = np.searchsorted(bins, np.arange(2 * measured_s + 1))  # first come first served: `done` is sorted
    return [ns[first:last] for first, last in pairwise(edges.tolist())]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_intervals_of_the_p99_of_a_simulated_queue_cover_the_truth_in_93_of_100_runs(record_property: Seen) -> None:
    # The same as test_mm1.py does with real requests, but of two thousand runs and on any machine.
    rng = np.random.default_rng(3)
    truth_ms = log(100) / 200 * 1_000
    covered, widths = 0, []
    for _ in range(RUNS):
        (interval,) = quick_batches_of(queue(rng, 50), NS_PER_S // 2).intervals(ROW, (99,))
        assert interval.low is not None, interval.why
        assert interval.high is not None, interval.why
        covered += interval.low <= truth_ms <= interval.high
        widths.append((interval.high - interval.low) / truth_ms)
    record_property("seen", f"{covered} of {RUNS} covered, width {np.median(widths):.0%} of the p99 in the median")
    assert covered / RUNS >= 0.93
    assert np.median(widths) <= 1.0, "intervals that are wide enough cover anything"
