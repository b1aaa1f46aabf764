"""Since when a path is slower."""

from __future__ import annotations

import numpy as np

from loadgen.analysis.slow_requests.since_when import since


def times(
    seed: int, begin_s: float, step: float = 2.0, n: int = 400, seconds: float = 600
) -> tuple[np.ndarray, np.ndarray]:
    """Due times, and own times that are larger by a factor from a time on."""
    chance = np.random.default_rng(seed)
    due = np.sort(chance.uniform(0, seconds, n))
    own = chance.lognormal(15, 0.3, n)
    own[due >= begin_s] *= step
    return due, own


def test_rise_is_found_within_its_error() -> None:
    for seed in range(10):
        due, own = times(seed, 312)
        found = since(due, own, np.ones(len(due)))
        assert found is not None
        assert abs(found[0] - 312) <= found[1]
        assert found[1] <= 30


def test_fall_is_no_rise() -> None:
    due, own = times(1, 312, step=0.5)
    assert since(due, own, np.ones(len(due))) is None


def test_steady_path_has_no_beginning() -> None:
    found = [since(*times(seed, 10_000), np.ones(400)) for seed in range(20)]
    assert sum(one is not None for one in found) <= 1


def test_few_traces_are_compared_in_longer_intervals() -> None:
    # 80 traces in 20 minutes: one in 15 s. Means of 10 s are single values.
    due, own = times(2, 600, step=1.5, n=80, seconds=1_200)
    found = since(due, own, np.ones(80))
    assert found is not None
    assert abs(found[0] - 600) <= found[1]


def test_short_run_shows_no_beginning() -> None:
    due, own = times(3, 50, n=100, seconds=100)
    assert since(due, own, np.ones(100)) is None


def test_path_that_is_new_is_found_although_it_was_absent_before() -> None:
    due, own = times(4, 10_000)
    own[due < 300] = 0
    found = since(due, own, np.ones(len(due)))
    assert found is not None
    assert abs(found[0] - 300) <= found[1]


def test_path_without_time_has_no_beginning() -> None:
    due, _ = times(5, 300)
    assert since(due, np.zeros(len(due)), np.ones(len(due))) is None


def test_weights_decide_what_a_mean_is() -> None:
    due, own = times(6, 10_000)
    # Rare requests become slow, but they stand for next to nothing.
    slow = np.arange(len(due)) % 10 == 0
    own[slow & (due > 300)] *= 10
    assert since(due, own, np.where(slow, 1e-6, 1.0)) is None
