"""Was the generator fit to measure? Judged from what each agent said of each of its seconds, with what to do about it.

Only the generator's own faults count; a target that collapses is a failed run,
not an invalid one. An agent's seconds weigh as much as its share of the load,
since that is how much of the merged histograms they spoil.

Advice is for a region, and has figures. Where the scenario itself held the loop,
its line is named: more agents would only block as often. Where the machine lacks
something, that is named. Otherwise there are too few agents: how many more is
computed from the rate up to which one of them was fit, with 20 % head room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from loadgen.measure.deltas.generator_health import Cause, Fitness, spans_text
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_US, format_count, format_duration, format_rate, format_ratio
from loadgen_controller.core.shares import Assignment

__all__ = ["INVALID_ABOVE", "SUSPECT_ABOVE", "Validity", "judge_fitness"]

SUSPECT_ABOVE = 0.05
INVALID_ABOVE = 0.20
"""Of the seconds. Settings: with them a wrong p99 is caught and an ordinary laptop is spared (DESIGN 6.4)."""
SUSPECT_FROM = 2
INVALID_FROM = 3
"""Unfit intervals of one agent: fewer are chance, however short the run. In one of 3 s a single one is 33 %."""
HEAD_ROOM = 0.20
"""Of the rate up to which an agent was fit: so much is left free when agents are counted."""
_TOLD = 5
"""Agents that are told apart, worst first."""


@dataclass(frozen=True, slots=True)
class Validity:
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    unfit_share: float = 0.0
    reasons: tuple[str, ...] = ()
    """What was wrong, worst agent first, each region with its advice; may name an agent although the run is valid."""
    advice: tuple[str, ...] = ()
    """The same advice by itself."""


@dataclass(frozen=True, slots=True)
class _Agent:
    id: str
    region: str
    share: float
    """Of the load, 0 to 1."""
    fitness: Fitness
    worker: int | None = None
    """Which of the agent's, where it has several: each drives its part and is judged by itself."""
    workers: int = 1

    @property
    def name(self) -> str:
        return f"agent {self.id}" if self.worker is None else f"worker {self.worker} of {self.id}"

    @property
    def unfit_share(self) -> float:
        return self.fitness.unfit / self.fitness.intervals


def judge_fitness(assignment: Assignment, merge: Merge, planned_per_s: float | None = None) -> Validity:
    """The share of unfit seconds, weighted by each agent's share of the load.

    planned_per_s: the highest iterations/s that the plan asks of the whole fleet; None where the load has no rate.
    """
    found = [one for agent in assignment.agents for one in _drivers(agent, assignment, merge)]
    weight = sum(agent.share for agent in found)
    unfit = sum(agent.share * agent.unfit_share for agent in found)
    share = unfit / weight if weight else 0.0
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    most = max((agent.fitness.unfit for agent in found), default=0)
    if share > SUSPECT_ABOVE and most >= SUSPECT_FROM:
        verdict = "invalid" if share > INVALID_ABOVE and most >= INVALID_FROM else "suspect"
    # One unfit agent among very many spoils little, yet whoever reads its region should know.
    worst = sorted((a for a in found if a.unfit_share > SUSPECT_ABOVE), key=lambda a: -a.unfit_share)
    advice: dict[str, str] = {}
    reasons = []
    for agent in worst[:_TOLD]:
        what_to_do = ""
        if agent.region not in advice and agent.fitness.unfit >= SUSPECT_FROM:  # what is chance needs no remedy
            same = [a for a in found if a.region == agent.region]
            advice[agent.region] = _advice(agent, same, planned_per_s)
            what_to_do = f"; {advice[agent.region]}"
        spans = spans_text(agent.fitness.unfit_spans_ns)
        when = format_ratio(agent.unfit_share) + (f", {spans}" if spans else "")
        reasons.append(
            f"{agent.name} was unfit to measure in {agent.fitness.unfit} of {agent.fitness.intervals} intervals"
            f" ({when}): {_most_frequent(agent.fitness)}{what_to_do}"
        )
    if verdict != "valid" and not reasons:
        reasons = [f"the generator was unfit in {format_ratio(share)} of the time"]
    return Validity(verdict, share, tuple(reasons), tuple(advice.values()))


def _drivers(agent: str, assignment: Assignment, merge: Merge) -> list[_Agent]:
    """The agent, or of one with several workers each of them with its part of the agent's share."""
    region, share = assignment.region(agent), assignment.share(agent)
    workers = merge.worker_fitness.get(agent, {})
    if workers:
        return [
            _Agent(agent, region, share / len(workers), fitness, worker, len(workers))
            for worker, fitness in sorted(workers.items())
        ]
    fitness = merge.fitness.get(agent)
    return [_Agent(agent, region, share, fitness)] if fitness is not None and fitness.intervals else []


def _most_frequent(fitness: Fitness) -> str:
    """The most frequent kind of reason, told by an example: the figures in the texts differ."""
    if not fitness.causes:
        return "no reason given"
    cause, _ = max(fitness.causes.items(), key=lambda item: item[1])  # of equals the first: lags precede their causes
    return fitness.examples[cause]


# -- advice -----------------------------------------------------------------------------------


def _advice(agent: _Agent, same_region: Sequence[_Agent], planned_per_s: float | None) -> str:
    """What to do about the worst agent of a region."""
    fitness = agent.fitness
    return (
        _of_machine(agent)
        or _of_scenario(fitness)
        or _of_neighbours(agent)
        or _more_agents(agent, same_region, planned_per_s)
    )


def _often(fitness: Fitness, cause: Cause) -> bool:
    """In at least half of the unfit intervals."""
    return fitness.causes.get(cause, 0) * 2 >= fitness.unfit > 0


def _of_machine(agent: _Agent) -> str:
    """Where it ran out of something: said even if that was seldom, since it goes before all else."""
    fitness, where = agent.fitness, f"on the machine of {agent.id}"
    is_short = fitness.causes.get("sockets", 0) > 0
    if fitness.causes.get("fds", 0) or (is_short and fitness.fds_max > fitness.fd_limit / 2):
        return (
            f"raise the limit of open files {where} (ulimit -n {2 * fitness.fd_limit}): up to"
            f" {format_count(fitness.fds_max)} of {format_count(fitness.fd_limit)} were in use"
        )
    if fitness.causes.get("ports", 0) or is_short:
        used = f"up to {format_count(fitness.ports_max)} of {format_count(fitness.port_limit)} local ports were in use"
        return (
            f'keep connections alive (connections="kept"), or spread {agent.region} over more machines or source'
            f" addresses (Http(source=[...])): {used} {where}"
        )
    if _often(fitness, "memory"):
        took, left = fitness.rss_bytes_max / 2**20, fitness.memory_free_bytes_min / 2**20
        return (
            f"give {agent.id} more memory, or add agents on other machines: {format_count(fitness.users_max)} users"
            f" took {took:,.0f} MiB, {left:,.0f} MiB were left"
        )
    if _often(fitness, "network"):
        return (
            f"take a larger instance type than that of {agent.id}, or spread {agent.region} over more instances:"
            f" {fitness.examples['network']}"
        )
    return ""


def _of_scenario(fitness: Fitness) -> str:
    """Where a line of the scenario was on the loop in half of the unfit intervals."""
    if fitness.holders:
        where, holder = max(fitness.holders.items(), key=lambda item: item[1].intervals)
        if holder.intervals * 2 >= fitness.unfit:
            return f"{where} {holder.text}: make it await, or move it off the loop (asyncio.to_thread)"
    if _often(fitness, "gc"):
        longest = format_duration(fitness.gc_max_us * NS_PER_US)
        return (
            f"keep fewer objects alive in the scenario (garbage collection paused it for up to {longest} with"
            f" {format_count(fitness.users_max)} users), or spread the users over more agents"
        )
    return ""


def _of_neighbours(agent: _Agent) -> str:
    """Where something else had the CPU: more agents on the same machine would have less of it."""
    fitness, found = agent.fitness, agent.fitness.examples
    if _often(fitness, "throttled"):
        return f"raise the CPU limit of {agent.id} to a whole core a worker: {found['throttled']}"
    if _often(fitness, "steal"):
        return f"move {agent.id} to a machine that does not share its cores: {found['steal']}"
    if _often(fitness, "starved"):
        return f"give {agent.id} a core of its own, on another machine if need be: {found['starved']}"
    return ""


def _more_agents(agent: _Agent, same_region: Sequence[_Agent], planned_per_s: float | None) -> str:
    """How many agents more the region needs."""
    fitness = agent.fitness
    capacity = max(a.fitness.capacity_per_s for a in same_region)
    if planned_per_s is not None:
        wanted = planned_per_s * sum(a.share for a in same_region)
        of_plan = "planned"
    else:
        wanted, of_plan = sum(a.fitness.rate_max_per_s for a in same_region), "reached"
    lag = f"lag p99 {format_duration(fitness.worst_lag_us * NS_PER_US)} at {format_rate(fitness.worst_rate_per_s)}"
    if not fitness.worst_rate_per_s:
        return f"add agents in {agent.region}"
    if not capacity:
        more = ceil(len(same_region) / agent.workers)
        return f"add {_agents(more)} in {agent.region} and look again: {lag}, and no second was fit"
    more = max(1, ceil((wanted / (capacity * (1 - HEAD_ROOM)) - len(same_region)) / agent.workers))
    one = "an agent" if agent.worker is None else "a worker"
    return (
        f"add {_agents(more)} in {agent.region}: {lag}; {one} was fit up to {format_rate(capacity)},"
        f" {format_rate(wanted)} were {of_plan} for {len(same_region)}"
    )


def _agents(n: int) -> str:
    return f"{n} agent" + ("s" if n > 1 else "")
