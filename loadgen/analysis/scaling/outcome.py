"""The outcome of a replay: overload, the worst second, instance hours, actions and flaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from loadgen.analysis.scaling.fleet_replay import Action, Curve, Instances, Replay

__all__ = ["FLAP_S", "Outcome", "flaps", "outcome_of"]

FLAP_S: Final = 600
"""Two opposite actions within this time are a flap."""
_EXACT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one replay."""

    seconds: int
    """Length of the curve."""
    overload_s: int
    """Seconds in which the ready instances were beyond their capacity at the promise, or requests waited."""
    worst_utilisation: float
    """The highest utilisation of a second; 1.0 is all that the ready instances can do."""
    worst_demand: float | None
    """The highest ratio of arrivals to the capacity at the promise. None: no instance was ready."""
    worst_at_s: int
    """The second of `worst_demand`."""
    worst_backlog: float
    """The most requests that waited at the end of a second."""
    backlog_end: float
    """Requests that still waited when the curve ended."""
    instance_hours: float
    """The wanted instances, starting ones included, over the whole curve."""
    most_instances: int
    actions: int
    flaps: int


def outcome_of(curve: Curve, instances: Instances, replay: Replay) -> Outcome:
    """Return the figures of a replay of `curve`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        demand = np.where(curve.rate > 0, curve.rate / (replay.ready * instances.per_s), 0.0)
    worst = int(np.argmax(demand))
    is_over = (replay.utilisation > instances.at + _EXACT) | (replay.backlog > _EXACT)
    return Outcome(
        seconds=len(curve),
        overload_s=int(np.count_nonzero(is_over)),
        worst_utilisation=float(replay.utilisation.max()),
        worst_demand=float(demand[worst]) if np.isfinite(demand[worst]) else None,
        worst_at_s=worst,
        worst_backlog=float(replay.backlog.max()),
        backlog_end=float(replay.backlog[-1]),
        instance_hours=float(replay.wanted.sum()) / 3600,
        most_instances=int(replay.wanted.max()),
        actions=len(replay.actions),
        flaps=flaps(replay.actions),
    )


def flaps(actions: Sequence[Action]) -> int:
    """Return how many actions took back the one before them within `FLAP_S`."""
    return sum(
        (one.after > one.before) != (other.after > other.before) and other.at_s - one.at_s <= FLAP_S
        for one, other in pairwise(actions)
    )
