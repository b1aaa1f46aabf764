"""Judges runs against a store, stores verdicts, and accepts releases in spite of a verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from loadgen.errors import UsageError
from loadgen.history.gate.baseline_selection import LOOKED_AT
from loadgen.history.gate.evaluate_gate import decide
from loadgen.history.gate.gate_result import Begin, Decision, Settings, Verdict
from loadgen.history.gate.hypothesis_families import HISTORY
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import ALL, Accepted, Event

__all__ = ["LEVEL", "accept", "begins_of", "judge_in", "note_verdict"]

VERDICT = "verdict"
LEVEL = "new level"
"""Kinds of events in a store: a verdict, and an accepted change after which names have a new level."""


def judge_in(store: Store, new: Sequence[Accepted], settings: Settings, *, against: str = "") -> Decision:
    """Judge runs of one key against the accepted runs and references that the store has for this key.

    Args:
        against: compare only with this reference; empty: with all references of the key.
    Raises:
        UsageError: the runs have several keys, or the reference does not exist.
        StorageError: the store cannot be read.
    """
    new = sorted(new, key=lambda run: (run.started_at, run.run_id))
    key = new[0].key
    for run in new[1:]:
        if run.key != key:
            raise UsageError(
                f"{new[0].run_id} and {run.run_id} cannot be judged together: {'; '.join(key.differences(run.key))}",
                hint="judge only runs of the same plan, target and placement together",
            )
    # Figures of regions and agents are large: read them only if the new runs have some to compare with.
    is_whole = any(one.region != ALL for one in new[0].figures)
    history = store.runs(key, newest=LOOKED_AT + len(new), is_whole=is_whole)
    found = store.references(key)
    if against and against not in {one.name for one in found}:
        names = ", ".join(one.name for one in found)
        raise UsageError(
            f'--against: no reference "{against}" is pinned for these runs',
            hint=f"use one of {names}" if names else "pin one with: loadgen history pin RUN... --name NAME",
        )
    references = [(one, store.get(one.run_ids, is_whole=False)) for one in found if not against or one.name == against]
    decision = decide(history, new, references, settings, begins=begins_of(store, key.hash()), wanted=against)
    if not history and (why := store.why_none(key)) and decision.verdict is not Verdict.INVALID:
        decision = replace(decision, reasons=(why, *decision.reasons[1:]))
    unreadable = tuple(f"left out of the comparison: {text}" for text in store.unreadable)
    return replace(decision, warnings=(*decision.warnings, *unreadable))


def note_verdict(store: Store, decision: Decision, by: str, *, kind: str = VERDICT, because: str = "") -> None:
    """Store the verdict and its runs as an event in the history, with the person `by` who asked for it."""
    details = {
        "outcome": str(decision.verdict),
        "key": decision.new[0].key.hash(),
        "names": json.dumps(sorted(decision.failed_names)),
        "reasons": "; ".join(decision.reasons),
        "percentile": decision.settings.percentile,
        "detectable": f"{decision.detectable:.4g}",
        "history": str(sum(len(family.run_ids) for family in decision.families if family.against == HISTORY)),
    }
    releases = {run.labels.get("release", "") for run in decision.new}
    if len(releases) == 1 and (release := releases.pop()):
        details["release"] = release
    if because:
        details["changes"] = json.dumps(_changes(decision))
    store.note(Event(kind, "", by, tuple(run.run_id for run in decision.new), because, details))


def _changes(decision: Decision) -> dict[str, tuple[float, float, float]]:
    """Return what was accepted by journey: (change, low, high); 0.02 is 2 % slower. The performance budget needs it."""
    return {
        one.name: (round(one.change, 6), round(one.low, 6), round(one.high, 6))
        for one in decision.compared
        if " > " not in one.name and all(map(isfinite, (one.change, one.low, one.high)))
    }


def accept(store: Store, new: Sequence[Accepted], settings: Settings, because: str, by: str) -> tuple[Decision, int]:
    """Add runs to the history whatever the verdict, and store the verdict with the reason.

    For names that failed or were suspect, a new level begins with the first of these runs.

    Returns:
        The decision of the gate, and how many of the runs were not yet in the history.
    Raises:
        InvalidError, IncompleteError: a run is invalid or incomplete; such runs can never be accepted.
    """
    decision = judge_in(store, new, settings)
    added = sum(store.add(run, because=because, by=by) for run in decision.new)
    kind = LEVEL if decision.failed_names else VERDICT
    note_verdict(store, decision, by, kind=kind, because=because)
    return decision, added


def begins_of(store: Store, key: str) -> list[Begin]:
    """Return the runs with which new levels begin, from the events of accepted slow-downs of this key.

    Events with only struck runs are ignored.
    """
    events = [one for one in store.events(LEVEL) if one.details.get("key") == key]
    struck = store.struck() if events else {}
    left = [(one, [run_id for run_id in one.run_ids if run_id not in struck]) for one in events]
    return [Begin(min(run_ids), one.at, frozenset(_names(one))) for one, run_ids in left if run_ids]


def _names(event: Event) -> list[str]:
    """Return the names of journeys, steps and requests that an event lists.

    Return an empty list if they are missing or malformed, since other programs may write events.
    """
    try:
        names = json.loads(event.details.get("names", "[]"))
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
