"""Decides why a load generator was not fit to measure, and what to do about it. Pure.

The first row that holds decides. "Often" is at least half of the unfit intervals, "seldom" is any of them:

evidence                                                        | cause     | what to do
files, ports or sockets were short, even if seldom              | machine   | raise the limit, keep connections
memory or the instance's network was short, often               | machine   | more memory, a larger instance
a line of the scenario held the event loop, often               | scenario  | make this line await
garbage collection paused the scenario, often                   | scenario  | keep fewer objects
its CPU limit held it back, often                               | throttled | raise the limit
the machine's host took CPU time (steal), often                 | starved   | a machine that does not share its cores
other programs had its core, often                              | starved   | close other programs, another machine
it used little CPU itself; or this is unknown, and it was fit   | starved   | close other programs, another machine
at the rate that it was planned to drive                        |           |
all agents share one machine, with more load than cores, often  | overload  | more cores, or a lower rate
it was fit at the rate that it was planned to drive             | overload  | a faster machine, or a lower rate
otherwise                                                       | overload  | more agents or workers, with their number

More agents help only an agent that used its core: on a busy machine they make the lag worse, and a line of the
scenario blocks each of them just as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from loadgen.measure.deltas.run_fitness import Cause, Fitness
from loadgen.units import NS_PER_US, format_count, format_duration, format_rate, format_ratio, quantity

__all__ = ["HEAD_ROOM", "LOW_CPU_SHARE", "Diagnosis", "Driver", "diagnose"]

HEAD_ROOM = 0.20
"""Part of an agent's proven rate that advice on the number of agents leaves unused."""
LOW_CPU_SHARE = 0.5
"""CPU time, as a share of one core, below which a generator had little to do. Arrivals of a process that uses half of
its core wait for one another for about as long as one iteration computes, which is far below 1 ms."""


@dataclass(frozen=True, slots=True)
class Driver:
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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a generator was not fit to measure. Both texts are parts of one sentence."""

    cause: Literal["machine", "scenario", "throttled", "starved", "overload"]
    what: str
    """What happened, with figures: "this machine is busy (load 5.3 on 2 cores): it woke up to 21.0 ms late"."""
    advice: str
    """What to do, as a request: "close other programs or use another machine"."""


def diagnose(
    driver: Driver,
    same_region: Sequence[Driver] = (),
    planned_per_s: float | None = None,
    *,
    on_one_machine: bool = False,
) -> Diagnosis:
    """Return the cause for which a generator was unfit, by the table of this module.

    Args:
        driver: the worst one of its region; at least one of its intervals was unfit.
        same_region: all drivers of the region, with `driver`.
        planned_per_s: the highest rate of the plan for the whole fleet, iterations/s; None if no load has a rate.
        on_one_machine: all agents ran on the controller's machine.
    """
    return (
        _of_machine(driver)
        or _of_scenario(driver.fitness)
        or _of_cpu(driver, on_one_machine)
        or _of_load(driver, same_region or (driver,), planned_per_s, on_one_machine)
    )


def _often(fitness: Fitness, cause: Cause) -> bool:
    """Return whether at least half of the unfit intervals had this cause."""
    return fitness.causes.get(cause, 0) * 2 >= fitness.unfit > 0


def _of_machine(driver: Driver) -> Diagnosis | None:
    """Return the diagnosis if the machine ran out of files, ports, memory or network, even if seldom.

    This comes first, because other advice does not help such a machine.
    """
    fitness, where = driver.fitness, f"the machine of {driver.id}"
    is_short = fitness.causes.get("sockets", 0) > 0
    if fitness.causes.get("fds", 0) or (is_short and fitness.fds_max > fitness.fd_limit / 2):
        used = f"up to {format_count(fitness.fds_max)} of {format_count(fitness.fd_limit)} open files were in use"
        return Diagnosis(
            "machine",
            f"{used} on {where}",
            f"raise the limit of open files on {where} (ulimit -n {2 * fitness.fd_limit})",
        )
    if fitness.causes.get("ports", 0) or is_short:
        used = f"up to {format_count(fitness.ports_max)} of {format_count(fitness.port_limit)} local ports were in use"
        return Diagnosis(
            "machine",
            f"{used} on {where}",
            f'keep connections alive (connections="kept"), or spread {driver.region} over more machines or source'
            " addresses (Http(source=[...]))",
        )
    if _often(fitness, "memory"):
        took, left = fitness.rss_bytes_max / 2**20, fitness.memory_free_bytes_min / 2**20
        users = f"{format_count(fitness.users_max)} users of {driver.id} used {took:,.0f} MiB"
        return Diagnosis(
            "machine",
            f"{users}, and only {left:,.0f} MiB were free",
            f"give {driver.id} more memory, or add agents on other machines",
        )
    if _often(fitness, "network"):
        return Diagnosis(
            "machine",
            f"{fitness.examples['network']} of {driver.id}",
            f"use a larger instance type for {driver.id}, or spread {driver.region} over more instances",
        )
    return None


def _of_scenario(fitness: Fitness) -> Diagnosis | None:
    """Return the diagnosis if a line of the scenario or garbage collection often blocked the loop."""
    if fitness.holders:
        where, holder = max(fitness.holders.items(), key=lambda item: item[1].intervals)
        if holder.intervals * 2 >= fitness.unfit:
            advice = "make it await, or move it off the loop (asyncio.to_thread)"
            return Diagnosis("scenario", f"{where} {holder.text}", advice)
    if _often(fitness, "gc"):
        longest = format_duration(fitness.gc_max_us * NS_PER_US)
        users = quantity(fitness.users_max, "user")
        return Diagnosis(
            "scenario",
            f"garbage collection paused the scenario for up to {longest} with {users}",
            "keep fewer objects alive in the scenario, or spread the users over more agents",
        )
    return None


def _of_cpu(driver: Driver, on_one_machine: bool) -> Diagnosis | None:
    """Return the diagnosis if the agent did not get its core: a CPU limit, the host, or other programs had it."""
    fitness, found = driver.fitness, driver.fitness.examples
    if _often(fitness, "throttled"):
        return Diagnosis(
            "throttled",
            f"{driver.name}: {found['throttled']}",
            f"raise the CPU limit of {driver.id} to a whole core for each worker",
        )
    if _often(fitness, "steal"):
        where = "this machine" if on_one_machine else f"the machine of {driver.id}"
        what = found["steal"].replace("the machine's host", f"the host of {where}", 1)
        return Diagnosis("starved", what, f"use a machine that does not share its cores instead of {where}")
    share = fitness.unfit_cpu_share
    if _often(fitness, "starved") or (share is not None and share < LOW_CPU_SHARE):
        return _starved(driver, on_one_machine)
    return None


def _starved(driver: Driver, on_one_machine: bool) -> Diagnosis:
    found, share = driver.fitness.examples, driver.fitness.unfit_cpu_share
    machine = "this machine" if on_one_machine else f"the machine of {driver.id}"
    used = "" if share is None else f", though {driver.name} used only {format_ratio(share)} of a core"
    if "machine" in found:
        what = f"{machine} is busy{found['machine'].removeprefix('its machine is busy')}: it"
        used = ""
    elif "starved" in found:
        what, used = f"{machine} is busy ({found['starved'].replace('its core', 'a core', 1)}): it", ""
    else:
        what = f"{machine} is busy, or its host paused it: it"
    other = "another machine" if on_one_machine else "one that runs nothing else"
    programs = "other programs" if on_one_machine else f"other programs on {machine}"
    return Diagnosis("starved", f"{what} woke {_late(driver.fitness)}{used}", f"close {programs} or use {other}")


def _of_load(
    driver: Driver, same_region: Sequence[Driver], planned_per_s: float | None, on_one_machine: bool
) -> Diagnosis:
    """Return the diagnosis of an agent that used its core, with the number of agents that the region needs."""
    fitness = driver.fitness
    if on_one_machine and _often(fitness, "machine"):
        busy = fitness.examples["machine"].removeprefix("its machine is busy").strip()
        return Diagnosis(
            "overload",
            f"this load is too much for this machine {busy}: it woke {_late(fitness)}",
            "use a machine with more cores, or lower the rate",
        )
    capacity = max(one.fitness.capacity_per_s for one in same_region)
    if planned_per_s is not None:
        needed = planned_per_s * sum(one.share for one in same_region)
        kind = "the planned rate is"
    else:
        needed, kind = sum(one.fitness.rate_max_per_s for one in same_region), "the highest rate was"
    share = fitness.unfit_cpu_share
    of_core = f", at {format_ratio(min(1.0, share))} of a core" if share is not None else ""
    is_enough = capacity * len(same_region) >= needed > 0
    if is_enough and share is None:
        return _starved(driver, on_one_machine)
    if is_enough:
        return Diagnosis(
            "overload",
            f"{driver.name} was at the limit of its core: {_lag(fitness)}{of_core}",
            "use a faster machine with nothing else on it, or lower the rate",
        )
    what = f"{driver.name} has too much load for one core: {_lag(fitness)}"
    if not fitness.worst_rate_per_s:
        return Diagnosis("overload", f"{what}{of_core}", f"add agents in {driver.region}")
    what += f" at {format_rate(fitness.worst_rate_per_s)}{of_core}"
    if not capacity:
        more = quantity(ceil(len(same_region) / driver.workers), "agent")
        return Diagnosis(
            "overload", what, f"add {more} in {driver.region}, or workers, and run again: no interval was fit"
        )
    more = quantity(max(1, ceil((needed / (capacity * (1 - HEAD_ROOM)) - len(same_region)) / driver.workers)), "agent")
    one = "agent" if driver.worker is None else "worker"
    return Diagnosis(
        "overload",
        what,
        f"add {more} in {driver.region}, or workers: one {one} was fit up to {format_rate(capacity)}, and {kind}"
        f" {format_rate(needed)} for {quantity(len(same_region), one)}",
    )


def _lag(fitness: Fitness) -> str:
    """Return the largest lag as "lag p99 21.0 ms"; if it is unknown, the first reason that the agent gave."""
    lag_us = fitness.worst_lag_us or fitness.generator_lag_p99_max_us
    if lag_us:
        return f"lag p99 {format_duration(lag_us * NS_PER_US)}"
    return next(iter(fitness.examples.values()), "it was late")


def _late(fitness: Fitness) -> str:
    """Return "up to 21.0 ms late"; if the lag is unknown, "late"."""
    lag_us = fitness.worst_lag_us or fitness.generator_lag_p99_max_us
    return f"up to {format_duration(lag_us * NS_PER_US)} late" if lag_us else "late"
