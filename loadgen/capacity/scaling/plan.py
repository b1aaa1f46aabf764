"""The replay of one policy over its curves: everything that a page needs, as values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import floor
from typing import Final

from loadgen.analysis.scaling.fleet_replay import Curve, Instances, Lag, Replay
from loadgen.analysis.scaling.outcome import Outcome, outcome_of
from loadgen.analysis.scaling.starting_target import Growth, largest_growth, starting_target
from loadgen.analysis.scaling.target_grid import Case, GridRow, cheapest, replay_cases, target_grid
from loadgen.capacity.scaling.policy import ScalingPolicy
from loadgen.capacity.scaling.rate_curve import RateCurve
from loadgen.units import NS_PER_S, format_duration

__all__ = ["MORE", "ScalePlan", "Scaled", "default_targets", "scale"]

MORE: Final = 1.5
"""The factor of the second case."""
_EASY: Final = 0.6
"""The target that begins the replay of step scaling, which has none."""


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """The inputs of a replay. zones: 1 leaves out the case of a lost zone. allowed_s: overload within the promise."""

    curve: RateCurve
    policy: ScalingPolicy
    instances: Instances
    lag: Lag
    zones: int
    allowed_s: int
    targets: tuple[float, ...] = ()
    """Utilisations to try, besides the policy's own and the formula's. Empty: a default grid."""
    is_at_assumed: bool = False
    """The utilisation at the capacity was not given."""
    warnings: tuple[str, ...] = ()
    """Warnings of the capacity's study, which a plan must repeat."""

    @property
    def total_lag_s(self) -> int:
        """Return the time from a change of the load to the first new instance that serves."""
        averaging = self.lag.average_s * self.policy.points
        return self.lag.delay_s + averaging + self.policy.period_s + self.instances.start_s

    def moment(self, at_s: float) -> str:
        """Return a second of the curve as its time, or as the time from its start."""
        if self.curve.start is not None:
            return (self.curve.start + timedelta(seconds=at_s)).isoformat(timespec="seconds")
        return f"{format_duration(round(at_s) * NS_PER_S)} after the start"


@dataclass(frozen=True, slots=True)
class Scaled:
    """The result of a plan."""

    plan: ScalePlan
    cases: tuple[Case, ...]
    growth: Growth
    start: float | None
    """The formula's target; None for step scaling, or if the curve grows from nothing."""
    own: tuple[Outcome, ...]
    """The policy as it is, in each case."""
    drawn: Replay
    """The policy as it is, in the first case."""
    rows: tuple[GridRow, ...]
    """The grid, ascending in the target. Empty for step scaling."""
    best: GridRow | None

    @property
    def own_keeps(self) -> bool:
        """Return whether the policy as it is keeps the promise in all cases."""
        return all(one.overload_s <= self.plan.allowed_s for one in self.own)


def scale(plan: ScalePlan) -> Scaled:
    """Replay a plan: the policy as it is and each target of the grid, in each case.

    Cost: one replay for each target and case.
    """
    cases = _cases(plan)
    floor_rate = plan.policy.limits.least * plan.instances.per_s
    growth = largest_growth(plan.curve.rate, plan.total_lag_s, floor=floor_rate)
    start = starting_target(plan.instances.at, growth.ratio, plan.policy.tolerance)
    is_target = plan.policy.target is not None
    own_target = plan.policy.target or _EASY * plan.instances.at
    replays = replay_cases(
        cases, partial(plan.policy.make, None), own_target, plan.instances, plan.lag, plan.policy.limits
    )
    rows: tuple[GridRow, ...] = ()
    if is_target:
        rows = target_grid(
            _targets(plan, start),
            cases,
            plan.policy.make,
            plan.instances,
            plan.lag,
            plan.policy.limits,
            allowed_s=plan.allowed_s,
        )
    own = tuple(outcome_of(case.curve, plan.instances, one) for case, one in zip(cases, replays, strict=True))
    return Scaled(plan, cases, growth, start if is_target else None, own, replays[0], rows, cheapest(rows))


def default_targets(at: float) -> tuple[float, ...]:
    """Return the targets of the grid: each 5 % from 30 % up to the utilisation at the capacity."""
    return tuple(percent / 100 for percent in range(30, 100, 5) if percent <= at * 100 + 1e-9)


def _targets(plan: ScalePlan, start: float) -> Sequence[float]:
    found = set(plan.targets or default_targets(plan.instances.at))
    if floor(start * 100) >= 1:
        found.add(floor(start * 100) / 100)
    if plan.policy.target is not None:
        found.add(round(plan.policy.target, 6))
    return sorted(found)


def _cases(plan: ScalePlan) -> tuple[Case, ...]:
    recorded, more = Curve(plan.curve.rate), Curve(plan.curve.rate * MORE)
    cases = [
        Case("recorded", recorded, short="recorded"),
        Case(f"recorded x {MORE:g}", more, short=f"x {MORE:g}"),
    ]
    if plan.zones > 1:
        cases.append(Case(f"one of {plan.zones} zones lost near the peak", recorded, plan.zones, "zone lost"))
    return tuple(cases)
