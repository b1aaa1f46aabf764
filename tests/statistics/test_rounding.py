"""The rounding of a series: which unit is noticed, and which series have none."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.rounding import middle_mean, rounding_share


def noisy(level: float, noise: float = 0.02) -> np.ndarray:
    values: np.ndarray = level * np.exp(np.random.default_rng(1).normal(0, noise, 100))
    return values


@pytest.mark.parametrize(
    ("level", "decimals", "unit"), [(33, 0, 1.0), (3.3, 1, 0.1), (330, -1, 10.0), (0.0333, 3, 1e-3)]
)
def test_the_decimal_place_to_which_values_were_rounded_is_the_unit(level: float, decimals: int, unit: float) -> None:
    rounded = np.round(noisy(level), decimals)
    assert rounding_share(np.log(rounded)) == pytest.approx(unit / np.median(rounded), rel=1e-6)


@pytest.mark.parametrize("divided_by", [1.0, 7.3, 60.0])
def test_clock_ticks_of_4_ms_are_the_unit_also_if_values_were_divided_later(divided_by: float) -> None:
    ticks = 4 * np.round(noisy(42, 0.04) / 4)
    assert rounding_share(np.log(ticks / divided_by)) == pytest.approx(4 / np.median(ticks), rel=1e-6)


def test_values_that_are_not_rounded_have_no_unit() -> None:
    assert rounding_share(np.log(noisy(33))) == 0
    assert rounding_share(np.array([])) == 0
    assert rounding_share(np.array([4.0] * 20 + [5.0] * 20)) == 0, "two levels without noise are no rounding"
    assert rounding_share(np.array([900.0, 1.0] * 20)) == 0


def test_middle_mean_moves_evenly_where_the_median_moves_by_a_unit() -> None:
    before, after = np.array([33.0] * 11 + [34.0] * 9), np.array([33.0] * 9 + [34.0] * 11)
    assert (np.median(before), np.median(after)) == (33, 34)
    assert middle_mean(after) - middle_mean(before) == pytest.approx(0.2)
    assert middle_mean(np.array([5.0])) == 5.0
    assert middle_mean(np.array([0.0, 1.0, 2.0, 900.0])) == 1.5, "outliers are not in the middle half"
