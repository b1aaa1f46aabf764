"""Compare the CPU of our controller with that of Locust's master for as many agents, in alternation.

The speed of a machine changes, and a share of a core changes with it. So the budget of 25 % of a core is also stated as
a ratio: Locust's master took 19 % on the machine on which the budget was set.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench import controller, locust_master
from bench.controller import Fleet
from bench.peers import peer
from bench.report import Section, held, skipped

__all__ = ["measure"]

TITLE = "A controller beside Locust's master"
BUDGET, GOAL = 0.25 / 0.19, 1.0
"""Our share of a core / that of Locust's master."""
HOW = """\
{agents:,} agents with {series} series and a report each second, and {agents:,} workers of Locust with {names} request \
names and a report each 3 s, as in the sections *What a controller costs* and *What Locust's master costs*; \
{turns} turns of each in alternation. Shares of one core by user and system time. The budget of 25 % of a core was set \
on a machine on which Locust's master took 19 %, so it is also a ratio: {budget:.2f}. Our controller encrypts, \
stores each report before it acknowledges it, and merges three times as many reports, with two times of each request."""
HEAD = ["turn", "controller", "Locust's master", "controller / Locust"]


def measure(*, fleet: Fleet = controller.FLEETS[0], turns: int = 3, seconds: int = 25, skip: int = 10) -> Section:
    """Measure both in turn. A turn in which our run was incomplete or asked for longer intervals raises an error."""
    program = peer("locust")
    if program is None:
        return skipped(TITLE, "locust is not on PATH, and its wheel cannot be installed")
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(turns):
        for is_ours in (True, False) if turn % 2 else (False, True):
            if is_ours:
                ours.append(_our_share(fleet, seconds, skip))
            else:
                seen = locust_master.watch(program, fleet.agents, fleet.names, fleet.requests, seconds, skip)
                theirs.append(seen.cpu_share)
    rows = [
        [f"{n}", f"{mine:.0%}", f"{other:.0%}", f"{mine / other:.2f}"]
        for n, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1)
    ]
    return Section(
        TITLE,
        HOW.format(agents=fleet.agents, series=fleet.series, names=fleet.names, turns=turns, budget=BUDGET),
        HEAD,
        rows,
        _verdict(ours, theirs),
        tools=["locust"],
    )


def _our_share(fleet: Fleet, seconds: int, skip: int) -> float:
    seen = controller.watch_fleet(fleet, seconds, skip)
    if seen.wrong or seen.swarm["asked_s"]:
        raise RuntimeError(f"this turn does not count: {seen.wrong or 'the controller asked for ' + seen.asked}")
    return seen.cpu_share


def _verdict(ours: Sequence[float], theirs: Sequence[float]) -> str:
    ratio = median(ours) / median(theirs)
    return (
        f"Medians: {median(ours):.0%} and {median(theirs):.0%} of a core, ratio {ratio:.2f}; "
        f"budget {BUDGET:.2f}: {held(ratio <= BUDGET)}. The goal is {GOAL:g}."
    )
