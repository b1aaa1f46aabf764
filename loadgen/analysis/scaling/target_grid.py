"""Replays a grid of targets over several curves, and finds the cheapest that keeps the promise in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

import numpy as np

from loadgen.analysis.scaling.controllers import Controller, Limits
from loadgen.analysis.scaling.fleet_replay import Curve, Instances, Lag, Replay, ZoneLoss, replay
from loadgen.analysis.scaling.outcome import Outcome, outcome_of

__all__ = ["Case", "GridRow", "cheapest", "first_instances", "replay_cases", "target_grid", "worst_loss"]

_NEAR_S: Final = 900


@dataclass(frozen=True, slots=True)
class Case:
    """One curve to keep the promise in, with what else happens in it."""

    name: str
    curve: Curve
    zones: int = 1
    """From 2 on, one zone is lost near the peak, at the second that is worst for the fleet of that replay."""
    short: str = ""
    """The name in the head of a column."""


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
        replays = replay_cases(cases, partial(controller_for, target), target, instances, lag, limits)
        outcomes = tuple(outcome_of(case.curve, instances, done) for case, done in zip(cases, replays, strict=True))
        rows.append(GridRow(target, outcomes, all(one.overload_s <= allowed_s for one in outcomes)))
    return tuple(rows)


def replay_cases(
    cases: Sequence[Case],
    new_controller: Callable[[], Controller],
    target: float,
    instances: Instances,
    lag: Lag,
    limits: Limits,
) -> tuple[Replay, ...]:
    """Return a replay for each case. target: the utilisation at which each fleet begins.

    A case with a lost zone needs the replay without the loss first; it is taken from a case of the same curve.
    """
    whole: dict[int, Replay] = {}
    found = []
    for case in cases:
        first = first_instances(float(case.curve.rate[0]), target, instances, limits)
        done = whole.get(id(case.curve))
        if done is None:
            done = replay(case.curve, new_controller(), instances, lag, first=first)
            whole[id(case.curve)] = done
        if case.zones > 1:
            loss = worst_loss(case.curve, done, case.zones)
            done = replay(case.curve, new_controller(), instances, lag, first=first, lost=loss)
        found.append(done)
    return tuple(found)


def worst_loss(curve: Curve, done: Replay, zones: int) -> ZoneLoss:
    """Return the loss of a zone within 15 minutes of the peak, at the second that leaves the least room.

    At the very second of the peak, a fleet may by luck have just grown; a loss half a minute earlier would then show
    what the target is worth.
    """
    peak = int(np.argmax(curve.rate))
    low, high = max(0, peak - _NEAR_S), min(len(curve), peak + _NEAR_S + 1)
    ready = done.ready[low:high]
    left = ready - -(-ready // zones)
    load = np.where(left > 0, curve.rate[low:high] / np.maximum(left, 1), np.inf)
    return ZoneLoss(low + int(np.argmax(load)), zones)


def cheapest(rows: Sequence[GridRow]) -> GridRow | None:
    """Return the row with the fewest instance hours among those that keep the promise; None: no row does.

    Of equal costs, the lower target is returned: it has more room.
    """
    kept = [one for one in rows if one.keeps]
    return min(kept, key=lambda one: (one.instance_hours, one.target), default=None)
