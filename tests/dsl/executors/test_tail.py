"""What is measured of the tail of the response times: known answers of queues and of independent results."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from loadgen.dsl.executors.rate_results import Aim, Stay, pooled
from loadgen.dsl.executors.tail_measure import Tail, measure_tail
from loadgen.measure.objectives.steering_observation import RUNGS, Part
from tests.support.queues import mm1

AIM = Aim("p(99) < 500ms", 0.01, 0.5)


def tail_of(stays: list[Stay]) -> Tail:
    whole = pooled(stays)
    assert whole is not None
    return measure_tail([(stays, whole)], [AIM])


def independent(windows: int, count: int = 2000, seed: int = 1) -> list[Stay]:
    """Exponential times whose p99 is the limit: P(time > x limits) = 0.01^x."""
    random = np.random.default_rng(seed)
    stays = []
    for _ in range(windows):
        times = random.exponential(1 / np.log(100), count)
        slower = tuple(int(np.count_nonzero((times > rung) & (times <= 1))) for rung in RUNGS)
        bad = int(np.count_nonzero(times > 1))
        stays.append(Stay(100.0).plus([Part(0, "shop", count - bad, bad, slower)], 20.0))
    return stays


def test_independent_results_do_not_cluster() -> None:
    assert tail_of(independent(100)).clusters < 0.03


def test_the_slope_of_an_exponential_tail_is_that_of_its_percentile() -> None:
    assert tail_of(independent(100)).slope == pytest.approx(AIM.slope, rel=0.05)


def test_the_clusters_of_a_queue_at_its_knee_are_near_those_of_heavy_traffic() -> None:
    """M/M/1: a long simulation gives 0.23 for the count of results above the p99 (400 limits a window)."""
    queue = mm1(90, 0.5).queue(1)
    stays = [Stay(90.0) for _ in range(150)]
    for k, stay in enumerate(stays):
        for _ in range(20):
            stay = stay.plus(queue.look(90.0).parts, 1.0)
        stays[k] = stay

    assert 0.12 < tail_of(stays).clusters < 0.4


def test_without_windows_the_clusters_are_a_guess_from_a_tenth_up() -> None:
    tail = measure_tail([], [AIM])

    assert tail == Tail()
    assert tail.possible_clusters == pytest.approx((0.025, 0.25, 1.0))


def test_the_more_windows_the_closer_are_the_possible_clusters() -> None:
    few, many = tail_of(independent(4)), tail_of(independent(60))

    assert few.possible_clusters[1] / few.possible_clusters[0] > 3
    assert many.possible_clusters[1] / many.possible_clusters[0] < 1.5


def test_a_target_that_never_is_near_its_limit_does_not_cluster() -> None:
    all_fast = [Stay(100.0).plus([Part(0, "shop", 2000, 0, (0,) * len(RUNGS))], 20.0) for _ in range(40)]

    assert tail_of(all_fast).clusters < 0.25 * exp(-1)


def test_an_error_ratio_has_clusters_too() -> None:
    aim = Aim("error_ratio() < 1%", 0.01, None)
    bursts = [Stay(100.0).plus([Part(0, "shop", 900, 100 if k % 10 == 0 else 0)], 20.0) for k in range(100)]
    even = [Stay(100.0).plus([Part(0, "shop", 990, 10)], 20.0) for _ in range(100)]
    both = [measure_tail([(stays, whole)], [aim]) for stays in (bursts, even) if (whole := pooled(stays))]

    assert both[0].clusters > 10 * both[1].clusters
