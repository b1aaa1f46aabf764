"""Draws which inputs move an answer most: a bar for each input, from the answer at its low to that at its high."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.outside_text import in_html

__all__ = ["Bar", "tornado"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 1120, 220, 110, 34, 24, 26
_BAR: Final = 18


@dataclass(frozen=True, slots=True)
class Bar:
    """One input: the answer at its low and at its high, each with the input's value as text."""

    name: str
    at_low: float
    at_high: float
    low_text: str
    high_text: str


def tornado(title: str, bars: Sequence[Bar], centre: float, unit: str) -> str:
    """Return the chart as SVG; "" without bars.

    Args:
        title: for people who do not see the chart. All texts are escaped.
        bars: the widest first.
        centre: the answer with all inputs at their points.
        unit: of the answer, for the axis.
    """
    if not bars:
        return ""
    values = [centre, *(value for bar in bars for value in (bar.at_low, bar.at_high))]
    low, high = min(values), max(values)
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low or 1.0)
    height = _TOP + _ROW * len(bars) + _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) * scale

    parts = [
        f'<svg class="xy" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{in_html(title)}">',
        *(part for number, bar in enumerate(bars) for part in _bar(number, bar, x(bar.at_low), x(bar.at_high))),
        f'<path class="s3 rule dashed" d="M{x(centre):.1f} {_TOP - 6}V{height - _BOTTOM + 4}"/>',
        f'<text x="{x(centre):.1f}" y="{height - 8}" text-anchor="middle">{centre:.4g} {in_html(unit)}</text>',
        "</svg>",
    ]
    return "\n".join(parts)


def _bar(number: int, bar: Bar, at_low: float, at_high: float) -> Iterator[str]:
    top = _TOP + _ROW * number
    left, right = min(at_low, at_high), max(at_low, at_high)
    middle = top + _BAR / 2 + 4
    yield f'<rect class="s1 band" x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{_BAR}"/>'
    yield f'<text x="8" y="{middle:.1f}">{in_html(bar.name)}</text>'
    texts = sorted([(at_low, bar.low_text), (at_high, bar.high_text)])
    yield f'<text x="{left - 5:.1f}" y="{middle:.1f}" text-anchor="end">{in_html(texts[0][1])}</text>'
    yield f'<text x="{right + 5:.1f}" y="{middle:.1f}">{in_html(texts[1][1])}</text>'
