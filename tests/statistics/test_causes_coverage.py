"""How often the intervals of differences hold the truth: bursts, weights, and a median that is estimated, too."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.resample import blocks_of, intervals
from loadgen.analysis.slow_requests.effects import Compared, Without, resampled
from loadgen.traces.cohorts import weighted_quantile
from loadgen.traces.own_times import OwnTimes

PATHS = 3
MS = 1e6
SECONDS = 600
THRESHOLD = 40 * MS


def requests(chance: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Own times of three paths, and due times. The second path is slow in bursts of some seconds."""
    due = np.sort(chance.uniform(0, SECONDS, n))
    own = chance.lognormal(np.log([8 * MS, 6 * MS, 4 * MS]), 0.4, (n, PATHS))
    burst = chance.uniform(size=SECONDS // 5) < 0.3
    is_hit = burst[(due / 5).astype(int)] & (chance.uniform(size=n) < 0.15)
    own[is_hit, 1] += chance.uniform(20 * MS, 80 * MS, int(is_hit.sum()))
    return own, due


def sampled(chance: np.random.Generator) -> tuple[Compared, np.ndarray]:
    """One run of 30 requests/s: slow ones have an inclusion of one half, the others of 2 %."""
    own, due = requests(chance, 30 * SECONDS)
    response = own.sum(axis=1)
    inclusion = np.where(response > THRESHOLD, 0.5, 0.02)
    kept = chance.uniform(size=len(own)) < inclusion
    own, due, response, weights = own[kept], due[kept], response[kept], 1 / inclusion[kept]
    limit = weighted_quantile(response, weights, 0.5)
    nothing = np.zeros_like(own)
    times = OwnTimes((("a",), ("b",), ("c",)), own, nothing, nothing, nothing, np.zeros(PATHS, dtype=bool))
    is_slow = response > THRESHOLD
    slow, fast = weights * is_slow, weights * (response <= limit)
    compared = Compared((), times, (), response, weights, slow, fast, int(THRESHOLD), fast_share=0.5)
    return compared, due


def covered(seeds: range, population: int = 3_000_000) -> np.ndarray:
    """Return for each path and for the whole difference in how many runs the interval holds the truth."""
    own, _ = requests(np.random.default_rng(12345), population)
    response = own.sum(axis=1)
    rows = np.column_stack((own, response))
    truth = rows[response > THRESHOLD].mean(axis=0) - rows[response <= np.median(response)].mean(axis=0)
    held = np.zeros(PATHS + 1)
    for seed in seeds:
        compared, due = sampled(np.random.default_rng(seed))
        blocks = blocks_of(due)
        draws = resampled(compared, Without((), np.zeros(0), np.zeros((0, len(due)))), blocks, seed)
        added = compared.added().own_ns
        values = np.append(added, added.sum())
        low, high = intervals(values, np.column_stack((draws.added_ns, draws.difference_ns)), blocks.count)
        held += (low <= truth) & (truth <= high)
    return held / len(seeds)


@pytest.mark.slow
def test_intervals_of_differences_hold_the_truth_in_93_to_97_percent_of_1000_runs() -> None:
    held = covered(range(1_000))
    assert ((held >= 0.93) & (held <= 0.97)).all(), held


def test_intervals_of_differences_hold_the_truth_in_most_of_15_runs() -> None:
    # Fewer than 11 of 15 happen once in 1,000 times if 95 % hold.
    assert (covered(range(15), 300_000) >= 11 / 15).all()
