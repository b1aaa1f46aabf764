"""Week on week of production: known changes, gaps, coverage of the intervals, and levels of weeks."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from loadgen.analysis.anomalies.hours import hours_of
from loadgen.analysis.week_on_week.change import change_of_share, change_of_volume, days_of, mean_with_interval
from loadgen.analysis.week_on_week.weekly_levels import weekly_levels

Array = npt.NDArray[np.float64]


def week(level: float = 1_000.0) -> Array:
    return np.tile(level * (1 + 0.5 * np.sin(np.arange(24) / 4)), (7, 1))


def test_ten_percent_more_in_each_hour_is_ten_percent_more() -> None:
    found = change_of_volume(week(), week() * 1.1)
    assert (found.change, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found.n_days, found.n_hours, found.is_difference) == (7, 168, False)


def test_an_hour_that_one_week_lacks_is_left_out_of_both() -> None:
    before, after = week(), week() * 1.1
    before[2, 12:18] = np.nan
    after[4, :15] = np.nan
    found = change_of_volume(before, after)
    assert found.change == pytest.approx(0.1)
    assert (found.n_days, found.n_hours) == (6, 144 - 6)


def test_fewer_than_five_pairs_of_days_have_no_answer() -> None:
    after = week()
    after[:3] = np.nan
    found = change_of_volume(week(), after)
    assert isnan(found.change)
    assert found.why == "4 pairs of days have 12 hours in common, and 5 are needed"


def test_the_share_of_bad_requests_doubles_while_the_volume_grows() -> None:
    before, after = week(), week() * 1.5
    found = change_of_share(before * 0.004, before, after * 0.008, after)
    assert found.change == pytest.approx(1.0)


def test_a_day_without_bad_requests_makes_it_a_difference_of_shares() -> None:
    before, after = week(), week()
    bad = before * 0.004
    bad[3] = 0.0
    found = change_of_share(bad, before, after * 0.004, after)
    assert found.is_difference
    assert found.change == pytest.approx(0.004 / 7)
    assert found.low < 0 < found.high


def test_the_days_of_a_ledger_begin_at_the_given_slot() -> None:
    hours = hours_of(np.arange(30) * 3_600, 3_600, np.arange(30), 0)
    days = days_of(hours, 24, 2)
    assert days[0, :6].tolist() == [24, 25, 26, 27, 28, 29]
    assert np.isnan(days[0, 6:]).all()
    assert np.isnan(days[1]).all()


def test_the_error_is_that_of_newey_and_west_made_wider() -> None:
    """By hand: rests -1, -1, 0, 1, 1, their covariances at lags 1 and 2 are 2 and -1, with weights 2/3 and 1/3."""
    middle, low, high = mean_with_interval([1.0, 1.0, 2.0, 3.0, 3.0])
    variance = (4 + 2 * (2 / 3 * 2 + 1 / 3 * -1)) / 4 * (1 + 11 * 2 / 5) / 5
    half = float(special.stdtrit(4, 0.975)) * sqrt(variance)
    assert (middle, low, high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))


def covered(days: int, autocorrelation: float, runs: int) -> float:
    random = np.random.default_rng(days)
    noise = random.standard_normal((runs, days))
    for day in range(1, days):
        noise[:, day] = autocorrelation * noise[:, day - 1] + sqrt(1 - autocorrelation**2) * noise[:, day]
    found = [mean_with_interval(0.05 + 0.1 * row) for row in noise]
    return sum(low <= 0.05 <= high for _, low, high in found) / runs


@pytest.mark.parametrize("autocorrelation", [0.0, 0.3, 0.6])
def test_intervals_of_a_week_contain_the_change(autocorrelation: float) -> None:
    assert covered(7, autocorrelation, 1_000) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("days", [5, 6, 7, 14, 28])
@pytest.mark.parametrize("autocorrelation", [0.0, 0.3, 0.6])
def test_intervals_of_any_number_of_days_contain_the_change(days: int, autocorrelation: float) -> None:
    assert covered(days, autocorrelation, 10_000) >= 0.92


@pytest.mark.slow  # importing statsmodels takes 2 s
def test_the_covariances_are_those_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    values = np.random.default_rng(2).standard_normal(14).cumsum()
    lags = int(1.5 * 14 ** (1 / 3))
    error = api.OLS(values, np.ones(14)).fit(cov_type="HAC", cov_kwds={"maxlags": lags}).bse[0]
    _, low, high = mean_with_interval(values)
    ours = (high - low) / 2 / float(special.stdtrit(13, 0.975))
    assert ours == pytest.approx(error * sqrt(14 / 13) * sqrt(1 + 11 * lags / 14))


def test_a_step_in_weekly_figures_is_a_new_level_at_its_week() -> None:
    random = np.random.default_rng(4)
    figures = 0.004 * np.exp(0.02 * random.standard_normal(16))
    figures[9:] *= 1.5
    figures[3] = np.nan
    found = weekly_levels(figures)
    assert [one.at for one in found.steps] == [9]
    assert found.steps[0].change == pytest.approx(0.5, abs=0.1)
    assert [(one.start, one.end) for one in found.levels] == [(0, 9), (9, 16)]


def test_seven_weeks_and_a_week_without_events_have_no_levels() -> None:
    assert weekly_levels([1.0] * 7).why == "7 weeks are too few: 8 are needed"
    assert weekly_levels([1.0] * 8 + [0.0]).why == "a week without events has no logarithm"
    assert weekly_levels([1.0] * 8).steps == ()
    with pytest.raises(ValueError, match="weekly figures"):
        weekly_levels([-1.0] * 8)
