"""The data of the three charts, each with a text for people who do not see it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from math import exp
from typing import Final

import numpy as np

from loadgen.analysis.attainment.shown import budget_text
from loadgen.analysis.burn.firing import sums_before
from loadgen.history.trend.trends import Trend
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import Forecast, JourneyFacts, time_of
from loadgen.programme.weekly.cells.capacity_cells import Capacity, capacities_of
from loadgen.programme.weekly.changed import ChangeFound
from loadgen.programme.weekly.gather import PERCENTILE, Gathered, Promise
from loadgen.programme.weekly.page_values import Chart, ChartLine, ChartMark, Tone
from loadgen.programme.weekly.rows import PromiseRow
from loadgen.programme.weekly.week_of import weeks_before
from loadgen.units import quantity

__all__ = ["budget_series", "charts_of"]

_DAY_S: Final = 86_400
_BUDGET_DAYS: Final = 28


def charts_of(
    gathered: Gathered, rows: Sequence[PromiseRow], trends: dict[str, Trend], changes: Sequence[ChangeFound]
) -> tuple[Chart, ...]:
    """Return the charts that have data: error budget, p95, headroom."""
    found = (_budgets(gathered, rows), _latencies(gathered, rows, trends, changes), _headrooms(gathered, rows))
    return tuple(one for one in found if one.lines)


def budget_series(promise: Promise, at: Sequence[int]) -> list[float | None]:
    """Return the budget that was left at some times, in percent of the whole budget: of the window that ended then.

    None where the window has no traffic. Unix times, s, in ascending order.
    """
    units, objective = promise.units, promise.objective
    if units is None or not len(units):
        return [None] * len(at)
    ends = np.array(at, np.float64)
    bad, of = sums_before(units, ends, objective.window.nominal_s)
    allowed = float(objective.budget) * of
    last = float(units.end.max())
    return [
        None if not total or moment > last + _DAY_S else round(100 * (1 - spent / total), 2)
        for moment, spent, total in zip(at, bad.tolist(), allowed.tolist(), strict=True)
    ]


def _budgets(gathered: Gathered, rows: Sequence[PromiseRow]) -> Chart:
    days = max(_BUDGET_DAYS, (gathered.period.end - gathered.period.start) // _DAY_S)
    times = [gathered.at - n * _DAY_S for n in range(days, -1, -1)]
    lines = []
    for one in rows:
        state = one.promise.state
        if state.judgement is None:
            continue
        # The newest point is the figure of the table: the window ends where the counts end.
        values = budget_series(one.promise, [*times[:-1], state.end]) if state.end > times[-2] else []
        if any(value is not None for value in values):
            points = tuple(zip([*times[:-1], state.end], values, strict=True))
            lines.append(ChartLine(_name(one, rows), points, tone=_line_tone(one)))
    spent = [one for one in rows if (one.row.budget_left.value or 1.0) <= 0 and one.row.budget_left.value is not None]
    lowest = min((one for one in rows if one.row.budget_left.value is not None), key=_left, default=None)
    text = f"Error budget left in {quantity(days, 'day')}, one line for each promise."
    if lowest is not None:
        left = budget_text(lowest.row.budget_left.value)
        text += f" The lowest is {_name(lowest, rows)} with {left}; {len(spent)} of {len(lines)} are spent."
    evidence = tuple(dict.fromkeys(id_ for one in rows for id_ in one.row.budget_left.evidence))
    return Chart("Error budget", "%", text, tuple(lines), 0.0, "spent", evidence)


def _left(one: PromiseRow) -> float:
    return 1.0 if one.row.budget_left.value is None else one.row.budget_left.value


def _latencies(
    gathered: Gathered, rows: Sequence[PromiseRow], trends: dict[str, Trend], changes: Sequence[ChangeFound]
) -> Chart:
    weeks = weeks_before(gathered.period, 13, gathered.settings.tz)
    lines = []
    for journey in dict.fromkeys(one.promise.journey for one in rows):
        trend = trends.get(journey)
        if trend is None:
            continue
        marks = tuple(
            ChartMark(one.at, f"{100 * one.change.change:+.0f} %{f' {one.commit}' if one.commit else ''}")
            for one in sorted(changes, key=lambda one: one.at)
            if one.journey == journey
        )
        tone: Tone = "bad" if any(one.journey == journey and one.is_slower for one in changes) else "plain"
        lines.append(ChartLine(one_line(journey, 63), _by_day(trend), marks=marks, tone=tone))
    worse = [one for one in changes if one.is_slower]
    text = f"{PERCENTILE} of the load tests in {weeks[0].name} to {weeks[-1].name}, the mean of each day."
    if worse:
        text += " Slower: " + ", ".join(
            f"{one_line(one.journey, 63)} by {100 * one.change.change:.0f} %" for one in worse[:5]
        )
        text += "."
    elif lines:
        text += " No journey became slower for certain."
    evidence = tuple(dict.fromkeys(one.evidence for one in changes))
    return Chart(f"{PERCENTILE} of load tests", "ms", text, tuple(lines), evidence=evidence)


def _by_day(trend: Trend) -> tuple[tuple[int, float | None], ...]:
    """Return the geometric mean of the runs of each UTC day."""
    days: dict[int, list[float]] = {}
    for run, value in zip(trend.runs, trend.values, strict=True):
        days.setdefault(int(time_of(run.started_at).timestamp()) // _DAY_S * _DAY_S, []).append(value)
    return tuple((day, round(exp(sum(values) / len(values)), 2)) for day, values in sorted(days.items()))


def _headrooms(gathered: Gathered, rows: Sequence[PromiseRow]) -> Chart:
    lines: list[ChartLine] = []
    parts: list[str] = []
    ids: list[str] = []
    ends: set[str] = set()
    for journey in dict.fromkeys(one.promise.journey for one in rows):
        forecast = gathered.programme.journeys.get(journey, JourneyFacts()).forecast
        capacities = capacities_of(gathered, journey)
        row = next(one for one in rows if one.promise.journey == journey)
        if forecast is None or not capacities or not row.row.headroom.evidence:
            continue
        lines += [_capacity_line(journey, capacities, gathered.at), _forecast_line(journey, forecast, gathered.at)]
        parts.append(f"{one_line(journey, 63)} {row.row.headroom.text}")
        ends.add(f"{forecast.until.astimezone(UTC):%Y-%m-%d}")
        ids += row.row.headroom.evidence
    until = f"to {' and '.join(sorted(ends))}" if len(ends) < 3 else f"to {min(ends)} at the earliest"
    text = f"Capacity and forecast {until} with their bands. Headroom: {', '.join(parts)}." if parts else ""
    return Chart("Headroom against forecast", "1/s", text, tuple(lines), evidence=tuple(dict.fromkeys(ids)))


def _capacity_line(journey: str, found: Sequence[Capacity], at: int) -> ChartLine:
    last = found[-1]
    shown = [*((one.at, one) for one in found), *([(at, last)] if at > last.at else [])]
    return ChartLine(
        f"{one_line(journey, 63)} capacity",
        tuple((moment, round(one.rate, 3)) for moment, one in shown),
        tuple(round(one.low, 3) for _, one in shown),
        tuple(round(one.high, 3) for _, one in shown),
        tuple(ChartMark(one.at, one.id) for one in found),
    )


def _forecast_line(journey: str, forecast: Forecast, at: int) -> ChartLine:
    until = int(forecast.until.timestamp())
    middle = round((forecast.low + forecast.high) / 2, 3)
    times = (at, until) if until > at else (until, at)
    return ChartLine(
        f"{one_line(journey, 63)} forecast",
        tuple((moment, middle) for moment in times),
        (forecast.low, forecast.low),
        (forecast.high, forecast.high),
    )


def _name(one: PromiseRow, rows: Sequence[PromiseRow]) -> str:
    several = sum(other.row.journey == one.row.journey for other in rows) > 1
    return one.row.slo if several else one.row.journey


def _line_tone(one: PromiseRow) -> Tone:
    left = one.row.budget_left.value
    return "bad" if left is not None and left <= 0 else "plain"
