"""The drawings of a sweep's page: the cells as a heat table, effects in order, and each interaction as lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import exp, log, nan

from loadgen.analysis.factors.terms import CellFigure, FactorAnalysis, Term
from loadgen.report.report_parts import PLACEHOLDER
from loadgen.studies.study import Drawing
from loadgen.studies.xy_chart import Axis, Points, xy_chart
from loadgen.sweep.drawings.effect_plot import MOST_ROWS, EffectRow, effect_plot
from loadgen.sweep.drawings.heat_table import HeatCell, heat_table
from loadgen.sweep.drawings.line_plot import LevelLine, LinePoint, line_plot
from loadgen.sweep.findings import kind_of
from loadgen.sweep.result import CellState, ResponseResult, SweepResult
from loadgen.sweep.shown.sentences import headline_of
from loadgen.sweep.shown.tables import ranked
from loadgen.sweep.texts import effect_numbers, effect_text, interval_text, levels_text, value_text
from loadgen.units import quantity

__all__ = ["drawings_of"]

_MOST_HEAT_CELLS = 256
_MOST_LINES = 6
_MOST_PLOTS = 4
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def drawings_of(result: SweepResult) -> Iterator[Drawing]:
    """Yield the drawings, and the effects on each response about which something was found."""
    if len(result.cells) <= _MOST_HEAT_CELLS and result.plan.design.kind != "lhs":
        yield _heat(result)
    for one in sorted(result.responses, key=lambda one: one is not result.decisive):
        if one.analysis is None or not (one is result.first or one.findings):
            continue
        if result.plan.design.kind == "lhs":
            yield from _against_factors(result, one)
        found = [finding.term for finding in one.findings if kind_of(finding.term) == "interaction"]
        if one is result.decisive and result.plan.design.kind != "lhs":
            shown = found or [term for term in one.analysis.terms if kind_of(term) == "interaction"][:1]
            for term in shown[:_MOST_PLOTS]:
                yield from _interaction(result, one, one.analysis, term)
        yield _effects(one)


def _heat(result: SweepResult) -> Drawing:
    first = result.first
    figures = {one.cell: one for one in first.analysis.cells} if first.analysis is not None else {}
    cells = [_heat_cell(state, figures.get(state.cell), first) for state in result.cells]
    factors = [(one.name, _levels(result, at)) for at, one in enumerate(result.plan.design.factors)]
    valued = [(cell.value, cell.levels) for cell in cells if cell.value is not None]
    text = "Each box is one cell; a stronger shade is a larger value."
    if valued:
        worst, best = max(valued), min(valued)
        names = [one.name for one in result.plan.design.factors]
        text += (
            f" The largest {first.response.label} is at {levels_text(dict(zip(names, worst[1], strict=True)))}"
            f" ({value_text(worst[0], first.response)}), the smallest at"
            f" {levels_text(dict(zip(names, best[1], strict=True)))} ({value_text(best[0], first.response)})."
        )
    return Drawing(f"Cells, {first.response.label}", heat_table(factors, cells), text)


def _levels(result: SweepResult, at: int) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys((*result.plan.design.factors[at].levels, *(cell[at] for cell in result.plan.design.cells)))
    )


def _heat_cell(state: CellState, figure: CellFigure | None, one: ResponseResult) -> HeatCell:
    value = figure.value if figure is not None else None
    lines = [value_text(value, one.response) if value is not None else f"no {one.response.label}"]
    if figure is not None and figure.low is not None and figure.high is not None:
        lines.append(interval_text(figure.low, figure.high, one.response))
    lines.append(quantity(state.fit, "run") if state.fit == state.planned else f"{state.fit} of {state.planned} runs")
    if state.unfit:
        lines.append(f"{state.unfit} not valid")
    if state.uncompared and state.error_ratio:
        lines.append(f"{state.error_ratio * 100:.3g} % errors")
    return HeatCell(tuple(state.levels.values()), tuple(lines), value, bool(state.unfit or state.uncompared))


def _effects(one: ResponseResult) -> Drawing:
    assert one.analysis is not None
    rows = []
    for term in ranked(one):
        number, low, high = effect_numbers(term, one.response)
        effect, interval = effect_text(term, one.response)
        text = f"{effect} ({interval})" if interval != PLACEHOLDER else effect
        place = nan if number is None else number
        rows.append(EffectRow(term.name, place, low, high, text, term.is_found, bool(term.explained_by)))
    found = sum(row.is_found and not row.is_explained for row in rows)
    more = f" The first {MOST_ROWS} of {len(rows)} terms." if len(rows) > MOST_ROWS else ""
    text = f"Full dots are found ({found} of {len(rows)}); hollow ones are not, or an interaction explains them.{more}"
    title = f"Effects, {one.response.label}"
    return Drawing(title, effect_plot(title, rows, is_log=one.response.is_log), text)


def _against_factors(result: SweepResult, one: ResponseResult) -> Iterator[Drawing]:
    """Yield, for a Latin hypercube, the response of all runs against each factor with an effect; all if none has."""
    found = {name for finding in one.findings for name in finding.term.factors}
    for at, factor in enumerate(result.plan.design.factors):
        places = [_place(cell[at]) for cell in result.plan.design.cells]
        if (found and factor.name not in found) or None in places:
            continue
        runs = [
            (place, value, f"run {run.number}, {levels_text(result.plan.levels(run.cell))}")
            for run in result.runs
            if (value := run.values.get(one.response.text)) is not None and not run.is_control and run.is_fit
            if (place := places[run.cell]) is not None
        ]
        label = one.response.label + (f", {one.response.unit}" if one.response.unit else "")
        title = f"Runs against {factor.name}, {one.response.label}"
        points = Points("runs", [(x, y) for x, y, _ in runs], tooltips=[text for _, _, text in runs])
        unit = f", {factor.unit}" if factor.unit else ""
        drawn = xy_chart(title, [points], x=Axis(f"{factor.name}{unit}"), y=Axis(label, is_log=one.response.is_log))
        if drawn:
            mine = [finding.sentences[0] for finding in one.findings if factor.name in finding.term.factors]
            text = f"In words, {mine[0]}." if mine else f"No effect of {factor.name} was found."
            yield Drawing(title, drawn, f"Each dot is a run. The other factors differ as well. {text}")


def _place(level: str) -> float | None:
    """Return the number of a level that was drawn from a range, such as 133.1 of "133.1/s"; None if it has none."""
    number = _NUMBER.match(level)
    return float(number[0]) if number else None


def _interaction(result: SweepResult, one: ResponseResult, analysis: FactorAnalysis, term: Term) -> Iterator[Drawing]:
    """Yield the plot of an interaction: means of the cells by the levels of its two factors."""
    names = [factor.name for factor in result.plan.design.factors]
    across, along = (names.index(name) for name in term.factors)
    x_levels, line_levels = _levels(result, across), _levels(result, along)
    if len(x_levels) < len(line_levels):
        across, along, x_levels, line_levels = along, across, line_levels, x_levels
    figures = {result.plan.design.cells[figure.cell]: figure for figure in analysis.cells if figure.value is not None}
    lines = [
        LevelLine(
            f"{names[along]} {level}",
            tuple(
                _mean_of(
                    [figure for cell, figure in figures.items() if (cell[across], cell[along]) == (x, level)],
                    one,
                    f"{names[across]} {x}, {names[along]} {level}",
                )
                for x in x_levels
            ),
        )
        for level in line_levels[:_MOST_LINES]
    ]
    label = one.response.label + (f", {one.response.unit}" if one.response.unit else "")
    title = f"Interaction {term.name}, {one.response.label}"
    drawn = line_plot(title, names[across], x_levels, label, lines)
    if drawn:
        more = "" if len(line_levels) <= _MOST_LINES else f" The first {_MOST_LINES} levels of {names[along]}."
        rest = " Values are means over the levels of all other factors." if len(names) > 2 else ""
        words = (
            "Parallel lines would mean that the two factors act independently."
            if term.is_found
            else headline_of(one) + "."
        )
        yield Drawing(title, drawn, f"{_steps(lines, x_levels, one)} {words}{rest}{more}")


def _mean_of(figures: Sequence[CellFigure], one: ResponseResult, where: str) -> LinePoint | None:
    """Return the mean of cells, of logarithms if the response is positive. Only a single cell has an interval."""
    values = [figure.value for figure in figures if figure.value is not None]
    if not values:
        return None
    if len(figures) == 1:
        low, high = figures[0].low, figures[0].high
        interval = f" ({interval_text(low, high, one.response)}), {quantity(figures[0].n, 'run')}"
        return LinePoint(values[0], low, high, f"{where}: {value_text(values[0], one.response)}{interval}")
    is_log = one.response.is_log and min(values) > 0
    mean = exp(sum(map(log, values)) / len(values)) if is_log else sum(values) / len(values)
    runs = quantity(sum(figure.n for figure in figures), "run")
    low, high = _ends_of_mean(figures, mean, is_log=is_log)
    return LinePoint(mean, low, high, f"{where}: {value_text(mean, one.response)}, mean of {len(values)} cells, {runs}")


def _ends_of_mean(
    figures: Sequence[CellFigure], mean: float, *, is_log: bool
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of a mean of cells with intervals: their half lengths, combined as independent ones."""
    halves = [
        (log(figure.high / figure.low) if is_log and figure.low > 0 else figure.high - figure.low) / 2
        for figure in figures
        if figure.low is not None and figure.high is not None
    ]
    if len(halves) < len(figures):
        return None, None
    half = sum(one * one for one in halves) ** 0.5 / len(halves)
    return (mean / exp(half), mean * exp(half)) if is_log else (mean - half, mean + half)


def _steps(lines: Sequence[LevelLine], x_levels: Sequence[str], one: ResponseResult) -> str:
    """Return the values of each line in words, for people who do not see the plot."""
    shown = []
    for line in lines[:3]:
        points = [(level, point) for level, point in zip(x_levels, line.points, strict=True) if point is not None]
        if points:
            (first, begin), (last, end) = points[0], points[-1]
            shown.append(
                f"{line.name}: {value_text(begin.value, one.response)} at {first},"
                f" {value_text(end.value, one.response)} at {last}"
            )
    return "; ".join(shown) + "."
