"""Draws the difference at each quantile: in characters for a terminal, and as SVG without scripts for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import Final

from loadgen.history.compare.quantiles import QUANTILES, Curve
from loadgen.outside_text import in_html

__all__ = ["svg", "text_plot"]

WIDTH: Final = 66
HEIGHT: Final = 11
_LEAST_REACH: Final = 0.01
_MARKS: Final = (10, 25, 50, 75, 90, 99)
_MOST: Final = 2.5
"""A band is cut at this many times the largest difference, so that it does not flatten the curve."""


def text_plot(curve: Curve, *, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Return the curve drawn in characters for a terminal, as lines of at most `width` + 9 characters.

    ● is the difference at a quantile, ░ its confidence band, ─ the line of no difference.

    Raises:
        ValueError: `height` is below 3 lines or `width` below 11 columns.
    """
    if height < 3 or width < 11:
        raise ValueError(f"a plot needs at least 11 by 3 characters, got {width} by {height}")
    low, high = _reach(curve)
    cells = [[" "] * width for _ in range(height)]
    row_of = _Rows(high, low, height - 1)
    zero = row_of(0.0)
    cells[zero] = ["─"] * width
    columns = [_column(n, width) for n in range(len(QUANTILES))]
    for n, column in enumerate(columns):
        if isfinite(curve.low[n]):
            for at in range(row_of(min(curve.high[n], high)), row_of(max(curve.low[n], low)) + 1):
                cells[at][column] = "░" if at != zero else "┄"
    for n, column in enumerate(columns):
        if isfinite(curve.change[n]):
            cells[row_of(curve.change[n])][column] = "●"
    labels = {0: high, zero: 0.0, height - 1: low}
    lines = [f"{_label(labels.get(n)):>8} {''.join(cells[n])}".rstrip() for n in range(height)]
    return [*lines, _axis(width)]


def svg(curve: Curve, *, width: int = 620, height: int = 230) -> str:
    """Return the curve drawn as one SVG element, which is styled by classes of the page (`grid`, `line` ...)."""
    left, right, top, bottom = 58, 12, 12, 34
    low, high = _reach(curve)
    span = (width - left - right) / (len(QUANTILES) - 1)

    def x(n: int) -> float:
        return round(left + n * span, 1)

    def y(value: float) -> float:
        share = (high - min(max(value, low), high)) / (high - low)
        return round(top + share * (height - top - bottom), 1)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{in_html(_label_of(curve))}">']
    for value in _ticks(low, high):
        kind = "zero" if value == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{left}" x2="{width - right}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text class="end" x="{left - 6}" y="{y(value) + 4}">{_label(value)}</text>')
    for q in _MARKS:
        parts.append(f'<text class="mid" x="{x(q - 1)}" y="{height - 14}">p{q}</text>')
    for run in _runs([n for n in range(len(QUANTILES)) if isfinite(curve.low[n])]):
        upper = " ".join(f"{x(n)},{y(curve.high[n])}" for n in run)
        lower = " ".join(f"{x(n)},{y(curve.low[n])}" for n in reversed(run))
        parts.append(f'<polygon class="band" points="{upper} {lower}"/>')
    for run in _runs([n for n in range(len(QUANTILES)) if isfinite(curve.change[n])]):
        points = " ".join(f"{x(n)},{y(curve.change[n])}" for n in run)
        parts.append(f'<polyline class="line" points="{points}"/>')
    return "".join([*parts, "</svg>"])


def _reach(curve: Curve) -> tuple[float, float]:
    """Return the lowest and highest value of the drawing's vertical axis.

    It spans 0, all differences, and the bands up to 2.5 times the largest difference.
    """
    changes = [0.0, *(value for value in curve.change if isfinite(value))]
    most = max(_LEAST_REACH, *(abs(value) for value in changes)) * _MOST
    ends = [max(-most, min(most, value)) for value in (*curve.low, *curve.high) if isfinite(value)]
    low, high = min(*changes, *ends, -_LEAST_REACH), max(*changes, *ends, _LEAST_REACH)
    return low, high


class _Rows:
    """Maps a value to a line number, from 0 at the top."""

    def __init__(self, first: float, last: float, steps: int) -> None:
        self._first, self._span, self._steps = first, first - last, steps

    def __call__(self, value: float) -> int:
        return min(max(round((self._first - value) / self._span * self._steps), 0), self._steps)


def _column(n: int, width: int) -> int:
    return round(n * (width - 1) / (len(QUANTILES) - 1))


def _axis(width: int) -> str:
    line = [" "] * (width + 3)
    for q in _MARKS:
        at = max(0, _column(q - 1, width) - 1)
        line[at : at + len(f"p{q}")] = f"p{q}"
    return f"{'':>9}{''.join(line)}".rstrip()


def _label(value: float | None) -> str:
    """Return a relative difference as text for an axis, such as "+12 %" or "+2.5 %"; "0" for 0 and "" for None."""
    if not value:
        return "" if value is None else "0"
    percent = round(value * 100, 0 if abs(value) >= 0.0995 else 1)
    return f"{percent:+g} %" if abs(percent) < 100_000 else f"{percent:+.0e} %"


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yield round numbers between `low` and `high`, including 0, at which an axis gets its grid lines."""
    rough = (high - low) / 5
    size = 10.0 ** floor(log10(rough))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= rough)
    for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1):
        yield n * step


def _runs(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Yield each group of consecutive numbers as a list: [1, 2, 5] gives [1, 2] and [5]."""
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [n for _, n in group]


def _label_of(curve: Curve) -> str:
    at = {q: curve.change[q - 1] for q in (50, 95, 99)}
    return f"{curve.name}: " + ", ".join(f"p{q} {_label(v) if isfinite(v) else 'unknown'}" for q, v in at.items())
