"""Compares a run with its history, for its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import IncompleteError
from loadgen.history.gate.baseline_selection import LOOKED_AT
from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import Standings, standings
from loadgen.history.run_vs_history.text import document_of, sentences
from loadgen.history.store.comparability_key import key_of
from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted, Key
from loadgen.report.run_as_dataframes import Run
from loadgen_controller.commands.gating.judge_against_history import begins_of
from loadgen_controller.past_runs.user_notes import read_notes

__all__ = ["InHistory", "compare_with_history"]


@dataclass(frozen=True, slots=True)
class InHistory:
    """The comparison of a run with its history, in the forms that reports need. gate: the command that judges it."""

    found: Standings
    gate: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the comparison as sentences, for Markdown."""
        return sentences(self.found, self.gate)

    def document(self) -> dict[str, object]:
        """Return the comparison as JSON."""
        return document_of(self.found, self.gate)

    def section(self) -> str:
        """Return the comparison as a section of an HTML page."""
        return section(self.found, self.gate)


def compare_with_history(run: Run, store: Store, gate: str, note: Callable[[str], object]) -> InHistory | None:
    """Compare a run with the accepted runs of its key: the same plan, target and placement.

    Return None if that is impossible.

    gate: the command that judges the run, for the report. note: is called with the reason for None, and with files
    of the store that could not be read.

    Raises:
        StorageError: the store or the run's folder cannot be read.
    """
    key = _key(run)
    if key is None:
        return None
    # The newest accepted runs are enough, except for the report of an old run: its predecessors are further back.
    history = store.runs(key, newest=LOOKED_AT + 1)
    if not history:
        note(store.why_none(key))
        return None
    try:
        new = accepted_of(run)
    except IncompleteError as exc:
        note(exc.message)
        return None
    if len(history) > LOOKED_AT and _before(history, new) < LOOKED_AT:
        history = store.runs(key)
    new = replace(new, labels=read_notes(run.path).over(new.labels))
    references = [(one, store.get(one.run_ids, is_whole=False)) for one in store.references(key)]
    for trouble in store.unreadable:
        note(f"left out: {trouble}")
    found = standings(history, new, references, begins=begins_of(store, key.hash()))
    if found is None:
        note(f"{store} has fewer than two accepted runs from before {run.id}")
    return None if found is None else InHistory(found, gate)


def _key(run: Run) -> Key | None:
    """Return the key of a run; None if its plan was written by an incompatible version of loadgen."""
    try:
        clock = "" if run.summary is None else run.summary.clock.in_force
        return key_of(run.manifest, msgspec.convert(run.manifest.get("spec"), PlanSpec), clock)
    except msgspec.ValidationError:
        return None


def _before(history: list[Accepted], new: Accepted) -> int:
    return sum(one.started_at < new.started_at and one.run_id != new.run_id for one in history)
