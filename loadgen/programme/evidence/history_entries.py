"""Evidence that a history has itself: verdicts of the gate, recommendations, studies and runs. Pure.

The weekly page may have an entry of the same id with other words; what counts is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from loadgen.history.store.stored_run import Accepted, Event
from loadgen.history.store.study_records import StudyRecord
from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.units import quantity

__all__ = ["gate_entry", "recommendation_entry", "reference_entry", "run_entry", "study_entry"]

_GATE_FORMULA: Final = (
    "each name of the new runs against the accepted runs before them, on the logarithm of the response time, by a"
    " t test whose level all names share (docs/gate.md)"
)
_RECOMMENDATION_FORMULA: Final = (
    "any NO-GO wins; GO needs every required piece, fresh and of this release; everything else is INCONCLUSIVE"
    " (docs/decide.md)"
)
_RUN_FORMULA: Final = "percentiles of all samples after the warm-up, from the merged histograms of all agents"
_RUN_ID: Final = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9._-]+")
_MOST: Final = 12
"""Journeys of a run, and rows of a recommendation, that become inputs."""


def gate_entry(id_: str, event: Event) -> EvidenceEntry:
    """Return the evidence of a verdict of the gate. id_: such as "G-88"."""
    details = event.details
    says = f"{_text(details.get('outcome'), 40) or 'no outcome'} for {quantity(len(event.run_ids), 'run')}"
    says += f": {_text(details['reasons'], 300)}" if details.get("reasons") else ""
    names = ("percentile", "detectable", "history", "names", "key", "reasons")
    inputs = [(name, _text(details.get(name), 1_000)) for name in names if details.get(name)]
    return EvidenceEntry(
        id_,
        "gate",
        says,
        _GATE_FORMULA,
        (("at", event.at), ("by", event.by), *_given(because=event.because), *inputs),
        run_ids=event.run_ids,
        see=f"loadgen gate {' '.join(event.run_ids)}" if event.run_ids else "",
    )


def recommendation_entry(event: Event, answers: Iterable[Event] = ()) -> EvidenceEntry:
    """Return the evidence of a recommendation. answers: its overrides and signatures, oldest first."""
    details = event.details
    id_, release = details.get("id", ""), _text(details.get("release"), 100)
    document = _document(details.get("document", ""))
    rows = [row for row in _list(document.get("evidence")) if isinstance(row, dict)]
    inputs = [_row(row) for row in rows[:_MOST]]
    inputs += [(one.kind, f"by {one.by} at {one.at}{_reason(one.because)}") for one in answers]
    journeys = ", ".join(_text(one, 80) for one in _list(_document(details.get("journeys", ""), [])))
    run_ids = dict.fromkeys(_runs_in(rows))
    return EvidenceEntry(
        id_,
        "recommendation",
        f"{_text(details.get('recommendation'), 20)} for {release} of {journeys or 'no journey'}",
        _RECOMMENDATION_FORMULA,
        (("at", event.at), ("by", event.by), *inputs),
        run_ids=tuple(run_ids),
        see=f"loadgen decide {journeys.replace(', ', ' ')} --release {release} --no-record" if journeys else "",
    )


def study_entry(record: StudyRecord) -> EvidenceEntry:
    """Return the evidence of a study of capacity, or of a sweep."""
    study = record.study
    facts = study.get("facts")
    inputs = [
        (_text(name, 60), _text(value, 400)) for name, value in (facts if isinstance(facts, dict) else {}).items()
    ]
    lines = [_text(line, 400) for line in _list(study.get("lines"))]
    return EvidenceEntry(
        record.id,
        "study",
        _text(study.get("headline"), 400) or f"{_text(record.kind, 60)} of {_text(study.get('title'), 200)}",
        "; ".join(lines[:_MOST]) or _text(record.kind, 60),
        (("at", record.at), ("by", record.by), *inputs),
        run_ids=tuple(str(one) for one in _list(study.get("run_ids"))),
        see=f"loadgen capacity show {record.id}",
    )


def run_entry(run: Accepted, struck: Event | None = None) -> EvidenceEntry:
    """Return the evidence of an accepted run. struck: why it no longer counts."""
    journeys = [
        (f"{figure.percentile} of {figure.name}", f"{_ms(figure.value_ms)} from {quantity(figure.count, 'sample')}")
        for figure in run.figures
        if figure.kind == "journey" and figure.percentile in ("p95", "p99") and figure.region == figure.agent == "*"
    ]
    errors = [
        (f"errors of {one.name}", f"{one.errors} of {one.total}")
        for one in run.errors
        if one.kind == "journey" and one.region == "*"
    ]
    objectives = [
        (f"objective of {one.journey or 'all journeys'}", f"{one.objective}: {one.verdict}")
        for one in run.objectives or ()
    ]
    labels = [(f"label {name}", value) for name, value in sorted(run.labels.items())]
    gone = () if struck is None else (("struck", f"by {struck.by} at {struck.at}{_reason(struck.because)}"),)
    conditions = (("target", run.key.target), ("rate", run.key.rate), ("key", run.key.hash()))
    rest = (*conditions, *labels, *objectives, *journeys[: 2 * _MOST], *errors[:_MOST])
    return EvidenceEntry(
        run.run_id,
        "runs",
        f"a run of {run.duration_s:g} s: {run.result}, {run.validity}" + (", struck" if struck is not None else ""),
        _RUN_FORMULA,
        (("at", run.started_at), *gone, *_given(commit=run.commit), *((name, _text(v, 400)) for name, v in rest)),
        run_ids=(run.run_id,),
        see=f"loadgen report {run.run_id}",
    )


def reference_entry(event: Event) -> EvidenceEntry:
    """Return the evidence of a pinned release: the runs that others are compared with."""
    name = event.details.get("name", "")
    return EvidenceEntry(
        name,
        "runs",
        f"the pinned release {_text(name, 100)}: {quantity(len(event.run_ids), 'run')}",
        "a later run is compared with the mean of these runs, on the logarithm of the response time",
        (("at", event.at), ("by", event.by), *_given(key=event.details.get("key", ""))),
        run_ids=event.run_ids,
        see="loadgen history",
    )


def _row(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return a row of a recommendation as the name and the value of an input."""
    journey, id_ = _text(row.get("journey"), 80), _text(row.get("id"), 200)
    name = _text(row.get("kind"), 40) + (f" of {journey}" if journey else "")
    return name, f"{_text(row.get('state'), 20)}: {_text(row.get('says'), 400)}" + (f" [{id_}]" if id_ else "")


def _runs_in(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows:
        if row.get("kind") in ("validity", "objectives"):
            yield from _RUN_ID.findall(_text(row.get("id"), 10_000))


def _ms(value: float) -> str:
    return f"{value:.4g} ms"


def _reason(because: str) -> str:
    return f", because {because}" if because else ""


def _given(**texts: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in texts.items() if text)


def _text(value: object, most: int) -> str:
    if value is None:
        return ""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), most)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _document(text: str, other: Any = None) -> Any:
    """Return the JSON value of a text; `other`, or {}, if it is not JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    wanted = dict if other is None else list
    return found if isinstance(found, wanted) else wanted()
