"""The tables of a sweep, for terminal and page: cells, simple effects, terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen.analysis.factors.terms import Term
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.sweep.result import CellState, ResponseResult, SweepResult
from loadgen.sweep.texts import change_text, effect_text, interval_text, levels_text, value_text
from loadgen.units import format_change, quantity

__all__ = ["MOST_ROWS", "ranked", "tables_of"]

MOST_ROWS: Final = 64
"""Rows of a printed table. The files have all."""
_WIDEST_CELL: Final = 38
"""Cells with longer texts have the names of the factors in the head of the column only, so 80 columns suffice."""


def tables_of(result: SweepResult) -> Iterator[Table]:
    """Yield the tables, the most important first."""
    yield _cells(result)
    ordered = sorted(result.responses, key=lambda one: one is not result.decisive)
    for one in ordered:
        if one.analysis is None or not (one is result.first or one.findings):
            continue
        if one.analysis.simple_effects and one is result.decisive:
            yield _simple_effects(one)
        yield _terms(one)


def _cells(result: SweepResult) -> Table:
    first = result.first
    figures = {one.cell: one for one in first.analysis.cells} if first.analysis is not None else {}
    unit = f" {first.response.unit}" if first.response.unit == "ms" else ""
    rows = []
    named = [levels_text(state.levels) for state in result.cells]
    is_short = max(map(len, named)) <= _WIDEST_CELL
    head = "cell" if is_short else ", ".join(one.name for one in result.plan.design.factors)
    for state in _sorted(result):
        figure = figures.get(state.cell)
        rows.append(
            (
                levels_text(state.levels) if is_short else ", ".join(state.levels.values()),
                _runs(state),
                value_text(figure.value if figure else None, first.response, with_unit=False),
                interval_text(figure.low if figure else None, figure.high if figure else None, first.response),
                PLACEHOLDER if state.error_ratio is None else f"{state.error_ratio * 100:.2f} %",
            )
        )
    notes = [*_cell_notes(result)]
    if len(rows) > MOST_ROWS:
        notes.append(f"{len(rows) - MOST_ROWS} more cells are in the files")
    level = f"{first.analysis.level * 100:g} % interval" if first.analysis is not None else "interval"
    columns = (head, "runs", f"{first.response.label}{unit}", level, "errors")
    return Table("Cells", columns, tuple(rows[:MOST_ROWS]), note="\n".join(notes))


def _sorted(result: SweepResult) -> list[CellState]:
    """Return the cells in the order of the design; if there are many, the worst first."""
    first = result.first
    if len(result.cells) <= MOST_ROWS or first.analysis is None:
        return list(result.cells)
    values = {one.cell: one.value or 0.0 for one in first.analysis.cells}
    return sorted(result.cells, key=lambda state: -values.get(state.cell, 0.0))


def _runs(state: CellState) -> str:
    return str(state.fit) if state.fit == state.planned else f"{state.fit} of {state.planned}"


def _cell_notes(result: SweepResult) -> Iterator[str]:
    label = result.first.response.label
    for state in result.cells:
        remarks = []
        if state.unfit:
            remarks.append(f"{quantity(state.unfit, 'run')} could not be compared")
        if state.uncompared:
            remarks.append(f"{quantity(state.uncompared, 'run')} without {label}")
        if remarks:
            yield f"{levels_text(state.levels)}: {', '.join(remarks)}"


def _terms(one: ResponseResult) -> Table:
    assert one.analysis is not None
    rows = [(*_words(term), *effect_text(term, one.response), _p(term)) for term in ranked(one)]
    notes = [
        "Effects are means over the levels of all other factors. An effect of one corner shows as half of it in the"
        " interaction and in both main effects: read the simple effects."
    ] * (one.response.is_log and any(term.explained_by for term in one.analysis.terms))
    if len(rows) > MOST_ROWS:
        notes.append(f"{len(rows) - MOST_ROWS} more terms are in the files.")
    return Table(
        f"Terms, {one.response.label}",
        ("term", "found", "effect", "interval", "p (Holm)"),
        tuple(rows[:MOST_ROWS]),
        words=2,
        note="\n".join(notes),
    )


def ranked(one: ResponseResult) -> list[Term]:
    """Return all terms: the findings by rank, each followed by what it explains, then the others by their effects."""
    assert one.analysis is not None
    by_name = {term.name: term for term in one.analysis.terms}
    order: dict[str, Term] = {}
    for finding in one.findings:
        order[finding.term.name] = finding.term
        order.update({name: by_name[name] for name in finding.explains if name in by_name})
    return [*order.values(), *(term for term in one.analysis.terms if term.name not in order)]


def _words(term: Term) -> tuple[str, str]:
    if term.explained_by:
        return term.name, "explained"
    if term.is_unresolved:
        return term.name, "not decided"
    return term.name, "yes" if term.is_found else "no"


def _p(term: Term) -> str:
    return "< 0.0001" if term.p_holm < 0.0001 else f"{term.p_holm:.4f}" if term.p_holm < 0.1 else f"{term.p_holm:.2f}"


def _simple_effects(one: ResponseResult) -> Table:
    assert one.analysis is not None
    rows = []
    for finding in one.findings:
        for effect in one.analysis.simple_effects:
            if effect.interaction != finding.term.name:
                continue
            change = change_text(effect.change, effect.low, effect.high, one.response)
            number, _, interval = change.partition(" (")
            rows.append(
                (
                    f"{effect.factor} {effect.from_level} → {effect.to_level}",
                    f"{levels_text(effect.at)}",
                    number,
                    interval.removesuffix(")"),
                    PLACEHOLDER if effect.ratio is None else format_change(effect.ratio - 1),
                    str(effect.n),
                )
            )
    return Table(
        f"Simple effects, {one.response.label}",
        ("change of", "while", "effect", "interval", "in %", "runs"),
        tuple(rows[:MOST_ROWS]),
        words=2,
    )
