"""Tables of own times, and a difference that adds up exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.own_times import OTHERS, OwnTimes, added, own_times
from loadgen.traces.timed import PathTime
from tests.support.small_trees import MS, path_times, request

A, B = ("shop: a",), ("shop: a", "db: b")


def tables(own: list[list[float]], calls: list[list[float]]) -> OwnTimes:
    nothing = np.zeros((len(own), len(own[0])))
    paths = tuple((f"s: {n}",) for n in range(len(own[0])))
    return OwnTimes(paths, np.array(own), np.array(calls), nothing, nothing, np.zeros(len(paths), dtype=np.bool_))


def test_more_and_slower_calls_are_split_as_kitagawa_does() -> None:
    # 41 calls of 5 ms instead of 1 of 4 ms: 40 more calls at 4 ms, and 41 calls slower by 1 ms.
    found = added(tables([[205.0], [4.0]], [[41], [1]]), np.array([1.0, 0]), np.array([0, 1.0]))
    assert (found.own_ns[0], found.more_calls_ns[0], found.slower_calls_ns[0]) == (201, 160, 41)


def test_path_that_fast_traces_do_not_have_is_more_calls() -> None:
    found = added(tables([[30.0], [0.0]], [[3], [0]]), np.array([1.0, 0]), np.array([0, 1.0]))
    assert (found.more_calls_ns[0], found.slower_calls_ns[0]) == (30, 0)


def test_time_without_calls_can_only_be_slower() -> None:
    found = added(tables([[30.0], [10.0]], [[0], [0]]), np.array([1.0, 0]), np.array([0, 1.0]))
    assert (found.more_calls_ns[0], found.slower_calls_ns[0]) == (0, 20)


times = st.lists(
    st.tuples(*[st.integers(0, 10**12)] * 3, *[st.integers(0, 50)] * 3, st.floats(0.01, 1e6), st.booleans()),
    min_size=2,
    max_size=12,
)


@given(times)
def test_parts_add_up_to_the_difference_within_a_billionth(rows: list[tuple[float, ...]]) -> None:
    own = [list(row[:3]) for row in rows]
    weights = np.array([row[6] for row in rows])
    is_slow = np.array([bool(row[7]) for row in rows])
    if not is_slow.any() or is_slow.all():
        return
    found = added(tables(own, [list(row[3:6]) for row in rows]), weights * is_slow, weights * ~is_slow)
    totals = np.array(own).sum(axis=1)
    means = [np.average(totals[some], weights=weights[some]) for some in (is_slow, ~is_slow)]
    limit = 1e-9 * max(1, *means)
    assert abs(found.own_ns.sum() - (means[0] - means[1])) <= limit
    assert np.abs(found.more_calls_ns + found.slower_calls_ns - found.own_ns).max() <= limit


def test_rows_add_up_to_response_times_also_if_paths_are_merged() -> None:
    traces = [request(n, 60, paths=path_times({(f"s: {k}",): 10 for k in range(n, n + 6)})) for n in range(4)]
    table = own_times(traces, most=4)
    assert len(table.paths) == 4
    assert table.paths[-1] == OTHERS
    assert table.own_ns.sum(axis=1).tolist() == [60 * MS] * 4


def test_paths_come_with_the_most_time_first() -> None:
    table = own_times([request(1, 60, paths=path_times({A: 10, B: 50}))])
    assert table.paths == (B, A)
    assert table.has_children.tolist() == [False, True]


def test_time_of_a_pause_moves_to_its_own_path_and_the_sum_stays() -> None:
    pause = ("shop: standing still",)
    paths = {A: PathTime(100, 1, 60, 40, 0), B: PathTime(50, 2)}
    table = own_times([request(1, 60, paths=paths)], [{A: {pause: 30}, B: {pause: 80}}])
    row = dict(zip(table.paths, table.own_ns[0].tolist(), strict=True))
    # A path loses at most what it has.
    assert row == {A: 70, B: 0, pause: 80}
    assert table.before_ns[0, table.column(A)] == pytest.approx(42)
