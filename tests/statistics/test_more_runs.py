"""How many runs a gate needs: known answers, the promised power, and that no number can be enough."""

from __future__ import annotations

from math import inf, log1p, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from loadgen.analysis.gate import detectable
from loadgen.analysis.recommending.more_runs import advise, level_of_names, more_runs


@pytest.mark.parametrize(
    ("history", "deviation", "limit", "runs"),
    [
        (20, 0.02, 0.03, 10),
        (20, 0.02, 0.05, 3),
        (20, 0.02, 0.10, 1),
        (20, 0.01, 0.03, 2),
        (20, 0.08, 0.10, 20),
        (20, 0.04, 0.03, None),
        (26, 0.04, 0.03, 317),
        (40, 0.04, 0.03, 64),
        (20, 0.04, 0.05, 18),
    ],
)
def test_the_number_of_runs_is_the_known_one(history: int, deviation: float, limit: float, runs: int | None) -> None:
    assert more_runs(history, deviation, limit) == runs


def test_where_no_number_is_enough_the_advice_is_quieter_runs_or_a_larger_limit() -> None:
    found = advise(20, 0.04, 0.03)

    assert found.runs is None
    assert found.quieter == (0.02, 10)
    assert found.wider == (0.05, 18)
    assert found.history == (40, 64)


def test_the_number_is_the_smallest_one_that_finds_the_limit() -> None:
    for history, deviation, limit in [(10, 0.015, 0.03), (33, 0.03, 0.05), (15, 0.05, 0.1)]:
        runs = more_runs(history, deviation, limit)
        assert runs is not None
        assert runs > 1
        assert detectable(history, runs, deviation) <= limit < detectable(history, runs - 1, deviation)


@pytest.mark.parametrize(("history", "deviation", "limit"), [(20, 0.02, 0.03), (20, 0.02, 0.05), (20, 0.08, 0.10)])
def test_the_promised_power_comes_out_of_a_simulation(history: int, deviation: float, limit: float) -> None:
    runs = more_runs(history, deviation, limit)
    assert runs is not None
    random = np.random.default_rng(25)
    old = random.normal(0, deviation, (4_000, history))
    new = random.normal(log1p(limit), deviation, (4_000, runs))
    df = history + runs - 2
    squares = old.var(axis=1) * history + new.var(axis=1) * runs
    t = (new.mean(axis=1) - old.mean(axis=1)) / np.sqrt(squares / df * (1 / history + 1 / runs))

    assert abs(np.mean(t > stats.t.ppf(0.99, df)) - 0.9) < 0.02  # 4 standard errors of 4,000 trials


def test_the_limit_of_all_numbers_is_the_error_of_the_history() -> None:
    z = stats.norm.ppf(0.99) + stats.norm.ppf(0.9)
    border = np.expm1(z * 0.02 / sqrt(20))

    assert more_runs(20, 0.02, border * 0.999) is None
    assert (more_runs(20, 0.02, border * 1.01) or 0) > 500


def test_runs_without_any_deviation_need_one_run() -> None:
    assert more_runs(20, 0.0, 0.03) == 1


def test_several_names_share_the_level_of_the_gate() -> None:
    assert level_of_names(1) == 0.01
    assert level_of_names(10) == pytest.approx(0.0025)
    assert (more_runs(20, 0.02, 0.05, level=level_of_names(30)) or 0) > 3


@pytest.mark.parametrize(
    "wrong",
    [(0, 0.02, 0.03), (20, -0.1, 0.03), (20, inf, 0.03), (20, nan, 0.03), (20, 0.02, 0.0), (20, 0.02, nan)],
)
def test_values_out_of_range_are_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="at least 1 accepted run"):
        more_runs(*wrong)
