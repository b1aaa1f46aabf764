"""Decides whether the load generator itself was able to measure, and gives advice if not. Pure.

Each agent reports for each interval whether it was fit to measure. Only problems of the generator count: a run whose
target collapses is failed, not invalid. An agent's intervals are weighted by its share of the load, since that is the
part of the merged histograms which they spoil.

There is one piece of advice for each region, with figures:

- If the machine ran out of something, the advice names it.
- If a line of the scenario blocked the event loop, the advice names the line. More agents would block just as often.
- Otherwise there are too few agents. Their number follows from the rate up to which an agent was fit, with 20 % head
  room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from loadgen.measure.deltas.run_fitness import Cause, Fitness, spans_text
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_US, format_count, format_duration, format_rate, format_ratio, quantity
from loadgen_controller.core.shares import Assignment

__all__ = ["INVALID_ABOVE", "SUSPECT_ABOVE", "Validity", "judge_fitness"]

SUSPECT_ABOVE = 0.05
INVALID_ABOVE = 0.20
"""Share of unfit time above which a run is suspect or invalid. Chosen: they catch a wrong p99 and spare a laptop."""
SUSPECT_FROM = 2
INVALID_FROM = 3
"""Unfit intervals that one agent must have for it. Fewer may be chance: in a run of 3 s, one interval is 33 %."""
HEAD_ROOM = 0.20
"""Part of an agent's proven rate that advice on the number of agents leaves unused."""
_NAMED = 5
"""Agents that get a reason of their own, worst first."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the generator was able to measure, with reasons and advice."""

    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    unfit_share: float = 0.0
    """Share of the time in which it was unfit to measure, 0 to 1, weighted by the agents' shares of the load."""
    reasons: tuple[str, ...] = ()
    """The problems, worst agent first, with advice once for each region. A valid run may have reasons, too."""
    advice: tuple[str, ...] = ()
    """The advice alone, one for each region."""


@dataclass(frozen=True, slots=True)
class _Driver:
    """An agent, or one worker of an agent that has several: each worker is judged by itself."""

    id: str
    region: str
    share: float
    """Its share of the whole load, 0 to 1."""
    fitness: Fitness
    worker: int | None = None
    """Number of the worker; None: the whole agent."""
    workers: int = 1
    """Workers of its agent."""

    @property
    def name(self) -> str:
        return f"agent {self.id}" if self.worker is None else f"worker {self.worker} of {self.id}"

    @property
    def unfit_share(self) -> float:
        return self.fitness.unfit / self.fitness.intervals


def judge_fitness(assignment: Assignment, merge: Merge, planned_per_s: float | None = None) -> Validity:
    """Judge whether the generator was able to measure, from the unfit time of all agents.

    planned_per_s: the highest rate of the plan for the whole fleet, iterations/s; None if no load has a rate.
    """
    found = [one for agent in assignment.agents for one in _drivers(agent, assignment, merge)]
    weight = sum(agent.share for agent in found)
    unfit = sum(agent.share * agent.unfit_share for agent in found)
    share = unfit / weight if weight else 0.0
    verdict: Literal["valid", "suspect", "invalid"] = "valid"
    most = max((agent.fitness.unfit for agent in found), default=0)
    if share > SUSPECT_ABOVE and most >= SUSPECT_FROM:
        verdict = "invalid" if share > INVALID_ABOVE and most >= INVALID_FROM else "suspect"
    # One unfit agent among very many spoils little of the run, but its own region's figures may be wrong.
    worst = sorted((a for a in found if a.unfit_share > SUSPECT_ABOVE), key=lambda a: -a.unfit_share)
    advice: dict[str, str] = {}
    reasons = []
    for agent in worst[:_NAMED]:
        what_to_do = ""
        if agent.region not in advice and agent.fitness.unfit >= SUSPECT_FROM:  # a single interval may be chance
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


def _drivers(agent: str, assignment: Assignment, merge: Merge) -> list[_Driver]:
    """Return what is judged for an agent: each of its workers, with an equal part of its share, or the agent itself.

    Return an empty list if it reported no interval.
    """
    region, share = assignment.region(agent), assignment.share(agent)
    workers = merge.worker_fitness.get(agent, {})
    if workers:
        return [
            _Driver(agent, region, share / len(workers), fitness, worker, len(workers))
            for worker, fitness in sorted(workers.items())
        ]
    fitness = merge.fitness.get(agent)
    return [_Driver(agent, region, share, fitness)] if fitness is not None and fitness.intervals else []


def _most_frequent(fitness: Fitness) -> str:
    """Return an example of the most frequent cause of unfit intervals.

    Its figures may differ from interval to interval.
    """
    if not fitness.causes:
        return "the agent gave no reason"
    cause, _ = max(fitness.causes.items(), key=lambda item: item[1])  # on a tie the first, which is the lag itself
    return fitness.examples[cause]


# -- advice -----------------------------------------------------------------------------------


def _advice(agent: _Driver, same_region: Sequence[_Driver], planned_per_s: float | None) -> str:
    """Return the advice for the worst agent of a region: what to do so that it can measure."""
    fitness = agent.fitness
    return (
        _advice_for_machine(agent)
        or _advice_for_scenario(fitness)
        or _advice_for_shared_cpu(agent)
        or _advice_more_agents(agent, same_region, planned_per_s)
    )


def _often(fitness: Fitness, cause: Cause) -> bool:
    """Return whether at least half of the unfit intervals had this cause."""
    return fitness.causes.get(cause, 0) * 2 >= fitness.unfit > 0


def _advice_for_machine(agent: _Driver) -> str:
    """Return advice if the machine ran out of files, ports, memory or network, even if seldom; else an empty text.

    This comes first, because other advice does not help such a machine.
    """
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
            f" used {took:,.0f} MiB, and only {left:,.0f} MiB were free"
        )
    if _often(fitness, "network"):
        return (
            f"use a larger instance type for {agent.id}, or spread {agent.region} over more instances:"
            f" {fitness.examples['network']}"
        )
    return ""


def _advice_for_scenario(fitness: Fitness) -> str:
    """Return advice if a line of the scenario or garbage collection blocked the loop in half of the unfit intervals.

    Otherwise return an empty text.
    """
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


def _advice_for_shared_cpu(agent: _Driver) -> str:
    """Return advice if the agent did not get its CPU; else an empty text.

    Its CPU limit throttled it, the host took time (steal), or other programs used its core.
    """
    fitness, found = agent.fitness, agent.fitness.examples
    if _often(fitness, "throttled"):
        return f"raise the CPU limit of {agent.id} to a whole core for each worker: {found['throttled']}"
    if _often(fitness, "steal"):
        return f"move {agent.id} to a machine that does not share its cores: {found['steal']}"
    if _often(fitness, "starved"):
        return f"give {agent.id} a core of its own, if necessary on another machine: {found['starved']}"
    return ""


def _advice_more_agents(agent: _Driver, same_region: Sequence[_Driver], planned_per_s: float | None) -> str:
    """Return the advice to add agents, with the number that the region needs."""
    fitness = agent.fitness
    capacity = max(a.fitness.capacity_per_s for a in same_region)
    if planned_per_s is not None:
        needed = planned_per_s * sum(a.share for a in same_region)
        kind = "the planned rate is"
    else:
        needed, kind = sum(a.fitness.rate_max_per_s for a in same_region), "the highest rate was"
    lag = f"lag p99 {format_duration(fitness.worst_lag_us * NS_PER_US)} at {format_rate(fitness.worst_rate_per_s)}"
    if not fitness.worst_rate_per_s:
        return f"add agents in {agent.region}"
    if not capacity:
        more = ceil(len(same_region) / agent.workers)
        return f"add {quantity(more, 'agent')} in {agent.region} and run again: {lag}, and no interval was fit"
    more = max(1, ceil((needed / (capacity * (1 - HEAD_ROOM)) - len(same_region)) / agent.workers))
    one = "agent" if agent.worker is None else "worker"
    ones = one if len(same_region) == 1 else f"{one}s"
    return (
        f"add {quantity(more, 'agent')} in {agent.region}: {lag}; one {one} was fit up to {format_rate(capacity)},"
        f" and {kind} {format_rate(needed)} for {len(same_region)} {ones}"
    )
