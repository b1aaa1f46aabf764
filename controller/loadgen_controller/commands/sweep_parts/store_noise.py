"""The deviation between runs of the same conditions, from the accepted runs of a history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import variance
from typing import Final

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.history.store.comparability_key import key_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import STATISTICS, Accepted, Key
from loadgen.sweep.plan import Noise
from loadgen.sweep.responses import Response

__all__ = ["ASSUMED", "noise_of", "pooled_noise"]

ASSUMED: Final = Noise(0.04)
_NEWEST: Final = 40
"""Runs of each key that are read."""
_LEAST_SD: Final = 0.002
"""No history of a few equal runs makes a sweep promise to find changes below a percent."""


def noise_of(
    store: Store | None, response: Response, specs: Iterable[PlanSpec], scenario: str, placement: str
) -> Noise:
    """Return the run-to-run variation of a response among accepted runs of the cells' keys, or 4 %, assumed.

    The keys may differ in the levels of params and in the agents' machines: the spread within each of them is pooled.

    scenario, placement: as in the manifest of the runs to come.
    """
    if store is None or response.statistic not in STATISTICS:
        return ASSUMED
    manifest = {"scenario": scenario, "placement": placement}
    wanted = {_conditions(key_of(manifest, spec)) for spec in specs}
    groups = [store.runs(key, newest=_NEWEST) for key in store.keys() if _conditions(key) in wanted]  # noqa: SIM118  # not a mapping
    return pooled_noise([_logs(response, runs) for runs in groups], str(store))


def pooled_noise(groups: Sequence[Sequence[float]], where: str) -> Noise:
    """Return the pooled standard deviation of groups of log values; 4 %, assumed, if no group has two values."""
    used = [one for one in groups if len(one) > 1]
    df = sum(len(one) - 1 for one in used)
    if not df:
        return ASSUMED
    sd = sqrt(sum(variance(one) * (len(one) - 1) for one in used) / df)
    runs = sum(map(len, used))
    keys = "one key" if len(used) == 1 else f"{len(used)} keys"
    return Noise(max(sd, _LEAST_SD), df, f"{runs} accepted runs of {keys} in {where}")


def _conditions(key: Key) -> tuple[str, ...]:
    """Return what must be equal for the same noise: all of the key but the params and the agents' machines."""
    plan = "\n".join(line for line in key.plan.splitlines() if not line.startswith("settings: "))
    return plan, key.target, key.placement, key.regions, key.rate


def _logs(response: Response, runs: Iterable[Accepted]) -> list[float]:
    """Return the log of the response in each run. Without a name: of the journey with the most values."""
    found = []
    for run in runs:
        figures = [
            one
            for one in run.figures
            if one.percentile == response.statistic and one.region == "*" and one.agent == "*"
            if (one.name == response.name if response.name else one.kind == "journey")
        ]
        largest = max(figures, key=lambda one: one.count, default=None)
        if largest is not None and largest.log_value is not None:
            found.append(largest.log_value)
    return found
