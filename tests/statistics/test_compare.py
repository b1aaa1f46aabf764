"""Comparing: known answers of scipy, how often equal releases look different, and what it makes of bad input."""

from __future__ import annotations

from collections.abc import Callable
from math import expm1, inf, log1p, nan, sqrt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadgen.analysis.compare import (
    FLOOR,
    Basis,
    Between,
    benjamini_hochberg,
    between,
    between_ratios,
    odd_one_out,
    ratio_shift,
    shift,
    shift_pairs,
    stated,
)
from tests.statistics.trials import runs

Array = npt.NDArray[np.float64]
Seen = Callable[[str, object], None]
A = np.log([101.0, 97.0, 104.0, 99.0])
B = np.log([112.0, 103.0, 108.0])


# -- known answers --------------------------------------------------------------------------------


def test_three_runs_a_side_are_welchs_t_test() -> None:
    found, expected = shift(A, B), stats.ttest_ind(B, A, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(float(expected.pvalue))
    assert (found.low, found.high) == pytest.approx((expm1(low), expm1(high)))
    assert found.df == pytest.approx(float(expected.df))
    assert found.basis is Basis.RUNS


@pytest.mark.parametrize(("base", "new"), [(A, B[:2]), (A[:1], B), (A, B[:1]), (A[:2], B[:2])])
def test_fewer_runs_on_a_side_are_the_pooled_t_test(base: Array, new: Array) -> None:
    found, expected = shift(base, new), stats.ttest_ind(new, base)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(float(expected.pvalue))
    assert (found.low, found.high) == pytest.approx((expm1(low), expm1(high)))


def test_runs_that_took_turns_are_students_t_test_of_pairs() -> None:
    found, expected = shift_pairs(A[:3], B), stats.ttest_rel(B, A[:3])
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(float(expected.pvalue))
    assert (found.low, found.high) == pytest.approx((expm1(low), expm1(high)))
    assert (found.basis, found.df) == (Basis.PAIRS, 2)


@pytest.mark.parametrize(("base", "new"), [(A, B), (A[:1], B[:1])])
def test_runs_that_make_no_pairs_are_refused(base: Array, new: Array) -> None:
    with pytest.raises(ValueError, match="both sides must have the same number of runs"):
        shift_pairs(base, new)


def test_a_history_is_pooled_with_what_the_sides_show() -> None:
    history = np.log(100) + np.random.default_rng(1).normal(0, 0.03, 12)
    known = Between(0.03, float(history.std(ddof=1)), 11, 12)
    found = shift(A, B, known=known)
    groups = [one - one.mean() for one in (A, B, history)]
    df = sum(len(one) - 1 for one in groups)
    error = sqrt(sum(float(one @ one) for one in groups) / df * (1 / len(A) + 1 / len(B)))
    assert found.p == pytest.approx(2 * float(stats.t.sf((B.mean() - A.mean()) / error, df)))
    assert (found.df, found.basis) == (df, Basis.HISTORY)


def test_one_run_beside_one_has_the_errors_of_both_and_what_runs_differ_by() -> None:
    found = shift([0.0], [0.10], base_errors=[0.01], new_errors=[0.02], known=stated(expm1(0.03)))
    error = sqrt(0.01**2 + 0.02**2 + 2 * 0.03**2)
    df = error**4 / ((0.01**4 + 0.02**4) / 4)
    assert found.low == pytest.approx(expm1(0.10 - stats.t.ppf(0.975, df) * error), rel=1e-5)
    assert found.p == pytest.approx(2 * stats.t.sf(0.10 / error, df), rel=1e-5)
    assert found.basis is Basis.STATED


def test_a_run_that_does_not_know_its_own_error_has_all_that_runs_differ_by() -> None:
    known = Between(0.01, 0.02, 19, 20)
    found = shift([0.0], [0.05], base_errors=[nan], new_errors=[0.01], known=known)
    assert found.p == pytest.approx(2 * stats.t.sf(0.05 / (sqrt(2) * 0.02), 19))


@pytest.mark.parametrize("errors", [[nan], None])
def test_what_is_stated_does_not_help_a_run_too_short_for_its_own_error(errors: list[float] | None) -> None:
    found = shift([0.0], [0.5], base_errors=errors, new_errors=[0.001], known=stated(0.01))
    assert not found.is_known
    assert np.isnan(found.low)


def test_one_run_beside_one_is_not_known_where_nobody_says_how_much_runs_differ() -> None:
    found = shift([0.0], [0.5], base_errors=[0.001], new_errors=[0.001])
    assert not found.is_known
    assert found.p == 1
    assert found.low < found.change < found.high


def test_one_run_beside_one_without_errors_has_no_interval() -> None:
    found = shift([0.0], [0.5])
    assert found.change == pytest.approx(expm1(0.5))
    assert np.isnan([found.low, found.high]).all()


def test_runs_that_differ_more_than_was_stated_count_as_they_do() -> None:
    errors = {"base_errors": [0.01] * 4, "new_errors": [0.01] * 2}
    assert shift(A, B[:2], known=stated(0.001), **errors) == shift(A, B[:2])
    found = shift(A, B[:2], known=stated(expm1(0.2)), **errors)
    error = sqrt(0.2**2 + 0.01**2) * sqrt(1 / 4 + 1 / 2)
    assert found.basis is Basis.STATED
    assert log1p(found.high) - log1p(found.low) == pytest.approx(2 * 1.959964 * error, rel=1e-5)


def test_several_runs_too_short_for_errors_of_their_own_count_as_they_differ() -> None:
    assert shift(A, B[:2], base_errors=[0.01] * 4, new_errors=[0.01, nan], known=stated(0.2)) == shift(A, B[:2])


def test_what_is_stated_keeps_its_level_with_several_runs() -> None:
    chance = np.random.default_rng(13)
    p = []
    for _ in range(2000):
        a, b = chance.normal(0, sqrt(0.02**2 + 0.04**2), (2, 2))
        p.append(shift(a, b, base_errors=[0.04] * 2, new_errors=[0.04] * 2, known=stated(expm1(0.02))).p)
    seen = sum(one < 0.05 for one in p)
    assert stats.binomtest(seen, 2000, 0.05, alternative="greater").pvalue > 0.001


def test_runs_that_happen_to_be_alike_are_not_certain_beyond_the_floor() -> None:
    found = shift([0.0, 0.0, 0.0], [0.001, 0.001, 0.001])
    assert found.low < 0 < found.high


def test_adjusted_p_values_are_scipys() -> None:
    chance = np.random.default_rng(3)
    for n in (1, 2, 20, 60):
        p = chance.random(n) ** 2
        assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


# -- how much runs differ -------------------------------------------------------------------------


def test_the_deviation_of_a_history_is_found_and_what_is_within_runs_taken_off() -> None:
    chance = np.random.default_rng(4)
    found = [between(chance.normal(0, sqrt(0.02**2 + 0.015**2), 20), np.full(20, 0.015)) for _ in range(300)]
    assert np.mean([one.deviation for one in found if one is not None]) == pytest.approx(0.02, rel=0.1)
    assert np.mean([one.whole for one in found if one is not None]) == pytest.approx(0.025, rel=0.05)


def test_a_change_in_the_history_is_no_deviation() -> None:
    values = np.random.default_rng(5).normal(0, 0.01, 24) + np.where(np.arange(24) < 12, 0.0, 0.2)
    found = between(values)
    assert found is not None
    assert found.whole < 0.02
    assert found.df == 22


def test_one_run_that_is_far_out_makes_a_history_less_sure_and_not_useless() -> None:
    values = np.random.default_rng(6).normal(0, 0.01, 20)
    values[7] += 0.5
    found = between(values)
    assert found is not None
    assert 0.008 < found.whole < 0.03


def test_a_history_without_any_deviation_has_the_floor() -> None:
    found = between(np.zeros(20))
    assert found == Between(FLOOR, FLOOR, 19, 20)


def test_two_runs_are_no_history() -> None:
    assert between([0.0, 0.1]) is None
    assert between_ratios([0.0, 0.1], [nan, nan]) is None


# -- how often it is wrong ------------------------------------------------------------------------


def called_different(seed: int, trials: int, changed: float = 0.0, own: float = 0.01) -> tuple[int, int]:
    """(slower, faster) of so many pairs of runs that differ by 2 %, with a history of 20."""
    chance = np.random.default_rng(seed)
    slower = faster = 0
    for _ in range(trials):
        history = runs(chance, 1, 20, 0.02)[0] + chance.normal(0, own, 20)
        a, b = chance.normal(0, 0.02, 2) + chance.normal(0, own, 2) + (0.0, log1p(changed))
        errors = own * np.sqrt(chance.chisquare(4, 22) / 4)
        known = between(history, errors[:20])
        found = shift([a], [b], base_errors=errors[20:21], new_errors=errors[21:], known=known)
        slower += found.p < 0.05 and found.change > 0
        faster += found.p < 0.05 and found.change < 0
    return slower, faster


def test_runs_of_the_same_code_are_called_slower_in_few_cases() -> None:
    slower, _ = called_different(7, 60)
    assert stats.binomtest(slower, 60, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("own", [0.002, 0.01, 0.03])
def test_of_1000_pairs_of_the_same_code_at_most_5_in_100_are_called_slower(own: float, record_property: Seen) -> None:
    slower, faster = called_different(8, 1000, own=own)
    record_property("seen", f"own error {own:.1%}: {slower} slower, {faster} faster")
    assert max(slower, faster) <= 50


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "least"), [(0.05, 200), (0.10, 650), (0.20, 980)])
def test_of_1000_slower_releases_so_many_are_called_so(changed: float, least: int, record_property: Seen) -> None:
    slower, _ = called_different(12, 1000, changed)
    record_property("seen", f"+{changed:.0%}: {slower} slower")
    assert slower >= least


def test_a_release_that_is_a_fifth_slower_is_called_so() -> None:
    assert called_different(9, 60, 0.20)[0] >= 57


@pytest.mark.parametrize(("n", "k"), [(3, 3), (5, 5), (2, 4)])
def test_levels_between_runs_are_those_of_the_t_test(n: int, k: int) -> None:
    chance = np.random.default_rng(10)
    p = [shift(chance.normal(0, 0.04, n), chance.normal(0, 0.04, k)).p for _ in range(2000)]
    seen = sum(one < 0.05 for one in p)
    assert stats.binomtest(seen, 2000, 0.05, alternative="greater").pvalue > 0.001


# -- errors ---------------------------------------------------------------------------------------


def test_errors_of_several_runs_are_compared_by_runs() -> None:
    base, new = [(10, 1000), (14, 1000), (9, 1000)], [(60, 1000), (75, 1000), (66, 1000)]
    found = ratio_shift(base, new)
    expected = stats.ttest_ind([0.060, 0.075, 0.066], [0.010, 0.014, 0.009], equal_var=False)
    assert found.basis is Basis.RUNS
    assert found.change == pytest.approx(0.056)
    # No run's ratio is known better than by its own requests, so scipy's p is a lower bound.
    assert found.p >= float(expected.pvalue)
    assert found.low > 0


def test_bursts_of_errors_make_their_interval_as_wide_as_the_batches_say() -> None:
    wide = ratio_shift([(50, 5000)], [(80, 5000)], base_errors=[0.006], new_errors=[0.006])
    narrow = ratio_shift([(50, 5000)], [(80, 5000)])
    assert wide.low < 0 < narrow.low


def test_no_errors_at_all_are_not_certain_to_stay_away() -> None:
    found = ratio_shift([(0, 300)], [(0, 300)], base_errors=[0.0], new_errors=[0.0])
    assert found.change == 0
    assert 3 / 300 * 0.5 < found.high < 3 / 300 * 2


def test_what_ratios_of_runs_differ_by_is_in_the_interval() -> None:
    known = between_ratios([0.01, 0.05, 0.02, 0.04, 0.03], [0.001] * 5)
    found = ratio_shift([(100, 10_000)], [(300, 10_000)], base_errors=[0.001], new_errors=[0.001], known=known)
    assert found.basis is Basis.HISTORY
    assert found.low < 0


# -- one bad region -------------------------------------------------------------------------------


def test_one_region_that_makes_the_difference_alone_is_named() -> None:
    found = odd_one_out({"eu": 0.002, "us": 0.30, "ap": -0.004})
    assert found is not None
    assert found.name == "us"
    assert found.change == pytest.approx(expm1(0.30))
    assert abs(found.rest) < 0.01


def test_a_difference_in_all_regions_has_no_odd_one() -> None:
    assert odd_one_out({"eu": 0.10, "us": 0.13, "ap": 0.08}) is None


def test_a_region_that_turns_the_sign_is_the_odd_one() -> None:
    found = odd_one_out({"eu": -0.03, "us": 0.30, "ap": -0.03})
    assert found is not None
    assert (found.name, found.rest < 0) == ("us", True)


@pytest.mark.parametrize("shifts", [{}, {"eu": 0.5}, {"eu": 0.01, "us": 0.0}, {"eu": inf, "us": 0.1}])
def test_where_there_is_nothing_to_leave_out_there_is_no_odd_one(shifts: dict[str, float]) -> None:
    assert odd_one_out(shifts) is None


def test_a_region_of_few_requests_weighs_little() -> None:
    assert odd_one_out({"eu": 0.10, "us": 0.30}, {"eu": 0.99, "us": 0.01}) is None


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "new", "said"),
    [
        ([], [0.0], "base has shape"),
        ([0.0], [[0.0]], "new has shape"),
        ([inf], [0.0], "base has values that are not finite"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(base: list[float], new: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shift(base, new)


@pytest.mark.parametrize("deviation", [0.0, -0.1, inf, nan])
def test_a_deviation_that_cannot_be_is_refused(deviation: float) -> None:
    with pytest.raises(ValueError, match="deviation between runs"):
        stated(deviation)


@pytest.mark.parametrize("counts", [[(2, 1)], [(-1, 5)], [(0, 0)], [], [(1, 2, 3)]])
def test_counts_that_cannot_be_are_refused(counts: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="new has"):
        ratio_shift([(1, 2)], counts)


def test_errors_that_do_not_fit_the_history_are_refused() -> None:
    with pytest.raises(ValueError, match="errors have shape"):
        between([0.0, 0.1, 0.2], [0.1])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_swapped_sides_differ_by_as_much_the_other_way(base: list[float], new: list[float]) -> None:
    there, back = (shift(a, b, known=stated(0.03)) for a, b in ((base, new), (new, base)))
    assert log1p(there.change) == pytest.approx(-log1p(back.change), abs=1e-9)
    assert there.p == pytest.approx(back.p)


@pytest.mark.parametrize(("ms", "unit"), [(104.9, 10.0), (103.5, 10.0), (12.4, 1.0)])
def test_intervals_of_rounded_runs_hold_the_truth_in_nine_of_ten_comparisons(ms: float, unit: float) -> None:
    """Runs differ by 2 %, and their percentile is in whole units. With a median absolute deviation of 0, it was 53 to
    69 % of intervals.
    """
    chance = np.random.default_rng(29)

    def rounded(n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.log(np.round(ms * np.exp(chance.normal(0, 0.02, n)) / unit) * unit)

    held = {1: 0, 3: 0}
    for _ in range(300):
        known = between(rounded(20), np.full(20, 0.001))
        for k in held:
            found = shift(rounded(k), rounded(k), base_errors=[0.001] * k, new_errors=[0.001] * k, known=known)
            held[k] += found.low <= 1e-12 and found.high >= -1e-12
    assert min(held.values()) >= 270
