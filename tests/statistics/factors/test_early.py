"""Early stops: bounds that are published, decisions on made sweeps, and how often a sweep with two looks errs."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadgen.analysis.factors.design import full
from loadgen.analysis.factors.early import Looks, first_look, look, obrien_fleming, will_be_found
from loadgen.analysis.factors.looks import p_over_looks
from loadgen.analysis.factors.power import detectable
from loadgen.analysis.factors.terms import Observation, analyse
from tests.statistics.sweep_rates import DESIGNS, Target, early_rates, factors_of, nested, sweeps

DESIGN = full(factors_of(2, 2))


def runs(corner: float, repeats: int, sd: float = 0.04, seed: int = 1) -> list[Observation]:
    rng = np.random.default_rng(seed)
    return [
        Observation(cell, block, 100 * (corner if cell == 3 else 1) * exp(sd * float(rng.standard_normal())))
        for block in range(1, repeats + 1)
        for cell in range(4)
    ]


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        (1, [1.960]),
        (2, [2.797, 1.977]),
        (3, [3.471, 2.454, 2.004]),
        (4, [4.049, 2.863, 2.337, 2.024]),
        (5, [4.562, 3.226, 2.634, 2.281, 2.040]),
    ],
)
def test_bounds_are_those_of_obrien_and_fleming(looks: int, published: list[float]) -> None:
    """Jennison and Turnbull, Group Sequential Methods, table 2.3."""
    assert [round(one, 3) for one in obrien_fleming(looks)] == pytest.approx(published, abs=6e-4)


@given(alpha=st.floats(1e-4, 0.3), share=st.floats(0.2, 0.9))
def test_bounds_are_crossed_with_the_probability_alpha(alpha: float, share: float) -> None:
    """Against scipy's multivariate normal distribution."""
    first, last = obrien_fleming(alpha=alpha, fractions=(share, 1.0))
    assert first == pytest.approx(last / sqrt(share))
    cov = [[1.0, sqrt(share)], [sqrt(share), 1.0]]
    inside = stats.multivariate_normal.cdf([first, last], cov=cov, lower_limit=[-first, -last])
    assert 1 - inside == pytest.approx(alpha, abs=1e-6)
    nominal = 2 * stats.norm.sf(last)
    assert p_over_looks(nominal, (share, 1.0), 1.0) == pytest.approx(alpha, rel=1e-6)
    assert p_over_looks(2 * stats.norm.sf(first), (share, 1.0), share) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"looks": 0},
        {"looks": 11},
        {"alpha": 0.0},
        {"alpha": 0.6},
        {"fractions": (0.5, 0.9)},
        {"fractions": (0.5, 0.5, 1.0)},
        {"fractions": (0.0, 1.0)},
        {"fractions": ()},
    ],
)
def test_impossible_looks_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="invalid"):
        obrien_fleming(**arguments)  # type: ignore[arg-type]


def test_first_look_is_after_half_of_the_replicates() -> None:
    assert [first_look(repeats) for repeats in range(1, 7)] == [None, 1, 2, 2, 3, 3]


def test_sweep_that_ends_between_its_looks_has_its_last_look_there() -> None:
    assert Looks(2, 4).fractions == (0.5, 1.0)
    assert (Looks(2, 4).share, Looks(4, 4).share, Looks(3, 4).share) == (0.5, 1.0, 1.0)
    assert Looks(3, 4).fractions == pytest.approx((2 / 3, 1.0))
    assert Looks(1, 4).fractions == Looks(1, 1).fractions == (1.0,)
    assert Looks(1, 4).overall(0.03) == pytest.approx(0.03)
    assert Looks(4, 4).nominal(0.05) == pytest.approx(2 * stats.norm.sf(1.977), abs=1e-4)


def test_large_effect_stops_the_sweep_at_the_first_look() -> None:
    assert look(DESIGN, runs(3.0, 3), done=3, repeats=6) == "stop: found"


def test_sweep_without_a_trace_of_an_effect_stops_as_futile() -> None:
    same = [Observation(c, b, 100 * exp(0.03 * (-1) ** (b + c // 2 + c))) for b in (1, 2, 3) for c in range(4)]
    assert look(DESIGN, same, done=3, repeats=6) == "stop: futile"


def test_sweep_goes_on_where_an_effect_is_neither_clear_nor_absent() -> None:
    assert look(DESIGN, runs(1.12, 3), done=3, repeats=6) == "go on"


@pytest.mark.parametrize(("done", "repeats"), [(1, 6), (2, 6), (6, 6), (1, 1)])
def test_sweep_goes_on_at_any_other_time_than_the_first_look(done: int, repeats: int) -> None:
    assert look(DESIGN, runs(3.0, done), done=done, repeats=repeats) == "go on"


def test_sweep_goes_on_where_the_first_look_cannot_know_the_error() -> None:
    assert look(DESIGN, runs(3.0, 1), done=1, repeats=2) == "go on"
    assert look(DESIGN, runs(3.0, 1), done=1, repeats=2, pooled_sd=0.04) == "stop: found"


def test_two_looks_widen_intervals_and_raise_p_values() -> None:
    one, two = analyse(DESIGN, runs(1.3, 4)), analyse(DESIGN, runs(1.3, 4), looks=Looks(4, 4))
    for before, after in zip(one.terms, two.terms, strict=True):
        assert before.p == after.p
        assert before.p_holm <= after.p_holm
        assert after.low is not None
        assert before.low is not None
        assert after.low <= before.low


def test_chance_of_being_found_grows_with_the_effect() -> None:
    chances = []
    for corner in (1.0, 1.05, 1.1, 1.2, 1.5):
        found = analyse(DESIGN, runs(corner, 3), looks=Looks(3, 6))
        chances.append(will_be_found(found, next(o for o in found.terms if o.order == 2), 0.5))
    assert chances[1:] == sorted(chances[1:])
    assert chances[-1] > 0.99


def test_few_sweeps_with_early_stops_find_what_is_not_there() -> None:
    """The slow test has more trials. With 200, a rate of 5 % exceeds 20 in 1 of 1,000 test runs."""
    seen = early_rates(DESIGN, 4, Target(), 200, 5)
    assert seen.any_false <= 20
    assert seen.stopped > 40


def test_nested_loops_under_drift_find_what_is_not_there_and_a_random_order_does_not() -> None:
    """The specification has 60 % and 4.4 %; the slow test has more trials."""
    design = DESIGNS["2⁵⁻¹ V × 2"][0]()
    target = Target(drift=0.1)
    loops = sum(bool(one.found) for one in sweeps(design, 2, target, 60, 4, is_nested=True))
    random = sum(bool(one.found) for one in sweeps(design, 2, target, 60, 4))
    assert loops >= 24
    assert random <= 9
    assert [one.cell for one in nested(DESIGN, 2)] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_drift_gives_false_finds_in_60_of_100_nested_loops_and_in_5_of_100_random_orders() -> None:
    design, trials = DESIGNS["2⁵⁻¹ V × 2"][0](), 2_000
    target = Target(drift=0.1)
    loops = sum(bool(one.found) for one in sweeps(design, 2, target, trials, 4, is_nested=True)) / trials
    assert loops == pytest.approx(0.6, abs=0.06)
    for blocks in (1, 2):
        random = sum(bool(one.found) for one in sweeps(design, 2, target, trials, 4, blocks=blocks)) / trials
        assert random <= 0.07


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("name", "repeats"), [("2² × 3", 4), ("2² × 3", 6), ("2³ × 2", 4), ("2⁵⁻¹ V × 2", 4)])
@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_sweeps_with_early_stops_have_at_most_7_false_finds_in_100(name: str, repeats: int, effect: float) -> None:
    target = Target(corner=("a", "b") if effect else (), effect=effect)
    trials, design = 1_500, DESIGNS[name][0]()
    seen = early_rates(design, repeats, target, trials, 79)
    assert seen.any_false / trials <= 0.07
    if effect:
        promised = detectable(design, repeats, target.sd, effects=[effect]).least(effect)
        assert seen.found / trials >= (promised or 1.0) - 0.05
