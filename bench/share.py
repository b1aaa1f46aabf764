"""Measure an agent's cost of computing the due arrivals and those of its own share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

import numpy as np

from bench.report import Section, cost_ns, spread
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.spacing import Renewal
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S

HOW = """\
Agent 7 of 100 with unequal weights, a mix of three journeys 6:3:1, a ramp to 10,000/s within a minute and as long at \
that rate. In blocks of 1,000 arrivals, as the executor asks for them. Seven runs, in this process."""
WEIGHTS = [1.0 + n % 3 for n in range(100)]
MIX = [6.0, 3.0, 1.0]
PROFILE = ArrivalProfile((Stage(0, 10_000, 60 * NS_PER_S), Stage(10_000, 10_000, 60 * NS_PER_S)))


def measure() -> Section:
    share = Share.of(7, WEIGHTS, MIX)
    own = share.count_below(PROFILE.total())
    block = np.arange(100_000, 101_000)
    rows = [
        ["Share.of, once a run", *spread([ns / 1e6 for ns in cost_ns(lambda: Share.of(7, WEIGHTS, MIX), 1)], 2), "ms"],
        ["Share.block, an own arrival", *spread(cost_ns(lambda: share.block(5_000, 1_000), 1_000), 1), "ns"],
        ["ArrivalProfile.due_ns, an arrival", *spread(cost_ns(lambda: PROFILE.due_ns(block), 1_000), 1), "ns"],
        ["due_times, an own arrival", *spread(cost_ns(lambda: deque(due_times(PROFILE, share), 0), own), 1), "ns"],
    ]
    for shape, law in ((1.0, "exponential"), (0.25, "gamma of CV 2")):
        for what, n in (("neighbours", np.arange(1_000)), ("every 100th", np.arange(1_000) * len(WEIGHTS))):
            rows.append([f"Renewal.areas, {law}, {what}", *spread(cost_ns(_places(shape, n), 1_000), 0), "ns"])
    return Section("Profiles and shares", HOW, ["", "least", "median", "unit"], rows)


def _places(shape: float, n: np.ndarray) -> Callable[[], object]:
    """Compute the times of the next arrivals in each call, as a run does."""
    by_chance, at = Renewal(shape, 7), count(0, int(n[-1]) + 1)
    return lambda: by_chance.areas(n + next(at))
