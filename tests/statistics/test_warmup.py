"""How often a warm-up is cut off where there is none, and how near the cut is where there is one.

Levels of 300 intervals: noise (0.05), a slow part (AR(1) of 0.1 where there is any), and what the warm-up adds.
"""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.measure.statistics.warmup import OUTPUT_TOKENS, TTFT, find_cut, find_cut_of
from loadgen.units import NS_PER_S
from tests.support.simulated import ar1

RUNS, SECONDS = 500, 300
T = np.arange(SECONDS)


def cuts_s(added: np.ndarray, phi: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RUNS):
        slow = ar1(rng, SECONDS, phi, 0.1) if phi else np.zeros(SECONDS)
        found.append(find_cut(slow + rng.normal(0, 0.05, SECONDS) + added).cut_ns / NS_PER_S)
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "at_most"), [(0.0, 0.01), (0.5, 0.02), (0.9, 0.05)])
def test_steady_runs_are_seldom_cut(phi: float, at_most: float) -> None:
    cuts = cuts_s(np.zeros(SECONDS), phi, seed=1)
    print(phi, "cut:", np.mean(cuts > 0), "of the run:", cuts.mean() / SECONDS)
    assert np.mean(cuts > 0) <= at_most


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_step_is_cut_within_ten_seconds_of_its_end_in_most_runs(phi: float) -> None:
    # 65 % longer for the first minute.
    cuts = cuts_s(0.5 * (T < 60), phi, seed=2)
    print(phi, np.quantile(cuts, [0.05, 0.5, 0.95]))
    assert np.mean((cuts >= 60) & (cuts <= 70)) >= (0.75 if phi else 0.9)
    assert np.mean(cuts < 55) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_what_a_slow_warm_up_leaves_in_is_less_than_four_percent(phi: float) -> None:
    # Response times begin 2.7 times as long and come down with a time constant of 24 s: 8 % too long in the mean.
    added = np.exp(-T / 24)
    cuts = cuts_s(added, phi, seed=3).astype(int)
    left = np.array([added[cut:].mean() for cut in cuts])
    print(phi, np.quantile(cuts, [0.05, 0.5, 0.95]), "left in:", np.quantile(left, [0.5, 0.95]))
    assert np.quantile(left, 0.95) < 0.04
    # With the slow part the mean of such a run has a standard error of 0.1 * sqrt(19 / 300) = 0.025 anyway.
    assert np.median(left) < (0.025 if phi else 0.01)


def stream_cuts_s(phi: float, seconds: int, per_s: float, seed: int) -> np.ndarray:
    """The cuts of steady runs with requests to AI models: Poisson arrivals, answers of 16 to 512 tokens.

    Times to the first token spread by 30 %, and both signals have a slow part (AR(1)) of 10 %.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RUNS):
        slow = ar1(rng, seconds, phi, 0.1) if phi else np.zeros(seconds)
        n = rng.poisson(per_s * np.exp(-slow), seconds)
        ttft = np.where(n > 0, slow + rng.normal(0, 1, seconds) * 0.3 / np.sqrt(np.maximum(n, 1)), np.nan)
        tokens = np.array([rng.integers(16, 513, k).sum() for k in n], dtype=float)
        found.append(find_cut_of({TTFT: ttft, OUTPUT_TOKENS: tokens}).cut_ns / NS_PER_S)
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("per_s", [1, 10])
@pytest.mark.parametrize(
    ("seconds", "phi", "at_most"),
    [(60, 0.0, 0.08), (60, 0.5, 0.08), (60, 0.9, 0.18), (300, 0.0, 0.03), (300, 0.5, 0.03), (300, 0.9, 0.05)],
)
def test_steady_runs_with_two_signals_are_seldom_cut(phi: float, at_most: float, seconds: int, per_s: float) -> None:
    cuts = stream_cuts_s(phi, seconds, per_s, seed=1)
    print(phi, seconds, per_s, "cut:", np.mean(cuts > 0), "of the run:", cuts.mean() / seconds)
    assert np.mean(cuts > 0) <= at_most
