"""Promises, notes and losses as lines of text and as JSON, for all subcommands of `loadgen slo`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from loadgen.errors import Fault
from loadgen.programme.promises.checks import standard_factors
from loadgen.programme.promises.objectives import Method, Objective, RollingWindow, ThresholdIndicator
from loadgen.programme.promises.slo_set import Loss, Reading, SloSet
from loadgen_controller.console_output import echo, echo_json

__all__ = [
    "composite_lines",
    "document_of",
    "explain",
    "print_document",
    "print_explained",
    "print_losses",
    "print_notes",
    "sentence",
    "short",
    "written_document",
]


def sentence(one: Objective) -> str:
    """Return a promise as one line: name, target, window and method."""
    limit = f" within {one.threshold.text}" if one.threshold is not None else ""
    match one.method:
        case Method.OCCURRENCES:
            what = f"{_percent(one.target)} of requests are good{limit}"
        case Method.TIMESLICES:
            share = f" with {_percent(one.slice_target)} good requests" if one.slice_target is not None else ""
            if isinstance(one.indicator, ThresholdIndicator):
                share = f" {one.indicator.op} {one.indicator.value.normalize():f}"
            what = f"{_percent(one.target)} of slices of {RollingWindow(one.slice_s).text} are good{share}{limit}"
        case Method.RATIO_TIMESLICES:
            what = (
                f"the mean good share of slices of {RollingWindow(one.slice_s).text} is {_percent(one.target)}{limit}"
            )
    over = f"any {one.window.text}"
    if not isinstance(one.window, RollingWindow):
        over = f"each {one.window.text} by the calendar of {one.window.zone}"
    owner = f", owner {one.owner}" if one.owner else ""
    state = " (not judged)" if one.why_not_judged else ""
    return f"{one.name}: {what}, over {over} ({one.method}){owner}{state}"


def explain(one: Objective) -> Iterator[str]:
    """Yield the arithmetic of a promise as lines."""
    if one.why_not_judged:
        yield f"not judged: {one.why_not_judged}"
        return
    unit = "requests" if one.method is Method.OCCURRENCES else "slices"
    allowed = (one.budget * 1_000_000).normalize()
    yield f"error budget 1 - {one.target.normalize():f} = {_percent(one.budget)}: {allowed:f} of 1,000,000 {unit}"
    yield f"burn = bad share / {one.budget.normalize():f}; a full outage burns {short(one.largest_burn)}"
    if one.alert_set == "standard":
        factors = standard_factors(one.window.nominal_s)
        windows = ("1 h", "6 h", "1 d", "3 d")[: len(factors)]
        if factors:
            yield f"standard alerts fire at a burn of {' / '.join(map(short, factors))} ({', '.join(windows)})"
        else:
            yield "a window this short has no standard alerts"
    for alert in one.alerts:
        second = f" and {RollingWindow(alert.short_s).text}" if alert.short_s else ""
        window = f"{RollingWindow(alert.long_s).text}{second}"
        yield f"alert {alert.name} ({alert.severity}) fires at a burn of {short(alert.factor)} over {window}"


def composite_lines(slos: SloSet) -> Iterator[str]:
    """Yield each composite as a line: the sum of its parts, and its target."""
    known = {one.name: one for one in slos.objectives}
    for one in slos.composites:
        if (members := one.members(known)) is not None:
            yield f"composite {one.name}: {one.formula()}; target {float(one.target(members)) * 100:.6g} %"


def print_explained(objectives: Iterable[Objective]) -> None:
    """Print each promise with its arithmetic on stderr: stdout may have the written file."""
    for one in objectives:
        echo(sentence(one), err=True)
        for line in explain(one):
            echo(f"  {line}", err=True)


def print_notes(notes: Iterable[Fault]) -> None:
    """Print each note with its place and what to do."""
    for note in notes:
        echo(f"note: {note.where}: {note.message}" + (f"; {note.hint}" if note.hint else ""), err=True)


def print_losses(losses: Iterable[Loss]) -> None:
    """Print what a written file cannot say, one line each, on stderr."""
    for loss in losses:
        echo(f"lost: {loss}", err=True)


def document_of(
    reading: Reading, faults: Sequence[Fault], notes: Sequence[Fault], losses: Sequence[Loss] = ()
) -> dict[str, Any]:
    """Return the result of a subcommand as JSON values."""
    known = {one.name: one for one in reading.slos.objectives}
    return {
        "objectives": [_objective(one, reading) for one in reading.slos.objectives],
        "composites": [one.as_document(known) for one in reading.slos.composites],
        "faults": [_fault(one) for one in faults],
        "notes": [_fault(one) for one in notes],
        "losses": [
            {"objective": one.objective, "field": one.field, "reason": one.reason, "effect": one.effect}
            for one in losses
        ],
    }


def written_document(
    reading: Reading, file: Path | None, text: str, losses: Sequence[Loss] = (), *, is_explained: bool = False
) -> dict[str, Any]:
    """Return the result of a subcommand that writes a file: as `document_of`, with the name of the file, or else its
    content. is_explained: each objective also has the lines of its arithmetic, as `explained`.
    """
    document = document_of(reading, (), reading.notes, losses)
    if is_explained:
        rows = zip(document["objectives"], reading.slos.objectives, strict=True)
        document["objectives"] = [row | {"explained": list(explain(one))} for row, one in rows]
    return {**document, "file": None if file is None else str(file), "content": text if file is None else None}


def print_document(document: dict[str, Any]) -> None:
    """Print JSON to stdout."""
    echo_json(json.dumps(document, indent=2, ensure_ascii=False))


def _objective(one: Objective, reading: Reading) -> dict[str, Any]:
    place = reading.places.get(one.name)
    return {
        "name": one.name,
        "service": one.service,
        "owner": one.owner,
        "journey": one.journey,
        "target": float(one.target),
        "method": str(one.method),
        "window": one.window.text,
        "is_rolling": isinstance(one.window, RollingWindow),
        "threshold": one.threshold.text if one.threshold is not None else None,
        "slice_s": one.slice_s or None,
        "sources": list(one.sources),
        "alerts": [one.alert_set] * bool(one.alert_set) + [alert.name for alert in one.alerts],
        "not_judged": one.why_not_judged or None,
        "file": place.file if place is not None else None,
        "line": place.line if place is not None else None,
    }


def _fault(one: Fault) -> dict[str, Any]:
    return {"file": one.file, "line": one.line or None, "message": one.message, "hint": one.hint}


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"


def short(value: Decimal) -> str:
    """Return a number with at most four digits, such as a burn: "13.44"."""
    return f"{Decimal(f'{value:.4g}').normalize():f}"
