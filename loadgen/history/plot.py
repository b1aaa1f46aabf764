"""One name's history as SVG: runs in their order, levels, where they change, what stands out, pinned references.

Runs stand beside each other in equal distance and not by their time, so that a night of many and a week of none can
both be read. Every run says what it was when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import exp, isnan, log1p

from loadgen.history.trends import Season, Trend
from loadgen.units import format_change

__all__ = ["plot", "season_plot"]

_WIDTH, _HEIGHT, _SEASON_HEIGHT = 1120, 200, 90
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 18, 20
_LEAST_RANGE = 0.06


class _Frame:
    """Where a value stands. Heights are logarithms."""

    def __init__(self, count: int, values: Sequence[float], height: int) -> None:
        low, high = min(values), max(values)
        if (lacking := _LEAST_RANGE - (high - low)) > 0:
            low, high = low - lacking / 2, high + lacking / 2
        self.low, self.high, self.height, self.count = low, high, height, count

    def x(self, n: float) -> float:
        return _LEFT + (n + 0.5) * (_WIDTH - _LEFT - _RIGHT) / self.count

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return _TOP + (self.high - inside) / (self.high - self.low) * (self.height - _TOP - _BOTTOM)

    def axis(self, text: str = "{:.4g}") -> Iterator[str]:
        for share in (0.0, 0.5, 1.0):
            value = self.low + share * (self.high - self.low)
            y = self.y(value)
            yield f'<path class="grid-line" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text.format(exp(value))}</text>'

    def line(self, values: Sequence[float], style: str) -> str:
        points = " ".join(f"{self.x(n):.1f},{self.y(value):.1f}" for n, value in enumerate(values))
        return f'<polyline class="{style}" points="{points}"/>'


def plot(one: Trend) -> str:
    """The series, ms on a logarithmic axis. Outliers beyond the other values stand at its edge."""
    odd = {outlier.at for outlier in one.outliers}
    references = [(held.reference, _height_of(one, held.change)) for held in one.against if not isnan(held.change)]
    shown = [value for n, value in enumerate(one.adjusted) if n not in odd] or list(one.adjusted)
    frame = _Frame(len(one.runs), [*shown, *(height for _, height in references)], _HEIGHT)
    return "\n".join(
        [
            _opened(f"{one.name}, {one.percentile} of {len(one.runs)} runs", _HEIGHT),
            *frame.axis(),
            *_references(frame, references),
            frame.line(one.adjusted, "line"),
            *_levels(frame, one),
            *_runs(frame, one, odd),
            *_ends(one),
            "</svg>",
        ]
    )


def season_plot(one: Trend, season: Season) -> str:
    """Trend, season and rest below each other, each on an axis of its own; season and rest relative."""
    off = season.seasonal(one.values)
    drawn = []
    for title, values, text in (
        ("trend, ms", season.trend, "{:.4g}"),
        ("season", off, "x{:.3f}"),
        ("rest", season.rest, "x{:.3f}"),
    ):
        frame = _Frame(len(values), values, _SEASON_HEIGHT)
        drawn += [
            _opened(f"{one.name}: {title}", _SEASON_HEIGHT),
            *frame.axis(text),
            f'<text x="{_LEFT}" y="12">{title}</text>',
            frame.line(values, "level"),
            "</svg>",
        ]
    return "\n".join(drawn)


def _height_of(one: Trend, change: float) -> float:
    """Of the reference, from how far the level is above it."""
    return one.level.height - log1p(change)


def _opened(title: str, height: int) -> str:
    return f'<svg class="trend" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'


def _references(frame: _Frame, references: Sequence[tuple[str, float]]) -> Iterator[str]:
    for name, height in references:
        y = frame.y(height)
        yield f'<path class="reference" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT + 4}" y="{y - 3:.1f}">{escape(name)}</text>'


def _levels(frame: _Frame, one: Trend) -> Iterator[str]:
    for level in one.levels:
        y = frame.y(level.height)
        yield f'<path class="level" d="M{frame.x(level.start - 0.4):.1f} {y:.1f}H{frame.x(level.end - 0.6):.1f}"/>'
    for change in one.changes:
        x = frame.x(change.at - 0.5)
        side = "slower" if change.change > 0 else "faster"
        yield f'<path class="change" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        yield f'<text class="{side}" x="{x:.1f}" y="12" text-anchor="middle">{format_change(change.change)}</text>'


def _runs(frame: _Frame, one: Trend, odd: set[int]) -> Iterator[str]:
    for n, (run, value, height) in enumerate(zip(one.runs, one.values, one.adjusted, strict=True)):
        said = " ".join(
            [run.run_id, f"{exp(value):.4g} ms", run.commit[:9], *(f"{k}={v}" for k, v in run.labels.items())]
        )
        style, radius = ("outlier", 4.5) if n in odd else ("run", 2.6)
        yield (
            f'<circle class="{style}" cx="{frame.x(n):.1f}" cy="{frame.y(height):.1f}" r="{radius}">'
            f"<title>{escape(said)}</title></circle>"
        )


def _ends(one: Trend) -> Iterator[str]:
    y = _HEIGHT - 5
    yield f'<text x="{_LEFT}" y="{y}">{escape(one.runs[0].started_at[:10])}</text>'
    if len(one.runs) > 1:
        last = escape(one.runs[-1].started_at[:10])
        yield f'<text x="{_WIDTH - _RIGHT}" y="{y}" text-anchor="end">{last}</text>'
