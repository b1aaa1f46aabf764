"""Reads the promises of journeys from the ledger, for `loadgen decide`.

A promise is judged at the end of its counts: how old they are is for the row of the promise to say. `loadgen slo
status` has a shorter limit, since it is for hourly pulls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.estimates.sentences import is_left_open, undecided_text
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.evidence.slices_entry import slices_entry, used_revisions
from loadgen.programme.ledger.exclusions import Exclusion, exclusions
from loadgen.programme.ledger.ledger import Counts, Ledger, Reading
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.recommending.promise import PromiseFact
from loadgen.programme.status import PromiseState, state_of, window_s
from loadgen.units import quantity

__all__ = ["LedgerFacts", "Volume", "promises_of"]

_WEEK_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Volume:
    """The requests of a journey in the last 7 days of its counts.

    bad: those that failed; None if the promise counts slow ones as bad, too. slo, id: whose counts, and their evidence.
    """

    requests: int
    bad: int | None
    missing_s: float
    slo: str
    id: str


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What the ledger says about journeys. All mappings are by journey."""

    promises: Mapping[str, tuple[PromiseFact, ...]] = field(default_factory=dict)
    states: Mapping[str, tuple[PromiseState, ...]] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    """Without a journey that has no counts."""
    entries: tuple[EvidenceEntry, ...] = ()
    troubles: tuple[str, ...] = ()
    """Files of the ledger, and exclusions, that could not be read: sentences."""


def promises_of(
    place: Place, objectives: Iterable[Objective], journeys: Sequence[str], now: datetime, as_of: str = ""
) -> LedgerFacts:
    """Return the state of each promise of these journeys.

    Raises:
        StorageError, CloudError: the place cannot be listed.
        UsageError: pyarrow is not installed.
    """
    ours = {one: tuple(of for of in objectives if of.journey == one) for one in journeys}
    every = [of for some in ours.values() for of in some]
    if not every:
        return LedgerFacts({one: () for one in journeys})
    at = int(now.timestamp())
    ledger = Ledger(place)
    reading = ledger.read(at - max(window_s(every), 2 * _WEEK_S), at, as_of, [one.name for one in every])
    excluded, troubles = exclusions(place, as_of)
    ahead = "" if as_of else ledger.ahead(at)
    states = {one: tuple(_state(of, reading, excluded, at) for of in some) for one, some in ours.items()}
    entries: dict[str, EvidenceEntry] = {}
    promises: dict[str, tuple[PromiseFact, ...]] = {}
    volumes: dict[str, Volume] = {}
    for journey, some in states.items():
        made = []
        for state in some:
            counts = reading.by_slo.get(state.objective.name)
            used = used_revisions(state.objective.name, reading, state.start, state.end) if state.end else ()
            entry = slices_entry(state, used, as_of)
            entries[entry.id] = entry
            made.append(_fact(state, counts, entry, used))
            volume = _volume(state.objective, counts, entry.id)
            if volume is not None and volume.requests >= getattr(volumes.get(journey), "requests", 0):
                volumes[journey] = volume
        promises[journey] = tuple(made)
    found = tuple(one_line(text, 300) for text in filter(None, (ahead, *reading.unreadable, *troubles)))
    return LedgerFacts(promises, states, volumes, tuple(entries.values()), found)


def _state(objective: Objective, reading: Reading, excluded: Sequence[Exclusion], at: int) -> PromiseState:
    counts = reading.by_slo.get(objective.name)
    if counts is not None and len(counts):
        at = min(at, int((counts.start + counts.width).max()))
    return state_of(objective, counts, excluded, at)


def _fact(state: PromiseState, counts: Counts | None, entry: EvidenceEntry, used: Sequence[str]) -> PromiseFact:
    name = one_line(state.objective.name, 80)
    end = None
    if counts is not None and len(counts):
        end = datetime.fromtimestamp(int((counts.start + counts.width).max()), UTC)
    sources = _sources(counts, used)
    if state.judgement is None or state.budget is None:
        says = f"{name}: {state.word}{f': {one_line(state.why, 200)}' if state.why else ''}"
        return PromiseFact(state.objective.name, state.word, says, None, end, "", sources)
    target = f"{(state.objective.target * 100).normalize():f} %"
    says = f"{name}: {state.word}: {state.figure} against {target} over {state.objective.window.text}"
    says += f", error budget left {state.budget_text}"
    if why := undecided_text(state):
        says += f"; {why}"
    if state.excluded:
        says += f"; {state.with_excluded} if {quantity(state.excluded, 'excluded slice')} counted, too"
    if state.fires:
        says += "; its error budget burns"
    # GO needs the least that may be left, and nothing less than the target settles the rest.
    left = None if state.budget_left is None else state.budget_left[0]
    return PromiseFact(
        state.objective.name,
        state.word,
        says,
        left,
        end,
        entry.id,
        sources,
        entry.formula,
        is_vague=is_left_open(state),
    )


def _sources(counts: Counts | None, used: Sequence[str]) -> int:
    """Return from how many sources the counts come at the same time; 1 if slices do not overlap."""
    if counts is None or len(counts) < 2 or not (counts.start[1:] < counts.start[:-1] + counts.width[:-1]).any():
        return 1
    return max(2, len({one.split("/", 1)[1].rsplit("-", 1)[0] for one in used}))


def _volume(objective: Objective, counts: Counts | None, id_: str) -> Volume | None:
    if counts is None or not len(counts) or _sources(counts, ()) > 1:
        return None
    end = int((counts.start + counts.width).max())
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = counts.start >= end - _WEEK_S
    total, good = int(counts.total[mask].sum()), int(counts.good[mask].sum())
    covered = int(counts.width[mask].sum() - counts.missing_s[mask].sum())
    bad = None if objective.threshold is not None else total - good
    return Volume(total, bad, max(float(_WEEK_S - covered), 0.0), objective.name, id_)
