"""How often `search` and `hold` are wrong: error rates over simulated queues whose knee is known.

The knee of M/M/1, D/M/1 and M/M/4 has a closed form. The knee of M/G/1 comes from the Pollaczek-Khinchine formula
(tests/support/service_times.py), not from a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from loadgen.dsl.executors.capacity import hold, search
from loadgen.dsl.executors.rate_search import Climb
from loadgen.dsl.executors.steering_executor import Finding
from loadgen.dsl.plans.objectives.slo import p
from tests.support.queues import Targeted, dm1, driven, mg1, mm1, mmc
from tests.support.service_times import gamma, hyperexponential, lognormal, pareto, two_point
from tools.how_often_wrong.parallel import in_processes
from tools.how_often_wrong.table import Table, share_text

__all__ = ["HELD", "SEARCHED", "HoldRates", "SearchRates", "hold_rates", "search_rates", "searched_finding", "tables"]

LONGEST_S = 7200
"""Duration of a search, in seconds of simulated time."""
HELD_S = 1800
NEAR = 0.05
HOLD_SHARE = 3
"""One load is simulated for this many searches, since it always takes its whole duration."""

SEARCHED: dict[str, Callable[[], Targeted]] = {
    "M/M/1": lambda: mm1(90, 0.5),
    "D/M/1": lambda: dm1(200, 0.2),
    "M/M/4": lambda: mmc(4, 0.0125, 0.15),
    "M/G/1 lognormal, cv 1.5": lambda: mg1(lognormal(1.5), 0.005, 0.25),
    "M/G/1 hyperexponential, cv 1.5": lambda: mg1(hyperexponential(1.5), 0.005, 0.25),
    "M/G/1 lognormal, cv 1.5, low load": lambda: mg1(lognormal(1.5), 0.001, 0.02),
    "M/G/1 gamma, cv 2": lambda: mg1(gamma(2), 0.005, 0.25),
    "M/G/1 two-point, cv 1.3": lambda: mg1(two_point(0.02, 10), 0.002, 0.04),
    "M/G/1 Pareto, exponent 2.5": lambda: mg1(pareto(2.5), 0.002, 0.06),
}
"""Queues by the name of the cell. The model was fitted on the first six; the others show where it holds and fails."""
HELD = ("M/M/1", "D/M/1", "M/M/4", "M/G/1 lognormal, cv 1.5", "M/G/1 hyperexponential, cv 1.5")


@dataclass(frozen=True, slots=True)
class SearchRates:
    """Error rates of `search` on one queue. All counts are of the searches that ended with "found"."""

    name: str
    knee_per_s: float
    found: int
    trials: int
    near: int
    """Searches whose rate is within 5 % of the knee."""
    covers: int
    """90 % intervals that contain the knee."""
    mean: float
    """Mean of rate / knee."""
    sd: float
    median_s: float
    """Median duration in seconds of simulated time."""


@dataclass(frozen=True, slots=True)
class HoldRates:
    """The rates that `hold` ends with on one queue, as multiples of the knee."""

    name: str
    knee_per_s: float
    trials: int
    mean: float
    sd: float
    near: int
    """Loads that end within 5 % of the knee."""
    beyond: float
    """Share of the time of the second half in which the rate is more than 5 % above the knee."""


@cache
def _target(name: str) -> Targeted:
    return SEARCHED[name]()


def searched_finding(target: Targeted, seed: int) -> tuple[Finding, float]:
    """Return what one search for p(99) on a simulated queue found, and its duration in seconds of simulated time."""
    executor = search(p(99) < f"{target.limit_s * 1000:g}ms", upto=target.knee_per_s * 4, duration="2h")
    decided: tuple[object, ...] = ()

    def is_over(climb: Climb) -> bool:
        """The decision can only change with these. To ask for it after each look would take half of the time."""
        nonlocal decided
        now = id(climb.knee), climb.windows, climb.is_topped, climb.phase
        is_new, decided = now != decided, now
        return climb.windows > 0 and is_new and executor.decide(climb).rate_per_s is None

    climb, rates = driven(executor.terms, target.queue(seed), LONGEST_S, is_over)
    return executor.finding(climb), float(len(rates))


def _searched(asked: tuple[str, int]) -> tuple[bool, float, bool, float]:
    """Return whether a search found a rate, the rate / knee, whether the interval has the knee, and its duration in s.

    A search that did not decide returns 0 as its rate. asked: the name of the queue, and a seed.
    """
    name, seed = asked
    target = _target(name)
    finding, seconds = searched_finding(target, seed)
    if finding.verdict != "found" or finding.rate_per_s is None or finding.low is None or finding.high is None:
        return False, 0.0, False, seconds
    covers = finding.low <= target.knee_per_s <= finding.high
    return True, finding.rate_per_s / target.knee_per_s, covers, seconds


def _held(asked: tuple[str, int]) -> tuple[float, float]:
    """Return the held rate / knee at the end, and the share of the second half that was more than 5 % beyond."""
    name, seed = asked
    target = _target(name)
    executor = hold(p(99) < f"{target.limit_s * 1000:g}ms", upto=target.knee_per_s * 4, duration=HELD_S)
    climb, rates = driven(executor.terms, target.queue(seed), HELD_S)
    held = executor.finding(climb).held_per_s or climb.asked_per_s
    later = rates[len(rates) // 2 :]
    return held / target.knee_per_s, float(np.mean(later > (1 + NEAR) * target.knee_per_s))


def search_rates(name: str, trials: int, seed: int) -> SearchRates:
    """Simulate `trials` searches on the queue `name`, with the seeds from `seed` on. Cost: 0.5 to 4 s a trial."""
    ends = in_processes(_searched, [(name, seed + at) for at in range(trials)])
    found = [end for end in ends if end[0]]
    rates = np.array([rate for _, rate, _, _ in found])
    return SearchRates(
        name=name,
        knee_per_s=_target(name).knee_per_s,
        found=len(found),
        trials=trials,
        near=int(np.count_nonzero(np.abs(rates - 1) < NEAR)),
        covers=sum(covers for _, _, covers, _ in found),
        mean=float(rates.mean()),
        sd=float(rates.std()),
        median_s=float(np.median([seconds for _, _, _, seconds in found])),
    )


def hold_rates(name: str, trials: int, seed: int) -> HoldRates:
    """Simulate `trials` held loads on the queue `name`, with the seeds from `seed` on. Cost: 0.5 s a trial."""
    ends = in_processes(_held, [(name, seed + at) for at in range(trials)])
    rates = np.array([rate for rate, _ in ends])
    return HoldRates(
        name=name,
        knee_per_s=_target(name).knee_per_s,
        trials=trials,
        mean=float(rates.mean()),
        sd=float(rates.std()),
        near=int(np.count_nonzero(np.abs(rates - 1) < NEAR)),
        beyond=float(np.mean([beyond for _, beyond in ends])),
    )


def tables(trials: int, seed: int) -> list[Table]:
    """Return the tables of `search` and `hold`. trials: searches a cell; a third as many loads are held."""
    searched = [search_rates(name, trials, seed) for name in SEARCHED]
    held = [hold_rates(name, max(1, trials // HOLD_SHARE), seed) for name in HELD]
    return [_search_table(searched), _hold_table(held)]


def _search_table(cells: Sequence[SearchRates]) -> Table:
    return Table(
        "`search`",
        f"A trial is a search for p(99) on a simulated queue, at most {LONGEST_S // 3600} h long. Shares are of the"
        " searches that found a rate, with their standard error. The goal is 0.95 within 5 % of the knee, and 0.85 of"
        " the intervals with the knee.",
        (
            "queue",
            "knee",
            "searches",
            "not decided",
            "within 5 %",
            "interval has the knee",
            "mean",
            "sd",
            "median time",
        ),
        [
            (
                one.name,
                f"{one.knee_per_s:.3g}/s",
                str(one.trials),
                share_text(one.trials - one.found, one.trials),
                share_text(one.near, one.found),
                share_text(one.covers, one.found),
                f"{(one.mean - 1) * 100:+.1f} %",
                f"{one.sd * 100:.1f} %",
                f"{one.median_s:.0f} s",
            )
            for one in cells
        ],
    )


def _hold_table(cells: Sequence[HoldRates]) -> Table:
    return Table(
        "`hold`",
        f"A trial is a load of {HELD_S // 60} minutes on a simulated queue. The rate is that at its end. `hold` stays"
        " below the knee on purpose.",
        ("queue", "knee", "loads", "mean", "sd", "within 5 %", "time more than 5 % above the knee"),
        [
            (
                one.name,
                f"{one.knee_per_s:.3g}/s",
                str(one.trials),
                f"{(one.mean - 1) * 100:+.1f} %",
                f"{one.sd * 100:.1f} %",
                share_text(one.near, one.trials),
                f"{one.beyond * 100:.1f} %",
            )
            for one in cells
        ],
    )
