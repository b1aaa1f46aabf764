"""Traces timed again with one path as fast as usual: what shifts, what takes over, and what cannot change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Path, Span, Tree
from loadgen.traces.path_times import DEEPER
from loadgen.traces.what_if import Timeline
from tests.support.small_trees import MS, call, tree

ROOT = ("shop: root",)


def saved_ms(made: Tree, path: tuple[str, ...], own_ms: float, target_ms: float) -> float:
    return Timeline(made).saved_by({path: (round(own_ms * MS), round(target_ms * MS))}) / MS


def test_faster_child_moves_everything_after_it_forward() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 60), call("b: y", 65, 90)))
    assert saved_ms(made, (*ROOT, "a: x"), 50, 20) == 30


def test_parallel_sibling_takes_over() -> None:
    # Without its excess x ends at 30; then y, which ends at 70, is the one that the root waits for.
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 90), call("b: y", 10, 70)))
    assert saved_ms(made, (*ROOT, "a: x"), 80, 20) == 20


def test_child_off_the_critical_path_saves_nothing() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 90), call("b: y", 10, 70)))
    assert saved_ms(made, (*ROOT, "b: y"), 60, 1) == 0


def test_both_parallel_siblings_save_what_the_slower_one_leaves() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 90), call("b: y", 10, 70)))
    both: dict[Path, tuple[int, int]] = {(*ROOT, "a: x"): (80 * MS, 20 * MS), (*ROOT, "b: y"): (60 * MS, 30 * MS)}
    assert Timeline(made).saved_by(both) == 50 * MS


def test_repeated_calls_shrink_in_proportion() -> None:
    calls = [call("db: SELECT", 10 + 10 * n, 20 + 10 * n) for n in range(40)]
    made = tree(call("shop: root", 0, 420, *calls))
    assert saved_ms(made, (*ROOT, "db: SELECT"), 400, 10) == 390


def test_parallel_calls_of_one_path_all_become_faster() -> None:
    # Only the slowest of them is on the critical path. If only it became faster, the next one would take over.
    calls = [call("db: SELECT", 10, 110 - n) for n in range(10)]
    made = tree(call("shop: root", 0, 120, *calls))
    assert saved_ms(made, (*ROOT, "db: SELECT"), 100, 20) == 80


def test_own_time_of_a_parent_shrinks_in_its_gaps_only() -> None:
    # Own time: 30 before, 20 between, 10 after the children.
    made = tree(call("shop: root", 0, 130, call("a: x", 30, 60), call("b: y", 80, 120)))
    assert saved_ms(made, ROOT, 60, 30) == 30


def test_path_faster_than_usual_is_left_alone() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 60)))
    assert saved_ms(made, (*ROOT, "a: x"), 50, 50) == 0
    assert saved_ms(made, (*ROOT, "a: x"), 50, 80) == 0


def test_path_that_a_trace_does_not_have_saves_nothing() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 60)))
    assert saved_ms(made, (*ROOT, "z: z"), 50, 0) == 0


def test_same_operation_under_another_parent_is_another_path() -> None:
    made = tree(
        call(
            "shop: root",
            0,
            100,
            call("a: x", 0, 40, call("db: q", 0, 40)),
            call("b: y", 40, 100, call("db: q", 40, 100)),
        )
    )
    assert saved_ms(made, (*ROOT, "b: y", "db: q"), 60, 10) == 50


def test_child_that_ends_within_the_tolerance_after_a_start_came_before_it() -> None:
    # x ends 0.5 ms after y began; 1 % of the root's duration is 1 ms. Clocks and rounding make such overlaps.
    made = tree(call("shop: root", 0, 100, call("a: x", 0, 50.5), call("b: y", 50, 100)))
    assert saved_ms(made, (*ROOT, "a: x"), 50, 10) == pytest.approx(40, abs=0.5)


def test_changes_deep_in_the_tree_reach_the_root() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 5, 95, call("b: y", 10, 90, call("db: q", 20, 80)))))
    assert saved_ms(made, (*ROOT, "a: x", "b: y", "db: q"), 60, 0) == 60


def test_wait_is_taken_out_by_its_times() -> None:
    made = tree(call("shop: root", 0, 100, call("a: x", 10, 60)))
    timeline = Timeline(made)
    # The root stands still from 70 to 85: 15 of its last gap.
    assert (
        timeline.saved({0: lambda begin, end: end - begin - max(0, min(end, 85 * MS) - max(begin, 70 * MS))}) == 15 * MS
    )


def test_tree_of_depth_10000_is_timed_anew() -> None:
    spans = {f"{n}": Span(f"{n}", f"{n - 1}" if n else "", "s", "o", n, 100_000 - n) for n in range(10_000)}
    children = {f"{n}": (spans[f"{n + 1}"],) for n in range(9_999)}
    timeline = Timeline(Tree("t", spans["0"], spans, children))
    assert timeline.saved_by({(("s: o",) * 99 + (DEEPER,)): (80_002, 2)}) > 0


names = st.sampled_from(["a: x", "b: y", "c: z"])


@st.composite
def trees(draw: Callable[[st.SearchStrategy[int]], int], depth: int = 3, start: int = 0, end: int = 1_000) -> call:
    """A tree with serial, parallel and overlapping children; times in ms from 0 to 1,000."""
    children = []
    if depth and end - start > 10:
        for _ in range(draw(st.integers(0, 3))):
            first = draw(st.integers(start, end - 2))
            children.append(draw(trees(depth - 1, first, draw(st.integers(first + 1, end)))))  # type: ignore[arg-type]
    return call(draw(names), start, end, *children)  # type: ignore[arg-type]


@given(trees(), st.integers(0, 100))
def test_trace_never_becomes_longer_nor_by_more_than_the_whole_shorter(root: call, percent: int) -> None:
    made = tree(root)
    timeline = Timeline(made)
    for path in {made.path_of(span) for span in made.spans.values()}:
        saved = timeline.saved_by({path: (100, percent)})
        assert 0 <= saved <= timeline.duration_ns


@given(trees())
def test_slower_target_saves_less(root: call) -> None:
    made = tree(root)
    timeline = Timeline(made)
    for path in {made.path_of(span) for span in made.spans.values()}:
        saved = [timeline.saved_by({path: (100, target)}) for target in (0, 40, 80, 100)]
        assert saved == sorted(saved, reverse=True)
        assert saved[-1] == 0


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20), names), max_size=8), st.integers(0, 20))
def test_in_a_chain_of_calls_exactly_the_own_time_on_the_critical_path_is_saved(
    calls: list[tuple[int, int, str]], last: int
) -> None:
    at = 0
    children = []
    for duration, gap, name in calls:
        at += gap
        children.append(call(name, at, at + duration))
        at += duration
    made = tree(call("shop: root", 0, at + last))
    made = tree(call("shop: root", 0, at + last, *children))
    timeline = Timeline(made)
    own: dict[tuple[str, ...], int] = {}
    for piece in critical_path(made):
        path = made.path_of(piece.span)
        own[path] = own.get(path, 0) + piece.end_ns - piece.begin_ns
    for path, ns in own.items():
        assert timeline.saved_by({path: (ns, 0)}) == ns
