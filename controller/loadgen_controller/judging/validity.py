"""Decides whether the load generator itself was able to measure, and gives advice if not. Pure.

Each agent reports for each interval whether it was fit to measure. Only problems of the generator count: a run whose
target collapses is failed, not invalid. An agent's intervals are weighted by its share of the load, since that is the
part of the merged histograms which they spoil.

`unfit_cause.py` decides why it was not fit and what to do. That is one sentence for each region, or for the machine if
all agents ran on one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from loadgen.measure.deltas.run_fitness import Fitness, spans_text
from loadgen.measure.merging.merge import Merge
from loadgen.units import format_ratio, quantity
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.unfit_cause import Diagnosis, Driver, diagnose

__all__ = [
    "INVALID_ABOVE",
    "INVALID_FROM",
    "SUSPECT_ABOVE",
    "SUSPECT_FROM",
    "Validity",
    "drivers_of",
    "judge_fitness",
]

SUSPECT_ABOVE = 0.05
INVALID_ABOVE = 0.20
"""Share of unfit time above which a run is suspect or invalid. Chosen: they catch a wrong p99 and spare a laptop."""
SUSPECT_FROM = 2
INVALID_FROM = 3
"""Unfit intervals that one agent must have for it. Fewer may be chance: in a run of 3 s, one interval is 33 %."""
_NAMED = 5
"""Agents that get a reason of their own, worst first."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the generator was able to measure, with reasons and advice."""

    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    unfit_share: float = 0.0
    """Share of the time in which it was unfit to measure, 0 to 1, weighted by the agents' shares of the load."""
    reasons: tuple[str, ...] = ()
    """First a sentence for each cause, with its advice; then the figures of each unfit agent, the worst one first.

    A valid run may have reasons, too.
    """
    advice: tuple[str, ...] = ()
    """The advice alone, one for each cause."""


def judge_fitness(
    assignment: Assignment, merge: Merge, planned_per_s: float | None = None, *, on_one_machine: bool = False
) -> Validity:
    """Judge whether the generator was able to measure, from the unfit time of all agents.

    Args:
        planned_per_s: the highest rate of the plan for the whole fleet, iterations/s; None if no load has a rate.
        on_one_machine: all agents ran on the controller's machine.
    """
    found = [one for agent in assignment.agents for one in drivers_of(agent, assignment, merge)]
    weight = sum(agent.share for agent in found)
    unfit = sum(agent.share * agent.unfit_share for agent in found)
    share = unfit / weight if weight else 0.0
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    most = max((agent.fitness.unfit for agent in found), default=0)
    if share > SUSPECT_ABOVE and most >= SUSPECT_FROM:
        verdict = "invalid" if share > INVALID_ABOVE and most >= INVALID_FROM else "suspect"
    # One unfit agent among very many spoils little of the run, but its own region's figures may be wrong.
    worst = sorted((a for a in found if a.unfit_share > SUSPECT_ABOVE), key=lambda a: -a.unfit_share)[:_NAMED]
    causes = list(_diagnoses(worst, found, planned_per_s, on_one_machine))
    so = "times cannot be judged" if verdict == "invalid" else "times may be wrong"
    reasons = [f"{one.what}, so {so}; {one.advice}" for one in causes] + [_in_figures(agent) for agent in worst]
    if verdict != "valid" and not reasons:
        reasons = [f"the generator was unfit in {format_ratio(share)} of the time"]
    return Validity(verdict, share, tuple(reasons), tuple(dict.fromkeys(one.advice for one in causes)))


def _diagnoses(
    worst: Sequence[Driver], found: Sequence[Driver], planned_per_s: float | None, on_one_machine: bool
) -> Iterator[Diagnosis]:
    """Yield the cause of the worst agent of each region; on one machine, each cause that is the machine's once."""
    regions: set[str] = set()
    is_named = False
    if on_one_machine:  # one sentence for all of them has the largest lag
        worst = sorted(worst, key=lambda agent: -agent.fitness.worst_lag_us)
    for agent in worst:
        if agent.region in regions or agent.fitness.unfit < SUSPECT_FROM:  # a single interval may be chance
            continue
        regions.add(agent.region)
        same = [a for a in found if a.region == agent.region]
        cause = diagnose(agent, same, planned_per_s, on_one_machine=on_one_machine)
        if on_one_machine and cause.cause == "starved":
            if is_named:
                continue
            is_named = True
        yield cause


def _in_figures(agent: Driver) -> str:
    """Return in how many intervals an agent was unfit, when, and an example of the most frequent reason."""
    fitness, spans = agent.fitness, spans_text(agent.fitness.unfit_spans_ns)
    when = format_ratio(agent.unfit_share) + (f", {spans}" if spans else "")
    of = quantity(fitness.intervals, "interval")
    return f"{agent.name} was unfit to measure in {fitness.unfit} of {of} ({when}): {_most_frequent(fitness)}"


def drivers_of(agent: str, assignment: Assignment, merge: Merge) -> list[Driver]:
    """Return what is judged for an agent: each of its workers, with an equal part of its share, or the agent itself.

    Return an empty list if it reported no interval.
    """
    region, share = assignment.region(agent), assignment.share(agent)
    workers = merge.worker_fitness.get(agent, {})
    if workers:
        return [
            Driver(agent, region, share / len(workers), fitness, worker, len(workers))
            for worker, fitness in sorted(workers.items())
        ]
    fitness = merge.fitness.get(agent)
    return [Driver(agent, region, share, fitness)] if fitness is not None and fitness.intervals else []


def _most_frequent(fitness: Fitness) -> str:
    """Return an example of the most frequent cause of unfit intervals.

    Its figures may differ from interval to interval.
    """
    if not fitness.causes:
        return "the agent gave no reason"
    cause, _ = max(fitness.causes.items(), key=lambda item: item[1])  # on a tie the first, which is the lag itself
    return fitness.examples[cause]
