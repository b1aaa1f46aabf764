"""Fisher's test, the rank sum and the correction against scipy and printed numbers; which attributes are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.attribute_tests import (
    Attributes,
    Key,
    Value,
    benjamini_hochberg,
    differing,
    fisher,
    rank_sum,
)

Trace = Mapping[Key, Sequence[Value]]
VERSION: Key = ("stock", "service.version")
POD: Key = ("stock", "k8s.pod.name")
KEYS = {"version": VERSION, "pod": POD, "reused": ("", "reused")}
counts = st.integers(min_value=0, max_value=60)


def some(count: int, **values: Value) -> list[Trace]:
    """Equal traces; the names of values are those of `KEYS`."""
    return [{KEYS[name]: [value] for name, value in values.items()}] * count


def named(traces: Sequence[Trace], slow: int) -> Attributes:
    """The first `slow` traces are slow; all have the weight 1."""
    return differing(traces, np.arange(len(traces)) < slow, np.ones(len(traces)))


def test_fisher_gives_the_p_of_the_lady_who_tasted_tea() -> None:
    # R. Fisher, The Design of Experiments, 1935: 17 of 70 tables are on each side.
    assert fisher(3, 1, 1, 3) == pytest.approx(34 / 70)
    assert fisher(4, 0, 0, 4) == pytest.approx(2 / 70)


@given(counts, counts, counts, counts)
def test_fisher_agrees_with_scipy(a: int, b: int, c: int, d: int) -> None:
    from scipy import stats

    assert fisher(a, b, c, d) == pytest.approx(stats.fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-6, abs=1e-300)


def test_rank_sum_agrees_with_scipy_also_with_ties() -> None:
    from scipy import stats

    chance = np.random.default_rng(1)
    for shift in (0.0, 0.5, 3.0):
        one, other = (chance.normal(shift, 2, 40)).round(), chance.normal(0, 2, 55).round()
        theirs = stats.mannwhitneyu(one, other, method="asymptotic", use_continuity=True).pvalue
        assert rank_sum(one, other) == pytest.approx(theirs, rel=1e-9)


def test_rank_sum_of_equal_values_shows_nothing() -> None:
    assert rank_sum([1, 1, 1], [1, 1]) == 1.0


def test_correction_rejects_the_four_of_the_original_paper() -> None:
    # Y. Benjamini, Y. Hochberg, 1995, section 3.2: 15 tests, 4 rejected at 5 %.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.324,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1,
    ]
    q = benjamini_hochberg(p)
    assert (q <= 0.05).tolist() == [True] * 4 + [False] * 11
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=30))
def test_correction_agrees_with_scipy_in_any_order(p: list[float]) -> None:
    from scipy import stats

    theirs = stats.false_discovery_control(p, method="bh") if p else []
    assert benjamini_hochberg(p) == pytest.approx(theirs)


def test_version_of_the_slow_is_named_with_its_shares_and_the_pod_that_has_it() -> None:
    slow = some(48, version="2.1", pod="stock-7f") + some(2, version="2.0", pod="stock-6a")
    fast = some(11, version="2.1", pod="stock-7f") + some(39, version="2.0", pod="stock-6a")
    (line,) = named([*slow, *fast], 50).lines
    assert (line.key, line.value, line.slow, line.fast) == (VERSION, "2.1", 0.96, 0.22)
    assert (line.n_slow, line.n_fast) == (48, 11)
    assert line.together == ((POD, "stock-7f"),)
    assert line.q < 1e-9


def test_weights_change_shares_but_no_test() -> None:
    traces = some(20, version="2") + some(20) + some(2, version="2") + some(38)
    is_slow = np.arange(80) < 40
    weights = np.where(np.arange(80) < 20, 3.0, 1.0)
    plain, weighted = (differing(traces, is_slow, w).lines[0] for w in (np.ones(80), weights))
    assert plain.p == weighted.p
    assert (plain.slow, weighted.slow) == (0.5, 0.75)


def test_value_in_fewer_than_ten_traces_is_not_tested() -> None:
    rare = some(9, version="2") + some(91)
    assert named(rare, 9).lines == ()
    enough = some(10, version="2") + some(90)
    assert len(named(enough, 10).lines) == 1


def test_nearly_unique_key_is_left_out_by_name() -> None:
    traces: list[Trace] = [{("shop", "order"): [f"o{n}"], ("shop", "tenant"): ["t"]} for n in range(50)]
    found = named(traces, 25)
    assert found.unique == (("shop", "order"),)
    assert found.lines == ()


def test_only_the_200_commonest_values_of_a_key_are_tested() -> None:
    # 250 values in 10 traces each; the slow ones have the last 50, of which each has one trace fewer.
    key: Key = ("shop", "row")
    traces: list[Trace] = [{key: [f"v{n % 200}"]} for n in range(2_200)]
    traces += [{key: [f"w{n % 50}"]} for n in range(500)]
    assert all(str(line.value).startswith("v") for line in named(traces, 100).lines)


def test_numbers_are_compared_by_ranks_and_shown_as_medians() -> None:
    key: Key = ("shop", "cart.items")
    traces: list[Trace] = [{key: [value]} for value in (*range(20, 60), *range(40))]
    (line,) = named(traces, 40).lines
    assert (line.key, line.value, line.slow, line.fast) == (key, None, 39.5, 19.5)


def test_true_and_1_are_different_values() -> None:
    traces = some(30, reused=True) + some(30, reused=False)
    (line,) = named(traces, 30).lines
    assert line.value is True


def test_trace_with_several_values_of_a_key_counts_for_each() -> None:
    traces: list[Trace] = [{VERSION: ["1", "2"]} for _ in range(20)] + some(20, version="1")
    (line,) = named(traces, 20).lines
    assert (line.value, line.n_slow, line.n_fast) == ("2", 20, 0)


def test_nan_is_no_number() -> None:
    key: Key = ("", "age")
    traces: list[Trace] = [{key: [value]} for value in (*[float("nan")] * 20, *map(float, range(30)))]
    assert named(traces, 20).lines == ()


def test_without_slow_or_fast_traces_nothing_differs() -> None:
    assert named([{VERSION: ["2"]}] * 20, 20).lines == ()
    assert named([], 0) == Attributes(())


def test_random_attributes_are_named_in_at_most_5_percent_of_runs() -> None:
    chance = np.random.default_rng(7)
    wrong = 0
    for _ in range(100):
        tenants, ages = chance.integers(0, 5, 100), chance.integers(0, 100, 100)
        traces: list[Trace] = [
            {("shop", "tenant"): [f"t{tenant}"], ("", "age"): [int(age)]}
            for tenant, age in zip(tenants, ages, strict=True)
        ]
        wrong += bool(named(traces, 50).lines)
    # 11 of 100 or more happen once in 100 times at 5 %.
    assert wrong <= 10
