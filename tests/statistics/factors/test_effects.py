"""Effects of a finished sweep, against published examples, statsmodels and made targets."""

from __future__ import annotations

from itertools import product
from math import exp, log, sqrt

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from loadgen.analysis.factors.design import fraction, full, latin, one_at_a_time
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.fitting.lenth import null_of
from loadgen.analysis.factors.fitting.scales import change_interval
from loadgen.analysis.factors.looks import Looks
from loadgen.analysis.factors.terms import FactorAnalysis, Observation, Term, analyse
from loadgen.analysis.gate import holm
from tests.statistics.sweep_rates import Target, factors_of, sweeps

POOLS = full([Factor("settle", ("0", "8")), Factor("payout", ("0", "8"))])
NOISE = (-0.02, 0.01, 0.03, 0.0, -0.03, 0.02, 0.02, -0.01, 0.0, -0.02, 0.01, -0.01)


def pools(corner: float, sd: float = 1.0, repeats: int = 3) -> list[Observation]:
    """Return runs with p99 = 100 ms, and `corner` ms where both pools run."""
    return [
        Observation(cell, 1, (corner if cell == 3 else 100.0) * exp(sd * NOISE[3 * cell + at]))
        for at in range(repeats)
        for cell in range(4)
    ]


def term(found: FactorAnalysis, name: str) -> Term:
    return next(one for one in found.terms if one.name == name)


# -- published examples --------------------------------------------------------------------------------


def test_effects_and_p_values_of_montgomerys_chemical_process() -> None:
    """Montgomery, Design and Analysis of Experiments, section 6.2: a 2² design with three replicates."""
    yields: dict[tuple[str, ...], tuple[int, ...]] = {
        ("0", "0"): (28, 25, 27),
        ("1", "0"): (36, 32, 32),
        ("0", "1"): (18, 19, 23),
        ("1", "1"): (31, 30, 29),
    }
    design = full(factors_of(2, 2))
    runs = [Observation(at, 1, float(y)) for at, cell in enumerate(design.cells) for y in yields[cell]]
    found = analyse(design, runs, scale="plain")
    assert {one.name: round(one.effect, 2) for one in found.terms} == {"a": 8.33, "b": -5.0, "a × b": 1.67}
    assert found.sd is not None
    assert (round(found.sd**2, 2), found.df, found.error_source) == (3.92, 8, "replicates")
    f_values = {"a": 208.33 / 3.9167, "b": 75.0 / 3.9167, "a × b": 8.33 / 3.9167}
    assert {one.name: one.p for one in found.terms} == pytest.approx(
        {name: float(stats.f.sf(value, 1, 8)) for name, value in f_values.items()}, rel=2e-3
    )
    assert [one.name for one in found.terms if one.is_found] == ["a", "b"]


def test_effects_and_pseudo_error_of_montgomerys_filtration_rate() -> None:
    """Montgomery, example 6.2: 16 runs without repeats; Lenth's pseudo standard error is 2.625."""
    rates = [45, 71, 48, 65, 68, 60, 80, 65, 43, 100, 45, 104, 75, 86, 70, 96]
    design = full(factors_of(2, 2, 2, 2))
    # The book varies the first factor fastest.
    order = {cell[::-1]: rate for cell, rate in zip(product("01", repeat=4), rates, strict=True)}
    runs = [Observation(at, 1, float(order[cell])) for at, cell in enumerate(design.cells)]
    found = analyse(design, runs, scale="plain")
    published = {
        "a": 21.625, "b": 3.125, "c": 9.875, "d": 14.625, "a × b": 0.125, "a × c": -18.125, "a × d": 16.625,
        "b × c": 2.375, "b × d": -0.375, "c × d": -1.125,
    }  # fmt: skip
    assert {one.name: one.effect for one in found.terms} == pytest.approx(published)
    assert found.error_source == "Lenth"
    assert found.sd is not None
    assert found.sd * 2 / sqrt(16) == pytest.approx(2.625)
    assert {one.name for one in found.terms if one.is_found} == {"a", "a × c", "a × d", "d"}
    assert "no repeats" in found.notes[0]


@pytest.mark.parametrize(("contrasts", "published"), [(7, 2.297), (15, 2.156)])
def test_critical_values_of_lenths_test_are_the_published_ones(contrasts: int, published: float) -> None:
    """Wu and Hamada, Experiments, appendix H: individual error rate of 5 %."""
    assert null_of(contrasts).quantile(0.05) == pytest.approx(published, rel=0.01)
    assert null_of(contrasts).tail(published) == pytest.approx(0.05, abs=0.001)


@pytest.mark.parametrize("seed", range(3))
def test_unbalanced_runs_have_the_f_tests_and_means_of_statsmodels(seed: int) -> None:
    """Type III sums of squares, 3 x 2 levels, blocks, lost runs."""
    rng = np.random.default_rng(seed)
    design = full(factors_of(3, 2))
    runs = [Observation(c, b, float(rng.lognormal(4, 0.1))) for b in (1, 2, 3) for c in range(6)]
    runs = [one for one in runs if rng.random() > 0.15]
    found = analyse(design, runs)
    frame = pd.DataFrame(
        {
            "y": [log(one.value) for one in runs],
            "a": [design.cells[one.cell][0] for one in runs],
            "b": [design.cells[one.cell][1] for one in runs],
            "block": [str(one.block) for one in runs],
        }
    )
    oracle = smf.ols("y ~ C(a, Sum) * C(b, Sum) + C(block, Sum)", frame).fit()
    table = anova_lm(oracle, typ=3)
    names = {"a": "C(a, Sum)", "b": "C(b, Sum)", "a × b": "C(a, Sum):C(b, Sum)"}
    assert {one.name: one.p for one in found.terms} == pytest.approx({k: table["PR(>F)"][v] for k, v in names.items()})
    assert found.sd == pytest.approx(sqrt(oracle.mse_resid))
    assert found.df == oracle.df_resid
    grid = pd.DataFrame([(*cell, block) for cell in design.cells for block in "123"], columns=["a", "b", "block"])
    means = np.exp(oracle.predict(grid).to_numpy().reshape(6, 3).mean(axis=1))
    assert [one.value for one in found.cells] == pytest.approx(list(means))
    assert sum(one.n for one in found.cells) == len(runs) == found.n


# -- the corner ----------------------------------------------------------------------------------------


def test_effect_of_one_corner_is_half_in_both_main_effects_and_in_the_interaction() -> None:
    found = analyse(POOLS, pools(500, sd=0.0))
    assert {one.name: one.effect for one in found.terms} == pytest.approx(
        dict.fromkeys(("settle", "payout", "settle × payout"), log(5) / 2)
    )


def test_interaction_is_ranked_first_explains_both_main_effects_and_has_simple_effects_in_ms() -> None:
    found = analyse(POOLS, pools(512))
    assert found.found[0].name == "settle × payout"
    assert found.terms[0].change == pytest.approx(412, abs=12)
    assert found.terms[0].levels == (("0", "8"), ("0", "8"))
    assert term(found, "settle").explained_by == term(found, "payout").explained_by == ("settle × payout",)
    simple = {(one.factor, *one.at.items()): one for one in found.simple_effects}
    assert len(simple) == 4
    matters, does_not = simple["payout", ("settle", "8")], simple["payout", ("settle", "0")]
    assert not matters.includes_zero
    assert matters.low < 412 < matters.high
    assert matters.ratio == pytest.approx(5.12, rel=0.05)
    assert matters.n == does_not.n == 6
    assert does_not.includes_zero
    assert does_not.change == pytest.approx(0, abs=3)


def test_true_main_effect_beside_an_interaction_is_not_explained_away() -> None:
    values = {("0", "0"): 100, ("8", "0"): 200, ("0", "8"): 100, ("8", "8"): 800}
    runs = [
        Observation(cell, 1, values[POOLS.cells[cell]] * exp(NOISE[3 * cell + at]))  # type: ignore[index]
        for at in range(3)
        for cell in range(4)
    ]
    found = analyse(POOLS, runs)
    assert term(found, "settle").explained_by == ()
    assert term(found, "payout").explained_by == ("settle × payout",)


def test_nothing_is_found_without_an_effect_and_intervals_hold_0() -> None:
    found = analyse(POOLS, pools(100))
    assert found.found == ()
    assert found.simple_effects == ()
    for one in found.terms:
        assert one.low is not None
        assert one.high is not None
        assert one.low < 0 < one.high
        assert one.change_low is not None
        assert one.change_high is not None
        assert one.change_low < 0 < one.change_high


def test_interaction_of_factors_with_three_levels_names_the_levels_that_differ_most() -> None:
    design = full(factors_of(3, 3))
    rng = np.random.default_rng(5)
    runs = [
        Observation(c, b, 100 * (2.0 if cell == ("1", "2") else 1.0) * float(rng.lognormal(0, 0.03)))
        for b in (1, 2)
        for c, cell in enumerate(design.cells)
    ]
    found = analyse(design, runs)
    first = found.terms[0]
    assert (first.name, first.df, first.is_found) == ("a × b", 4, True)
    assert "1" in first.levels[0]
    assert "2" in first.levels[1]
    assert abs(first.effect) == pytest.approx(log(2) / 2, abs=0.06)
    assert not any(one.is_found and not one.explained_by for one in found.terms if one.order == 1)


# -- holm, intervals, scales ---------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_each_row_on_its_own_as_statsmodels_does(p: list[float]) -> None:
    both = holm(np.array([p, p[::-1]]), margin=1.0)
    assert both[0] == pytest.approx(multipletests(p, method="holm")[1])
    assert both[1] == pytest.approx(both[0][::-1])


@given(
    base=st.floats(0.0, 8.0),
    difference=st.floats(-3.0, 3.0),
    errors=st.tuples(st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.floats(-0.95, 0.95)),
    reach=st.floats(1.0, 5.0),
)
def test_interval_in_units_holds_0_exactly_if_the_interval_of_the_ratio_does(
    base: float, difference: float, errors: tuple[float, float, float], reach: float
) -> None:
    one, other, rho = errors
    margin = abs(difference) - reach * other
    if abs(margin) < 1e-3:
        return
    cov = np.array([[one**2, rho * one * other], [rho * one * other, other**2]])
    change, low, high = change_interval(base, difference, cov, reach, "log")
    assert low is not None
    assert high is not None
    assert low <= change <= high
    assert (low <= 0 <= high) == (margin < 0)


def test_interval_in_units_is_that_of_the_ratio_if_the_base_is_certain() -> None:
    _, low, high = change_interval(log(100), 0.3, np.array([[0.0, 0.0], [0.0, 0.05**2]]), 2.0, "log")
    assert (low, high) == pytest.approx((100 * (exp(0.2) - 1), 100 * (exp(0.4) - 1)), rel=1e-4)


def test_profile_interval_of_a_difference_is_the_t_interval_on_a_plain_scale() -> None:
    cov = np.array([[0.04, -0.03], [-0.03, 0.09]])
    _, low, high = change_interval(5.0, 2.0, cov, 2.5, "plain")
    assert (low, high) == pytest.approx((2 - 2.5 * 0.3, 2 + 2.5 * 0.3), rel=1e-4)


@given(st.permutations(range(12)), st.floats(0.01, 1e5))
def test_order_of_runs_and_unit_of_the_response_do_not_matter(order: list[int], unit: float) -> None:
    runs = pools(150)
    base = analyse(POOLS, runs)
    other = analyse(POOLS, [Observation(runs[at].cell, 1, runs[at].value * unit) for at in order])
    for one, two in zip(base.terms, other.terms, strict=True):
        assert one.name == two.name
        assert (one.effect, one.p_holm) == pytest.approx((two.effect, two.p_holm), rel=1e-6, abs=1e-12)
        assert two.change == pytest.approx((one.change or 0) * unit, rel=1e-6)


def test_found_and_not_found_agree_with_their_intervals_in_every_simulated_sweep() -> None:
    design = full(factors_of(2, 2, 2))
    for found in sweeps(design, 2, Target(corner=("a", "b"), effect=0.15), 60, 3):
        for one in found.terms:
            assert one.low is not None
            assert one.high is not None
            assert one.is_found == (one.p_holm <= 0.05) == (not one.low < 0 < one.high)


def test_error_ratios_are_compared_in_points_also_where_most_cells_have_none() -> None:
    shares = [(0.0, 0.0, 0.0002), (0.0, 0.0001, 0.0), (0.0, 0.0, 0.0), (0.31, 0.28, 0.3)]
    runs = [Observation(cell, 1, share) for cell, three in enumerate(shares) for share in three]
    found = analyse(POOLS, runs, is_log=False)
    assert found.scale == "share"
    assert found.found[0].name == "settle × payout"
    (matters,) = [one for one in found.simple_effects if one.factor == "payout" and one.at == {"settle": "8"}]
    assert matters.change == pytest.approx(0.2966, abs=0.002)
    assert 0.25 < matters.low < matters.high < 0.35
    assert matters.ratio is None


def test_runs_that_are_all_the_same_have_no_effect_and_a_note() -> None:
    found = analyse(POOLS, [Observation(cell, 1, 0.0) for cell in range(4) for _ in range(3)], scale="share")
    assert found.found == ()
    assert found.sd == 0
    assert "all runs of a cell have the same value" in found.notes[0]


# -- where the error comes from, and what cannot be estimated -------------------------------------------


def test_one_replicate_of_four_cells_decides_nothing_and_says_why() -> None:
    found = analyse(POOLS, pools(500, repeats=1))
    assert found.error_source == "none"
    assert found.found == ()
    assert {one.low for one in found.terms} == {None}
    assert found.sd is None
    assert "nothing is decided" in found.notes[0]


def test_one_replicate_uses_the_sd_of_the_store_and_says_so() -> None:
    found = analyse(POOLS, pools(500, repeats=1), pooled_sd=0.04, pooled_df=20)
    assert (found.error_source, found.sd, found.df) == ("store", 0.04, 20)
    effect = term(found, "settle × payout").effect
    assert term(found, "settle × payout").p == pytest.approx(2 * stats.t.sf(effect / 0.04, 20))
    assert "the store's" in found.notes[0]


def test_interactions_of_a_fraction_are_never_found_and_a_large_one_is_unresolved() -> None:
    design = fraction(factors_of(2, 2, 2, 2))
    rng = np.random.default_rng(1)
    runs = [
        Observation(c, b, 100 * (3 if cell[:2] == ("1", "1") else 1) * float(rng.lognormal(0, 0.03)))
        for b in (1, 2, 3)
        for c, cell in enumerate(design.cells)
    ]
    found = analyse(design, runs)
    pair = term(found, "a × b")
    assert (pair.is_found, pair.is_unresolved, pair.alias_of) == (False, True, ("c × d",))
    assert {one.name for one in found.found} == {"a", "b"}
    assert any("never decides between them" in one for one in found.notes)


def test_cell_without_a_valid_run_costs_its_interaction_and_is_named() -> None:
    found = analyse(POOLS, [one for one in pools(500) if one.cell != 3])
    assert found.not_estimable == ("settle × payout",)
    assert {one.name for one in found.terms} == {"settle", "payout"}
    assert found.cells[3].value is None
    assert "1 of 4 cells have no run with a value" in found.notes
    assert found.found == ()


def test_one_at_a_time_finds_nothing_where_only_the_corner_is_slow() -> None:
    design = one_at_a_time(POOLS.factors)
    found = analyse(design, [Observation(c, 1, 100 * exp(NOISE[3 * c + at])) for c in range(3) for at in range(3)])
    assert found.found == ()
    assert found.not_estimable == ("settle × payout",)


def test_three_factors_together_are_noticed_as_a_lack_of_fit() -> None:
    design = full(factors_of(2, 2, 2))
    rng = np.random.default_rng(2)
    runs = [
        Observation(c, b, 100 * (4 if cell == ("1", "1", "1") else 1) * float(rng.lognormal(0, 0.03)))
        for b in (1, 2)
        for c, cell in enumerate(design.cells)
    ]
    found = analyse(design, runs)
    assert found.lack_of_fit_p is not None
    assert found.lack_of_fit_p < 1e-4
    assert any(one.startswith("terms of three or more factors seem to matter") for one in found.notes)


def test_response_surface_recovers_a_quadratic_and_its_simple_effects() -> None:
    design = latin([Factor("rate", (), 0, 10, unit="/s"), Factor("size", (), 0, 4)], 20, 7)
    rng = np.random.default_rng(1)

    def response(cell: tuple[str, ...]) -> float:
        x, y = float(cell[0].removesuffix("/s")) / 5 - 1, float(cell[1]) / 2 - 1
        return exp(4 + 0.3 * x + 0.2 * x * y + 0.1 * x * x)

    runs = [Observation(c, 1, response(cell) * float(rng.lognormal(0, 0.005))) for c, cell in enumerate(design.cells)]
    found = analyse(design, runs)
    effects = {one.name: one.effect for one in found.terms}
    expected = {"rate": 0.6, "size": 0.0, "rate × size": 0.4, "rate²": 0.1, "size²": 0.0}
    assert effects == pytest.approx(expected, abs=0.02)
    assert {one.name for one in found.found} == {"rate", "rate × size", "rate²"}
    assert (found.error_source, term(found, "rate²").change) == ("residual", None)
    assert {next(iter(one.at.items())) for one in found.simple_effects} == {
        ("size", "0"), ("size", "4"), ("rate", "0/s"), ("rate", "10/s"),
    }  # fmt: skip
    held = next(one for one in found.simple_effects if one.at == {"size": "4"})
    assert (held.from_level, held.to_level) == ("0/s", "10/s")
    assert held.ratio == pytest.approx(exp(1.0), rel=0.03)


@pytest.mark.parametrize(
    ("runs", "options", "expected"),
    [
        ([], {}, "there is no valid run"),
        ([Observation(0, 1, 0.0)], {}, "a response is 0; it must be above 0 for a log scale"),
        ([Observation(0, 1, float("nan"))], {}, "a response is not finite"),
        ([Observation(0, 1, 1.5)], {"scale": "share"}, "a share is outside 0 to 1"),
        ([Observation(4, 1, 1.0)], {}, "a run has an unknown cell; the design has 4"),
        ([Observation(0, 1, 1.0)], {"level": 1.0}, "invalid level 1"),
        ([Observation(0, 1, 1.0)], {"pooled_sd": 0.0}, "invalid sd 0"),
    ],
)
def test_invalid_runs_and_options_are_refused(
    runs: list[Observation], options: dict[str, float], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        analyse(POOLS, runs, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cells", [[0], [0, 0, 0], [0, 1], [0, 1, 1]])
def test_hardly_any_run_gives_a_result_without_a_find(cells: list[int]) -> None:
    found = analyse(POOLS, [Observation(cell, 1, 100.0 + at) for at, cell in enumerate(cells)])
    assert found.found == ()
    assert "settle" in found.not_estimable


MADE = {
    "full": full(factors_of(2, 3)),
    "four factors": full(factors_of(2, 2, 2, 2)),
    "fraction": fraction(factors_of(2, 2, 2, 2, 2)),
    "resolution III": fraction(factors_of(2, 2, 2)),
    "one": one_at_a_time(factors_of(3, 2, 2)),
    "lhs": latin([Factor("x", (), 0, 10), Factor("y", (), 1, 3, is_whole=True)], 14, 1),
}


@given(st.data())
def test_any_runs_of_any_design_give_numbers_and_no_find_without_an_error(data: st.DataObject) -> None:
    """Lost cells, single runs, blocks that confound: an answer, or None, and never nan."""
    design = MADE[data.draw(st.sampled_from(sorted(MADE)))]
    run = st.tuples(st.integers(0, len(design.cells) - 1), st.integers(1, 3), st.sampled_from([1.0, 2.0, 2.5, 40.0]))
    runs = [Observation(*one) for one in data.draw(st.lists(run, min_size=1, max_size=40))]
    found = analyse(design, runs, looks=data.draw(st.sampled_from([None, Looks(2, 4), Looks(4, 4)])))
    for one in found.terms:
        given_ = (one.effect, one.low, one.high, one.change, one.change_low, one.change_high)
        assert all(value is None or np.isfinite(value) for value in given_)
        assert 0 <= one.p <= one.p_holm <= 1
        assert not one.is_found or found.error_source != "none"
        assert one.low is None or one.low <= one.effect <= one.high  # type: ignore[operator]
    assert sum(one.n for one in found.cells) == len(runs)
    named = {one.name for one in found.terms} | {name for one in found.terms for name in one.alias_of}
    lost = set(found.not_estimable)
    assert not named & lost
    assert {one.name for one in design.factors} <= named | lost


def test_one_replicate_in_two_blocks_does_not_use_lenths_error() -> None:
    design = MADE["four factors"]
    runs = [Observation(c, 1 + c % 2, float(10 + c)) for c in range(16)]
    assert analyse(design, runs).error_source == "residual"
    assert analyse(design, [Observation(c, 1, float(10 + c)) for c in range(16)]).error_source == "Lenth"
