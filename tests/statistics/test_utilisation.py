"""The use of a resource by rate: a line with errors that allow for correlated samples, and where it meets a policy."""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
import pytest

from loadgen.analysis.utilisation import (
    REACH,
    UtilisationFit,
    fit_utilisation,
    long_run_covariance,
    samples_wrong,
    smallest_ceiling,
)


def _noise(rng: np.random.Generator, n: int, correlation: float, sd: float = 2.0) -> np.ndarray:
    """Return AR(1) noise in its steady state."""
    shocks = rng.normal(size=n) * sqrt(1 - correlation**2)
    shocks[0] /= sqrt(1 - correlation**2)
    for at in range(1, n):
        shocks[at] += correlation * shocks[at - 1]
    return shocks * sd


def _staircase(n: int) -> np.ndarray:
    return np.repeat([50.0, 100.0, 150.0, 200.0, 250.0, 300.0], n // 6)


def _covered(n: int, correlation: float, rate: float, trials: int, seed: int = 1) -> float:
    """Return how often the prediction interval at a rate contains a new sample of the truth."""
    rng = np.random.default_rng(seed)
    rates, hits = _staircase(n), 0
    for _ in range(trials):
        found = fit_utilisation(rates, 5 + 0.15 * rates + _noise(rng, n, correlation), policy=70)
        # The curve is that of the line in all trials: a chance parabola has its own, wider interval.
        at = np.array([rate / 300])
        error = 5 + 0.15 * rate + 2 * rng.normal() - found.line.mean(at)
        hits += bool(abs(error) <= found.line.half_width(at))
    return hits / trials


def test_a_line_without_noise_has_its_exact_ceiling() -> None:
    rates = _staircase(60)
    found = fit_utilisation(rates, 5 + 0.2 * rates, policy=65)
    assert found.intercept == pytest.approx(5)
    assert found.slope == pytest.approx(0.2)
    assert found.ceiling == pytest.approx(300)
    assert found.mean_ceiling == pytest.approx(300)
    assert not found.is_extrapolated
    assert not found.is_curved
    assert found.predict(100) == pytest.approx((25, 25, 25))


@pytest.mark.slow  # importing statsmodels takes 2 s
def test_coefficients_and_errors_are_those_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    rates = _staircase(120)
    use = 5 + 0.2 * rates + _noise(rng, 120, 0.5)
    basis = np.vander(rates, 2, increasing=True)
    for lags in (0, 1, 7):
        fitted = api.OLS(use, basis).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
        inverse = np.linalg.inv(basis.T @ basis)
        ours = inverse @ long_run_covariance(basis, use - basis @ fitted.params, lags) @ inverse
        assert ours == pytest.approx(fitted.cov_params(), rel=1e-8)
    found = fit_utilisation(rates, use, policy=70)
    assert (found.intercept, found.slope) == pytest.approx(tuple(fitted.params))


def test_the_ceiling_is_where_the_upper_end_of_the_prediction_meets_the_policy() -> None:
    rng = np.random.default_rng(5)
    rates = _staircase(300)
    found = fit_utilisation(rates, 5 + 0.2 * rates + _noise(rng, 300, 0.3), policy=60)
    assert found.ceiling is not None
    assert found.mean_ceiling is not None
    assert found.predict(found.ceiling)[2] == pytest.approx(60)
    assert found.ceiling < found.mean_ceiling == pytest.approx(275, abs=5)
    assert found.slope_low < 0.2 < found.slope_high


def test_the_slope_of_correlated_samples_has_a_wider_interval() -> None:
    rng = np.random.default_rng(6)
    rates = _staircase(300)
    plain, correlated = (
        fit_utilisation(rates, 5 + 0.2 * rates + _noise(rng, 300, one), policy=60) for one in (0.0, 0.8)
    )
    assert correlated.correlation > 0.6 > 0.3 > plain.correlation
    assert correlated.slope_high - correlated.slope_low > 1.5 * (plain.slope_high - plain.slope_low)


def test_a_use_that_bends_upwards_is_marked_and_its_ceiling_is_the_lower_one() -> None:
    rng = np.random.default_rng(7)
    rates = _staircase(300)
    found = fit_utilisation(rates, 5 + 0.0008 * rates**2 + _noise(rng, 300, 0.2, 1.0), policy=80)
    assert found.is_curved
    assert found.curvature_t > 3
    assert found.ceiling is not None
    assert found.ceiling < sqrt(75 / 0.0008)
    assert found.predict(300)[0] == pytest.approx(77, abs=1)


def test_a_use_that_does_not_rise_has_no_ceiling() -> None:
    rng = np.random.default_rng(8)
    found = fit_utilisation(_staircase(120), 30 + _noise(rng, 120, 0.0), policy=70)
    assert found.ceiling is None
    assert "does not rise" in found.why_none


def test_a_use_above_the_policy_at_all_rates_has_no_ceiling() -> None:
    rates = _staircase(120)
    found = fit_utilisation(rates, 80 + 0.05 * rates, policy=70)
    assert (found.ceiling, found.why_none) == (None, "it is above the policy at the lowest rates already")


def test_a_ceiling_far_beyond_the_largest_rate_is_marked() -> None:
    rates = _staircase(120)
    found = fit_utilisation(rates, 1 + 0.05 * rates, policy=70)
    assert found.is_extrapolated
    assert found.ceiling is not None
    assert found.ceiling > REACH * 300


def test_the_smallest_ceiling_of_several_resources_is_found() -> None:
    rates = _staircase(60)
    fits: list[UtilisationFit] = [
        fit_utilisation(rates, of * rates, policy=policy) for of, policy in ((0.1, 42), (0.2, 62), (0.1, -1))
    ]
    smallest = smallest_ceiling(fits)
    assert smallest is not None
    assert smallest.ceiling == pytest.approx(310)
    assert smallest_ceiling(fits[2:]) is None


def test_thirty_samples_are_needed_and_a_late_probe_is_refused() -> None:
    rates = np.linspace(50, 300, 29)
    wrong = samples_wrong(rates, rates, period_s=20)
    assert [message.partition(",")[0] for message, _ in wrong] == [
        "a sample each 20 s: the mean of more than 15 s hides peaks of the use",
        "29 samples",
    ]
    with pytest.raises(ValueError, match=r"20 s.*29 samples.*policy is nan"):
        fit_utilisation(rates, rates, policy=nan, period_s=20)
    assert samples_wrong(np.linspace(50, 300, 30), np.ones(30), period_s=15) == []


def test_rates_in_one_point_are_refused() -> None:
    rng = np.random.default_rng(9)
    for rates in (np.full(60, 100.0), rng.normal(100, 2, 60), np.zeros(60)):
        ((message, _),) = samples_wrong(rates, rates)
        assert message.startswith("all rates are in one point")


def test_samples_that_are_not_numbers_or_do_not_match_are_refused() -> None:
    assert samples_wrong([1.0, nan], [1.0, 2.0])[0][0] == "rates has values that are not finite"
    messages = [message for message, _ in samples_wrong(np.linspace(-1, 5, 40), np.ones(39))]
    assert messages == ["40 rates and 39 uses", "a rate is below 0"]


def test_two_rates_are_enough_for_a_line() -> None:
    rates = np.repeat([100.0, 200.0], 30)
    found = fit_utilisation(rates, 10 + 0.1 * rates + np.tile([0.5, -0.5], 30), policy=40)
    assert found.slope == pytest.approx(0.1)
    assert not found.is_curved


def test_prediction_intervals_cover_new_samples() -> None:
    """Daily size: 200 trials have a standard error of 1.6 %."""
    assert _covered(60, 0.5, 200, 200) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 60, 300])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("rate", [200, 300])
def test_prediction_intervals_cover_in_all_sizes(n: int, correlation: float, rate: float) -> None:
    assert _covered(n, correlation, rate, 2_000) >= 0.92


def test_a_curve_decides_alone_within_the_samples() -> None:
    rate = np.repeat(np.arange(100.0, 400, 10), 4)
    use = 5 + 0.15 * rate + 0.0006 * (rate - 100) ** 2 + np.random.default_rng(1).normal(0, 1, len(rate))

    found = fit_utilisation(rate, use, policy=70)

    assert found.is_curved
    assert found.ceiling == pytest.approx(285, abs=4), "the mean meets the policy at 289.6, and the line's edge at 184"
