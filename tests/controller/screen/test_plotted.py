"""Series in characters: how many columns, which blocks, and what an outlier does."""

from __future__ import annotations

import pytest

from loadgen_controller.screen.sparkline import Cell, chart, columns_of, spark


def text(cells: list[Cell]) -> str:
    return "".join(cell.text for cell in cells)


def test_a_rise_is_a_rise_of_blocks() -> None:
    assert text(spark([0.1 * n for n in range(8)], 40)) == "▁▂▃▄▅▆▇█"


def test_noise_of_one_percent_does_not_fill_the_height() -> None:
    assert set(text(spark([0.0, 0.01, 0.0, 0.01], 40))) <= set("▄▅▆")
    assert len(set(text(spark([1.0] * 5, 40)))) == 1


def test_an_outlier_does_not_flatten_the_rest_and_is_marked() -> None:
    values = [0.1 * n for n in range(8)]
    cells = spark([*values, 9.0], 40, [8])
    assert text(cells) == "▁▂▃▄▅▆▇██"
    assert [cell.at for cell in cells if cell.is_outlier] == [8]


@pytest.mark.parametrize(("count", "width"), [(1, 1), (40, 40), (41, 40), (1000, 37)])
def test_every_value_is_in_one_column(count: int, width: int) -> None:
    columns = columns_of(count, width)
    assert [n for column in columns for n in column] == list(range(count))
    assert len(columns) == min(count, width)
    assert max(map(len, columns)) - min(map(len, columns)) <= 1


def test_a_chart_has_its_points_levels_and_outliers_where_they_belong() -> None:
    values = [0.0, 0.02, 0.0, 5.0, 0.5, 0.5, 0.5]
    rows = chart(values, [(0, 4, 0.0), (4, 7, 0.5)], width=20, height=5, outliers=[3], text="{:.1f}".format)
    assert [text(row) for row in rows] == [
        "0.5 ┤   ○•••",
        "    │       ",
        "0.2 ┤       ",
        "    │       ",
        "0.0 ┤•••─   ",
    ]


def test_a_chart_of_many_runs_is_no_wider_than_it_may_be() -> None:
    rows = chart([0.0] * 500, [(0, 500, 0.0)], width=60)
    assert {len(row) for row in rows} == {61}
