"""Draws how a response changes with one factor, one line for each level of another, with intervals: as SVG.

Lines that are not parallel show an interaction. Each line has its own dash and mark, and its name stands at its end, so
the plot is readable in grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import log_places, round_places
from loadgen.report.short_texts import cut_at_end, cut_in_middle

__all__ = ["LevelLine", "LinePoint", "line_plot"]

_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 122, 24, 40
"""Pixels at which texts are readable, on a phone too."""
_STYLES: Final = 8
_DASHES: Final = ("", "7 4", "2 3", "10 3 2 3")
_LONGEST_NAME: Final = 17
_APART: Final = 15.0
"""Least distance of two names of lines, px."""


@dataclass(frozen=True, slots=True)
class LinePoint:
    """A value of a line with its interval. `low` and `high` are None if there is no interval."""

    value: float
    low: float | None
    high: float | None
    text: str
    """The tooltip."""


@dataclass(frozen=True, slots=True)
class LevelLine:
    """One line: its name, and a point for each level of the factor on the x axis; None where nothing was measured."""

    name: str
    points: tuple[LinePoint | None, ...]


def line_plot(title: str, x_name: str, x_levels: Sequence[str], y_name: str, lines: Sequence[LevelLine]) -> str:
    """Return the plot as SVG; "" if there is nothing to draw. All texts are escaped.

    The y axis is logarithmic if all values and ends of intervals are above 0.
    """
    ends = [
        end
        for line in lines
        for point in line.points
        if point is not None
        for end in (point.value, point.low, point.high)
        if end is not None
    ]
    if not ends:
        return ""
    scale = _Scale(ends)
    xs = _places(len(x_levels))
    parts = [
        f'<svg class="xy narrow" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{in_html(title)}">',
        *scale.axis(y_name),
        *_x_axis(xs, x_name, x_levels),
    ]
    names = []
    for n, line in enumerate(lines):
        shift = (n - (len(lines) - 1) / 2) * 7
        parts += _line(line, n, [x + shift for x in xs], scale)
        last = next((p for p in reversed(list(zip(xs, line.points, strict=True))) if p[1] is not None), None)
        if last is not None and last[1] is not None:
            names.append((scale.y(last[1].value), n, line.name))
    return "\n".join([*parts, *_names(names), "</svg>"])


class _Scale:
    """Maps values to pixels, by their logarithm if all are above 0."""

    def __init__(self, values: Sequence[float]) -> None:
        self.is_log = min(values) > 0
        places = [self._place(value) for value in values]
        low, high = min(places), max(places)
        room = (high - low) * 0.08 or (0.1 if self.is_log else 0.01)
        self.low, self.high = low - room, high + room

    def _place(self, value: float) -> float:
        return log(value) if self.is_log else value

    def y(self, value: float) -> float:
        return _TOP + (self.high - self._place(value)) / (self.high - self.low) * (_HEIGHT - _BOTTOM - _TOP)

    def axis(self, name: str) -> Iterator[str]:
        low, high = (exp(self.low), exp(self.high)) if self.is_log else (self.low, self.high)
        for place in log_places(low, high, 6) if self.is_log else round_places(low, high):
            y = self.y(place)
            yield f'<path class="grid-line" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{place:,.10g}</text>'
        yield f'<text x="6" y="13">{in_html(cut_in_middle(name, 50))}</text>'


def _places(count: int) -> list[float]:
    width = _WIDTH - _RIGHT - _LEFT
    return [_LEFT + width * (n + 0.5) / count for n in range(count)]


def _x_axis(xs: Sequence[float], name: str, levels: Sequence[str]) -> Iterator[str]:
    longest = max(int((_WIDTH - _RIGHT - _LEFT) / len(levels) / 7), 3)
    for x, level in zip(xs, levels, strict=True):
        shown = in_html(cut_at_end(level, longest))
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{shown}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{in_html(cut_in_middle(name, 50))}</text>'


def _line(line: LevelLine, n: int, xs: Sequence[float], scale: _Scale) -> Iterator[str]:
    style = n % _STYLES + 1
    drawn = [(x, point) for x, point in zip(xs, line.points, strict=True) if point is not None]
    dash = _DASHES[n % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    path = " ".join(f"{x:.1f},{scale.y(point.value):.1f}" for x, point in drawn)
    yield f'<polyline class="s{style} line" points="{path}"{dashed}/>'
    for x, point in drawn:
        y = scale.y(point.value)
        if point.low is not None and point.high is not None:
            low, high = scale.y(point.low), scale.y(point.high)
            yield f'<path class="s{style} whisker" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8'
            yield f'M{x - 4:.1f} {high:.1f}h8"/>'
        yield f"{_mark(n, style, x, y)}<title>{in_html(point.text)}</title></path>"


def _mark(n: int, style: int, x: float, y: float) -> str:
    """Return the opened mark of a line: a disc, a square, a triangle or a diamond."""
    shapes = (
        f"M{x - 4.5:.1f} {y:.1f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
        f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z",
        f"M{x:.1f} {y - 5:.1f}l5 9h-10z",
        f"M{x:.1f} {y - 5.5:.1f}l5 5.5l-5 5.5l-5 -5.5z",
    )
    return f'<path class="s{style} dot" d="{shapes[n % len(shapes)]}">'


def _names(names: Sequence[tuple[float, int, str]]) -> Iterator[str]:
    """Yield the names of the lines at their right ends, moved apart so that they can be read."""
    below = -_APART
    for y, n, name in sorted(names):
        at = max(y, below + _APART)
        below = at
        x = _WIDTH - _RIGHT + 8
        yield f"{_mark(n, n % _STYLES + 1, x, at)}</path>"
        yield f'<text class="name" x="{x + 10}" y="{at + 4:.1f}">{in_html(cut_in_middle(name, _LONGEST_NAME))}</text>'
