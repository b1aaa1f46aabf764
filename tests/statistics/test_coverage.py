"""Do intervals from batches hold what they promise? Counted over many simulated runs, with the whole of our own code.

A run has 300 intervals of 1 s with 100 response times each: lognormal (sigma 0.5), times a factor of the second
whose logarithm is an AR(1) process. The truth is the percentile of the marginal distribution.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from loadgen.units import NS_PER_S
from tests.support.simulated import ROW, ar1, batches_of, wilson

RUNS, SECONDS, VALUES, SIGMA = 2_000, 300, 100, 0.5
QS = (50.0, 95.0, 99.0)


def simulate(phi: float, sd: float, seed: int, runs: int = RUNS, seconds: int = SECONDS) -> dict[float, Counter[str]]:
    """By percentile: how many runs were "covered", "missed", "too short" ..."""
    rng = np.random.default_rng(seed)
    spread = sqrt(SIGMA**2 + sd**2)
    truth_ms = {q: 20 * exp(NormalDist().inv_cdf(q / 100) * spread) for q in QS}
    found: dict[float, Counter[str]] = {q: Counter() for q in QS}
    for _ in range(runs):
        factor = ar1(rng, seconds, phi, sd) if sd else np.zeros(seconds)
        ms = 20 * np.exp(rng.normal(0, SIGMA, (seconds, VALUES)) + factor[:, None])
        batches = batches_of(list((ms * 1e6).astype(np.int64)))
        for q in QS:
            interval = batches.interval(ROW, q)
            if interval.low is None or interval.high is None:
                found[q][interval.why] += 1
            else:
                found[q]["covered" if interval.low <= truth_ms[q] <= interval.high else "missed"] += 1
    return found


def coverage(found: Counter[str]) -> tuple[float, str]:
    covered, n = found["covered"], found["covered"] + found["missed"]
    low, high = wilson(covered, n)
    return covered / n, f"{covered} of {n} ({low:.3f} to {high:.3f}), {dict(found)}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("phi", "sd"), [(0.0, 0.0), (0.9, 0.1), (0.9, 0.2)])
def test_95_percent_intervals_cover_the_truth_in_93_to_97_percent_of_runs(phi: float, sd: float) -> None:
    found = simulate(phi, sd, seed=21)
    told = {q: coverage(found[q]) for q in QS}
    covered = sum(found[q]["covered"] for q in QS)
    judged = covered + sum(found[q]["missed"] for q in QS)
    print(phi, sd, told, covered / judged)
    assert 0.93 <= covered / judged <= 0.97, told
    # A single percentile over 2,000 runs has an error of its own: two standard errors are 0.010.
    assert all(0.92 <= share <= 0.98 for share, _ in told.values()), told
    assert all(found[q]["too short"] <= RUNS * 0.35 for q in QS), told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_of_300_s_is_too_short_where_a_second_is_like_the_one_before_by_97_percent() -> None:
    found = simulate(0.97, 0.1, seed=22)
    print(found)
    assert all(found[q]["too short"] >= 0.9 * RUNS for q in QS), found


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
def test_intervals_of_the_p99_of_a_simulated_queue_cover_the_truth_in_93_to_97_percent_of_runs() -> None:
    # The same as test_mm1.py does with real requests, but of two thousand runs and on any machine.
    rng = np.random.default_rng(3)
    truth_ms = log(100) / 200 * 1_000
    found: Counter[str] = Counter()
    for _ in range(RUNS):
        interval = batches_of(queue(rng, 50), NS_PER_S // 2).interval(ROW, 99)
        if interval.low is None or interval.high is None:
            found[interval.why] += 1
        else:
            found["covered" if interval.low <= truth_ms <= interval.high else "missed"] += 1
    share, told = coverage(found)
    print(told)
    assert 0.93 <= share <= 0.97, told
    assert found["too short"] <= RUNS * 0.1, told
