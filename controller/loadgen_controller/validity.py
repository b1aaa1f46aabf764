"""Was the generator fit to measure? Judged from what each agent said of each of its seconds.

Only the generator's own faults count; a target that collapses is a failed run,
not an invalid one. An agent's seconds weigh as much as its share of the load,
since that is how much of the merged histograms they spoil.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from loadgen.measure.merge import Fitness, Merge
from loadgen.units import format_ratio
from loadgen_controller.assign import Assignment

__all__ = ["INVALID_ABOVE", "SUSPECT_ABOVE", "Validity", "judge_fitness"]

SUSPECT_ABOVE = 0.05
INVALID_ABOVE = 0.20
"""Of the seconds. Settings: with them a wrong p99 is caught and an ordinary laptop is spared (DESIGN 6.4)."""
SUSPECT_FROM = 2
INVALID_FROM = 3
"""Unfit intervals of one agent: fewer are chance, however short the run. In one of 3 s a single one is 33 %."""


@dataclass(frozen=True, slots=True)
class Validity:
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    unfit_share: float = 0.0
    reasons: tuple[str, ...] = ()
    """What was wrong, worst agent first; may name an agent although the run is valid."""


def judge_fitness(assignment: Assignment, merge: Merge) -> Validity:
    """The share of unfit seconds, weighted by each agent's share of the load."""
    found = [
        (agent, fitness)
        for agent in assignment.agents
        if (fitness := merge.fitness.get(agent)) is not None and fitness.intervals
    ]
    weight = sum(assignment.share(agent) for agent, _ in found)
    unfit = sum(assignment.share(agent) * fitness.unfit / fitness.intervals for agent, fitness in found)
    share = unfit / weight if weight else 0.0
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    most = max((fitness.unfit for _, fitness in found), default=0)
    if share > SUSPECT_ABOVE and most >= SUSPECT_FROM:
        verdict = "invalid" if share > INVALID_ABOVE and most >= INVALID_FROM else "suspect"
    # One unfit agent among very many spoils little, yet whoever reads its region should know.
    worst = sorted(found, key=lambda pair: -pair[1].unfit / pair[1].intervals)
    reasons = tuple(
        f"agent {agent} was unfit to measure in {fitness.unfit} of {fitness.intervals} intervals"
        f" ({format_ratio(fitness.unfit / fitness.intervals)}): {_most_frequent(fitness)}"
        for agent, fitness in worst[:5]
        if fitness.unfit / fitness.intervals > SUSPECT_ABOVE
    )
    if verdict != "valid" and not reasons:
        reasons = (f"the generator was unfit in {format_ratio(share)} of the time",)
    return Validity(verdict, share, reasons)


def _most_frequent(fitness: Fitness) -> str:
    """The most frequent kind of reason, told by its first occurrence: the figures in the texts differ."""
    kinds: dict[str, tuple[int, str]] = {}
    for text, count in fitness.reasons.items():
        kind = re.sub(r"[\d.]+\s*\S*s\b", "#", text)
        seen, first = kinds.get(kind, (0, text))
        kinds[kind] = (seen + count, first)
    return max(kinds.values(), default=(0, "no reason given"))[1]
