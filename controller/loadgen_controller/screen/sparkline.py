"""Draws a series in characters: as one line of blocks for a table, or as a chart of several rows.

A cell is a character with the index of its value, so that the caller can colour it. If there are more values than
columns, a column shows the median of its values. Outliers do not flatten the rest: the scale covers the other values,
and outliers are drawn at its edge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

__all__ = ["Cell", "chart", "columns_of", "spark"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_LEAST_RANGE: Final = 0.06
"""Least range of the scale, in logarithms: a series that varies by less than 6 % does not fill the height."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One character. at: the index of the last value in its column; -1 if it shows no value."""

    text: str
    at: int = -1
    is_outlier: bool = False


def columns_of(count: int, width: int) -> list[range]:
    """Divide `count` values evenly into at most `width` columns; return the indices of the values in each column."""
    if count <= width:
        return [range(n, n + 1) for n in range(count)]
    edges = [n * count // width for n in range(width + 1)]
    return [range(edges[n], edges[n + 1]) for n in range(width)]


def spark(values: Sequence[float], width: int, outliers: Collection[int] = ()) -> list[Cell]:
    """Return a series as one line of block characters, oldest value first.

    Args:
        values: logarithms; at least one.
        width: most columns, at least 1.
        outliers: indices of values that do not count for the scale.
    """
    low, high = _limits(values, outliers)
    step = (high - low) / len(_BLOCKS)
    cells = []
    for column in columns_of(len(values), width):
        value = median(values[n] for n in column)
        block = _BLOCKS[min(max(int((value - low) / step), 0), len(_BLOCKS) - 1)]
        cells.append(Cell(block, column[-1], any(n in outliers for n in column)))
    return cells


def chart(
    values: Sequence[float],
    levels: Sequence[tuple[int, int, float]],
    *,
    width: int,
    height: int = 9,
    outliers: Collection[int] = (),
    text: Callable[[float], str] = "{:.3g}".format,
) -> list[list[Cell]]:
    """Return a series as a chart of several rows, top row first. Each row begins with the axis.

    Args:
        values: logarithms, oldest first; at least one.
        levels: (first index, end index, height) of horizontal lines.
        width: most columns of the plot, without the axis.
        height: number of rows.
        outliers: indices of values that do not count for the scale.
        text: formats a value for the axis.
    """
    low, high = _limits(values, outliers)
    columns = columns_of(len(values), width)

    def row_of(value: float) -> int:
        return min(max(round((high - value) / (high - low) * (height - 1)), 0), height - 1)

    grid = [[Cell(" ")] * len(columns) for _ in range(height)]
    for start, end, level in levels:
        for n, column in enumerate(columns):
            if start <= column[-1] < end:
                grid[row_of(level)][n] = Cell("─", column[-1])
    for n, column in enumerate(columns):
        odd = [one for one in column if one in outliers]
        value = values[odd[-1]] if odd else median(values[one] for one in column)
        grid[row_of(value)][n] = Cell("○" if odd else "•", column[-1], bool(odd))
    marks = {0: high, height // 2: high - (high - low) * (height // 2) / (height - 1), height - 1: low}
    labels = [text(marks[n]) if n in marks else "" for n in range(height)]
    wide = max(len(label) for label in labels)
    return [[Cell(f"{label:>{wide}} {'┤' if label else '│'}"), *row] for label, row in zip(labels, grid, strict=True)]


def _limits(values: Sequence[float], outliers: Collection[int]) -> tuple[float, float]:
    """Return the lowest and highest value that is not an outlier, widened to at least `_LEAST_RANGE`."""
    shown = [value for n, value in enumerate(values) if n not in outliers] or list(values)
    low, high = min(shown), max(shown)
    if (lacking := _LEAST_RANGE - (high - low)) > 0:
        low, high = low - lacking / 2, high + lacking / 2
    return low, high
