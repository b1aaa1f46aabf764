"""What was due adds up however it is told; what is in flight is what was told last."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import WireError
from loadgen.measure.deltas.outcomes_by_due_interval import (
    BAD,
    GOOD,
    MAX_DUE_ROWS,
    OVERDUE,
    UNDECIDED,
    DueCounts,
    DueTable,
    check_due,
)

KS = st.sampled_from([0, 1, 2, 255, 256, 257, 1_000])
ROWS = st.builds(
    DueCounts,
    objective=st.integers(0, 1),
    journey=st.sampled_from(["shop", "search"]),
    k=KS,
    good=st.integers(0, 5),
    bad=st.integers(0, 5),
    overdue=st.integers(0, 5),
    undecided=st.integers(0, 5),
)
DELTAS = st.lists(st.tuples(st.sampled_from("abc"), st.lists(ROWS, max_size=5)), max_size=12)


def sums(table: DueTable) -> Counter[tuple[int, str, int, int]]:
    found: Counter[tuple[int, str, int, int]] = Counter()
    for objective in (0, 1):
        for journey in table.journeys(objective):
            counts = table.counts(objective, journey, 0, 1_100)
            for column, k in zip(*np.nonzero(counts), strict=True):
                found[objective, journey, int(k), int(column)] = int(counts[column, k])
    return found


@given(DELTAS)
def test_what_ended_adds_up_and_what_is_in_flight_is_each_agents_last_word(
    deltas: list[tuple[str, list[DueCounts]]],
) -> None:
    table = DueTable()
    expected: Counter[tuple[int, str, int, int]] = Counter()
    for agent, rows in deltas:
        table.add(agent, rows)
        for row in rows:
            expected[row.objective, row.journey, row.k, GOOD] += row.good
            expected[row.objective, row.journey, row.k, BAD] += row.bad
    for rows in dict(deltas).values():
        for row in rows:
            expected[row.objective, row.journey, row.k, OVERDUE] += row.overdue
            expected[row.objective, row.journey, row.k, UNDECIDED] += row.undecided
    assert sums(table) == +expected


@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_it_does_not_matter_which_agent_tells_of_what(rows: list[DueCounts], random: object) -> None:
    together, apart = DueTable(), DueTable()
    together.add("a", rows)
    parts: dict[str, list[DueCounts]] = {agent: [] for agent in "abc"}
    for row in rows:
        parts[random.choice("abc")].append(row)  # type: ignore[attr-defined]
    for agent, of_agent in parts.items():
        apart.add(agent, of_agent)
    assert sums(together) == sums(apart)


def test_an_empty_delta_says_that_nothing_is_in_flight_any_more() -> None:
    table = DueTable()
    table.add("a", [DueCounts(0, "shop", 3, overdue=4, undecided=2)])
    table.add("b", [DueCounts(0, "shop", 3, overdue=1)])
    table.add("a", [])
    assert table.counts(0, "shop", 3, 4).T.tolist() == [[0, 0, 1, 0]]


def test_intervals_of_which_nothing_was_told_are_empty() -> None:
    table = DueTable()
    table.add("a", [DueCounts(0, "shop", 300, good=7)])
    assert table.counts(0, "shop", 298, 302)[GOOD].tolist() == [0, 0, 7, 0]
    assert table.counts(0, "other", 0, 2).tolist() == [[0, 0]] * 4
    assert table.counts(0, "shop", 5, 5).shape == (4, 0)
    assert (table.end(0), table.end(1), table.journeys(0)) == (301, 0, ["shop"])


def test_an_interval_far_off_costs_no_more_than_a_near_one() -> None:
    table = DueTable()
    table.add("a", [DueCounts(0, "shop", (1 << 32) - 1, good=1)])
    assert table.counts(0, "shop", (1 << 32) - 2, 1 << 32)[GOOD].tolist() == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        DueCounts(0, "shop", -1, good=1),
        DueCounts(0, "shop", 1 << 32, good=1),
        DueCounts(-1, "shop", 0, good=1),
        DueCounts(0, "shop", 0, bad=-1),
        DueCounts(0, "shop", 0, good=1 << 62),
        DueCounts(0, "shop", 0, undecided=-1),
    ],
    ids=str,
)
def test_impossible_counts_are_refused(wrong: DueCounts) -> None:
    with pytest.raises(WireError, match="impossible due counts"):
        check_due("delta 1", (DueCounts(0, "shop", 1), wrong))


def test_too_many_rows_are_refused() -> None:
    check_due("delta 1", (DueCounts(0, "shop", 1),) * MAX_DUE_ROWS)
    with pytest.raises(WireError, match="rows of due counts"):
        check_due("delta 1", (DueCounts(0, "shop", 1),) * (MAX_DUE_ROWS + 1))
