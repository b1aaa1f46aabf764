"""Do intervals from batches hold what they promise? Counted over many simulated runs, with the whole of our own code.

A run has 300 intervals of 1 s with 100 response times each: lognormal (sigma 0.5), times a factor of the second
whose logarithm is an AR(1) process. The truth is the percentile of the marginal distribution.
"""

from __future__ import annotations

from collections import Counter
from math import exp, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from tests.support.simulated import ROW, ar1, batches_of, wilson

RUNS, SECONDS, VALUES, SIGMA = 1_000, 300, 100, 0.5
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
    found = simulate(phi, sd, seed=1)
    told = {q: coverage(found[q]) for q in QS}
    covered = sum(found[q]["covered"] for q in QS)
    judged = covered + sum(found[q]["missed"] for q in QS)
    print(phi, sd, told, covered / judged)
    assert 0.93 <= covered / judged <= 0.97, told
    # A single percentile over 1,000 runs has an error of its own: two standard errors are 0.014.
    assert all(0.92 <= share <= 0.98 for share, _ in told.values()), told
    assert all(found[q]["too short"] <= RUNS * 0.35 for q in QS), told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_of_300_s_is_too_short_where_a_second_is_like_the_one_before_by_97_percent() -> None:
    found = simulate(0.97, 0.1, seed=2)
    print(found)
    assert all(found[q]["too short"] >= 0.9 * RUNS for q in QS), found
