"""Runs against a store: what they are compared with, the verdict noted, and a release accepted in spite of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from loadgen.errors import UsageError
from loadgen.history.gate.baseline_level import LOOKED_AT
from loadgen.history.gate.decision import Begin, Decision, Settings, Verdict
from loadgen.history.gate.gate_verdict import decide
from loadgen.history.gate.test_families import HISTORY
from loadgen.history.store.baseline_run import ALL, Accepted, Event
from loadgen.history.store.store import Store

__all__ = ["LEVEL", "VERDICT", "accept", "begins_of", "judge_in", "note_verdict"]

VERDICT = "verdict"
LEVEL = "new level"
"""Kinds of events."""


def judge_in(store: Store, new: Sequence[Accepted], settings: Settings, *, against: str = "") -> Decision:
    """Judge runs of one key against what the store has of it.

    Args:
        against: only this reference; empty: all of the key.
    Raises:
        UsageError: the runs are of several keys, or there is no such reference.
        StorageError: the store cannot be read.
    """
    new = sorted(new, key=lambda run: (run.started_at, run.run_id))
    key = new[0].key
    for run in new[1:]:
        if run.key != key:
            raise UsageError(
                f"{new[0].run_id} and {run.run_id} cannot be judged together: {'; '.join(key.differences(run.key))}",
                hint="judge runs of one plan, target and placement",
            )
    # Figures of regions and agents are read where the new runs have some to hold against them.
    is_whole = any(one.region != ALL for one in new[0].figures)
    history = store.runs(key, newest=LOOKED_AT + len(new), is_whole=is_whole)
    found = store.references(key)
    if against and against not in {one.name for one in found}:
        names = ", ".join(one.name for one in found)
        raise UsageError(
            f'--against: no reference "{against}" is pinned for these runs',
            hint=f"there are {names}" if names else "loadgen history pin RUN... --name NAME pins one",
        )
    references = [(one, store.get(one.run_ids, is_whole=False)) for one in found if not against or one.name == against]
    decision = decide(history, new, references, settings, begins=begins_of(store, key.hash()), wanted=against)
    if not history and (why := store.why_none(key)) and decision.verdict is not Verdict.INVALID:
        decision = replace(decision, reasons=(why, *decision.reasons[1:]))
    troubles = tuple(f"left out of the comparison: {text}" for text in store.troubles)
    return replace(decision, warnings=(*decision.warnings, *troubles))


def note_verdict(store: Store, decision: Decision, by: str, *, kind: str = VERDICT, because: str = "") -> None:
    """Keep who was told what, and from which runs."""
    details = {
        "outcome": str(decision.verdict),
        "key": decision.new[0].key.hash(),
        "names": json.dumps(sorted(decision.failed_names)),
        "reasons": "; ".join(decision.reasons),
        "percentile": decision.settings.percentile,
        "detectable": f"{decision.detectable:.4g}",
        "history": str(sum(len(family.run_ids) for family in decision.families if family.against == HISTORY)),
    }
    store.note(Event(kind, "", by, tuple(run.run_id for run in decision.new), because, details))


def accept(store: Store, new: Sequence[Accepted], settings: Settings, because: str, by: str) -> tuple[Decision, int]:
    """Take runs into the history whatever the gate says; what it said is kept with the reason.

    Names that failed, or were suspect, have a new level from the first of these runs on.

    Returns:
        What the gate says, and how many of the runs were not in the history before.
    Raises:
        InvalidError, IncompleteError: a run was not measured properly. Nobody can accept that.
    """
    decision = judge_in(store, new, settings)
    added = sum(store.add(run, because=because, by=by) for run in decision.new)
    kind = LEVEL if decision.failed_names else VERDICT
    note_verdict(store, decision, by, kind=kind, because=because)
    return decision, added


def begins_of(store: Store, key: str) -> list[Begin]:
    """Of an event whose runs were all struck since, nothing is left."""
    events = [one for one in store.events(LEVEL) if one.details.get("key") == key]
    struck = store.struck() if events else {}
    left = [(one, [run_id for run_id in one.run_ids if run_id not in struck]) for one in events]
    return [Begin(min(run_ids), one.at, frozenset(_names(one))) for one, run_ids in left if run_ids]


def _names(event: Event) -> list[str]:
    """Of an event that somebody else has written there may be none."""
    try:
        names = json.loads(event.details.get("names", "[]"))
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
