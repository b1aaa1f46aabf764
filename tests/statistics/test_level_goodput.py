"""How often the 95 % interval of a level's goodput contains the true share, over many simulated levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from heapq import heappop, heappush
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from loadgen.measure.deltas.series_key import GOODPUT_TAG, OK, SLOW, SeriesKey
from loadgen.measure.results.level_goodput import GoodShare, OfferedByInterval
from tests.support.simulated import ar1, wilson

Seen = Callable[[str, object], None]
Counts = np.ndarray
SETTLE_S = 20
SIGMA = 0.5
"""The standard deviation of the logarithms of times within a second."""


def share_of(good: Counts, bad: Counts) -> GoodShare:
    """The interval of a level with so many good and bad requests in each second."""
    made = OfferedByInterval()
    for outcome, counts in ((OK, good), (SLOW, bad)):
        key = SeriesKey("goodput", "ask", None, "chat", outcome, "value", tags=(("level", "4"), (GOODPUT_TAG, "")))
        for k, n in enumerate(counts.tolist()):
            made.add(k, key, n, n * 1_000)
    return made.share("4", "", int(good.sum()), int(good.sum() + bad.sum()))


def level_of(
    rng: np.random.Generator, share: float, length_s: int, phi: float, sd: float, per_s: float
) -> tuple[Counts, Counts]:
    """Good and bad requests of each second. Times are lognormal around a level, an AR(1) from second to second."""
    n = rng.poisson(per_s, length_s)
    of = np.repeat(ar1(rng, length_s, phi, sd), n)
    second = np.repeat(np.arange(length_s), n)
    is_good = rng.normal(0, SIGMA, len(of)) + of <= NormalDist().inv_cdf(share) * sqrt(SIGMA**2 + sd**2)
    good, bad = (np.bincount(second, one, length_s).astype(int) for one in (is_good, ~is_good))
    return good, bad


def queue(
    rng: np.random.Generator, use: float, length_s: int, limit_s: float, servers: int = 8
) -> tuple[Counts, Counts]:
    """Good and bad requests of an M/M/8 queue after 20 s of settling, which begins empty; good: waited at most so long.

    Each server needs 1 s for a request. Requests count in the second in which they end.
    """
    free = [0.0] * servers
    end_s = SETTLE_S + length_s
    at = np.cumsum(rng.exponential(1 / (use * servers), int(1.5 * use * servers * end_s) + 100))
    good, bad = np.zeros(3 * end_s, dtype=int), np.zeros(3 * end_s, dtype=int)
    for due, work in zip(at.tolist(), rng.exponential(1.0, len(at)).tolist(), strict=True):
        begins = max(due, heappop(free))
        heappush(free, begins + work)
        if SETTLE_S <= due < end_s:
            (good if begins - due <= limit_s else bad)[min(int(begins + work), 3 * end_s - 1)] += 1
        elif due >= end_s:
            break
    return good[SETTLE_S:], bad[SETTLE_S:]


@cache
def true_share(use: float, limit_s: float, servers: int = 8) -> float:
    """The share of requests of an M/M/8 queue that wait at most so long. Source: Erlang's C formula."""
    offered = use * servers
    terms = np.cumprod([1.0, *(offered / k for k in range(1, servers + 1))])
    waits = terms[-1] / (1 - use) / (terms[:-1].sum() + terms[-1] / (1 - use))
    return float(1 - waits * np.exp(-servers * (1 - use) * limit_s))


def covered(
    made: Callable[[np.random.Generator], tuple[Counts, Counts]], share: float, runs: int, seed: int
) -> tuple[float, float, float]:
    """How often the interval contains the true share, and how often that of independent requests would; refused ones.

    Both shares are of levels with an interval.
    """
    rng = np.random.default_rng(seed)
    inside = of_wilson = known = 0
    for _ in range(runs):
        good, bad = made(rng)
        found = share_of(good, bad)
        if found.low is None or found.high is None:
            continue
        known += 1
        inside += found.low <= share <= found.high
        low, high = wilson(int(good.sum()), int(good.sum() + bad.sum()))
        of_wilson += low <= share <= high
    return inside / max(1, known), of_wilson / max(1, known), 1 - known / runs


def test_the_interval_covers_the_true_goodput_of_a_queue_where_that_of_independent_requests_does_not() -> None:
    inside, of_wilson, _ = covered(lambda rng: queue(rng, 0.8, 100, 0.3), true_share(0.8, 0.3), 60, 1)
    assert inside >= 0.9
    assert of_wilson < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "sd"), [(0.0, 0.0), (0.5, 0.1), (0.9, 0.1), (0.9, 0.2)])
@pytest.mark.parametrize(("length_s", "at_least"), [(20, 0.88), (60, 0.94), (300, 0.94)])
@pytest.mark.parametrize(("share", "per_s"), [(0.95, 20.0), (0.8, 20.0), (0.95, 4.0)])
def test_the_interval_covers_the_true_goodput_of_a_drifting_service(
    share: float, per_s: float, length_s: int, at_least: float, phi: float, sd: float, record_property: Seen
) -> None:
    found = covered(lambda rng: level_of(rng, share, length_s, phi, sd, per_s), share, 500, length_s)
    seen = f"{share:.0%}, {per_s:g}/s, {length_s} s, correlation {phi}, spread {sd}: {found}"
    record_property("seen", seen)
    print(seen)
    assert found[0] >= at_least


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [100, 300])
@pytest.mark.parametrize(("use", "limit_s"), [(0.6, 0.2), (0.8, 0.3), (0.8, 1.0), (0.9, 1.0)])
def test_the_interval_covers_the_true_goodput_of_a_queue(
    use: float, limit_s: float, length_s: int, record_property: Seen
) -> None:
    share = true_share(use, limit_s)
    found = covered(lambda rng: queue(rng, use, length_s, limit_s), share, 500, length_s)
    seen = f"use {use}, limit {limit_s} s ({share:.1%} good), {length_s} s: {found}"
    record_property("seen", seen)
    print(seen)
    assert found[0] >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("use", "limit_s"), [(0.6, 0.2), (0.8, 0.3), (0.8, 1.0), (0.9, 1.0)])
def test_intervals_of_short_levels_of_a_queue_are_wrong_mainly_if_the_level_has_few_bad_requests(
    use: float, limit_s: float, record_property: Seen
) -> None:
    share, rng, inside, of = true_share(use, limit_s), np.random.default_rng(5), [0, 0], [0, 0]
    for _ in range(500):
        good, bad = queue(rng, use, 30, limit_s)
        found = share_of(good, bad)
        assert found.low is not None
        assert found.high is not None
        has_many = int(bad.sum() >= 10)
        of[has_many] += 1
        inside[has_many] += found.low <= share <= found.high
    seen = f"use {use}, limit {limit_s} s ({share:.1%} good), 30 s: few {inside[0]}/{of[0]}, many {inside[1]}/{of[1]}"
    record_property("seen", seen)
    print(seen)
    assert inside[1] / of[1] >= 0.93
