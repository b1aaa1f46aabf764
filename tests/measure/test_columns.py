"""Statistics of many series as columns: the same as their rows."""

from __future__ import annotations

import pytest

from loadgen.measure.deltas.delta import SeriesStats, StatsColumns

ROWS = (SeriesStats(0, 2, 30, 10, 20), SeriesStats(3, 1, 7, 7, 7))


def test_columns_are_equal_to_their_rows_either_way_and_hash_alike() -> None:
    columns = StatsColumns.of(ROWS)

    assert columns == ROWS
    assert columns == StatsColumns.of(list(ROWS))
    assert columns != ROWS[:1]
    assert columns != list(ROWS)
    assert hash(columns) == hash(ROWS)


def test_columns_give_rows_one_by_one_and_in_parts() -> None:
    columns = StatsColumns.of(ROWS)

    assert (len(columns), columns[1], columns[:-1], tuple(columns)) == (2, ROWS[1], ROWS[:1], ROWS)
    assert repr(columns) == repr(ROWS)


def test_columns_are_taken_as_they_are() -> None:
    columns = StatsColumns.of(ROWS)

    assert StatsColumns.of(columns) is columns
    assert columns.columns == ([0, 3], [2, 1], [30, 7], [10, 7], [20, 7])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[1, 1, 1, 1, 2\]"):
        StatsColumns([0], [1], [1], [1], [1, 2])
