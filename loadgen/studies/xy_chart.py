"""Draws values against values as SVG: points with intervals, lines, bands, and marked places.

    xy_chart("Throughput against users", [
        Band("95 % band", [(1, 80, 90), (36, 1100, 1200)]),
        Line("model", [(1, 85), (36, 1150)]),
        Points("measured", [(1, 83), (36, 1161)]),
        Rule("peak", 96.5, low=84, high=125),
    ], x=Axis("users"), y=Axis("requests/s"))

Colours follow the order of the marks, so marks that belong together may name the same `style`. A chart that must be
readable in grey gives its lines a `dash` and a `label` at their ends; then it needs no keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import log_places, round_places
from loadgen.studies.chart_labels import rows_of, spread

__all__ = ["Axis", "Band", "Line", "Mark", "Points", "Rule", "Size", "xy_chart"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 14, 38
_STYLES: Final = 8
_ROOM: Final = 0.04
"""Share of the range of values that stays free at both ends of an axis."""
_TEXT_HEIGHT: Final = 12.0
"""Distance of two lines of text, px."""
_CHARACTER: Final = 6.0
"""Mean width of a character, px: a bit more than a browser's, so labels that should not touch do not."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a chart in pixels at which its text is readable."""

    width: int = 1120
    height: int = 320
    left: int = _LEFT
    """Room for the numbers of the vertical axis."""
    right: int = _RIGHT
    """Room for labels at the ends of lines."""
    bottom: int = _BOTTOM
    """Room for the values of the horizontal axis, and below them its label."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its label with unit, and its range. Without `low` or `high` the values decide."""

    label: str
    is_log: bool = False
    low: float | None = None
    high: float | None = None
    places: tuple[tuple[float, str], ...] = ()
    """Places with their texts, for an axis of names or times. Empty: round numbers."""
    room_above: float = 0.0
    """Share of the range of values that stays free above them, for labels. Not used with `high`."""


@dataclass(frozen=True, slots=True)
class Points:
    """Dots at (x, y), each with an optional vertical interval (low, high) and a tooltip."""

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float] | None] = ()
    tooltips: Sequence[str] = ()
    style: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points (x, y). `is_dashed` marks a part that was not measured."""

    name: str
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False
    style: int = 0
    dash: int = 0
    """1 to 4: a pattern of dashes, for lines that must differ in grey. 0: none."""
    label: str = ""
    """Drawn at the right of the chart, at the height of the last point."""


@dataclass(frozen=True, slots=True)
class Band:
    """An area between (x, low) and (x, high)."""

    name: str
    points: Sequence[tuple[float, float, float]]
    style: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """A marked place on the x axis, or on the y axis, with an optional interval."""

    name: str
    at: float
    low: float | None = None
    high: float | None = None
    is_horizontal: bool = False
    style: int = 0
    label: str = ""
    """Drawn at the rule: at its right end, or at the top of the chart for a place on the x axis."""


Mark = Points | Line | Band | Rule


def xy_chart(
    title: str,
    marks: Sequence[Mark],
    *,
    x: Axis,
    y: Axis,
    size: Size | None = None,
    text: str = "",
    has_keys: bool = True,
) -> str:
    """Return keys and chart as HTML. Values that are not finite are left out; nothing to draw gives "".

    Args:
        title: for people who do not see the chart. All texts are escaped.
        marks: in the order in which they are drawn. A `style` of 0 is the next of 8 colours; 1 to 8 chooses one.
        text: what the chart shows, in a sentence or two, for people who do not see it.
        has_keys: whether names stand above the chart. False: the labels of lines and rules suffice.
    Cost: linear in the number of points; some 20 bytes for each.
    """
    size = size or Size()
    across = _Scale.of(x, [*_xs(marks)], size.left, size.width - size.right)
    up = _Scale.of(y, [*_ys(marks)], size.height - size.bottom, _TOP)
    if across is None or up is None:
        return ""
    styled = [(mark, (mark.style or n) and ((mark.style or n) - 1) % _STYLES + 1) for n, mark in enumerate(marks, 1)]
    keys = "".join(_key(mark, style) for mark, style in styled if mark.name and has_keys)
    box = f"0 0 {size.width} {size.height}"
    parts = [
        *([f'<div class="keys">{keys}</div>'] if has_keys else []),
        f'<svg class="xy" viewBox="{box}" role="img" aria-label="{in_html(title)}">',
        *([f"<title>{in_html(title)}</title><desc>{in_html(text)}</desc>"] if text else []),
        *_axes(across, up, x, y, size),
        *(part for mark, style in styled for part in _drawn(mark, style, across, up)),
        *_labels_at_ends(styled, across, up, size),
        *_labels_of_places(styled, across, up),
        "</svg>",
    ]
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to pixels; linear, or by the logarithm."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool

    @classmethod
    def of(cls, axis: Axis, values: Iterable[float], begin: float, end: float) -> _Scale | None:
        """Return a scale for values; None without values."""
        usable = [value for value in values if isfinite(value) and (value > 0 or not axis.is_log)]
        if not usable and (axis.low is None or axis.high is None):
            return None
        low, high = min(usable, default=inf), max(usable, default=-inf)
        if axis.is_log:
            low, high = log10(low), log10(high)
        room = (high - low) * _ROOM or (abs(high) * 0.1 or 1.0)
        has_floor = not axis.is_log and low >= 0 and low - room < 0
        low, high = 0.0 if has_floor else low - room, high + room + (high - low) * axis.room_above
        if axis.low is not None:
            low = log10(axis.low) if axis.is_log else axis.low
        if axis.high is not None:
            high = log10(axis.high) if axis.is_log else axis.high
        return cls(low, high if high > low else low + 1.0, begin, end, axis.is_log)

    def at(self, value: float) -> float:
        """Return the pixel of a value; values beyond the axis are drawn at its end."""
        if self.is_log:
            value = log10(value) if value > 0 else self.low
        inside = min(max(value, self.low), self.high)
        return self.begin + (inside - self.low) / (self.high - self.low) * (self.end - self.begin)

    def places(self, axis: Axis, most: int) -> list[tuple[float, str]]:
        if axis.places:
            return list(axis.places)
        low, high = (10**self.low, 10**self.high) if self.is_log else (self.low, self.high)
        found = log_places(low, high, most) if self.is_log else round_places(low, high, most)
        return [(place, f"{place:,.10g}") for place in found]


def _xs(marks: Sequence[Mark]) -> Iterator[float]:
    for mark in marks:
        if isinstance(mark, Rule):
            if not mark.is_horizontal:
                yield from (value for value in (mark.at, mark.low, mark.high) if value is not None)
        else:
            yield from (point[0] for point in mark.points)


def _ys(marks: Sequence[Mark]) -> Iterator[float]:
    for mark in marks:
        if isinstance(mark, Rule):
            if mark.is_horizontal:
                yield from (value for value in (mark.at, mark.low, mark.high) if value is not None)
        else:
            yield from (value for point in mark.points for value in point[1:])
            if isinstance(mark, Points):
                yield from (value for interval in mark.intervals if interval for value in interval)


def _key(mark: Mark, style: int) -> str:
    kinds = {Points: "dots", Band: "band"}
    kind = kinds.get(type(mark), "dashed" if isinstance(mark, Rule) or getattr(mark, "is_dashed", False) else "")
    return f'<span class="s{style} {kind}">{in_html(mark.name)}</span>'


def _axes(across: _Scale, up: _Scale, x: Axis, y: Axis, size: Size) -> Iterator[str]:
    bottom, right = size.height - size.bottom, size.width - size.right
    for place, text in up.places(y, 6):
        at = up.at(place)
        yield f'<path class="grid-line" d="M{size.left} {at:.1f}H{right}"/>'
        yield f'<text x="{size.left - 6}" y="{at + 4:.1f}" text-anchor="end">{in_html(text)}</text>'
    for place, text in across.places(x, max(2, (right - size.left) // 85)):
        at = across.at(place)
        yield f'<path class="grid-line" d="M{at:.1f} {_TOP}V{bottom}"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{in_html(text)}</text>'
    if x.label:
        yield f'<text x="{right}" y="{size.height - 6}" text-anchor="end">{in_html(x.label)}</text>'
    yield f'<text x="{size.left}" y="{_TOP - 4}">{in_html(y.label)}</text>'


def _drawn(mark: Mark, style: int, across: _Scale, up: _Scale) -> Iterator[str]:
    match mark:
        case Points():
            yield from _dots(mark, style, across, up)
        case Line():
            dashed = f"{' dashed' if mark.is_dashed else ''}{f' d{mark.dash}' if mark.dash else ''}"
            points = _joined((across.at(one), up.at(other)) for one, other in _finite(mark.points))
            yield f'<polyline class="s{style} line{dashed}" points="{points}"/>'
        case Band():
            whole = [point for point in mark.points if all(map(isfinite, point))]
            edge = [(across.at(one), up.at(high)) for one, _, high in whole]
            back = [(across.at(one), up.at(low)) for one, low, _ in reversed(whole)]
            yield f'<polygon class="s{style} band" points="{_joined([*edge, *back])}"/>'
        case Rule():
            yield from _rule(mark, style, across, up)


def _dots(mark: Points, style: int, across: _Scale, up: _Scale) -> Iterator[str]:
    for n, (one, other) in enumerate(mark.points):
        if not (isfinite(one) and isfinite(other)):
            continue
        interval = mark.intervals[n] if n < len(mark.intervals) else None
        at = across.at(one)
        if interval is not None:
            low, high = up.at(interval[0]), up.at(interval[1])
            yield f'<path class="s{style} whisker" d="M{at:.1f} {low:.1f}V{high:.1f}"/>'
        tooltip = f"<title>{in_html(mark.tooltips[n])}</title>" if n < len(mark.tooltips) else ""
        yield f'<circle class="s{style} dot" cx="{at:.1f}" cy="{up.at(other):.1f}" r="4">{tooltip}</circle>'


def _rule(mark: Rule, style: int, across: _Scale, up: _Scale) -> Iterator[str]:
    left, right, top, bottom = across.begin, across.end, up.end, up.begin
    scale = up if mark.is_horizontal else across
    if mark.low is not None or mark.high is not None:
        low = scale.begin if mark.low is None else scale.at(mark.low)
        high = scale.end if mark.high is None else scale.at(mark.high)
        near, far = min(low, high), max(low, high)
        if mark.is_horizontal:
            area = f'x="{left}" y="{near:.1f}" width="{right - left}" height="{far - near:.1f}"'
        else:
            area = f'x="{near:.1f}" y="{top}" width="{far - near:.1f}" height="{bottom - top}"'
        yield f'<rect class="s{style} span" {area}/>'
    at = scale.at(mark.at)
    path = f"M{left} {at:.1f}H{right}" if mark.is_horizontal else f"M{at:.1f} {top}V{bottom}"
    yield f'<path class="s{style} rule dashed" d="{path}"/>'


def _labels_at_ends(styled: Sequence[tuple[Mark, int]], across: _Scale, up: _Scale, size: Size) -> Iterator[str]:
    """Yield the labels of lines and horizontal rules at the right of the chart, and lines that lead to them."""
    ends: list[tuple[float, float, str, int]] = []
    for mark, style in styled:
        if isinstance(mark, Line) and mark.label and (points := _finite(mark.points)):
            ends.append((across.at(points[-1][0]), up.at(points[-1][1]), mark.label, style))
        elif isinstance(mark, Rule) and mark.is_horizontal and mark.label:
            ends.append((across.end, up.at(mark.at), mark.label, style))
    places = spread([at for _, at, _, _ in ends], _TEXT_HEIGHT, up.end + 4, up.begin)
    left, most = across.end + 12, max(4, int((size.right - 12) / _CHARACTER))
    for (x, y, label, style), place in zip(ends, places, strict=True):
        if abs(place - y) > 2 or across.end - x > 2:
            yield f'<path class="s{style} leader" d="M{x:.1f} {y:.1f}L{left - 2:.1f} {place:.1f}"/>'
        yield f'<text class="s{style} end" x="{left:.1f}" y="{place + 4:.1f}">{in_html(_cut(label, most))}</text>'


def _labels_of_places(styled: Sequence[tuple[Mark, int]], across: _Scale, up: _Scale) -> Iterator[str]:
    """Yield the labels of marked places on the x axis, at the top, in as many rows as they need."""
    found: list[tuple[float, str, str, int]] = []
    spans: list[tuple[float, float]] = []
    for mark, style in styled:
        if isinstance(mark, Rule) and not mark.is_horizontal and mark.label:
            label = _cut(mark.label, max(4, int((across.end - across.begin) / _CHARACTER / 2)))
            at, wide = across.at(mark.at), (len(label) + 1) * _CHARACTER
            is_left = at + wide > across.end
            found.append((at, label, "end" if is_left else "start", style))
            spans.append((at - wide, at) if is_left else (at, at + wide))
    for (at, label, anchor, style), row in zip(found, rows_of(spans), strict=True):
        x, y = at + (-3 if anchor == "end" else 3), up.end + 9 + row * _TEXT_HEIGHT
        yield f'<text class="s{style} place" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{in_html(label)}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if all(map(isfinite, point))]


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{one:.1f},{other:.1f}" for one, other in points)
