"""Replays a grid of targets over several curves, and finds the cheapest target that keeps the promise in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from loadgen.analysis.scaling.controllers import Controller, Limits
from loadgen.analysis.scaling.outcome import Outcome, outcome_of
from loadgen.analysis.scaling.replay import Curve, Instances, Lag, ZoneLoss, replay

__all__ = ["Case", "GridRow", "cheapest", "first_instances", "target_grid"]


@dataclass(frozen=True, slots=True)
class Case:
    """One curve to keep the promise in, with what else happens in it."""

    name: str
    curve: Curve
    lost: ZoneLoss | None = None


@dataclass(frozen=True, slots=True)
class GridRow:
    """One target in all cases. outcomes: in the order of the cases."""

    target: float
    outcomes: tuple[Outcome, ...]
    keeps: bool
    """At most the allowed seconds of overload in each case."""

    @property
    def instance_hours(self) -> float:
        """Return the cost in the first case, the curve as it was recorded."""
        return self.outcomes[0].instance_hours


def first_instances(rate_per_s: float, target: float, instances: Instances, limits: Limits) -> int:
    """Return how many instances hold a constant rate at a target utilisation: the start of a replay."""
    return limits.clip(ceil(rate_per_s / (instances.full_per_s * target) - 1e-9))


def target_grid(
    targets: Sequence[float],
    cases: Sequence[Case],
    controller_for: Callable[[float], Controller],
    instances: Instances,
    lag: Lag,
    limits: Limits,
    *,
    allowed_s: int,
) -> tuple[GridRow, ...]:
    """Return the outcomes of each target (a utilisation, 0 to 1) in each case.

    controller_for: makes a new controller for a target. allowed_s: seconds of overload that keep the promise.
    Cost: one replay for each target and case.
    """
    rows = []
    for target in targets:
        outcomes = []
        for case in cases:
            first = first_instances(float(case.curve.rate[0]), target, instances, limits)
            done = replay(case.curve, controller_for(target), instances, lag, first=first, lost=case.lost)
            outcomes.append(outcome_of(case.curve, instances, done))
        rows.append(GridRow(target, tuple(outcomes), all(one.overload_s <= allowed_s for one in outcomes)))
    return tuple(rows)


def cheapest(rows: Sequence[GridRow]) -> GridRow | None:
    """Return the row with the fewest instance hours among those that keep the promise; None: no row does.

    Of equal costs, the lower target is returned: it has more room.
    """
    kept = [one for one in rows if one.keeps]
    return min(kept, key=lambda one: (one.instance_hours, one.target), default=None)
