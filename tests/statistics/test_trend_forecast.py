"""Forecasts by a robust trend: exact lines, outliers, seasons, and how often the range contains the truth."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from loadgen.analysis.forecast.trend_forecast import forecast_trend


def _noise(rng: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    noise = rng.normal(size=n)
    for at in range(1, n):
        noise[at] = correlation * noise[at - 1] + sqrt(1 - correlation**2) * noise[at]
    return noise


def test_a_line_goes_on_as_it_is() -> None:
    found = forecast_trend(range(12), 7 + 0.01 * np.arange(12), 3)
    assert found.middle == pytest.approx([7.12, 7.13, 7.14])
    assert found.low == pytest.approx(found.high)
    assert found.growth == pytest.approx(0.01)
    assert not found.has_season


def test_one_week_in_five_can_be_wrong() -> None:
    values = 7 + 0.01 * np.arange(20)
    values[[3, 9, 14, 18]] += 2
    assert forecast_trend(range(20), values, 1).middle[0] == pytest.approx(7.2, abs=0.02)


def test_weeks_that_are_missing_keep_their_place() -> None:
    at = np.array([0, 1, 2, 5, 6, 9, 10, 11])
    assert forecast_trend(at, 0.1 * at, 2).middle == pytest.approx([1.2, 1.3])


def test_the_same_seed_gives_the_same_range() -> None:
    values = _noise(np.random.default_rng(1), 20, 0.3)
    one, other, third = (forecast_trend(range(20), values, 5, seed=seed) for seed in (1, 1, 2))
    assert one.low.tolist() == other.low.tolist() != third.low.tolist()


def test_a_range_grows_with_its_distance() -> None:
    found = forecast_trend(range(20), _noise(np.random.default_rng(1), 20, 0.3), 50)
    width = found.high - found.low
    assert width[-1] > 1.5 * width[0]


def test_too_few_weeks_and_weeks_that_do_not_rise_are_errors() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        forecast_trend(range(7), np.ones(7), 3)
    with pytest.raises(ValueError, match="weeks must rise"):
        forecast_trend([0, 1, 1, 2, 3, 4, 5, 6], np.ones(8), 3)
    with pytest.raises(ValueError, match="horizon is 105"):
        forecast_trend(range(8), np.ones(8), 105)


def _covered(n: int, correlation: float, trials: int) -> float:
    """Return how often the range contains the truth 1, 6 and 13 weeks ahead."""
    rng, hits = np.random.default_rng(2), 0
    for trial in range(trials):
        truth = 7 + 0.01 * np.arange(n + 13) + 0.05 * _noise(rng, n + 13, correlation)
        found = forecast_trend(range(n), truth[:n], 13, seed=trial)
        hits += sum(bool(found.low[ahead] <= truth[n + ahead] <= found.high[ahead]) for ahead in (0, 5, 12))
    return hits / trials / 3


def test_the_range_contains_the_truth() -> None:
    """Daily size; three weeks of one trial resemble each other."""
    assert _covered(13, 0.3, 60) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 13, 26, 52])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_range_contains_the_truth_in_all_sizes(n: int, correlation: float) -> None:
    assert _covered(n, correlation, 300) >= (0.85 if n == 8 and correlation > 0.5 else 0.9)


@pytest.mark.slow
def test_the_season_of_a_year_is_in_the_forecast() -> None:
    at = np.arange(156)
    values = 7 + 0.002 * at + 0.3 * np.sin(at * 2 * np.pi / 52) + 0.02 * _noise(np.random.default_rng(3), 156, 0.2)
    found = forecast_trend(at, values, 52)
    ahead = np.arange(156, 208)
    assert found.has_season
    assert np.abs(found.middle - (7 + 0.002 * ahead + 0.3 * np.sin(ahead * 2 * np.pi / 52))).max() < 0.1
