"""A run's folder held against a store: how it stands there, for its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import IncompleteError
from loadgen.history.gate.baseline_level import LOOKED_AT
from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import Standings, standings
from loadgen.history.run_vs_history.text import document_of, sentences
from loadgen.history.store.baseline_run import Accepted, Key
from loadgen.history.store.extract import accepted_of
from loadgen.history.store.keys import key_of
from loadgen.history.store.store import Store
from loadgen.report.notebook import Run
from loadgen_controller.commands.gating.verdict import begins_of
from loadgen_controller.past_runs.notes import read_notes

__all__ = ["InHistory", "stands"]


@dataclass(frozen=True, slots=True)
class InHistory:
    """What a report says of it. gate: the command that judges the run."""

    found: Standings
    gate: str

    @property
    def sentences(self) -> tuple[str, ...]:
        return sentences(self.found, self.gate)

    def document(self) -> dict[str, object]:
        return document_of(self.found, self.gate)

    def section(self) -> str:
        return section(self.found, self.gate)


def stands(run: Run, store: Store, gate: str, tell: Callable[[str], object]) -> InHistory | None:
    """Hold the run against the store's runs of its key. None, and told why, where there is nothing to hold it against.

    Raises:
        StorageError: the store or the run's folder cannot be read.
    """
    key = _key(run)
    if key is None:
        return None
    # Ids begin with their time, but a report may be of an old run: then those before it are further back.
    history = store.runs(key, newest=LOOKED_AT + 1)
    if not history:
        tell(store.why_none(key))
        return None
    try:
        new = accepted_of(run)
    except IncompleteError as exc:
        tell(exc.message)
        return None
    if len(history) > LOOKED_AT and _before(history, new) < LOOKED_AT:
        history = store.runs(key)
    new = replace(new, labels=read_notes(run.path).over(new.labels))
    references = [(one, store.get(one.run_ids, is_whole=False)) for one in store.references(key)]
    for trouble in store.troubles:
        tell(f"left out: {trouble}")
    found = standings(history, new, references, begins=begins_of(store, key.hash()))
    if found is None:
        tell(f"{store} has fewer than two accepted runs from before {run.id} to hold it against")
    return None if found is None else InHistory(found, gate)


def _key(run: Run) -> Key | None:
    """None of a run of another loadgen, whose plan is not understood."""
    try:
        return key_of(run.manifest, msgspec.convert(run.manifest.get("spec"), PlanSpec))
    except msgspec.ValidationError:
        return None


def _before(history: list[Accepted], new: Accepted) -> int:
    return sum(one.started_at < new.started_at and one.run_id != new.run_id for one in history)
