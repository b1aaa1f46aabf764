"""The result of a sweep for programs: one JSON document, and flat rows of runs, cells and terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from loadgen.analysis.factors.terms import FactorAnalysis, SimpleEffect, Term
from loadgen.sweep.could_find import POWER
from loadgen.sweep.findings import kind_of
from loadgen.sweep.result import ResponseResult, SweepResult
from loadgen.sweep.shown.sentences import headline_of, unresolved_groups
from loadgen.sweep.shown.tables import ranked

__all__ = ["cell_rows", "facts_of", "run_rows", "term_rows"]

Row = dict[str, str | float | int | bool | None]


def facts_of(result: SweepResult) -> dict[str, Any]:
    """Return the result as values of JSON. Numbers that do not exist are None."""
    plan = result.plan
    return {
        "sweep_id": plan.sweep_id,
        "file": plan.file,
        "plan": plan.plan,
        "target": plan.target,
        "seed": plan.seed,
        "repeats": plan.repeats,
        "block": plan.block,
        "design": {
            "kind": plan.design.kind,
            "factors": [{"name": one.name, "levels": list(one.levels)} for one in plan.design.factors],
            "cells": len(plan.design.cells),
            "resolution": plan.design.resolution,
            "defining": list(plan.design.defining),
            "aliases": [list(group) for group in plan.design.aliases],
            "notes": list(plan.design.notes),
        },
        "runs": {
            "planned": len(plan.order),
            "made": len(result.runs),
            "missing": [one.number for one in result.missing],
            "repeated": [one.number for one in result.repeated],
            "ending": result.ending,
        },
        "responses": {one.response.text: _of_response(one) for one in result.responses},
        "cells": [*cell_rows(result)],
    }


def _of_response(one: ResponseResult) -> dict[str, Any]:
    analysis = one.analysis
    facts: dict[str, Any] = {
        "result": headline_of(one),
        "unit": one.response.unit,
        "scale": one.response.scale,
        "why_not": one.why_not,
        "findings": [
            {"term": finding.term.name, "sentences": list(finding.sentences), "explains": list(finding.explains)}
            for finding in one.findings
        ],
    }
    if (could := one.could_find) is not None:
        facts["could_find"] = {"power": POWER, "main_effect": could.main, "interaction": could.interaction}
    if one.drift is not None:
        facts["drift"] = {
            "change": _number(one.drift.change),
            "low": _number(one.drift.low),
            "high": _number(one.drift.high),
            "controls": one.drift.n,
        }
    if analysis is not None:
        facts |= _of_analysis(one, analysis)
    return facts


def _of_analysis(one: ResponseResult, analysis: FactorAnalysis) -> dict[str, Any]:
    return {
        "level": analysis.level,
        "sd": _number(analysis.sd),
        "df": _number(analysis.df),
        "error_source": analysis.error_source,
        "runs": analysis.n,
        "lack_of_fit_p": _number(analysis.lack_of_fit_p),
        "not_estimable": list(analysis.not_estimable),
        "not_decided": [list(group) for group in unresolved_groups(analysis)],
        "notes": list(analysis.notes),
        "terms": [_of_term(rank, term) for rank, term in enumerate(ranked(one), 1)],
        "simple_effects": [_of_simple_effect(effect) for effect in analysis.simple_effects],
    }


def _of_term(rank: int, term: Term) -> dict[str, Any]:
    return {
        "rank": rank,
        "term": term.name,
        "kind": kind_of(term),
        "factors": list(term.factors),
        "from_to": [list(pair) for pair in term.levels],
        "effect": _number(term.effect),
        "low": _number(term.low),
        "high": _number(term.high),
        "change": _number(term.change),
        "change_low": _number(term.change_low),
        "change_high": _number(term.change_high),
        "p": _number(term.p),
        "p_holm": _number(term.p_holm),
        "is_found": term.is_found,
        "explained_by": list(term.explained_by),
        "alias_of": list(term.alias_of),
        "is_undecided": term.is_unresolved,
    }


def _of_simple_effect(effect: SimpleEffect) -> dict[str, Any]:
    return {
        "interaction": effect.interaction,
        "factor": effect.factor,
        "at": dict(effect.at),
        "from": effect.from_level,
        "to": effect.to_level,
        "change": _number(effect.change),
        "low": _number(effect.low),
        "high": _number(effect.high),
        "ratio": _number(effect.ratio),
        "runs": effect.n,
    }


def run_rows(result: SweepResult) -> Iterator[Row]:
    """Yield one row for each run, in the order in which the runs were made."""
    names = [one.response.text for one in result.responses]
    for run in result.runs:
        own: Row = {
            "number": run.number,
            "run_id": run.run_id,
            "cell": run.cell,
            "repeat": run.repeat,
            "block": run.block,
            "attempt": run.attempt,
            "is_control": run.is_control,
            "started_at": run.started_at,
            "result": run.result,
            "validity": run.validity,
            "is_fit": run.is_fit,
            "why": run.why,
            "folder": run.folder,
        }
        values: Row = {name: _number(run.values.get(name)) for name in names}
        yield _with(own, result.plan.levels(run.cell), values)


def cell_rows(result: SweepResult) -> Iterator[Row]:
    """Yield one row for each cell: its levels, runs, and each response with its interval."""
    figures = [
        (one.response.text, {figure.cell: figure for figure in one.analysis.cells} if one.analysis is not None else {})
        for one in result.responses
    ]
    for state in result.cells:
        own: Row = {
            "cell": state.cell,
            "planned": state.planned,
            "runs": state.fit,
            "unfit": state.unfit,
            "uncompared": state.uncompared,
            "mean_error_ratio": _number(state.error_ratio),
        }
        values: Row = {}
        for name, by_cell in figures:
            figure = by_cell.get(state.cell)
            values[name] = _number(figure.value) if figure else None
            values[f"{name} low"] = _number(figure.low) if figure else None
            values[f"{name} high"] = _number(figure.high) if figure else None
            values[f"{name} runs"] = figure.n if figure else 0
        yield _with(own, state.levels, values)


def term_rows(result: SweepResult) -> Iterator[Row]:
    """Yield one row for each term of each response, by rank."""
    for one in result.responses:
        for rank, term in enumerate(ranked(one) if one.analysis is not None else (), 1):
            yield {
                "response": one.response.text,
                "rank": rank,
                "term": term.name,
                "kind": kind_of(term),
                "effect": _number(term.effect),
                "low": _number(term.low),
                "high": _number(term.high),
                "change": _number(term.change),
                "change_low": _number(term.change_low),
                "change_high": _number(term.change_high),
                "unit": one.response.unit,
                "p": _number(term.p),
                "p_holm": _number(term.p_holm),
                "is_found": term.is_found,
                "explained_by": ", ".join(term.explained_by),
                "alias_of": ", ".join(term.alias_of),
                "is_undecided": term.is_unresolved,
            }


def _with(own: Row, levels: Mapping[str, str], values: Row) -> Row:
    """Return one row of all. A factor with the name of a column gets " (factor)" appended."""
    named: Row = {
        name if name not in own and name not in values else f"{name} (factor)": level for name, level in levels.items()
    }
    return {**own, **named, **values}


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
