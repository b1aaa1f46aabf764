"""Waterfalls: which spans get a row, on which scale, and that equal spans do not push out the others."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadgen.report.why_slow.waterfall import MOST_PIECES, MOST_ROWS, example_of
from loadgen.traces.critical_path import critical_path
from loadgen.traces.model import Span, Trace, Tree
from loadgen.traces.repair import Refused, repaired
from loadgen.traces.timed import Observed

MS = 1_000_000
BEGIN = 1_700_000_000_000 * MS


def observed(response_ms: int = 100, service_ms: int = 98) -> Observed:
    return Observed(
        trace="0" * 31 + "1", journey="", step="", request="GET /", outcome="ok", region="", at_s=1.5,
        response_ns=response_ms * MS, service_ns=service_ms * MS, weight=1.0,
    )  # fmt: skip


def span(own: str, parent: str, begin_ms: int, end_ms: int, name: str = "") -> Span:
    return Span(own, parent, "shop", name or own, BEGIN + begin_ms * MS, BEGIN + end_ms * MS)


def tree_of(*spans: Span) -> Tree:
    tree = repaired(Trace("0" * 31 + "1", spans))
    assert not isinstance(tree, Refused)
    return tree


def test_server_is_drawn_in_the_middle_of_the_service_time() -> None:
    tree = tree_of(span("root", "", 0, 90), span("child", "root", 10, 50))
    example = example_of(observed(), tree, critical_path(tree))
    root, child = example.rows
    assert (root.begin_ns, root.end_ns) == (6 * MS, 96 * MS)
    assert (child.begin_ns, child.end_ns, child.depth) == (16 * MS, 56 * MS, 1)
    assert child.pieces == ((16 * MS, 56 * MS),)
    assert root.own_ns == 50 * MS


def test_many_spans_of_one_name_share_a_row() -> None:
    calls = [span(f"q{n}", "root", 10 + n, 11 + n, "SELECT") for n in range(41)]
    tree = tree_of(span("root", "", 0, 90), *calls)
    root, query = example_of(observed(), tree, critical_path(tree)).rows
    assert (query.name, query.more, query.own_ns) == ("shop: SELECT", 40, 41 * MS)
    assert query.pieces == (((10 + 4) * MS + 2 * MS, 57 * MS),)
    assert root.more == 0


def test_rows_are_those_with_the_most_time_and_the_rest_is_counted() -> None:
    calls = [span(f"q{n}", "root", n, n + 1) for n in range(80)]
    tree = tree_of(span("root", "", 0, 90), *calls)
    example = example_of(observed(), tree, critical_path(tree))
    assert len(example.rows) == MOST_ROWS
    assert example.left_out == 81 - MOST_ROWS
    assert example.rows[0].name == "shop: root"


def test_pieces_of_a_row_are_bounded_by_closing_the_smallest_gaps() -> None:
    calls = [span(f"q{n}", "root", 2 * n, 2 * n + 1, "SELECT") for n in range(300)]
    tree = tree_of(span("root", "", 0, 700), *calls)
    example = example_of(observed(800, 798), tree, critical_path(tree))
    assert all(len(row.pieces) <= MOST_PIECES for row in example.rows)


def test_very_deep_traces_have_a_waterfall() -> None:
    spans = [span("s0", "", 0, 90), *(span(f"s{n}", f"s{n - 1}", 0, 90) for n in range(1, 3_000))]
    tree = tree_of(*spans)
    example = example_of(observed(), tree, critical_path(tree))
    assert 0 < len(example.rows) <= MOST_ROWS


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 80), st.integers(1, 20)), max_size=40))
def test_parents_have_rows_whenever_their_children_have(parts: list[tuple[int, int, int]]) -> None:
    spans = [span("s0", "", 0, 100)]
    for n, (parent, begin, length) in enumerate(parts, 1):
        spans.append(span(f"s{n}", f"s{min(parent, n - 1)}", begin, begin + length))
    tree = tree_of(*spans)
    rows = example_of(observed(120, 110), tree, critical_path(tree)).rows
    depths = [row.depth for row in rows]
    assert depths[0] == 0
    assert all(after <= before + 1 for before, after in pairwise(depths))
    assert sum(row.own_ns for row in rows) <= 100 * MS
