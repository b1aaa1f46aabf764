"""Draws the effects of a sweep as dots in the order of their rank, with their intervals: as SVG.

A full dot is an effect that was found, a hollow one an effect that was not. The line at 0 is "no effect".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, log1p
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import round_places
from loadgen.report.short_texts import cut_in_middle

__all__ = ["MOST_ROWS", "EffectRow", "effect_plot"]

MOST_ROWS: Final = 40
_WIDTH: Final = 420
"""Pixels at which texts are readable, on a phone too. So the texts of a row stand above its dot."""
_SIDE, _TOP, _BOTTOM = 14, 4, 34
_ROW: Final = 38
_CHANGES: Final = (0.5, 1, 2, 5, 10, 20, 50, 80, 90, 95, 99, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000)
"""Round changes in %, for an axis of logarithms. Those above 100 are increases only."""
_MOST_TICKS: Final = 7


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One effect, as a difference of logarithms, or of the values themselves."""

    name: str
    effect: float
    low: float | None
    high: float | None
    text: str
    """Effect and interval as a text."""
    is_found: bool
    is_explained: bool = False
    """Whether an interaction above explains it; such an effect is drawn hollow and smaller."""


def effect_plot(title: str, rows: Sequence[EffectRow], *, is_log: bool) -> str:
    """Return the plot of at most 40 effects as SVG; "" without any. All texts are escaped.

    is_log: effects are differences of logarithms, so the axis shows changes in %; otherwise percentage points.
    """
    shown = [row for row in rows[:MOST_ROWS] if isfinite(row.effect)]
    if not shown:
        return ""
    ends = [end for row in shown for end in (row.effect, row.low, row.high) if end is not None and isfinite(end)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low) * 0.05 or 0.05
    scale = _Scale(low - room, high + room)
    height = _TOP + _ROW * len(shown) + _BOTTOM
    parts = [
        f'<svg class="xy narrow" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{in_html(title)}">',
        *_axis(scale, height, is_log),
        *(part for n, row in enumerate(shown) for part in _row(row, _TOP + _ROW * n, scale)),
        "</svg>",
    ]
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return _SIDE + (inside - self.low) / (self.high - self.low) * (_WIDTH - 2 * _SIDE)


def _axis(scale: _Scale, height: float, is_log: bool) -> Iterator[str]:
    bottom = height - _BOTTOM
    for place, text in _ticks(scale.low, scale.high, is_log):
        x = scale.x(place)
        kind = "zero" if place == 0 else "grid-line"
        yield f'<path class="{kind}" d="M{x:.1f} {_TOP}V{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{text}</text>'
    label = "change of the response, %" if is_log else "change of the response, percentage points"
    yield f'<text x="{_WIDTH / 2:.1f}" y="{height - 5}" text-anchor="middle">{label}</text>'


def _ticks(low: float, high: float, is_log: bool) -> Iterator[tuple[float, str]]:
    """Yield (place, text) at round changes, 0 among them."""
    if is_log:
        places = [*reversed(_apart(_CHANGES, -low, high - low, -1)), 0.0, *_apart(_CHANGES, high, high - low, 1)]
    else:
        places = round_places(low * 100, high * 100)
        places += [] if 0.0 in places else [0.0]
    for place in places:
        yield log1p(place / 100) if is_log else place / 100, f"{place:+,.10g}" if place else "0"


def _apart(changes: Sequence[float], most: float, span: float, sign: int) -> list[float]:
    """Return those changes in % on one side of 0 whose texts do not overlap, from 0 outwards.

    most: the end of the axis on this side, as a logarithm above 0. span: the length of the axis. sign: 1 or -1.
    """
    found: list[float] = []
    last = 0.0
    for change in (sign * one for one in changes if sign > 0 or one < 100):
        at = abs(log1p(change / 100))
        if at <= most and at - last >= span / _MOST_TICKS:
            found.append(change)
            last = at
    return found


def _row(row: EffectRow, top: float, scale: _Scale) -> Iterator[str]:
    name = in_html(cut_in_middle(row.name, 32))
    strong = ' class="name"' if row.is_found and not row.is_explained else ""
    yield f'<text{strong} x="2" y="{top + 14:.1f}">{name}</text>'
    yield f'<text x="{_WIDTH - 2}" y="{top + 14:.1f}" text-anchor="end">{in_html(row.text)}</text>'
    y = top + 26
    if row.low is not None and row.high is not None:
        low, high = scale.x(row.low), scale.x(row.high)
        ends = f"M{low:.1f} {y - 4:.1f}v8M{high:.1f} {y - 4:.1f}v8"
        yield f'<path class="s1 whisker" d="M{low:.1f} {y:.1f}H{high:.1f}{ends}"/>'
    kind = "dot" if row.is_found and not row.is_explained else "hollow"
    yield f'<circle class="s1 {kind}" cx="{scale.x(row.effect):.1f}" cy="{y:.1f}" r="{4 if row.is_explained else 5}"/>'
