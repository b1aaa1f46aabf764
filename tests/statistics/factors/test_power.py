"""What a sweep can find: the printed power against published simulations, an independent one, and whole sweeps."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from loadgen.analysis.factors.design import fraction, full, latin, one_at_a_time
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.power import PowerTable, detectable
from tests.statistics.sweep_rates import DESIGNS, Target, factors_of, is_false, sweeps

SLACK = 0.05
"""The printed power must be this close to what simulation gives."""


def power_of(table: PowerTable, effect: float, order: int = 2) -> float:
    found = table.least(effect, order)
    assert found is not None
    return found


SPECIFIED = {
    "2² × 3": (12, {(0.04, 0.2): 0.90, (0.04, 0.6): 1.0, (0.04, 0.1): 0.26, (0.08, 0.6): 0.99}),
    "2³ × 2": (16, {(0.04, 0.2): 0.895, (0.04, 0.6): 1.0, (0.04, 0.1): 0.26, (0.08, 0.2): 0.24, (0.08, 0.6): 0.99}),
    "2⁵⁻¹ V × 2": (32, {(0.04, 0.2): 0.994, (0.04, 0.6): 1.0, (0.04, 0.1): 0.52, (0.08, 0.2): 0.47, (0.08, 0.6): 1.0}),
}
"""Found interactions by sd and effect: the simulation of the specification, a completely random order."""


@pytest.mark.parametrize("name", SPECIFIED)
def test_power_in_one_block_is_that_of_the_specification(name: str) -> None:
    runs, expected = SPECIFIED[name]
    make, repeats = DESIGNS[name]
    for sd in (0.04, 0.08):
        table = detectable(make(), repeats, sd, blocks=1)
        assert table.runs == runs
        assert table.false_find <= 0.06
        found = {effect: power_of(table, effect) for at, effect in expected if at == sd}
        assert found == pytest.approx({e: p for (at, e), p in expected.items() if at == sd}, abs=SLACK)


def test_a_replicate_a_block_costs_some_power_and_the_table_shows_it() -> None:
    assert power_of(detectable(full(factors_of(2, 2)), 3, 0.04), 0.2) == pytest.approx(0.84, abs=0.03)
    assert detectable(full(factors_of(2, 2)), 3, 0.04).df == 6


def test_power_of_designs_outside_the_specification_agrees_with_runs_that_are_simulated_elsewhere() -> None:
    """4,000 sweeps of 2⁴ x 2 in two blocks: contrasts of cell means, t tests, and Holm written out."""
    design, repeats, sd, effect, trials = full(factors_of(2, 2, 2, 2)), 2, 0.06, 0.2, 4_000
    rng = np.random.default_rng(11)
    signs = np.array([[2 * int(level) - 1 for level in cell] for cell in design.cells])
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    columns = np.column_stack([*signs.T, *(signs[:, i] * signs[:, j] for i, j in pairs)])
    means = np.where((signs[:, 0] == 1) & (signs[:, 1] == 1), log(1 + effect), 0.0)
    y = means + sd * rng.standard_normal((trials, repeats, 16)) + rng.standard_normal((trials, repeats, 1))
    left = y - y.mean(axis=1, keepdims=True) - y.mean(axis=2, keepdims=True) + y.mean(axis=(1, 2), keepdims=True)
    error = np.sqrt((left**2).sum(axis=(1, 2)) / 15 * 4 / 32)
    t = (y.mean(axis=1) @ columns / 8) / error[:, None]
    p = 2 * stats.t.sf(np.abs(t), 15)
    ranked = np.sort(p, axis=1) * np.arange(10, 0, -1)
    rank = (p < p[:, 4:5]).sum(axis=1)  # Of a x b, the fifth column.
    found = np.maximum.accumulate(ranked, axis=1)[np.arange(trials), rank] <= 0.05
    promised = next(one.power for one in detectable(design, repeats, sd, effects=[effect]).rows if one.term == "a × b")
    assert promised == pytest.approx(float(found.mean()), abs=0.03)


def test_one_at_a_time_has_no_power_for_interactions_by_construction() -> None:
    table = detectable(one_at_a_time(factors_of(2, 2, 2)), 4, 0.01)
    assert {one.power for one in table.rows if one.order == 2} == {0.0}
    assert power_of(table, 0.2, order=1) == 1.0


def test_interactions_of_resolution_iv_have_no_power_and_main_effects_do() -> None:
    table = detectable(fraction(factors_of(2, 2, 2, 2)), 3, 0.02)
    assert {one.power for one in table.rows if one.order == 2} == {0.0}
    assert power_of(table, 0.2, order=1) > 0.99


def test_one_replicate_of_four_cells_has_no_power_without_the_store_and_some_with_it() -> None:
    design = full(factors_of(2, 2))
    without = detectable(design, 1, 0.04)
    assert (without.error_source, {one.power for one in without.rows}, without.false_find) == ("none", {0.0}, 0.0)
    stored = detectable(design, 1, 0.04, pooled_df=30)
    assert (stored.error_source, stored.df) == ("store", 30)
    assert 0.3 < power_of(stored, 0.2) < 0.7


def test_power_grows_with_effect_and_repeats_and_falls_with_noise() -> None:
    design = full(factors_of(3, 2))
    effects = (0.05, 0.1, 0.2, 0.4)
    few, many = (detectable(design, repeats, 0.05, effects=effects) for repeats in (2, 6))
    noisy = detectable(design, 2, 0.1, effects=effects)
    for term in ("a", "b", "a × b"):
        by_effect = [one.power for one in few.rows if one.term == term]
        assert by_effect == sorted(by_effect)
        for low, high in ((few, many), (noisy, few)):
            pairs = zip(low.rows, high.rows, strict=True)
            assert all(one.power <= two.power + 0.02 for one, two in pairs)


def test_same_arguments_give_the_same_table() -> None:
    design = latin([Factor("x", (), 0, 1), Factor("y", (), 0, 1)], 15, 1)
    assert detectable(design, 1, 0.04) == detectable(design, 1, 0.04)


def test_slower_and_faster_corners_are_found_alike() -> None:
    table = detectable(full(factors_of(2, 2)), 4, 0.05, effects=[0.25, -0.2])
    assert power_of(table, 0.25) == pytest.approx(power_of(table, -0.2), abs=0.03)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sd": 0.0}, "invalid sd 0"),
        ({"sd": float("nan")}, "invalid sd nan"),
        ({"effects": [0.0]}, "invalid effect 0"),
        ({"effects": [-1.0]}, "invalid effect -1"),
        ({"level": 0.2}, "invalid level 0.2"),
        ({"repeats": 0}, "invalid number of repeats 0"),
    ],
)
def test_impossible_questions_are_refused(options: dict[str, float], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        detectable(full(factors_of(2, 2)), **{"repeats": 3, "sd": 0.04, **options})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize(("sd", "effect"), [(0.04, 0.1), (0.08, 0.2)])
def test_power_is_what_whole_simulated_sweeps_give(name: str, sd: float, effect: float) -> None:
    make, repeats = DESIGNS[name]
    design, trials = make(), 1_500
    table = detectable(design, repeats, sd, effects=[effect])
    for corner in (("a", "b"), ("a",)):
        term = " × ".join(corner)
        target = Target(sd=sd, corner=corner, effect=effect)
        found = sum(any(o.name == term for o in one.found) for one in sweeps(design, repeats, target, trials, 77))
        promised = next(one.power for one in table.rows if one.term == term)
        assert promised == pytest.approx(found / trials, abs=SLACK)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("target", [Target(), Target(block_sd=0.1), Target(drift=0.1), Target(lost=0.2)])
def test_false_finds_are_rare(name: str, target: Target) -> None:
    make, repeats = DESIGNS[name]
    trials = 1_500
    false = sum(is_false(one) for one in sweeps(make(), repeats, target, trials, 78))
    assert false / trials <= 0.05 + 2 * sqrt(0.05 * 0.95 / trials)
