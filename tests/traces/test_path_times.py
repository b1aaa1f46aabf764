"""The exact partition of a response time, the table of paths, and the folded text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces import path_times
from loadgen.traces.cohorts import weighted_quantile
from loadgen.traces.model import Span, Tree
from loadgen.traces.path_table import PathRow, folded_text, path_table
from loadgen.traces.path_times import DEEPER, DEEPEST, paths_of, timed
from loadgen.traces.timed import OUR_SIDE, WIRE, PathTime, TimedTrace
from tests.support.made_spans import observed, span, timed_trace, tree

SHOP = ("shop: POST /checkout",)
SQL = (*SHOP, "db: SELECT item")


def checkout(*, sql: int = 1, each: int = 10, pool: int = 5) -> Tree:
    """Return a root that waits for a pool, calls the database in sequence, and renders for 20."""
    spans = []
    at = 1_000 + pool
    for number in range(sql):
        spans.append(span(f"q{number}", at, at + each, "A", service="db", name="SELECT item"))
        at += each + 2
    return tree(span("A", 1_000, at - 2 + 20, service="shop", name="POST /checkout"), *spans)


def test_the_parts_are_our_side_the_network_and_own_times() -> None:
    made = checkout(sql=3)
    root = 5 + 3 * 10 + 2 * 2 + 20
    result = timed(observed(root + 100, root + 40), made)
    assert result.paths == {
        OUR_SIDE: PathTime(60, 1, 0, 60, 0),
        WIRE: PathTime(40, 1, 0, 40, 0),
        SHOP: PathTime(29, 1, 5, 4, 20),
        SQL: PathTime(30, 3, 0, 30, 0),
    }
    assert result.tree is made


def test_calls_count_spans_off_the_critical_path_too() -> None:
    made = tree(span("A", 0, 100), span("B", 10, 90, "A", service="s"), span("C", 20, 30, "A", service="s"))
    assert timed_trace(made).paths["A: do", "s: do"] == PathTime(80, 2, 0, 80, 0)


def test_a_root_that_outlasts_the_answer_is_cut_where_the_answer_left() -> None:
    made = tree(span("A", 0, 100), span("B", 10, 30, "A"), span("C", 40, 95, "A"))
    paths = timed(observed(70, 50), made).paths
    assert {path: time.own_ns for path, time in paths.items()} == {
        OUR_SIDE: 20,
        WIRE: 0,
        ("A: do",): 30,
        ("A: do", "B: do"): 20,
        ("A: do", "C: do"): 0,
    }


@pytest.mark.parametrize(("response", "service"), [(50, 80), (0, 0), (50, -5), (-5, 10)])
def test_impossible_times_of_ours_still_add_up(response: int, service: int) -> None:
    paths = timed(observed(response, service), checkout()).paths
    assert sum(time.own_ns for time in paths.values()) == max(response, 0)
    assert min(time.own_ns for time in paths.values()) >= 0


def test_spans_below_the_deepest_path_share_one_path() -> None:
    spans = [span(str(at), at, 1_000 - at, str(at - 1) if at else "", service=f"s{at}") for at in range(DEEPEST + 50)]
    paths = timed_trace(tree(*spans)).paths
    deepest = max(paths, key=len)
    assert (len(deepest), deepest[-1]) == (DEEPEST, DEEPER)
    assert paths[deepest].calls == 51
    assert sum(time.own_ns for time in paths.values()) == 1_000


def test_paths_of_a_tree_are_those_of_its_times() -> None:
    made = checkout(sql=2)
    assert paths_of(made) == {"A": SHOP, "q0": SQL, "q1": SQL}
    assert paths_of(made)["q0"] == made.path_of(made.spans["q0"])


def test_a_tree_made_by_hand_in_any_order_has_the_same_paths() -> None:
    spans = [span("A", 0, 100), span("B", 1, 90, "A"), span("C", 2, 80, "B"), span("D", 3, 70, "C")]
    below = {one.parent: (one,) for one in spans[1:]}
    by_hand = Tree("t", spans[0], {one.id: one for one in reversed(spans)}, below)
    assert paths_of(by_hand) == paths_of(tree(*spans))
    lost = Tree("t", spans[0], {"A": spans[0], "X": span("X", 1, 2, "nowhere")}, {})
    with pytest.raises(ValueError, match="span X is not below the root"):
        paths_of(lost)


def test_shared_paths_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_times, "_MOST_NODES", 10)
    for number in range(30):
        assert len(paths_of(tree(span("A", 0, 9, name=str(number))))) == 1
    assert path_times._made[0] <= 12


@given(st.randoms(use_true_random=False), st.integers(0, 3_000), st.integers(0, 3_000))
def test_the_parts_add_up_exactly_for_any_trace(chance: random.Random, response: int, service: int) -> None:
    spans: list[Span] = [span("0", 500, 500 + chance.randrange(2_000), service="s")]
    for number in range(1, chance.randrange(1, 30)):
        parent = chance.choice(spans)
        begin = parent.start_ns + chance.randrange(-10, 500)
        spans.append(
            span(str(number), begin, begin + chance.randrange(400), parent.id, service=f"s{chance.randrange(3)}")
        )
    result = timed(observed(response, service), tree(*spans))
    assert sum(time.own_ns for time in result.paths.values()) == response
    for time in result.paths.values():
        assert time.own_ns == time.before_ns + time.between_ns + time.after_ns
        assert min(time.own_ns, time.before_ns, time.between_ns, time.after_ns) >= 0
    assert sum(time.calls for time in result.paths.values()) == len(result.tree.spans) + 2


def row(rows: list[PathRow], *path: str) -> PathRow:
    (found,) = [one for one in rows if one.path == path]
    return found


def cohort() -> list[TimedTrace]:
    return [
        timed_trace(checkout(sql=1, each=10), 100, weight=1.0),
        timed_trace(checkout(sql=1, each=30), 100, weight=2.0),
        timed_trace(tree(span("A", 0, 50, service="shop", name="POST /checkout")), 100, weight=1.0),
    ]


def test_the_table_has_weighted_means_that_add_up_to_the_mean_response() -> None:
    rows = path_table(cohort())
    sql = row(rows, *SQL)
    assert (sql.mean_ns, sql.calls, sql.traces) == ((1 * 10 + 2 * 30) / 4, 0.75, 2)
    assert sql.share == pytest.approx(0.175)
    assert (sql.p50_ns, sql.p99_ns) == (10, 30)
    assert sum(one.mean_ns for one in rows) == pytest.approx(100)
    assert sum(one.share for one in rows) == pytest.approx(1)
    assert rows == sorted(rows, key=lambda one: -one.mean_ns)
    assert path_table([]) == []


def test_traces_without_a_path_count_as_0_in_its_quantiles() -> None:
    only = timed_trace(checkout(sql=1), 100)
    without = timed_trace(checkout(sql=0), 100, weight=9.0)
    assert row(path_table([only, without]), *SQL).p50_ns == 0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.5, 2), (0.51, 3), (1.0, 3)])
def test_a_weighted_quantile_is_the_smallest_value_that_the_share_does_not_exceed(share: float, expected: int) -> None:
    assert weighted_quantile([1, 2, 3], [0.1, 0.4, 0.5], share) == expected


def test_folded_text_is_in_us_and_its_names_are_harmless() -> None:
    rows = [
        PathRow(("a: x;y", "b: \x1b[31m\n"), 12_345.0, 0.5, 0, 0, 1.0, 1),
        PathRow(("a: x;y",), 499.0, 0.5, 0, 0, 1.0, 1),
    ]
    assert folded_text(rows) == "a: x_y;b: _[31m_ 12\n"


@pytest.mark.slow
def test_a_trace_of_120_000_spans_is_split_exactly() -> None:
    chance = random.Random(7)
    spans = [span("0", 0, 10**12, service="s")]
    for number in range(1, 120_000):
        parent = spans[chance.randrange(max(0, number - 2_000), number)]
        begin = parent.start_ns + chance.randrange((parent.end_ns or 0) - parent.start_ns + 1)
        spans.append(span(str(number), begin, begin + chance.randrange(10**11), parent.id, service=f"s{number % 50}"))
    result = timed(observed(2 * 10**12, 10**12), tree(*spans))
    assert sum(time.own_ns for time in result.paths.values()) == 2 * 10**12
