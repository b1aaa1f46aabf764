"""Encodes comparisons as one JSON document, for programs. Unknown values are null.

Keys may be added and must not be removed, since programs read them.

{"format": 1, "outcome": "compared", "exit_code": 0, "comparisons": [{"base", "new", "outcome", "reasons",
 "differences", "missing", "rows": [...], "errors": [...], "only_there": [...], "curves": [...]}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

import msgspec

from loadgen.history.compare.comparison import Comparison, ErrorRow, Outcome, Row, Side
from loadgen.history.compare.quantiles import QUANTILES, Curve
from loadgen.history.store.extract import unfit_of
from loadgen.outside_text import in_json

__all__ = ["FORMAT", "encode", "outcome_of"]

FORMAT: Final = 1
_WORST: Final = (Outcome.INVALID, Outcome.INCONCLUSIVE, Outcome.COMPARED)


def outcome_of(comparisons: Sequence[Comparison]) -> Outcome:
    """Return the worst outcome of several comparisons: invalid, else inconclusive, else compared."""
    return next(one for one in _WORST if one is Outcome.COMPARED or any(c.outcome is one for c in comparisons))


def encode(comparisons: Sequence[Comparison], curves: Sequence[Sequence[Curve]], exit_code: int) -> bytes:
    """Return several comparisons as one JSON document in UTF-8, indented, with a newline at its end.

    curves: for each comparison, its curves of differences by quantile. exit_code: of the command, for the document.
    """
    document = {
        "format": FORMAT,
        "outcome": str(outcome_of(comparisons)),
        "exit_code": exit_code,
        "comparisons": [_one(*each) for each in zip(comparisons, curves, strict=True)],
    }
    return in_json(msgspec.json.format(msgspec.json.encode(document), indent=2).decode()).encode() + b"\n"


def _one(comparison: Comparison, curves: Sequence[Curve]) -> dict[str, object]:
    return {
        "base": _side(comparison.base),
        "new": _side(comparison.new),
        "outcome": str(comparison.outcome),
        "reasons": comparison.reasons,
        "differences": comparison.differences,
        "missing": comparison.missing,
        "faster_by_failing": comparison.faster_by_failing,
        "only_there": [
            {"kind": o.kind, "place": o.place, "side": o.side, "name": o.name, "change": o.change, "rest": o.rest}
            for o in comparison.odd
        ],
        "rows": [_row(row) for row in comparison.rows],
        "errors": [_errors(row) for row in comparison.errors],
        "curves": [_curve(curve) for curve in curves],
    }


def _side(side: Side) -> dict[str, object]:
    return {
        "label": side.label,
        "runs": [
            {
                "run_id": run.run_id,
                "started_at": run.started_at,
                "commit": run.commit,
                "labels": dict(run.labels),
                "result": run.result,
                "validity": run.validity,
                "unfit": unfit_of(run),
                "planned_rate": _number(run.planned_rate),
                "achieved_rate": _number(run.achieved_rate),
            }
            for run in side.runs
        ],
    }


def _row(row: Row) -> dict[str, object]:
    of = row.shift
    return {
        "name": row.name,
        "kind": row.kind,
        "percentile": row.percentile,
        "region": row.region,
        "agent": row.agent,
        "base_ms": _number(row.base_ms),
        "new_ms": _number(row.new_ms),
        "base_count": row.base_count,
        "new_count": row.new_count,
        "change": None if of is None else _number(of.change),
        "low": None if of is None else _number(of.low),
        "high": None if of is None else _number(of.high),
        "p": of.p if of is not None and of.is_known else None,
        "p_adjusted": row.p_adjusted if of is not None and of.is_known else None,
        "known_from": None if of is None else str(of.basis),
        "runs_differ": None if row.between is None else row.between.whole,
        "verdict": str(row.verdict),
        "why": row.why,
    }


def _errors(row: ErrorRow) -> dict[str, object]:
    of = row.shift
    return {
        "name": row.name,
        "kind": row.kind,
        "region": row.region,
        "base": of.base,
        "new": of.new,
        "change": of.change,
        "low": of.low,
        "high": of.high,
        "p": of.p,
        "p_adjusted": row.p_adjusted,
        "known_from": str(of.basis),
        "verdict": str(row.verdict),
    }


def _curve(curve: Curve) -> Mapping[str, object]:
    return {
        "name": curve.name,
        "is_known": curve.is_known,
        "quantiles": QUANTILES,
        "change": [_number(value) for value in curve.change],
        "low": [_number(value) for value in curve.low],
        "high": [_number(value) for value in curve.high],
    }


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
