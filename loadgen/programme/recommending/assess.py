"""Puts the rows of all journeys together, and recommends. Pure.

found = assess(known, Rules(), now)
found.recommendation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from loadgen.history.gate.aa_test_health import Health
from loadgen.history.store.study_records import StudyRecord
from loadgen.programme.recommending.checklist import CHECKLIST, Check, checklist_row
from loadgen.programme.recommending.facts import JourneyFacts, Rules, RunFact
from loadgen.programme.recommending.performance import MeanChange, NoSlowDown, SlowDown, budget_row, drift_row
from loadgen.programme.recommending.promise import PromiseFact, promise_row
from loadgen.programme.recommending.recommendation import (
    AGES,
    KINDS,
    Evidence,
    Missing,
    Piece,
    Policy,
    Recommendation,
    recommend,
)
from loadgen.programme.recommending.rows import (
    GateFact,
    Row,
    gate_row,
    headroom_row,
    health_row,
    objectives_row,
    validity_row,
)

__all__ = ["READABLE", "Known", "assess"]

READABLE: Final = "readable files"
"""The kind of the row that says which files could not be read."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a release and the journeys in question."""

    release: str
    journeys: tuple[str, ...]
    runs: tuple[RunFact, ...]
    """The runs of the release, oldest first."""
    verdicts: tuple[GateFact, ...] = ()
    capacities: tuple[StudyRecord, ...] = ()
    """Oldest first."""
    health: Mapping[str, Health] = field(default_factory=dict)
    """The gate's health by journey."""
    slow_downs: Mapping[str, SlowDown | NoSlowDown] = field(default_factory=dict)
    """Against the pinned release, by journey; or why there is none."""
    facts: Mapping[str, JourneyFacts] = field(default_factory=dict)
    """What the programme's file says, by journey."""
    promises: Mapping[str, tuple[PromiseFact, ...]] = field(default_factory=dict)
    """What the ledger says about the promises of a journey."""
    override: str = ""
    """A sentence about the override that is in force for this release and these journeys; "" without one."""
    checks: tuple[Check, ...] = ()
    """The checklist of the launch; without items, there is no row."""
    authors: frozenset[str] = frozenset()
    """The names in the label `author` of the release's accepted runs."""
    changes: Mapping[str, MeanChange] = field(default_factory=dict)
    """The change of the mean response time against the pinned release, by journey; without those that are unknown."""
    troubles: tuple[str, ...] = ()
    """Files that could not be read, as sentences. What they have could be a NO-GO, so there is no GO."""


def assess(known: Known, rules: Rules, now: datetime) -> Recommendation:
    """Return the recommendation for a release.

    Raises:
        ValueError: no journey is named.
    """
    rows: list[Evidence] = []
    missing: list[Missing] = []
    required: list[Piece] = []
    informing: list[Evidence] = []
    for journey in known.journeys:
        facts = known.facts.get(journey, JourneyFacts())
        for kind in KINDS:
            if kind == "promise" and not facts.is_live:
                continue
            row, commands = _row(kind, journey, known, facts, rules, now)
            rows.append(row)
            missing += commands
            required.append(Piece(kind, journey))
        found = drift_row(journey, known.release, known.slow_downs.get(journey, _NOTHING), rules)
        informing += [found] if found is not None else []
    if known.checks:
        row, commands = checklist_row(known.release, known.checks)
        rows.append(row)
        missing += commands
        required.append(Piece(CHECKLIST))
    if known.troubles:
        required.append(Piece(READABLE))
        more = f" and {len(known.troubles) - 1} more" if len(known.troubles) > 1 else ""
        rows.append(Evidence(READABLE, "", "open", f"{known.troubles[0]}{more}", release=known.release))
    policy = Policy(known.release, tuple(required), {**AGES, **rules.ages})
    is_valid = any(run.condition in ("valid", "suspect") for one in known.journeys for run in _with(known.runs, one))
    return recommend((*rows, *informing), policy, now, missing=missing, is_valid=is_valid)


def _row(kind: str, journey: str, known: Known, facts: JourneyFacts, rules: Rules, now: datetime) -> Row:
    runs, release = _with(known.runs, journey), known.release
    match kind:
        case "validity":
            return validity_row(journey, release, runs, rules)
        case "objectives":
            return objectives_row(journey, release, runs, rules)
        case "gate":
            return gate_row(journey, release, runs, known.verdicts, rules)
        case "promise":
            return promise_row(journey, known.promises.get(journey, ()), rules, known.override, now)
        case "budget":
            return budget_row(journey, release, runs, known.slow_downs.get(journey, _NOTHING), rules)
        case "headroom":
            return headroom_row(journey, release, facts.plan, known.capacities, facts.forecast, rules, now)
        case _:
            return health_row(journey, known.health.get(journey, _NO_HEALTH), runs, now)


_NOTHING = NoSlowDown("nothing to compare with")
_NO_HEALTH = Health(0, 0, 0, 0, 0.0, 1.0, ())


def _with(runs: Sequence[RunFact], journey: str) -> list[RunFact]:
    """Return the runs with a journey. A run that was killed before its journeys were known counts for each."""
    return [run for run in runs if journey in run.journeys or not run.journeys]
