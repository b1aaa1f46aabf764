"""The interval of one run's good ratio: how often it contains the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from loadgen.analysis.attainment.sample import RunSample, interval_of_run

CELLS = [
    # seconds, requests/s, autocorrelation, sd of the log odds, bad ratio
    (600, 50, 0.9, 0.7, 0.0100),
    (600, 50, 0.0, 0.7, 0.0100),
    (600, 50, 0.5, 1.0, 0.0050),
    (600, 50, 0.95, 0.7, 0.0100),
    (1800, 20, 0.9, 1.0, 0.0200),
    (600, 200, 0.9, 0.7, 0.0010),
    (300, 500, 0.8, 1.0, 0.0050),
]


def runs(cell: tuple[int, int, float, float, float], count: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return bad and total by second of several runs, shape (runs, seconds), and their true bad ratio."""
    seconds, rate, phi, sd, ratio = cell
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, seconds))
    level = noise.copy()
    for at in range(1, seconds):
        level[:, at] = phi * level[:, at - 1] + np.sqrt(1 - phi**2) * noise[:, at]
    middle = special.logit(ratio)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    truth = float((weights / weights.sum() * special.expit(middle + sd * nodes)).sum())
    total = rng.poisson(rate, (count, seconds))
    return rng.binomial(total, special.expit(middle + sd * level)), total, truth


def answers(cell: tuple[int, int, float, float, float], count: int, seed: int) -> tuple[list[RunSample], float]:
    bad, total, truth = runs(cell, count, seed)
    return [interval_of_run(t - b, t, target=1 - truth) for b, t in zip(bad, total, strict=True)], 1 - truth


def covers(found: list[RunSample], truth: float) -> float:
    given = [one.low <= truth <= one.high for one in found if one.low is not None and one.high is not None]
    return sum(given) / len(given)


def test_the_interval_contains_the_truth_where_seconds_depend_on_each_other() -> None:
    found, truth = answers(CELLS[0], 300, 1)
    assert covers(found, truth) >= 0.92
    naive = [
        abs(one.bad / one.requests - (1 - truth)) <= 1.96 * np.sqrt(truth * (1 - truth) / one.requests) for one in found
    ]
    assert 0.4 < float(np.mean(naive)) < 0.65


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_the_interval_covers_at_least_92_percent(cell: tuple[int, int, float, float, float]) -> None:
    found, truth = answers(cell, 2000, 7)
    assert covers(found, truth) >= 0.92
    assert sum(one.state == "too short" for one in found) <= 0.2 * len(found)


def test_a_run_whose_seconds_depend_on_each_other_beyond_a_batch_is_often_too_short() -> None:
    far, _ = answers((600, 50, 0.99, 0.7, 0.03), 100, 3)
    near, _ = answers((600, 50, 0.5, 0.7, 0.03), 100, 3)
    assert sum(one.state == "too short" for one in far) >= 60
    assert sum(one.state == "too short" for one in near) <= 5
    assert all(one.low is None for one in far if one.state == "too short")


def test_the_design_effect_is_never_below_1() -> None:
    found = interval_of_run(np.full(600, 49), np.full(600, 50), target=0.95)
    assert found.design_effect == 1.0
    assert found.state == "kept"


def test_few_expected_bad_requests_have_the_exact_interval_and_are_undecided() -> None:
    found = interval_of_run(np.full(60, 10), np.full(60, 10), target=0.999)
    assert (found.method, found.state, found.ratio, found.high) == ("Clopper-Pearson", "undecided", 1.0, 1.0)
    # 0 of 600 bad: 1 - tail^(1/600), with the tail of t(4).
    assert found.low == pytest.approx(special.ndtr(-2.7764451051977987) ** (1 / 600))


def test_wilson_has_the_quantile_of_t_with_4_degrees_of_freedom() -> None:
    found = interval_of_run(np.full(100, 90), np.full(100, 100), target=0.85)
    z, n, p = 2.7764451051977987, 10_000.0, 0.1
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    assert found.low == pytest.approx(1 - centre - half)
    assert found.high == pytest.approx(1 - centre + half)


def test_a_run_without_requests_has_no_traffic_and_a_run_of_few_slices_is_too_short() -> None:
    assert interval_of_run(np.zeros(60), np.zeros(60), target=0.99).state == "no traffic"
    assert interval_of_run(np.full(9, 9), np.full(9, 10), target=0.99).state == "too short"
    with pytest.raises(ValueError, match="0 <= good <= total"):
        interval_of_run([2.0], [1.0], target=0.99)
