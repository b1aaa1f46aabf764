"""The evidence for the state of a promise: which slices of the ledger it was computed from, and how. Pure.

    slices_entry(state, used_revisions("checkout-fast", reading), as_of)

The weekly page and `loadgen decide` use the same maker, so the same slices of the same revisions have the same id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import numpy as np

from loadgen.analysis.attainment.shown import budget_text
from loadgen.programme.evidence.entry import EvidenceEntry, evidence_id
from loadgen.programme.ledger.ledger import Reading
from loadgen.programme.promises.objectives import Objective, Query
from loadgen.programme.status import PromiseState

__all__ = ["inputs_of_slices", "slices_entry", "used_revisions"]

_NOT_IN_ID: Final = "as_of"
"""When somebody asked changes nothing about the slices: the revisions fix them."""


def slices_entry(state: PromiseState, revisions: Iterable[str], as_of: str) -> EvidenceEntry:
    """Return the evidence for the state of a promise.

    Args:
        revisions: names of the revisions whose slices were used, such as "2026-07-20/prod-3"; see `used_revisions`.
        as_of: what was known then, RFC 3339; "" for everything that is known.
    """
    one, judged = state.objective, state.judgement
    names = tuple(sorted(set(revisions)))
    good, total = (None, None) if judged is None else (judged.observed.good, judged.observed.of)
    more = {
        "missing_s": "" if judged is None else f"{judged.missing_s:.12g}",
        "query": "; ".join(_query(query) for query in one.queries),
    }
    if judged is not None and judged.observed.is_estimate:
        more |= {"low": f"{judged.observed.low:.12g}", "high": f"{judged.observed.high:.12g}"}
    inputs = inputs_of_slices(one, state.start, state.end, as_of, good, total, more)
    content: dict[str, object] = {name: text for name, text in inputs.items() if name != _NOT_IN_ID}
    return EvidenceEntry(
        evidence_id("slices", content | {"revisions": list(names)}),
        "slices",
        _says(state),
        _formula(state),
        tuple(inputs.items()),
        names,
        see="loadgen slo status --explain",
    )


def inputs_of_slices(
    objective: Objective,
    start: float,
    end: float,
    as_of: str,
    good: float | None,
    total: float | None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the inputs by which `loadgen evidence` computes the counts of a time again.

    Args:
        start, end: Unix time, s; 0: unknown. good, total: in the units of the method; None: not judged.
        more: further inputs, which come before those of slices.
    """
    inputs = {
        "slo": objective.name,
        "from": _time(start),
        "to": _time(end),
        "as_of": as_of,
        "method": str(objective.method.value),
        "target": f"{objective.target.normalize():f}",
        "good": "" if good is None else f"{good:.12g}",
        "total": "" if total is None else f"{total:.12g}",
        **more,
    }
    inputs |= {"slice_s": str(objective.slice_s)} if objective.slice_s else {}
    if objective.slice_target is not None:
        inputs["slice_target"] = f"{objective.slice_target.normalize():f}"
    return inputs


def used_revisions(slo: str, reading: Reading, start: int = 0, end: int = 0) -> tuple[str, ...]:
    """Return the names of the revisions that the slices of a promise came from, sorted.

    start, end: only slices that begin in [start, end), Unix time in s; end 0: all slices.
    """
    counts = reading.by_slo.get(slo)
    if counts is None:
        return ()
    mask = (counts.start >= start) & (counts.start < end) if end else np.ones(len(counts), dtype=bool)
    return counts.revision_names(mask, [one.name for one in reading.revisions])


def _says(state: PromiseState) -> str:
    if state.judgement is None or state.budget is None:
        return f"{state.objective.name}: {state.word}: {state.why}"
    target = f"{(state.objective.target * 100).normalize():f} %"
    left = state.budget_text
    return f"{state.objective.name}: {state.word}: {state.figure} against {target}, error budget left {left}"


def _formula(state: PromiseState) -> str:
    judged, budget = state.judgement, state.budget
    if judged is None or budget is None:
        return ""
    unit = "requests" if state.objective.method == "Occurrences" else "slices"
    good, of = f"{judged.observed.good:.12g}", f"{judged.observed.of:.12g}"
    text = f"attainment = good / total = {good} / {of} {unit} = {state.attainment}"
    if state.interval:
        text += f" ({state.interval}, by the error of its counts)"
    if judged.missing_s and judged.lower is not None and judged.upper is not None:
        text += (
            f"; {judged.missing_s:g} s have no counts: at least {judged.lower:.6f} if all of their requests were bad,"
            f" at most {judged.upper:.6f} if all were good"
        )
    left = budget_text(budget.left)
    return f"{text}; budget left = 1 - bad / allowed = 1 - {budget.bad:.6g} / {budget.allowed:.6g} = {left}"


def _query(query: Query) -> str:
    return query.text or json.dumps(query.spec, sort_keys=True, ensure_ascii=False)


def _time(at: float) -> str:
    return "" if not at else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
