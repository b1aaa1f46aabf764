"""The fit of the Universal Scalability Law: published answers, an independent optimum, its rules, and bad input."""

from __future__ import annotations

import csv
from math import inf, isinf, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from loadgen.analysis.usl import Coefficients, ExtrapolationError, UslDataError, fit_usl
from loadgen.analysis.usl.curve import throughput_at, throughput_slopes
from loadgen.analysis.usl.diagnostics import lack_of_fit, sign_runs
from loadgen.analysis.usl.least_squares import Scaled

DATA = Path(__file__).parents[1] / "data" / "capacity"
EXACT = Coefficients(0.03, 0.97 / 400, 50.0)
"""A law with its peak at load 20."""


def columns(name: str, load: str, throughput: str) -> tuple[list[float], list[float]]:
    with (DATA / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [float(row[load]) for row in rows], [float(row[throughput]) for row in rows]


def specsdm91() -> tuple[list[float], list[float]]:
    return columns("specsdm91.csv", "load", "throughput")


def squares_of(load: np.ndarray, throughput: np.ndarray, *of: float) -> float:
    return float(((throughput - throughput_at(load, *of)) ** 2).sum())


# -- published answers ----------------------------------------------------------------------------------------------


def test_specsdm91_has_the_coefficients_and_errors_that_r_publishes() -> None:
    fit = fit_usl(*specsdm91())

    # README of R's package usl, and tests/*.Rout.save in its sources.
    assert (fit.alpha, fit.beta, fit.gamma) == pytest.approx((0.0277285, 0.000104366, 89.9952330), rel=1e-5)
    assert tuple(fit.errors) == pytest.approx((0.0091217, 1.988e-5, 14.2134894), rel=1e-3)
    assert fit.residual_sd == pytest.approx(82.85, abs=0.005)
    assert fit.df == 4
    assert fit.peak_load == pytest.approx(96.51956, rel=1e-5)
    assert fit.peak_throughput == pytest.approx(1883.9, abs=0.05)
    assert fit.amdahl_limit == pytest.approx(3245.589, rel=1e-6)
    assert fit.optimal_load == pytest.approx(36.06401, rel=1e-6)
    assert fit.residuals == pytest.approx([-25.10, -81.66, 111.09, 3.05, -49.99, -46.60, 56.00], abs=0.006)


def test_other_data_sets_have_the_coefficients_that_r_publishes() -> None:
    load, throughput = columns("raytracer.csv", "processors", "throughput")

    six, five = fit_usl(load[:6], throughput[:6]), fit_usl(load[:5], throughput[:5])

    assert (six.alpha, six.beta, six.gamma) == pytest.approx((0.02444, 0.00163, 20.85605), rel=3e-3)
    assert (five.alpha, five.beta, five.gamma) == pytest.approx((0.028, 0.0015, 21.059), rel=0.03)


def test_the_measurements_of_a_book_have_its_coefficients_and_no_peak_because_the_fall_was_not_tested() -> None:
    fit = fit_usl(*columns("cisco.csv", "concurrency", "throughput"), draws=100)

    assert (fit.alpha, fit.beta, fit.gamma) == pytest.approx((0.02671591, 7.690945e-4, 995.6486), rel=1e-5)
    assert fit.coefficients.peak_load == pytest.approx(35.57, abs=0.01)
    assert fit.peak_load is None
    assert any("keep their sign" in note for note in fit.notes)


def test_360_measurements_of_a_live_system_peak_at_3_and_a_half_sessions() -> None:
    fit = fit_usl(*columns("oracledb.csv", "db_time", "txn_rate"), draws=200)

    assert fit.peak_load == pytest.approx(3.5, abs=0.05)  # the vignette of R's package
    assert any("below 1" in note for note in fit.notes)


def test_plain_quantiles_of_specsdm91_are_those_of_an_earlier_bootstrap_and_the_printed_interval_is_wider() -> None:
    fit = fit_usl(*specsdm91())

    assert fit.draws.plain.peak_load() == pytest.approx((84, 125), abs=2)
    assert fit.draws.plain.peak_throughput() == pytest.approx((1797, 1997), abs=10)
    assert fit.peak_load_interval is not None
    assert fit.peak_load_interval[0] < 84
    assert fit.peak_load_interval[1] > 125


def test_fits_without_the_loads_beyond_the_peak_miss_the_highest_load_by_as_much_as_published() -> None:
    load, throughput = specsdm91()

    missed = [
        fit_usl(load[:n], throughput[:n], draws=100).predict(216, extrapolate=True) / 1702.2 - 1 for n in (4, 5, 6)
    ]

    assert missed == pytest.approx([-0.42, -0.24, -0.14], abs=0.005)


# -- the optimum by other ways --------------------------------------------------------------------------------------


def other_optimum(load: np.ndarray, throughput: np.ndarray, start: tuple[float, float]) -> float:
    """Return the least sum of squares by a simplex search over alpha and beta; gamma is linear."""

    def squares(logs: np.ndarray) -> float:
        alpha, beta = 1 / (1 + np.exp(-logs[0])), np.exp(logs[1])
        shape = load / (1 + alpha * (load - 1) + beta * load * (load - 1))
        gamma = float(shape @ throughput / (shape @ shape))
        return float(((throughput - gamma * shape) ** 2).sum() / (throughput**2).sum())

    found = optimize.minimize(
        squares, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-16, "maxiter": 4000}
    )
    return float(found.fun * (throughput**2).sum())


@pytest.mark.parametrize("seed", range(12))
def test_no_search_from_another_start_finds_a_better_fit_at_any_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    highest, unit = 10 ** rng.uniform(1, 6), 10 ** rng.uniform(-3, 9)
    load = np.unique(np.round(np.geomspace(1, highest, int(rng.integers(5, 11)))))
    truth = Coefficients(10 ** rng.uniform(-5, -0.5), (highest * 10 ** rng.uniform(-1, 1)) ** -2, unit)
    throughput = throughput_at(load, *truth) * (1 + 0.05 * rng.standard_normal(len(load)))

    best = Scaled(load, throughput).fit()

    ours = squares_of(load, throughput, *best)
    for alpha, beta in ((truth.alpha, truth.beta), (0.01, highest**-2), (0.5, 0.01 * highest**-2)):
        start = (np.log(alpha / (1 - alpha)), np.log(beta))
        assert ours <= other_optimum(load, throughput, start) * (1 + 1e-6) + 1e-18 * (throughput**2).sum()


def test_a_scan_of_the_profile_finds_no_better_alpha_or_beta() -> None:
    load, throughput = map(np.array, specsdm91())
    best = Scaled(load, throughput).fit()
    least = squares_of(load, throughput, *best)

    for factor in np.geomspace(0.2, 5, 41):
        for alpha, beta in ((best.alpha * factor, best.beta), (best.alpha, best.beta * factor)):
            shape = throughput_at(load, alpha, beta, 1.0)
            gamma = float(shape @ throughput / (shape @ shape))
            assert squares_of(load, throughput, alpha, beta, gamma) >= least * (1 - 1e-12)


@settings(max_examples=15, deadline=None)
@given(
    alpha=st.floats(0.001, 0.8),
    peak=st.floats(2, 500),
    unit=st.floats(-3, 9),
    scale=st.floats(0, 3),
)
def test_exact_throughputs_give_their_own_coefficients(alpha: float, peak: float, unit: float, scale: float) -> None:
    factor = 10**scale
    load = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500]) * factor
    truth = Coefficients(alpha, (1 - alpha) / (peak * factor) ** 2, 10**unit)

    best = Scaled(load, throughput_at(load, *truth)).fit()

    assert squares_of(load, throughput_at(load, *truth), *best) <= 1e-16 * (throughput_at(load, *truth) ** 2).sum()
    assert best.peak_load == pytest.approx(truth.peak_load, rel=1e-3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1_000), load_unit=st.sampled_from([1.0, 10.0]), unit=st.floats(-3, 9))
def test_other_units_of_throughput_and_another_order_change_nothing_but_the_unit(
    seed: int, load_unit: float, unit: float
) -> None:
    rng = np.random.default_rng(seed)
    load = np.repeat([1.0, 2, 4, 8, 16, 24, 32, 48], 2) * load_unit
    throughput = throughput_at(load, *EXACT) * (1 + 0.03 * rng.standard_normal(16))
    order = rng.permutation(16)

    first = Scaled(load, throughput).fit()
    second = Scaled(load[order], throughput[order] * 10**unit).fit()

    assert (second.alpha, second.beta) == pytest.approx((first.alpha, first.beta), rel=1e-4, abs=1e-7)
    assert second.gamma == pytest.approx(first.gamma * 10**unit, rel=1e-4)


def test_slopes_are_the_derivatives_of_the_law() -> None:
    load = np.array([1.0, 7.0, 40.0])

    for place, step in ((0, 1e-7), (1, 1e-9), (2, 1e-4)):
        up, down = list(EXACT), list(EXACT)
        up[place] += step
        down[place] -= step
        numeric = (throughput_at(load, *up) - throughput_at(load, *down)) / (2 * step)
        assert throughput_slopes(load, *EXACT)[:, place] == pytest.approx(numeric, rel=1e-4)


def test_errors_and_covariance_are_those_of_scipy() -> None:
    load, throughput = map(np.array, specsdm91())
    fit = fit_usl(load, throughput, draws=100)

    _, covariance = optimize.curve_fit(
        throughput_at, load, throughput, p0=tuple(fit.coefficients), x_scale=tuple(fit.coefficients), method="trf"
    )

    assert fit.covariance == pytest.approx(covariance, rel=1e-3)
    assert fit.errors["beta"] == fit.errors.beta == fit.errors[1] == pytest.approx(sqrt(covariance[1, 1]), rel=1e-3)


# -- rules for a peak -----------------------------------------------------------------------------------------------


def test_the_peak_of_exact_data_has_an_interval_of_no_width() -> None:
    load = [1, 2, 4, 8, 16, 24, 32, 48]

    fit = fit_usl(load, throughput_at(np.array(load, dtype=float), *EXACT))

    assert fit.peak_load == pytest.approx(20, rel=1e-6)
    assert fit.peak_load_interval == pytest.approx((20, 20), rel=1e-4)
    assert fit.why_no_peak == ""


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ([1, 2, 4, 8, 12, 16], "no peak seen up to 16: the curve does not fall up to the highest load"),
        ([1, 2, 4, 8, 12, 24], "no peak seen up to 24: only 1 tested load lies beyond"),
        ([1, 8, 16, 32, 48], "no peak is quoted from 5 distinct loads: 6 are needed"),
        ([24, 28, 32, 40, 48, 60], "no peak seen: the throughput falls from the lowest load, 24, on"),
    ],
)
def test_a_peak_that_the_data_do_not_show_is_not_quoted(load: list[float], why: str) -> None:
    fit = fit_usl(load, throughput_at(np.array(load, dtype=float), *EXACT))

    assert fit.peak_load is None
    assert fit.peak_load_interval is None
    assert fit.peak_throughput is None
    assert fit.why_no_peak.startswith(why)


def test_a_peak_below_load_1_is_not_quoted() -> None:
    load = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])

    fit = fit_usl(load, load / (0.01 + load**2), draws=100)

    assert fit.peak_load is None
    assert fit.why_no_peak.startswith("no peak is quoted below load 1")


def test_a_peak_is_not_quoted_if_the_interval_of_beta_contains_0() -> None:
    rng = np.random.default_rng(8)
    load = np.array([1, 4, 8, 16, 32, 40, 48, 64], dtype=float)
    flat = throughput_at(load, 0.2, 0.0002, 50.0) * (1 + 0.08 * rng.standard_normal(8))

    fit = fit_usl(load, flat)

    assert fit.delta_intervals["beta"][0] <= 0
    assert fit.peak_load is None


def test_loads_below_the_peak_never_give_a_peak() -> None:
    rng = np.random.default_rng(5)
    load = np.repeat([1.0, 2, 4, 6, 9, 12, 15, 18], 2)

    quoted = sum(
        fit_usl(load, throughput_at(load, *EXACT) * (1 + 0.05 * rng.standard_normal(16)), draws=100).peak_load
        is not None
        for _ in range(8)
    )

    assert quoted == 0


def test_the_upper_end_is_without_bound_if_many_draws_have_no_peak() -> None:
    fit = fit_usl(*specsdm91())
    drawn = fit.draws.coefficients.copy()
    drawn[: len(drawn) // 10, 1] = 0.0

    low, high = type(fit.draws)(fit.coefficients, drawn, fit.draws.stretch).peak_load()

    assert 60 < low < 96
    assert isinf(high)


def test_predictions_stop_at_1_2_times_the_highest_load() -> None:
    fit = fit_usl(*specsdm91(), draws=100)

    assert fit.predict(72) == pytest.approx(1850, abs=1)
    assert fit.predict([1, 18]) == pytest.approx([90, 1078], abs=1)
    with pytest.raises(ExtrapolationError, match=r"more than 1\.2 times the highest load"):
        fit.predict(260)
    assert fit.predict(260, extrapolate=True) < 1702
    low, high = fit.predict_interval([72])
    assert low[0] < 1850 < high[0]


def test_the_same_seed_gives_the_same_intervals() -> None:
    first, second, other = (fit_usl(*specsdm91(), draws=200, seed=seed) for seed in (1, 1, 2))

    assert first.peak_load_interval == second.peak_load_interval
    assert first.peak_load_interval != other.peak_load_interval


# -- models and diagnostics -----------------------------------------------------------------------------------------


def test_a_straight_line_and_amdahls_law_are_found_as_such() -> None:
    rng = np.random.default_rng(4)
    load = np.repeat([1.0, 2, 4, 8, 16, 32, 64, 128], 2)

    line = fit_usl(load, 3 * load + rng.standard_normal(16), draws=100)
    amdahl = fit_usl(load, throughput_at(load, 0.05, 0.0, 3.0) * (1 + 0.02 * rng.standard_normal(16)), draws=100)

    assert min(line.models, key=lambda model: model.aicc or inf).name == "linear"
    assert min(amdahl.models, key=lambda model: model.aicc or inf).name == "Amdahl"
    assert amdahl.models[1].coefficients.amdahl_limit == pytest.approx(60, rel=0.1)
    assert line.peak_load is None
    assert amdahl.peak_load is None
    assert {model.name for model in amdahl.close_models} >= {"USL", "Amdahl"}


def test_aicc_is_the_textbook_one() -> None:
    fit = fit_usl(*specsdm91(), draws=100)

    n, k = 7, 4  # three coefficients and the variance
    squares = float((fit.residuals**2).sum())
    assert fit.models[0].aicc == pytest.approx(n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def test_lack_of_fit_is_the_f_test_of_an_analysis_of_variance() -> None:
    load = np.repeat([1.0, 2, 3, 4, 5], 3)
    rng = np.random.default_rng(0)
    throughput = rng.normal(10, 1, 15)
    groups = throughput.reshape(5, 3)

    # A law of one coefficient, the mean: lack of fit is then the one-way analysis of variance.
    found = lack_of_fit(load, throughput, np.full(15, throughput.mean()), 1)

    expected = stats.f_oneway(*groups)
    assert found is not None
    assert found.df == (4, 10)
    assert (found.f, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_repeats_far_from_the_curve_are_reported() -> None:
    load = np.repeat([1.0, 2, 4, 8, 16, 32], 2)
    steps = np.repeat([10.0, 30, 30, 90, 60, 100], 2)

    fit = fit_usl(load, steps * (1 + 0.001 * np.tile([1, -1], 6)), draws=100)

    assert fit.lack_of_fit is not None
    assert fit.lack_of_fit.p < 0.001
    assert any("lack of fit" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("signs", "runs", "p"),
    [
        ([1, 1, 1, -1, -1, -1], 2, 2 / 20),  # all 20 orders of 3 and 3, of which 2 have 2 runs
        ([1, -1, 1, -1, 1, -1], 6, 1.0),
        ([-1, -1, 1, 1, -1, -1, 1], 4, 19 / 35),  # specsdm91; 2 + 5 + 12 of 35
    ],
)
def test_runs_of_signs_have_their_exact_probability(signs: list[int], runs: int, p: float) -> None:
    found = sign_runs(np.arange(1.0, len(signs) + 1), np.array(signs, dtype=float))

    assert found.runs == runs
    assert found.p == pytest.approx(p)


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "throughput", "faults"),
    [
        ([1, 2, 3], [1, 2, 3], ["only 3 distinct loads"]),
        ([1, 2], [1, 2], ["only 2 distinct loads"]),
        ([5, 5, 5, 5], [1, 2, 3, 4], ["all loads are 5"]),
        ([1, 2, 3, 4], [1, 2, -3, 4], ["throughput must be above 0, but is -3 at place 3"]),
        ([0, 2, 3, 4, 5], [1, 0, 3, 4, 5], ["load must be above 0, but is 0 at place 1", "throughput must be above 0"]),
        (
            [1, 2, 3, float("nan")],
            [1, 2, 3, inf],
            ["load has a value that is not", "throughput has a value that is not"],
        ),
        ([1, 2, 3, 4], [1, 2, 3], ["4 loads and 3 throughputs"]),
        (["a", "b"], [1, 2], ["load has values that are not numbers"]),
        ([[1, 2], [3, 4]], [1, 2], ["load has shape (2, 2)"]),
        ([], [], ["only 0 distinct loads"]),
        ([1, 2, 3, 1e13], [1, 2, 3, 4], ["load must be 1e-09 to 1e+12, but is 1e+13 at place 4"]),
    ],
)
def test_data_that_cannot_be_fitted_are_refused_with_all_reasons(
    load: list[object], throughput: list[object], faults: list[str]
) -> None:
    with pytest.raises(UslDataError) as caught:
        fit_usl(load, throughput)  # type: ignore[arg-type]

    assert len(caught.value.faults) == len(faults)
    for fault, expected in zip(caught.value.faults, faults, strict=True):
        assert fault.startswith(expected)


def test_fits_of_four_and_five_loads_are_marked() -> None:
    load, throughput = specsdm91()

    fit = fit_usl(load[:4], throughput[:4], draws=100)

    assert fit.df == 1
    assert fit.notes[0].startswith("only 4 distinct loads: the fit is a sketch")


def test_large_data_sets_have_the_same_intervals_by_draws_from_the_normal_distribution() -> None:
    rng = np.random.default_rng(6)
    load = np.tile([1.0, 2, 4, 8, 16, 24, 32, 48, 64, 96], 50)
    throughput = throughput_at(load, *EXACT) * (1 + 0.2 * rng.standard_normal(500))

    refitted = fit_usl(load, throughput, draws=200)
    drawn = fit_usl(np.append(load, load[3]), np.append(throughput, refitted.fitted[3]), draws=200)

    assert drawn.peak_load_interval == pytest.approx(refitted.peak_load_interval, rel=0.06)
    assert drawn.peak_throughput_interval == pytest.approx(refitted.peak_throughput_interval, rel=0.06)
