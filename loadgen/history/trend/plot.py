"""Draws one name's history as SVG: runs, levels and their changes, outliers, and pinned references.

Runs are drawn at equal distances and not by their time, so that both a night of many runs and a week without runs are
readable. Each run has a tooltip. In small plots, of which a page may have many, only outliers and the new run have
one: this takes 26 bytes for each run instead of 140.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, isnan, log, log1p
from typing import Final

from loadgen.history.store.stored_run import Accepted
from loadgen.history.trend.trends import Season, Trend
from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import round_places
from loadgen.units import format_change

__all__ = ["LARGE", "SMALL", "Size", "plot", "season_plot"]


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a plot in pixels, at which its text is readable."""

    width: int
    height: int
    is_small: bool = False


LARGE: Final = Size(1120, 200)
SMALL: Final = Size(440, 130, is_small=True)
_SEASON: Final = Size(1120, 90)
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 18, 20
_LEAST_RANGE = 0.06


class _Frame:
    """Maps runs and values to coordinates. Values are logarithms."""

    def __init__(self, count: int, values: Sequence[float], size: Size) -> None:
        low, high = min(values), max(values)
        if (lacking := _LEAST_RANGE - (high - low)) > 0:
            low, high = low - lacking / 2, high + lacking / 2
        self.low, self.high, self.count = low, high, count
        self.bottom, self.right = size.height - _BOTTOM, size.width - _RIGHT

    def x(self, n: float) -> float:
        return _LEFT + (n + 0.5) * (self.right - _LEFT) / self.count

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return _TOP + (self.high - inside) / (self.high - self.low) * (self.bottom - _TOP)

    def axis(self, text: str = "{:,.10g} ms") -> Iterator[str]:
        for place in round_places(exp(self.low), exp(self.high)):
            y = self.y(log(place))
            yield f'<path class="grid-line" d="M{_LEFT} {y:.1f}H{self.right}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text.format(place)}</text>'

    def line(self, values: Sequence[float], style: str) -> str:
        points = " ".join(f"{self.x(n):.1f},{self.y(value):.1f}" for n, value in enumerate(values))
        return f'<polyline class="{style}" points="{points}"/>'


def plot(one: Trend, new: tuple[Accepted, float] | None = None, *, size: Size = LARGE) -> str:
    """Return a trend drawn as SVG: one point for each run, with ms on a logarithmic axis.

    Outliers beyond the other values are drawn at the edge.

    new: (run, natural logarithm of its value) that is drawn after the others and is not part of the trend.
    """
    odd = {outlier.at for outlier in one.outliers}
    references = [
        (against.reference, _height_of(one, against.change)) for against in one.against if not isnan(against.change)
    ]
    shown = [value for n, value in enumerate(one.adjusted) if n not in odd] or list(one.adjusted)
    ours = [] if new is None else [new[1]]
    frame = _Frame(len(one.runs) + len(ours), [*shown, *ours, *(height for _, height in references)], size)
    title = f"{one.name}, {one.percentile} of {len(one.runs)} runs{' and this one' if ours else ''}"
    return "\n".join(
        [
            _opened(title, size),
            *frame.axis(),
            *_references(frame, references),
            frame.line(one.adjusted, "line"),
            *_levels(frame, one),
            *([_dots(frame, one, odd)] if size.is_small else []),
            *_runs(frame, one, odd, size),
            *([] if new is None else [_new(frame, *new)]),
            *_ends(frame, one),
            "</svg>",
        ]
    )


def season_plot(one: Trend, season: Season) -> str:
    """Return three drawings as SVG: the trend without its season in ms, and the season and the remainder as factors."""
    off = season.seasonal(one.values)
    drawn = []
    for title, values, text in (
        ("trend", season.trend, "{:,.10g} ms"),
        ("season", off, "x{:g}"),
        ("rest", season.rest, "x{:g}"),
    ):
        frame = _Frame(len(values), values, _SEASON)
        drawn += [
            _opened(f"{one.name}: {title}", _SEASON),
            *frame.axis(text),
            f'<text x="{_LEFT}" y="12">{title}</text>',
            frame.line(values, "level"),
            "</svg>",
        ]
    return "\n".join(drawn)


def _height_of(one: Trend, change: float) -> float:
    """Return the height (logarithm of ms) at which a pinned release is drawn.

    It follows from the newest level and the level's relative difference from the release, `change`.
    """
    return one.level.height - log1p(change)


def _opened(title: str, size: Size) -> str:
    box = f"0 0 {size.width} {size.height}"
    return f'<svg class="trend" viewBox="{box}" role="img" aria-label="{in_html(title)}">'


def _references(frame: _Frame, references: Sequence[tuple[str, float]]) -> Iterator[str]:
    for name, height in references:
        y = frame.y(height)
        yield f'<path class="reference" d="M{_LEFT} {y:.1f}H{frame.right}"/>'
        yield f'<text x="{_LEFT + 4}" y="{y - 3:.1f}">{in_html(name)}</text>'


def _levels(frame: _Frame, one: Trend) -> Iterator[str]:
    for level in one.levels:
        y = frame.y(level.height)
        yield f'<path class="level" d="M{frame.x(level.start - 0.4):.1f} {y:.1f}H{frame.x(level.end - 0.6):.1f}"/>'
    for change in one.changes:
        x = frame.x(change.at - 0.5)
        side = "slower" if change.change > 0 else "faster"
        tooltip = f"since {change.after.run_id} {change.commits} {change.labels}".strip()
        yield f'<path class="change" d="M{x:.1f} {_TOP}V{frame.bottom}"/>'
        yield (
            f'<text class="{side}" x="{x:.1f}" y="12" text-anchor="middle">{format_change(change.change)}'
            f"<title>{in_html(tooltip)}</title></text>"
        )


def _runs(frame: _Frame, one: Trend, odd: set[int], size: Size) -> Iterator[str]:
    for n, (run, value, height) in enumerate(zip(one.runs, one.values, one.adjusted, strict=True)):
        if n in odd or not size.is_small:
            style, radius = ("outlier", 4.5) if n in odd else ("run", 2.6)
            yield _circle(frame.x(n), frame.y(height), style, radius, _tooltip_of(run, value))


def _dots(frame: _Frame, one: Trend, odd: set[int]) -> str:
    """Return all runs except outliers as one SVG path of lines of length 0 with round ends, which look like dots.

    odd: positions of the outliers in the series.
    """
    dots = (f"M{frame.x(n):.1f} {frame.y(one.adjusted[n]):.1f}h0" for n in range(len(one.runs)) if n not in odd)
    return f'<path class="dots" d="{"".join(dots)}"/>'


def _new(frame: _Frame, run: Accepted, value: float) -> str:
    return _circle(frame.x(frame.count - 1), frame.y(value), "new", 4.5, f"this run: {_tooltip_of(run, value)}")


def _circle(x: float, y: float, style: str, radius: float, tooltip: str) -> str:
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{in_html(tooltip)}</title></circle>'


def _tooltip_of(run: Accepted, value: float) -> str:
    return " ".join([run.run_id, f"{exp(value):.4g} ms", run.commit[:9], *(f"{k}={v}" for k, v in run.labels.items())])


def _ends(frame: _Frame, one: Trend) -> Iterator[str]:
    """Yield the time of the first and of the last run; of runs of one day the date once, and both times of day."""
    y = frame.bottom + 15
    first, last = one.runs[0].started_at, one.runs[-1].started_at
    is_one_day = first[:10] == last[:10]
    has_times = is_one_day and len(one.runs) > 1 and first[:16] != last[:16]
    left = f"{first[:10]} {first[11:16]}" if has_times else first[:10]
    yield f'<text x="{_LEFT}" y="{y}">{in_html(left)}</text>'
    if has_times or not is_one_day:
        right = f"{last[11:16]} UTC" if is_one_day else last[:10]
        yield f'<text x="{frame.right}" y="{y}" text-anchor="end">{in_html(right)}</text>'
