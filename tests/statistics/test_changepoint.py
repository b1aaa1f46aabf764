"""The scan for changes of level: known answers, how often it is wrong, and what it makes of bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from loadgen.analysis import changepoint
from loadgen.analysis.changepoint import scan
from tests.statistics.trials import series

DATA = Path(__file__).parents[1] / "data" / "perf"
Array = npt.NDArray[np.float64]
Seen = Callable[[str, object], None]


def test_the_step_that_mozilla_saw_is_found_and_no_other() -> None:
    assert scan(history_of("runs1")) == (111,)


def test_the_steps_that_mozilla_saw_in_a_long_history_are_among_those_found() -> None:
    """Labels are 897, 970 and 1549; the three more that are found are changes of the median of 3 % and more, too."""
    assert scan(history_of("runs2")) == (697, 898, 972, 1019, 1138, 1551)
    assert scan(history_of("runs2"), min_effect=0.05) == (898, 972, 1551)


def test_what_mozilla_did_not_see_is_too_small_for_its_short_windows() -> None:
    """Treeherder asks for a t of 7 of 12 to 24 values before and 12 after."""

    def highest_t(near: int) -> float:
        splits = [(at, back) for at in range(near - 3, near + 4) for back in (12, 24)]
        return max(
            abs(float(stats.ttest_ind(values[at - back : at], values[at : at + 12], equal_var=False).statistic))
            for at, back in splits
        )

    values = np.exp(history_of("runs2"))
    assert all(highest_t(at) > 7 for at in (897, 970, 1549))
    assert all(highest_t(at) < 7 for at in (697, 1019, 1138))


def test_the_steps_that_otava_sees_of_5_percent_are_found() -> None:
    """Otava: 15 and 71. It compares windows of 30 runs, so a step back 10 runs later is one with what follows."""
    found = json.loads((DATA / "tigerbeetle.json").read_text())
    assert {15, 71} <= set(scan(np.log(found["series"])))


def test_without_a_least_effect_10_of_otavas_11_steps_are_found() -> None:
    """Otava with p 0.001 and no least magnitude. What is missing is its last, 260: a step of 0.7 %."""
    found = json.loads((DATA / "tigerbeetle.json").read_text())
    (published,) = [one for one in found["otava_expected"] if (one["max_pvalue"], one["min_magnitude"]) == (0.001, 0.0)]
    ours = scan(np.log(found["series"]), min_effect=0.0)
    assert len(ours) == 10
    missing = [at for at in published["indexes"] if not any(abs(at - one) <= 3 for one in ours)]
    assert missing == [260]


@pytest.mark.parametrize("at", [3, 17, 50, 97])
def test_a_large_step_is_found_where_it_is(at: int) -> None:
    values = np.random.default_rng(at).normal(0, 0.01, 100)
    values[at:] += 0.2
    assert scan(values) == (at,)


def test_a_step_of_the_newest_two_is_left_to_the_gate() -> None:
    values = np.random.default_rng(1).normal(0, 0.01, 60)
    values[-2:] += 0.5
    assert scan(values) == ()


def test_a_small_change_does_not_hide_a_larger_one_within_it() -> None:
    chance = np.random.default_rng(2)
    levels = np.repeat([0.0, 0.02, 0.30, 0.02], 20)
    assert scan(levels + chance.normal(0, 0.002, 80)) == (40, 60)


def test_an_improvement_that_reverts_is_two_changes() -> None:
    levels = np.repeat([0.0, -0.15, 0.0], 15)
    assert scan(levels + np.random.default_rng(3).normal(0, 0.01, 45)) == (15, 30)


def test_outliers_and_equal_values_are_no_changes() -> None:
    values = np.zeros(50)
    assert scan(values) == ()
    values[[5, 20, 21, 44]] = 3.0
    assert scan(values) == ()


def test_the_same_values_always_give_the_same() -> None:
    values = series(np.random.default_rng(4), 80, 0.02)
    assert scan(values) == scan(values.copy())
    assert scan(values) == scan(values + 100), "a unit is a shift of the logarithm"


def test_runs_without_a_change_are_split_in_few_cases() -> None:
    chance = np.random.default_rng(5)
    split = sum(bool(scan(series(chance, 100, 0.02))) for _ in range(200))
    assert stats.binomtest(split, 200, 0.01, alternative="greater").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "most"), [(0.0, 10), (0.4, 30)])
def test_false_alarms_in_1000_histories_of_100_runs(correlation: float, most: int, record_property: Seen) -> None:
    chance = np.random.default_rng(6)
    split = sum(bool(scan(series(chance, 100, 0.02, correlation), ar=correlation > 0)) for _ in range(1000))
    record_property("seen", f"{split} of 1,000 histories")
    assert split <= most


@pytest.mark.slow
@pytest.mark.parametrize(("slower", "after", "least"), [(0.05, 10, 850), (0.10, 5, 900)])
def test_steps_are_found_soon(slower: float, after: int, least: int, record_property: Seen) -> None:
    chance = np.random.default_rng(7)
    found = 0
    for _ in range(1000):
        values = series(chance, 100, 0.02)
        values[-after:] += np.log1p(slower)
        found += any(abs(at - (100 - after)) <= 2 for at in scan(values))
    record_property("seen", f"+{slower:.0%}, {after} runs after: {found} of 1,000")
    assert found >= least


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([[1.0]], {}, "shape"),
        ([1.0, np.inf], {}, "not finite"),
        ([1.0], {"alpha": 0.0}, "alpha"),
        ([1.0], {"min_effect": -0.1}, "min_effect"),
    ],
)
def test_what_makes_no_sense_is_refused(values: list[float], settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan(values, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", range(7))
def test_a_few_values_have_no_change(n: int) -> None:
    assert scan(np.arange(n, dtype=float)) in ((), (3,))


def history_of(name: str) -> Array:
    with (DATA / f"{name}.csv").open() as file:
        rows = sorted((int(row["push_timestamp"]), float(row["value"])) for row in csv.DictReader(file))
    values: Array = np.log(np.array([value for _, value in rows]))
    return values


def test_ranks_are_those_of_scipy() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0, 3.0, 1.0])
    assert changepoint._ranks(values).tolist() == stats.rankdata(values).tolist()
