"""Finds objectives whose sliding windows have too few iterations for a verdict, before the run.

A window of few iterations breaks its objective by chance, although the target is sound: with 30 windows of 100
iterations each, a p(99) fails in most runs. A window is large enough from

    n = 16 φ / ((1 - x)² β)

iterations on, where β is the error budget (0.05 for p(95)), x is the part of it that a sound target uses, and φ is the
dispersion of bad iterations: their variance over that of independent ones. The limit is then 4 standard deviations
away, so that a run of some hundred windows passes. Before a run nothing is known of x and φ, so this module takes
x = 0.5 and φ = 1.5; n is 1,920 for p(95) and 9,600 for p(99).

The planned number is an upper bound: the highest rate of each load, and one occurrence of a step in each iteration.
Numbers of requests, and rates of closed loads without a pace, are unknown before the run and not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Final

from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.errors import Fault
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.profile import OpenProfile, UserProfile
from loadgen.units import NS_PER_S, format_count, format_duration

__all__ = ["DISPERSION", "SOUND_USE", "needed_count", "small_windows"]

DISPERSION: Final = 1.5
"""φ while it is unknown: bad iterations that come in small groups."""
SOUND_USE: Final = 0.5
"""x: the part of its error budget that a sound target uses."""


def needed_count(budget: float, *, dispersion: float = DISPERSION, used: float = SOUND_USE) -> int:
    """Return the number of iterations from which on a window rarely fails by chance.

    Args:
        budget: the share of iterations that may be bad, above 0 and at most 1.
        dispersion: variance of the number of bad iterations over that of independent ones, above 0.
        used: the part of the budget that the target uses, 0 to below 1.
    """
    # 1e-9, because 0.05 is not exact in binary and 1,920.0000000000002 would be rounded up.
    return ceil(16 * dispersion / ((1 - used) ** 2 * budget) - 1e-9)


def small_windows(slos: Iterable[Slo], lanes: Sequence[DrivenLoad], regions: Mapping[str, float]) -> Iterator[Fault]:
    """Yield a warning for each objective over windows that are too small for the plan's rate.

    It names the journey with the fewest iterations. lanes: the loads of the plan. regions: name -> relative weight.
    """
    for slo in slos:
        objective = slo.objective
        if objective is None or not objective.window_ns or _is_of_requests(objective) or not _has_budget(objective):
            continue
        rates = _rates(objective, lanes)
        if rates is None:
            continue
        share = 1.0
        if objective.region is not None:
            share = regions.get(objective.region, 0.0) / (sum(regions.values()) or 1.0)
        needed = needed_count(float(objective.budget.allowed))
        journey, per_s = min(rates.items(), key=lambda one: one[1], default=("", 0.0))
        per_s *= share
        count = round(per_s * objective.window_ns / NS_PER_S)
        if per_s > 0 and count < needed:
            yield slo.origin.fault(_message(objective, journey, count, needed), _hint(needed / per_s))


def _is_of_requests(objective: Objective) -> bool:
    """Return whether it judges requests, whose number is unknown before the run."""
    return objective.kind_of_series in ("request", "goodput")


def _has_budget(objective: Objective) -> bool:
    """Return whether the objective allows a share of iterations or steps to be bad, so that a window can be small."""
    return objective.is_share and not objective.of and objective.budget.allowed > 0


def _rates(objective: Objective, lanes: Sequence[DrivenLoad]) -> dict[str, float] | None:
    """Return the highest rate, in iterations/s, of each journey that the objective judges by itself.

    A step of any journey has the rate of all of them together, under the name "". None: the rate is unknown.
    """
    rates: dict[str, float] = {}
    for lane in lanes:
        if objective.load not in (None, lane.name):
            continue
        per_s = _peak_per_s(lane)
        for journey, weight in zip(lane.journeys, lane.weights, strict=True):
            if objective.journey not in (None, journey.name) or not weight:
                continue
            if per_s is None:
                return None
            name = "" if objective.step else journey.name
            rates[name] = rates.get(name, 0.0) + per_s * weight / sum(lane.weights)
    return rates


def _peak_per_s(lane: DrivenLoad) -> float | None:
    if lane.steering is not None:
        return lane.steering.upto_per_s
    if isinstance(lane.profile, OpenProfile):
        return float(lane.profile.peak)
    if isinstance(lane.profile, UserProfile) and lane.profile.pace_ns > 0:
        return lane.profile.peak * NS_PER_S / lane.profile.pace_ns
    return None


def _message(objective: Objective, journey: str, count: int, needed: int) -> str:
    whose = f" of {journey}" if journey else ""
    return (
        f"{objective.text}: a window has at most {format_count(count)} iterations{whose}; below {format_count(needed)},"
        " a sound target breaks the objective by chance"
    )


def _hint(needed_s: float) -> str:
    length = format_duration(ceil(needed_s) * NS_PER_S)
    return f"write a window of at least {length}, raise the rate, or leave out window= to judge the whole run"
