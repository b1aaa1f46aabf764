"""Charts of the page as SVG: session starts over time, and pauses as shares below a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import round_places
from loadgen.traffic.model.gap_bins import EDGES_S
from loadgen.traffic.model_page.pauses import EdgePauses, quantile
from loadgen.traffic.sessions.session_arrivals import SessionArrivals
from loadgen.units import NS_PER_S, format_duration

__all__ = ["StartCurve", "pause_chart", "start_chart", "start_curve"]

_MOST_BINS: Final = 150
_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1_440)
_SURE: Final = 1.96
_LARGE: Final = (1_120, 220)
_SMALL: Final = (352, 170)
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 22
_TICKS_S: Final = (60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600)
_MOST_TICKS: Final = 7
_PAUSE_TICKS_S: Final = (
    (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0),
    (*(n * 10.0**power for power in range(-3, 1) for n in (1, 2, 5)), *(10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 1_200.0)),
    (*(n * 10.0**power for power in range(-3, 2) for n in range(1, 10)), *(100.0, 150.0, 200.0, 300.0)),
)
"""Round times for an axis: the first ones of which at least 2 are within it."""
_POINTS: Final = 90


@dataclass(frozen=True)
class StartCurve:
    """Starts of sessions in bins.

    log, model, spread: by bin; model is the mean of the scenario's runs, spread their standard deviation.
    """

    begin_s: int
    """Seconds since 1970 at which the first bin begins."""
    bin_s: int
    log: NDArray[np.float64]
    model: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def low(self) -> NDArray[np.float64]:
        """The lower end of the counts of 95 % of the runs."""
        return np.maximum(self.model - _SURE * self.spread, 0)

    @property
    def high(self) -> NDArray[np.float64]:
        """The upper end."""
        return self.model + _SURE * self.spread

    @property
    def inside(self) -> int:
        """The number of bins in which the log's count is within these ends, or differs by less than 1."""
        return int(((self.log > self.low - 1) & (self.log < self.high + 1)).sum())


def start_curve(starts_us: NDArray[np.int64], arrivals: Sequence[SessionArrivals] | None) -> StartCurve:
    """Return the starts in bins that are wide enough for a chart.

    starts_us: of all sessions, sorted, µs since 1970. arrivals: what each graph of the scenario plays; None if it plays
    a mean rate.
    """
    first_s, last_s = int(starts_us[0]) // 1_000_000, int(starts_us[-1]) // 1_000_000
    minutes = next((n for n in _MINUTES if (last_s - first_s) // (60 * n) < _MOST_BINS), 0)
    bin_s = 60 * minutes or 86_400 * -(-(last_s - first_s) // (86_400 * _MOST_BINS))
    begin_s = arrivals[0].begin_s if arrivals else first_s
    bins = (last_s - begin_s) // bin_s + 1
    log = np.bincount((starts_us // 1_000_000 - begin_s) // bin_s, minlength=bins).astype(np.float64)
    if arrivals is None:
        model = np.full(bins, log.sum() / bins)
        return StartCurve(begin_s, bin_s, log, model, np.sqrt(model))
    model, variance = np.zeros(bins), np.zeros(bins)
    for one in arrivals:
        counts = np.array(one.counts, np.float64)
        at = (one.begin_s - begin_s + 60 * np.arange(len(counts))) // bin_s
        mine = np.bincount(at, counts, bins)[:bins]
        model += mine
        # The scenario's counts are means: a run varies as a renewal process with this index of dispersion.
        variance += mine * (1.0 if one.cv is None else one.cv**2)
    return StartCurve(begin_s, bin_s, log, model, np.sqrt(variance))


def start_chart(curve: StartCurve) -> str:
    """Return the chart of a curve."""
    width, height = _LARGE
    right, bottom = width - _RIGHT, height - _BOTTOM
    most = max(1.0, float(curve.log.max()), float(curve.high.max())) * 1.05
    span = (right - _LEFT) / len(curve.log)

    def y(value: float) -> float:
        return bottom - value / most * (bottom - _TOP)

    def steps(values: NDArray[np.float64]) -> list[str]:
        return [
            f"{x:.1f},{y(float(value)):.1f}"
            for n, value in enumerate(values)
            for x in (_LEFT + n * span, _LEFT + (n + 1) * span)
        ]

    parts = [f'<svg class="model wide" viewBox="0 0 {width} {height}" role="img" aria-label="Starts of sessions">']
    for place in round_places(0, most):
        parts.append(f'<path class="grid-line" d="M{_LEFT} {y(place):.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(place) + 4:.1f}" text-anchor="end">{place:,.10g}</text>')
    band = " ".join([*steps(curve.high), *reversed(steps(curve.low))])
    parts.append(f'<polygon class="band" points="{band}"/>')
    parts.append(f'<polyline class="of-log" points="{" ".join(steps(curve.log))}"/>')
    parts.append(f'<polyline class="of-model" points="{" ".join(steps(curve.model))}"/>')
    parts += _times(curve, span, bottom)
    return "\n".join([*parts, "</svg>"])


def _times(curve: StartCurve, span: float, bottom: float) -> Iterator[str]:
    length_s = curve.bin_s * len(curve.log)
    step_s = next((step for step in _TICKS_S if length_s / step <= _MOST_TICKS), length_s)
    is_one_day = curve.begin_s // 86_400 == (curve.begin_s + length_s - 1) // 86_400
    form = "%H:%M" if is_one_day else "%m-%d %H:%M" if step_s < 86_400 else "%Y-%m-%d"
    first = -(-curve.begin_s // step_s) * step_s
    for at_s in range(first, curve.begin_s + length_s, step_s):
        x = _LEFT + (at_s - curve.begin_s) / curve.bin_s * span
        yield f'<path class="grid-line" d="M{x:.1f} {_TOP}V{bottom + 4}"/>'
        anchor = "start" if x < _LEFT + 30 else "end" if x > _LARGE[0] - 60 else "middle"
        text = datetime.fromtimestamp(at_s, UTC).strftime(form)
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{text}</text>'


def pause_chart(one: EdgePauses) -> str:
    """Return the chart of the pauses of an edge: shares below a time, with the range of the log's shares by chance."""
    width, height = _SMALL
    right, bottom = width - _RIGHT, height - _BOTTOM
    ends = [quantile(shares, share) for shares in (one.log, one.model) for share in (0.002, 0.998)]
    low, high = np.log(max(min(ends) / 1.1, 0.001)), np.log(max(ends) * 1.1)

    def x(seconds: float) -> float:
        return float(_LEFT + (np.log(seconds) - low) / (high - low) * (right - _LEFT))

    def y(share: float) -> float:
        return bottom - min(max(share, 0.0), 1.0) * (bottom - _TOP)

    inside = np.flatnonzero((np.log(EDGES_S) >= low) & (np.log(EDGES_S) <= high))
    at = inside[:: max(1, len(inside) // _POINTS)]

    def points(shares: NDArray[np.float64]) -> list[str]:
        return [f"{x(float(EDGES_S[n])):.1f},{y(float(shares[n])):.1f}" for n in at]

    label = f"Pauses from {one.node} to {one.to}"
    parts = [f'<svg class="model" viewBox="0 0 {width} {height}" role="img" aria-label="{in_html(label)}">']
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<path class="grid-line" d="M{_LEFT} {y(share):.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for tick in _pause_ticks(low, high):
        parts.append(f'<path class="grid-line" d="M{x(tick):.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 15}" text-anchor="middle">{_pause(tick)}</text>')
    band = " ".join([*points(one.log + one.by_chance), *reversed(points(one.log - one.by_chance))])
    parts.append(f'<polygon class="chance" points="{band}"/>')
    parts.append(f'<polyline class="of-log" points="{" ".join(points(one.log))}"/>')
    parts.append(f'<polyline class="of-model" points="{" ".join(points(one.model))}"/>')
    return "\n".join([*parts, "</svg>"])


def _pause_ticks(low: float, high: float) -> list[float]:
    """Return round times in s. low, high: logarithms of the ends of the axis."""
    every = ([tick for tick in ticks if low < np.log(tick) < high] for ticks in _PAUSE_TICKS_S)
    return next((ticks for ticks in every if len(ticks) > 1), [])


def _pause(seconds: float) -> str:
    """Return a round time, without the digits that `format_duration` adds."""
    if seconds >= 60:
        return format_duration(seconds * NS_PER_S)
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1_000:g} ms"
