"""Plans in words: what a generic plan shows, and what only real numbers show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.postgres.plans import (
    TableSize,
    findings_of,
    nodes_of,
    plan_of,
    pruned,
    tables_of,
    why_not_explainable,
)

ITEM = ("public", "item")
SIZES = {ITEM: TableSize(100_000, 541, 541 * 8192)}


def node(kind: str, *children: dict[str, Any], rows: float = 1, width: float = 8, **values: Any) -> dict[str, Any]:
    made = {"Node Type": kind, "Plan Rows": rows, "Plan Width": width, "Total Cost": 10.0}
    made |= {key.replace("_", " "): value for key, value in values.items()}
    return made | ({"Plans": list(children)} if children else {})


def scan(kind: str = "Seq Scan", rows: float = 100, **values: Any) -> dict[str, Any]:
    return node(kind, rows=rows, Schema="public", Relation_Name="item", Alias="item", **values)


def texts(plan: dict[str, Any], sizes: dict[tuple[str, str], TableSize] = SIZES) -> list[str]:
    return [one.text for one in findings_of(plan, sizes)]


def test_a_full_scan_is_told_with_the_rows_that_it_reads_and_keeps() -> None:
    assert texts(scan(Filter="(tenant = $1)")) == ["full scan of 100,000 rows of item, to keep 100"]


def test_a_full_scan_of_a_small_table_is_not_mentioned() -> None:
    assert texts(scan(rows=1), {ITEM: TableSize(100, 1, 8192)}) == []


def test_a_table_that_was_never_analyzed_has_the_rows_of_the_plan() -> None:
    assert texts(scan(rows=2_550), {ITEM: TableSize(-1, 0, 0)}) == ["full scan of 2,550 rows of item"]


def test_the_inner_side_of_a_loop_runs_once_for_each_outer_row() -> None:
    inner = scan("Index Scan", rows=1, Parent_Relationship="Inner", Index_Name="item_pkey", Index_Cond="(id = o.item)")
    plan = node("Nested Loop", node("Index Scan", rows=5_000, Parent_Relationship="Outer"), inner, rows=5_000)

    assert texts(plan) == ["a loop runs the index scan of item by item_pkey 5,000 times"]


def test_loops_within_loops_multiply() -> None:
    inner = node("Nested Loop", node("Index Scan", rows=20), scan("Index Scan"), Parent_Relationship="Inner")
    plan = node("Nested Loop", node("Index Scan", rows=30), inner)

    assert max(one.loops for one in nodes_of(plan)) == 600


def test_a_sort_that_does_not_fit_into_work_mem_spills() -> None:
    plan = node("Sort", scan(rows=1), rows=200_000, width=100, Sort_Key=["price"])

    assert texts(plan, {}) == [
        "sort of 200,000 rows, about 25.2 MiB: more than the 4.0 MiB of work_mem, so it spills to disk"
    ]


def test_a_hash_may_use_more_memory_than_a_sort() -> None:
    hashed = node("Hash", rows=50_000, width=80)  # 5.3 MiB

    assert texts(hashed, {}) == []
    assert [one.kind for one in findings_of(hashed, {}, hash_mem_multiplier=1.0)] == ["spill"]


def test_a_bitmap_of_too_many_pages_is_lossy() -> None:
    plan = scan("Bitmap Heap Scan", rows=1_000_000)
    sizes = {ITEM: TableSize(5e6, 200_000, 200_000 * 8192)}

    assert texts(plan, sizes) == [
        "the bitmap of 200,000 pages of item does not fit into work_mem, so pages are checked row by row"
    ]


def test_real_numbers_of_auto_explain_win_over_estimates() -> None:
    plan = node(
        "Sort",
        scan(rows=10, Actual_Rows=5_000, Actual_Loops=1),
        rows=200_000,
        width=100,
        Sort_Space_Type="Disk",
        Sort_Space_Used=2048,
    )
    assert texts(plan, {}) == [
        "sort on disk: 2.0 MiB",
        "seq scan of item: 10 rows were estimated, 5,000 came, off by a factor of 500",
    ]
    assert texts(scan("Bitmap Heap Scan", rows=1e6, Lossy_Heap_Blocks=7)) == [
        "7 pages of item are checked row by row: work_mem is too small"
    ]
    assert texts(scan("Bitmap Heap Scan", rows=1e6, Lossy_Heap_Blocks=0)) == []


def test_a_stored_plan_has_no_values_and_no_lists_of_columns() -> None:
    kept = pruned(scan(Filter="((number)::text = '4111-secret'::text)", Output=["a", "b"], Sort_Key=["(a = 'secret')"]))

    assert "secret" not in str(kept)
    assert "Output" not in kept
    assert kept["Filter"] == "((number)::text = ?::text)"


def test_hostile_names_are_shown_as_codes() -> None:
    plan = node("Seq Scan", rows=5_000, Schema="public", Relation_Name="a\x1b[31m\nb", Filter="x")

    assert texts(plan, {}) == ["full scan of 5,000 rows of a\\x1b[31m\\nb, to keep 5,000"]


def test_tables_are_named_once() -> None:
    assert tables_of(node("Append", scan(), scan(), node("Result"))) == (ITEM,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELECT a FROM t WHERE b = $1", ""),
        ("  /* c */ (select 1)", ""),
        ("WITH x AS (SELECT 1) SELECT * FROM x;", ""),
        ("SELECT 1; DROP TABLE t", "its text has a semicolon"),
        ("SELECT ';'", "its text has a semicolon"),
        ("DROP TABLE t", "only SELECT, INSERT, UPDATE, DELETE and MERGE have plans"),
        ("EXPLAIN ANALYZE SELECT 1", "only SELECT, INSERT, UPDATE, DELETE and MERGE have plans"),
        ("ANALYZE SELECT 1", "only SELECT, INSERT, UPDATE, DELETE and MERGE have plans"),
        ("", "only SELECT, INSERT, UPDATE, DELETE and MERGE have plans"),
    ],
)
def test_only_one_statement_with_a_plan_is_sent_to_the_server(text: str, why: str) -> None:
    assert why_not_explainable(text) == why


@pytest.mark.parametrize("document", [None, [], {}, "x", [{"Plan": 1}], {"Plan": []}])
def test_an_answer_that_is_not_a_plan_is_an_error(document: Any) -> None:
    with pytest.raises(ValueError, match="not a plan"):
        plan_of(document)


LEAF = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["Plans", "Plan Rows", "Node Type", "Filter", "Relation Name", "Sort Key", "Total Cost"])
CHILD = st.dictionaries(KEYS, LEAF, max_size=4)


@given(st.dictionaries(KEYS, LEAF | CHILD | st.lists(LEAF | CHILD, max_size=3), max_size=5))
def test_a_plan_of_any_form_is_read_without_an_error(plan: dict[str, Any]) -> None:
    assert all(one.text and one.text.isprintable() for one in findings_of(plan, {}))
    assert len(json.dumps(pruned(plan))) < 10_000


def test_a_stored_plan_of_a_thousand_partitions_is_cut() -> None:
    kept = pruned(node("Append", *[scan(Filter="(a = $1)") for _ in range(1_000)]))

    assert len(kept["Plans"]) == 199


def test_a_very_deep_plan_is_cut() -> None:
    plan = node("Result")
    for _ in range(5_000):
        plan = node("Limit", plan)

    assert len(nodes_of(plan)) == 101
    assert str(pruned(plan)).count("Limit") == 101
