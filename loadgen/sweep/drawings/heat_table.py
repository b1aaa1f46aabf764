"""Draws the cells of a sweep as a table: one box a cell, darker for larger values, readable in grey and without sight.

Rows and columns are levels. With more than two factors, the last ones share the columns and the others the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite, log, prod
from typing import Final

from loadgen.outside_text import in_html

__all__ = ["SHADES", "HeatCell", "heat_table", "shade_of"]

SHADES: Final = 6
_MOST_COLUMNS: Final = 8
_LEAST_SPAN: Final = 0.05


@dataclass(frozen=True, slots=True)
class HeatCell:
    """The content of one box. `lines`: the value first, then its interval, the number of runs, and remarks."""

    levels: tuple[str, ...]
    lines: tuple[str, ...]
    value: float | None
    """Decides the shade; None for a cell without a comparable value."""
    is_bad: bool = False
    """Whether the cell has runs that were not compared, such as runs with errors."""


def shade_of(value: float, low: float, high: float) -> int:
    """Return a shade from 0 to 5 for a value among values from `low` to `high`, by its logarithm if all are above 0.

    The shades span at least 50 %, or 5 percentage points of values with zeros, so that noise does not look like a
    pattern.
    """
    least = _LEAST_SPAN
    if low > 0:
        value, low, high, least = log(value), log(low), log(high), log(1.5)
    return min(int((value - low) / max(high - low, least) * SHADES), SHADES - 1)


def heat_table(factors: Sequence[tuple[str, tuple[str, ...]]], cells: Sequence[HeatCell]) -> str:
    """Return the cells as an HTML table. Cells that are not in `cells` are shown as "not run".

    factors: (name, levels) of each, in the order of `HeatCell.levels`. All texts are escaped.
    """
    by_levels = {cell.levels: cell for cell in cells}
    values = [cell.value for cell in cells if cell.value is not None and isfinite(cell.value)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    at = _first_column_factor([len(levels) for _, levels in factors])
    of_rows, of_columns = factors[:at], factors[at:]
    columns = list(product(*(levels for _, levels in of_columns)))
    heads = "".join(f'<th scope="col">{_named(of_columns, levels)}</th>' for levels in columns)
    body = []
    for row in product(*(levels for _, levels in of_rows)):
        boxes = "".join(_box(by_levels.get((*row, *column)), low, high) for column in columns)
        body.append(f'<tr><th scope="row">{_named(of_rows, row)}</th>{boxes}</tr>')
    return (
        f'<div class="scroll"><table class="heat"><thead><tr><td></td>{heads}</tr></thead>\n'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _first_column_factor(counts: Sequence[int]) -> int:
    """Return the number of factors in the rows: as few columns as factors allow, at most 8, about as many as rows."""
    for at in range(len(counts) // 2, len(counts)):
        if prod(counts[at:]) <= _MOST_COLUMNS:
            return at
    return len(counts)


def _named(factors: Sequence[tuple[str, tuple[str, ...]]], levels: Sequence[str]) -> str:
    return "<br>".join(f"{in_html(name)} = {in_html(level)}" for (name, _), level in zip(factors, levels, strict=True))


def _box(cell: HeatCell | None, low: float, high: float) -> str:
    if cell is None:
        return '<td class="unrun">not run</td>'
    has_value = cell.value is not None and isfinite(cell.value)
    shade = f"h{shade_of(cell.value, low, high)}" if has_value and cell.value is not None else "unrun"
    first, *others = cell.lines
    rest = "".join(f"<br><small>{in_html(line)}</small>" for line in others)
    return f'<td class="{shade}{" odd" if cell.is_bad else ""}"><b>{in_html(first)}</b>{rest}</td>'
