"""One agent or one region that differs from the others: its own trouble rather than the code's.

Of each new run the agents of a region are held against each other, and the regions against
what the history has of each. Where one alone is slow, it is named. An agent that is
slow among others of its region tells of that agent: what the others measured decides whether
the release is slower. A region tells of what its users have, so it is only named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from statistics import fmean, median
from typing import Final

from loadgen.history.store.baseline_run import ALL, Accepted, Figure

__all__ = ["Apart", "odd_agents", "odd_regions", "rest_is_slower"]

_FAR: Final = 1.1
"""At least 10 % from the others."""
_ERRORS: Final = 4.0
"""And so many standard errors of both."""
_LEAST_PEERS: Final = 2
_REGION_FAR: Final = 1.05


@dataclass(frozen=True, slots=True)
class Apart:
    """Which one differs, in which run, at which name."""

    run_id: str
    name: str
    region: str
    agent: str
    """`ALL`: the whole region."""
    gap: float
    """Relative to the others; 0.3: 30 % slower."""


def odd_agents(run: Accepted, percentile: str) -> Iterator[Apart]:
    """Agents slower than all others of their region, of which there are at least two."""
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
            yield Apart(run.run_id, name, region, worst.agent, exp(gap) - 1)


def odd_regions(history: Sequence[Accepted], new: Sequence[Accepted], percentile: str, delta: float) -> Iterator[Apart]:
    """Names that are slower in one region alone, in the middle of the new runs. run_id: of the newest."""
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
            yield Apart(new[-1].run_id, name, worst, ALL, exp(gaps[worst]) - 1)


def rest_is_slower(
    history: Sequence[Accepted], new: Sequence[Accepted], odd: Sequence[Apart], name: str, percentile: str, delta: float
) -> bool:
    """Without the agents that are odd at this name: are the new runs slower than the history by more than `delta`?

    Each region is held against itself; an only one against the whole. Where the history has not got it: yes.
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
    """Logarithms by name and region, `ALL` being one of them."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for one in run.figures:
            is_wanted = one.percentile == percentile and name in ("", one.name)
            if is_wanted and one.agent == ALL and 0 < one.value_ms < inf:
                found.setdefault((one.name, one.region), []).append(log(one.value_ms))
    return found
