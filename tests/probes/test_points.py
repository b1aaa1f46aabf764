"""Counters as rates and histograms as bounds: nothing is invented over gaps, resets and restarts."""

from __future__ import annotations

from math import ceil, inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.metrics_page.exposition import parse
from loadgen.probes.metrics_page.presets import PRESETS
from loadgen.probes.metrics_page.selection import names_wanted, select
from loadgen.probes.points import PERCENTILES, Point, ProbeSeries, bounds_of
from loadgen.probes.rows import Row, Series
from tests.support.metrics_server import vllm_page

S = 1_000_000_000
TOKENS = Row(key="tokens", title="tokens", kind="counter", names=("tokens",), unit="1/s")
ONE = Series("tokens", "value", "tokens_total")
TWO = Series("tokens", "value", "tokens_total", (("engine", "1"),))
START = Series("", "start", "process_start_time_seconds")


def series_of(samples: list[tuple[int, dict[Series, float | None]]], *rows: Row) -> ProbeSeries:
    made = ProbeSeries(S)
    made.set_t0(0)
    made.add_rows(rows or (TOKENS,))
    for at_ns, values in samples:
        made.add(at_ns, at_ns, values)
    return made


def values_of(made: ProbeSeries, key: str = "tokens") -> list[float | None]:
    return [point.value for point in made.points[key]]


def test_a_counter_is_its_increase_by_the_true_time_between_samples() -> None:
    made = series_of([(0, {ONE: 10.0}), (S, {ONE: 40.0}), (3 * S, {ONE: 100.0})])

    assert [(point.at_ns, point.length_ns, point.value, point.count) for point in made.points["tokens"]] == [
        (0, S, 30.0, 30.0),
        (S, 2 * S, 30.0, 60.0),
    ]
    assert made.totals["tokens"].increase == 90


def test_the_time_of_a_sample_is_the_middle_of_its_round_trip_and_half_of_it_is_the_error() -> None:
    made = ProbeSeries(S)
    made.add_rows([Row(key="level", title="", kind="gauge", names=("level",))])

    made.add(1_000, 1_400, {Series("level", "value", "level"): 7.0})

    assert made.points["level"] == [Point(1_200, 0, 200, 7.0)]


def test_a_counter_that_falls_has_no_rate_and_is_a_reset() -> None:
    made = series_of([(0, {ONE: 10.0}), (S, {ONE: 4.0}), (2 * S, {ONE: 9.0})])

    assert values_of(made) == [None, 5.0]
    assert made.resets == [S]
    assert made.totals["tokens"].increase == 5


def test_a_restart_is_found_by_the_start_time_even_if_the_counter_has_risen_above_its_old_value() -> None:
    made = series_of(
        [(0, {ONE: 10.0, START: 100.0}), (S, {ONE: 40.0, START: 101.0}), (2 * S, {ONE: 45.0, START: 101.0})]
    )

    assert values_of(made) == [None, 5.0]
    assert made.resets == [S]


def test_a_series_that_appears_or_disappears_leaves_the_interval_unknown() -> None:
    both: dict[Series, float | None] = {ONE: 20.0, TWO: 1_000.0}
    made = series_of([(0, {ONE: 10.0}), (S, both), (2 * S, both), (3 * S, {ONE: 30.0})])

    assert values_of(made) == [None, 0.0, None]
    assert not made.resets


def test_a_value_that_is_not_a_number_leaves_the_interval_unknown() -> None:
    made = series_of([(0, {ONE: 10.0}), (S, {ONE: None}), (2 * S, {ONE: 30.0})])

    assert values_of(made) == [None, None]


def test_engines_are_added_and_the_fullest_cache_counts() -> None:
    rows = PRESETS["vllm"]
    made = ProbeSeries(S)
    made.set_t0(0)
    for n in range(3):
        page = parse(vllm_page(10 * n, engines=2).encode(), names_wanted(rows).__contains__)
        found = select(rows, page)
        made.add_rows(found.rows)
        made.add(n * S, n * S, found.values)

    assert values_of(made, "running") == [6.0] * 3
    assert values_of(made, "kv_cache") == [0.5] * 3
    assert values_of(made, "generation_tokens") == [600.0] * 2
    assert values_of(made, "prefix_hits") == [pytest.approx(0.4)] * 2
    assert made.points["ttft"][0].bounds == ((0.0, 0.25), (0.25, 0.5), (0.25, 0.5))


def test_a_share_without_any_event_is_unknown_and_no_zero() -> None:
    row = Row(key="hits", title="", kind="share", names=("hits",), of=("queries",))
    hits, queries = Series("hits", "value", "hits_total"), Series("hits", "of", "queries_total")
    made = series_of(
        [(0, {hits: 4.0, queries: 9.0}), (S, {hits: 4.0, queries: 9.0}), (2 * S, {hits: 5.0, queries: 11.0})], row
    )

    assert values_of(made, "hits") == [None, 0.5]
    assert not made.resets


def test_totals_begin_at_the_start_of_the_load() -> None:
    made = ProbeSeries(S)
    made.add_rows([TOKENS])
    made.add(0, 0, {ONE: 0.0})
    made.add(S, S, {ONE: 1_000.0})
    made.set_t0(S)
    made.add(2 * S, 2 * S, {ONE: 1_005.0})

    assert made.totals["tokens"].increase == 5
    assert values_of(made) == [1_000.0, 5.0]


BUCKETS = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 5.0)


def cumulative(values: list[float]) -> dict[float, float]:
    return {bound: float(sum(value <= bound for value in values)) for bound in (*BUCKETS, inf)}


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_the_true_percentile_is_always_between_its_bounds(values: list[float]) -> None:
    ordered = sorted(values)
    for percentile in PERCENTILES:
        true = ordered[max(1, ceil(percentile / 100 * len(values) - 1e-9)) - 1]

        found = bounds_of(cumulative(values), percentile)

        assert found is not None
        assert found[0] <= true <= found[1]
        assert found[1] == inf or found[1] in BUCKETS


def test_a_histogram_without_values_has_no_percentile() -> None:
    assert bounds_of(cumulative([]), 95.0) is None


def test_histograms_with_other_bounds_are_added_at_the_bounds_that_both_have() -> None:
    row = Row(key="ttft", title="", kind="histogram", names=("ttft",))

    def bucket(engine: str, le: float | None) -> Series:
        return Series("ttft", "bucket", "ttft", (("engine", engine),), le)

    keys = [bucket("0", 0.1), bucket("0", 0.5), bucket("0", None), bucket("1", 0.5), bucket("1", None)]
    first: dict[Series, float | None] = dict.fromkeys(keys, 0.0)
    second: dict[Series, float | None] = dict(zip(keys, (3.0, 4.0, 4.0, 6.0, 6.0), strict=True))
    made = series_of([(0, first), (S, second)], row)

    (point,) = made.points["ttft"]
    assert point.count == 10
    assert point.bounds == ((0.0, 0.5),) * 3


STEPS = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=2, max_size=30)


@given(STEPS, st.data())
def test_any_choice_of_samples_gives_the_same_amounts_where_nothing_was_reset(
    steps: list[tuple[int, bool]], data: Any
) -> None:
    count = 0
    pages: list[tuple[int, dict[Series, float | None]]] = []
    for at, (step, _) in enumerate(steps):
        count += step
        pages.append((at * S, {ONE: float(count)}))
    kept = sorted({0, len(pages) - 1, *data.draw(st.lists(st.integers(0, len(pages) - 1)))})

    made = series_of([pages[n] for n in kept])

    assert made.totals["tokens"].increase == count - steps[0][0]
    assert sum(point.length_ns for point in made.points["tokens"]) == (len(pages) - 1) * S
    assert not made.resets


@given(STEPS)
def test_with_resets_no_rate_is_negative_and_no_amount_is_invented(steps: list[tuple[int, bool]]) -> None:
    count = true = 0
    pages: list[tuple[int, dict[Series, float | None]]] = []
    for at, (step, is_reset) in enumerate(steps):
        count = step if is_reset else count + step
        true += step if at else 0
        pages.append((at * S, {ONE: float(count)}))

    made = series_of(pages)

    assert all(value is None or value >= 0 for value in values_of(made))
    total = made.totals.get("tokens")
    assert total is None or total.increase <= true
