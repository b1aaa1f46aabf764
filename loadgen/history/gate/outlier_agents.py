"""Finds a single agent or region that is slow, since its own trouble may look like a slower release. Pure.

In each new run, the agents of a region are compared with each other, and each region is compared with its history.

- An agent that is slow among others of its region has a problem of its own. The other agents decide whether the
  release is slower.
- A slow region is what its users experience. It counts, and it is named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from statistics import fmean, median
from typing import Final

from loadgen.history.store.stored_run import ALL, Accepted, Figure

__all__ = ["Outlier", "odd_agents", "odd_regions", "rest_is_slower"]

_FAR: Final = 1.1
"""Least ratio of an outlier's time to the median of the other agents."""
_ERRORS: Final = 4.0
"""Least distance of an outlier, in standard errors of the difference."""
_LEAST_PEERS: Final = 2
"""Least number of other agents in the region."""
_REGION_FAR: Final = 1.05
"""Least ratio of a slow region's time to its history."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An agent or region that is slower than the others, at one name in one run."""

    run_id: str
    name: str
    region: str
    agent: str
    """`ALL` for a whole region."""
    gap: float
    """The relative slow-down compared with the other agents, or with its history; 0.3 is 30 %."""


def odd_agents(run: Accepted, percentile: str) -> Iterator[Outlier]:
    """Yield, for each name and region, the slowest agent if it is clearly slower than the region's other agents.

    Regions with fewer than 3 agents are left out.
    """
    by_place: dict[tuple[str, str], list[Figure]] = {}
    for one in run.figures:
        if one.percentile == percentile and one.agent != ALL and 0 < one.value_ms < inf:
            by_place.setdefault((one.name, one.region), []).append(one)
    for (name, region), found in by_place.items():
        if len(found) <= _LEAST_PEERS:
            continue
        worst = max(found, key=lambda one: one.value_ms)
        rest = [one for one in found if one is not worst]
        gap = log(worst.value_ms) - log(median(one.value_ms for one in rest))
        errors = [one.error if isfinite(one.error) else 0.0 for one in (worst, *rest)]
        noise = sqrt(errors[0] ** 2 + fmean(e**2 for e in errors[1:]))
        if gap > log(_FAR) and gap > _ERRORS * noise:
            yield Outlier(run.run_id, name, region, worst.agent, exp(gap) - 1)


def odd_regions(
    history: Sequence[Accepted], new: Sequence[Accepted], percentile: str, delta: float
) -> Iterator[Outlier]:
    """Yield each name that became slower in exactly one region, by the medians of the runs.

    delta: the other regions must have become slower by less than this, relative. The `run_id` is that of the newest
    run.
    """
    before, after = _by_region(history, percentile), _by_region(new, percentile)
    names: dict[str, dict[str, float]] = {}
    for (name, region), values in after.items():
        if region != ALL and (old := before.get((name, region))):
            names.setdefault(name, {})[region] = median(values) - median(old)
    for name, gaps in names.items():
        if len(gaps) < 2:
            continue
        worst = max(gaps, key=gaps.__getitem__)
        others = max(gap for region, gap in gaps.items() if region != worst)
        if gaps[worst] > log(_REGION_FAR) and others < log(1 + delta):
            yield Outlier(new[-1].run_id, name, worst, ALL, exp(gaps[worst]) - 1)


def rest_is_slower(
    history: Sequence[Accepted],
    new: Sequence[Accepted],
    odd: Sequence[Outlier],
    name: str,
    percentile: str,
    delta: float,
) -> bool:
    """Return whether a name is slower than in the history by more than `delta`, with outlier agents left out.

    Each region is compared with its own history, a single region with the whole history. True if a region has no other
    agents or no history.

    odd: the outlier agents of all new runs.
    """
    out = {(one.run_id, one.region, one.agent) for one in odd if one.name == name}
    before = _by_region(history, percentile, name)
    gaps = []
    for run in new:
        regions = {one.region for one in run.figures if one.name == name and one.region != ALL}
        for region in regions:
            rest = [
                log(one.value_ms)
                for one in run.figures
                if (one.name, one.percentile, one.region) == (name, percentile, region)
                and one.agent != ALL
                and (run.run_id, region, one.agent) not in out
                and 0 < one.value_ms < inf
            ]
            old = before.get((name, region if len(regions) > 1 else ALL))
            if not rest or not old:
                return True
            gaps.append(median(rest) - median(old))
    return not gaps or fmean(gaps) > log(1 + delta)


def _by_region(runs: Sequence[Accepted], percentile: str, name: str = "") -> dict[tuple[str, str], list[float]]:
    """Return natural logarithms of ms, one for each run, by (name, region); region `ALL` is the whole run.

    name: only this name; "": all names.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for one in run.figures:
            is_selected = one.percentile == percentile and name in ("", one.name)
            if is_selected and one.agent == ALL and 0 < one.value_ms < inf:
                found.setdefault((one.name, one.region), []).append(log(one.value_ms))
    return found
